use axum::body::Body;
use axum::http::Request;
use tower::ServiceExt as _;
use varka_proto::otlp::{KeyValue, ResourceSpans, ScopeSpans, Span};

use super::*;
use crate::explain::tests::{istio, objects};
use crate::graph::tests::source as with_metrics;
use crate::store::logs::Line;
use crate::store::metrics::Sample;
use crate::store::tests::labels;

const WAS: &str = "outbound|8080||was.blog.svc.cluster.local";

/// The blog of [`crate::explain::tests`].
fn source(directory: &tempfile::TempDir) -> Source {
    let source = with_metrics(directory);
    for object in objects() {
        let group = object["apiVersion"].as_str().unwrap().rsplit_once('/').map_or("", |(group, _)| group);
        let kind = KINDS.iter().find(|k| k.group == group && object["kind"] == k.kind).unwrap();
        source.world.put(*kind, object);
    }
    source
}

fn now() -> i64 {
    crate::api::now().div_euclid(1000)
}

/// A span of a pod of the blog, of a moment ago.
fn record(source: &Source, pod: &str, ids: [u8; 3], kind: i32, tags: &[(&str, &str)]) {
    let node = format!("sidecar~10.0.0.1~{pod}.blog~blog.svc.cluster.local");
    let base = [("component", "proxy"), ("node_id", node.as_str()), ("http.method", "GET"), ("user_agent", "curl")];
    let attributes = base.iter().chain(tags).map(|(key, value)| KeyValue::text(*key, *value)).collect();
    let [trace, id, parent] = ids;
    let at = u64::try_from(now() - 5).unwrap() * 1_000_000_000;
    let span = Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        parent_span_id: if parent == 0 { Vec::new() } else { vec![parent; 8] },
        kind,
        attributes,
        start_time_unix_nano: at,
        end_time_unix_nano: at + 20_000_000,
        ..Span::default()
    };
    let spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    assert_eq!(source.store.spans().append(ResourceSpans { scope_spans: spans, ..ResourceSpans::default() }), 0);
}

/// From web to was, as both sides record it.
fn call(source: &Source, trace: u8, path: &str, code: &str) {
    let url = format!("http://was:8080{path}");
    let id = format!("request-{trace}");
    let tags = [("http.url", url.as_str()), ("http.status_code", code), ("guid:x-request-id", &id)];
    record(source, "web-abc", [trace, 1, 0], 3, &[&tags[..], &[("upstream_cluster", WAS)]].concat());
    let server = [("upstream_cluster", "inbound|8080||"), ("peer.address", "10.0.0.1")];
    record(source, "was-abc", [trace, 2, 1], 2, &[&tags[..], &server].concat());
}

/// How many requests from web to was its proxy counted.
fn count(source: &Source, to: &str, requests: f64) {
    let of = labels(&[
        ("__name__", "istio_requests_total"),
        ("reporter", "source"),
        ("source_workload", "web"),
        ("source_workload_namespace", "blog"),
        ("destination_service", format!("{to}.blog.svc.cluster.local").as_str()),
        ("destination_service_name", to),
        ("destination_service_namespace", "blog"),
        ("response_code", "200"),
    ]);
    let series = source.store.metrics().series(&of).unwrap();
    for (at, value) in [(now() - 400, 0.0), (now() - 2, requests)] {
        source.store.metrics().append(&series, Sample { at: at * 1000, value });
    }
}

fn deny(paths: &str) -> Value {
    let rules = json!([{"to": [{"operation": {"paths": [paths]}}]}]);
    istio("AuthorizationPolicy", "no", json!({"action": "DENY", "rules": rules}))
}

fn told(source: &Source, sight: &Sight, object: Value) -> Value {
    of(source, sight, vec![change(object).unwrap()], now()).unwrap()
}

#[test]
fn each_request_counts_once_and_a_sample_stands_for_all() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(&directory);
    for trace in 1..=8 {
        call(&source, trace, if trace <= 2 { "/admin" } else { "/api/posts" }, "200");
    }
    let effect = told(&source, &Sight::All, deny("/admin"));
    assert_eq!(
        (&effect["requests"], &effect["recorded"], &effect["same"]),
        (&json!(8), &json!(8), &json!(6)),
        "{effect:#}"
    );
    let group = &effect["groups"][0];
    assert_eq!(
        (&group["kind"], &group["requests"], &group["share"]),
        (&json!("denied"), &json!(2), &json!(0.25)),
        "{effect:#}"
    );
    assert_eq!(
        (&group["by"]["name"], &group["by"]["field"], &group["codes"]),
        (&json!("no"), &json!("spec.rules[0]"), &json!({"200": 2}))
    );
    assert_eq!(group["examples"].as_array().unwrap().len(), 2);
    // One of ten was recorded; and what was counted to somewhere else has no record.
    count(&source, "was", 80.0);
    count(&source, "elsewhere", 7.0);
    let effect = told(&source, &Sight::All, deny("/admin"));
    assert_eq!(
        (&effect["requests"], &effect["recorded"], &effect["same"]),
        (&json!(80), &json!(8), &json!(60)),
        "{effect:#}"
    );
    assert_eq!((&effect["groups"][0]["requests"], &effect["unrecorded"]), (&json!(20), &json!(7)), "{effect:#}");
}

#[test]
fn whoever_asks_is_told_of_what_they_may_see() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(&directory);
    call(&source, 1, "/admin", "200");
    let sees = |names: &[&str]| Sight::Of(Arc::new(names.iter().map(|name| (*name).to_owned()).collect()));
    let effect = told(&source, &sees(&["blog"]), deny("/admin"));
    assert_eq!((&effect["requests"], &effect["groups"][0]["kind"]), (&json!(1), &json!("denied")), "{effect:#}");
    let effect = told(&source, &sees(&["ingress-nginx"]), deny("/admin"));
    let nothing = [&effect["requests"], &effect["hidden"], &effect["unrecorded"]];
    assert_eq!((nothing, &effect["groups"]), ([&json!(0); 3], &json!([])), "nothing from or to there: {effect:#}");
    // A policy of the root namespace decides, which is not theirs.
    let mut root = deny("/admin");
    root["metadata"]["namespace"] = "istio-system".into();
    let effect = told(&source, &sees(&["blog"]), root);
    assert_eq!((&effect["hidden"], &effect["groups"]), (&json!(1), &json!([])), "{effect:#}");
}

#[test]
fn what_was_dialled_is_read_from_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(&directory);
    // The application names a host that is none of the mesh's, and dials was: only the log tells.
    for trace in [1, 2] {
        let id = format!("request-{trace}");
        let tags =
            [("http.url", "http://blog.example.com/api"), ("http.status_code", "200"), ("guid:x-request-id", &id)];
        record(
            &source,
            "web-abc",
            [trace, 1, 0],
            3,
            &[&tags[..], &[("upstream_cluster", "PassthroughCluster")]].concat(),
        );
    }
    let line = json!({
        "start_time": "2026-01-01T00:00:00.000Z", "method": "GET", "path": "/api", "response_code": 200, "response_flags": "-", "duration": 3, "request_id": "request-1",
        "authority": "blog.example.com", "upstream_cluster": "PassthroughCluster", "downstream_local_address": "10.96.0.2:8080",
        "requested_server_name": null, "upstream_host": "10.0.0.2:8080", "response_code_details": "via_upstream",
    });
    let of = Container { namespace: "blog".to_owned(), pod: "web-abc".to_owned(), container: "istio-proxy".to_owned() };
    let effect = told(&source, &Sight::All, deny("/api"));
    assert_eq!(
        (&effect["unread"], &effect["requests"]),
        (&json!(2), &json!(0)),
        "where they went is not known: {effect:#}"
    );
    let at = micros(now() - 4);
    // The proxy before it wrote of the same request what was dialled there.
    let mut before = line.clone();
    before["downstream_local_address"] = "10.0.0.1:80".into();
    let another = Container { pod: "edge-abc".to_owned(), ..of.clone() };
    record(
        &source,
        "edge-abc",
        [1, 9, 0],
        3,
        &[("http.url", "http://a/"), ("http.status_code", "200"), ("guid:x-request-id", "request-1")],
    );
    assert!(source.store.logs().append(Line { at, source: of, text: line.to_string() }));
    assert!(source.store.logs().append(Line { at, source: another, text: before.to_string() }));
    let effect = told(&source, &Sight::All, deny("/api"));
    assert_eq!(
        (&effect["groups"][0]["kind"], &effect["groups"][0]["requests"]),
        (&json!("denied"), &json!(2)),
        "{effect:#}"
    );
    assert_eq!(effect["groups"][0]["before"]["outcome"], "passthrough", "{effect:#}");
}

#[tokio::test]
async fn it_is_asked_over_what_somebody_sees() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(&directory);
    call(&source, 1, "/admin", "200");
    let ask = |body: Value| {
        let request = Request::post("/console/api/effect").header("content-type", "application/json");
        let routes = crate::api::routes(source.clone());
        async move {
            let response = routes.oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
            let status = response.status().as_u16();
            let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
            (status, serde_json::from_slice::<Value>(&body).unwrap())
        }
    };
    let (status, effect) = ask(json!({"objects": [deny("/admin")]})).await;
    assert_eq!((status, &effect["groups"][0]["kind"]), (200, &json!("denied")), "{effect:#}");
    let filter = json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": {"name": "a", "namespace": "blog"}});
    assert_eq!(ask(json!({"objects": [filter]})).await, (200, Value::Null), "nobody is told anything of that kind");
    let policy = KINDS.iter().find(|kind| kind.kind == "AuthorizationPolicy").unwrap();
    source.world.put(*policy, deny("/admin"));
    let (status, effect) = ask(json!({"removed": [deny("/admin")]})).await;
    assert_eq!((status, &effect["groups"][0]["kind"]), (200, &json!("allowed")), "{effect:#}");
    assert_eq!(ask(json!({"objects": "all"})).await.0, 400);
    assert_eq!(ask(json!({"objects": vec![deny("/"); 101]})).await.0, 400);
}

#[test]
fn what_pods_asked_that_are_gone_counts() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(&directory);
    let world = crate::world::World::recording(source.store.clone());
    for kind in KINDS {
        source.world.of(kind.group, kind.kind).iter().for_each(|object| world.put(kind, (**object).clone()));
    }
    let pods = KINDS.into_iter().find(|kind| kind.kind == "Pod").unwrap();
    world.put(pods, crate::explain::tests::pod("batch", "10.0.0.7", true));
    let text = |object: &Value, field: &str| object["metadata"][field].as_str().unwrap().to_owned();
    let listed = world.of("", "Pod").iter().map(|pod| (text(pod, "namespace"), text(pod, "name"))).collect();
    world.keep(pods, &listed, None, crate::api::now());
    while source.store.observed().size() == 0 {
        std::thread::yield_now();
    }
    let source = Source { world, ..source };
    let tags = [("http.url", "http://was:8080/admin"), ("http.status_code", "200"), ("upstream_cluster", WAS)];
    record(&source, "batch-abc", [1, 1, 0], 3, &tags);
    source.world.remove(pods, &("blog".to_owned(), "batch-abc".to_owned()));
    let effect = told(&source, &Sight::All, deny("/admin"));
    assert_eq!((&effect["requests"], &effect["groups"][0]["kind"]), (&json!(1), &json!("denied")), "{effect:#}");
}
