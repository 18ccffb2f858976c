//! The list itself, by kind.

use super::NotImplemented;
use crate::diagnostic::Severity;

const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";
const EXTENSIONS: &str = "extensions.istio.io";
/// Group of the Gateway API.
pub(super) const GATEWAY_API: &str = "gateway.networking.k8s.io";

const fn field(group: &'static str, kind: &'static str, path: &'static str, effect: &'static str) -> NotImplemented {
    let severity = Severity::Warning;
    NotImplemented { group, kind, path, only: &[], severity, effect }
}

const fn whole(group: &'static str, kind: &'static str, effect: &'static str) -> NotImplemented {
    field(group, kind, "spec", effect)
}

const fn virtual_service(path: &'static str, effect: &'static str) -> NotImplemented {
    field(NETWORKING, "VirtualService", path, effect)
}

const fn destination_rule(path: &'static str, effect: &'static str) -> NotImplemented {
    field(NETWORKING, "DestinationRule", path, effect)
}

const fn gateway(path: &'static str, effect: &'static str) -> NotImplemented {
    field(NETWORKING, "Gateway", path, effect)
}

const fn telemetry(path: &'static str, effect: &'static str) -> NotImplemented {
    field("telemetry.istio.io", "Telemetry", path, effect)
}

const fn authorization(path: &'static str, effect: &'static str) -> NotImplemented {
    field(SECURITY, "AuthorizationPolicy", path, effect)
}

const fn request_authentication(path: &'static str, effect: &'static str) -> NotImplemented {
    field(SECURITY, "RequestAuthentication", path, effect)
}

const fn mesh(path: &'static str, effect: &'static str) -> NotImplemented {
    field("", "MeshConfig", path, effect)
}

impl NotImplemented {
    const fn only(mut self, values: &'static [&'static str]) -> Self {
        self.only = values;
        self
    }

    const fn error(mut self) -> Self {
        self.severity = Severity::Error;
        self
    }
}

const NO_WAYPOINTS: &str = "such targets are for waypoints, as in Istio: it applies to nothing; use a selector";
const WAYPOINT_TARGETS: &[&str] = &["Service", "ServiceEntry", "GatewayClass"];
const ABSENT: &str = "the proxies behave as if it were absent";
const NO_NETWORKS: &str = "the address is dialled directly, as if it were in the client's network";
const NAMED_ONLY: &str = "routes attach only to the parents that they name";
const NO_SESSIONS: &str = "requests of one client go to any endpoint";

/// Everything that is not implemented.
pub const NOT_IMPLEMENTED: &[NotImplemented] = &[
    whole(NETWORKING, "EnvoyFilter", ABSENT),
    whole(NETWORKING, "WorkloadGroup", "no WorkloadEntry is made of it and nothing is probed"),
    field(NETWORKING, "ProxyConfig", "spec.image", "the proxy is part of this program: there is no image to choose"),
    whole(EXTENSIONS, "WasmPlugin", ABSENT),
    whole(EXTENSIONS, "TrafficExtension", ABSENT),
    whole(GATEWAY_API, "UDPRoute", "no packet is routed by it"),
    whole(GATEWAY_API, "ListenerSet", "its listeners are not opened"),
    field(GATEWAY_API, "GatewayClass", "spec.parametersRef", "its settings have no effect on what is deployed"),
    field(GATEWAY_API, "Gateway", "spec.infrastructure.parametersRef", "what is deployed is as without it"),
    field(GATEWAY_API, "Gateway", "spec.allowedListeners", "only the Gateway's own listeners are opened"),
    field(GATEWAY_API, "Gateway", "spec.defaultScope", NAMED_ONLY),
    field(GATEWAY_API, "Gateway", "spec.tls.backend.clientCertificateRef", "no certificate is shown to backends"),
    field(GATEWAY_API, "HTTPRoute", "spec.useDefaultGateways", NAMED_ONLY),
    field(GATEWAY_API, "HTTPRoute", "spec.rules[].sessionPersistence", NO_SESSIONS),
    field(
        GATEWAY_API,
        "HTTPRoute",
        "spec.rules[].filters[].type",
        "no rule of the route is in force, and its status says InvalidFilter",
    )
    .only(&["ExternalAuth", "ExtensionRef"])
    .error(),
    field(GATEWAY_API, "GRPCRoute", "spec.useDefaultGateways", NAMED_ONLY),
    field(GATEWAY_API, "GRPCRoute", "spec.rules[].sessionPersistence", NO_SESSIONS),
    field(GATEWAY_API, "TLSRoute", "spec.useDefaultGateways", NAMED_ONLY),
    field(GATEWAY_API, "TCPRoute", "spec.useDefaultGateways", NAMED_ONLY),
    virtual_service("spec.http[].match[].statPrefix", "there are no statistics under this prefix"),
    virtual_service("spec.http[].fault.abort.http2Error", "no request is aborted by it, as in Istio"),
    virtual_service("spec.tcp[].match[].sourceSubnet", "the rule matches clients of every address, as in Istio"),
    destination_rule("spec.trafficPolicy.loadBalancer.zoneAwareLbSetting", "endpoints of all zones are used alike"),
    destination_rule(
        "spec.trafficPolicy.outlierDetection.consecutiveErrors",
        "it is ignored, as by Istio: write consecutive5xxErrors or consecutiveGatewayErrors",
    ),
    gateway("spec.servers[].defaultEndpoint", "it is ignored, as by Istio"),
    field(NETWORKING, "ServiceEntry", "spec.endpoints[].network", NO_NETWORKS),
    field(NETWORKING, "WorkloadEntry", "spec.network", NO_NETWORKS),
    field(NETWORKING, "Sidecar", "spec.ingress[].defaultEndpoint", "connections go to the address that was dialled")
        .only(&["unix://*"])
        .error(),
    field(NETWORKING, "Sidecar", "spec.egress[].bind", "no socket is opened; the listener is as without an address")
        .only(&["unix://*"])
        .error(),
    field(
        SECURITY,
        "RequestAuthentication",
        "spec.jwtRules[].presence",
        "requests without a token pass, as with OPTIONAL; an AuthorizationPolicy can ask for request principals",
    )
    .only(&["REQUIRED"])
    .error(),
    authorization(
        "spec.rules[].when[].key",
        "there is nothing to compare: values match no request, notValues every one",
    )
    .only(&["experimental.envoy.filters.*"])
    .error(),
    request_authentication("spec.targetRef.kind", NO_WAYPOINTS).only(WAYPOINT_TARGETS).error(),
    request_authentication("spec.targetRefs[].kind", NO_WAYPOINTS).only(WAYPOINT_TARGETS).error(),
    authorization("spec.targetRef.kind", NO_WAYPOINTS).only(WAYPOINT_TARGETS).error(),
    authorization("spec.targetRefs[].kind", NO_WAYPOINTS).only(WAYPOINT_TARGETS).error(),
    telemetry("spec.targetRef.kind", NO_WAYPOINTS).only(WAYPOINT_TARGETS),
    telemetry("spec.targetRefs[].kind", NO_WAYPOINTS).only(WAYPOINT_TARGETS),
    telemetry("spec.metrics[].overrides[].match.customMetric", "there are no metrics besides Istio's standard ones"),
    mesh("mesh.ingressService", "Ingresses get the address of the Service that the control plane is started with"),
];
