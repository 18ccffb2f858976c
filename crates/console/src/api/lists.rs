//! Workloads, services and applications with how they do.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde_json::{Value, json};
use varka_telemetry::graph::facts::{app_label, version_label};
use varka_telemetry::graph::{Graph, GraphType, InOut, Node, Options, RequestedNamespace, safe_duration};

use super::config::Findings;
use super::examples::Calls;
use super::findings::references::Known;
use super::{Pairs, Refused, Shared, now, number, parameter};
use crate::graph::Source;
use crate::jaeger::blocking;
use crate::store::Error;

/// Over so many seconds rates are taken where nobody says over how many.
const WINDOW: u64 = 60;

/// A graph of the wanted namespaces, and the facts that it was made with.
async fn look(
    source: Arc<Source>,
    pairs: &[(String, String)],
    graph_type: GraphType,
) -> Result<(Arc<Source>, Graph, varka_telemetry::graph::Facts), Refused> {
    let at = number(pairs, "at")?;
    let window = match number(pairs, "duration")? {
        None => WINDOW,
        Some(asked) => u64::try_from(asked).ok().filter(|seconds| *seconds > 0).ok_or_else(|| {
            Refused::bad(format!("duration cannot be {asked}; it is a number of seconds greater than nothing"))
        })?,
    };
    let wanted: Vec<String> = parameter(pairs, "namespaces")
        .unwrap_or_default()
        .split(',')
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect();
    let made = blocking(move || {
        let then = match at {
            Some(at) => Source { world: source.world.at(at.saturating_mul(1000))?, ..(*source).clone() },
            None => (*source).clone(),
        };
        let facts = then.facts();
        let query_time = at.unwrap_or_else(|| now().div_euclid(1000));
        let named = facts.namespaces.iter().filter(|n| wanted.is_empty() || wanted.contains(&n.name));
        // As in the graph: what is younger than the window has its rates over its own age.
        let namespaces = named.filter_map(|namespace| {
            let duration = safe_duration(namespace.created, window, query_time)?;
            Some(RequestedNamespace { name: namespace.name.clone(), duration, ambient: false })
        });
        let namespaces = namespaces.collect();
        let options = Options { graph_type, namespaces, query_time, duration: window, ..Options::default() };
        let graph = then.graph(&facts, &options)?;
        Ok::<_, Error>((Arc::new(then), graph, facts))
    });
    Ok(made.await?)
}

/// Requests a second that arrive, and the share of them that fails.
fn arriving(node: Option<&Node>) -> (f64, f64) {
    let Some(node) = node else { return (0.0, 0.0) };
    let sum = |of: fn(&InOut) -> f64| of(&node.traffic.http) + of(&node.traffic.grpc);
    let (all, failed) = (
        sum(|t| t.incoming.total),
        sum(|t| t.incoming.no_response + t.incoming.server_errors + t.incoming.grpc_errors),
    );
    (all, if all > 0.0 { failed / all } else { 0.0 })
}

fn health_of(node: Option<&Node>) -> Value {
    let unknown = || json!({"status": "NA", "verdict": {"status": "NA", "notEnoughData": false, "reason": null}, "workloads": []});
    let known = node.and_then(|node| node.health.as_ref());
    known.map_or_else(unknown, |health| serde_json::to_value(health).unwrap_or_else(|_| unknown()))
}

pub(super) async fn workloads(State(source): Shared, Query(pairs): Pairs) -> Result<Json<Value>, Refused> {
    let (then, graph, facts) = look(source, &pairs, GraphType::Workload).await?;
    let nodes: BTreeMap<(&str, &str), &Node> =
        graph.nodes.iter().map(|node| ((node.namespace.as_str(), node.workload.as_str()), node)).collect();
    let wanted = parameter(&pairs, "namespaces").unwrap_or_default();
    let shown = |namespace: &str| wanted.is_empty() || wanted.split(',').any(|n| n == namespace);
    let (calls, findings) = (calls(&then, &facts, &graph).await?, Findings::read(&then, &facts));
    let one = |w: &varka_telemetry::graph::facts::Workload| {
        let node = nodes.get(&(w.namespace.as_str(), w.name.as_str())).copied();
        let (rate, error_share) = arriving(node);
        json!({
            "namespace": w.namespace, "name": w.name, "kind": kind(&then, &w.namespace, &w.name),
            "app": app_label(&w.labels).map_or("", |(_, app)| app),
            "version": version_label(&w.labels).map_or("", |(_, version)| version),
            "sidecar": w.sidecar, "ambient": w.ambient, "replicas": w.replicas, "health": health_of(node),
            "rate": rate, "errorShare": error_share, "findings": findings.of(&[w]), "examples": calls.of_workload(w),
        })
    };
    Ok(Json(facts.workloads.iter().filter(|w| shown(&w.namespace)).map(one).collect()))
}

/// The kind of a workload.
fn kind(source: &Source, namespace: &str, name: &str) -> &'static str {
    let is = |kind: &'static str| {
        let all = source.world.of("apps", kind);
        let same = |o: &Arc<Value>, path: &str, text: &str| o.pointer(path).and_then(Value::as_str) == Some(text);
        all.iter().any(|o| same(o, "/metadata/namespace", namespace) && same(o, "/metadata/name", name)).then_some(kind)
    };
    is("Deployment").or_else(|| is("StatefulSet")).or_else(|| is("DaemonSet")).unwrap_or("Pod")
}

pub(super) async fn services(State(source): Shared, Query(pairs): Pairs) -> Result<Json<Value>, Refused> {
    let (then, graph, facts) = look(source, &pairs, GraphType::Service).await?;
    let nodes: BTreeMap<(&str, &str), &Node> =
        graph.nodes.iter().map(|node| ((node.namespace.as_str(), node.service.as_str()), node)).collect();
    let wanted = parameter(&pairs, "namespaces").unwrap_or_default();
    let shown = |namespace: &str| wanted.is_empty() || wanted.split(',').any(|n| n == namespace);
    let calls = calls(&then, &facts, &graph).await?;
    let known = Known::of(&then.world, &then.domain);
    let one = |s: &varka_telemetry::graph::facts::Service| {
        let node = nodes.get(&(s.namespace.as_str(), s.name.as_str())).copied();
        let (rate, error_share) = arriving(node);
        let host = format!("{}.{}.{}", s.name, s.namespace, facts.service_suffix());
        let (config, findings) = super::config::of_host(&then.world, &known, (&s.namespace, &s.name, &host));
        let ports: Vec<Value> = s
            .ports
            .iter()
            .map(|port| json!({"name": port.name, "number": port.number, "protocol": port.name.split('-').next()}))
            .collect();
        json!({
            "namespace": s.namespace, "name": s.name, "ports": ports, "selector": s.selector, "hosts": [host],
            "health": health_of(node), "rate": rate, "errorShare": error_share,
            "config": config, "findings": findings, "examples": calls.of_service(&s.namespace, &s.name),
        })
    };
    Ok(Json(facts.services.iter().filter(|s| shown(&s.namespace)).map(one).collect()))
}

fn is_member(workload: &varka_telemetry::graph::facts::Workload, namespace: &str, app: &str) -> bool {
    workload.namespace == namespace && app_label(&workload.labels).is_some_and(|(_, own)| own == app)
}

/// Requests of the window of a graph.
async fn calls(then: &Arc<Source>, facts: &varka_telemetry::graph::Facts, graph: &Graph) -> Result<Calls, Refused> {
    let (then, facts, end, duration) = (Arc::clone(then), facts.clone(), graph.timestamp, graph.duration);
    Ok(blocking(move || Calls::read(&then, &facts, end, duration)).await?)
}

/// Versions and workloads of an application.
type Members<'f> = (Vec<&'f str>, Vec<&'f str>);

pub(super) async fn applications(State(source): Shared, Query(pairs): Pairs) -> Result<Json<Value>, Refused> {
    let (then, graph, facts) = look(source, &pairs, GraphType::App).await?;
    let (calls, findings) = (calls(&then, &facts, &graph).await?, Findings::read(&then, &facts));
    let nodes: BTreeMap<(&str, &str), &Node> =
        graph.nodes.iter().map(|node| ((node.namespace.as_str(), node.app.as_str()), node)).collect();
    let wanted = parameter(&pairs, "namespaces").unwrap_or_default();
    let shown = |namespace: &str| wanted.is_empty() || wanted.split(',').any(|n| n == namespace);
    let mut apps: BTreeMap<(&str, &str), Members<'_>> = BTreeMap::new();
    for workload in facts.workloads.iter().filter(|w| shown(&w.namespace)) {
        let Some((_, app)) = app_label(&workload.labels) else { continue };
        let (versions, workloads) = apps.entry((&workload.namespace, app)).or_default();
        versions.extend(version_label(&workload.labels).map(|(_, version)| version));
        workloads.push(&workload.name);
    }
    let list = apps.iter().map(|((namespace, app), (versions, workloads))| {
        let node = nodes.get(&(*namespace, *app)).copied();
        let (rate, error_share) = arriving(node);
        let members: Vec<_> = facts.workloads.iter().filter(|w| is_member(w, namespace, app)).collect();
        let services: Vec<&String> = node.iter().flat_map(|node| &node.services).map(|service| &service.name).collect();
        json!({
            "namespace": namespace, "name": app, "versions": versions, "workloads": workloads, "services": services,
            "health": health_of(node), "rate": rate, "errorShare": error_share, "findings": findings.of(&members),
            "examples": calls.of_app(namespace, app),
        })
    });
    Ok(Json(list.collect()))
}
