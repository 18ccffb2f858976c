//! Spans as Jaeger's pages and clients know them.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use varka_proto::jaeger::api_v2::{KeyValue as Tag, Log, Process, Span, SpanRef, SpanRefType, ValueType};
use varka_proto::otlp::{KeyValue, Link, Value as Otlp};
use varka_proto::protobuf::{Duration, Timestamp};

use crate::store::spans::Found;
pub(super) use crate::store::spans::told::kind;
use crate::store::spans::told::{self, plain};

const PARENT_BY_LINK: &str = "opentracing.ref_type";
/// What is stored was sampled.
const SAMPLED: u32 = 1;

/// OTLP's number of a kind; 0: none.
pub(super) fn kind_of(name: &str) -> i32 {
    (1..=5).find(|number| kind(*number) == name).unwrap_or(0)
}

/// A trace of which these are the spans, as JSON.
pub(super) fn trace(spans: &[Found], hidden: usize) -> Value {
    let mut trace = json(&spans.iter().map(span).collect::<Vec<_>>());
    if let (Some(fields), true) = (trace.as_object_mut(), hidden > 0) {
        let warning = format!("{hidden} more spans are of namespaces that you may not get, or of none that is known.");
        fields.insert("warnings".to_owned(), json!([warning]));
    }
    trace
}

/// The same of Jaeger's own spans.
pub(super) fn json(spans: &[Span]) -> Value {
    let mut processes = Processes::default();
    let spans_json: Vec<Value> = spans.iter().map(|span| json_of(span, &mut processes)).collect();
    let id = spans.first().map(|span| trace_id(&span.trace_id)).unwrap_or_default();
    json!({"traceID": id, "spans": spans_json, "processes": processes.into_json(), "warnings": null})
}

/// Whoever makes spans, each once.
#[derive(Default)]
struct Processes {
    known: Vec<Process>,
}

impl Processes {
    fn id(&mut self, process: Process) -> String {
        let index = self.known.iter().position(|known| *known == process).unwrap_or_else(|| {
            self.known.push(process);
            self.known.len() - 1
        });
        format!("p{}", index + 1)
    }

    fn into_json(self) -> Value {
        let one = |(index, process): (usize, Process)| {
            let tags: Vec<Value> = process.tags.iter().map(json_tag).collect();
            (format!("p{}", index + 1), json!({"serviceName": process.service_name, "tags": tags}))
        };
        Value::Object(self.known.into_iter().enumerate().map(one).collect())
    }
}

fn json_of(span: &Span, processes: &mut Processes) -> Value {
    let reference = |of: &SpanRef| {
        let kind = if of.ref_type() == SpanRefType::ChildOf { "CHILD_OF" } else { "FOLLOWS_FROM" };
        json!({"refType": kind, "traceID": trace_id(&of.trace_id), "spanID": hexadecimal(&of.span_id)})
    };
    let micros = |seconds: i64, nanos: i32| seconds.saturating_mul(1_000_000).saturating_add(i64::from(nanos / 1000));
    let moment = |at: &Option<Timestamp>| at.as_ref().map_or(0, |at| micros(at.seconds, at.nanos));
    let log = |log: &Log| json!({"timestamp": moment(&log.timestamp), "fields": log.fields.iter().map(json_tag).collect::<Vec<_>>()});
    json!({
        "traceID": trace_id(&span.trace_id),
        "spanID": hexadecimal(&span.span_id),
        "operationName": span.operation_name,
        "references": span.references.iter().map(reference).collect::<Vec<_>>(),
        "startTime": moment(&span.start_time),
        "duration": span.duration.as_ref().map_or(0, |took| micros(took.seconds, took.nanos)),
        "tags": span.tags.iter().map(json_tag).collect::<Vec<_>>(),
        "logs": span.logs.iter().map(log).collect::<Vec<_>>(),
        "processID": processes.id(span.process.clone().unwrap_or_default()),
        "warnings": null,
        "flags": span.flags,
    })
}

fn json_tag(tag: &Tag) -> Value {
    let (kind, value) = match tag.v_type() {
        ValueType::String => ("string", Value::from(tag.v_str.as_str())),
        ValueType::Bool => ("bool", tag.v_bool.into()),
        // JavaScript has no larger numbers that are exact; Jaeger writes those as texts.
        ValueType::Int64 if tag.v_int64.unsigned_abs() >= 1 << 53 => ("int64", tag.v_int64.to_string().into()),
        ValueType::Int64 => ("int64", tag.v_int64.into()),
        ValueType::Float64 => ("float64", tag.v_float64.into()),
        ValueType::Binary => ("binary", {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(&tag.v_binary).into()
        }),
    };
    json!({"key": tag.key, "type": kind, "value": value})
}

/// A span in Jaeger's own model.
pub(super) fn span(found: &Found) -> Span {
    let span = &found.span;
    let took = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
    let (seconds, nanos) = split(took);
    let process_tags = found.resource.attributes.iter().filter(|attribute| attribute.key != "service.name");
    Span {
        trace_id: span.trace_id.clone(),
        span_id: span.span_id.clone(),
        operation_name: span.name.clone(),
        references: references(found),
        flags: SAMPLED,
        start_time: Some(moment(span.start_time_unix_nano)),
        duration: Some(Duration { seconds, nanos }),
        tags: tags(found),
        logs: span
            .events
            .iter()
            .map(|event| {
                let said = event.attributes.iter().any(|attribute| attribute.key == "event");
                let name = (!event.name.is_empty() && !said).then(|| Tag::text("event", event.name.as_str()));
                let fields = name.into_iter().chain(event.attributes.iter().map(tag)).collect();
                Log { timestamp: Some(moment(event.time_unix_nano)), fields }
            })
            .collect(),
        process: Some(Process { service_name: found.service(), tags: process_tags.map(tag).collect() }),
        process_id: String::new(),
        warnings: Vec::new(),
    }
}

/// Seconds, and nanoseconds beside them.
fn split(nanos: u64) -> (i64, i32) {
    const SECOND: u64 = 1_000_000_000;
    // Less than a second, and 2^64 nanoseconds are few seconds.
    ((nanos / SECOND).cast_signed(), i32::try_from(nanos % SECOND).unwrap_or_default())
}

fn moment(nanos: u64) -> Timestamp {
    let (seconds, nanos) = split(nanos);
    Timestamp { seconds, nanos }
}

fn references(found: &Found) -> Vec<SpanRef> {
    let span = &found.span;
    let reference = |kind: SpanRefType, trace: &[u8], id: &[u8]| SpanRef {
        trace_id: trace.to_vec(),
        span_id: id.to_vec(),
        ref_type: kind.into(),
    };
    let parent = (!span.parent_span_id.is_empty())
        .then(|| reference(SpanRefType::ChildOf, &span.trace_id, &span.parent_span_id));
    let is_child = |link: &Link| {
        let attribute = link.attributes.iter().find(|attribute| attribute.key == PARENT_BY_LINK);
        attribute.and_then(|a| a.value.as_ref()?.as_text()) == Some("child_of")
    };
    let kind = |link: &Link| if is_child(link) { SpanRefType::ChildOf } else { SpanRefType::FollowsFrom };
    let links = span.links.iter().map(|link| reference(kind(link), &link.trace_id, &link.span_id));
    parent.into_iter().chain(links).collect()
}

/// What a span says of itself, and what OTLP says beside its attributes, in Jaeger's order.
fn tags(found: &Found) -> Vec<Tag> {
    let text = |(key, value): (&str, &str)| (!value.is_empty()).then(|| Tag::text(key, value));
    let [kind, code, description, state] = told::of_span(found).map(text);
    let error = told::failed(found).then(|| Tag {
        key: "error".to_owned(),
        v_type: ValueType::Bool.into(),
        v_bool: true,
        ..Tag::default()
    });
    let scope = told::of_scope(found).map(text).into_iter().flatten();
    let rest = [kind, code, error, description, state].into_iter().flatten();
    scope.chain(found.span.attributes.iter().map(tag)).chain(rest).collect()
}

fn tag(attribute: &KeyValue) -> Tag {
    let of = |kind: ValueType| Tag { key: attribute.key.clone(), v_type: kind.into(), ..Tag::default() };
    match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        None => of(ValueType::String),
        Some(Otlp::StringValue(text)) => Tag { v_str: text.clone(), ..of(ValueType::String) },
        Some(Otlp::BoolValue(truth)) => Tag { v_bool: *truth, ..of(ValueType::Bool) },
        Some(Otlp::IntValue(number)) => Tag { v_int64: *number, ..of(ValueType::Int64) },
        Some(Otlp::DoubleValue(number)) => Tag { v_float64: *number, ..of(ValueType::Float64) },
        Some(Otlp::BytesValue(bytes)) => Tag { v_binary: bytes.clone(), ..of(ValueType::Binary) },
        Some(several @ (Otlp::ArrayValue(_) | Otlp::KvlistValue(_))) => {
            Tag { v_str: plain(several).to_string(), ..of(ValueType::String) }
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
