//! The custom kinds that come with the server: Istio's, the Gateway API's, and our own. They are ordinary
//! CustomResourceDefinition objects, made at start from this table, so that everything that reads definitions sees them.
//!
//! Versions, names and printer columns are those that Istio 1.26+ and Gateway API 1.3 serve.

use serde_json::{Value, json};

use crate::object;

/// One custom kind.
pub(crate) struct Row {
    pub(crate) group: &'static str,
    /// Served versions; the first is the stored one.
    pub(crate) versions: &'static [&'static str],
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) short: &'static [&'static str],
    /// Columns between NAME and AGE: name, type, path. An empty path stands for the age column.
    pub(crate) columns: &'static [(&'static str, &'static str, &'static str)],
    pub(crate) namespaced: bool,
}

const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";
const GATEWAY: &str = "gateway.networking.k8s.io";
const ALL_NETWORKING: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const AGE: (&str, &str, &str) = ("Age", "date", ".metadata.creationTimestamp");

const fn row(group: &'static str, versions: &'static [&'static str], plural: &'static str, kind: &'static str) -> Row {
    Row { group, versions, plural, kind, short: &[], columns: &[], namespaced: true }
}

impl Row {
    const fn short(mut self, short: &'static [&'static str]) -> Self {
        self.short = short;
        self
    }
    const fn columns(mut self, columns: &'static [(&'static str, &'static str, &'static str)]) -> Self {
        self.columns = columns;
        self
    }
    const fn cluster(mut self) -> Self {
        self.namespaced = false;
        self
    }
}

/// All of them.
pub(crate) const ROWS: &[Row] = &[
    row(NETWORKING, ALL_NETWORKING, "destinationrules", "DestinationRule")
        .short(&["dr"])
        .columns(&[("Host", "string", ".spec.host"), AGE]),
    row(NETWORKING, ALL_NETWORKING, "gateways", "Gateway").short(&["gw"]),
    row(NETWORKING, ALL_NETWORKING, "serviceentries", "ServiceEntry").short(&["se"]).columns(&[
        ("Hosts", "string", ".spec.hosts"),
        ("Location", "string", ".spec.location"),
        ("Resolution", "string", ".spec.resolution"),
        AGE,
    ]),
    row(NETWORKING, ALL_NETWORKING, "sidecars", "Sidecar"),
    row(NETWORKING, ALL_NETWORKING, "virtualservices", "VirtualService").short(&["vs"]).columns(&[
        ("Gateways", "string", ".spec.gateways"),
        ("Hosts", "string", ".spec.hosts"),
        AGE,
    ]),
    row(NETWORKING, ALL_NETWORKING, "workloadentries", "WorkloadEntry")
        .short(&["we"])
        .columns(&[AGE, ("Address", "string", ".spec.address")]),
    row(NETWORKING, ALL_NETWORKING, "workloadgroups", "WorkloadGroup").short(&["wg"]).columns(&[AGE]),
    row(NETWORKING, &["v1alpha3"], "envoyfilters", "EnvoyFilter"),
    row(NETWORKING, &["v1beta1"], "proxyconfigs", "ProxyConfig"),
    row(SECURITY, &["v1", "v1beta1"], "authorizationpolicies", "AuthorizationPolicy")
        .short(&["ap"])
        .columns(&[("Action", "string", ".spec.action"), AGE]),
    row(SECURITY, &["v1", "v1beta1"], "peerauthentications", "PeerAuthentication")
        .short(&["pa"])
        .columns(&[("Mode", "string", ".spec.mtls.mode"), AGE]),
    row(SECURITY, &["v1", "v1beta1"], "requestauthentications", "RequestAuthentication").short(&["ra"]),
    row("telemetry.istio.io", &["v1", "v1alpha1"], "telemetries", "Telemetry").short(&["telemetry"]).columns(&[AGE]),
    row("extensions.istio.io", &["v1alpha1"], "wasmplugins", "WasmPlugin").columns(&[AGE]),
    row(GATEWAY, &["v1", "v1beta1"], "gatewayclasses", "GatewayClass")
        .short(&["gc"])
        .columns(&[
            ("Controller", "string", ".spec.controllerName"),
            ("Accepted", "string", ".status.conditions[?(@.type==\"Accepted\")].status"),
            AGE,
        ])
        .cluster(),
    row(GATEWAY, &["v1", "v1beta1"], "gateways", "Gateway").short(&["gtw"]).columns(&[
        ("Class", "string", ".spec.gatewayClassName"),
        ("Address", "string", ".status.addresses[*].value"),
        ("Programmed", "string", ".status.conditions[?(@.type==\"Programmed\")].status"),
        AGE,
    ]),
    row(GATEWAY, &["v1", "v1beta1"], "httproutes", "HTTPRoute")
        .columns(&[("Hostnames", "string", ".spec.hostnames"), AGE]),
    row(GATEWAY, &["v1"], "grpcroutes", "GRPCRoute").columns(&[("Hostnames", "string", ".spec.hostnames"), AGE]),
    row(GATEWAY, &["v1", "v1alpha3"], "backendtlspolicies", "BackendTLSPolicy").short(&["btlspolicy"]).columns(&[AGE]),
    row(GATEWAY, &["v1beta1"], "referencegrants", "ReferenceGrant").short(&["refgrant"]).columns(&[AGE]),
    row(GATEWAY, &["v1alpha2"], "tcproutes", "TCPRoute").columns(&[AGE]),
    row(GATEWAY, &["v1alpha2"], "tlsroutes", "TLSRoute").columns(&[AGE]),
    row("local.varka.dev", &["v1alpha1"], "localruntimes", "LocalRuntime").columns(&[AGE]).cluster(),
];

/// Marks the definitions that the server made and may renew.
pub(crate) const OWN_LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "varka");

impl Row {
    /// The definition object. `schema` is the schema of `spec`.
    pub(crate) fn definition(&self, spec: &Value) -> Value {
        let columns: Vec<Value> =
            self.columns.iter().map(|(name, ty, path)| json!({"name": name, "type": ty, "jsonPath": path})).collect();
        let status = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let versions: Vec<Value> = self
            .versions
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let mut version = json!({
                    "name": name, "served": true, "storage": index == 0, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
                });
                if !columns.is_empty() {
                    object::set(&mut version, "additionalPrinterColumns", columns.clone().into());
                }
                version
            })
            .collect();
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{}.{}", self.plural, self.group), "labels": {OWN_LABEL.0: OWN_LABEL.1}},
            "spec": {
                "group": self.group, "scope": if self.namespaced { "Namespaced" } else { "Cluster" },
                "names": {
                    "plural": self.plural, "kind": self.kind, "singular": self.kind.to_lowercase(), "listKind": format!("{}List", self.kind),
                    "shortNames": self.short, "categories": self.categories(),
                },
                "versions": versions,
            },
        })
    }

    fn categories(&self) -> Vec<String> {
        match self.group.strip_suffix(".istio.io") {
            Some(group) => vec!["istio-io".to_owned(), format!("{group}-istio-io")],
            None if self.group == GATEWAY => vec!["gateway-api".to_owned()],
            None => Vec::new(),
        }
    }
}
