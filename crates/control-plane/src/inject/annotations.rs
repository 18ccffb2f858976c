//! What a pod asks for in its annotations: interception, proxy configuration, resources; and what of it cannot be given.

use std::net::Ipv4Addr;

use serde_json::{Map, Value};
use varka_api::istio::ProxyConfig;
use varka_pilot::ProxyConfigLayers;

use super::{Options, Refusal, Template};

const TEMPLATES: &str = "inject.istio.io/templates";
const PROXY_CONFIG: &str = "proxy.istio.io/config";
const REWRITE_PROBES: &str = "sidecar.istio.io/rewriteAppHTTPProbers";
const INTERCEPTION_MODE: &str = "sidecar.istio.io/interceptionMode";
const STATUS_PORT: &str = "status.sidecar.istio.io/port";

/// Annotations of Istio's that mean something there and nothing here, with the consequence.
const WITHOUT_EFFECT: [(&str, &str); 10] = [
    ("traffic.sidecar.istio.io/excludeInterfaces", "traffic of all interfaces is redirected"),
    ("sidecar.istio.io/bootstrapOverride", "the sidecar has no Envoy bootstrap"),
    ("sidecar.istio.io/logLevel", "the sidecar logs at its default level; use its admin endpoint /logging"),
    ("sidecar.istio.io/componentLogLevel", "the sidecar logs at its default level; use its admin endpoint /logging"),
    ("sidecar.istio.io/agentLogLevel", "the sidecar logs at its default level; use its admin endpoint /logging"),
    ("sidecar.istio.io/proxyImageType", "there is one image"),
    ("sidecar.istio.io/nativeSidecar", "the sidecar is always a native one"),
    ("sidecar.istio.io/enableCoreDump", "core dumps are left as the node has them"),
    ("sidecar.istio.io/statsInclusionPrefixes", "all metrics are kept"),
    ("traffic.sidecar.istio.io/kubevirtInterfaces", "traffic that arrives by virtual interfaces is not redirected"),
];

/// Which traffic of the pod passes the sidecar; each field is what `proxy-init` is given, checked.
#[derive(Debug)]
pub(super) struct Traffic {
    mode: Mode,
    /// `*` or CIDRs.
    pub(super) include_outbound_ranges: String,
    pub(super) exclude_outbound_ranges: String,
    /// `*` or ports.
    pub(super) include_inbound_ports: String,
    pub(super) exclude_inbound_ports: String,
    pub(super) include_outbound_ports: String,
    pub(super) exclude_outbound_ports: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Redirect,
    None,
}

impl Traffic {
    pub(super) fn read(annotations: &Map<String, Value>) -> Result<Self, Refusal> {
        let mode = match text(annotations, INTERCEPTION_MODE) {
            None | Some("REDIRECT") => Mode::Redirect,
            Some("NONE") => Mode::None,
            Some(other) => {
                return Err(refusal(INTERCEPTION_MODE, other, "it must be REDIRECT or NONE (TPROXY is not supported)"));
            }
        };
        if let Some(port) = text(annotations, STATUS_PORT).filter(|port| *port != "15020") {
            return Err(refusal(STATUS_PORT, port, "the sidecar's status port is always 15020"));
        }
        let ports = |name, star| match text(annotations, name) {
            None => Ok(String::new()),
            Some(value) if is_ports(value, star) => Ok(value.replace(' ', "")),
            Some(value) => Err(refusal(name, value, "it must be a comma-separated list of ports")),
        };
        let ranges = |name, star| match text(annotations, name) {
            None => Ok(String::new()),
            Some(value) if is_ranges(value, star) => Ok(value.replace(' ', "")),
            Some(value) => {
                Err(refusal(name, value, "it must be a comma-separated list of IPv4 ranges such as 10.0.0.0/8"))
            }
        };
        // Absent means all; present and empty means none.
        let all = |name, value: String| if annotations.contains_key(name) { value } else { "*".to_owned() };
        let (inbound, outbound) =
            ("traffic.sidecar.istio.io/includeInboundPorts", "traffic.sidecar.istio.io/includeOutboundIPRanges");
        Ok(Self {
            mode,
            include_outbound_ranges: all(outbound, ranges(outbound, true)?),
            exclude_outbound_ranges: ranges("traffic.sidecar.istio.io/excludeOutboundIPRanges", false)?,
            include_inbound_ports: all(inbound, ports(inbound, true)?),
            exclude_inbound_ports: ports("traffic.sidecar.istio.io/excludeInboundPorts", false)?,
            include_outbound_ports: ports("traffic.sidecar.istio.io/includeOutboundPorts", false)?,
            exclude_outbound_ports: ports("traffic.sidecar.istio.io/excludeOutboundPorts", false)?,
        })
    }

    /// Whether the pod's traffic is redirected at all.
    pub(super) fn redirects(&self) -> bool {
        self.mode == Mode::Redirect
    }

    /// Istio's name of the mode.
    pub(super) fn mode(&self) -> &'static str {
        match self.mode {
            Mode::Redirect => "REDIRECT",
            Mode::None => "NONE",
        }
    }
}

/// Which template the pod takes.
pub(super) fn template(annotations: &Map<String, Value>) -> Result<Template, Refusal> {
    match text(annotations, TEMPLATES) {
        None | Some("sidecar") => Ok(Template::Sidecar),
        Some("gateway") => Ok(Template::Gateway),
        Some(other) => Err(refusal(TEMPLATES, other, "it must be sidecar or gateway")),
    }
}

/// Whether this pod's probes are rewritten.
pub(super) fn rewrite_probes(annotations: &Map<String, Value>, options: &Options) -> Result<bool, Refusal> {
    match text(annotations, REWRITE_PROBES) {
        None => Ok(options.rewrite_probes),
        Some(value) => boolean(value).ok_or_else(|| refusal(REWRITE_PROBES, value, "it must be true or false")),
    }
}

/// The proxy configuration of a pod: the mesh's, ProxyConfigs of the mesh and the namespace, the pod's annotation, the ProxyConfig
/// of the workload, each over those before it, member by member.
pub(super) fn proxy_config(
    annotations: &Map<String, Value>,
    mesh: &Map<String, Value>,
    layers: &ProxyConfigLayers<'_>,
) -> Result<Map<String, Value>, Refusal> {
    let mut merged = Value::Object(mesh.clone());
    for config in &layers.below {
        json_patch::merge(&mut merged, &of_resource(config));
    }
    if let Some(given) = text(annotations, PROXY_CONFIG) {
        let own = serde_saphyr::from_str::<Value>(given).ok();
        let Some(own @ Value::Object(_)) = own else {
            return Err(refusal(PROXY_CONFIG, given, "it must be a YAML mapping with fields of Istio's ProxyConfig"));
        };
        json_patch::merge(&mut merged, &own);
    }
    if let Some(config) = layers.above {
        json_patch::merge(&mut merged, &of_resource(config));
    }
    match merged {
        Value::Object(merged) => Ok(merged),
        _ => Ok(mesh.clone()),
    }
}

/// What a ProxyConfig says, under the names of `defaultConfig`.
fn of_resource(config: &ProxyConfig) -> Value {
    let mut map = Map::new();
    if let Some(concurrency) = config.concurrency {
        map.insert("concurrency".to_owned(), concurrency.into());
    }
    if !config.environment_variables.is_empty() {
        let variables = config.environment_variables.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect();
        map.insert("proxyMetadata".to_owned(), Value::Object(variables));
    }
    Value::Object(map)
}

/// A warning for each annotation that has no effect here.
pub(super) fn unsupported(annotations: &Map<String, Value>) -> Vec<String> {
    WITHOUT_EFFECT
        .iter()
        .filter(|(name, _)| annotations.contains_key(*name))
        .map(|(name, why)| format!("annotation {name} has no effect: {why}"))
        .collect()
}

/// Resources of the injected containers: the annotations replace the mesh's as a whole, as in Istio.
pub(super) fn resources(annotations: &Map<String, Value>, options: &Options) -> Value {
    let mut out = Map::new();
    for (list, resource, name) in [
        ("requests", "cpu", "sidecar.istio.io/proxyCPU"),
        ("requests", "memory", "sidecar.istio.io/proxyMemory"),
        ("limits", "cpu", "sidecar.istio.io/proxyCPULimit"),
        ("limits", "memory", "sidecar.istio.io/proxyMemoryLimit"),
    ] {
        if let Some(quantity) = annotations.get(name) {
            let entry = out.entry(list).or_insert_with(|| Value::Object(Map::new()));
            if let Some(entry) = entry.as_object_mut() {
                entry.insert(resource.to_owned(), quantity.clone());
            }
        }
    }
    if out.is_empty() { options.resources.clone() } else { Value::Object(out) }
}

/// The annotation's text.
pub(super) fn text<'a>(annotations: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    annotations.get(name).and_then(Value::as_str)
}

/// The forms of a boolean that Go's `strconv.ParseBool` reads, and so Istio.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

pub(super) fn refusal(name: &'static str, value: &str, expected: &'static str) -> Refusal {
    Refusal::Annotation { name, value: value.chars().take(200).collect(), expected }
}

fn is_ports(value: &str, star: bool) -> bool {
    (star && value == "*") || items(value).all(|item| item.parse::<u16>().is_ok())
}

fn is_ranges(value: &str, star: bool) -> bool {
    (star && value == "*") || items(value).all(is_range)
}

fn is_range(item: &str) -> bool {
    let Some((address, bits)) = item.split_once('/') else { return false };
    address.parse::<Ipv4Addr>().is_ok() && bits.parse::<u8>().is_ok_and(|bits| bits <= 32)
}

fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}
