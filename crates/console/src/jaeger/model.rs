//! Spans as Jaeger's pages and clients know them.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use varka_proto::otlp::{AnyValue, ArrayValue, KeyValue, KeyValueList, Link, Value as Otlp};

use crate::store::spans::Found;

const ERROR: i32 = 2;
const PARENT_BY_LINK: &str = "opentracing.ref_type";

/// Of OTLP's numbers; empty: none.
pub(super) fn kind(number: i32) -> &'static str {
    match number {
        1 => "internal",
        2 => "server",
        3 => "client",
        4 => "producer",
        5 => "consumer",
        _ => "",
    }
}

/// A trace of which these are the spans.
pub(super) fn trace(spans: &[Found]) -> Value {
    let mut processes = Processes::default();
    let spans_json: Vec<Value> = spans.iter().map(|found| span(found, &mut processes)).collect();
    let id = spans.first().map(|found| trace_id(&found.span.trace_id)).unwrap_or_default();
    json!({"traceID": id, "spans": spans_json, "processes": processes.into_json(), "warnings": null})
}

/// Whoever makes spans, each once.
#[derive(Default)]
struct Processes {
    known: Vec<(String, Vec<Value>)>,
}

impl Processes {
    fn id(&mut self, found: &Found) -> String {
        let tags =
            found.resource.attributes.iter().filter(|attribute| attribute.key != "service.name").map(tag).collect();
        let process = (found.service(), tags);
        let index = self.known.iter().position(|known| *known == process).unwrap_or_else(|| {
            self.known.push(process);
            self.known.len() - 1
        });
        format!("p{}", index + 1)
    }

    fn into_json(self) -> Value {
        let one = |(index, (name, tags)): (usize, (String, Vec<Value>))| {
            (format!("p{}", index + 1), json!({"serviceName": name, "tags": tags}))
        };
        Value::Object(self.known.into_iter().enumerate().map(one).collect())
    }
}

fn span(found: &Found, processes: &mut Processes) -> Value {
    let span = &found.span;
    let micros = |nanos: u64| nanos / 1000;
    json!({
        "traceID": trace_id(&span.trace_id),
        "spanID": hexadecimal(&span.span_id),
        "operationName": span.name,
        "references": references(found),
        "startTime": micros(span.start_time_unix_nano),
        "duration": micros(span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano)),
        "tags": tags(found),
        "logs": span.events.iter().map(|event| {
            let name = (!event.name.is_empty()).then(|| KeyValue::text("event", event.name.as_str()));
            let fields: Vec<Value> = name.iter().chain(&event.attributes).map(tag).collect();
            json!({"timestamp": micros(event.time_unix_nano), "fields": fields})
        }).collect::<Vec<_>>(),
        "processID": processes.id(found),
        "warnings": null,
        "flags": 1,
    })
}

fn references(found: &Found) -> Vec<Value> {
    let span = &found.span;
    let reference = |kind: &str, trace: &[u8], id: &[u8]| json!({"refType": kind, "traceID": trace_id(trace), "spanID": hexadecimal(id)});
    let parent = (!span.parent_span_id.is_empty()).then(|| reference("CHILD_OF", &span.trace_id, &span.parent_span_id));
    let is_child = |link: &Link| {
        let attribute = link.attributes.iter().find(|attribute| attribute.key == PARENT_BY_LINK);
        attribute.and_then(|a| a.value.as_ref()?.as_text()) == Some("child_of")
    };
    let links = span
        .links
        .iter()
        .map(|link| reference(if is_child(link) { "CHILD_OF" } else { "FOLLOWS_FROM" }, &link.trace_id, &link.span_id));
    parent.into_iter().chain(links).collect()
}

/// What a span says of itself, and what OTLP says beside its attributes.
fn tags(found: &Found) -> Vec<Value> {
    let span = &found.span;
    let mut tags: Vec<Value> = span.attributes.iter().map(tag).collect();
    let mut text = |key: &str, value: &str| {
        if !value.is_empty() {
            tags.push(json!({"key": key, "type": "string", "value": value}));
        }
    };
    if let Some(scope) = &found.scope {
        text("otel.scope.name", &scope.name);
        text("otel.scope.version", &scope.version);
    }
    text("span.kind", kind(span.kind));
    text("w3c.tracestate", &span.trace_state);
    if let Some(status) = &span.status {
        text("otel.status_description", &status.message);
        let said = span.attributes.iter().any(|attribute| attribute.key == "error");
        if status.code == ERROR && !said {
            tags.push(json!({"key": "error", "type": "bool", "value": true}));
        }
    }
    tags
}

fn tag(attribute: &KeyValue) -> Value {
    let (kind, value) = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        None => ("string", Value::from("")),
        Some(Otlp::StringValue(text)) => ("string", text.as_str().into()),
        Some(Otlp::BoolValue(truth)) => ("bool", (*truth).into()),
        Some(Otlp::IntValue(number)) => ("int64", (*number).into()),
        Some(Otlp::DoubleValue(number)) => ("float64", (*number).into()),
        Some(Otlp::BytesValue(bytes)) => ("binary", {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(bytes).into()
        }),
        Some(several @ (Otlp::ArrayValue(_) | Otlp::KvlistValue(_))) => ("string", plain(several).to_string().into()),
    };
    json!({"key": attribute.key, "type": kind, "value": value})
}

/// A value as JSON, without OTLP's types.
fn plain(value: &Otlp) -> Value {
    let any = |value: &AnyValue| value.value.as_ref().map_or(Value::Null, plain);
    match value {
        Otlp::StringValue(text) => text.as_str().into(),
        Otlp::BoolValue(truth) => (*truth).into(),
        Otlp::IntValue(number) => (*number).into(),
        Otlp::DoubleValue(number) => (*number).into(),
        Otlp::BytesValue(bytes) => bytes.as_slice().into(),
        Otlp::ArrayValue(ArrayValue { values }) => values.iter().map(any).collect(),
        Otlp::KvlistValue(KeyValueList { values }) => {
            let one = |pair: &KeyValue| (pair.key.clone(), pair.value.as_ref().map_or(Value::Null, any));
            Value::Object(values.iter().map(one).collect())
        }
    }
}

/// Who called whom how often: a span whose parent belongs to another service is a call.
pub(super) fn dependencies(traces: &[Vec<Found>]) -> BTreeMap<(String, String), u64> {
    let mut calls = BTreeMap::new();
    for spans in traces {
        let services: HashMap<&[u8], String> =
            spans.iter().map(|found| (found.span.span_id.as_slice(), found.service())).collect();
        for found in spans {
            let child = found.service();
            if let Some(parent) = services.get(found.span.parent_span_id.as_slice())
                && *parent != child
            {
                *calls.entry((parent.clone(), child)).or_insert(0) += 1;
            }
        }
    }
    calls
}

/// As Jaeger writes it: ids of 64 bits with 16 digits.
pub(super) fn trace_id(bytes: &[u8]) -> String {
    match bytes.split_first_chunk::<8>() {
        Some((high, low)) if *high == [0; 8] => hexadecimal(low),
        _ => hexadecimal(bytes),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
