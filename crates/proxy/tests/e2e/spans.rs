//! Spans: one trace through two sidecars, in every form, to collectors that take them and one that does not.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message as _;
use varka_engine::ir::{
    CustomTag, CustomTagValue, HttpCollector, OtlpExporter, Proxy, RouteSource, Terminal, Tracing, TracingProvider,
};
use varka_proto::otlp::{ExportTraceServiceRequest, Span};

use crate::config::{Mode, WAS, auto_mtls, cluster, endpoints, inbound, outbound};
use crate::http2::block_on;
use crate::mtls::Mesh;
use crate::support::{App, Client, Nobody, Running, until};

fn tracing(provider: TracingProvider, random: u32) -> Tracing {
    let tag = |name: &str, value| CustomTag { name: name.into(), value };
    Tracing {
        client_sampling: 1_000_000,
        random_sampling: random,
        overall_sampling: 1_000_000,
        provider,
        custom_tags: vec![
            tag("istio.canonical_service", CustomTagValue::Literal("was".into())),
            tag("user", CustomTagValue::Header { name: "x-user".into(), default: "nobody".into() }),
            tag("nothing", CustomTagValue::Environment { name: "VARKA_TEST_UNSET".into(), default: "".into() }),
        ],
        max_path_tag_length: Some(8),
    }
}

fn otlp_http() -> TracingProvider {
    let collector = HttpCollector {
        cluster: "collector".into(),
        uri: "otel.observability/v1/traces".into(),
        timeout: Duration::from_secs(5),
        headers: vec![("x-tenant".into(), "a".into())],
    };
    TracingProvider::OpenTelemetry { service_name: "was.default".into(), exporter: OtlpExporter::Http(collector) }
}

fn otlp_grpc() -> TracingProvider {
    let exporter = OtlpExporter::Grpc {
        cluster: "collector".into(),
        authority: "otel.observability".into(),
        timeout: None,
        initial_metadata: vec![("x-tenant".into(), "a".into())],
    };
    TracingProvider::OpenTelemetry { service_name: "".into(), exporter }
}

fn zipkin() -> TracingProvider {
    TracingProvider::Zipkin {
        cluster: "collector".into(),
        hostname: "zipkin.observability".into(),
        path: "/api/v2/spans".into(),
        trace_id_128bit: true,
        w3c: false,
    }
}

/// Spans for every connection manager, to this collector, with this operation on every route.
fn traced(mut proxy: Proxy, tracing: &Tracing, collector: SocketAddr, operation: &str) -> Proxy {
    let name = |table: &mut Arc<varka_engine::ir::RouteConfiguration>| {
        for route in Arc::make_mut(table).virtual_hosts.iter_mut().flat_map(|h| &mut h.routes) {
            route.operation = Some(operation.into());
        }
    };
    proxy.routes.values_mut().for_each(name);
    for listener in proxy.listeners.values_mut() {
        for chain in &mut Arc::make_mut(listener).filter_chains {
            if let Terminal::Http(manager) = &mut chain.terminal {
                manager.tracing = Some(tracing.clone());
                if let RouteSource::Inline(table) = &mut manager.routes {
                    name(table);
                }
            }
        }
    }
    let to = cluster("collector", endpoints(&[collector], None));
    proxy.clusters.insert(to.name.clone(), Arc::new(to));
    proxy
}

fn pair(mesh: &Mesh, app: &App, tracing: &Tracing, collector: SocketAddr) -> (Running, Running) {
    let mut config = traced(inbound(Mode::Strict), tracing, collector, "was:8080/*");
    mesh.identify(&mut config, "was");
    let server = Running::start(&config, Some(app.address));
    let mut was = cluster(WAS, endpoints(&[server.address("virtualInbound")], Some("istio")));
    auto_mtls(&mut was, "spiffe://cluster.local/ns/default/sa/was");
    let mut config = traced(outbound(was, |_| {}), tracing, collector, "was-service:8080/*");
    mesh.identify(&mut config, "web");
    (Running::start(&config, None), server)
}

fn otlp_spans(bodies: impl IntoIterator<Item = Vec<u8>>) -> Vec<(String, Span)> {
    let mut found = Vec::new();
    for body in bodies {
        let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        for of in request.resource_spans {
            let service = of.resource.unwrap().attributes[0].value.clone().unwrap().as_text().unwrap().to_owned();
            found.extend(of.scope_spans.into_iter().flat_map(|s| s.spans).map(|s| (service.clone(), s)));
        }
    }
    found
}

fn attribute<'s>(span: &'s Span, key: &str) -> &'s str {
    let found = span.attributes.iter().find(|a| a.key == key).and_then(|a| a.value.as_ref());
    found.and_then(|v| v.as_text()).unwrap_or("")
}

/// Client's and server's span of one request.
fn assert_one_trace(spans: &[(String, Span)]) {
    assert_eq!(spans.len(), 2, "{spans:#?}");
    let by_kind = |kind| &spans.iter().find(|(_, s)| s.kind == kind).unwrap().1;
    let (server, client) = (by_kind(2), by_kind(3));
    assert_eq!(server.trace_id, client.trace_id);
    assert_eq!(server.parent_span_id, client.span_id);
    assert!(client.parent_span_id.is_empty());
    for span in [server, client] {
        assert_eq!(span.name, "was-service:8080/*", "both sides call it as the client does");
        assert_eq!(attribute(span, "http.status_code"), "200");
        assert_eq!(attribute(span, "http.url"), "http://was-service/0123456", "paths are cut");
        assert_eq!((attribute(span, "user"), attribute(span, "nothing")), ("ann", ""));
        assert_eq!(attribute(span, "istio.canonical_service"), "was");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        assert_eq!(span.status, None);
    }
    assert_eq!(attribute(client, "upstream_cluster.name"), WAS);
}

const ASK: &str = "GET /0123456789 HTTP/1.1\r\nHost: was-service\r\nx-user: ann\r\n\r\n";

#[test]
fn one_trace_goes_through_both_sidecars_to_otlp_over_http() {
    let (mesh, app, collector) = (Mesh::new(), App::start(), App::start());
    let (client, _server) = pair(&mesh, &app, &tracing(otlp_http(), 1_000_000), collector.address);
    let response = Client::connect(client.address("virtualOutbound")).ask(ASK);
    assert_eq!(response.line, "HTTP/1.1 200 OK");
    assert!(!response.names().contains(&"x-envoy-decorator-operation"));
    let seen = app.last();
    assert!(!seen.names().contains(&"x-envoy-decorator-operation"));
    assert_eq!(seen.header("x-request-id").unwrap().as_bytes()[14], b'9', "sampled");
    let spans = until("two spans", || {
        let reports = collector.seen.lock().unwrap().clone();
        let spans = otlp_spans(reports.iter().map(|r| r.body.clone()));
        (spans.len() >= 2).then_some(spans)
    });
    assert_one_trace(&spans);
    assert!(spans.iter().all(|(service, _)| service == "was.default"));
    let trace: String = spans[0].1.trace_id.iter().map(|b| format!("{b:02x}")).collect();
    assert!(seen.header("traceparent").unwrap().starts_with(&format!("00-{trace}-")), "the application can go on");
    let report = collector.last();
    assert_eq!(report.line, "POST /v1/traces HTTP/1.1");
    assert_eq!((report.header("host"), report.header("x-tenant")), (Some("otel.observability"), Some("a")));
    assert_eq!(report.header("content-type"), Some("application/x-protobuf"));
}

/// A collector of OTLP over gRPC, and the bodies that it got.
fn grpc_collector() -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let got: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let bodies = Arc::clone(&got);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let bodies = Arc::clone(&bodies);
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let bodies = Arc::clone(&bodies);
                        tokio::spawn(async move {
                            let path = request.uri().path().to_owned();
                            assert_eq!(path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
                            assert_eq!(request.headers()["x-tenant"], "a");
                            let (body, _) = crate::http2::read_all(request.into_body()).await;
                            bodies.lock().unwrap().push(body[5..].to_vec());
                            let head = http::Response::builder().header("content-type", "application/grpc").body(());
                            let mut out = respond.send_response(head.unwrap(), false).unwrap();
                            let mut trailers = http::HeaderMap::new();
                            trailers.insert("grpc-status", "0".parse().unwrap());
                            out.send_trailers(trailers).unwrap();
                        });
                    }
                });
            }
        });
    });
    (address, got)
}

#[test]
fn one_trace_goes_through_both_sidecars_to_otlp_over_grpc() {
    let (mesh, app) = (Mesh::new(), App::start());
    let (collector, bodies) = grpc_collector();
    let (client, server) = pair(&mesh, &app, &tracing(otlp_grpc(), 1_000_000), collector);
    Client::connect(client.address("virtualOutbound")).ask(ASK);
    let spans = until("two spans", || {
        let spans = otlp_spans(bodies.lock().unwrap().clone());
        (spans.len() >= 2).then_some(spans)
    });
    assert_one_trace(&spans);
    for proxy in [&client, &server] {
        let counters = &proxy.proxy.as_ref().unwrap().state().metrics.opentelemetry;
        until("the report is counted", || (counters.spans_sent.get() == 1).then_some(()));
        assert_eq!(counters.spans_dropped.get(), 0);
    }
}

#[test]
fn a_caller_s_b3_goes_on_to_zipkin_as_json() {
    let (mesh, app, collector) = (Mesh::new(), App::start(), App::start());
    // Nothing is sampled at random: the caller has decided.
    let (client, _server) = pair(&mesh, &app, &tracing(zipkin(), 0), collector.address);
    let mut connection = Client::connect(client.address("virtualOutbound"));
    connection.ask(ASK);
    let b3 = "x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124\r\nx-b3-spanid: a2fb4a1d1a96d312\r\nx-b3-sampled: 1";
    connection.ask(ASK.replace("\r\n\r\n", &format!("\r\n{b3}\r\n\r\n")));
    let spans = until("two spans", || {
        let reports = collector.seen.lock().unwrap().clone();
        let spans: Vec<serde_json::Value> =
            reports.iter().flat_map(|r| serde_json::from_slice::<Vec<serde_json::Value>>(&r.body).unwrap()).collect();
        (spans.len() >= 2).then_some(spans)
    });
    assert_eq!(spans.len(), 2, "{spans:#?}");
    let of = |kind: &str| spans.iter().find(|s| s["kind"] == kind).unwrap();
    let (sent, got) = (of("CLIENT"), of("SERVER"));
    assert_eq!(sent["traceId"], "463ac35c9f6413ad48485a3953bb6124");
    assert_eq!(sent["parentId"], "a2fb4a1d1a96d312");
    assert_eq!((&got["traceId"], &got["parentId"]), (&sent["traceId"], &sent["id"]));
    let seen = app.last();
    assert_eq!(seen.header("x-b3-spanid"), got["id"].as_str());
    assert_eq!(seen.header("x-b3-sampled"), Some("1"));
    let report = collector.last();
    assert_eq!(
        (report.line.as_str(), report.header("host")),
        ("POST /api/v2/spans HTTP/1.1", Some("zipkin.observability"))
    );
}

#[test]
fn a_collector_that_is_gone_costs_spans_and_no_request() {
    let app = App::start();
    let nobody = Nobody::new();
    let was = cluster(WAS, endpoints(&[app.address], None));
    let config = traced(outbound(was, |_| {}), &tracing(zipkin(), 1_000_000), nobody.address(), "x");
    let client = Running::start(&config, None);
    let mut connection = Client::connect(client.address("virtualOutbound"));
    for _ in 0..20 {
        assert_eq!(connection.ask(ASK).line, "HTTP/1.1 200 OK");
    }
    let counters = &client.proxy.as_ref().unwrap().state().metrics.zipkin;
    until("the spans are given up", || (counters.spans_dropped.get() == 20).then_some(()));
    assert_eq!(counters.spans_sent.get(), 0);
}

#[test]
fn a_failed_request_is_a_failed_span() {
    let (app, collector) = (App::start(), App::start());
    let was = cluster(WAS, endpoints(&[app.address], None));
    let config = traced(outbound(was, |_| {}), &tracing(otlp_http(), 1_000_000), collector.address, "x");
    let client = Running::start(&config, None);
    let mut connection = Client::connect(client.address("virtualOutbound"));
    connection.ask("GET / HTTP/1.1\r\nHost: was-service\r\nx-status: 500\r\n\r\n");
    let spans = until("a span", || {
        let reports = collector.seen.lock().unwrap().clone();
        let spans = otlp_spans(reports.iter().map(|r| r.body.clone()));
        (!spans.is_empty()).then_some(spans)
    });
    let span = &spans[0].1;
    assert_eq!((attribute(span, "error"), span.status.as_ref().map(|s| s.code)), ("true", Some(2)));
    assert_eq!(attribute(span, "http.status_code"), "500");
}

#[test]
fn what_waits_for_a_collector_is_bounded() {
    let app = App::start();
    // Takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let was = cluster(WAS, endpoints(&[app.address], None));
    let config = traced(outbound(was, |_| {}), &tracing(zipkin(), 1_000_000), silent.local_addr().unwrap(), "x");
    let client = Running::start(&config, None);
    let mut connection = Client::connect(client.address("virtualOutbound"));
    let counters = || client.proxy.as_ref().unwrap().state().metrics.zipkin.spans_dropped.get();
    // At most one batch is under way and one queue full.
    let asked = (0..4000).find(|_| {
        assert_eq!(connection.ask(ASK).line, "HTTP/1.1 200 OK");
        counters() > 0
    });
    assert!(asked.is_some(), "spans of 4000 requests wait");
}

#[test]
fn grpc_messages_are_counted() {
    let app = crate::http2::grpc_app();
    let mut was = cluster(WAS, endpoints(&[app], None));
    was.http.protocol = varka_engine::ir::ClusterProtocol::Http2;
    let client = Running::start(&outbound(was, |_| {}), None);
    block_on(async {
        let mut sender = crate::http2::connect(client.address("virtualOutbound")).await;
        let request = http::Request::post("http://was-service/a.B/C").header("content-type", "application/grpc");
        let (response, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
        for i in 0..3 {
            body.send_data(bytes::Bytes::from_static(b"\0\0\0\0\x02hi"), i == 2).unwrap();
        }
        crate::http2::read_all(response.await.unwrap().into_body()).await;
    });
    let metrics = client.metrics("the request", |m| m.iter().any(|m| m.name == "istio_requests_total"));
    for name in ["istio_request_messages_total", "istio_response_messages_total"] {
        let found: Vec<_> = metrics.iter().filter(|m| m.name == name).collect();
        assert_eq!(found.iter().map(|m| m.value).collect::<Vec<_>>(), [3], "{name}");
        assert_eq!(found[0].label("request_protocol"), "");
    }
    let requests = metrics.iter().find(|m| m.name == "istio_requests_total").unwrap();
    assert_eq!((requests.label("request_protocol"), requests.label("grpc_response_status")), ("grpc", "0"));
}
