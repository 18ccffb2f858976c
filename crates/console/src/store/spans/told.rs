//! What Jaeger tells of a span as tags beside its attributes, under which it is searched for as well, and values as texts.

use serde_json::Value as Json;
use varka_proto::otlp::{AnyValue, ArrayValue, KeyValue, KeyValueList, Value};

use super::Found;

const OK: i32 = 1;
const ERROR: i32 = 2;

/// Of OTLP's numbers; empty: none.
pub(crate) fn kind(number: i32) -> &'static str {
    match number {
        1 => "internal",
        2 => "server",
        3 => "client",
        4 => "producer",
        5 => "consumer",
        _ => "",
    }
}

/// Tags of what made a span; empty: there is none.
pub(crate) fn of_scope(found: &Found) -> [(&'static str, &str); 2] {
    let (name, version) = found.scope.as_ref().map_or(("", ""), |scope| (scope.name.as_str(), scope.version.as_str()));
    [("otel.scope.name", name), ("otel.scope.version", version)]
}

/// Tags of its kind, of how it ended, and its state; empty: there is none.
pub(crate) fn of_span(found: &Found) -> [(&'static str, &str); 4] {
    let span = &found.span;
    let (code, message) = span.status.as_ref().map_or((0, ""), |status| (status.code, status.message.as_str()));
    let code = match code {
        OK => "OK",
        ERROR => "ERROR",
        _ => "",
    };
    [
        ("span.kind", kind(span.kind)),
        ("otel.status_code", code),
        ("otel.status_description", message),
        ("w3c.tracestate", &span.trace_state),
    ]
}

/// Whether it says that it failed.
pub(crate) fn failed(found: &Found) -> bool {
    found.span.status.as_ref().is_some_and(|status| status.code == ERROR)
}

/// A value as JSON, without OTLP's types.
pub(crate) fn plain(value: &Value) -> Json {
    let any = |value: &AnyValue| value.value.as_ref().map_or(Json::Null, plain);
    match value {
        Value::StringValue(text) => text.as_str().into(),
        Value::BoolValue(truth) => (*truth).into(),
        Value::IntValue(number) => (*number).into(),
        Value::DoubleValue(number) => (*number).into(),
        Value::BytesValue(bytes) => bytes.as_slice().into(),
        Value::ArrayValue(ArrayValue { values }) => values.iter().map(any).collect(),
        Value::KvlistValue(KeyValueList { values }) => {
            let one = |pair: &KeyValue| (pair.key.clone(), pair.value.as_ref().map_or(Json::Null, any));
            Json::Object(values.iter().map(one).collect())
        }
    }
}
