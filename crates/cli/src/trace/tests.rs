use serde_json::{Value, json};

use super::model::Trace;
use super::{list, waterfall};
use crate::golden::golden;

const START: i64 = 1_769_860_800_000_000;

fn span(id: &str, parent: &str, process: &str, at: i64, took: i64, tags: &Value) -> Value {
    let references = if parent.is_empty() {
        json!([])
    } else {
        json!([{"refType": "CHILD_OF", "traceID": "abc", "spanID": parent}])
    };
    json!({"traceID": "abc", "spanID": id, "operationName": format!("op {id}"), "references": references,
        "startTime": START + at, "duration": took, "processID": process, "tags": tags})
}

fn trace(spans: &[Value]) -> Trace {
    let processes = json!({"p1": {"serviceName": "ingress", "tags": []}, "p2": {"serviceName": "was.blog-system",
        "tags": [{"key": "node", "type": "string", "value": "n1"}]}});
    Trace::read(&json!({"traceID": "abc", "spans": spans, "processes": processes})).unwrap()
}

/// The statement ends last; what runs beside it is not waited for.
fn request() -> Trace {
    let text = |key: &str, value: &str| json!({"key": key, "type": "string", "value": value});
    let statement = json!([
        text("db.system.name", "mysql"),
        text("db.query.text", "SELECT id\nFROM posts WHERE id = ?"),
        text("varka.parent", "inferred"),
    ]);
    let failed = json!([{"key": "error", "type": "bool", "value": true}, {"key": "http.status_code", "type": "int64", "value": 503}]);
    trace(&[
        span("b", "a", "p2", 1_000, 9_000, &json!([])),
        span("a", "", "p1", 0, 12_000, &json!([])),
        span("c", "b", "p2", 4_000, 5_000, &statement),
        span("d", "b", "p2", 2_000, 3_000, &failed),
    ])
}

#[test]
fn a_trace_is_a_waterfall() {
    golden("trace/waterfall", &waterfall(&request(), false));
    golden("trace/tags", &waterfall(&request(), true));
}

#[test]
fn what_had_to_be_waited_for_adds_up_to_the_whole() {
    let trace = request();
    let rows = trace.rows();
    let waited = |name: &str| {
        let row = rows.iter().find(|row| row.span.operation == name).unwrap();
        row.critical.iter().map(|(from, to)| to - from).sum::<i64>()
    };
    assert_eq!([waited("op a"), waited("op b"), waited("op c"), waited("op d")], [3_000, 2_000, 5_000, 2_000]);
}

#[test]
fn traces_are_listed() {
    let newer = trace(&[span("x", "", "p2", 60_000_000, 500, &json!([]))]);
    golden("trace/newest", &list(vec![request(), newer.clone()], false, 20));
    let slowest = list(vec![newer, request()], true, 1);
    assert!(slowest.lines().nth(1).unwrap().contains("ingress op a") && slowest.lines().count() == 2, "{slowest}");
    assert!(list(Vec::new(), false, 20).starts_with("no traces"));
}

#[test]
fn no_trace_is_too_strange_to_be_shown() {
    let circle = trace(&[span("a", "b", "p1", 0, 10, &json!([])), span("b", "a", "p1", 0, 10, &json!([]))]);
    assert_eq!(circle.rows().len(), 2);
    let itself = trace(&[span("a", "a", "p9", 0, -10, &json!([]))]);
    assert_eq!(itself.rows().len(), 1);
    let deep: Vec<Value> = (0..20_000)
        .map(|i| {
            let parent = if i == 0 { String::new() } else { format!("s{}", i - 1) };
            span(&format!("s{i}"), &parent, "p1", i, 50_000 - 2 * i, &json!([]))
        })
        .collect();
    let rows = waterfall(&trace(&deep), false);
    assert_eq!(rows.lines().count(), 20_000 + 5);
    assert!(Trace::read(&json!({"traceID": 1})).is_err());
    assert!(waterfall(&trace(&[]), true).contains("spans: 0"));
}
