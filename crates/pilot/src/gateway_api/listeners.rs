//! Listeners of a Gateway: what routes can attach to, the server that each becomes, and what there is to tell about it.

use std::sync::Arc;

use varka_api::istio::{Gateway, Server, ServerPort};
use varka_api::kube::{GATEWAY_API, GatewayListener, KubernetesGateway};
use varka_api::{LabelSelector, Object};

use super::classes::{self, Class};
use super::{Condition, MADE, PARENTS, Problem, World, addresses, made, tls};

/// Binds a made Gateway to Services in place of a selector.
const GATEWAY_SERVICE: &str = "internal.istio.io/gateway-service";
/// Service account of the proxies of a Gateway; empty: any.
const SERVICE_ACCOUNT: &str = "internal.istio.io/service-account-name";
const CONFLICT: &str = "another listener of this Gateway has the port: only the first is served";

/// A Gateway of ours.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) object: Arc<Object<KubernetesGateway>>,
    pub(super) class: Class,
    /// Hosts of the Services in front of its proxies.
    pub(super) services: Vec<String>,
    /// What is wrong with the Gateway as a whole.
    pub(super) problem: Option<Problem>,
    /// What is wrong with what it refers to for its backends.
    pub(super) backend_problem: Option<Problem>,
    pub(super) listeners: Vec<Listener>,
}

/// A listener.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) port: u32,
    pub(super) protocol: String,
    /// As written; empty: all.
    pub(super) hostname: String,
    /// `NAMESPACE/HOST`, the namespaces whose routes may attach.
    pub(super) hosts: Vec<String>,
    /// Kinds of routes that may attach.
    pub(super) kinds: Vec<&'static str>,
    /// The server that it becomes; `None`: nothing can attach.
    pub(super) server: Option<Server>,
    /// Whether it is served.
    pub(super) valid: bool,
    pub(super) conditions: Vec<Condition>,
    /// `NAMESPACE/NAME` of the Gateway that is made of it.
    pub(super) internal_name: String,
}

/// `None`: its class is not ours.
pub(super) fn serve(world: &World<'_>, object: &Arc<Object<KubernetesGateway>>) -> Option<Served> {
    let class = classes::class(world.stores, &object.spec.gateway_class_name)?;
    let (services, mut problem) = addresses::services(world, object);
    let mut served = Served {
        object: object.clone(),
        class,
        services,
        problem: None,
        backend_problem: tls::client_certificate(world, object),
        listeners: Vec::new(),
    };
    let hopeless = served.services.is_empty() && problem.is_some();
    if class == Class::Served && !hopeless {
        problem = problem.or_else(|| parameters(world, object));
        let mut accepted: Vec<&GatewayListener> = Vec::new();
        for listener in &object.spec.listeners {
            match accepted.iter().find(|prior| conflict(listener, prior)) {
                Some(prior) => served.listeners.push(conflicted(object, listener, prior)),
                None => {
                    accepted.push(listener);
                    served.listeners.push(build(world, object, listener));
                }
            }
        }
    }
    served.problem = problem;
    Some(served)
}

impl Served {
    /// The Gateways that its listeners mean.
    pub(super) fn gateways(&self) -> impl Iterator<Item = Object<Gateway>> {
        let meta = &self.object.metadata;
        let account =
            if addresses::is_managed(&self.object.spec) { addresses::account(&self.object) } else { "".into() };
        self.listeners.iter().filter(|l| l.valid).filter_map(move |listener| {
            let server = listener.server.clone()?;
            let annotations = [
                ("internal.istio.io/gateway-semantics", "gateway".to_owned()),
                (GATEWAY_SERVICE, self.services.join(",")),
                (PARENTS, format!("Gateway/{}/{}.{}", meta.name, listener.name, meta.namespace)),
                (SERVICE_ACCOUNT, account.clone()),
            ];
            Some(Object {
                metadata: made(internal_name(&meta.name, &listener.name), meta, &meta.namespace, &annotations),
                spec: Gateway { servers: vec![server], ..Gateway::default() },
                status: serde_json::Value::Null,
                position: self.object.position.clone(),
            })
        })
    }
}

fn internal_name(gateway: &str, listener: &str) -> String {
    format!("{gateway}~{MADE}~{listener}")
}

/// `infrastructure.parametersRef`: only a ConfigMap beside the Gateway.
fn parameters(world: &World<'_>, object: &Object<KubernetesGateway>) -> Option<Problem> {
    let reference = object.spec.infrastructure.as_ref()?.parameters_ref.as_ref()?;
    let (namespace, name) = (&object.metadata.namespace, &reference.name);
    if reference.kind != "ConfigMap" || !reference.group.is_empty() {
        let message = format!("infrastructure.parametersRef: {} is no ConfigMap", reference.kind);
        return Some(Problem::new("InvalidParameters", message));
    }
    if world.stores.config_maps.get(namespace, name).is_none() {
        let message = format!("infrastructure.parametersRef: there is no ConfigMap {namespace}/{name}");
        return Some(Problem::new("InvalidParameters", message));
    }
    None
}

fn is_stream(protocol: &str) -> bool {
    matches!(protocol, "TCP" | "UDP")
}

fn host_of(listener: &GatewayListener) -> &str {
    listener.hostname.as_deref().filter(|h| !h.is_empty()).unwrap_or("*")
}

/// Whether two listeners cannot stand beside each other.
fn conflict(a: &GatewayListener, b: &GatewayListener) -> bool {
    let named = |l: &GatewayListener| matches!(l.protocol.as_str(), "HTTP" | "HTTPS" | "TLS");
    if a.port != b.port {
        false
    } else if is_stream(&a.protocol) && (is_stream(&b.protocol) || named(b)) || named(a) && is_stream(&b.protocol) {
        true
    } else if named(a) && named(b) {
        host_of(a) == host_of(b)
    } else {
        a.protocol == b.protocol
    }
}

fn conflicted(object: &Object<KubernetesGateway>, listener: &GatewayListener, prior: &GatewayListener) -> Listener {
    let same_protocol = listener.protocol == prior.protocol && !is_stream(&listener.protocol);
    let reason = if same_protocol { "HostnameConflict" } else { "ProtocolConflict" };
    let problem = Problem::new(reason, format!("{CONFLICT}, `{}`", prior.name));
    let (kinds, _) = kinds(listener);
    Listener {
        conditions: vec![
            Condition::unless(Some(&problem), "Accepted", "Accepted", ""),
            Condition::unless(Some(&problem), "Programmed", "Programmed", ""),
            Condition::holds("Conflicted", reason, problem.message.clone()),
        ],
        ..blank(object, listener, kinds)
    }
}

fn blank(object: &Object<KubernetesGateway>, listener: &GatewayListener, kinds: Vec<&'static str>) -> Listener {
    let (name, namespace) = (&object.metadata.name, &object.metadata.namespace);
    Listener {
        name: listener.name.clone(),
        port: listener.port,
        protocol: listener.protocol.clone(),
        hostname: listener.hostname.clone().unwrap_or_default(),
        hosts: Vec::new(),
        kinds,
        server: None,
        valid: false,
        conditions: Vec::new(),
        internal_name: format!("{namespace}/{}", internal_name(name, &listener.name)),
    }
}

fn build(world: &World<'_>, object: &Object<KubernetesGateway>, listener: &GatewayListener) -> Listener {
    let (settings, tls_problem) = tls::settings(world, object, listener);
    let needs_tls = settings.is_none() && matches!(listener.protocol.as_str(), "HTTPS" | "TLS");
    let tls_problem = tls_problem.or_else(|| {
        let message = format!("a listener of protocol {} needs `tls`", listener.protocol);
        needs_tls.then(|| Problem::new("InvalidCertificateRef", message))
    });
    let (kinds, kinds_are_known) = kinds(listener);
    let anchors = ["InvalidCACertificateRef", "InvalidCACertificateKind", "RefNotPermitted"];
    let accepted = protocol(&listener.protocol).or_else(|| {
        let problem = tls_problem.as_ref().filter(|p| anchors.contains(&p.reason))?;
        Some(Problem::new("NoValidCACertificate", problem.message.clone()))
    });
    let unusable =
        tls_problem.as_ref().map(|p| Problem::new("Invalid", format!("TLS cannot be served: {}", p.message)));
    let wrong_kinds = Problem::new(
        "InvalidRouteKinds",
        "allowedRoutes.kinds has kinds that the protocol of the listener cannot carry",
    );
    let references = if kinds_are_known { tls_problem.as_ref() } else { Some(&wrong_kinds) };
    let conditions = vec![
        Condition::unless(accepted.as_ref(), "Accepted", "Accepted", "The listener is valid"),
        Condition::unless(unusable.as_ref(), "Programmed", "Programmed", "The proxies are told of it"),
        Condition::absent("Conflicted", "NoConflicts", "No other listener has its place"),
        Condition::unless(references, "ResolvedRefs", "ResolvedRefs", "Everything that it refers to is there"),
    ];
    let hosts = hosts(world, object, listener);
    let server = Server {
        port: Some(ServerPort {
            name: "default".to_owned(),
            number: listener.port,
            protocol: listener.protocol.clone(),
            target_port: 0,
        }),
        hosts: hosts.clone(),
        tls: settings,
        ..Server::default()
    };
    Listener {
        hosts,
        server: (!needs_tls).then_some(server),
        valid: accepted.is_none() && tls_problem.is_none(),
        conditions,
        ..blank(object, listener, kinds)
    }
}

fn protocol(name: &str) -> Option<Problem> {
    const KNOWN: [&str; 4] = ["HTTP", "HTTPS", "TLS", "TCP"];
    if KNOWN.contains(&name) {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    let hint = if KNOWN.contains(&upper.as_str()) { format!("; write {upper}") } else { String::new() };
    Some(Problem::new("UnsupportedProtocol", format!("protocol {name:?} is not supported{hint}")))
}

/// Kinds of routes that may attach, and whether all kinds that the listener names are among those that it can carry.
fn kinds(listener: &GatewayListener) -> (Vec<&'static str>, bool) {
    let terminates = listener.tls.as_ref().is_some_and(|t| t.mode.as_deref().unwrap_or("Terminate") == "Terminate");
    let can: &[&'static str] = match listener.protocol.as_str() {
        "HTTP" | "HTTPS" => &["HTTPRoute", "GRPCRoute"],
        "TCP" => &["TCPRoute"],
        "TLS" if terminates => &["TLSRoute", "TCPRoute"],
        "TLS" => &["TLSRoute"],
        _ => &[],
    };
    let asked = listener.allowed_routes.as_ref().map_or(&[][..], |a| a.kinds.as_slice());
    if asked.is_empty() {
        return (can.to_vec(), true);
    }
    let is_asked = |kind: &&str| {
        asked.iter().any(|a| a.kind == **kind && a.group.as_deref().unwrap_or(GATEWAY_API) == GATEWAY_API)
    };
    let both: Vec<_> = can.iter().copied().filter(is_asked).collect();
    let known = both.len() == asked.len();
    (both, known)
}

/// `NAMESPACE/HOST` for every namespace whose routes may attach; `~/HOST` for none.
fn hosts(world: &World<'_>, object: &Object<KubernetesGateway>, listener: &GatewayListener) -> Vec<String> {
    let host = host_of(listener);
    let own = object.metadata.namespace.as_str();
    let from = listener.allowed_routes.as_ref().and_then(|a| a.namespaces.as_ref());
    let namespaces = match (from.and_then(|f| f.from.as_deref()).unwrap_or("Same"), from.map(|f| &f.selector)) {
        ("All", _) => vec!["*".to_owned()],
        ("Selector", Some(Some(selector))) => selected(world, selector),
        ("None", _) => Vec::new(),
        _ => vec![own.to_owned()],
    };
    if namespaces.is_empty() {
        return vec![format!("~/{host}")];
    }
    namespaces.into_iter().map(|namespace| format!("{namespace}/{host}")).collect()
}

fn selected(world: &World<'_>, selector: &LabelSelector) -> Vec<String> {
    let mut found: Vec<String> = world
        .stores
        .namespaces
        .iter()
        .filter(|n| {
            let mut labels = n.metadata.labels.clone();
            // The API server writes it on every namespace; files do not.
            labels.insert("kubernetes.io/metadata.name".to_owned(), n.metadata.name.clone());
            selector.matches(&labels)
        })
        .map(|n| n.metadata.name.clone())
        .collect();
    found.sort();
    found
}
