mod past;

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::routes;
use crate::graph::Source;
use crate::graph::tests::{END, source};
use crate::store::Error;
use crate::store::logs::{Line, Source as Container};
use crate::store::metrics::Sample;
use crate::store::tests::labels;
use crate::world::{KINDS, World};

async fn get(source: &Source, path: &str) -> (u16, Value) {
    let response = routes(source.clone()).oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

fn recording(directory: &tempfile::TempDir) -> Source {
    let source = source(directory);
    let world = World::recording(source.store.clone());
    for kind in KINDS {
        for object in source.world.of(kind.group, kind.kind) {
            world.put(kind, (*object).clone());
        }
    }
    Source { world, ..source }
}

fn kind(name: &str) -> crate::world::Kind {
    KINDS.into_iter().find(|k| k.kind == name).unwrap()
}

fn virtual_service(weight: i32) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "was", "namespace": "blog-system", "resourceVersion": weight.to_string(),
                     "managedFields": [{"manager": "kubectl", "time": "2026-01-01T00:00:00Z"}]},
        "spec": {"hosts": ["was-service"], "http": [{"route": [{"destination": {"host": "was-service"}, "weight": weight}]}]},
    })
}

#[tokio::test]
async fn the_graph_has_each_request_once_with_how_it_went() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(&directory);
    let (status, graph) = get(&source, &format!("/console/api/graph?at={END}&duration=50&graphType=workload")).await;
    assert_eq!(status, 200, "{graph}");
    let edges = graph["edges"].as_array().unwrap();
    assert_eq!(
        (edges.len(), &edges[0]["rates"]["total"], &edges[0]["security"]["mtls"]),
        (1, &json!(1.0), &json!(1.0))
    );
    let name = |end: &str| graph["nodes"][edges[0][end].as_u64().unwrap() as usize]["workload"].clone();
    assert_eq!((name("source"), name("target")), (json!("web"), json!("was")));
    assert_eq!(edges[0]["health"]["verdict"]["status"], "Healthy");
    let (status, refused) = get(&source, "/console/api/graph?at=soon").await;
    assert_eq!((status, refused["code"].as_str()), (400, Some("badRequest")));
}

#[tokio::test]
async fn the_past_of_an_object_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let source = recording(&directory);
    source.world.put(kind("VirtualService"), virtual_service(0));
    source.world.put(kind("VirtualService"), virtual_service(10));
    let (_, list) = get(&source, "/console/api/config").await;
    assert_eq!((list.as_array().unwrap().len(), &list[0]["kind"]), (1, &json!("VirtualService")));
    let (_, object) = get(&source, "/console/api/config/blog-system/VirtualService/was").await;
    let summaries: Vec<_> =
        object["history"].as_array().unwrap().iter().map(|r| r["summary"].as_str().unwrap()).collect();
    assert_eq!(summaries, ["spec.http[0].route[0].weight 0 -> 10", ""]);
    assert!(
        object["yaml"].as_str().unwrap().contains("weight: 10")
            && !object["yaml"].as_str().unwrap().contains("managedFields")
    );
    let (_, changes) = get(&source, "/console/api/changes").await;
    let told: Vec<_> =
        changes.as_array().unwrap().iter().map(|c| (c["verb"].as_str().unwrap(), c["by"].as_str().unwrap())).collect();
    assert_eq!(told, [("created", "kubectl"), ("updated", "kubectl")]);
    source.world.remove(kind("VirtualService"), &("blog-system".to_owned(), "was".to_owned()));
    assert_eq!(get(&source, "/console/api/config").await.1, json!([]));
    let (status, gone) = get(&source, "/console/api/config/blog-system/VirtualService/was").await;
    assert_eq!((status, gone["resourceVersion"].as_str()), (200, Some("")), "{gone}");
    assert!(gone["deleted"].is_i64() && gone["yaml"].as_str().unwrap().contains("weight: 10"), "{gone}");
    let verbs: Vec<_> = gone["history"].as_array().unwrap().iter().map(|r| r["verb"].as_str().unwrap()).collect();
    assert_eq!(verbs, ["deleted", "updated", "created"]);
    // Who deleted it is not known from what the object said.
    assert_eq!((&gone["history"][0]["by"], &gone["history"][0]["yaml"]), (&json!(""), &json!("")));
    let (_, object) = get(&source, "/console/api/config/blog-system/VirtualService/was?at=1").await;
    assert_eq!(object["code"], "notFound", "it was not there yet");
    assert_eq!(get(&source, "/console/api/config/blog-system/VirtualService/other").await.0, 404);
    let blind = Source { world: source.world.seen_by(crate::access::sight::Sight::nothing()), ..source.clone() };
    assert_eq!(get(&blind, "/console/api/config/blog-system/VirtualService/was").await.0, 404);
    let present = source.world.at(i64::MAX).unwrap().of("networking.istio.io", "VirtualService");
    assert!(present.is_empty());
}

#[tokio::test]
async fn a_text_is_checked_as_the_control_plane_checks_it() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(&directory);
    let yaml = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a, namespace: b}\nspec:\n  hosts: [a]\n  http:\n  - timeout: soon\n    route:\n    - destination: {host: a}\n---\n{";
    let request = Request::post("/console/api/validate").header("content-type", "application/json");
    let response =
        routes(source).oneshot(request.body(Body::from(json!({"yaml": yaml}).to_string())).unwrap()).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    let places: Vec<_> = answer["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["severity"].as_str().unwrap(), f["line"].as_u64().unwrap()))
        .collect();
    // No Service is called a.
    assert_eq!(places, [("error", 11), ("error", 7), ("warning", 9)], "{answer}");
}

#[tokio::test]
async fn lists_say_how_things_do() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(&directory);
    let deployment = json!({"metadata": {"name": "was", "namespace": "blog-system"}, "spec": {"replicas": 1, "template": {"metadata": {"labels": {"app": "was", "version": "v1"}}}}, "status": {"replicas": 1, "availableReplicas": 1}});
    source.world.put(kind("Deployment"), deployment);
    let service = json!({"metadata": {"name": "was-service", "namespace": "blog-system"}, "spec": {"ports": [{"name": "http-api", "port": 8080}]}});
    source.world.put(kind("Service"), service);
    source.world.put(kind("VirtualService"), virtual_service(100));
    let (_, workloads) = get(&source, &format!("/console/api/workloads?at={END}")).await;
    let was = &workloads[0];
    assert_eq!(
        (was["name"].as_str(), was["kind"].as_str(), was["app"].as_str()),
        (Some("was"), Some("Deployment"), Some("was"))
    );
    assert!(was["rate"].as_f64().unwrap() > 0.8, "{was}");
    for duration in [20, 50, 600] {
        let (_, workloads) = get(&source, &format!("/console/api/workloads?at={END}&duration={duration}")).await;
        let path = format!("/console/api/graph?at={END}&duration={duration}&graphType=workload");
        let (_, graph) = get(&source, &path).await;
        let (listed, drawn) = (&workloads[0]["rate"], &graph["edges"][0]["rates"]["total"]);
        assert!((listed.as_f64().unwrap() - drawn.as_f64().unwrap()).abs() < 1e-9, "{duration}: {listed} {drawn}");
    }
    assert_eq!(get(&source, "/console/api/workloads?duration=0").await.0, 400);
    let (_, services) = get(&source, &format!("/console/api/services?at={END}&namespaces=blog-system")).await;
    assert_eq!((&services[0]["name"], &services[0]["config"][0]["name"]), (&json!("was-service"), &json!("was")));
    let (_, apps) = get(&source, &format!("/console/api/applications?at={END}")).await;
    assert_eq!((&apps[0]["name"], &apps[0]["versions"]), (&json!("was"), &json!(["v1"])));
    let (_, info) = get(&source, "/console/api/info").await;
    assert_eq!(
        (&info["namespaces"][0]["name"], &info["namespaces"][0]["workloads"]),
        (&json!("blog-system"), &json!(1))
    );
}

#[tokio::test]
async fn a_stream_begins_with_the_whole_graph_and_goes_on_with_what_is_new() {
    let directory = tempfile::tempdir().unwrap();
    let source = recording(&directory);
    let path = "/console/api/stream?topics=graph,changes,logs&duration=60";
    let response = routes(source.clone()).oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let mut text = String::new();
    let mut read_until = async |wanted: &str| {
        while !text.contains(wanted) {
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            text.push_str(std::str::from_utf8(&frame).unwrap());
        }
    };
    read_until("\"whole\":true").await;
    source.world.put(kind("VirtualService"), virtual_service(0));
    let of = Container { namespace: "blog-system".to_owned(), pod: "web-1".to_owned(), container: "web".to_owned() };
    let at = u64::try_from(super::now()).unwrap() * 1000 + 1_000_000;
    source.store.logs().append(Line { at, source: of, text: "hello".to_owned() });
    read_until("event: changes").await;
    source.world.put(kind("VirtualService"), virtual_service(10));
    read_until("\"summary\":\"spec.http[0].route[0].weight 0 -> 10\"").await;
    read_until("\"text\":\"hello\"").await;
    read_until("\"whole\":false").await;
    drop(Arc::new(source));
}

#[tokio::test]
async fn an_explanation_is_asked_for_by_a_trace_or_by_a_thought() {
    let directory = tempfile::tempdir().unwrap();
    let source = recording(&directory);
    let ask = async |body: Value| {
        let request = Request::post("/console/api/explain").header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        let response = routes(source.clone()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (status, refused) = ask(json!({})).await;
    assert_eq!((status, &refused["code"]), (400, &json!("badRequest")));
    let (status, refused) = ask(json!({"traceId": "xyz"})).await;
    assert_eq!((status, &refused["code"]), (400, &json!("badRequest")));
    let (status, refused) = ask(json!({"traceId": "ff"})).await;
    assert_eq!((status, &refused["code"]), (404, &json!("notFound")));
    let from = json!({"namespace": "blog-system", "workload": "nobody"});
    let (status, refused) = ask(json!({"from": from, "to": {"host": "was-service"}})).await;
    assert_eq!((status, &refused["code"]), (404, &json!("notFound")), "{refused}");
    let mut found = crate::requests::tests::span("web-1", "sidecar", [7, 1, 0], 3, &[]);
    found.span.attributes.clear();
    let spans = varka_proto::otlp::ScopeSpans { scope: None, spans: vec![found.span] };
    let own = varka_proto::otlp::ResourceSpans { resource: Some(found.resource), scope_spans: vec![spans] };
    source.store.spans().append(own);
    let (status, refused) = ask(json!({"traceId": "07".repeat(16)})).await;
    assert_eq!((status, &refused["code"]), (422, &json!("invalid")), "{refused}");
}

/// What a stream tells until a text was told.
async fn told(source: &Source, query: &str, last: Option<&str>, until: &str) -> String {
    let mut request = Request::get(format!("/console/api/stream?{query}"));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = routes(source.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut text = String::new();
    while !text.contains(until) {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        text.push_str(std::str::from_utf8(&frame).unwrap());
    }
    text
}

/// Each event but graphs, as its topic and what it says, and the last id.
fn events(text: &str) -> (Vec<String>, String) {
    let field = |block: &str, name: &str| block.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
    let told = text.split("\n\n").filter_map(|block| {
        let data: Value = serde_json::from_str(&field(block, "data: ")?).unwrap();
        match field(block, "event: ")?.as_str() {
            "changes" => Some(format!("change {} {}", data["name"].as_str()?, data["verb"].as_str()?)),
            "logs" => Some(format!("line {}", data["text"].as_str()?)),
            "gap" => Some(format!("gap {} {}", data["topic"].as_str()?, data["count"])),
            _ => None,
        }
    });
    (told.collect(), text.split("\n\n").filter_map(|block| field(block, "id: ")).last().unwrap())
}

#[tokio::test]
async fn who_comes_back_to_a_stream_is_told_what_they_missed() {
    let directory = tempfile::tempdir().unwrap();
    let mut source = recording(&directory);
    let of =
        |pod: &str| Container { namespace: "blog-system".to_owned(), pod: pod.to_owned(), container: "web".to_owned() };
    let begun = u64::try_from(super::now()).unwrap() * 1000;
    let log = |source: &Source, pod: &str, after: u64, text: &str| {
        assert!(source.store.logs().append(Line { at: begun + after, source: of(pod), text: text.to_owned() }));
    };
    let query = "topics=changes,logs&namespace=blog-system";
    log(&source, "web-1", 0, "old");
    source.world.put(kind("VirtualService"), virtual_service(0));
    let (_, first) = events(&told(&source, query, None, "retry").await);

    source.world.put(kind("VirtualService"), virtual_service(10));
    log(&source, "web-1", 5_000_000, "missed");
    log(&source, "web-2", 4_000_000, "missed too");
    let (seen, last) = events(&told(&source, query, Some(&first), "changes").await);
    assert_eq!(seen, ["line missed too", "line missed", "change was updated"]);
    let (seen, again) = events(&told(&source, &format!("{query}&lastEventId={first}"), None, "changes").await);
    assert_eq!((seen.len(), &again), (3, &last), "a page cannot send headers");
    let (seen, _) = events(&told(&source, query, Some(&last), "alive").await);
    assert_eq!(seen, Vec::<String>::new(), "everything was told");

    // The server is started anew, and something happens before they come back.
    source.world.put(kind("VirtualService"), virtual_service(20));
    drop(source);
    source = recording(&directory);
    source.world.put(kind("VirtualService"), virtual_service(30));
    for n in 0..700 {
        log(&source, "web-1", 6_000_000 + n, &n.to_string());
    }
    let (seen, _) = events(&told(&source, query, Some(&last), "change").await);
    let expected = ["gap logs 200".to_owned(), "line 200".to_owned()];
    assert_eq!((&seen[..2], seen.len()), (&expected[..], 503));
    assert_eq!(seen[501..], ["change was updated", "change was updated"]);

    // What another server said is no reason to tell anything of the past.
    for foreign in ["17", "0-0-0"] {
        let (seen, own) = events(&told(&source, query, Some(foreign), "alive").await);
        assert_eq!((seen.len(), own.split('-').next()), (0, last.split('-').next()), "{foreign}");
    }
}

#[test]
fn a_store_elsewhere_that_does_not_answer_is_no_fault_of_ours() {
    let status = |error| super::Refused::from(error).status.as_u16();
    assert_eq!(status(Error::Elsewhere("http://jaeger:16686/ does not answer".to_owned())), 503);
    assert_eq!(status(Error::Record("a span without an id".to_owned())), 500);
}

#[tokio::test]
async fn a_connection_that_is_refused_is_an_edge_though_no_byte_moves() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(&directory);
    let tell = |name: &str, at: i64, value: f64| {
        let of = labels(&[
            ("__name__", name),
            ("reporter", "source"),
            ("source_workload", "web"),
            ("source_workload_namespace", "blog-system"),
            ("source_canonical_service", "web"),
            ("source_canonical_revision", "latest"),
            ("source_cluster", "Kubernetes"),
            ("destination_workload", "unknown"),
            ("destination_service", "unknown"),
            ("destination_service_name", "BlackHoleCluster"),
            ("destination_service_namespace", "unknown"),
            ("request_protocol", "tcp"),
            ("response_flags", "UH"),
        ]);
        let series = source.store.metrics().series(&of).unwrap();
        source.store.metrics().append(&series, Sample { at: at * 1000, value });
    };
    for at in [END - 100, END - 10] {
        tell("istio_tcp_received_bytes_total", at, 0.0);
        tell("istio_tcp_connections_opened_total", at, 0.0);
    }
    // Of another moment, since a drawing of one is kept.
    let holes = async |at: i64, idle: bool| {
        let path = format!("/console/api/graph?at={at}&duration=50&graphType=workload&includeIdleEdges={idle}");
        let (_, graph) = get(&source, &path).await;
        let leads = |edge: &&Value| {
            let target = &graph["nodes"][edge["target"].as_u64().unwrap() as usize];
            target["egress"] == "BlackHoleCluster" && !edge["unmatched"].as_array().unwrap().is_empty()
        };
        graph["edges"].as_array().unwrap().iter().filter(leads).count()
    };
    assert_eq!((holes(END, false).await, holes(END, true).await), (0, 0), "nothing was dialled");
    tell("istio_tcp_connections_opened_total", END - 5, 3.0);
    assert_eq!((holes(END + 1, false).await, holes(END + 1, true).await), (1, 1));
}
