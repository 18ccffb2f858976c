//! What compiling found out, told where people look: the log, and an Event beside the resource that it is about.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info, warn};
use varka_pilot::{Diagnostic, Severity};

/// The same finding is told again after so long, if it still is one.
const REPEAT: Duration = Duration::from_secs(10 * 60);
/// Findings that are remembered; beyond, the oldest are told again early.
const MAX_REMEMBERED: usize = 4096;
/// Longest message of an Event that the API server takes.
const MAX_MESSAGE: usize = 1024;
/// Findings that wait; more are dropped, since each compilation finds them again.
pub(crate) const QUEUE: usize = 1024;

/// Tells of every finding once, until dropped.
pub(crate) async fn run(client: Client, mut findings: mpsc::Receiver<Diagnostic>) {
    let mut told: BTreeMap<Diagnostic, Instant> = BTreeMap::new();
    while let Some(finding) = findings.recv().await {
        let now = Instant::now();
        if told.get(&finding).is_some_and(|at| now.duration_since(*at) < REPEAT) {
            continue;
        }
        if told.len() >= MAX_REMEMBERED {
            told.retain(|_, at| now.duration_since(*at) < REPEAT / 2);
            if told.len() >= MAX_REMEMBERED {
                told.clear();
            }
        }
        match finding.severity {
            Severity::Error | Severity::Warning => warn!("{finding}"),
            Severity::Info => info!("{finding}"),
        }
        if let Some(event) = event(&finding, Timestamp::now()) {
            let namespace = event.metadata.namespace.clone().unwrap_or_default();
            let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
            if let Err(error) = api.create(&PostParams::default(), &event).await {
                debug!(%error, "cannot write an Event");
            }
        }
        told.insert(finding, now);
    }
}

/// The Event for a finding; none for what is good to know only, or is about no object of a namespace.
fn event(finding: &Diagnostic, now: Timestamp) -> Option<Event> {
    if finding.severity == Severity::Info {
        return None;
    }
    let (kind, name) = finding.resource.split_once(' ')?;
    let (namespace, name) = name.split_once('/')?;
    let place = if finding.path.is_empty() { String::new() } else { format!("{}: ", finding.path) };
    let message = format!("{place}{}; {}", finding.message, finding.effect);
    let time = Time(now);
    Some(Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}.")),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: api_version(kind).map(str::to_owned),
            kind: kind.split('.').next().map(str::to_owned),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        },
        reason: Some(reason(finding.code)),
        message: Some(message.chars().take(MAX_MESSAGE).collect()),
        type_: Some("Warning".to_owned()),
        source: Some(EventSource { component: Some("istiod".to_owned()), host: None }),
        first_timestamp: Some(time.clone()),
        last_timestamp: Some(time),
        count: Some(1),
        ..Event::default()
    })
}

/// `unknown-subset` as `UnknownSubset`.
fn reason(code: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    code.split('-').map(capital).collect()
}

/// Of a kind, with its group behind a dot where the kind alone would mean another.
fn api_version(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "VirtualService" | "DestinationRule" | "Gateway" | "ServiceEntry" | "WorkloadEntry" | "WorkloadGroup"
        | "Sidecar" => "networking.istio.io/v1",
        "EnvoyFilter" => "networking.istio.io/v1alpha3",
        "ProxyConfig" => "networking.istio.io/v1beta1",
        "WasmPlugin" | "TrafficExtension" => "extensions.istio.io/v1alpha1",
        "Gateway.gateway.networking.k8s.io" | "HTTPRoute" | "GRPCRoute" | "ListenerSet" => {
            "gateway.networking.k8s.io/v1"
        }
        "ReferenceGrant" => "gateway.networking.k8s.io/v1beta1",
        "TLSRoute" | "TCPRoute" | "UDPRoute" => "gateway.networking.k8s.io/v1alpha2",
        "BackendTLSPolicy" => "gateway.networking.k8s.io/v1alpha3",
        "PeerAuthentication" | "AuthorizationPolicy" | "RequestAuthentication" => "security.istio.io/v1",
        "Telemetry" => "telemetry.istio.io/v1",
        "Ingress" | "IngressClass" => "networking.k8s.io/v1",
        "EndpointSlice" => "discovery.k8s.io/v1",
        "Service" | "Pod" | "Secret" | "ConfigMap" => "v1",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(resource: &str, severity: Severity) -> Diagnostic {
        Diagnostic {
            severity,
            code: "unknown-subset",
            resource: resource.to_owned(),
            path: "spec.http[0].route[1].destination.subset".to_owned(),
            position: None,
            message: "no DestinationRule has a subset canary".to_owned(),
            effect: "this share of requests answers 503".to_owned(),
        }
    }

    #[test]
    fn an_event_stands_beside_its_resource() {
        let event = event(&finding("VirtualService shop/web", Severity::Error), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(event.metadata.namespace.as_deref(), Some("shop"));
        assert_eq!(event.involved_object.name.as_deref(), Some("web"));
        assert_eq!(event.involved_object.api_version.as_deref(), Some("networking.istio.io/v1"));
        assert_eq!(event.reason.as_deref(), Some("UnknownSubset"));
        assert!(event.message.unwrap().starts_with("spec.http[0].route[1].destination.subset: no DestinationRule"));
    }

    #[test]
    fn the_kind_of_another_api_keeps_its_name() {
        let event =
            event(&finding("Gateway.gateway.networking.k8s.io shop/edge", Severity::Warning), Timestamp::UNIX_EPOCH);
        let involved = event.unwrap().involved_object;
        assert_eq!(involved.kind.as_deref(), Some("Gateway"));
        assert_eq!(involved.api_version.as_deref(), Some("gateway.networking.k8s.io/v1"));
    }

    #[test]
    fn no_event_without_a_place_for_it() {
        assert!(event(&finding("Node a", Severity::Error), Timestamp::UNIX_EPOCH).is_none());
        assert!(event(&finding("VirtualService a/b", Severity::Info), Timestamp::UNIX_EPOCH).is_none());
    }
}
