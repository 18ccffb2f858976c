//! Sidecar injection: from a pod as somebody wrote it to the changes that make it a workload of the mesh.
//!
//! Pure: [`inject`] looks at the pod and at [`Options`] and returns a JSON patch. The names of labels, annotations, containers,
//! volumes and environment variables are Istio's, because people, dashboards and other tools look for them. The webhook around it
//! is `crate::webhook`.

mod annotations;
mod containers;
mod metadata;
mod overlay;
mod probes;
mod volumes;
mod workload;

use json_patch::{AddOperation, Patch, PatchOperation, jsonptr::PointerBuf};
use serde_json::{Map, Value};

use annotations::Traffic;
use varka_pilot::ProxyConfigs;
use workload::Workload;

/// What the mesh as a whole decides about its sidecars.
#[derive(Debug, Clone)]
pub struct Options {
    /// Image of both injected containers, unless `sidecar.istio.io/proxyImage` names another.
    pub image: String,
    /// `meshConfig.trustDomain`.
    pub trust_domain: String,
    /// DNS suffix of services, e.g. `cluster.local`.
    pub cluster_domain: String,
    /// `host:port` of the certificate and discovery services.
    pub ca_address: String,
    /// `ISTIO_META_CLUSTER_ID`.
    pub cluster_id: String,
    /// `meshConfig.defaultConfig`, as JSON: what `proxy.istio.io/config` of a pod is merged over.
    pub proxy_config: Map<String, Value>,
    /// The ProxyConfig resources.
    pub proxy_configs: ProxyConfigs,
    /// Whether application probes are answered by way of the sidecar, unless `sidecar.istio.io/rewriteAppHTTPProbers` says otherwise.
    pub rewrite_probes: bool,
    /// `meshConfig.enablePrometheusMerge`.
    pub prometheus_merge: bool,
    /// Resources of both containers, unless the `sidecar.istio.io/proxyCPU` family says otherwise.
    pub resources: Value,
}

impl Options {
    /// The defaults for a trust domain and the namespace of the control plane.
    pub fn new(trust_domain: &str, cluster_domain: &str, root_namespace: &str) -> Self {
        Self {
            image: "varka".to_owned(),
            trust_domain: trust_domain.to_owned(),
            cluster_domain: cluster_domain.to_owned(),
            ca_address: format!("istiod.{root_namespace}.svc:15012"),
            cluster_id: "Kubernetes".to_owned(),
            proxy_config: Map::new(),
            proxy_configs: ProxyConfigs::default(),
            rewrite_probes: true,
            prometheus_merge: true,
            resources: serde_json::json!({
                "requests": {"cpu": "10m", "memory": "40Mi"},
                "limits": {"cpu": "2", "memory": "1Gi"},
            }),
        }
    }
}

/// What is to be done with a pod.
#[derive(Debug)]
pub enum Injection {
    /// Apply this.
    Patch {
        /// RFC 6902, in terms of the pod as it was given.
        patch: Patch,
        /// For the person who applied the pod: what was asked for and has no effect.
        warnings: Vec<String>,
    },
    /// Leave the pod as it is.
    Skip(Skip),
}

/// Why a pod is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// `hostNetwork: true`: redirection would take the traffic of the whole node.
    HostNetwork,
    /// Label or annotation `sidecar.istio.io/inject` is not `true` where it decides.
    NotWanted,
    /// It already has what injection adds.
    AlreadyInjected,
    /// A namespace of Kubernetes itself.
    SystemNamespace,
    /// Its own program is the proxy, at the edge: a second one beside it would take its ports. Such a pod is a mesh client by its
    /// label alone, with a token and a root certificate that it mounts itself.
    RunsProxy,
}

/// A pod that asks for something that cannot be given; it must not start without the sidecar that it was meant to have.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// An annotation with a value that makes no sense.
    #[error(
        "metadata.annotations[\"{name}\"]: {value:?} is not valid: {expected}. The pod was not created, because its traffic would not be handled as asked"
    )]
    Annotation {
        /// The annotation.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The object has no `spec`, or metadata that are something else than an object.
    #[error("the object is not a pod: it has no spec, or its metadata is no object")]
    NotAPod,
}

/// Label and annotation by which a pod decides for itself.
pub const INJECT: &str = "sidecar.istio.io/inject";
/// Annotation that injection leaves behind.
pub const STATUS: &str = "sidecar.istio.io/status";
/// Name of the proxy's container.
pub const PROXY_CONTAINER: &str = "istio-proxy";
/// Name of the container that sets redirection up.
pub const INIT_CONTAINER: &str = "istio-init";
/// Port on which the sidecar answers for probes and merged metrics.
pub const STATUS_PORT: u16 = 15020;

const SYSTEM_NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];

/// Which of Istio's templates a pod takes (`inject.istio.io/templates`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Template {
    /// A native sidecar and redirection.
    Sidecar,
    /// The pod's own `istio-proxy` container gets an identity; nothing is redirected.
    Gateway,
}

/// Decides about one pod that is being created in `namespace`. The webhook's selectors have already chosen it.
///
/// # Errors
/// [`Refusal`] for values that cannot be obeyed.
pub fn inject(pod: &Value, namespace: &str, options: &Options) -> Result<Injection, Refusal> {
    let spec = pod.get("spec").and_then(Value::as_object).ok_or(Refusal::NotAPod)?;
    let no_metadata = pod.get("metadata").is_none_or(Value::is_null);
    if !no_metadata && !pod.get("metadata").is_some_and(Value::is_object) {
        return Err(Refusal::NotAPod);
    }
    if let Some(skip) = skip(pod, namespace) {
        return Ok(Injection::Skip(skip));
    }
    let annotations = metadata::strings(pod, "annotations");
    let template = annotations::template(&annotations)?;
    let traffic = Traffic::read(&annotations)?;
    let labels = metadata::strings(pod, "labels");
    let labels = labels.into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned()))).collect();
    let layers = options.proxy_configs.of(namespace, &labels);
    let mut proxy_config = annotations::proxy_config(&annotations, &options.proxy_config, &layers)?;
    proxy_config.entry("discoveryAddress").or_insert_with(|| options.ca_address.as_str().into());
    let workload = Workload::of(pod, namespace);
    let warnings = annotations::unsupported(&annotations);

    let mut containers = list(spec, "containers");
    let mut init_containers = list(spec, "initContainers");
    let own = overlay::take_own_proxy(&mut containers, &mut init_containers);

    let probers = if template == Template::Sidecar && annotations::rewrite_probes(&annotations, options)? {
        probes::rewrite(&mut init_containers, &mut containers)
    } else {
        None
    };
    let prometheus = metadata::prometheus(&annotations, options)?;
    let context = containers::Context {
        pod_containers: &containers,
        annotations: &annotations,
        options,
        proxy_config: &proxy_config,
        workload: &workload,
        traffic: &traffic,
        probers: probers.as_deref(),
        scrape: prometheus.scrape.as_deref(),
    };
    let mut proxy = containers::proxy(&context, template)?;
    if let Some(own) = &own {
        overlay::apply(&mut proxy, own);
    }
    let injected_init = match template {
        Template::Gateway => {
            containers.insert(0, proxy);
            Vec::new()
        }
        Template::Sidecar if traffic.redirects() => vec![containers::init(&context)?, proxy],
        Template::Sidecar => vec![proxy],
    };
    let volumes = volumes::injected(&annotations)?;
    let status = metadata::status(&injected_init, template, &volumes);
    let labels = metadata::labels(pod, &workload);
    let annotations = metadata::annotations(pod, &prometheus, &containers, status);

    let mut all_init = injected_init;
    all_init.append(&mut init_containers);
    let mut all_volumes = list(spec, "volumes");
    let names: Vec<_> = all_volumes.iter().filter_map(|v| v.get("name").cloned()).collect();
    all_volumes.extend(volumes.into_iter().filter(|v| v.get("name").is_some_and(|name| !names.contains(name))));

    let mut operations = vec![
        add(&["metadata", "labels"], Value::Object(labels)),
        add(&["metadata", "annotations"], Value::Object(annotations)),
    ];
    if !all_init.is_empty() {
        operations.push(add(&["spec", "initContainers"], Value::Array(all_init)));
    }
    if list(spec, "containers") != containers {
        operations.push(add(&["spec", "containers"], Value::Array(containers)));
    }
    operations.push(add(&["spec", "volumes"], Value::Array(all_volumes)));
    if no_metadata {
        operations.insert(0, add(&["metadata"], Value::Object(Map::new())));
    }
    Ok(Injection::Patch { patch: Patch(operations), warnings })
}

fn skip(pod: &Value, namespace: &str) -> Option<Skip> {
    if pod.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true) {
        return Some(Skip::HostNetwork);
    }
    if SYSTEM_NAMESPACES.contains(&namespace) {
        return Some(Skip::SystemNamespace);
    }
    let annotations = metadata::strings(pod, "annotations");
    let labels = metadata::strings(pod, "labels");
    // The label is the newer of the two and wins. Anything but "true" and "false" leaves the decision to the namespace.
    let wish = labels.get(INJECT).or_else(|| annotations.get(INJECT)).and_then(Value::as_str);
    if wish == Some("false") {
        return Some(Skip::NotWanted);
    }
    let injected = ["/spec/initContainers", "/spec/containers"]
        .iter()
        .filter_map(|path| pod.pointer(path).and_then(Value::as_array))
        .flatten()
        .any(|container| container.get("name").and_then(Value::as_str) == Some(PROXY_CONTAINER));
    if annotations.contains_key(STATUS) && injected {
        return Some(Skip::AlreadyInjected);
    }
    runs_proxy(pod).then_some(Skip::RunsProxy)
}

/// Whether a container other than [`PROXY_CONTAINER`] runs `varka proxy router`.
fn runs_proxy(pod: &Value) -> bool {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
    containers.into_iter().flatten().any(|container| {
        let args = container.get("args").and_then(Value::as_array);
        args.is_some_and(|args| args.starts_with(&["proxy".into(), "router".into()]))
            && container.get("name").and_then(Value::as_str) != Some(PROXY_CONTAINER)
    })
}

fn list(spec: &Map<String, Value>, field: &str) -> Vec<Value> {
    spec.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// `add` puts a member whether it was there or not (RFC 6902, 4.1).
fn add(path: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
}
