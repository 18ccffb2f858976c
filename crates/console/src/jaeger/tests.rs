use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use varka_proto::otlp::ExportTraceServiceRequest;

use super::query::{self, Wanted};
use super::{routes, routes_seen};
use crate::access::sight::Sight;
use crate::store::Store;
use crate::store::tests::forever;

pub(super) fn filled(directory: &tempfile::TempDir) -> Store {
    let store = Store::open(directory.path(), forever()).unwrap();
    let spans = json!({"resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "web.blog-system"}}, {"key": "pod", "value": {"stringValue": "web-1"}}]},
            "scopeSpans": [{"spans": [{
                "traceId": "000000000000000000000000000000ab", "spanId": "00000000000000a1", "name": "was-service:8080/*", "kind": 3,
                "startTimeUnixNano": "1764000000000000000", "endTimeUnixNano": "1764000000250000000",
                "attributes": [{"key": "http.status_code", "value": {"intValue": "503"}}, {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "x"}, {"intValue": "2"}]}}}],
                "events": [{"timeUnixNano": "1764000000100000000", "name": "retried", "attributes": [{"key": "attempt", "value": {"intValue": "2"}}]}],
                "status": {"code": 2}
            }]}]
        },
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "was.blog-system"}}]},
            "scopeSpans": [{"scope": {"name": "varka"}, "spans": [{
                "traceId": "000000000000000000000000000000ab", "spanId": "00000000000000a2", "parentSpanId": "00000000000000a1", "name": "GET", "kind": 2,
                "startTimeUnixNano": "1764000000010000000", "endTimeUnixNano": "1764000000200000000",
                "links": [{"traceId": "000000000000000100000000000000ab", "spanId": "0000000000000001"}]
            }]}]
        }
    ]});
    let spans: ExportTraceServiceRequest = serde_json::from_value(spans).unwrap();
    for from in spans.resource_spans {
        assert_eq!(store.spans().append(from), 0);
    }
    store
}

pub(super) async fn get(store: &Store, path: &str) -> (u16, Value) {
    let response = routes(store.clone()).oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// As somebody asks who sees one namespace.
async fn seen(store: &Store, namespace: &str, path: &str) -> (u16, Value) {
    let sight = Sight::Of(std::sync::Arc::new([namespace.to_owned()].into()));
    let routes = routes_seen(store.clone(), sight);
    let response = routes.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn spans_of_other_namespaces_are_left_out_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory);
    // One of another namespace by its service; one by the proxy that made it, whatever the service is called; one of nobody.
    let more: [(&str, Value); 3] = [
        ("orders.shop", json!([])),
        (
            "web.blog-system",
            json!([{"key": "node_id", "value": {"stringValue": "sidecar~10.0.0.9~orders-1.shop~shop.svc.cluster.local"}}]),
        ),
        ("batch", json!([])),
    ];
    for (number, (service, attributes)) in more.into_iter().enumerate() {
        let spans = json!({"resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
            "scopeSpans": [{"spans": [{
                "traceId": "000000000000000000000000000000ab", "spanId": format!("00000000000000b{number}"), "parentSpanId": "00000000000000a2",
                "name": "secret", "kind": 2, "startTimeUnixNano": "1764000000020000000", "endTimeUnixNano": "1764000000030000000",
                "attributes": attributes,
            }]}],
        }]});
        let spans: ExportTraceServiceRequest = serde_json::from_value(spans).unwrap();
        spans.resource_spans.into_iter().for_each(|from| assert_eq!(store.spans().append(from), 0));
    }
    let names = |answer: &Value| -> Vec<String> {
        let spans = answer["data"][0]["spans"].as_array().cloned().unwrap_or_default();
        spans.iter().map(|span| span["spanID"].as_str().unwrap().to_owned()).collect()
    };
    let (_, all) = get(&store, "/api/traces/ab").await;
    assert_eq!((names(&all).len(), &all["data"][0]["warnings"]), (5, &Value::Null));
    let warned = |hidden: u8| {
        json!([format!("{hidden} more spans are of namespaces that you may not get, or of none that is known.")])
    };
    let (_, blog) = seen(&store, "blog-system", "/api/traces/ab").await;
    assert_eq!(names(&blog), ["00000000000000a1", "00000000000000a2"]);
    assert_eq!(blog["data"][0]["warnings"], warned(3));
    assert!(!blog.to_string().contains("secret") && !blog.to_string().contains("orders"), "{blog}");
    let (_, shop) = seen(&store, "shop", "/api/traces/ab").await;
    assert_eq!((names(&shop).len(), &shop["data"][0]["warnings"]), (2, &warned(3)));
    // Somewhere else nothing is there, and nothing is found by what is not shown.
    assert_eq!(seen(&store, "elsewhere", "/api/traces/ab").await.0, 404);
    let search = |service: &str| format!("/api/traces?service={service}&{AROUND}");
    assert_eq!(seen(&store, "shop", &search("was.blog-system")).await.1["data"], json!([]));
    assert_eq!(names(&seen(&store, "shop", &search("orders.shop")).await.1).len(), 2);
    assert_eq!(names(&seen(&store, "blog-system", &search("web.blog-system")).await.1).len(), 2);
    assert_eq!(seen(&store, "elsewhere", "/api/traces?traceID=ab").await.1["data"], json!([]));
    assert_eq!(seen(&store, "shop", "/api/services").await.1["data"], json!(["orders.shop"]));
    assert_eq!(seen(&store, "shop", "/api/services/web.blog-system/operations").await.1["data"], json!([]));
    assert_eq!(seen(&store, "shop", "/api/operations?service=orders.shop").await.1["data"][0]["name"], "secret");
    let calls = |namespace: &'static str| {
        let store = store.clone();
        async move {
            seen(&store, namespace, "/api/dependencies?endTs=1764000001000&lookback=60000").await.1["data"].clone()
        }
    };
    let known = json!({"parent": "web.blog-system", "child": "was.blog-system", "callCount": 1});
    assert!(calls("blog-system").await.as_array().unwrap().contains(&known));
    assert_eq!(calls("shop").await, json!([]), "who calls it is not theirs to know");
    assert_eq!(seen(&store, "blog-system", "/api/v3/services").await.0, 404);
}

const AROUND: &str = "start=1763999999000000&end=1764000001000000";

#[tokio::test]
async fn a_trace_is_shown_as_its_clients_know_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory);
    let (status, answer) = get(&store, "/api/traces/ab").await;
    assert_eq!(status, 200);
    let expected = json!({
        "traceID": "00000000000000ab",
        "spans": [
            {
                "traceID": "00000000000000ab", "spanID": "00000000000000a1", "operationName": "was-service:8080/*", "references": [],
                "startTime": 1_764_000_000_000_000_u64, "duration": 250_000,
                "tags": [
                    {"key": "http.status_code", "type": "int64", "value": 503},
                    {"key": "list", "type": "string", "value": "[\"x\",2]"},
                    {"key": "span.kind", "type": "string", "value": "client"},
                    {"key": "otel.status_code", "type": "string", "value": "ERROR"},
                    {"key": "error", "type": "bool", "value": true},
                ],
                "logs": [{"timestamp": 1_764_000_000_100_000_u64, "fields": [
                    {"key": "event", "type": "string", "value": "retried"}, {"key": "attempt", "type": "int64", "value": 2},
                ]}],
                "processID": "p1", "warnings": null, "flags": 1,
            },
            {
                "traceID": "00000000000000ab", "spanID": "00000000000000a2", "operationName": "GET",
                "references": [
                    {"refType": "CHILD_OF", "traceID": "00000000000000ab", "spanID": "00000000000000a1"},
                    {"refType": "FOLLOWS_FROM", "traceID": "000000000000000100000000000000ab", "spanID": "0000000000000001"},
                ],
                "startTime": 1_764_000_000_010_000_u64, "duration": 190_000,
                "tags": [
                    {"key": "otel.scope.name", "type": "string", "value": "varka"},
                    {"key": "span.kind", "type": "string", "value": "server"},
                ],
                "logs": [], "processID": "p2", "warnings": null, "flags": 1,
            },
        ],
        "processes": {
            "p1": {"serviceName": "web.blog-system", "tags": [{"key": "pod", "type": "string", "value": "web-1"}]},
            "p2": {"serviceName": "was.blog-system", "tags": []},
        },
        "warnings": null,
    });
    assert_eq!(answer["data"][0], expected);
    let (status, answer) = get(&store, "/api/traces/cd").await;
    assert_eq!((status, &answer["errors"][0]), (404, &json!({"code": 404, "msg": "trace not found", "traceID": "cd"})));
}

#[tokio::test]
async fn what_clients_ask_first_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory);
    assert_eq!(get(&store, "/api/services").await.1["data"], json!(["was.blog-system", "web.blog-system"]));
    assert_eq!(get(&store, "/api/services/was.blog-system/operations").await.1["data"], json!(["GET"]));
    assert_eq!(
        get(&store, "/api/operations?service=web.blog-system").await.1["data"],
        json!([{"name": "was-service:8080/*", "spanKind": "client"}])
    );
    assert_eq!(get(&store, "/api/operations?service=web.blog-system&spanKind=server").await.1["data"], json!([]));
    let found = |path: String| {
        let store = store.clone();
        async move { get(&store, &path).await.1["data"].as_array().unwrap().len() }
    };
    assert_eq!(found(format!("/api/traces?service=web.blog-system&{AROUND}")).await, 1);
    assert_eq!(
        found(format!("/api/traces?service=web.blog-system&{AROUND}&tags=%7B%22error%22%3A%22true%22%7D")).await,
        1
    );
    assert_eq!(found(format!("/api/traces?service=was.blog-system&{AROUND}&minDuration=190.1ms")).await, 0);
    assert_eq!(found("/api/traces?service=web.blog-system".to_owned()).await, 0, "older than two days");
    assert_eq!(
        get(&store, "/api/dependencies?endTs=1764000001000&lookback=2000").await.1["data"],
        json!([{"parent": "web.blog-system", "child": "was.blog-system", "callCount": 1}])
    );
    let (status, answer) = get(&store, "/api/traces").await;
    assert_eq!((status, answer["errors"][0]["msg"].as_str()), (400, Some("service: parameter 'service' is required")));
    assert_eq!(get(&store, "/api/metrics/latencies?service=x").await.0, 501);
}

#[tokio::test]
async fn version_three_answers_in_otlp() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory);
    assert_eq!(get(&store, "/api/v3/services").await.1, json!({"services": ["was.blog-system", "web.blog-system"]}));
    let times = "query.startTimeMin=2025-11-24T15:59:59Z&query.start_time_max=2025-11-24T16:00:01Z";
    let (status, answer) = get(&store, &format!("/api/v3/traces?query.serviceName=web.blog-system&{times}")).await;
    let spans = answer["result"]["resourceSpans"].as_array().unwrap();
    assert_eq!((status, spans.len()), (200, 2), "{answer}");
    assert_eq!(spans[0]["scopeSpans"][0]["spans"][0]["startTimeUnixNano"], "1764000000000000000");
    let (status, _) = get(&store, &format!("/api/v3/traces?query.serviceName=nobody&{times}")).await;
    assert_eq!(status, 404);
    let none = json!({"error": {"httpCode": 404, "message": "trace not found"}});
    assert_eq!(get(&store, "/api/v3/traces/cd").await, (404, none));
    let (_, answer) = get(&store, &format!("/api/v3/trace-summaries?query.service_name=was.blog-system&{times}")).await;
    let summary = &answer["summaries"][0];
    assert_eq!(
        (&summary["rootServiceName"], &summary["spanCount"], &summary["errorSpanCount"]),
        (&json!("web.blog-system"), &json!(2), &json!(1))
    );
    let (status, answer) = get(&store, "/api/v3/traces?query.serviceName=x&query.startTimeMin=yesterday").await;
    assert_eq!(status, 400, "{answer}");
}

#[test]
fn durations_are_read_as_go_writes_them() {
    for (text, micros) in
        [("1ms", 1_000), ("100us", 100), ("1.5s", 1_500_000), ("1h2m3s", 3_723_000_000), ("2500ns", 3)]
    {
        assert_eq!(query::duration("d", text).unwrap(), micros, "{text}");
    }
    for text in ["", "5", "ms", "1d", "1s2", "-1s", "1..5s"] {
        assert!(query::duration("d", text).is_err(), "{text}");
    }
}

#[test]
fn contradictions_are_refused() {
    let of = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        query::traces(&pairs, 7_000_000)
    };
    assert!(of(&[("service", "x"), ("minDuration", "2s"), ("maxDuration", "1s")]).is_err());
    assert!(of(&[("service", "x"), ("tag", "colonless")]).is_err());
    assert!(of(&[("traceID", "xyz")]).is_err());
    assert_eq!(of(&[("traceID", "0a"), ("traceID", "b")]).unwrap(), Wanted::Traces(vec![10, 11]));
    let Wanted::Search(search) = of(&[("service", "x"), ("tag", "a:b:c"), ("limit", "99999")]).unwrap() else {
        panic!()
    };
    assert_eq!((search.tags, search.limit, search.end), (vec![("a".to_owned(), "b:c".to_owned())], 1_500, 7_000_000));
}
