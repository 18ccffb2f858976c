//! Titles and cells of the built-in kinds.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::object::{self, at, list_at, str_at};
use crate::selector::Selector;

use super::{age, number, since};

mod pod;

/// Titles of the kinds' columns; those after `+` show with `-o wide` only.
const TITLES: &[(&str, &str)] = &[
    ("pods", "Name,Ready,Status,Restarts,Age,+IP,+Node,+Nominated Node,+Readiness Gates"),
    ("deployments.apps", "Name,Ready,Up-to-date,Available,Age,+Containers,+Images,+Selector"),
    ("replicasets.apps", "Name,Desired,Current,Ready,Age,+Containers,+Images,+Selector"),
    ("statefulsets.apps", "Name,Ready,Age,+Containers,+Images"),
    (
        "daemonsets.apps",
        "Name,Desired,Current,Ready,Up-to-date,Available,Node Selector,Age,+Containers,+Images,+Selector",
    ),
    ("jobs.batch", "Name,Status,Completions,Duration,Age,+Containers,+Images,+Selector"),
    ("cronjobs.batch", "Name,Schedule,Suspend,Active,Last Schedule,Age"),
    ("services", "Name,Type,Cluster-IP,External-IP,Port(s),Age,+Selector"),
    ("endpoints", "Name,Endpoints,Age"),
    ("endpointslices.discovery.k8s.io", "Name,AddressType,Ports,Endpoints,Age"),
    ("namespaces", "Name,Status,Age"),
    ("nodes", "Name,Status,Roles,Age,Version,+Internal-IP,+External-IP,+OS-Image,+Kernel-Version,+Container-Runtime"),
    ("events", "Last Seen,Type,Reason,Object,+Subobject,+Source,Message,+First Seen,+Count,+Name"),
    ("configmaps", "Name,Data,Age"),
    ("secrets", "Name,Type,Data,Age"),
    ("serviceaccounts", "Name,Secrets,Age"),
    ("ingresses.networking.k8s.io", "Name,Class,Hosts,Address,Ports,Age"),
    ("ingressclasses.networking.k8s.io", "Name,Controller,Parameters,Age"),
    ("networkpolicies.networking.k8s.io", "Name,Pod-Selector,Age"),
    ("persistentvolumeclaims", "Name,Status,Volume,Capacity,Access Modes,StorageClass,Age,+VolumeMode"),
    ("persistentvolumes", "Name,Capacity,Access Modes,Reclaim Policy,Status,Claim,StorageClass,Age"),
    ("storageclasses.storage.k8s.io", "Name,Provisioner,ReclaimPolicy,VolumeBindingMode,Age"),
    ("horizontalpodautoscalers.autoscaling", "Name,Reference,Targets,MinPods,MaxPods,Replicas,Age"),
    ("poddisruptionbudgets.policy", "Name,Min Available,Max Unavailable,Allowed Disruptions,Age"),
    ("customresourcedefinitions.apiextensions.k8s.io", "Name,Created At"),
    ("mutatingwebhookconfigurations.admissionregistration.k8s.io", "Name,Webhooks,Age"),
    ("validatingwebhookconfigurations.admissionregistration.k8s.io", "Name,Webhooks,Age"),
    ("leases.coordination.k8s.io", "Name,Holder,Age"),
    ("rolebindings.rbac.authorization.k8s.io", "Name,Role,Age"),
    ("clusterrolebindings.rbac.authorization.k8s.io", "Name,Role,Age"),
    ("roles.rbac.authorization.k8s.io", "Name,Created At"),
    ("clusterroles.rbac.authorization.k8s.io", "Name,Created At"),
    ("priorityclasses.scheduling.k8s.io", "Name,Value,Global-Default,Age"),
];

const NONE: &str = "<none>";

/// The columns of a kind, with their priority.
pub(super) fn titles(key: &str) -> impl Iterator<Item = (&'static str, i64)> {
    let list = TITLES.iter().find(|(kind, _)| *kind == key).map_or("Name,Age", |(_, list)| list);
    list.split(',').map(|title| title.strip_prefix('+').map_or((title, 0), |wide| (wide, 1)))
}

/// The cells of an object, one for each title of its kind.
pub(super) fn cells(key: &str, o: &Value, now: Timestamp) -> Vec<Value> {
    let name = object::name(o);
    let age = || age(o, now);
    match key {
        "pods" => pod::cells(o, now),
        "deployments.apps" | "replicasets.apps" | "statefulsets.apps" | "daemonsets.apps" => workload(key, o, now),
        "jobs.batch" => job(o, now),
        "cronjobs.batch" => vec![
            json!(name),
            json!(str_at(o, &["spec", "schedule"])),
            json!(is(o, &["spec", "suspend"])),
            json!(list_at(o, &["status", "active"]).len()),
            json!(
                at(o, &["status", "lastScheduleTime"])
                    .and_then(Value::as_str)
                    .map_or(NONE.to_owned(), |t| since(t, now))
            ),
            json!(age()),
        ],
        "services" => service(o, now),
        "endpoints" => vec![json!(name), json!(endpoints(o)), json!(age())],
        "endpointslices.discovery.k8s.io" => slice(o, now),
        "namespaces" => vec![json!(name), json!(str_at(o, &["status", "phase"])), json!(age())],
        "nodes" => node(o, now),
        "events" => event(o, now),
        "configmaps" => vec![json!(name), json!(size(o.get("data")) + size(o.get("binaryData"))), json!(age())],
        "secrets" => vec![json!(name), json!(str_at(o, &["type"])), json!(size(o.get("data"))), json!(age())],
        "serviceaccounts" => vec![json!(name), json!(list_at(o, &["secrets"]).len()), json!(age())],
        "ingresses.networking.k8s.io" => ingress(o, now),
        "ingressclasses.networking.k8s.io" => {
            vec![json!(name), json!(str_at(o, &["spec", "controller"])), json!(NONE), json!(age())]
        }
        "networkpolicies.networking.k8s.io" => {
            vec![json!(name), json!(selector(o, &["spec", "podSelector"])), json!(age())]
        }
        "persistentvolumeclaims" | "persistentvolumes" | "storageclasses.storage.k8s.io" => storage(key, o, now),
        "horizontalpodautoscalers.autoscaling" => autoscaler(o, now),
        "poddisruptionbudgets.policy" => vec![
            json!(name),
            json!(scalar(o, &["spec", "minAvailable"])),
            json!(scalar(o, &["spec", "maxUnavailable"])),
            json!(number(o, &["status", "disruptionsAllowed"])),
            json!(age()),
        ],
        "customresourcedefinitions.apiextensions.k8s.io"
        | "roles.rbac.authorization.k8s.io"
        | "clusterroles.rbac.authorization.k8s.io" => {
            vec![json!(name), json!(str_at(o, &["metadata", "creationTimestamp"]))]
        }
        "mutatingwebhookconfigurations.admissionregistration.k8s.io"
        | "validatingwebhookconfigurations.admissionregistration.k8s.io" => {
            vec![json!(name), json!(list_at(o, &["webhooks"]).len()), json!(age())]
        }
        "leases.coordination.k8s.io" => vec![json!(name), json!(str_at(o, &["spec", "holderIdentity"])), json!(age())],
        "rolebindings.rbac.authorization.k8s.io" | "clusterrolebindings.rbac.authorization.k8s.io" => {
            let role = format!("{}/{}", str_at(o, &["roleRef", "kind"]), str_at(o, &["roleRef", "name"]));
            vec![json!(name), json!(role), json!(age())]
        }
        "priorityclasses.scheduling.k8s.io" => {
            vec![json!(name), json!(number(o, &["value"])), json!(is(o, &["globalDefault"])), json!(age())]
        }
        _ => vec![json!(name), json!(age())],
    }
}

fn storage(key: &str, o: &Value, now: Timestamp) -> Vec<Value> {
    let (name, age) = (object::name(o), age(o, now));
    match key {
        "persistentvolumeclaims" => vec![
            json!(name),
            json!(str_at(o, &["status", "phase"])),
            json!(str_at(o, &["spec", "volumeName"])),
            json!(str_at(o, &["status", "capacity", "storage"])),
            json!(modes(list_at(o, &["status", "accessModes"]))),
            json!(str_at(o, &["spec", "storageClassName"])),
            json!(age),
            json!(str_at(o, &["spec", "volumeMode"])),
        ],
        "persistentvolumes" => vec![
            json!(name),
            json!(str_at(o, &["spec", "capacity", "storage"])),
            json!(modes(list_at(o, &["spec", "accessModes"]))),
            json!(str_at(o, &["spec", "persistentVolumeReclaimPolicy"])),
            json!(str_at(o, &["status", "phase"])),
            json!(claim(o)),
            json!(str_at(o, &["spec", "storageClassName"])),
            json!(age),
        ],
        _ => vec![
            json!(name),
            json!(str_at(o, &["provisioner"])),
            json!(str_at(o, &["reclaimPolicy"])),
            json!(str_at(o, &["volumeBindingMode"])),
            json!(age),
        ],
    }
}

fn is(o: &Value, path: &[&str]) -> bool {
    at(o, path).and_then(Value::as_bool).unwrap_or(false)
}

fn size(map: Option<&Value>) -> usize {
    map.and_then(Value::as_object).map_or(0, Map::len)
}

fn scalar(o: &Value, path: &[&str]) -> String {
    at(o, path).map_or("N/A".to_owned(), |v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
}

fn selector(o: &Value, path: &[&str]) -> String {
    let text = at(o, path).map(|s| Selector::from_object(s).to_text()).unwrap_or_default();
    if text.is_empty() { NONE.to_owned() } else { text }
}

fn or_none(text: String) -> String {
    if text.is_empty() { NONE.to_owned() } else { text }
}

/// Names and images of a template's containers.
fn containers(spec: Option<&Value>) -> (String, String) {
    let list = spec.map(|s| list_at(s, &["containers"])).unwrap_or_default();
    let join = |field: &str| list.iter().map(|c| str_at(c, &[field])).collect::<Vec<_>>().join(",");
    (join("name"), join("image"))
}

fn workload(key: &str, o: &Value, now: Timestamp) -> Vec<Value> {
    let status = |name: &str| number(o, &["status", name]);
    let desired = number(o, &["spec", "replicas"]);
    let (names, images) = containers(at(o, &["spec", "template", "spec"]));
    let mut cells = vec![json!(object::name(o))];
    match key {
        "deployments.apps" => {
            cells.push(json!(format!("{}/{desired}", status("readyReplicas"))));
            cells.extend([json!(status("updatedReplicas")), json!(status("availableReplicas"))]);
        }
        "replicasets.apps" => cells.extend([json!(desired), json!(status("replicas")), json!(status("readyReplicas"))]),
        "statefulsets.apps" => cells.push(json!(format!("{}/{desired}", status("readyReplicas")))),
        _ => {
            let names = [
                "desiredNumberScheduled",
                "currentNumberScheduled",
                "numberReady",
                "updatedNumberScheduled",
                "numberAvailable",
            ];
            cells.extend(names.map(|n| json!(status(n))));
            let labels = at(o, &["spec", "template", "spec", "nodeSelector"]).cloned().unwrap_or_default();
            cells.push(json!(or_none(Selector::from_object(&json!({"matchLabels": labels})).to_text())));
        }
    }
    cells.extend([json!(age(o, now)), json!(names), json!(images)]);
    if key != "statefulsets.apps" {
        cells.push(json!(selector(o, &["spec", "selector"])));
    }
    cells
}

fn job(o: &Value, now: Timestamp) -> Vec<Value> {
    let condition = |ty: &str| {
        list_at(o, &["status", "conditions"])
            .iter()
            .any(|c| str_at(c, &["type"]) == ty && str_at(c, &["status"]) == "True")
    };
    let status = if condition("Complete") {
        "Complete"
    } else if condition("Failed") {
        "Failed"
    } else if is(o, &["spec", "suspend"]) {
        "Suspended"
    } else {
        "Running"
    };
    let completions = format!(
        "{}/{}",
        number(o, &["status", "succeeded"]),
        at(o, &["spec", "completions"]).and_then(Value::as_i64).unwrap_or(1)
    );
    let start = str_at(o, &["status", "startTime"]).parse::<Timestamp>().ok();
    let end = str_at(o, &["status", "completionTime"]).parse::<Timestamp>().unwrap_or(now);
    let duration = start.map(|s| super::duration(end.as_second() - s.as_second())).unwrap_or_default();
    let (names, images) = containers(at(o, &["spec", "template", "spec"]));
    vec![
        json!(object::name(o)),
        json!(status),
        json!(completions),
        json!(duration),
        json!(age(o, now)),
        json!(names),
        json!(images),
        json!(selector(o, &["spec", "selector"])),
    ]
}

fn service(o: &Value, now: Timestamp) -> Vec<Value> {
    let kind = str_at(o, &["spec", "type"]);
    let balancer: Vec<&str> = list_at(o, &["status", "loadBalancer", "ingress"])
        .iter()
        .map(|i| if str_at(i, &["ip"]).is_empty() { str_at(i, &["hostname"]) } else { str_at(i, &["ip"]) })
        .collect();
    let mut external: Vec<&str> = list_at(o, &["spec", "externalIPs"]).iter().filter_map(Value::as_str).collect();
    external.extend(&balancer);
    let external = match kind {
        "ExternalName" => str_at(o, &["spec", "externalName"]).to_owned(),
        "LoadBalancer" if external.is_empty() => "<pending>".to_owned(),
        _ => or_none(external.join(",")),
    };
    let ports: Vec<String> = list_at(o, &["spec", "ports"])
        .iter()
        .map(|p| {
            let (port, node, protocol) = (number(p, &["port"]), number(p, &["nodePort"]), str_at(p, &["protocol"]));
            if node > 0 { format!("{port}:{node}/{protocol}") } else { format!("{port}/{protocol}") }
        })
        .collect();
    let labels = at(o, &["spec", "selector"]).cloned().unwrap_or_default();
    vec![
        json!(object::name(o)),
        json!(kind),
        json!(or_none(str_at(o, &["spec", "clusterIP"]).to_owned())),
        json!(external),
        json!(or_none(ports.join(","))),
        json!(age(o, now)),
        json!(or_none(Selector::from_object(&json!({"matchLabels": labels})).to_text())),
    ]
}

/// The first three of a list, and how many more there are.
fn first_three(all: &[String]) -> String {
    match all {
        [] => NONE.to_owned(),
        [a, b, c, _, ..] => format!("{a},{b},{c} + {} more...", all.len() - 3),
        few => few.join(","),
    }
}

fn endpoints(o: &Value) -> String {
    let mut all = Vec::new();
    for subset in list_at(o, &["subsets"]) {
        for address in list_at(subset, &["addresses"]) {
            for port in list_at(subset, &["ports"]) {
                all.push(format!("{}:{}", str_at(address, &["ip"]), number(port, &["port"])));
            }
        }
    }
    first_three(&all)
}

fn slice(o: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = list_at(o, &["ports"]).iter().map(|p| number(p, &["port"]).to_string()).collect();
    let addresses = list_at(o, &["endpoints"]).iter().flat_map(|e| list_at(e, &["addresses"]));
    let addresses: Vec<String> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
    let ports = if ports.is_empty() { "<unset>".to_owned() } else { first_three(&ports) };
    let addresses = if addresses.is_empty() { "<unset>".to_owned() } else { first_three(&addresses) };
    vec![json!(object::name(o)), json!(str_at(o, &["addressType"])), json!(ports), json!(addresses), json!(age(o, now))]
}

fn node(o: &Value, now: Timestamp) -> Vec<Value> {
    let ready = list_at(o, &["status", "conditions"]).iter().find(|c| str_at(c, &["type"]) == "Ready");
    let mut status = match ready.map(|c| str_at(c, &["status"])) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if is(o, &["spec", "unschedulable"]) {
        status.push_str(",SchedulingDisabled");
    }
    let labels = at(o, &["metadata", "labels"]).and_then(Value::as_object);
    let roles: Vec<&str> =
        labels.into_iter().flatten().filter_map(|(k, _)| k.strip_prefix("node-role.kubernetes.io/")).collect();
    let address = |ty: &str| {
        let found = list_at(o, &["status", "addresses"]).iter().find(|a| str_at(a, &["type"]) == ty);
        or_none(found.map(|a| str_at(a, &["address"]).to_owned()).unwrap_or_default())
    };
    let info = |name: &str| str_at(o, &["status", "nodeInfo", name]).to_owned();
    vec![
        json!(object::name(o)),
        json!(status),
        json!(or_none(roles.join(","))),
        json!(age(o, now)),
        json!(info("kubeletVersion")),
        json!(address("InternalIP")),
        json!(address("ExternalIP")),
        json!(info("osImage")),
        json!(info("kernelVersion")),
        json!(info("containerRuntimeVersion")),
    ]
}

fn event(o: &Value, now: Timestamp) -> Vec<Value> {
    let first_of =
        |paths: &[&[&str]]| paths.iter().map(|p| str_at(o, p)).find(|t| !t.is_empty()).unwrap_or_default().to_owned();
    let last = first_of(&[
        &["series", "lastObservedTime"],
        &["lastTimestamp"],
        &["eventTime"],
        &["metadata", "creationTimestamp"],
    ]);
    let first = first_of(&[&["firstTimestamp"], &["eventTime"], &["metadata", "creationTimestamp"]]);
    let object =
        format!("{}/{}", str_at(o, &["involvedObject", "kind"]).to_lowercase(), str_at(o, &["involvedObject", "name"]));
    let source = [str_at(o, &["source", "component"]), str_at(o, &["reportingComponent"])]
        .into_iter()
        .find(|s| !s.is_empty())
        .unwrap_or_default();
    let count = at(o, &["series", "count"]).or_else(|| o.get("count")).and_then(Value::as_i64).unwrap_or(1);
    vec![
        json!(since(&last, now)),
        json!(str_at(o, &["type"])),
        json!(str_at(o, &["reason"])),
        json!(object),
        json!(str_at(o, &["involvedObject", "fieldPath"])),
        json!(source),
        json!(str_at(o, &["message"]).trim()),
        json!(since(&first, now)),
        json!(count),
        json!(object::name(o)),
    ]
}

fn ingress(o: &Value, now: Timestamp) -> Vec<Value> {
    let hosts: Vec<String> = list_at(o, &["spec", "rules"])
        .iter()
        .map(|r| str_at(r, &["host"]))
        .filter(|h| !h.is_empty())
        .map(str::to_owned)
        .collect();
    let hosts = if hosts.is_empty() { "*".to_owned() } else { first_three(&hosts) };
    let balancer = list_at(o, &["status", "loadBalancer", "ingress"]).iter();
    let address: Vec<&str> = balancer
        .map(|i| if str_at(i, &["ip"]).is_empty() { str_at(i, &["hostname"]) } else { str_at(i, &["ip"]) })
        .collect();
    let ports = if list_at(o, &["spec", "tls"]).is_empty() { "80" } else { "80, 443" };
    vec![
        json!(object::name(o)),
        json!(or_none(str_at(o, &["spec", "ingressClassName"]).to_owned())),
        json!(hosts),
        json!(address.join(",")),
        json!(ports),
        json!(age(o, now)),
    ]
}

fn modes(list: &[Value]) -> String {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        _ => "",
    };
    list.iter().map(short).collect::<Vec<_>>().join(",")
}

fn claim(o: &Value) -> String {
    let name = str_at(o, &["spec", "claimRef", "name"]);
    if name.is_empty() { String::new() } else { format!("{}/{name}", str_at(o, &["spec", "claimRef", "namespace"])) }
}

fn autoscaler(o: &Value, now: Timestamp) -> Vec<Value> {
    let reference = format!(
        "{}/{}",
        str_at(o, &["spec", "scaleTargetRef", "kind"]),
        str_at(o, &["spec", "scaleTargetRef", "name"])
    );
    let targets: Vec<String> = list_at(o, &["spec", "metrics"])
        .iter()
        .enumerate()
        .map(|(index, metric)| {
            let name = str_at(metric, &["resource", "name"]);
            let current = list_at(o, &["status", "currentMetrics"])
                .get(index)
                .and_then(|m| at(m, &["resource", "current", "averageUtilization"]));
            let current = current.map_or("<unknown>".to_owned(), |c| format!("{c}%"));
            format!("{name}: {current}/{}%", number(metric, &["resource", "target", "averageUtilization"]))
        })
        .collect();
    vec![
        json!(object::name(o)),
        json!(reference),
        json!(or_none(targets.join(", "))),
        json!(number(o, &["spec", "minReplicas"])),
        json!(number(o, &["spec", "maxReplicas"])),
        json!(number(o, &["status", "currentReplicas"])),
        json!(age(o, now)),
    ]
}
