//! A pod's volumes: directories on the host that its containers have mounted.
//!
//! Files of ConfigMaps, Secrets, tokens and the downward API are written as Kubernetes does (`..data` is a symbolic link that is swapped), so that
//! a change of what they come from shows in running containers at once and never half.

mod publish;
mod sources;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Volume, VolumeMount};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::init::protocol::{Bind, Edit};
use crate::node::Node;
use crate::pod::downward::{DownwardError, Facts};
use crate::pod::environment::{Lookup, expand};

pub(crate) use sources::Published;

/// Why a volume is not there yet, or never will be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("{kind} \"{name}\" not found")]
    NoObject { kind: &'static str, name: String },
    #[error("references non-existent {kind} key: {key} of \"{name}\"")]
    NoKey { kind: &'static str, name: String, key: String },
    #[error("persistentvolumeclaim \"{0}\" is not bound yet")]
    Unbound(String),
    #[error("persistentvolume \"{0}\" has neither hostPath nor local; other volumes are not available on one machine")]
    Unsupported(String),
    #[error(
        "volume \"{0}\" is of a type that is not available on one machine (there are configMap, secret, projected, downwardAPI, emptyDir, hostPath, persistentVolumeClaim)"
    )]
    Type(String),
    #[error("hostPath {path}: {reason}")]
    HostPath { path: String, reason: String },
    #[error("path \"{0}\" must be relative and without ..")]
    Path(String),
    #[error("{0}")]
    Field(#[from] DownwardError),
    #[error("token of service account \"{account}\": {source}")]
    Token { account: String, source: Box<kube::Error> },
    #[error("the API server gives no token for service account \"{0}\"")]
    NoToken(String),
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("volume \"{0}\" is not one of the pod's")]
    NoVolume(String),
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> VolumeError {
    let path = path.to_path_buf();
    move |source| VolumeError::Io { path, source }
}

/// Where a pod's volumes are.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    paths: BTreeMap<String, PathBuf>,
}

/// When what was published must be published anew, whether or not its sources change.
pub(crate) type Refresh = Option<Timestamp>;

impl Volumes {
    /// Makes every volume of the pod below `directory`, or says which cannot be made and why.
    pub(crate) async fn prepare(
        node: &Arc<Node>,
        pod: &Pod,
        facts: &Facts,
        directory: &Path,
    ) -> Result<(Self, Refresh), (String, VolumeError)> {
        let mut all = Self::default();
        let mut refresh: Refresh = None;
        for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
            let place = directory.join(&volume.name);
            let (path, until) =
                one(node, pod, facts, volume, &place).await.map_err(|error| (volume.name.clone(), error))?;
            all.paths.insert(volume.name.clone(), path);
            refresh = [refresh, until].into_iter().flatten().min();
        }
        Ok((all, refresh))
    }

    /// Publishes again what comes from objects, where it has changed.
    pub(crate) async fn update(
        &self,
        node: &Arc<Node>,
        pod: &Pod,
        facts: &Facts,
    ) -> (Refresh, Vec<(String, VolumeError)>) {
        let (mut refresh, mut failed): (Refresh, _) = (None, Vec::new());
        for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
            let Some(path) = self.paths.get(&volume.name) else { continue };
            match Published::collect(node, pod, facts, volume, path).await {
                Ok(Some(published)) => match publish::publish(path, &published.files) {
                    Ok(()) => refresh = [refresh, published.until].into_iter().flatten().min(),
                    Err(error) => failed.push((volume.name.clone(), at(path)(error))),
                },
                Ok(None) => {}
                // What is there stays, as on Kubernetes.
                Err(error) => failed.push((volume.name.clone(), error)),
            }
        }
        (refresh, failed)
    }

    /// The mounts of one container, in the order in which they must be made.
    pub(crate) fn binds(
        &self,
        container: &Container,
        env: &BTreeMap<String, String>,
    ) -> Result<Vec<Bind>, VolumeError> {
        let mut mounts: Vec<&VolumeMount> = container.volume_mounts.iter().flatten().collect();
        // A mount below another comes after it, in whatever order they are listed.
        mounts.sort_by_key(|m| Path::new(&m.mount_path).components().count());
        mounts.into_iter().map(|mount| self.bind(mount, env)).collect()
    }

    fn bind(&self, mount: &VolumeMount, env: &BTreeMap<String, String>) -> Result<Bind, VolumeError> {
        let root = self.paths.get(&mount.name).ok_or_else(|| VolumeError::NoVolume(mount.name.clone()))?;
        let part = match (&mount.sub_path, &mount.sub_path_expr) {
            (Some(path), _) if !path.is_empty() => path.clone(),
            (_, Some(expression)) => expand(expression, env).map_err(|_| VolumeError::Path(expression.clone()))?,
            _ => String::new(),
        };
        let part = relative(&part)?;
        let wanted = root.join(&part);
        if !part.as_os_str().is_empty() && !wanted.exists() {
            fs::create_dir_all(&wanted).map_err(at(&wanted))?;
        }
        let source = wanted.canonicalize().map_err(at(&wanted))?;
        let top = root.canonicalize().map_err(at(root))?;
        if !source.starts_with(&top) {
            // A link in the volume must not lead to the rest of the host.
            return Err(VolumeError::Path(part.display().to_string()));
        }
        Ok(Bind { source, target: PathBuf::from(&mount.mount_path), read_only: mount.read_only == Some(true) })
    }
}

/// A path that stays below where it starts.
pub(crate) fn relative(path: &str) -> Result<PathBuf, VolumeError> {
    let path = Path::new(path);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if inside { Ok(path.to_path_buf()) } else { Err(VolumeError::Path(path.display().to_string())) }
}

async fn one(
    node: &Arc<Node>,
    pod: &Pod,
    facts: &Facts,
    volume: &Volume,
    place: &Path,
) -> Result<(PathBuf, Refresh), VolumeError> {
    if let Some(published) = Published::collect(node, pod, facts, volume, place).await? {
        publish::publish(place, &published.files).map_err(at(place))?;
        return Ok((place.to_path_buf(), published.until));
    }
    if let Some(empty) = &volume.empty_dir {
        empty_dir(place, empty.medium.as_deref() == Some("Memory"), empty.size_limit.as_ref().map(|q| q.0.as_str()))?;
        return Ok((place.to_path_buf(), None));
    }
    if let Some(host) = &volume.host_path {
        return host_path(&host.path, host.type_.as_deref().unwrap_or_default()).map(|path| (path, None));
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        return claimed(node, namespace, &claim.claim_name).map(|path| (path, None));
    }
    Err(VolumeError::Type(volume.name.clone()))
}

fn empty_dir(place: &Path, memory: bool, limit: Option<&str>) -> Result<(), VolumeError> {
    fs::create_dir_all(place).map_err(at(place))?;
    if memory && !is_mount_point(place).map_err(at(place))? {
        let size = limit
            .and_then(|text| crate::pod::downward::bytes(text).ok())
            .map(|n| format!(",size={n}"))
            .unwrap_or_default();
        let options = format!("mode=0777{size}");
        mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options.as_str()))
            .map_err(|e| at(place)(e.into()))?;
    }
    fs::set_permissions(place, fs::Permissions::from_mode(0o777)).map_err(at(place))
}

/// Whether something is mounted there: it is on another file system than its parent.
fn is_mount_point(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(path)?.dev() != fs::metadata(path.join(".."))?.dev())
}

/// A path of the host, made or checked as its type says (`v1.HostPathType`).
fn host_path(path: &str, kind: &str) -> Result<PathBuf, VolumeError> {
    let host = PathBuf::from(path);
    let wrong = |reason: &str| VolumeError::HostPath { path: path.to_owned(), reason: reason.to_owned() };
    match kind {
        "DirectoryOrCreate" => fs::create_dir_all(&host).map_err(at(&host))?,
        "FileOrCreate" if !host.exists() => drop(fs::File::create(&host).map_err(at(&host))?),
        _ => {}
    }
    if !host.exists() {
        return Err(wrong("does not exist"));
    }
    match kind {
        "Directory" | "DirectoryOrCreate" if !host.is_dir() => Err(wrong("is not a directory")),
        "File" | "FileOrCreate" if !host.is_file() => Err(wrong("is not a file")),
        _ => Ok(host),
    }
}

fn claimed(node: &Arc<Node>, namespace: &str, name: &str) -> Result<PathBuf, VolumeError> {
    let claim = node.cluster.claim(namespace, name);
    let claim = claim.ok_or_else(|| VolumeError::NoObject { kind: "persistentvolumeclaim", name: name.to_owned() })?;
    let unbound = || VolumeError::Unbound(name.to_owned());
    let volume = claim.spec.as_ref().and_then(|s| s.volume_name.clone()).ok_or_else(unbound)?;
    let volume = node.cluster.volume(&volume).ok_or_else(unbound)?;
    let spec = volume.spec.as_ref();
    let path = spec.and_then(|s| {
        s.host_path.as_ref().map(|h| h.path.clone()).or_else(|| s.local.as_ref().map(|l| l.path.clone()))
    });
    let path = path.ok_or_else(|| VolumeError::Unsupported(volume.metadata.name.clone().unwrap_or_default()))?;
    fs::create_dir_all(&path).map_err(at(Path::new(&path)))?;
    Ok(PathBuf::from(path))
}

/// Takes a pod's directory away, with what is mounted in it.
pub(crate) fn remove(directory: &Path) -> io::Result<()> {
    let volumes = directory.join("volumes");
    for entry in fs::read_dir(&volumes).into_iter().flatten().flatten() {
        // Most are no mount points.
        let _ = umount2(&entry.path(), MntFlags::MNT_DETACH);
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The files that every container of a pod has: how to resolve names, and its own name.
pub(crate) fn network_files(pod: &Pod, facts: &Facts, dns: std::net::Ipv4Addr) -> Vec<Edit> {
    let spec = pod.spec.clone().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let hostname = hostname(pod);
    let mut resolv = String::new();
    let config = spec.dns_config.clone().unwrap_or_default();
    let none = spec.dns_policy.as_deref() == Some("None");
    let mut searches: Vec<String> = if none {
        Vec::new()
    } else {
        vec![format!("{namespace}.svc.cluster.local"), "svc.cluster.local".to_owned(), "cluster.local".to_owned()]
    };
    searches.extend(config.searches.into_iter().flatten());
    if !searches.is_empty() {
        resolv.push_str(&format!("search {}\n", searches.join(" ")));
    }
    let own = (!none).then(|| dns.to_string());
    for server in own.into_iter().chain(config.nameservers.into_iter().flatten()) {
        resolv.push_str(&format!("nameserver {server}\n"));
    }
    let mut options: Vec<String> = config
        .options
        .into_iter()
        .flatten()
        .filter_map(|o| o.value.map_or_else(|| o.name.clone(), |v| Some(format!("{}:{v}", o.name.clone()?))))
        .collect();
    if !none && !options.iter().any(|o| o.starts_with("ndots")) {
        options.insert(0, "ndots:5".to_owned());
    }
    if !options.is_empty() {
        resolv.push_str(&format!("options {}\n", options.join(" ")));
    }
    let mut hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    if let Some(address) = facts.pod_address {
        let full = spec.subdomain.as_ref().map(|sub| format!("{hostname}.{sub}.{namespace}.svc.cluster.local\t"));
        hosts.push_str(&format!("{address}\t{}{hostname}\n", full.unwrap_or_default()));
    }
    for alias in spec.host_aliases.into_iter().flatten() {
        hosts.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.unwrap_or_default().join("\t")));
    }
    let file =
        |path: &str, content: String| Edit::File { path: path.into(), content: content.into_bytes(), mode: 0o644 };
    vec![file("/etc/resolv.conf", resolv), file("/etc/hosts", hosts), file("/etc/hostname", format!("{hostname}\n"))]
}

/// The pod's host name: its own or its object's, cut to what Linux takes.
pub(crate) fn hostname(pod: &Pod) -> String {
    let given = pod.spec.as_ref().and_then(|s| s.hostname.clone()).filter(|h| !h.is_empty());
    let name = given.or_else(|| pod.metadata.name.clone()).unwrap_or_else(|| "pod".to_owned());
    name.chars().take(63).collect::<String>().trim_end_matches(['-', '.']).to_owned()
}

/// What references in a pod's containers lead to.
pub(crate) fn lookup<T>(node: &Arc<Node>, pod: &Pod, facts: Facts, body: impl FnOnce(&Lookup<'_>) -> T) -> T {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    body(&Lookup {
        config_map: &|name| node.cluster.config_map(namespace, name),
        secret: &|name| node.cluster.secret(namespace, name),
        pod,
        facts,
    })
}

#[cfg(test)]
mod tests;
