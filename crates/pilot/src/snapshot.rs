//! An immutable index of all resources. A change makes a new one that shares everything that did not change.

mod addresses;
mod discovery;
mod keys;
mod prepare;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use varka_api::istio::{
    AuthorizationPolicy, DestinationRule, Gateway, MeshConfig, PeerAuthentication, ProxyConfig, RequestAuthentication,
    ServiceEntry, Sidecar, Telemetry, VirtualService, WorkloadEntry,
};
use varka_api::kube::{
    BackendTlsPolicy, ConfigMap, EndpointSlice, GatewayClass, Ingress, IngressClass, KubernetesGateway,
    KubernetesGrpcRoute, KubernetesHttpRoute, KubernetesTcpRoute, KubernetesTlsRoute, Namespace, Node, Pod,
    ReferenceGrant, Secret, Service,
};
use varka_api::{DecodeError, Object, RawObject, Resource};
use varka_engine::ir::Str;

use crate::diagnostic::{Diagnostic, Severity};
use crate::reads::{ChangeKey, ReadKey};
use crate::registry::Registry;
use crate::scope::{ScopeKey, Scopes, Seen};
use crate::{findings, gateway_api, unsupported};

pub use keys::KeySource;
pub use prepare::Prepared;
pub(crate) use prepare::{DestinationRules, Export, RuleOf, prepare_virtual_services};
pub(crate) use store::{Store, by_age};

/// A change of one object.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "changes are made and applied one by one, and most are objects")]
pub enum Change {
    /// It is there, new or changed. Objects of kinds that nobody compiles are ignored.
    Upsert(RawObject),
    /// It is gone.
    Delete {
        /// Kind.
        kind: Kind,
        /// Namespace; empty for cluster-scoped kinds.
        namespace: Str,
        /// Name.
        name: Str,
    },
    /// Mesh-wide settings, in place of those of the ConfigMap `istio` of the root namespace.
    Mesh(Box<MeshConfig>),
    /// Keys of an issuer of tokens.
    Keys {
        /// Whose.
        source: KeySource,
        /// The key set, or why it cannot be had; `None`: nobody asks for it any more.
        keys: Option<Result<Str, Str>>,
    },
}

/// Declares the kinds that are indexed, each with its store.
macro_rules! kinds {
    ($($field:ident: $ty:ident,)*) => {
        /// Kinds that configuration is made of.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $(#[doc = concat!("`", stringify!($ty), "`.")] $ty,)*
            /// Mesh-wide settings.
            MeshConfig,
            /// Keys of an issuer of tokens, by issuer and place.
            KeySet,
            /// A kind of which nothing is implemented, by its row in the list: only known so that people can be told.
            NotImplemented(&'static str, &'static str),
        }

        impl Kind {
            /// The kind of an object, where it is one of these.
            pub fn of(group: &str, kind: &str) -> Option<Self> {
                $(if group == <$ty as Resource>::GROUP && kind == <$ty as Resource>::KIND {
                    return Some(Self::$ty);
                })*
                unsupported::kind(group, kind).map(|row| Self::NotImplemented(row.group, row.kind))
            }
        }

        #[derive(Debug, Clone, Default)]
        pub(crate) struct Stores {
            $(pub(crate) $field: Store<$ty>,)*
        }

        impl Stores {
            fn upsert(&mut self, kind: Kind, raw: &RawObject) -> Result<Vec<String>, DecodeError> {
                match kind {
                    $(Kind::$ty => {
                        let decoded = raw.decode::<$ty>()?;
                        self.$field.insert(decoded.object);
                        Ok(decoded.unknown)
                    })*
                    Kind::MeshConfig | Kind::KeySet | Kind::NotImplemented(..) => Ok(Vec::new()),
                }
            }

            fn remove(&mut self, kind: Kind, namespace: &str, name: &str) {
                match kind {
                    $(Kind::$ty => self.$field.remove(namespace, name),)*
                    Kind::MeshConfig | Kind::KeySet | Kind::NotImplemented(..) => {}
                }
            }

            /// Namespaces that have an object of any kind.
            fn namespaces(&self) -> BTreeSet<Str> {
                let mut found = BTreeSet::new();
                $(found.extend(self.$field.namespaces().cloned());)*
                found
            }

            /// Gives the objects of a namespace to `to`; which they are.
            fn move_namespace(&mut self, namespace: &Str, to: &mut Self) -> Vec<(Kind, Str)> {
                let mut moved = Vec::new();
                $(moved.extend(self.$field.move_namespace(namespace, &mut to.$field).map(|name| (Kind::$ty, name)));)*
                moved
            }
        }
    };
}

kinds! {
    virtual_services: VirtualService,
    destination_rules: DestinationRule,
    gateways: Gateway,
    service_entries: ServiceEntry,
    workload_entries: WorkloadEntry,
    sidecars: Sidecar,
    peer_authentications: PeerAuthentication,
    authorization_policies: AuthorizationPolicy,
    request_authentications: RequestAuthentication,
    telemetries: Telemetry,
    proxy_configs: ProxyConfig,
    gateway_classes: GatewayClass,
    kubernetes_gateways: KubernetesGateway,
    kubernetes_http_routes: KubernetesHttpRoute,
    kubernetes_grpc_routes: KubernetesGrpcRoute,
    kubernetes_tls_routes: KubernetesTlsRoute,
    kubernetes_tcp_routes: KubernetesTcpRoute,
    reference_grants: ReferenceGrant,
    backend_tls_policies: BackendTlsPolicy,
    services: Service,
    endpoint_slices: EndpointSlice,
    pods: Pod,
    namespaces: Namespace,
    nodes: Node,
    secrets: Secret,
    ingresses: Ingress,
    ingress_classes: IngressClass,
    config_maps: ConfigMap,
}

impl Kind {
    /// Whether unknown members are worth telling: Istio's and the Gateway API's kinds are typed in full, of Kubernetes' own only
    /// views are.
    fn is_typed_in_full(self) -> bool {
        self <= Self::BackendTlsPolicy
    }
}

type Problems = BTreeMap<findings::Subject, Vec<Arc<Diagnostic>>>;
type SliceIndex = BTreeMap<(Str, Str), BTreeSet<Str>>;

/// The resources of a mesh at one moment. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(crate) stores: Stores,
    /// Objects of namespaces that do not belong to the mesh.
    hidden: Stores,
    mesh: Arc<MeshConfig>,
    mesh_is_given: bool,
    /// Suffix of Kubernetes services, `cluster.local`.
    domain: Str,
    /// Suffix that short names in Istio's resources get; empty: only the namespace.
    config_domain: Str,
    registry: Arc<Registry>,
    virtual_services: Arc<Vec<Arc<Prepared>>>,
    destination_rules: Arc<DestinationRules>,
    gateway_api: Arc<gateway_api::Model>,
    slices: Arc<SliceIndex>,
    addresses: Arc<addresses::Addresses>,
    problems: Arc<Problems>,
    /// What compiling says of objects, known before anybody asks for what they are compiled into.
    findings: Arc<Problems>,
    key_sets: Arc<BTreeMap<KeySource, Result<Str, Str>>>,
    /// What proxies see of this, made when it is first looked at.
    scopes: Arc<Scopes>,
}

/// Collects the first objects of a [`Snapshot`].
#[derive(Debug, Default)]
pub struct SnapshotBuilder {
    changes: Vec<Change>,
    domain: Option<Str>,
    config_domain: Option<Str>,
}

impl SnapshotBuilder {
    /// Adds an object.
    #[must_use]
    pub fn object(mut self, object: RawObject) -> Self {
        self.changes.push(Change::Upsert(object));
        self
    }

    /// Adds objects.
    #[must_use]
    pub fn objects(mut self, objects: impl IntoIterator<Item = RawObject>) -> Self {
        self.changes.extend(objects.into_iter().map(Change::Upsert));
        self
    }

    /// Gives the mesh-wide settings.
    #[must_use]
    pub fn mesh(mut self, mesh: MeshConfig) -> Self {
        self.changes.push(Change::Mesh(Box::new(mesh)));
        self
    }

    /// Suffix that short names in Istio's resources get, `cluster.local` by default; empty: only the namespace.
    #[must_use]
    pub fn config_domain(mut self, domain: &str) -> Self {
        self.config_domain = Some(domain.into());
        self
    }

    /// Suffix of Kubernetes services, `cluster.local` by default.
    #[must_use]
    pub fn domain(mut self, domain: &str) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// The snapshot.
    pub fn build(self) -> Snapshot {
        let mut empty = Snapshot::empty();
        if let Some(domain) = self.domain {
            empty.domain = domain;
        }
        if let Some(domain) = self.config_domain {
            empty.config_domain = domain;
        }
        empty.with(self.changes)
    }
}

/// Which derived indexes must be made again.
#[derive(Default)]
struct Stale {
    registry: bool,
    virtual_services: bool,
    destination_rules: bool,
    gateway_api: bool,
}

impl Snapshot {
    fn empty() -> Self {
        Self {
            stores: Stores::default(),
            hidden: Stores::default(),
            mesh: Arc::default(),
            mesh_is_given: false,
            domain: "cluster.local".into(),
            config_domain: "cluster.local".into(),
            registry: Arc::default(),
            virtual_services: Arc::default(),
            destination_rules: Arc::default(),
            gateway_api: Arc::default(),
            slices: Arc::default(),
            addresses: Arc::default(),
            problems: Arc::default(),
            findings: Arc::default(),
            key_sets: Arc::default(),
            scopes: Arc::default(),
        }
    }

    /// An empty one to fill.
    pub fn builder() -> SnapshotBuilder {
        SnapshotBuilder::default()
    }

    /// This one with `changes`, in order.
    #[must_use]
    pub fn with(&self, changes: impl IntoIterator<Item = Change>) -> Self {
        self.apply(changes).0
    }

    /// This one with `changes`, and the keys under which readers know them. An object that cannot be decoded leaves its last
    /// good version in place and a problem behind.
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) -> (Self, Vec<ChangeKey>) {
        let mut next = self.clone();
        let mut stale = Stale::default();
        let mut keys = Vec::new();
        for change in changes {
            match change {
                Change::Mesh(mesh) => {
                    next.note_mesh(&mesh, Vec::new());
                    next.mesh = Arc::from(mesh);
                    next.mesh_is_given = true;
                    keys.push(next.mesh_changed(&mut stale));
                    keys.extend(next.discover_all(&mut stale));
                }
                Change::Upsert(raw) => {
                    if let Some(key) = next.config_map(&raw, &mut stale) {
                        keys.push(key);
                        keys.extend(next.discover_all(&mut stale));
                    }
                    if let Some(kind) = Kind::of(raw.group(), &raw.kind) {
                        keys.push(next.upsert(kind, &raw, &mut stale));
                        keys.extend(next.discover_after(kind, &raw.metadata.name, &mut stale));
                    }
                }
                Change::Keys { source, keys: found } => keys.extend(next.keys_changed(source, found)),
                Change::Delete { kind, namespace, name } => {
                    keys.push(next.delete(kind, namespace, name.clone(), &mut stale));
                    keys.extend(next.discover_after(kind, &name, &mut stale));
                }
            }
        }
        keys.extend(next.derive(&mut stale));
        if keys.iter().any(|key| Scopes::depends_on(key.kind)) {
            next.scopes = Arc::default();
        }
        for (subject, found) in findings::of_changed(&next, &keys) {
            note(&mut next.findings, subject, found);
        }
        (next, keys)
    }

    fn upsert(&mut self, kind: Kind, raw: &RawObject, stale: &mut Stale) -> ChangeKey {
        let (namespace, name): (Str, Str) = (raw.metadata.namespace.as_str().into(), raw.metadata.name.as_str().into());
        let mut also = self.index_keys(kind, &namespace, &name);
        let before =
            self.stores.endpoint_slices.get(&namespace, &name).filter(|_| kind == Kind::EndpointSlice).cloned();
        let into = if self.is_hidden(&namespace) { &mut self.hidden } else { &mut self.stores };
        let found = match into.upsert(kind, raw) {
            Ok(unknown) => {
                let told = kind.is_typed_in_full().then_some(unknown).into_iter().flatten();
                let mut found: Vec<_> = told.map(|path| unknown_field(raw, path)).collect();
                found.extend(unsupported::on_arrival(raw));
                found
            }
            Err(error) => vec![undecodable(raw, &error)],
        };
        self.note(kind, &namespace, &name, found);
        if kind == Kind::EndpointSlice {
            self.index_slice(&namespace, &name, &also);
        }
        self.index_addresses(kind, &namespace, &name, &also);
        let mut now = self.index_keys(kind, &namespace, &name);
        if same_ports(
            before.as_deref(),
            self.stores.endpoint_slices.get(&namespace, &name).filter(|_| before.is_some()),
        ) {
            // What is said of an address that was there and is there is its Service's affair alone.
            let held: BTreeSet<ReadKey> = now.iter().cloned().collect();
            let stayed: BTreeSet<ReadKey> = also.iter().filter(|key| held.contains(*key)).cloned().collect();
            let is_news = |key: &ReadKey| !matches!(key, ReadKey::Address(_)) || !stayed.contains(key);
            also.retain(is_news);
            now.retain(is_news);
        }
        also.append(&mut now);
        stale.mark(kind);
        ChangeKey { kind, namespace, name, also }
    }

    fn delete(&mut self, kind: Kind, namespace: Str, name: Str, stale: &mut Stale) -> ChangeKey {
        let also = self.index_keys(kind, &namespace, &name);
        self.stores.remove(kind, &namespace, &name);
        self.hidden.remove(kind, &namespace, &name);
        self.note(kind, &namespace, &name, Vec::new());
        if kind == Kind::EndpointSlice {
            self.index_slice(&namespace, &name, &also);
        }
        self.index_addresses(kind, &namespace, &name, &also);
        stale.mark(kind);
        ChangeKey { kind, namespace, name, also }
    }

    /// Takes the mesh-wide settings from the ConfigMap `istio` of the root namespace.
    fn config_map(&mut self, raw: &RawObject, stale: &mut Stale) -> Option<ChangeKey> {
        let is_config_map = raw.kind == "ConfigMap" && raw.group().is_empty();
        if !is_config_map
            || raw.metadata.name != "istio"
            || raw.metadata.namespace != "istio-system"
            || self.mesh_is_given
        {
            return None;
        }
        let text = raw.value.pointer("/data/mesh").and_then(|v| v.as_str()).unwrap_or("{}");
        let (namespace, name): (Str, Str) = ("istio-system".into(), "istio".into());
        match MeshConfig::from_yaml(text) {
            Ok((mesh, unknown)) => {
                let found = unknown.into_iter().map(|path| unknown_field(raw, path)).collect();
                self.note_mesh(&mesh, found);
                self.mesh = Arc::new(mesh);
            }
            Err(error) => self.note(Kind::MeshConfig, &namespace, &name, vec![undecodable(raw, &error)]),
        }
        Some(self.mesh_changed(stale))
    }

    fn mesh_changed(&self, stale: &mut Stale) -> ChangeKey {
        *stale = Stale { registry: true, virtual_services: true, destination_rules: true, gateway_api: true };
        ChangeKey { kind: Kind::MeshConfig, namespace: "istio-system".into(), name: "istio".into(), also: Vec::new() }
    }

    /// Notes what has no effect in the mesh's settings, beside what was found before.
    fn note_mesh(&mut self, mesh: &MeshConfig, mut found: Vec<Diagnostic>) {
        let namespace = if mesh.root_namespace.is_empty() { "istio-system" } else { &mesh.root_namespace };
        found.extend(unsupported::in_mesh(mesh, &format!("ConfigMap {namespace}/istio")));
        self.note(Kind::MeshConfig, &"istio-system".into(), &"istio".into(), found);
    }

    fn note(&mut self, kind: Kind, namespace: &Str, name: &Str, found: Vec<Diagnostic>) {
        note(&mut self.problems, (kind, namespace.clone(), name.clone()), found);
    }

    /// Keys beside its name under which an object is found.
    fn index_keys(&self, kind: Kind, namespace: &str, name: &str) -> Vec<ReadKey> {
        match kind {
            Kind::EndpointSlice => {
                let Some(slice) = self.stores.endpoint_slices.get(namespace, name) else { return Vec::new() };
                let service = slice.metadata.labels.get("kubernetes.io/service-name");
                let service = service.map(|name| ReadKey::Endpoints(namespace.into(), name.as_str().into()));
                let addresses = slice.spec.endpoints.iter().flat_map(|e| &e.addresses);
                let addresses = addresses.filter_map(|a| a.parse().ok()).map(ReadKey::Address);
                service.into_iter().chain(addresses).collect()
            }
            _ => self.addresses_of(kind, namespace, name).into_iter().map(ReadKey::Owners).collect(),
        }
    }

    /// Files a slice under its Service, and no longer under that of its index keys before the change.
    fn index_slice(&mut self, namespace: &Str, name: &Str, before: &[ReadKey]) {
        let service = self
            .stores
            .endpoint_slices
            .get(namespace, name)
            .and_then(|s| s.metadata.labels.get("kubernetes.io/service-name"))
            .map(|service| Str::from(service.as_str()));
        let index = Arc::make_mut(&mut self.slices);
        for key in before {
            let ReadKey::Endpoints(namespace, service) = key else { continue };
            let key = (namespace.clone(), service.clone());
            if let Some(names) = index.get_mut(&key) {
                names.remove(name);
                if names.is_empty() {
                    index.remove(&key);
                }
            }
        }
        if let Some(service) = service {
            index.entry((namespace.clone(), service)).or_default().insert(name.clone());
        }
    }

    /// Makes the indexes anew that are stale; the keys of what changed that nobody wrote.
    fn derive(&mut self, stale: &mut Stale) -> Vec<ChangeKey> {
        if stale.registry {
            self.registry = Arc::new(Registry::of(&self.stores, &self.mesh, &self.domain));
        }
        let mut keys = Vec::new();
        if stale.gateway_api {
            let default_export = &self.mesh.default_virtual_service_export_to;
            let model = gateway_api::Model::of(&self.stores, &self.registry, &self.domain, default_export);
            for (kind, namespace, name) in model.differences(&self.gateway_api) {
                stale.mark(kind);
                keys.push(ChangeKey { kind, namespace: namespace.into(), name: name.into(), also: Vec::new() });
            }
            self.gateway_api = Arc::new(model);
        }
        if stale.virtual_services {
            let mut all = prepare_virtual_services(&self.stores.virtual_services, &self.mesh, &self.config_domain);
            all.extend(self.gateway_api.virtual_services.iter().cloned());
            all.sort_by(|a, b| by_age(&a.object, &b.object));
            self.virtual_services = Arc::new(all);
        }
        if stale.destination_rules {
            let all = self.stores.destination_rules.iter().chain(&self.gateway_api.destination_rules);
            self.destination_rules = Arc::new(DestinationRules::of(all, &self.mesh, &self.config_domain));
        }
        keys
    }

    /// Mesh-wide settings.
    pub fn mesh(&self) -> &MeshConfig {
        &self.mesh
    }

    /// All services, of Kubernetes and of ServiceEntries.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Domain of Kubernetes services.
    pub fn domain(&self) -> &Str {
        &self.domain
    }

    /// All VirtualServices, oldest first, names resolved and delegates merged.
    pub fn virtual_services(&self) -> &[Arc<Prepared>] {
        &self.virtual_services
    }

    /// What the Gateway API's objects mean.
    pub(crate) fn gateway_api(&self) -> &gateway_api::Model {
        &self.gateway_api
    }

    pub(crate) fn seen_by(&self, who: ScopeKey, make: impl FnOnce() -> Seen) -> Arc<Seen> {
        self.scopes.get(who, make)
    }

    pub(crate) fn destination_rules(&self) -> &DestinationRules {
        &self.destination_rules
    }

    /// A DestinationRule, of those that are written and those that are made.
    pub(crate) fn destination_rule(&self, namespace: &str, name: &str) -> Option<&Arc<Object<DestinationRule>>> {
        let is_meant = |o: &&Arc<Object<DestinationRule>>| o.metadata.namespace == namespace && o.metadata.name == name;
        let made = || self.gateway_api.destination_rules.iter().find(is_meant);
        self.stores.destination_rules.get(namespace, name).or_else(made)
    }

    pub(crate) fn slices_of(&self, namespace: &str, service: &str) -> impl Iterator<Item = &Str> {
        self.slices.get(&(namespace.into(), service.into())).into_iter().flatten()
    }

    /// Findings about objects that could not be read, or not in full, or ask for what is not implemented, and what compiling
    /// has to say of an object whoever it is compiled for.
    pub fn problems(&self) -> impl Iterator<Item = Arc<Diagnostic>> + '_ {
        self.problems.values().chain(self.findings.values()).flatten().cloned()
    }
}

/// Whether two versions of a slice are of the same Service and have the same ports.
fn same_ports(before: Option<&Object<EndpointSlice>>, now: Option<&Arc<Object<EndpointSlice>>>) -> bool {
    const SERVICE: &str = "kubernetes.io/service-name";
    let (Some(before), Some(now)) = (before, now) else { return false };
    before.spec.ports == now.spec.ports && before.metadata.labels.get(SERVICE) == now.metadata.labels.get(SERVICE)
}

fn note(problems: &mut Arc<Problems>, subject: findings::Subject, found: Vec<Diagnostic>) {
    if !found.is_empty() {
        Arc::make_mut(problems).insert(subject, found.into_iter().map(Arc::new).collect());
    } else if problems.contains_key(&subject) {
        Arc::make_mut(problems).remove(&subject);
    }
}

impl Stale {
    fn mark(&mut self, kind: Kind) {
        self.gateway_api |= gateway_api::concerns(kind);
        match kind {
            Kind::Service | Kind::ServiceEntry => self.registry = true,
            Kind::VirtualService => self.virtual_services = true,
            Kind::DestinationRule => self.destination_rules = true,
            _ => {}
        }
    }
}

fn unknown_field(raw: &RawObject, path: String) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code: "unknown-field",
        resource: unsupported::label(raw),
        position: raw.position.at(&path),
        path,
        message: "unknown field".to_owned(),
        effect: "nothing reads it, so it has no effect on traffic".to_owned(),
    }
}

fn undecodable(raw: &RawObject, error: &DecodeError) -> Diagnostic {
    let (path, message) = match error {
        DecodeError::Field { path, message } => (path.clone(), message.clone()),
        DecodeError::Kind { .. } => (String::new(), error.to_string()),
    };
    Diagnostic {
        severity: Severity::Error,
        code: "undecodable",
        resource: unsupported::label(raw),
        position: raw.position.at(&path),
        path,
        message,
        effect: "the object is left out; its last good version, if there was one, stays in force".to_owned(),
    }
}

#[cfg(test)]
mod tests;
