//! Statuses of the Gateway API's objects, without the times of their conditions, which whoever writes them adds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use varka_api::ObjectMeta;
use varka_api::kube::{GATEWAY_API, ParentReference};

use super::classes::{self, Class};
use super::listeners::Served;
use super::policies::PolicyResult;
use super::routes::{ParentResult, RouteResult};
use super::{CONTROLLER, Condition, MESH_CONTROLLER, Model, Problem, addresses, attach, conditions, tls};
use crate::snapshot::Snapshot;

/// Ancestors that a policy can have in its status.
const MOST_ANCESTORS: usize = 16;

/// What the status of an object is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// `HTTPRoute`, always of the Gateway API.
    pub kind: &'static str,
    /// Namespace; empty for classes.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Version of the object that it was made from.
    pub resource_version: String,
    /// The status as it is.
    pub current: Value,
    /// As it is to be; what other controllers wrote is in it.
    pub wanted: Value,
}

impl Status {
    fn of(kind: &'static str, metadata: &ObjectMeta, current: &Value, wanted: Value) -> Self {
        Self {
            kind,
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            resource_version: metadata.resource_version.clone(),
            current: current.clone(),
            wanted,
        }
    }
}

/// The statuses of everything that is ours.
pub fn statuses(snapshot: &Snapshot) -> Vec<Status> {
    let model = snapshot.gateway_api();
    let mut out: Vec<Status> = Vec::new();
    for class in snapshot.stores.gateway_classes.iter() {
        out.extend(classes::status(class).map(|s| Status::of("GatewayClass", &class.metadata, &class.status, s)));
    }
    let attached = attached(model);
    for served in &model.served {
        let object = &served.object;
        let wanted = gateway(snapshot, served, &attached);
        out.push(Status::of("Gateway", &object.metadata, &object.status, wanted));
    }
    for result in &model.routes {
        let wanted = route(result);
        out.push(Status::of(result.kind, &result.metadata, &result.status, wanted));
    }
    for result in &model.policies {
        out.push(Status::of("BackendTLSPolicy", &result.metadata, &result.status, policy(result)));
    }
    out
}

/// How many routes each listener has.
fn attached(model: &Model) -> BTreeMap<(&str, &str, &str), usize> {
    let mut out = BTreeMap::new();
    for route in &model.routes {
        // A route that names a listener twice is one route.
        let listeners: BTreeSet<_> = route.attached.iter().collect();
        for (namespace, name, listener) in listeners {
            *out.entry((namespace.as_str(), name.as_str(), listener.as_str())).or_default() += 1;
        }
    }
    out
}

fn gateway(snapshot: &Snapshot, served: &Served, attached: &BTreeMap<(&str, &str, &str), usize>) -> Value {
    let object = &served.object;
    let meta = &object.metadata;
    if served.class == Class::Remote {
        let elsewhere = "It is another cluster's, and not served here";
        let list = vec![
            Condition::holds("Accepted", "Accepted", "The Gateway is valid"),
            Condition::holds("Programmed", "Programmed", elsewhere),
        ];
        let addresses: Vec<Value> = object
            .spec
            .addresses
            .iter()
            .map(|a| json!({"type": a.r#type.as_deref().unwrap_or("IPAddress"), "value": a.value}))
            .collect();
        let conditions = conditions::list(list, meta.generation, &object.status);
        return json!({"addresses": addresses, "conditions": conditions});
    }
    let ports = served.listeners.iter().filter(|l| l.server.is_some()).map(|l| l.port).collect();
    let resolved = addresses::resolve(snapshot, &meta.namespace, &served.services, &ports);
    let mut list = vec![
        accepted(served),
        resolved.programmed(!served.services.is_empty()),
        Condition::unless(
            served.backend_problem.as_ref(),
            "ResolvedRefs",
            "ResolvedRefs",
            "Everything that it refers to is there",
        ),
    ];
    if tls::has_insecure_fallback(object) {
        list.push(Condition::holds(
            "InsecureFrontendValidationMode",
            "ConfigurationChanged",
            "Clients without a valid certificate are let in, as AllowInsecureFallback says",
        ));
    }
    let mut status = Map::new();
    let addresses = resolved.addresses(object);
    if !addresses.is_empty() {
        status.insert("addresses".to_owned(), addresses.into());
    } else if let Some(known) = object.status.get("addresses") {
        // An address that was told once stays, while its endpoints come and go.
        status.insert("addresses".to_owned(), known.clone());
    }
    status.insert("conditions".to_owned(), conditions::list(list, meta.generation, &object.status));
    let listeners = served.listeners.iter().map(|l| {
        let kinds: Vec<Value> = l.kinds.iter().map(|kind| json!({"group": GATEWAY_API, "kind": kind})).collect();
        let count = attached.get(&(meta.namespace.as_str(), meta.name.as_str(), l.name.as_str()));
        json!({
            "name": l.name, "attachedRoutes": count.copied().unwrap_or_default(), "supportedKinds": kinds,
            "conditions": conditions::list(l.conditions.clone(), meta.generation, known(&object.status, "listeners", |k| {
                k.get("name").and_then(Value::as_str) == Some(l.name.as_str())
            })),
        })
    });
    let listeners: Vec<Value> = listeners.collect();
    if !listeners.is_empty() {
        status.insert("listeners".to_owned(), listeners.into());
    }
    Value::Object(status)
}

/// The entry of a list of a status that is there; null: there is none.
fn known<'s>(status: &'s Value, list: &str, is: impl Fn(&Value) -> bool) -> &'s Value {
    let entries = status.get(list).and_then(Value::as_array);
    entries.and_then(|entries| entries.iter().find(|entry| is(entry))).unwrap_or(&Value::Null)
}

/// A Gateway is accepted as long as one of its listeners is.
fn accepted(served: &Served) -> Condition {
    let valid = served.listeners.iter().filter(|l| l.valid).count();
    if served.problem.is_some() || valid == served.listeners.len() {
        return Condition::unless(served.problem.as_ref(), "Accepted", "Accepted", "The Gateway is valid");
    }
    let reason = "ListenersNotValid";
    if valid == 0 {
        let problem = Problem::new(reason, "none of its listeners is valid; see status.listeners");
        return Condition::unless(Some(&problem), "Accepted", reason, "");
    }
    Condition::holds("Accepted", reason, "Some of its listeners are not valid; see status.listeners")
}

/// Which of several refusals is told: the one that came nearest to being accepted.
fn severity(denied: Option<&Problem>) -> usize {
    let ranked = ["NotAllowedByListeners", "NoMatchingListenerHostname", "NoMatchingParent"];
    denied.map_or(0, |p| ranked.iter().position(|r| *r == p.reason).map_or(1, |i| i + 1))
}

fn route(result: &RouteResult) -> Value {
    let namespace = result.metadata.namespace.as_str();
    let mut ours: BTreeMap<String, Value> = BTreeMap::new();
    let mut by_key: BTreeMap<String, Vec<&ParentResult>> = BTreeMap::new();
    for parent in &result.parents {
        by_key.entry(attach::key(&parent.reference, namespace)).or_default().push(parent);
    }
    let is_ours = |entry: &Value| entry.get("controllerName").and_then(Value::as_str) == Some(CONTROLLER);
    let key_of = |entry: &Value| {
        let reference = entry.get("parentRef").cloned().and_then(|r| serde_json::from_value(r).ok());
        reference.map(|r: ParentReference| attach::key(&r, namespace))
    };
    for (key, results) in by_key {
        let before = known(&result.status, "parents", |entry| is_ours(entry) && key_of(entry).as_ref() == Some(&key));
        if let Some(told) = parent(&results, result.metadata.generation, before) {
            ours.insert(key, told);
        }
    }
    // Entries of other controllers stay, and ours stay in their places.
    let mut parents: Vec<Value> = Vec::new();
    for entry in result.status.get("parents").and_then(Value::as_array).into_iter().flatten() {
        if is_ours(entry) {
            parents.extend(key_of(entry).and_then(|key| ours.remove(&key)));
        } else {
            parents.push(entry.clone());
        }
    }
    parents.extend(ours.into_values().rev());
    json!({"parents": parents})
}

/// One entry for all listeners that a reference leads to: accepted where one of them accepts.
fn parent(results: &[&ParentResult], generation: i64, before: &Value) -> Option<Value> {
    let worst = results.iter().map(|r| severity(r.denied.as_ref())).min()?;
    let told: Vec<&&ParentResult> = results.iter().filter(|r| severity(r.denied.as_ref()) == worst).collect();
    let first = told.first()?;
    let denied = first.denied.as_ref().map(|p| {
        let mut messages: Vec<&str> = told.iter().filter_map(|r| Some(r.denied.as_ref()?.message.as_str())).collect();
        messages.dedup();
        Problem::new(p.reason, messages.join("; "))
    });
    let message = match results.iter().filter(|r| r.denied.is_none()).count() {
        0 | 1 => "The route is attached".to_owned(),
        count => format!("The route is attached to {count} listeners"),
    };
    let list = vec![
        Condition::unless(denied.as_ref(), "Accepted", "Accepted", message),
        Condition::unless(
            first.problem.as_ref(),
            "ResolvedRefs",
            "ResolvedRefs",
            "Everything that it refers to is there",
        ),
    ];
    Some(json!({
        "parentRef": first.reference, "controllerName": CONTROLLER,
        "conditions": conditions::list(list, generation, before),
    }))
}

fn policy(result: &PolicyResult) -> Value {
    let generation = result.metadata.generation;
    let mut ours: Vec<Value> = Vec::new();
    let told = |list: &[Condition], reference: &Value| {
        let before = known(&result.status, "ancestors", |entry| entry.get("ancestorRef") == Some(reference));
        conditions::list(list.to_vec(), generation, before)
    };
    for target in &result.targets {
        let t = &target.target;
        let mut reference = json!({"group": t.group, "kind": t.kind, "name": t.name});
        if let (Some(section), Some(map)) = (&t.section_name, reference.as_object_mut()) {
            map.insert("sectionName".to_owned(), section.as_str().into());
        }
        let conditions = told(&target.conditions, &reference);
        ours.push(json!({"ancestorRef": reference, "controllerName": MESH_CONTROLLER, "conditions": conditions}));
    }
    // As in Istio without the namespace, so that Gateways of one name are one entry.
    let names: BTreeSet<&str> = result.gateways.iter().map(|(_, name)| name.as_str()).collect();
    for name in names {
        let reference = json!({"group": GATEWAY_API, "kind": "Gateway", "name": name});
        let conditions = told(&result.conditions, &reference);
        ours.push(json!({"ancestorRef": reference, "controllerName": CONTROLLER, "conditions": conditions}));
    }
    let controller = |entry: &Value| entry.get("controllerName").and_then(Value::as_str).map(str::to_owned);
    let mut ancestors: Vec<Value> = Vec::new();
    for entry in result.status.get("ancestors").and_then(Value::as_array).into_iter().flatten() {
        let is_ours = controller(entry).is_some_and(|c| c == CONTROLLER || c == MESH_CONTROLLER);
        if !is_ours {
            ancestors.push(entry.clone());
        } else if let Some(at) = ours.iter().position(|o| o.get("ancestorRef") == entry.get("ancestorRef")) {
            ancestors.push(ours.remove(at));
        }
    }
    ancestors.extend(ours);
    ancestors.truncate(MOST_ANCESTORS);
    json!({"ancestors": ancestors})
}
