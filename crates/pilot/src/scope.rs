//! What a proxy sees: services, VirtualServices and DestinationRules, narrowed by a Sidecar resource.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use varka_api::Object;
use varka_api::istio::{
    Destination, DestinationRule, EgressListener, OutboundTrafficPolicyMode, Sidecar, Subset, TrafficPolicy,
};
use varka_engine::ir::Str;

use crate::context::Ctx;
use crate::gateway_api::has_gateway_semantics;
use crate::hosts;
use crate::reads::ReadSet;
use crate::registry::Service;
use crate::snapshot::{Kind, Prepared, RuleOf, by_age};

/// Everything that a proxy sees.
#[derive(Default)]
pub(crate) struct Scope {
    /// The Sidecar resource that applies.
    pub(crate) sidecar: Option<Arc<Object<Sidecar>>>,
    /// Outbound views, the one for every port last.
    pub(crate) egress: Vec<Egress>,
    /// Unknown destinations.
    pub(crate) outbound: OutboundTrafficPolicyMode,
    /// Where unknown destinations all go.
    pub(crate) egress_proxy: Option<Destination>,
    /// Services of every view, and those that VirtualServices lead to.
    services: Vec<Arc<Service>>,
    by_host: HashMap<Str, Arc<Service>>,
}

/// What one outbound listener of a Sidecar imports.
pub(crate) struct Egress {
    /// The listener, when it has a port of its own.
    pub(crate) listener: Option<EgressListener>,
    pub(crate) services: Vec<Arc<Service>>,
    pub(crate) virtual_services: Vec<Arc<Prepared>>,
    /// The one VirtualService whose wildcard means a service best, by the service's host.
    pub(crate) best_wildcard: HashMap<Str, (String, String)>,
}

/// DestinationRules of one host, merged.
#[derive(Debug, Clone)]
pub(crate) struct HostRule {
    /// The oldest, for reports.
    pub(crate) object: Arc<Object<DestinationRule>>,
    pub(crate) policy: Option<TrafficPolicy>,
    pub(crate) subsets: Vec<Subset>,
}

impl HostRule {
    pub(crate) fn subset(&self, name: &str) -> Option<&Subset> {
        self.subsets.iter().find(|s| s.name == name)
    }
}

impl Scope {
    /// By namespace and Sidecar resource alone.
    pub(crate) fn of(ctx: &Ctx<'_>, sidecar: Option<Arc<Object<Sidecar>>>) -> Self {
        let everything = [EgressListener { hosts: vec!["*/*".to_owned()], ..EgressListener::default() }];
        let listeners = match &sidecar {
            Some(s) if !s.spec.egress.is_empty() => s.spec.egress.as_slice(),
            _ => &everything,
        };
        ctx.read(crate::reads::ReadKey::Kind(Kind::VirtualService));
        let egress: Vec<Egress> = listeners.iter().map(|l| import(ctx, l)).collect();
        let (services, by_host) = collect(ctx, &egress);
        let mesh_policy = ctx.mesh().outbound_traffic_policy.as_ref();
        let own_policy = sidecar.as_ref().and_then(|s| s.spec.outbound_traffic_policy.as_ref());
        let (outbound, egress_proxy) = match own_policy {
            Some(p) => (p.mode, p.egress_proxy.clone()),
            None => (mesh_policy.map_or(OutboundTrafficPolicyMode::AllowAny, |p| p.mode), None),
        };
        Self { sidecar, egress, outbound, egress_proxy, services, by_host }
    }

    /// Every service that the proxy sees.
    pub(crate) fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    /// A service by host.
    pub(crate) fn service(&self, host: &str) -> Option<&Arc<Service>> {
        self.by_host.get(host)
    }

    /// The view that a port's routes are made from.
    pub(crate) fn egress_for(&self, port: u16) -> Option<&Egress> {
        self.egress.iter().find(|e| match e.listener.as_ref().and_then(|l| l.port.as_ref()) {
            None => true,
            Some(p) => p.number == u32::from(port),
        })
    }

    /// Whether the Sidecar resource says what is inbound.
    pub(crate) fn has_ingress(&self) -> bool {
        self.sidecar.as_ref().is_some_and(|s| !s.spec.ingress.is_empty())
    }
}

/// A scope, and what making it read.
pub(crate) type Seen = (Scope, ReadSet);

/// Scopes by namespace and Sidecar resource: as many as there are of these among proxies.
#[derive(Default)]
pub(crate) struct Scopes(Mutex<HashMap<ScopeKey, Arc<Seen>>>);

/// The namespace of proxies, and namespace and name of the Sidecar resource that applies to them.
pub(crate) type ScopeKey = (Str, Option<(Str, Str)>);

impl Scopes {
    /// The one that is known, else that which `make` makes.
    pub(crate) fn get(&self, key: ScopeKey, make: impl FnOnce() -> Seen) -> Arc<Seen> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(key).or_insert_with(|| Arc::new(make())))
    }

    /// Whether a change of this kind may alter a scope.
    pub(crate) fn depends_on(kind: Kind) -> bool {
        matches!(
            kind,
            Kind::MeshConfig
                | Kind::Service
                | Kind::ServiceEntry
                | Kind::VirtualService
                | Kind::Sidecar
                | Kind::Namespace
        )
    }
}

impl std::fmt::Debug for Scopes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scopes").finish_non_exhaustive()
    }
}

/// The Sidecar resource of the workload, of its namespace, or of the mesh; the oldest where several fit. Gateways have none.
pub(crate) fn select_sidecar(ctx: &Ctx<'_>) -> Option<Arc<Object<Sidecar>>> {
    if ctx.is_router() {
        return None;
    }
    let store = &ctx.snapshot.stores.sidecars;
    let oldest = |namespace: &str, fits: &dyn Fn(&Sidecar) -> bool| {
        let mut found: Vec<_> = ctx.namespace(Kind::Sidecar, store, namespace).filter(|o| fits(&o.spec)).collect();
        found.sort_by(|a, b| by_age(a, b));
        found.first().map(|o| Arc::clone(o))
    };
    let selector = |s: &Sidecar| s.workload_selector.as_ref().map(|w| w.labels.clone()).filter(|l| !l.is_empty());
    let own = &*ctx.proxy.namespace;
    oldest(own, &|s| selector(s).is_some_and(|l| ctx.proxy.has_labels(&l)))
        .or_else(|| oldest(own, &|s| selector(s).is_none()))
        .or_else(|| oldest(ctx.root_namespace(), &|s| selector(s).is_none()))
}

/// `namespace/host` entries of an outbound listener.
struct Imports {
    /// Namespace (`*`: any) and host; `true`: left out.
    entries: Vec<(Str, String, bool)>,
}

impl Imports {
    fn of(listener: &EgressListener, own_namespace: &str) -> Self {
        let mut entries = Vec::new();
        for host in &listener.hosts {
            let Some((namespace, name)) = host.split_once('/') else { continue };
            let (excluded, namespace) = match namespace.strip_prefix('~') {
                Some("") => (true, "*"),
                Some(rest) => (true, rest),
                None => (false, namespace),
            };
            let namespace = if namespace == "." { own_namespace } else { namespace };
            entries.push((namespace.into(), name.to_ascii_lowercase(), excluded));
        }
        Self { entries }
    }

    fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = &(Str, String, bool)> {
        self.entries.iter().filter(move |(n, _, _)| &**n == "*" || &**n == namespace)
    }

    fn has(&self, namespace: &str, host: &str) -> bool {
        let mut found = false;
        for (_, name, excluded) in self.of_namespace(namespace) {
            if hosts::is_subset(host, name) || (!*excluded && hosts::is_wildcard(host) && hosts::matches(host, name)) {
                if *excluded {
                    return false;
                }
                found = true;
            }
        }
        found
    }

    /// A VirtualService is imported when one of its hosts can mean an imported host.
    fn has_virtual_service(&self, vs: &Prepared) -> bool {
        // Routes of the Gateway API are imported like services: not for a host that is wider than what is imported.
        let exact = has_gateway_semantics(&vs.object.metadata);
        let means =
            |host: &str, name: &str| if exact { hosts::is_subset(host, name) } else { hosts::matches(host, name) };
        vs.spec
            .hosts
            .iter()
            .any(|host| self.of_namespace(vs.namespace()).any(|(_, name, excluded)| !excluded && means(host, name)))
    }
}

fn import(ctx: &Ctx<'_>, listener: &EgressListener) -> Egress {
    let namespace = &ctx.proxy.namespace;
    let imports = Imports::of(listener, namespace);
    let port = listener.port.as_ref().map(|p| p.number);
    let needs_port = port
        .filter(|p| *p > 0 && !listener.port.as_ref().is_some_and(|p| p.protocol.eq_ignore_ascii_case("http_proxy")));
    let mut services: Vec<Arc<Service>> = Vec::new();
    for service in ctx.registry().services() {
        if !service.export.reaches(namespace) || !imports.has(&service.namespace, &service.host) {
            continue;
        }
        match needs_port {
            None => services.push(service.clone()),
            Some(port) => {
                if let Some(found) = u16::try_from(port).ok().and_then(|p| service.port(p)) {
                    let ports = vec![found.clone()];
                    services.push(Arc::new(Service { ports, ..(**service).clone() }));
                }
            }
        }
    }
    one_namespace_per_host(&mut services, namespace);
    let mut virtual_services: Vec<_> = ctx
        .snapshot
        .virtual_services()
        .iter()
        .filter(|vs| {
            (vs.spec.gateways.is_empty() || vs.spec.gateways.iter().any(|g| g == "mesh"))
                && vs.export.reaches(namespace)
                && imports.has_virtual_service(vs)
        })
        .cloned()
        .collect();
    // A route of the client's own namespace comes before that of the Service's.
    virtual_services.sort_by_key(|vs| !(has_gateway_semantics(&vs.object.metadata) && vs.namespace() == &**namespace));
    let best_wildcard = best_wildcards(&virtual_services, &services);
    let listener = port.map(|_| listener.clone());
    Egress { listener, services, virtual_services, best_wildcard }
}

/// Where several namespaces have a host, the proxy's own wins, then Kubernetes', then the oldest.
fn one_namespace_per_host(services: &mut Vec<Arc<Service>>, own: &str) {
    let mut chosen: HashMap<Str, (Str, bool)> = HashMap::new();
    for service in services.iter() {
        let candidate = (service.namespace.clone(), service.is_kubernetes());
        match chosen.get(&service.host) {
            None => drop(chosen.insert(service.host.clone(), candidate)),
            Some((namespace, kubernetes)) => {
                let better = &*service.namespace == own || (&**namespace != own && !kubernetes && candidate.1);
                if better {
                    chosen.insert(service.host.clone(), candidate);
                }
            }
        }
    }
    services.retain(|s| chosen.get(&s.host).is_some_and(|(namespace, _)| *namespace == s.namespace));
}

fn best_wildcards(virtual_services: &[Arc<Prepared>], services: &[Arc<Service>]) -> HashMap<Str, (String, String)> {
    let mut owners: HashMap<&str, &Arc<Prepared>> = HashMap::new();
    for vs in virtual_services {
        for host in &vs.spec.hosts {
            owners.entry(host).or_insert(vs);
        }
    }
    services
        .iter()
        .filter_map(|service| {
            let (_, vs) = hosts::most_specific(&service.host, owners.iter().map(|(h, vs)| (*h, *vs)))?;
            Some((service.host.clone(), (vs.namespace().to_owned(), vs.name().to_owned())))
        })
        .collect()
}

/// Services of all views, then those that their VirtualServices lead to.
fn collect(ctx: &Ctx<'_>, egress: &[Egress]) -> (Vec<Arc<Service>>, HashMap<Str, Arc<Service>>) {
    let mut services: Vec<Arc<Service>> = Vec::new();
    let mut by_host: HashMap<Str, Arc<Service>> = HashMap::new();
    let mut add = |service: &Arc<Service>| {
        if !by_host.contains_key(&service.host) {
            by_host.insert(service.host.clone(), service.clone());
            services.push(service.clone());
        }
    };
    for view in egress {
        view.services.iter().for_each(&mut add);
    }
    let own = &*ctx.proxy.namespace;
    for view in egress {
        for host in view.virtual_services.iter().flat_map(|vs| destinations(vs)) {
            let visible = ctx.registry().by_host(host).iter().filter(|s| s.export.reaches(own));
            if let Some(service) = visible.min_by_key(|s| (&*s.namespace != own, s.namespace.clone())) {
                add(service);
            }
        }
    }
    (services, by_host)
}

fn destinations(vs: &Prepared) -> BTreeSet<&str> {
    let spec = &vs.spec;
    let http = spec.http.iter().flat_map(|h| {
        h.route
            .iter()
            .filter_map(|r| r.destination.as_ref())
            .chain(h.mirror.as_ref())
            .chain(h.mirrors.iter().filter_map(|m| m.destination.as_ref()))
    });
    let tls = spec.tls.iter().flat_map(|t| &t.route).filter_map(|r| r.destination.as_ref());
    let tcp = spec.tcp.iter().flat_map(|t| &t.route).filter_map(|r| r.destination.as_ref());
    http.chain(tls).chain(tcp).map(|d| d.host.as_str()).collect()
}

/// The DestinationRules that a client applies to a host: its own namespace's, else the service's, else the mesh's.
pub(crate) fn destination_rule(ctx: &Ctx<'_>, service: &Service, outbound: bool) -> Option<HostRule> {
    ctx.read(crate::reads::ReadKey::Kind(Kind::DestinationRule));
    let rules = ctx.snapshot.destination_rules();
    let own = &*ctx.proxy.namespace;
    let root = ctx.root_namespace();
    let selects = |rule: &RuleOf| match &rule.object.spec.workload_selector {
        None => true,
        Some(s) => outbound && rule.object.metadata.namespace == own && ctx.proxy.has_labels(&s.match_labels),
    };
    let mut found = rules.of_host(own, &service.host, selects);
    if found.is_empty() {
        found = rules.of_host(&service.namespace, &service.host, |r| selects(r) && r.export.reaches(own));
    }
    if found.is_empty() {
        found = rules.of_host(root, &service.host, |r| selects(r) && r.export.reaches(own));
    }
    // A rule for this workload in particular comes before those for all.
    if found.iter().any(|r| r.object.spec.workload_selector.is_some()) {
        found.retain(|r| r.object.spec.workload_selector.is_some());
        found.truncate(1);
    }
    let first = found.first()?;
    let mut merged = HostRule { object: first.object.clone(), policy: None, subsets: Vec::new() };
    for rule in &found {
        if merged.policy.is_none() {
            merged.policy = rule.object.spec.traffic_policy.clone();
        }
        for subset in &rule.object.spec.subsets {
            if merged.subset(&subset.name).is_none() {
                merged.subsets.push(subset.clone());
            }
        }
    }
    Some(merged)
}
