//! Which kinds are watched.

/// A kind, with the versions to try in turn until the server has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) group: &'static str,
    pub(super) versions: &'static [&'static str],
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
}

const GATEWAY_API: &str = "gateway.networking.k8s.io";
const ISTIO: &[&str] = &["v1", "v1beta1", "v1alpha3"];

const fn kind(
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
) -> Kind {
    Kind { group, versions, kind, plural }
}

/// Everything that snapshots hold, but for Secrets and mesh configuration, of which only some are wanted; and the kinds of which
/// nothing is implemented, so that whoever writes them is told.
pub(super) const KINDS: &[Kind] = &[
    kind("", &["v1"], "Namespace", "namespaces"),
    kind("", &["v1"], "Node", "nodes"),
    kind("", &["v1"], "Service", "services"),
    kind("", &["v1"], "Pod", "pods"),
    kind("discovery.k8s.io", &["v1"], "EndpointSlice", "endpointslices"),
    kind("networking.k8s.io", &["v1"], "Ingress", "ingresses"),
    kind("networking.k8s.io", &["v1"], "IngressClass", "ingressclasses"),
    kind("networking.istio.io", ISTIO, "VirtualService", "virtualservices"),
    kind("networking.istio.io", ISTIO, "DestinationRule", "destinationrules"),
    kind("networking.istio.io", ISTIO, "Gateway", "gateways"),
    kind("networking.istio.io", ISTIO, "ServiceEntry", "serviceentries"),
    kind("networking.istio.io", ISTIO, "WorkloadEntry", "workloadentries"),
    kind("networking.istio.io", ISTIO, "Sidecar", "sidecars"),
    kind("networking.istio.io", &["v1beta1"], "ProxyConfig", "proxyconfigs"),
    kind("security.istio.io", &["v1", "v1beta1"], "PeerAuthentication", "peerauthentications"),
    kind("security.istio.io", &["v1", "v1beta1"], "AuthorizationPolicy", "authorizationpolicies"),
    kind("security.istio.io", &["v1", "v1beta1"], "RequestAuthentication", "requestauthentications"),
    kind("telemetry.istio.io", &["v1", "v1alpha1"], "Telemetry", "telemetries"),
    kind("networking.istio.io", &["v1alpha3"], "EnvoyFilter", "envoyfilters"),
    kind("networking.istio.io", ISTIO, "WorkloadGroup", "workloadgroups"),
    kind("extensions.istio.io", &["v1alpha1"], "WasmPlugin", "wasmplugins"),
    kind("extensions.istio.io", &["v1alpha1"], "TrafficExtension", "trafficextensions"),
    kind(GATEWAY_API, &["v1", "v1beta1"], "GatewayClass", "gatewayclasses"),
    kind(GATEWAY_API, &["v1", "v1beta1"], "Gateway", "gateways"),
    kind(GATEWAY_API, &["v1", "v1beta1"], "HTTPRoute", "httproutes"),
    kind(GATEWAY_API, &["v1"], "GRPCRoute", "grpcroutes"),
    kind(GATEWAY_API, &["v1", "v1alpha3", "v1alpha2"], "TLSRoute", "tlsroutes"),
    kind(GATEWAY_API, &["v1", "v1alpha2"], "TCPRoute", "tcproutes"),
    kind(GATEWAY_API, &["v1alpha2"], "UDPRoute", "udproutes"),
    kind(GATEWAY_API, &["v1"], "ListenerSet", "listenersets"),
    kind(GATEWAY_API, &["v1", "v1beta1"], "ReferenceGrant", "referencegrants"),
    kind(GATEWAY_API, &["v1", "v1alpha3"], "BackendTLSPolicy", "backendtlspolicies"),
];

/// Versions of a kind, in the order in which they are tried, with its name in paths.
pub(crate) fn versions(group: &str, kind: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let found = KINDS.iter().find(|k| k.group == group && k.kind == kind);
    found.into_iter().flat_map(|k| k.versions.iter().map(|version| (*version, k.plural)))
}

pub(super) const SECRET: Kind = kind("", &["v1"], "Secret", "secrets");
pub(super) const CONFIG_MAP: Kind = kind("", &["v1"], "ConfigMap", "configmaps");

#[cfg(test)]
mod tests {
    use super::KINDS;

    #[test]
    fn kinds_that_are_not_implemented_are_watched_too() {
        for row in varka_pilot::NOT_IMPLEMENTED.iter().filter(|row| row.is_whole_kind()) {
            assert!(KINDS.iter().any(|k| k.group == row.group && k.kind == row.kind), "{} {}", row.group, row.kind);
        }
        for kind in KINDS {
            assert!(varka_pilot::Kind::of(kind.group, kind.kind).is_some(), "nobody reads {}", kind.kind);
        }
    }
}
