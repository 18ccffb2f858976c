//! Places in traces, names, and what goes on the wire.

mod otlp;

use varka_engine::ir::OtlpExporter;

use super::*;

fn tracing(provider: TracingProvider, random: u32) -> Tracing {
    Tracing {
        client_sampling: 1_000_000,
        random_sampling: random,
        overall_sampling: 1_000_000,
        provider,
        custom_tags: Vec::new(),
        max_path_tag_length: None,
    }
}

fn otel() -> TracingProvider {
    let exporter = OtlpExporter::Grpc {
        cluster: "collector".into(),
        authority: "".into(),
        timeout: None,
        initial_metadata: Vec::new(),
    };
    TracingProvider::OpenTelemetry { service_name: "was.default".into(), exporter }
}

fn zipkin(w3c: bool, trace_id_128bit: bool) -> TracingProvider {
    TracingProvider::Zipkin {
        cluster: "zipkin".into(),
        hostname: "".into(),
        path: "/api/v2/spans".into(),
        trace_id_128bit,
        w3c,
    }
}

fn sent(traced: &Traced) -> Vec<String> {
    let mut headers = HeaderMap::new();
    traced.tell_endpoint(&mut headers);
    let mut names: Vec<_> = headers.keys().map(|k| k.as_str().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_trace_begins_in_the_provider_s_form_and_goes_on_in_the_caller_s_too() {
    let all = 1_000_000;
    let begun = |t: &Tracing, headers: &mut HeaderMap| begin(t, TrafficDirection::Outbound, headers, || true);
    assert_eq!(sent(&begun(&tracing(otel(), all), &mut HeaderMap::new())), ["traceparent"]);
    let b3 = ["x-b3-sampled", "x-b3-spanid", "x-b3-traceid"];
    let traced = begun(&tracing(zipkin(false, false), all), &mut HeaderMap::new());
    assert_eq!(sent(&traced), b3);
    assert!(traced.context.unwrap().trace.0 <= u128::from(u64::MAX));
    let mut caller: HeaderMap = HeaderMap::new();
    caller.insert("b3", HeaderValue::from_static("a3ce929d0e0e4736-00f067aa0ba902b7-1"));
    let traced = begun(&tracing(otel(), 0), &mut caller);
    assert!(traced.is_sampled(), "the caller has decided");
    assert_eq!(sent(&traced), ["b3", "traceparent"]);
    assert_eq!(traced.context.unwrap().parent.unwrap().0, 0x00f0_67aa_0ba9_02b7);
    let mut never: HeaderMap = HeaderMap::new();
    never.insert("b3", HeaderValue::from_static("0"));
    assert!(!begun(&tracing(zipkin(true, true), all), &mut never).is_sampled());
    // What is not sampled here must not be sampled further on.
    let traced = begun(&tracing(otel(), 0), &mut HeaderMap::new());
    let mut headers = HeaderMap::new();
    traced.tell_endpoint(&mut headers);
    assert!(headers["traceparent"].to_str().unwrap().ends_with("-00"));
}

#[test]
fn a_request_that_nobody_records_goes_on_as_it_came() {
    let all = 1_000_000;
    let lines = [
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"),
        ("x-envoy-decorator-operation", "web:80/*"),
    ];
    let came = || -> HeaderMap {
        lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    };
    let mut headers = came();
    let traced = begin(&tracing(otel(), all), TrafficDirection::Inbound, &mut headers, || true);
    traced.tell_endpoint(&mut headers);
    assert_eq!((traced.recorded(), headers.len()), (None, 1), "the decorator is not for the application");
    assert_eq!(headers["traceparent"], lines[0].1);
    // Whoever reports in another form says it in that, too.
    let mut headers = came();
    let traced = begin(&tracing(zipkin(true, true), all), TrafficDirection::Inbound, &mut headers, || true);
    traced.tell_endpoint(&mut headers);
    assert_eq!(headers["x-b3-sampled"], "0");
    assert_eq!(traced.recorded(), None);
}

#[test]
fn both_sides_call_a_request_alike() {
    let t = tracing(otel(), 1_000_000);
    let mut client = begin(&t, TrafficDirection::Outbound, &mut HeaderMap::new(), || true);
    client.operation = Some("was-service.default.svc.cluster.local:8080/*".into());
    let mut wire = HeaderMap::new();
    client.tell_endpoint(&mut wire);
    let mut server = begin(&t, TrafficDirection::Inbound, &mut wire, || true);
    assert!(!wire.contains_key(DECORATOR), "no application is to see it");
    server.operation = Some("was:8080/*".into());
    assert_eq!(name(&server, "h"), "was-service.default.svc.cluster.local:8080/*");
    let mut answer = HeaderMap::new();
    server.tell_client(&mut answer);
    assert!(answer.is_empty(), "the client has said it");
    // A client without a sidecar says nothing, and is told.
    let mut server = begin(&t, TrafficDirection::Inbound, &mut HeaderMap::new(), || true);
    assert_eq!(name(&server, "h"), "ingress");
    server.operation = Some("was:8080/*".into());
    server.tell_client(&mut answer);
    let mut client = begin(&t, TrafficDirection::Outbound, &mut HeaderMap::new(), || true);
    assert_eq!(name(&client, "h"), "egress h");
    client.hear_endpoint(&mut answer);
    assert_eq!((&*name(&client, "h"), answer.len()), ("was:8080/*", 0));
    assert_eq!(server.context.unwrap().forms, client.context.unwrap().forms);
    assert_eq!(cut("äöü", 3), "ä");
}
