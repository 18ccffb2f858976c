//! The images that have a meaning without being told: widely used ones whose programs Debian has, and this program itself.

use std::path::PathBuf;

use super::{Image, SELF};
use crate::init::protocol::Edit;

/// The image's default site: every file of /usr/share/nginx/html on port 80.
const NGINX_SITE: &str = "server {\n    listen 80;\n    server_name localhost;\n    location / {\n        root /usr/share/nginx/html;\n        \
                          index index.html index.htm;\n    }\n}\n";

fn directory(path: &str, owner: &str) -> Edit {
    Edit::Directory { path: path.into(), mode: 0o755, owner: Some(owner.to_owned()) }
}

fn link(path: &str, to: &str) -> Edit {
    Edit::Link { path: path.into(), to: to.into() }
}

fn image(entrypoint: &[&str], cmd: &[&str]) -> Image {
    let words = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    Image { entrypoint: words(entrypoint), cmd: words(cmd), working_dir: PathBuf::from("/"), ..Image::default() }
}

/// Debian's nginx made to behave as the image: it logs to the container's streams and has one site, where a ConfigMap puts its own.
fn nginx() -> Image {
    let edits = vec![
        Edit::Directory { path: "/etc/nginx/sites-enabled".into(), mode: 0o755, owner: None },
        Edit::Remove { path: "/etc/nginx/sites-enabled".into() },
        Edit::File {
            path: "/etc/nginx/conf.d/default.conf".into(),
            content: NGINX_SITE.as_bytes().to_vec(),
            mode: 0o644,
        },
        directory("/var/lib/nginx", "www-data"),
        directory("/var/cache/nginx", "www-data"),
        Edit::Directory { path: "/var/log/nginx".into(), mode: 0o755, owner: None },
        link("/var/log/nginx/access.log", "/dev/stdout"),
        link("/var/log/nginx/error.log", "/dev/stderr"),
    ];
    Image { edits, stop_signal: Some("SIGQUIT".into()), ..image(&[], &["nginx", "-g", "daemon off;"]) }
}

/// The host's MariaDB; [`super::mariadb`] is the image's entry point.
fn mariadb() -> Image {
    let edits = vec![directory("/var/lib/mysql", "mysql"), directory("/run/mysqld", "mysql")];
    Image { edits, ..image(&[SELF, super::mariadb::ARGUMENT], &["mariadbd"]) }
}

pub(super) fn images() -> Vec<(&'static [&'static str], Image)> {
    vec![
        (&["nginx", "nginxinc/nginx-unprivileged"], nginx()),
        (&["mariadb", "mysql"], mariadb()),
        (&["curlimages/curl"], Image { dashed_to: Some("curl".into()), ..image(&[], &["curl", "--help"]) }),
        // The host's shell stands in for the applets that manifests run.
        (&["busybox", "alpine", "debian", "ubuntu"], image(&[], &["sh"])),
        (&["varka", "varka/*", "*/varka"], image(&[SELF], &[])),
    ]
}
