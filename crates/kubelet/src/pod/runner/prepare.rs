//! What a container needs before it can start: its image's meaning, its environment, its mounts, its identity. What is missing is waited for.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use super::Runner;
use crate::events::Kind;
use crate::image::{self, Image};
use crate::init::protocol::{Bind, Edit, Identity, Run, Spec};
use crate::pod::context::Context;
use crate::pod::environment::{expand, service_links};
use crate::volumes;

/// A container that can be started.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub(super) spec: Spec,
    pub(super) run: Run,
    /// The signal that asks it to end.
    pub(super) stop_signal: i32,
    /// Where it leaves its last words.
    pub(super) last_words: PathBuf,
}

/// Why a container cannot be started yet.
struct NotYet {
    reason: &'static str,
    message: String,
}

/// What root of a container may do without asking: as container runtimes give it, without what reaches past the pod (raw packets, device files).
const CAPABILITIES: [&str; 10] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
];
/// The user of images that are built to run without root.
const NONROOT: u32 = 65532;
/// What may be added by name.
const GRANTED: [&str; 2] = ["NET_ADMIN", "NET_RAW"];

impl Runner {
    /// Waits until the container can be started.
    pub(super) async fn prepare(&self) -> Prepared {
        let mut changes = self.context.node.cluster.changes();
        let mut said = String::new();
        loop {
            changes.mark_unchanged();
            match self.try_prepare() {
                Ok(prepared) => return prepared,
                Err(NotYet { reason, message }) => {
                    if said != message {
                        let about = if reason == "ErrImageNeverPull" { reason } else { "Failed" };
                        self.event(Kind::Warning, about, format!("Error: {message}"));
                        said.clone_from(&message);
                    }
                    self.waiting(reason, Some(message));
                }
            }
            // A program may be built meanwhile, which no watch tells.
            drop(tokio::time::timeout(Duration::from_secs(2), changes.changed()).await);
        }
    }

    fn try_prepare(&self) -> Result<Prepared, NotYet> {
        let (context, container) = (&self.context, &self.container);
        let pod = context.pod();
        let reference = container.image.as_deref().unwrap_or_default();
        let image = context
            .node
            .cluster
            .image(reference)
            .map_err(|error| NotYet { reason: "ErrImageNeverPull", message: error.to_string() })?;
        let config =
            |error: &dyn std::fmt::Display| NotYet { reason: "CreateContainerConfigError", message: error.to_string() };
        let environment = volumes::lookup(&context.node, &pod, context.facts(), |lookup| {
            lookup.environment(container, base_environment(context, container, &image))
        });
        let environment = environment.map_err(|error| config(&error))?;
        let mut binds = image.binds.clone();
        binds.push(Bind { source: context.node.config.self_exe.clone(), target: image::SELF.into(), read_only: true });
        let volumes = context.volumes().ok_or_else(|| config(&"the pod's volumes are not there"))?;
        let last_words = last_words(context, container).map_err(|error| config(&error))?;
        let place = container.termination_message_path.clone().unwrap_or_else(|| "/dev/termination-log".to_owned());
        binds.push(Bind { source: last_words.clone(), target: place.into(), read_only: false });
        binds.extend(volumes.binds(container, &environment).map_err(|error| config(&error))?);
        let args = image.command_line(container);
        let args: Result<Vec<String>, _> = args.iter().map(|arg| expand(arg, &environment)).collect();
        let args = args.map_err(|error| config(&format!("an argument: {error}")))?;
        if args.is_empty() {
            return Err(config(&format!(
                "image \"{reference}\" has no entry point, and the container gives no command"
            )));
        }
        let given = container.working_dir.as_ref().map(PathBuf::from);
        let directory = given.unwrap_or_else(|| image.working_dir.clone());
        let directory = if directory.as_os_str().is_empty() { PathBuf::from("/") } else { directory };
        let mut root = context.node.base.root();
        root.edits = image.edits.clone();
        root.edits.push(Edit::Ensure { path: directory.clone() });
        root.edits.extend(volumes::network_files(&pod, &context.facts(), context.node.config.dns_ip));
        root.binds = binds;
        root.read_only = container.security_context.as_ref().and_then(|s| s.read_only_root_filesystem) == Some(true);
        let run = Run {
            args,
            env: environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
            directory,
            terminal: container.tty == Some(true),
            streams: [false; 3],
        };
        let spec = Spec { root, identity: identity(context, container) };
        let own = container.lifecycle.as_ref().and_then(|l| l.stop_signal.as_deref());
        Ok(Prepared { spec, run, stop_signal: signal_number(own.or(image.stop_signal.as_deref())), last_words })
    }
}

fn base_environment(context: &Context, container: &Container, image: &Image) -> BTreeMap<String, String> {
    let pod = context.pod();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let links = pod.spec.as_ref().and_then(|s| s.enable_service_links) != Some(false);
    let mut all = service_links(&context.node.cluster.services.state(), namespace, links);
    let home = if identity(context, container).uid == 0 { "/root" } else { "/" };
    all.insert("PATH".to_owned(), image::PATH.to_owned());
    all.insert("HOME".to_owned(), home.to_owned());
    all.insert("HOSTNAME".to_owned(), volumes::hostname(&pod));
    if container.tty == Some(true) {
        all.insert("TERM".to_owned(), "xterm".to_owned());
    }
    all.extend(image.env.clone());
    all
}

/// An empty file of the host where the container finds its termination message path.
fn last_words(context: &Context, container: &Container) -> std::io::Result<PathBuf> {
    let directory = context.directory().join("termination");
    fs::create_dir_all(&directory)?;
    let path = directory.join(&container.name);
    fs::write(&path, "")?;
    path.canonicalize()
}

fn identity(context: &Context, container: &Container) -> Identity {
    let pod = context.pod();
    let of_pod = pod.spec.as_ref().and_then(|s| s.security_context.clone()).unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let number = |own: Option<i64>, pod: Option<i64>| own.or(pod).and_then(|n| u32::try_from(n).ok());
    // An image's own user is not known here; one that must not be root is nobody in particular.
    let unnamed = if own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) { NONROOT } else { 0 };
    let uid = number(own.run_as_user, of_pod.run_as_user).unwrap_or(unnamed);
    let gid = number(own.run_as_group, of_pod.run_as_group).unwrap_or(0);
    let listed = of_pod.supplemental_groups.into_iter().flatten().chain(of_pod.fs_group);
    let groups = listed.filter_map(|g| u32::try_from(g).ok()).collect();
    let wanted = own.capabilities.unwrap_or_default();
    let names = |list: Option<Vec<String>>| -> Vec<String> {
        list.into_iter().flatten().map(|name| name.trim_start_matches("CAP_").to_owned()).collect()
    };
    let (add, drop) = (names(wanted.add), names(wanted.drop));
    let has = |list: &[String], name: &str| list.iter().any(|n| n == name || n == "ALL");
    let privileged = own.privileged == Some(true);
    let defaults = CAPABILITIES.into_iter().filter(|name| !has(&drop, name) || add.iter().any(|n| n == name));
    let granted = GRANTED.into_iter().filter(|name| privileged || has(&add, name));
    let capabilities = defaults.chain(granted).map(ToOwned::to_owned).collect();
    Identity { uid, gid, groups, capabilities, single: context.node.single_identity }
}

/// A signal by its name, as images give it (`SIGQUIT`, `QUIT` or a number).
fn signal_number(name: Option<&str>) -> i32 {
    let terminate = nix::libc::SIGTERM;
    let Some(name) = name else { return terminate };
    let full = if name.starts_with("SIG") { name.to_owned() } else { format!("SIG{name}") };
    full.parse::<nix::sys::signal::Signal>()
        .map(|signal| signal as i32)
        .ok()
        .or_else(|| name.parse().ok())
        .unwrap_or(terminate)
}

#[cfg(test)]
mod tests {
    use super::signal_number;

    #[test]
    fn signals_by_name_and_number() {
        assert_eq!(signal_number(None), 15);
        assert_eq!(
            (signal_number(Some("SIGQUIT")), signal_number(Some("QUIT")), signal_number(Some("10"))),
            (3, 3, 10)
        );
        assert_eq!(signal_number(Some("SIGNONE")), 15);
    }
}
