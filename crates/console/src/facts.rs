//! What a graph has to know of the cluster, made of its objects.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use varka_telemetry::graph::facts::{
    DestinationRule, Facts, Gateway, Ingress, KubernetesGateway, Map, Namespace, Pod, Port, Replicas, Service,
    ServiceEntry, VirtualService, Waypoint, Workload, WorkloadEntry,
};

use crate::store::{Error, Millis};
use crate::world::World;

const NETWORKING: &str = "networking.istio.io";

/// When something last had traffic, in seconds since the epoch; `None`: never, as far as is stored.
pub trait Seen {
    /// A workload.
    fn workload(&self, namespace: &str, name: &str) -> Option<i64>;
    /// A service.
    fn service(&self, namespace: &str, name: &str) -> Option<i64>;
}

/// Facts of the objects of a world, of now or of then. `cluster` is what proxies call the cluster, `domain` is of its names.
pub fn of(world: &World, cluster: &str, domain: &str, seen: &dyn Seen) -> Facts {
    let each = |group: &str, kind: &str| world.of(group, kind);
    Facts {
        namespaces: each("", "Namespace").iter().map(|o| namespace(o, cluster)).collect(),
        services: each("", "Service").iter().map(|o| service(o, cluster, seen)).collect(),
        workloads: workloads(world, cluster, seen),
        service_entries: each(NETWORKING, "ServiceEntry").iter().map(|o| service_entry(o, cluster)).collect(),
        workload_entries: each(NETWORKING, "WorkloadEntry").iter().map(|o| workload_entry(o, cluster)).collect(),
        virtual_services: each(NETWORKING, "VirtualService").iter().map(|o| virtual_service(o, cluster)).collect(),
        destination_rules: each(NETWORKING, "DestinationRule").iter().map(|o| destination_rule(o, cluster)).collect(),
        gateways: each(NETWORKING, "Gateway").iter().map(|o| gateway(o, cluster)).collect(),
        kubernetes_gateways: each("gateway.networking.k8s.io", "Gateway")
            .iter()
            .map(|o| KubernetesGateway {
                cluster: cluster.to_owned(),
                namespace: text(o, "/metadata/namespace"),
                name: text(o, "/metadata/name"),
                hosts: list(o, "/spec/listeners").map(|l| text(l, "/hostname")).filter(|h| !h.is_empty()).collect(),
            })
            .collect(),
        ingresses: each("networking.k8s.io", "Ingress")
            .iter()
            .map(|o| Ingress {
                namespace: text(o, "/metadata/namespace"),
                name: text(o, "/metadata/name"),
                hosts: list(o, "/spec/rules").map(|rule| text(rule, "/host")).filter(|h| !h.is_empty()).collect(),
            })
            .collect(),
        waypoints: waypoints(world, cluster),
        cluster_domain: domain.to_owned(),
    }
}

fn text(object: &Value, path: &str) -> String {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn texts(object: &Value, path: &str) -> Vec<String> {
    list(object, path).filter_map(Value::as_str).map(str::to_owned).collect()
}

fn list<'o>(object: &'o Value, path: &str) -> impl Iterator<Item = &'o Value> {
    object.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

fn map(object: &Value, path: &str) -> Map {
    let fields = object.pointer(path).and_then(Value::as_object).into_iter().flatten();
    fields.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn has(object: &Value, field: &str) -> bool {
    object.get(field).is_some_and(|value| !value.is_null())
}

fn seconds(object: &Value, path: &str) -> i64 {
    object
        .pointer(path)
        .and_then(Value::as_str)
        .and_then(|t| t.parse::<jiff::Timestamp>().ok())
        .map_or(0, |t| t.as_second())
}

fn namespace(object: &Value, cluster: &str) -> Namespace {
    let name = text(object, "/metadata/name");
    Namespace {
        cluster: cluster.to_owned(),
        created: seconds(object, "/metadata/creationTimestamp"),
        ambient: map(object, "/metadata/labels").get("istio.io/dataplane-mode").is_some_and(|mode| mode == "ambient"),
        control_plane: name == "istio-system",
        name,
    }
}

fn service(object: &Value, cluster: &str, seen: &dyn Seen) -> Service {
    let (namespace, name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
    let port = |port: &Value| Port {
        name: text(port, "/name"),
        number: port.get("port").and_then(Value::as_u64).and_then(|n| n.try_into().ok()).unwrap_or(0),
    };
    Service {
        cluster: cluster.to_owned(),
        labels: map(object, "/metadata/labels"),
        annotations: map(object, "/metadata/annotations"),
        selector: map(object, "/spec/selector"),
        ports: list(object, "/spec/ports").map(port).collect(),
        addresses: texts(object, "/spec/clusterIPs").into_iter().filter(|ip| ip != "None").collect(),
        last_seen: seen.service(&namespace, &name),
        namespace,
        name,
    }
}

/// Pods by the workload that Istio counts them to, and workloads without pods.
fn workloads(world: &World, cluster: &str, seen: &dyn Seen) -> Vec<Workload> {
    let mut found: BTreeMap<(String, String), Workload> = BTreeMap::new();
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        for object in world.of("apps", kind) {
            let workload = Workload {
                labels: map(&object, "/spec/template/metadata/labels"),
                annotations: map(&object, "/metadata/annotations"),
                pod_annotations: map(&object, "/spec/template/metadata/annotations"),
                // How many are asked for is in the specification.
                replicas: Some(replicas(&object, kind))
                    .filter(|of| !world.is_undated("apps", kind) || kind != "DaemonSet" && of.desired == 0),
                ..empty(cluster, &object)
            };
            found.insert((workload.namespace.clone(), workload.name.clone()), workload);
        }
    }
    let owners = owners(world);
    let mut without: HashMap<(String, String), bool> = HashMap::new();
    for object in world.of("", "Pod") {
        if matches!(text(&object, "/status/phase").as_str(), "Succeeded" | "Failed") {
            continue;
        }
        let namespace = text(&object, "/metadata/namespace");
        let name = owner_of(&object, &owners);
        let key = (namespace, name);
        let sidecar = has_sidecar(&object);
        *without.entry(key.clone()).or_default() |= !sidecar;
        let workload =
            found.entry(key.clone()).or_insert_with(|| Workload { name: key.1.clone(), ..empty(cluster, &object) });
        if workload.labels.is_empty() {
            workload.labels = map(&object, "/metadata/labels");
        }
        workload.pod_annotations.extend(map(&object, "/metadata/annotations"));
        workload.ambient |=
            workload.pod_annotations.get("ambient.istio.io/redirection").is_some_and(|on| on == "enabled");
        let addresses = list(&object, "/status/podIPs").map(|ip| text(ip, "/ip")).collect();
        workload.pods.push(Pod { name: text(&object, "/metadata/name"), addresses });
    }
    for (key, workload) in &mut found {
        workload.sidecar = !workload.pods.is_empty() && without.get(key) == Some(&false);
        workload.last_seen = seen.workload(&key.0, &key.1);
    }
    found.into_values().collect()
}

fn empty(cluster: &str, object: &Value) -> Workload {
    Workload {
        cluster: cluster.to_owned(),
        namespace: text(object, "/metadata/namespace"),
        name: text(object, "/metadata/name"),
        ..Workload::default()
    }
}

fn replicas(object: &Value, kind: &str) -> Replicas {
    let of = |path: &str, default: i64| {
        let number = object.pointer(path).and_then(Value::as_i64).unwrap_or(default);
        i32::try_from(number).unwrap_or(i32::MAX)
    };
    // How many proxies are in step is not known here.
    let synced_proxies = -1;
    match kind {
        "DaemonSet" => Replicas {
            desired: of("/status/desiredNumberScheduled", 0),
            current: of("/status/currentNumberScheduled", 0),
            available: of("/status/numberAvailable", 0),
            synced_proxies,
        },
        _ => Replicas {
            desired: of("/spec/replicas", 1),
            current: of("/status/replicas", 0),
            available: of("/status/availableReplicas", 0),
            synced_proxies,
        },
    }
}

/// The workload that a pod counts to; empty: there is no such pod.
pub fn workload_of(world: &World, namespace: &str, pod: &str) -> String {
    let same =
        |o: &std::sync::Arc<Value>| text(o, "/metadata/namespace") == namespace && text(o, "/metadata/name") == pod;
    world.of("", "Pod").into_iter().find(same).map(|found| owner_of(&found, &owners(world))).unwrap_or_default()
}

/// A pod that was there, and the workload that it counts to.
#[derive(Debug, Clone)]
pub struct Departed {
    /// As far as it is kept.
    pub pod: Value,
    /// Its workload.
    pub workload: String,
}

/// Pods that were there at some time from `start` to `end`, and are not in the world.
///
/// # Errors
/// The store cannot be read.
pub fn departed(world: &World, start: Millis, end: Millis) -> Result<Vec<Departed>, Error> {
    let pods = world.departed(("", "Pod"), start, end)?;
    if pods.is_empty() {
        return Ok(Vec::new());
    }
    let mut owners = owners(world);
    owners.extend(world.departed(("apps", "ReplicaSet"), start, end)?.iter().filter_map(owned));
    Ok(pods.into_iter().map(|pod| Departed { workload: owner_of(&pod, &owners), pod }).collect())
}

/// Deployments of ReplicaSets.
fn owners(world: &World) -> HashMap<(String, String), String> {
    world.of("apps", "ReplicaSet").iter().filter_map(|set| owned(set)).collect()
}

/// A ReplicaSet and the Deployment that it is of.
fn owned(set: &Value) -> Option<((String, String), String)> {
    let owner =
        list(set, "/metadata/ownerReferences").find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    Some(((text(set, "/metadata/namespace"), text(set, "/metadata/name")), text(owner, "/name")))
}

/// The workload that a pod counts to: its controller, or that one's, or itself.
fn owner_of(pod: &Value, owners: &HashMap<(String, String), String>) -> String {
    let controller =
        list(pod, "/metadata/ownerReferences").find(|owner| owner.get("controller") == Some(&Value::Bool(true)));
    let Some(controller) = controller else { return text(pod, "/metadata/name") };
    let name = text(controller, "/name");
    if controller.get("kind").and_then(Value::as_str) != Some("ReplicaSet") {
        return name;
    }
    let key = (text(pod, "/metadata/namespace"), name);
    match owners.get(&key) {
        Some(deployment) => deployment.clone(),
        // As Istio guesses where the ReplicaSet is not known.
        None => match text(pod, "/metadata/labels/pod-template-hash") {
            hash if !hash.is_empty() => key.1.strip_suffix(&format!("-{hash}")).unwrap_or(&key.1).to_owned(),
            _ => key.1,
        },
    }
}

/// Native sidecars are init containers.
fn has_sidecar(pod: &Value) -> bool {
    let proxies =
        |path| list(pod, path).any(|container| container.get("name").and_then(Value::as_str) == Some("istio-proxy"));
    proxies("/spec/containers") || proxies("/spec/initContainers")
}

fn service_entry(object: &Value, cluster: &str) -> ServiceEntry {
    let port = |port: &Value| port.get("number").and_then(Value::as_u64).and_then(|n| n.try_into().ok());
    ServiceEntry {
        cluster: cluster.to_owned(),
        namespace: text(object, "/metadata/namespace"),
        name: text(object, "/metadata/name"),
        hosts: texts(object, "/spec/hosts"),
        export_to: texts(object, "/spec/exportTo"),
        internal: text(object, "/spec/location") == "MESH_INTERNAL",
        ports: list(object, "/spec/ports").filter_map(port).collect(),
        addresses: texts(object, "/spec/addresses"),
    }
}

fn workload_entry(object: &Value, cluster: &str) -> WorkloadEntry {
    WorkloadEntry {
        cluster: cluster.to_owned(),
        namespace: text(object, "/metadata/namespace"),
        name: text(object, "/metadata/name"),
        labels: map(object, "/spec/labels"),
    }
}

fn virtual_service(object: &Value, cluster: &str) -> VirtualService {
    let routes = |kind: &str| list(object, kind).collect::<Vec<_>>();
    let (http, tcp, tls) = (routes("/spec/http"), routes("/spec/tcp"), routes("/spec/tls"));
    let destinations: Vec<String> = [&http, &tcp, &tls]
        .into_iter()
        .flatten()
        .flat_map(|route| list(route, "/route").map(|d| text(d, "/destination/host")))
        .filter(|host| !host.is_empty())
        .collect();
    let any = |field: &str| http.iter().any(|route| has(route, field));
    let several = |routes: &[&Value]| routes.iter().any(|route| list(route, "/route").count() > 1);
    VirtualService {
        cluster: cluster.to_owned(),
        namespace: text(object, "/metadata/namespace"),
        name: text(object, "/metadata/name"),
        hosts: texts(object, "/spec/hosts"),
        request_routing: !destinations.is_empty(),
        destinations,
        request_timeout: any("timeout"),
        fault_injection: any("fault"),
        traffic_shifting: several(&http),
        tcp_traffic_shifting: several(&tcp),
        mirroring: any("mirror") || any("mirrors"),
        from_gateway_api: false,
    }
}

fn destination_rule(object: &Value, cluster: &str) -> DestinationRule {
    let breaks = |policy: &Value| has(policy, "connectionPool") || has(policy, "outlierDetection");
    let subsets = list(object, "/spec/subsets").filter(|subset| subset.get("trafficPolicy").is_some_and(breaks));
    DestinationRule {
        cluster: cluster.to_owned(),
        namespace: text(object, "/metadata/namespace"),
        name: text(object, "/metadata/name"),
        host: text(object, "/spec/host"),
        circuit_breaker: object.pointer("/spec/trafficPolicy").is_some_and(breaks),
        subsets_with_circuit_breaker: subsets.map(|subset| map(subset, "/labels")).collect(),
    }
}

fn gateway(object: &Value, cluster: &str) -> Gateway {
    Gateway {
        cluster: cluster.to_owned(),
        namespace: text(object, "/metadata/namespace"),
        name: text(object, "/metadata/name"),
        selector: map(object, "/spec/selector"),
        hosts: list(object, "/spec/servers").flat_map(|server| texts(server, "/hosts")).collect(),
    }
}

fn waypoints(world: &World, cluster: &str) -> Vec<Waypoint> {
    let pods = world.of("", "Pod");
    let mut found: Vec<Waypoint> = pods
        .iter()
        .filter(|pod| {
            let labels = map(pod, "/metadata/labels");
            let managed = labels.get("gateway.istio.io/managed").is_some_and(|by| by == "istio.io-mesh-controller");
            managed && labels.contains_key("gateway.networking.k8s.io/gateway-name")
        })
        .map(|pod| Waypoint {
            cluster: cluster.to_owned(),
            namespace: text(pod, "/metadata/namespace"),
            name: text(pod, "/metadata/labels/gateway.networking.k8s.io~1gateway-name"),
        })
        .collect();
    found.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    found.dedup();
    found
}

#[cfg(test)]
mod tests;
