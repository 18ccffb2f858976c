//! PeerAuthentication: whether a workload's port takes plain text, mutual TLS, or both.

use std::collections::BTreeMap;
use std::sync::Arc;

use varka_api::Object;
use varka_api::istio::{Labels, MutualTls, MutualTlsMode, PeerAuthentication};

use crate::context::Ctx;
use crate::key::contains;
use crate::reasons::Placed;
use crate::snapshot::{Kind, Snapshot, by_age};

/// What a port takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Plain text only.
    Disable,
    /// Both.
    Permissive,
    /// Mutual TLS only.
    Strict,
}

/// The policies that apply to a workload, as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Composed {
    /// Ports that have no mode of their own.
    pub(crate) mode: Mode,
    /// By the workload's port.
    pub(crate) ports: BTreeMap<u16, Mode>,
}

impl Composed {
    pub(crate) fn of(&self, port: Option<u16>) -> Mode {
        port.and_then(|p| self.ports.get(&p).copied()).unwrap_or(self.mode)
    }
}

impl Ctx<'_> {
    /// What a workload's port takes.
    pub(crate) fn peer_mode(&self, namespace: &str, labels: &Labels, port: Option<u16>) -> Mode {
        self.peer_policy(namespace, labels).of(port)
    }

    /// What a workload takes.
    pub(crate) fn peer_policy(&self, namespace: &str, labels: &Labels) -> Composed {
        let store = &self.snapshot.stores.peer_authentications;
        let root = self.root_namespace();
        let mesh = self.namespace(Kind::PeerAuthentication, store, root);
        let own = self.namespace(Kind::PeerAuthentication, store, namespace);
        compose(mesh, own, namespace == root, labels)
    }
}

/// What port `port` of a workload takes, for anyone who asks outside a compilation.
pub fn peer_mode(snapshot: &Snapshot, namespace: &str, labels: &Labels, port: Option<u16>) -> Mode {
    let store = &snapshot.stores.peer_authentications;
    let root = snapshot.mesh().root_namespace.as_str();
    let root = if root.is_empty() { "istio-system" } else { root };
    compose(store.namespace(root), store.namespace(namespace), namespace == root, labels).of(port)
}

/// The same, and the policy that says so; none: nobody says anything.
pub fn peer_reason(snapshot: &Snapshot, namespace: &str, labels: &Labels, port: Option<u16>) -> (Mode, Option<Placed>) {
    let store = &snapshot.stores.peer_authentications;
    let root = snapshot.mesh().root_namespace.as_str();
    let root = if root.is_empty() { "istio-system" } else { root };
    let [mesh, space, workload] = layers(store.namespace(root), store.namespace(namespace), namespace == root, labels);
    let mode = composed([mesh, space, workload]).of(port);
    let is_set = |mtls: Option<&MutualTls>| mtls.is_some_and(|m| m.mode != MutualTlsMode::Unset);
    let of_port = || {
        let (policy, port) = (workload?, port?.to_string());
        is_set(policy.spec.port_level_mtls.get(&port))
            .then(|| Placed { object: policy.label(), path: format!("spec.portLevelMtls.{port}") })
    };
    let of_all = || {
        let policy = [workload, space, mesh].into_iter().flatten().find(|p| is_set(p.spec.mtls.as_ref()))?;
        Some(Placed { object: policy.label(), path: "spec.mtls".to_owned() })
    };
    (mode, of_port().or_else(of_all))
}

type Policy<'a> = &'a Arc<Object<PeerAuthentication>>;

/// Mesh below namespace below workload; the oldest of each; unset inherits; port settings of the workload's policy alone.
fn compose<'a>(
    mesh: impl Iterator<Item = Policy<'a>>,
    own: impl Iterator<Item = Policy<'a>>,
    own_is_root: bool,
    labels: &Labels,
) -> Composed {
    composed(layers(mesh, own, own_is_root, labels))
}

/// The policies of mesh, namespace and workload that count.
fn layers<'a>(
    mesh: impl Iterator<Item = Policy<'a>>,
    own: impl Iterator<Item = Policy<'a>>,
    own_is_root: bool,
    labels: &Labels,
) -> [Option<Policy<'a>>; 3] {
    let selector = |p: Policy<'_>| p.spec.selector.as_ref().is_some_and(|s| !s.match_labels.is_empty());
    let oldest = |mut found: Vec<Policy<'a>>| {
        found.sort_by(|a, b| by_age(a, b));
        found.into_iter().next()
    };
    let mesh = oldest(mesh.filter(|p| !selector(p)).collect());
    let (mut namespace, mut workload) = (None, None);
    if !own_is_root {
        let (with, without): (Vec<_>, Vec<_>) = own.partition(|p| selector(p));
        namespace = oldest(without);
        let fits = |p: &Policy<'_>| p.spec.selector.as_ref().is_some_and(|s| contains(labels, &s.match_labels));
        workload = oldest(with.into_iter().filter(|p| fits(p)).collect());
    }
    [mesh, namespace, workload]
}

fn composed([mesh, namespace, workload]: [Option<Policy<'_>>; 3]) -> Composed {
    let mut mode = Mode::Permissive;
    for policy in [mesh, namespace, workload].into_iter().flatten() {
        mode = effective(policy.spec.mtls.as_ref(), mode);
    }
    let mut ports = BTreeMap::new();
    for (port, mtls) in workload.iter().flat_map(|w| &w.spec.port_level_mtls) {
        if let Ok(port) = port.parse() {
            ports.insert(port, effective(Some(mtls), mode));
        }
    }
    Composed { mode, ports }
}

fn effective(mtls: Option<&MutualTls>, inherited: Mode) -> Mode {
    match mtls.map_or(MutualTlsMode::Unset, |m| m.mode) {
        MutualTlsMode::Unset => inherited,
        MutualTlsMode::Disable => Mode::Disable,
        MutualTlsMode::Permissive => Mode::Permissive,
        MutualTlsMode::Strict => Mode::Strict,
    }
}
