//! What Istio was told, now and before.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};
use varka_telemetry::graph::facts::{Facts, Map, Workload};

use super::difference::summary;
use super::findings::references::Known;
use super::{Pairs, Refused, Shared, findings, number, parameter};
use crate::explain::Mesh;
use crate::graph::Source;
use crate::jaeger::blocking;
use crate::store::revisions::{Change, Reference, Revision, Verb};
use crate::world::{KINDS, Kind, World};

/// Groups whose objects are Istio's configuration.
fn is_config(kind: &Kind) -> bool {
    kind.group.ends_with(".istio.io") || kind.group == "gateway.networking.k8s.io"
}

fn text(object: &Value, path: &str) -> String {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn reference(kind: &Kind, object: &Value) -> Value {
    json!({
        "group": kind.group, "version": kind.version, "kind": kind.kind,
        "namespace": text(object, "/metadata/namespace"), "name": text(object, "/metadata/name"),
    })
}

fn seconds(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().map_or(0, |time| time.as_second())
}

/// Who holds it to what it says, besides people.
pub(super) fn managed_by(object: &Value) -> String {
    let label = |path: &str| Some(text(object, path)).filter(|found| !found.is_empty());
    label("/metadata/annotations/argocd.argoproj.io~1tracking-id")
        .or_else(|| label("/metadata/labels/app.kubernetes.io~1managed-by"))
        .unwrap_or_default()
}

pub(super) async fn list(State(source): Shared, Query(pairs): Pairs) -> Result<Json<Value>, Refused> {
    let at = number(&pairs, "at")?;
    let wanted = parameter(&pairs, "namespaces").unwrap_or_default().to_owned();
    let world = at_time(&source.world, at).await?;
    let known = Known::of(&world, &source.domain);
    let mut found = Vec::new();
    for kind in KINDS.iter().filter(|kind| is_config(kind)) {
        for object in world.of(kind.group, kind.kind) {
            if !wanted.is_empty() && !wanted.split(',').any(|n| n == text(&object, "/metadata/namespace")) {
                continue;
            }
            let created = seconds(&text(&object, "/metadata/creationTimestamp"));
            let mut item = reference(kind, &object);
            if let Some(fields) = item.as_object_mut() {
                fields.insert("created".to_owned(), created.into());
                let changed = source.store.revisions().newest(&crate::world::reference(*kind, &object));
                fields.insert("changed".to_owned(), changed.map_or(created, |r| r.at.div_euclid(1000)).into());
                fields.insert("findings".to_owned(), findings::count(&object, &known));
                fields.insert("managedBy".to_owned(), managed_by(&object).into());
            }
            found.push(item);
        }
    }
    Ok(Json(found.into()))
}

async fn at_time(world: &World, at: Option<i64>) -> Result<World, Refused> {
    let world = world.clone();
    match at {
        None => Ok(world),
        Some(at) => Ok(blocking(move || world.at(at.saturating_mul(1000).saturating_add(999))).await?),
    }
}

pub(super) async fn object(
    State(source): Shared,
    Path((namespace, kind, name)): Path<(String, String, String)>,
    Query(pairs): Pairs,
) -> Result<Json<Value>, Refused> {
    let at = number(&pairs, "at")?;
    let group = parameter(&pairs, "group");
    let namespace = if namespace == "-" { String::new() } else { namespace };
    let found = KINDS.iter().find(|k| k.kind == kind && group.map_or_else(|| is_config(k), |group| k.group == group));
    let kind = found.ok_or_else(|| Refused::not_found(format!("{kind} is no kind that is kept here")))?;
    let world = at_time(&source.world, at).await?;
    let of = Reference {
        group: kind.group.to_owned(),
        kind: kind.kind.to_owned(),
        namespace: namespace.clone(),
        name: name.clone(),
    };
    let revisions = source.store.clone();
    let revisions = blocking(move || revisions.revisions().between(i64::MIN, i64::MAX)).await?;
    let own: Vec<&Revision> = revisions.iter().filter(|r| r.of == of && world.sees(&of)).collect();
    let same = |o: &Arc<Value>| text(o, "/metadata/namespace") == namespace && text(o, "/metadata/name") == name;
    let Some(object) = world.of(kind.group, kind.kind).into_iter().find(same) else {
        let then = at.map_or(i64::MAX, |at| at.saturating_mul(1000).saturating_add(999));
        let last = own.iter().rev().find(|r| r.at <= then).filter(|r| r.verb == Verb::Deleted);
        return last
            .map(|last| Json(gone(kind, last, &own)))
            .ok_or_else(|| Refused::not_found(format!("There is no {} {namespace}/{name} at that time.", kind.kind)));
    };
    let (then, cluster, domain) = (world.clone(), source.cluster.clone(), source.domain.clone());
    let (group, named) = (*kind, (namespace.clone(), name.clone()));
    let affects = blocking(move || {
        let mesh = Mesh::of(&then, &cluster, &domain);
        Ok(super::affects::of(&mesh, &group, &named.0, &named.1))
    });
    let affects = affects.await?;
    let written = crate::world::written(&object);
    Ok(Json(json!({
        "ref": reference(kind, &object), "findings": findings::of_text_in(&written, &world, &source.domain), "yaml": written,
        "resourceVersion": text(&object, "/metadata/resourceVersion"), "managedBy": managed_by(&object),
        "history": history(&own), "affects": affects, "deleted": null,
    })))
}

/// An object that was deleted: what it said last, so that it can be made anew.
fn gone(kind: &Kind, last: &Revision, own: &[&Revision]) -> Value {
    json!({
        "ref": reference(kind, &last.object), "findings": [], "yaml": crate::world::written(&last.object), "resourceVersion": "",
        "managedBy": managed_by(&last.object), "history": history(own), "affects": [], "deleted": last.at.div_euclid(1000),
    })
}

/// Newest first.
fn history(own: &[&Revision]) -> Vec<Value> {
    let mut history: Vec<Value> = Vec::new();
    let mut before: Option<&Revision> = None;
    for revision in own {
        let line = describe(before, revision);
        let is_gone = revision.verb == Verb::Deleted;
        history.push(json!({
            "at": revision.at.div_euclid(1000), "verb": revision.verb, "by": revision.by, "summary": line,
            "resourceVersion": revision.version, "yaml": if is_gone { String::new() } else { yaml(&revision.object) },
        }));
        before = Some(revision);
    }
    history.reverse();
    history
}

fn yaml(object: &Value) -> String {
    serde_saphyr::to_string(object).unwrap_or_default()
}

fn describe(before: Option<&Revision>, revision: &Revision) -> String {
    match (revision.verb, before) {
        (Verb::Updated, Some(before)) => summary(&before.object, &revision.object),
        _ => String::new(),
    }
}

pub(super) async fn changes(State(source): Shared, Query(pairs): Pairs) -> Result<Json<Value>, Refused> {
    let (from, to) = (number(&pairs, "from")?.unwrap_or(0), number(&pairs, "to")?.unwrap_or(i64::MAX / 2000));
    let end = to.saturating_mul(1000).saturating_add(999);
    let world = source.world.clone();
    let wanted = from.saturating_mul(1000)..=end;
    let all = blocking(move || source.store.revisions().changes(0)).await?;
    let shown = all.iter().filter(|one| wanted.contains(&one.revision.at) && world.sees(&one.revision.of));
    Ok(Json(shown.filter_map(change).collect::<Vec<_>>().into()))
}

/// In the pages' words; `None`: nobody has changed anything, a controller has noted something down.
pub(super) fn change(Change { before, revision, .. }: &Change) -> Option<Value> {
    let summary = describe(before.as_ref(), revision);
    if revision.verb == Verb::Updated && before.is_some() && summary.is_empty() {
        return None;
    }
    Some(json!({
        "at": revision.at.div_euclid(1000), "verb": revision.verb, "kind": revision.of.kind, "namespace": revision.of.namespace,
        "name": revision.of.name, "by": revision.by, "summary": summary,
    }))
}

/// Objects of Istio's that name a host.
fn naming(world: &World, namespace: &str, service: &str, host: &str) -> Vec<(&'static Kind, Arc<Value>)> {
    let names = |object: &Value, name: &str| {
        name == host
            || name == format!("{service}.{namespace}")
            || name == service && text(object, "/metadata/namespace") == namespace
    };
    let mut found = Vec::new();
    for kind in KINDS.iter().filter(|kind| kind.group == "networking.istio.io") {
        for object in world.of(kind.group, kind.kind) {
            let hosts = object.pointer("/spec/hosts").and_then(Value::as_array).into_iter().flatten();
            let one = object.pointer("/spec/host");
            if hosts.chain(one).filter_map(Value::as_str).any(|name| names(&object, name)) {
                found.push((kind, object));
            }
        }
    }
    found
}

/// The objects that name a host, and what is wrong with them.
pub(super) fn of_host(
    world: &World,
    known: &Known,
    (namespace, service, host): (&str, &str, &str),
) -> (Vec<Value>, Value) {
    let found = naming(world, namespace, service, host);
    let references = found.iter().map(|(kind, object)| reference(kind, object)).collect();
    (references, sum(found.iter().map(|(_, object)| &**object), known))
}

/// What is wrong with objects, by the workloads that they apply to.
pub(super) struct Findings {
    /// Objects with the namespace and labels that they select, and what is wrong with them.
    selecting: Vec<(String, Map, u64, u64)>,
    /// Objects about hosts of services, by the service's namespace and selector.
    about: Vec<(String, Map, u64, u64)>,
}

impl Findings {
    /// Reads every object.
    pub(super) fn read(source: &Source, facts: &Facts) -> Self {
        let world = &source.world;
        let known = Known::of(world, &source.domain);
        let counts = |object: &Value| {
            let found = findings::count(object, &known);
            let of = |severity: &str| found.get(severity).and_then(Value::as_u64).unwrap_or(0);
            (of("errors"), of("warnings"))
        };
        let labels = |object: &Value, path: &str| -> Map {
            object.pointer(path).and_then(|labels| serde_json::from_value(labels.clone()).ok()).unwrap_or_default()
        };
        let mut selecting = Vec::new();
        for kind in KINDS.iter().filter(|kind| kind.group.ends_with(".istio.io")) {
            for object in world.of(kind.group, kind.kind) {
                let path = match (kind.group, kind.kind) {
                    ("security.istio.io" | "telemetry.istio.io", _) => "/spec/selector/matchLabels",
                    (_, "Sidecar") => "/spec/workloadSelector/labels",
                    _ => continue,
                };
                let (errors, warnings) = counts(&object);
                if errors + warnings > 0 {
                    let selector = labels(&object, path);
                    selecting.push((text(&object, "/metadata/namespace"), selector, errors, warnings));
                }
            }
        }
        let mut about = Vec::new();
        for service in facts.services.iter().filter(|service| !service.selector.is_empty()) {
            let host = format!("{}.{}.{}", service.name, service.namespace, facts.service_suffix());
            for (_, object) in naming(world, &service.namespace, &service.name, &host) {
                let (errors, warnings) = counts(&object);
                if errors + warnings > 0 {
                    about.push((service.namespace.clone(), service.selector.clone(), errors, warnings));
                }
            }
        }
        Self { selecting, about }
    }

    /// Errors and warnings of the objects that apply to any of these workloads.
    pub(super) fn of(&self, workloads: &[&Workload]) -> Value {
        let applies = |namespace: &str, selector: &Map| {
            let selects = |w: &&&Workload| selector.iter().all(|(name, value)| w.labels.get(name) == Some(value));
            let is_near = |w: &&&Workload| w.namespace == namespace || namespace == "istio-system";
            workloads.iter().filter(is_near).any(|w| selects(&w))
        };
        let all =
            self.selecting.iter().chain(&self.about).filter(|(namespace, selector, ..)| applies(namespace, selector));
        let (errors, warnings) = all.fold((0, 0), |sum, one| (sum.0 + one.2, sum.1 + one.3));
        json!({"errors": errors, "warnings": warnings})
    }
}

/// Errors and warnings of objects.
fn sum<'o>(objects: impl Iterator<Item = &'o Value>, known: &Known) -> Value {
    let of = |found: &Value, severity: &str| found.get(severity).and_then(Value::as_u64).unwrap_or(0);
    let (mut errors, mut warnings) = (0, 0);
    for object in objects {
        let found = findings::count(object, known);
        errors += of(&found, "errors");
        warnings += of(&found, "warnings");
    }
    json!({"errors": errors, "warnings": warnings})
}

/// Errors and warnings of all of a namespace's objects.
pub(super) fn count_in(world: &World, known: &Known, namespace: &str) -> Value {
    let kinds = KINDS.iter().filter(|kind| is_config(kind));
    let all: Vec<Arc<Value>> = kinds.flat_map(|kind| world.of(kind.group, kind.kind)).collect();
    sum(all.iter().map(|object| &**object).filter(|object| text(object, "/metadata/namespace") == namespace), known)
}
