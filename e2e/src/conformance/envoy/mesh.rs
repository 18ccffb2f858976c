//! `mesh.yaml`, the registry that the cases run against, and the Kubernetes objects that say the same.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::{Value, json};

/// `mesh.yaml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Mesh {
    /// Trust domain of identities.
    pub trust_domain: String,
    /// Labels of nodes by name: where pods are.
    #[serde(default)]
    nodes: BTreeMap<String, BTreeMap<String, String>>,
    services: Vec<Service>,
    /// Those with a sidecar, by the name of the lab's pod.
    pub workloads: BTreeMap<String, Workload>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Service {
    name: String,
    namespace: String,
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    port_name: String,
    #[serde(default)]
    target_port: u16,
    /// Where there are several.
    #[serde(default)]
    ports: Vec<Port>,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Port {
    name: String,
    port: u16,
    /// The same as `port` where it is not said.
    target_port: Option<u16>,
    app_protocol: Option<String>,
}

impl Service {
    fn ports(&self) -> Vec<Port> {
        if !self.ports.is_empty() {
            return self.ports.clone();
        }
        vec![Port {
            name: self.port_name.clone(),
            port: self.port,
            target_port: Some(self.target_port),
            app_protocol: None,
        }]
    }
}

impl Port {
    fn target(&self) -> u16 {
        self.target_port.unwrap_or(self.port)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Endpoint {
    ip: String,
    labels: BTreeMap<String, String>,
    sidecar: bool,
    sa: Option<String>,
    node: Option<String>,
}

/// What a sidecar stands beside.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Workload {
    /// Its pod's address.
    pub ip: String,
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub sa: String,
    /// Its pod's labels.
    pub labels: BTreeMap<String, String>,
    #[serde(rename = "services", default)]
    _services: Vec<String>,
    /// Where it is.
    pub node: Option<String>,
    /// A proxy at the edge, without an application.
    #[serde(default)]
    pub gateway: bool,
}

/// What Kubernetes would hold.
pub(crate) async fn fill(client: &Client, mesh: &Mesh) -> Result<()> {
    let mut namespaces: Vec<&str> = mesh.services.iter().map(|s| s.namespace.as_str()).collect();
    namespaces.extend(mesh.workloads.values().map(|w| w.namespace.as_str()));
    namespaces.sort_unstable();
    namespaces.dedup();
    for name in namespaces {
        put(client, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await?;
    }
    for (name, labels) in &mesh.nodes {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}});
        put(client, node).await?;
    }
    for service in &mesh.services {
        put(client, service_object(service)).await?;
        for endpoint in &service.endpoints {
            pod(client, &service.namespace, endpoint).await?;
        }
        put(client, slice_object(service)).await?;
    }
    for workload in mesh.workloads.values() {
        let endpoint = Endpoint {
            ip: workload.ip.clone(),
            labels: workload.labels.clone(),
            sidecar: !workload.gateway,
            sa: Some(workload.sa.clone()),
            node: workload.node.clone(),
        };
        pod(client, &workload.namespace, &endpoint).await?;
    }
    Ok(())
}

fn service_object(service: &Service) -> Value {
    let port = |p: &Port| {
        let mut port = json!({"name": p.name, "port": p.port, "targetPort": p.target()});
        if let (Some(protocol), Some(port)) = (&p.app_protocol, port.as_object_mut()) {
            port.insert("appProtocol".to_owned(), protocol.as_str().into());
        }
        port
    };
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": service.name, "namespace": service.namespace},
        "spec": {
            "clusterIP": service.cluster_ip,
            "ports": service.ports().iter().map(port).collect::<Vec<_>>(),
        },
    })
}

fn slice_object(service: &Service) -> Value {
    let endpoint = |e: &Endpoint| {
        let target = json!({"kind": "Pod", "name": pod_name(&e.ip), "namespace": service.namespace});
        json!({"addresses": [e.ip], "conditions": {"ready": true}, "targetRef": target})
    };
    let port = |p: &Port| json!({"name": p.name, "port": p.target(), "protocol": "TCP"});
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{}-1", service.name), "namespace": service.namespace,
            "labels": {"kubernetes.io/service-name": service.name},
        },
        "endpoints": service.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": service.ports().iter().map(port).collect::<Vec<_>>(),
    })
}

/// Name of the pod with this address.
pub(crate) fn pod_name(ip: &str) -> String {
    format!("pod-{}", ip.replace('.', "-"))
}

async fn pod(client: &Client, namespace: &str, endpoint: &Endpoint) -> Result<()> {
    let Endpoint { ip, labels, sidecar, sa, node } = endpoint;
    let sa = sa.as_deref().unwrap_or("default");
    put(
        client,
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": sa, "namespace": namespace}}),
    )
    .await?;
    let name = pod_name(ip);
    let mut labels = labels.clone();
    if *sidecar {
        labels.insert("security.istio.io/tlsMode".to_owned(), "istio".to_owned());
    }
    let mut spec = json!({"serviceAccountName": sa, "containers": [{"name": "app", "image": "app"}]});
    if let (Some(node), Some(spec)) = (node, spec.as_object_mut()) {
        spec.insert("nodeName".to_owned(), node.as_str().into());
    }
    put(
        client,
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": spec,
        }),
    )
    .await?;
    let status = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": "True"}]},
    });
    let pods: Api<DynamicObject> = Api::namespaced_with(
        client.clone(),
        namespace,
        &ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod")),
    );
    pods.patch_status(&name, &PatchParams::apply("driver").force(), &Patch::Apply(&status)).await?;
    Ok(())
}

/// Creates an object, which is not there yet.
pub(crate) async fn create(client: &Client, object: Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object)?;
    let types = object.types.as_ref().context("an object without a kind")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(types)?);
    let namespace = object.metadata.namespace.as_deref().context("an object without a namespace")?;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    api.create(&PostParams::default(), &object).await?;
    Ok(())
}

/// Applies an object.
pub(crate) async fn put(client: &Client, object: Value) -> Result<()> {
    let text = |field: &str| object.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let (resource, capabilities) = pinned_kind(client, &GroupVersionKind::gvk(group, version, &kind)).await?;
    let namespace = Some(text("/metadata/namespace")).filter(|n| !n.is_empty()).unwrap_or_else(|| "default".to_owned());
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), &namespace, &resource),
    };
    api.patch(&name, &PatchParams::apply("driver").force(), &Patch::Apply(&object))
        .await
        .with_context(|| format!("{kind} {name}"))?;
    Ok(())
}
