//! What databases, applications and people send to those who count, trace and show.

use std::time::Instant;

use prost::Message as _;
use varka_console::input::{exposition_labels, exposition_lines, jaeger_search, otlp_json as read_otlp, zipkin_spans};
use varka_promql::limits::Limits;
use varka_promql::storage::{FloatSample, Memory, STALE, Samples};
use varka_promql::{Options, Times};
use varka_proto::otlp::{ExportTraceServiceRequest, ResourceSpans};
use varka_telemetry::graph::facts::{Facts, Namespace};
use varka_telemetry::graph::health::Config;
use varka_telemetry::graph::kiali::request;
use varka_telemetry::wire::{Observer, Operation, Reading, Side};

use crate::{choice, pieces};

/// A connection with a database: first byte how it is cut, then what was said, piece by piece: a byte with the side and a length, and so
/// many bytes.
pub(crate) fn database_wire(data: &[u8]) {
    let (sizes, rest) = choice(data);
    let whole = said(rest);
    let mut joined: Vec<(Side, Vec<u8>)> = Vec::new();
    for (side, bytes) in &whole {
        match joined.last_mut() {
            Some((last, before)) if last == side => before.extend_from_slice(bytes),
            _ => joined.push((*side, bytes.to_vec())),
        }
    }
    let sizes = [1 + usize::from(sizes & 7), 1, 1 + usize::from(sizes >> 3)];
    let cut: Vec<(Side, &[u8])> =
        whole.iter().flat_map(|(side, bytes)| pieces(bytes, sizes).into_iter().map(|piece| (*side, piece))).collect();
    let joined: Vec<(Side, &[u8])> = joined.iter().map(|(side, bytes)| (*side, &bytes[..])).collect();
    let found = observe(&whole);
    assert_eq!(observe(&cut), found, "in smaller pieces");
    assert_eq!(observe(&joined), found, "in larger pieces");
}

fn said(mut data: &[u8]) -> Vec<(Side, &[u8])> {
    let mut out = Vec::new();
    while let Some((head, rest)) = data.split_first() {
        let side = if head & 0x80 == 0 { Side::Client } else { Side::Server };
        let (bytes, rest) = rest.split_at(usize::from(head & 0x7f).min(rest.len()));
        if !bytes.is_empty() {
            out.push((side, bytes));
        }
        data = rest;
    }
    out
}

fn observe(said: &[(Side, &[u8])]) -> (Vec<Operation>, Reading) {
    let (mut observer, now, mut found) = (Observer::default(), *NOW, Vec::new());
    for (side, bytes) in said {
        observer.observe(*side, bytes, now, &mut |operation| found.push(operation));
    }
    for operation in &found {
        let text = operation.statement.as_ref().map_or("", |statement| &statement.text);
        assert!(text.len() <= 1024, "{} bytes of a statement", text.len());
        assert!(!operation.name.is_empty() && operation.name.len() <= 64, "{:?} is no name", operation.name);
        let (error, database) = (operation.error.as_deref(), operation.database.as_deref());
        assert!(error.is_none_or(|error| error.len() <= 64), "{error:?} is no code");
        assert!(database.is_none_or(|database| database.len() <= 256), "{database:?} is no database");
    }
    (found, observer.reading())
}

static NOW: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

/// Metrics of anybody.
pub(crate) fn exposition(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let whole = read(text);
    let alone: Vec<_> = text.lines().map(read).collect();
    let lines: Lines = alone.iter().flat_map(|(lines, _)| lines.clone()).collect();
    assert_eq!(whole, (lines, alone.iter().map(|(_, wrong)| wrong).sum()), "a line means what it means alone");
    for (series, _, _) in &whole.0 {
        let Some(labels) = exposition_labels(series) else { continue };
        assert_eq!(labels.first().map(|(name, _)| &**name), Some("__name__"));
        assert!(labels.len() <= 66, "{} labels", labels.len());
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let own = labels.iter().skip(1).map(|(name, value)| format!("{name}=\"{}\"", quoted(value)));
        let printed =
            format!("{}{{{}}}", labels.first().map_or("", |(_, name)| name), own.collect::<Vec<_>>().join(","));
        assert_eq!(exposition_labels(&printed), Some(labels), "printed: {printed}");
    }
}

type Lines = Vec<(String, u64, Option<i64>)>;

fn read(text: &str) -> (Lines, usize) {
    let mut wrong = 0;
    let lines = exposition_lines(text, &mut wrong).map(|l| (l.series.to_owned(), l.value.to_bits(), l.at)).collect();
    (lines, wrong)
}

/// Spans of OpenTelemetry in JSON.
pub(crate) fn otlp_json(data: &[u8]) {
    let Some(request) = read_otlp(data) else { return };
    same_in_protobuf(request);
}

fn same_in_protobuf(request: ExportTraceServiceRequest) {
    let bytes = request.encode_to_vec();
    let again =
        ExportTraceServiceRequest::decode(&bytes[..]).unwrap_or_else(|e| panic!("what was read cannot be sent: {e}"));
    // Bytes, because a number that is none equals nothing.
    assert_eq!(again.encode_to_vec(), bytes);
}

/// Spans of Zipkin.
pub(crate) fn zipkin(data: &[u8]) {
    let Ok(spans) = zipkin_spans(data) else { return };
    for span in spans.iter().flat_map(|from: &ResourceSpans| &from.scope_spans).flat_map(|scope| &scope.spans) {
        assert!(matches!(span.trace_id.len(), 0 | 16) && matches!(span.span_id.len(), 0 | 8));
        assert!(matches!(span.parent_span_id.len(), 0 | 8) && span.end_time_unix_nano >= span.start_time_unix_nano);
    }
    same_in_protobuf(ExportTraceServiceRequest { resource_spans: spans });
}

/// Queries of anybody who reaches the console, and what they cost.
pub(crate) fn promql(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(expression) = varka_promql::parse(text) else { return };
    let printed = expression.to_string();
    match varka_promql::parse(&printed) {
        Ok(again) => assert_eq!(again.to_string(), printed, "printed once more"),
        Err(error) => panic!("{printed:?} cannot be read: {error}"),
    }
    let storage = storage();
    let options = Options { limits: Limits { samples: 20_000, work: 200_000, series: 100 }, ..Options::default() };
    for times in [Times::Instant(60_000), Times::Range { start: 0, end: 120_000, step: 15_000 }] {
        // An error is an answer.
        if let Ok(answer) = varka_promql::evaluate(&expression, times, &storage, &options) {
            assert!(serde_json::to_string(&answer.value).is_ok());
        }
    }
}

fn storage() -> Memory {
    let mut storage = Memory::default();
    for (name, label, values) in [
        ("a", "x", &[0.0, 1.0, 3.0, 2.0, 9.0][..]),
        ("a", "y", &[f64::NAN, f64::INFINITY, -1.0, STALE]),
        ("b_bucket", "1", &[1.0, 2.0, 3.0]),
        ("b_bucket", "+Inf", &[1.0, 3.0, 7.0]),
    ] {
        let le = if name == "b_bucket" { label } else { "" };
        let labels = [("__name__", name), ("l", label), ("le", le)].into_iter().collect();
        let floats = values
            .iter()
            .zip(0..)
            .map(|(value, n)| FloatSample { time: n * 15_000, start: 0, value: *value })
            .collect();
        storage.append(labels, Samples { floats, histograms: Vec::new() });
    }
    storage
}

fn query(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect()
}

/// What Kiali's pages ask for a graph with: variables of the path, a line each, then the query.
pub(crate) fn kiali_graph(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(6, '\n');
    let mut next = || lines.next().unwrap_or_default();
    let [namespace, workload, service, app, version] = std::array::from_fn(|_| next());
    let path = request::Path { namespace, workload, service, app, version, aggregate: None };
    let pairs = query(next());
    let of = |name: &str| Namespace { name: name.to_owned(), created: 1_700_000_000, ..Namespace::default() };
    let facts = Facts { namespaces: vec![of("a"), of("b")], ..Facts::default() };
    let pairs = || pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let now = 1_800_000_000;
    match request::parse(&path, pairs(), &facts, HEALTH.clone(), now) {
        Ok(options) => {
            for wanted in &options.namespaces {
                assert!(facts.namespaces.iter().any(|known| known.name == wanted.name), "{wanted:?} is not there");
                assert!(wanted.duration <= options.duration);
            }
        }
        Err(refused) => assert!(matches!(refused.status(), 400 | 403) && !refused.to_string().is_empty()),
    }
}

/// It compiles its expressions.
static HEALTH: std::sync::LazyLock<Config> = std::sync::LazyLock::new(Config::default);

/// What Jaeger's pages ask for.
pub(crate) fn jaeger_query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(found) = jaeger_search(&query(text), 1_800_000_000_000_000) else { return };
    let Some(search) = found else { return };
    assert!((1..=1_500).contains(&search.limit) && !search.service.is_empty());
    let in_order = search.duration_min.zip(search.duration_max).is_none_or(|(least, most)| least <= most);
    assert!(in_order, "no span is longer than {:?} and shorter than {:?}", search.duration_min, search.duration_max);
}
