//! Who talked to whom about what: the labels that all requests of a series have in common, as Istio derives them.
//!
//! What a peer says of itself fills labels; it never decides who the peer is. That is its certificate's say, and where there
//! is one, its namespace is the certificate's too.

use serde_json::{Map, Value};
use varka_engine::ir::{Str, TrafficDirection};

use super::Labels;

/// Longest value of a label that a peer chooses.
const LONGEST: usize = 253;
/// What stands for what is not known.
const UNKNOWN: &str = "unknown";

/// On whose side a request is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reporter {
    /// The client's.
    Source,
    /// The server's.
    Destination,
}

impl Reporter {
    /// By the listener; what is not inbound is a client's.
    pub fn of(direction: TrafficDirection) -> Self {
        if direction == TrafficDirection::Inbound { Self::Destination } else { Self::Source }
    }
}

/// What a workload says of itself, or is said of it. Empty: not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Workload {
    /// Name of the Deployment or the like.
    pub name: Str,
    /// Namespace.
    pub namespace: Str,
    /// Label `app`.
    pub app: Str,
    /// Label `version`.
    pub version: Str,
    /// Canonical service.
    pub canonical_service: Str,
    /// Canonical revision.
    pub canonical_revision: Str,
    /// Cluster (of Kubernetes) that it runs in.
    pub cluster: Str,
}

/// Label that names the service, and the one of its revision.
const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";

impl Workload {
    /// From a node's metadata under Istio's names; `name` where that names no workload.
    pub fn from_node(metadata: &Map<String, Value>, name: &str, namespace: &str, cluster: &str) -> Self {
        let label = |names: &[&str]| {
            let labels = metadata.get("LABELS");
            let found = names.iter().find_map(|name| labels?.get(*name)?.as_str().filter(|v| !v.is_empty()));
            Str::from(found.unwrap_or_default())
        };
        let or = |a: Str, b: &str| if a.is_empty() { b.into() } else { a };
        let name = metadata.get("WORKLOAD_NAME").and_then(Value::as_str).unwrap_or(name);
        let (app, version) = (label(&["app"]), label(&["version"]));
        Self {
            canonical_service: or(label(&[CANONICAL_NAME, "app.kubernetes.io/name"]), first(&app, name)),
            canonical_revision: or(label(&[CANONICAL_REVISION, "app.kubernetes.io/version"]), &version),
            name: name.into(),
            namespace: namespace.into(),
            app,
            version,
            cluster: cluster.into(),
        }
    }

    /// From an endpoint's `istio.workload`: `name;namespace;canonical-service;canonical-revision;cluster`.
    pub fn from_endpoint(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(bounded);
        Some(Self {
            name: parts.next()?,
            namespace: parts.next()?,
            canonical_service: parts.next()?,
            canonical_revision: parts.next()?,
            cluster: parts.next()?,
            // The short form does not say them.
            app: Str::default(),
            version: Str::default(),
        })
    }
}

/// A value that a peer chose; one that is too long, or holds what no name does, counts as not known.
pub fn bounded(text: &str) -> Str {
    let usable = text.len() <= LONGEST && !text.chars().any(char::is_control);
    if usable { text.into() } else { Str::default() }
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP.
    Http,
    /// gRPC.
    Grpc,
    /// Anything else over TCP.
    Tcp,
}

impl Protocol {
    /// Value of the label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

/// Whether the connection was secured, as the server knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecurityPolicy {
    /// The client does not say.
    Unknown,
    /// Plain text.
    None,
    /// mTLS.
    MutualTls,
}

impl SecurityPolicy {
    /// Value of the label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => UNKNOWN,
            Self::None => "none",
            Self::MutualTls => "mutual_tls",
        }
    }
}

/// What is known when a request or connection is counted.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Whose report it is.
    pub reporter: Reporter,
    /// The workload that is proxied.
    pub own: &'a Workload,
    /// URI SAN of its certificate on the connection to the peer; empty: no TLS.
    pub own_principal: &'a str,
    /// The other side.
    pub peer: Option<&'a Workload>,
    /// URI SAN of the certificate that the peer showed; empty: none.
    pub peer_principal: &'a str,
    /// Host of the request, where it may stand in for a service that is not known.
    pub host: &'a str,
    /// Name of the route.
    pub route: &'a str,
    /// Name of the cluster; empty: none.
    pub cluster: &'a str,
    /// Host, name and namespace of the service that the cluster stands for.
    pub service: Option<&'a (Str, Str, Str)>,
    /// What is spoken.
    pub protocol: Protocol,
}

/// What all requests of a series have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SeriesKey {
    reporter: Reporter,
    source: Workload,
    source_principal: Str,
    destination: Workload,
    destination_principal: Str,
    service: Str,
    service_name: Str,
    service_namespace: Str,
    protocol: Protocol,
    security: SecurityPolicy,
}

impl SeriesKey {
    /// As Istio derives it.
    pub fn of(facts: &Facts<'_>) -> Self {
        let mut peer = facts.peer.cloned().unwrap_or_default();
        if let Some(namespace) = namespace_of(facts.peer_principal) {
            peer.namespace = namespace.into();
        }
        let (host, name, namespace) = service(facts);
        let own = facts.own.clone();
        let (own_principal, peer_principal) = (Str::from(facts.own_principal), Str::from(facts.peer_principal));
        match facts.reporter {
            Reporter::Source => Self {
                reporter: Reporter::Source,
                source: own,
                source_principal: own_principal,
                service: host.into(),
                service_name: name.into(),
                service_namespace: first(namespace, &peer.namespace).into(),
                destination: peer,
                destination_principal: peer_principal,
                protocol: facts.protocol,
                // The client cannot tell whether the server verified it.
                security: SecurityPolicy::Unknown,
            },
            Reporter::Destination => Self {
                reporter: Reporter::Destination,
                source: peer,
                source_principal: peer_principal,
                service: first(host, &own.canonical_service).into(),
                service_name: first(name, &own.canonical_service).into(),
                service_namespace: own.namespace.clone(),
                destination: own,
                security: if facts.own_principal.is_empty() || facts.peer_principal.is_empty() {
                    SecurityPolicy::None
                } else {
                    SecurityPolicy::MutualTls
                },
                destination_principal: own_principal,
                protocol: facts.protocol,
            },
        }
    }

    /// The same without anything that a peer chooses: where everything goes that is beyond a bound.
    #[must_use]
    pub(super) fn anonymous(self) -> Self {
        let nobody = || (Workload::default(), Str::default());
        let ((source, source_principal), (destination, destination_principal)) = match self.reporter {
            Reporter::Source => ((self.source, self.source_principal), nobody()),
            Reporter::Destination => (nobody(), (self.destination, self.destination_principal)),
        };
        Self {
            source,
            source_principal,
            destination,
            destination_principal,
            service: Str::default(),
            service_name: Str::default(),
            service_namespace: Str::default(),
            ..self
        }
    }

    /// What is spoken.
    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// How it was secured.
    pub(crate) fn security(&self) -> SecurityPolicy {
        self.security
    }

    /// Labels from `reporter` to `destination_cluster`, in Istio's order.
    pub(crate) fn labels(&self) -> Labels {
        let (s, d) = (&self.source, &self.destination);
        let reporter = match self.reporter {
            Reporter::Source => "source",
            Reporter::Destination => "destination",
        };
        vec![
            ("reporter".into(), reporter.to_owned()),
            ("source_workload".into(), known(&s.name)),
            ("source_canonical_service".into(), known(&s.canonical_service)),
            ("source_canonical_revision".into(), revision(&s.canonical_revision)),
            ("source_workload_namespace".into(), known(&s.namespace)),
            ("source_principal".into(), known(&self.source_principal)),
            ("source_app".into(), known(&s.app)),
            ("source_version".into(), known(&s.version)),
            ("source_cluster".into(), known(&s.cluster)),
            ("destination_workload".into(), known(&d.name)),
            ("destination_workload_namespace".into(), known(&d.namespace)),
            ("destination_principal".into(), known(&self.destination_principal)),
            ("destination_app".into(), known(&d.app)),
            ("destination_version".into(), known(&d.version)),
            ("destination_service".into(), known(&self.service)),
            ("destination_canonical_service".into(), known(&d.canonical_service)),
            ("destination_canonical_revision".into(), revision(&d.canonical_revision)),
            ("destination_service_name".into(), known(&self.service_name)),
            ("destination_service_namespace".into(), known(&self.service_namespace)),
            ("destination_cluster".into(), known(&d.cluster)),
        ]
    }
}

/// Host, name and namespace of the service; empty: not known.
fn service<'a>(facts: &Facts<'a>) -> (&'a str, &'a str, &'a str) {
    let named = |name| (facts.host, name, "");
    match (facts.route, facts.cluster) {
        ("block_all", _) => named("BlackHoleCluster"),
        ("allow_any", _) => named("PassthroughCluster"),
        (_, "BlackHoleCluster" | "PassthroughCluster" | "InboundPassthroughCluster") => named(facts.cluster),
        _ => match facts.service {
            Some((host, name, namespace)) => (host, name, namespace),
            None => (facts.host, facts.host, ""),
        },
    }
}

/// `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`.
fn namespace_of(principal: &str) -> Option<&str> {
    principal.split_once("/ns/")?.1.split('/').next()
}

fn first<'a>(a: &'a str, b: &'a str) -> &'a str {
    if a.is_empty() { b } else { a }
}

fn known(text: &str) -> String {
    first(text, UNKNOWN).to_owned()
}

fn revision(text: &str) -> String {
    first(text, "latest").to_owned()
}
