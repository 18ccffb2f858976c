use varka_proto::otlp::{AnyValue, KeyValue, Resource, ResourceSpans, ScopeSpans, Span, Status, Value};

use super::super::Store;
use super::super::tests::forever;
use super::{Operation, Search};

fn span(trace: u8, id: u8, name: &str, start_us: u64, duration_us: u64, attributes: Vec<KeyValue>) -> Span {
    let id_of = |byte: u8, length: usize| {
        let mut bytes = vec![0; length];
        bytes[length - 1] = byte;
        bytes
    };
    Span {
        trace_id: id_of(trace, 16),
        span_id: id_of(id, 8),
        name: name.to_owned(),
        kind: 2,
        start_time_unix_nano: start_us * 1000,
        end_time_unix_nano: (start_us + duration_us) * 1000,
        attributes,
        ..Span::default()
    }
}

fn of(service: &str, spans: Vec<Span>) -> ResourceSpans {
    let resource =
        Some(Resource { attributes: vec![KeyValue::text("service.name", service), KeyValue::text("zone", "a")] });
    ResourceSpans { resource, scope_spans: vec![ScopeSpans { scope: None, spans }] }
}

fn number(key: &str, value: i64) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::IntValue(value)) }) }
}

fn search(service: &str) -> Search {
    Search { service: service.to_owned(), end: u64::MAX, limit: 20, ..Search::default() }
}

fn fill(store: &Store) {
    assert_eq!(store.spans().append(of("web", vec![span(1, 1, "GET", 100, 50, vec![number("code", 200)])])), 0);
    assert_eq!(store.spans().append(of("was", vec![span(1, 2, "GET", 110, 30, vec![])])), 0);
    let mut failed = span(2, 3, "POST", 200, 500, vec![number("code", 503)]);
    failed.status = Some(Status { code: 2, ..Status::default() });
    assert_eq!(store.spans().append(of("web", vec![failed])), 0);
}

fn check(store: &Store) {
    let found = |search: &Search| store.spans().search(search).unwrap();
    assert_eq!(store.spans().services(), ["was".into(), "web".into()]);
    let operation = |name: &str| Operation { name: name.to_owned(), kind: 2 };
    assert_eq!(store.spans().operations("web").unwrap(), [operation("GET"), operation("POST")]);
    assert_eq!(store.spans().operations("nobody").unwrap(), []);
    let trace: Vec<_> = store.spans().trace(1).unwrap().iter().map(|f| (f.service(), f.span.span_id[7])).collect();
    assert_eq!(trace, [("web".to_owned(), 1), ("was".to_owned(), 2)]);
    assert!(store.spans().trace(9).unwrap().is_empty());

    assert_eq!(found(&search("web")), [2, 1], "the newest first");
    assert_eq!(found(&search("")), [2, 1]);
    assert_eq!(found(&search("nobody")), [0; 0]);
    assert_eq!(found(&Search { limit: 1, ..search("web") }), [2]);
    assert_eq!(found(&Search { operation: "GET".to_owned(), ..search("web") }), [1]);
    assert_eq!(found(&Search { start: 101, ..search("web") }), [2]);
    assert_eq!(found(&Search { end: 199, ..search("web") }), [1]);
    assert_eq!(found(&Search { duration_min: Some(51), ..search("web") }), [2]);
    assert_eq!(found(&Search { duration_max: Some(499), ..search("web") }), [1]);
    let tagged = |tags: &[(&str, &str)]| {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        found(&Search { tags, ..search("web") })
    };
    assert_eq!(tagged(&[("code", "503")]), [2]);
    assert_eq!(tagged(&[("error", "true")]), [2], "the status");
    assert_eq!(tagged(&[("code", "200"), ("zone", "a")]), [1], "where it comes from");
    assert_eq!(tagged(&[("code", "200"), ("zone", "b")]), [0; 0]);
}

#[test]
fn traces_are_found_before_and_after_they_are_written_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = Store::open(directory.path(), forever()).unwrap();
        fill(&store);
        check(&store);
    }
    let store = Store::open(directory.path(), forever()).unwrap();
    check(&store);
    fill(&store);
    check(&store);
}

#[test]
fn what_is_no_span_is_dropped_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), forever()).unwrap();
    let short = Span { trace_id: vec![1; 8], ..span(1, 1, "x", 1, 1, vec![]) };
    let nobody = Span { span_id: vec![0; 8], ..span(1, 1, "x", 1, 1, vec![]) };
    let huge = span(1, 1, &"x".repeat(super::LONGEST), 1, 1, vec![]);
    assert_eq!(store.spans().append(of("web", vec![short, nobody, huge, span(1, 4, "y", 1, 1, vec![])])), 3);
    let counts = store.counts().spans;
    assert_eq!((counts.taken, counts.dropped), (1, 3));
}

#[test]
fn sides_that_share_an_id_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), forever()).unwrap();
    let client = Span { kind: 3, ..span(1, 7, "call", 100, 50, vec![]) };
    let server = span(1, 7, "call", 110, 30, vec![]);
    let below = Span { kind: 0, parent_span_id: client.span_id.clone(), ..span(1, 8, "work", 120, 10, vec![]) };
    // Somebody has the first id that would be free.
    let other = Span { kind: 0, parent_span_id: below.span_id.clone(), ..span(1, 1, "more", 121, 1, vec![]) };
    assert_eq!(store.spans().append(of("web", vec![client])), 0);
    assert_eq!(store.spans().append(of("was", vec![server, below, other])), 0);
    let ids = |found: &super::Found| {
        let last = |id: &[u8]| id.last().copied().unwrap_or(0);
        (last(&found.span.span_id), last(&found.span.parent_span_id))
    };
    let trace: Vec<_> = store.spans().trace(1).unwrap().iter().map(ids).collect();
    assert_eq!(trace, [(7, 0), (2, 7), (8, 2), (1, 8)]);
}
