//! Zipkin's spans of version 2 (JSON), as OTLP's.

use serde::Deserialize;
use varka_proto::otlp::{
    AnyValue, Event, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans, Span, Status, Value,
};

/// More spans than these are not taken in one request.
const MAX_SPANS: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ZipkinSpan {
    trace_id: String,
    id: String,
    #[serde(default)]
    parent_id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    /// Microseconds.
    #[serde(default)]
    timestamp: u64,
    #[serde(default)]
    duration: u64,
    #[serde(default)]
    local_endpoint: Option<Endpoint>,
    #[serde(default)]
    remote_endpoint: Option<Endpoint>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    #[serde(default)]
    tags: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    #[serde(default)]
    service_name: Option<String>,
    #[serde(default)]
    ipv4: Option<String>,
    #[serde(default)]
    ipv6: Option<String>,
    #[serde(default)]
    port: Option<u16>,
}

#[derive(Debug, Deserialize)]
struct Annotation {
    timestamp: u64,
    value: String,
}

/// The spans of a request's body.
///
/// # Errors
/// It is no list of spans, or too long a one.
pub fn read(body: &[u8]) -> Result<Vec<ResourceSpans>, String> {
    let spans: Vec<ZipkinSpan> =
        serde_json::from_slice(body).map_err(|e| format!("no spans of Zipkin's version 2: {e}"))?;
    if spans.len() > MAX_SPANS {
        return Err(format!("{} spans in one request; at most {MAX_SPANS} are taken", spans.len()));
    }
    Ok(spans.into_iter().map(translate).collect())
}

fn translate(mut span: ZipkinSpan) -> ResourceSpans {
    let service = span.local_endpoint.as_ref().and_then(|endpoint| endpoint.service_name.clone());
    // OpenTelemetry's exporters write so what Zipkin has no place for.
    let mut said = |key: &str| Some(span.tags.remove(key)?.as_str()?.to_owned());
    let (code, description) = (said("otel.status_code"), said("otel.status_description"));
    let (library, library_version) = (said("otel.library.name"), said("otel.library.version"));
    let (name, version) = (said("otel.scope.name").or(library), said("otel.scope.version").or(library_version));
    let scope = (name.is_some() || version.is_some()).then(|| InstrumentationScope {
        name: name.unwrap_or_default(),
        version: version.unwrap_or_default(),
        ..InstrumentationScope::default()
    });
    let status = match code.as_deref() {
        Some("ERROR") => 2,
        _ if span.tags.contains_key("error") => 2,
        Some("OK") => 1,
        _ => 0,
    };
    // What it says of an error beside that there was one.
    let told = |(key, value): &(String, serde_json::Value)| key != "error" || value != "true";
    let tags = std::mem::take(&mut span.tags);
    let mut attributes: Vec<KeyValue> = tags.into_iter().filter(told).map(|(key, value)| tag(key, value)).collect();
    if let Some(local) = &span.local_endpoint {
        place(local, ["net.host.ip", "net.host.port"], &mut attributes);
    }
    if let Some(remote) = &span.remote_endpoint {
        attributes.extend(remote.service_name.as_ref().map(|name| KeyValue::text("peer.service", name.as_str())));
        place(remote, ["net.peer.ip", "net.peer.port"], &mut attributes);
    }
    let kind = match span.kind.as_deref() {
        Some("SERVER") => 2,
        Some("CLIENT") => 3,
        Some("PRODUCER") => 4,
        Some("CONSUMER") => 5,
        _ => 0,
    };
    let start = span.timestamp.saturating_mul(1000);
    let out = Span {
        trace_id: id::<16>(&span.trace_id),
        span_id: id::<8>(&span.id),
        parent_span_id: span.parent_id.as_deref().map(id::<8>).unwrap_or_default(),
        name: span.name.unwrap_or_default(),
        kind,
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(span.duration.saturating_mul(1000)),
        attributes,
        events: span
            .annotations
            .into_iter()
            .map(|a| Event { time_unix_nano: a.timestamp.saturating_mul(1000), name: a.value, attributes: Vec::new() })
            .collect(),
        status: (status != 0).then(|| Status { code: status, message: description.unwrap_or_default() }),
        ..Span::default()
    };
    let resource =
        Resource { attributes: service.map(|name| KeyValue::text("service.name", name)).into_iter().collect() };
    ResourceSpans { resource: Some(resource), scope_spans: vec![ScopeSpans { scope, spans: vec![out] }] }
}

/// Where an end of a call is, as attributes of these names.
fn place(endpoint: &Endpoint, [ip, port]: [&str; 2], attributes: &mut Vec<KeyValue>) {
    let address = endpoint.ipv4.as_ref().or(endpoint.ipv6.as_ref());
    attributes.extend(address.map(|address| KeyValue::text(ip, address.as_str())));
    if let Some(number) = endpoint.port.filter(|port| *port != 0) {
        let value = Some(AnyValue { value: Some(Value::IntValue(number.into())) });
        attributes.push(KeyValue { key: port.to_owned(), value });
    }
}

fn tag(key: String, value: serde_json::Value) -> KeyValue {
    match value {
        serde_json::Value::String(text) => KeyValue::text(key, text),
        other => KeyValue::text(key, other.to_string()),
    }
}

/// Bytes of a hexadecimal id; empty, which no span has, where it is none.
fn id<const N: usize>(text: &str) -> Vec<u8> {
    match u128::from_str_radix(text, 16) {
        Ok(number) if text.len() <= 2 * N => number.to_be_bytes().get(16 - N..).unwrap_or_default().to_vec(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
