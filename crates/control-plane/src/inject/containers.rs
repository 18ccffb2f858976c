//! The two injected containers: `istio-init`, which sets redirection up and ends, and `istio-proxy`, the native sidecar.

use serde_json::{Map, Value, json};

use super::annotations::{Traffic, resources, text};
use super::workload::Workload;
use super::{INIT_CONTAINER, Options, PROXY_CONTAINER, Refusal, Template, volumes};

/// User and group of the proxy, whose own traffic is exempt from redirection.
const PROXY_ID: u32 = 1337;
/// The same number as a socket mark.
const MARK: &str = "1337";

/// All that both containers are made from.
pub(super) struct Context<'a> {
    pub(super) pod_containers: &'a [Value],
    pub(super) annotations: &'a Map<String, Value>,
    pub(super) options: &'a Options,
    pub(super) proxy_config: &'a Map<String, Value>,
    pub(super) workload: &'a Workload,
    pub(super) traffic: &'a Traffic,
    /// `ISTIO_KUBE_APP_PROBERS`.
    pub(super) probers: Option<&'a str>,
    /// `ISTIO_PROMETHEUS_ANNOTATIONS`.
    pub(super) scrape: Option<&'a str>,
}

/// Inbound ports of the sidecar itself: HBONE, status, health, metrics.
const OWN_PORTS: &str = "15008,15020,15021,15090";

/// The container that makes the kernel redirect the pod's traffic (`varka proxy-init`).
pub(super) fn init(context: &Context<'_>) -> Result<Value, Refusal> {
    let traffic = context.traffic;
    let mut excluded = OWN_PORTS.to_owned();
    if !traffic.exclude_inbound_ports.is_empty() {
        excluded.push(',');
        excluded.push_str(&traffic.exclude_inbound_ports);
    }
    // The sidecar's own connections are known by their user where it can have one, and by their mark where it can set it.
    let mut args = vec!["proxy-init", "--uid", "1337", "--mark", MARK];
    for (flag, value) in [
        ("--include-inbound-ports", traffic.include_inbound_ports.as_str()),
        ("--exclude-inbound-ports", &excluded),
        ("--include-outbound-ports", &traffic.include_outbound_ports),
        ("--exclude-outbound-ports", &traffic.exclude_outbound_ports),
        ("--include-outbound-cidrs", &traffic.include_outbound_ranges),
        ("--exclude-outbound-cidrs", &traffic.exclude_outbound_ranges),
    ] {
        // An empty list says something only where the default is all.
        if !value.is_empty() || flag == "--include-inbound-ports" || flag == "--include-outbound-cidrs" {
            args.extend([flag, value]);
        }
    }
    let mut container = json!({
        "name": INIT_CONTAINER,
        "image": image(context),
        "args": args,
        "resources": resources(context.annotations, context.options),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]},
            "privileged": false,
            "readOnlyRootFilesystem": false,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "runAsUser": 0,
        },
    });
    let env: Vec<_> = proxy_metadata(context).collect();
    if let (false, Some(container)) = (env.is_empty(), container.as_object_mut()) {
        container.insert("env".to_owned(), Value::Array(env));
    }
    Ok(container)
}

/// The proxy itself.
pub(super) fn proxy(context: &Context<'_>, template: Template) -> Result<Value, Refusal> {
    let role = match template {
        Template::Sidecar => "sidecar",
        Template::Gateway => "router",
    };
    let domain = format!("$(POD_NAMESPACE).svc.{}", context.options.cluster_domain);
    let mut container = json!({
        "name": PROXY_CONTAINER,
        "image": image(context),
        "args": ["proxy", role, "--domain", domain],
        "ports": [{"containerPort": 15090, "protocol": "TCP", "name": "http-envoy-prom"}],
        "env": env(context),
        "startupProbe": probe(0, 1, 600),
        "readinessProbe": probe(0, 15, 4),
        "resources": resources(context.annotations, context.options),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            // For the mark on its own connections; a runtime with users of its own makes no use of it.
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsGroup": PROXY_ID,
            "runAsNonRoot": true,
            "runAsUser": PROXY_ID,
        },
        "volumeMounts": volumes::mounts(context.annotations)?,
    });
    if let (Template::Sidecar, Some(container)) = (template, container.as_object_mut()) {
        // A native sidecar: started before the application's containers and stopped after them (KEP-753).
        container.insert("restartPolicy".to_owned(), json!("Always"));
    }
    Ok(container)
}

fn probe(delay: u32, period: u32, failures: u32) -> Value {
    json!({
        "httpGet": {"path": "/healthz/ready", "port": 15021},
        "initialDelaySeconds": delay,
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    })
}

fn image<'a>(context: &Context<'a>) -> &'a str {
    text(context.annotations, "sidecar.istio.io/proxyImage")
        .filter(|image| !image.is_empty())
        .unwrap_or(&context.options.image)
}

fn env(context: &Context<'_>) -> Vec<Value> {
    let options = context.options;
    let value = |name: &str, value: &str| json!({"name": name, "value": value});
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let names: Vec<_> = context.pod_containers.iter().filter_map(|c| c.get("name").and_then(Value::as_str)).collect();
    let ports: Vec<_> = context
        .pod_containers
        .iter()
        .filter_map(|container| container.get("ports").and_then(Value::as_array))
        .flatten()
        .cloned()
        .collect();
    let mut env = vec![
        value("PILOT_CERT_PROVIDER", "istiod"),
        value("CA_ADDR", &options.ca_address),
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("INSTANCE_IP", "status.podIP"),
        field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        field("HOST_IP", "status.hostIP"),
        value("PROXY_CONFIG", &Value::Object(context.proxy_config.clone()).to_string()),
        value("ISTIO_META_POD_PORTS", &Value::Array(ports).to_string()),
        value("ISTIO_META_APP_CONTAINERS", &names.join(",")),
        value("ISTIO_META_CLUSTER_ID", &options.cluster_id),
        field("ISTIO_META_NODE_NAME", "spec.nodeName"),
        value("ISTIO_META_INTERCEPTION_MODE", context.traffic.mode()),
        value("ISTIO_META_WORKLOAD_NAME", &context.workload.name),
        value("ISTIO_META_OWNER", &context.workload.owner()),
        value("ISTIO_META_MESH_ID", &options.trust_domain),
        value("TRUST_DOMAIN", &options.trust_domain),
        // The mark by which the rules of `istio-init` know the sidecar's own connections.
        value("VARKA_MARK", MARK),
    ];
    env.extend(proxy_metadata(context));
    env.extend(context.probers.map(|probers| value("ISTIO_KUBE_APP_PROBERS", probers)));
    env.extend(context.scrape.map(|scrape| value("ISTIO_PROMETHEUS_ANNOTATIONS", scrape)));
    env
}

/// `proxyMetadata` of the proxy configuration, one environment variable each.
fn proxy_metadata<'a>(context: &Context<'a>) -> impl Iterator<Item = Value> + use<'a> {
    let metadata = context.proxy_config.get("proxyMetadata").and_then(Value::as_object);
    metadata.into_iter().flatten().filter_map(|(name, value)| Some(json!({"name": name, "value": value.as_str()?})))
}
