//! Who the peer is: sidecars tell each other over mesh TLS, applications see nothing of it, strangers are not believed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use varka_engine::ir::{Cluster, Discovery, Stats};
use varka_proxy::Bootstrap;

use crate::config::{
    Mode, WAS, action, auto_mtls, cluster, endpoints, inbound, inbound_tcp, outbound, outbound_tcp, route, virtual_host,
};
use crate::mtls::Mesh;
use crate::support::{App, Client, LIMIT, Metric, Running, read_message};

/// A workload's bootstrap.
fn workload(name: &'static str) -> impl FnOnce(&mut Bootstrap) {
    move |bootstrap: &mut Bootstrap| {
        bootstrap.pod_name = format!("{name}-abc");
        bootstrap.cluster_id = format!("{name}-cluster");
        bootstrap.metadata.insert("WORKLOAD_NAME".to_owned(), json!(format!("{name}-v1")));
        let labels = json!({"app": format!("{name}-app"), "version": "v1",
            "service.istio.io/canonical-name": name, "service.istio.io/canonical-revision": "rev"});
        bootstrap.metadata.insert("LABELS".to_owned(), labels);
    }
}

/// The service that the client knows, at this endpoint.
fn service(address: SocketAddr) -> Cluster {
    let mut was = cluster(WAS, endpoints(&[address], Some("istio")));
    if let Discovery::Static(assignment) = &mut was.discovery {
        assignment.localities[0].endpoints[0].workload = Some("was-from-eds;default;was;rev;eds-cluster".into());
    }
    was.services = vec![("was-service.default.svc.cluster.local".into(), "was-service".into(), "default".into())];
    was.metadata_exchange = true;
    auto_mtls(&mut was, "spiffe://cluster.local/ns/default/sa/was");
    was
}

fn pair(mesh: &Mesh, app: &App, mode: Mode) -> (Running, Running) {
    let mut config = inbound(mode);
    mesh.identify(&mut config, "was");
    let server = Running::start_as(&config, Some(app.address), workload("was"));
    let mut config = outbound(service(server.address("virtualInbound")), |_| {});
    mesh.identify(&mut config, "web");
    (Running::start_as(&config, None, workload("web")), server)
}

/// All labels of the one series that counts requests.
fn only(metrics: &[Metric], name: &str) -> Metric {
    let found: Vec<_> = metrics.iter().filter(|m| m.name == name).collect();
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

fn counted(name: &'static str, n: u64) -> impl Fn(&[Metric]) -> bool {
    move |metrics| metrics.iter().filter(|m| m.name == name).map(|m| m.value).sum::<u64>() >= n
}

fn assert_labels(metric: &Metric, want: &[(&str, &str)]) {
    for (label, value) in want {
        assert_eq!(metric.label(label), *value, "{label} of {metric:#?}");
    }
}

const CLIENT: [(&str, &str); 8] = [
    ("source_workload", "web-v1"),
    ("source_workload_namespace", "default"),
    ("source_principal", "spiffe://cluster.local/ns/default/sa/web"),
    ("source_app", "web-app"),
    ("source_version", "v1"),
    ("source_canonical_service", "web"),
    ("source_canonical_revision", "rev"),
    ("source_cluster", "web-cluster"),
];
const SERVER: [(&str, &str); 8] = [
    ("destination_workload", "was-v1"),
    ("destination_workload_namespace", "default"),
    ("destination_principal", "spiffe://cluster.local/ns/default/sa/was"),
    ("destination_app", "was-app"),
    ("destination_version", "v1"),
    ("destination_canonical_service", "was"),
    ("destination_canonical_revision", "rev"),
    ("destination_cluster", "was-cluster"),
];

#[test]
fn both_sides_learn_who_the_other_is_and_applications_see_nothing_of_it() {
    let (mesh, app) = (Mesh::new(), App::start());
    let (client, server) = pair(&mesh, &app, Mode::Strict);
    let mut connection = Client::connect(client.address("virtualOutbound"));
    for _ in 0..3 {
        // What an application says of itself is not passed on as what its sidecar says.
        let response = connection.ask("GET / HTTP/1.1\r\nHost: was-service\r\nx-envoy-peer-metadata: spoofed\r\n\r\n");
        assert_eq!(response.line, "HTTP/1.1 200 OK");
        assert!(!response.names().iter().any(|n| n.starts_with("x-envoy-peer-metadata")), "{:?}", response.names());
        let seen = app.last();
        assert!(!seen.names().iter().any(|n| n.starts_with("x-envoy-peer-metadata")), "{:?}", seen.names());
    }
    let at_client = client.metrics("three requests", counted("istio_requests_total", 3));
    let at_server = server.metrics("three requests", counted("istio_requests_total", 3));
    for (metrics, reporter, security) in [(&at_client, "source", "unknown"), (&at_server, "destination", "mutual_tls")]
    {
        let metric = only(metrics, "istio_requests_total");
        assert_labels(&metric, &CLIENT);
        assert_labels(&metric, &SERVER);
        assert_labels(&metric, &[("reporter", reporter), ("connection_security_policy", security)]);
        assert_eq!(metric.value, 3, "each request counts once");
        assert_eq!(metric.labels.len(), 25, "{:?}", metric.labels.keys());
    }
    let service = only(&at_client, "istio_requests_total");
    assert_labels(&service, &[("destination_service", "was-service.default.svc.cluster.local")]);
    assert_labels(&service, &[("destination_service_name", "was-service"), ("request_protocol", "http")]);
}

#[test]
fn in_plain_text_nobody_is_believed() {
    let (mesh, app) = (Mesh::new(), App::start());
    let (_, server) = pair(&mesh, &app, Mode::Permissive);
    // A header that was really sent by a sidecar, from somebody who got hold of it.
    let stolen = "ChYKCU5BTUVTUEFDRRIJGgdkZWZhdWx0ChYKDVdPUktMT0FEX05BTUUSBRoDd2Vi";
    let response = Client::connect(server.address("virtualInbound")).ask(format!(
        "GET / HTTP/1.1\r\nHost: was\r\nx-envoy-peer-metadata-id: me\r\nx-envoy-peer-metadata: {stolen}\r\n\r\n"
    ));
    assert!(!response.names().iter().any(|n| n.starts_with("x-envoy-peer-metadata")), "{:?}", response.names());
    assert!(!app.last().names().iter().any(|n| n.starts_with("x-envoy-peer-metadata")));
    let metric = only(&server.metrics("a request", counted("istio_requests_total", 1)), "istio_requests_total");
    let unknown = CLIENT.map(|(label, _)| (label, if label.ends_with("revision") { "latest" } else { "unknown" }));
    assert_labels(&metric, &unknown);
    assert_labels(&metric, &[("destination_principal", "unknown"), ("connection_security_policy", "none")]);
}

#[test]
fn an_endpoint_that_says_nothing_is_known_by_its_discovery() {
    let app = App::start();
    let mut was = service(app.address);
    was.transport_matches.clear();
    let client = Running::start_as(&outbound(was, |_| {}), None, workload("web"));
    let mut connection = Client::connect(client.address("virtualOutbound"));
    connection.ask("GET / HTTP/1.1\r\nHost: was-service\r\n\r\n");
    let metric = only(&client.metrics("a request", counted("istio_requests_total", 1)), "istio_requests_total");
    assert_labels(&metric, &[("destination_workload", "was-from-eds"), ("destination_canonical_service", "was")]);
    assert_labels(&metric, &[("destination_app", "unknown"), ("destination_principal", "unknown")]);
    assert!(!app.last().names().iter().any(|n| n.starts_with("x-envoy-peer-metadata")), "nothing leaves in plain text");
}

#[test]
fn requests_of_one_connection_count_where_each_belongs() {
    let app = App::start();
    let mut was = service(app.address);
    was.transport_matches.clear();
    let mut config = outbound(was, |_| {});
    let known = config.routes.get_mut("8080").map(Arc::make_mut).unwrap();
    known.virtual_hosts.insert(0, virtual_host("other", &["a.example", "b.example"], vec![route(action("other"))]));
    config.clusters.insert("other".into(), Arc::new(cluster("other", endpoints(&[app.address], None))));
    let client = Running::start_as(&config, None, workload("web"));
    let mut connection = Client::connect(client.address("virtualOutbound"));
    for host in ["was-service", "was-service", "a.example", "b.example", "a.example", "was-service", "a.example"] {
        assert_eq!(connection.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).line, "HTTP/1.1 200 OK");
    }
    let metrics = client.metrics("seven requests", counted("istio_requests_total", 7));
    let mut counts: Vec<_> = metrics
        .iter()
        .filter(|m| m.name == "istio_requests_total")
        .map(|m| (m.label("destination_service_name"), m.value))
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, [("a.example", 3), ("b.example", 1), ("was-service", 3)]);
}

/// An application that greets first and then echoes.
fn greeter() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buf = [0; 1024];
                let _ = stream.write_all(b"welcome\n");
                while let Ok(n) = stream.read(&mut buf) {
                    if n == 0 || stream.write_all(&buf[..n]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

fn read_exactly(stream: &mut TcpStream, want: &[u8]) {
    let mut got = vec![0; want.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, want, "{:?}", String::from_utf8_lossy(&got));
}

#[test]
fn over_tcp_metadata_goes_first_and_never_reaches_an_application() {
    let mesh = Mesh::new();
    let often = Stats { tcp_reporting_interval: Some(Duration::from_millis(20)), ..Stats::default() };
    let mut config = inbound_tcp(&often);
    mesh.identify(&mut config, "was");
    let server = Running::start_as(&config, Some(greeter()), workload("was"));
    let mut config = outbound_tcp(service(server.address("virtualInbound")), &often);
    mesh.identify(&mut config, "web");
    let client = Running::start_as(&config, None, workload("web"));
    let mut stream = TcpStream::connect(client.address("virtualOutbound")).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // The server speaks first.
    read_exactly(&mut stream, b"welcome\n");
    stream.write_all(b"hello").unwrap();
    read_exactly(&mut stream, b"hello");
    for (proxy, reporter) in [(&client, "source"), (&server, "destination")] {
        // While the connection is open.
        let metrics = proxy.metrics("5 bytes counted", counted("istio_tcp_received_bytes_total", 5));
        let opened = only(&metrics, "istio_tcp_connections_opened_total");
        assert_labels(&opened, &CLIENT);
        assert_labels(&opened, &SERVER);
        assert_labels(&opened, &[("reporter", reporter), ("request_protocol", "tcp"), ("response_flags", "-")]);
        assert_eq!(opened.labels.len(), 23, "{:?}", opened.labels.keys());
        assert_eq!(only(&metrics, "istio_tcp_connections_closed_total").value, 0);
    }
    stream.write_all(b"more").unwrap();
    read_exactly(&mut stream, b"more");
    drop(stream);
    for proxy in [&client, &server] {
        let metrics = proxy.metrics("the end", counted("istio_tcp_connections_closed_total", 1));
        let value = |name| only(&metrics, name).value;
        assert_eq!(value("istio_tcp_connections_opened_total"), 1);
        assert_eq!(value("istio_tcp_received_bytes_total"), 9);
        assert_eq!(value("istio_tcp_sent_bytes_total"), 17);
    }
}

#[test]
fn a_plain_tcp_client_sees_no_prelude() {
    let mesh = Mesh::new();
    let mut config = inbound_tcp(&Stats::default());
    mesh.identify(&mut config, "was");
    let server = Running::start_as(&config, Some(greeter()), workload("was"));
    let mut stream = TcpStream::connect(server.address("virtualInbound")).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"hi").unwrap();
    read_exactly(&mut stream, b"welcome\nhi");
    drop(stream);
    let metrics = server.metrics("the end", counted("istio_tcp_connections_closed_total", 1));
    assert_labels(&only(&metrics, "istio_tcp_connections_opened_total"), &[("source_workload", "unknown")]);
}

#[test]
fn what_an_application_answers_under_the_exchange_s_names_goes_nowhere() {
    let mesh = Mesh::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = std::io::BufReader::new(&stream);
            while read_message(&mut reader).is_some() {
                let said = b"HTTP/1.1 200 OK\r\nx-envoy-peer-metadata: lie\r\nx-envoy-peer-metadata-id: lie\r\ncontent-length: 0\r\n\r\n";
                if (&stream).write_all(said).is_err() {
                    break;
                }
            }
        }
    });
    let mut config = inbound(Mode::Permissive);
    mesh.identify(&mut config, "was");
    let server = Running::start_as(&config, Some(address), workload("was"));
    let response = Client::connect(server.address("virtualInbound")).ask("GET / HTTP/1.1\r\nHost: was\r\n\r\n");
    assert!(!response.names().iter().any(|n| n.starts_with("x-envoy-peer-metadata")), "{:?}", response.names());
}
