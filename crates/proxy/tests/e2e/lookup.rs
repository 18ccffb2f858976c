//! Who says nothing of itself is known by its address: clients in plain text, endpoints without metadata, what is passed through.

use std::io::{BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use varka_engine::ir::{Cluster, Discovery, Stats, Workload};

use crate::config::{Mode, WAS, cluster, endpoints, inbound, inbound_tcp, original_dst, outbound, outbound_tcp};
use crate::control::{ControlPlane, Following};
use crate::support::{App, Client, LIMIT, Metric, Nobody, until};

fn whose(name: &str, address: IpAddr) -> Arc<Workload> {
    Arc::new(Workload {
        name: format!("{name}-7d9f-x").into(),
        namespace: "edge".into(),
        addresses: vec![address],
        trust_domain: "cluster.local".into(),
        service_account: name.into(),
        canonical_name: format!("{name}-canonical").into(),
        canonical_revision: "v2".into(),
        workload_name: name.into(),
        cluster_id: "c1".into(),
        app: format!("{name}-app").into(),
        version: "2".into(),
        ..Workload::default()
    })
}

/// What the labels of one side say of it.
fn labels(side: &str, name: &str) -> Vec<(String, String)> {
    let of = |label: &str, value: &str| (format!("{side}_{label}"), value.to_owned());
    vec![
        of("workload", name),
        of("workload_namespace", "edge"),
        of("canonical_service", &format!("{name}-canonical")),
        of("canonical_revision", "v2"),
        of("app", &format!("{name}-app")),
        of("version", "2"),
        of("cluster", "c1"),
        // That is what only a certificate can show.
        of("principal", "unknown"),
    ]
}

fn assert_labels(metric: &Metric, want: &[(String, String)]) {
    for (label, value) in want {
        assert_eq!(metric.label(label), value, "{label} of {metric:#?}");
    }
}

/// A loopback address of its own.
fn address(n: u16) -> IpAddr {
    let [high, low] = n.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low).into()
}

fn name_of(address: IpAddr) -> String {
    format!("/{address}")
}

fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn client(from: IpAddr, to: SocketAddr) -> Client {
    Client { reader: BufReader::new(connect(from, to)) }
}

fn series(sidecar: &Following, name: &str) -> Vec<Metric> {
    let mut samples = Vec::new();
    sidecar.proxy.as_ref().unwrap().state().metrics.istio.samples("test", &mut samples);
    samples.into_iter().map(Metric::from).filter(|m| m.name == name).collect()
}

/// The series of a metric, once they have counted so much.
fn counted(sidecar: &Following, name: &str, n: u64) -> Vec<Metric> {
    let found = until(&format!("{n} are counted"), || {
        let found = series(sidecar, name);
        (found.iter().map(|m| m.value).sum::<u64>() >= n).then_some(found)
    });
    assert_eq!(found.iter().map(|m| m.value).sum::<u64>(), n, "each counts once");
    found
}

fn one(mut found: Vec<Metric>) -> Metric {
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: was-service\r\n\r\n";
const REQUESTS: &str = "istio_requests_total";

#[test]
fn a_client_in_plain_text_is_known_from_its_first_request() {
    let app = App::start();
    let plane = ControlPlane::start(inbound(Mode::Permissive));
    plane.knows(|known| drop(known.insert(name_of(address(5)).into(), whose("ingress", address(5)))));
    let sidecar = Following::pushed(&plane, &app);
    let to = sidecar.address("virtualInbound");
    for _ in 0..10 {
        let mut connection = client(address(5), to);
        for _ in 0..5 {
            assert_eq!(connection.ask(GET).line, "HTTP/1.1 200 OK");
        }
    }
    let metric = one(counted(&sidecar, REQUESTS, 50));
    assert_labels(&metric, &labels("source", "ingress"));
    assert_eq!(metric.label("connection_security_policy"), "none");
    assert_eq!(metric.label("destination_principal"), "unknown");
    assert_eq!(metric.label("reporter"), "destination");
    // The other metrics of a request count in the same series.
    assert_labels(&one(counted(&sidecar, "istio_request_duration_milliseconds", 50)), &labels("source", "ingress"));
    assert_eq!(plane.asked().into_iter().collect::<Vec<_>>(), [name_of(address(5)).into()]);
}

#[test]
fn what_is_known_follows_the_control_plane() {
    let app = App::start();
    let plane = ControlPlane::start(inbound(Mode::Permissive));
    let sidecar = Following::pushed(&plane, &app);
    let mut connection = client(address(6), sidecar.address("virtualInbound"));
    connection.ask(GET);
    assert_eq!(one(counted(&sidecar, REQUESTS, 1)).label("source_workload"), "unknown");
    let mut sent = 1;
    for name in ["web", "was"] {
        plane.knows(|known| drop(known.insert(name_of(address(6)).into(), whose(name, address(6)))));
        until("a request is counted for it", || {
            connection.ask(GET);
            sent += 1;
            series(&sidecar, REQUESTS).iter().any(|m| m.label("source_workload") == name).then_some(())
        });
    }
    plane.knows(|known| known.clear());
    until("it is nobody's again", || {
        let (_, page) = sidecar.get("admin", "/workloads");
        page.contains("\"workload\": null").then_some(())
    });
    let before = counted(&sidecar, REQUESTS, sent);
    connection.ask(GET);
    let unknown = |all: &[Metric]| all.iter().find(|m| m.label("source_workload") == "unknown").unwrap().value;
    assert_eq!(unknown(&counted(&sidecar, REQUESTS, sent + 1)), unknown(&before) + 1);
}

#[test]
fn without_an_answer_no_request_waits_and_all_are_counted() {
    let app = App::start();
    let mut plane = ControlPlane::start(inbound(Mode::Permissive));
    plane.knows(|known| drop(known.insert(name_of(address(7)).into(), whose("web", address(7)))));
    let sidecar = Following::pushed(&plane, &app);
    let mut connection = client(address(7), sidecar.address("virtualInbound"));
    plane.stop();
    let state = Arc::clone(sidecar.proxy.as_ref().unwrap().state());
    until("the stream is lost", || (!state.sync.load().connected).then_some(()));
    for _ in 0..20 {
        assert_eq!(connection.ask(GET).line, "HTTP/1.1 200 OK");
    }
    assert_eq!(one(counted(&sidecar, REQUESTS, 20)).label("source_workload"), "unknown");
    // When it is back, the question is still asked.
    plane.again();
    until("the answer has come", || sidecar.get("admin", "/workloads").1.contains("\"web\"").then_some(()));
    connection.ask(GET);
    let found = counted(&sidecar, REQUESTS, 21);
    let known = found.iter().find(|m| m.label("source_workload") == "web").expect("it is known");
    assert_eq!(known.value, 1);
}

/// `was-service` at an endpoint, and what is said of that.
fn service(at: SocketAddr, said: Option<&str>) -> Cluster {
    let mut was = cluster(WAS, endpoints(&[at], None));
    if let Discovery::Static(assignment) = &mut was.discovery {
        assignment.localities[0].endpoints[0].workload = said.map(Into::into);
    }
    was.services = vec![("was-service.default.svc.cluster.local".into(), "was-service".into(), "default".into())];
    was
}

#[test]
fn an_endpoint_of_which_nothing_is_said_is_known_by_its_address() {
    let app = App::start();
    let plane = ControlPlane::start(outbound(service(app.address, None), |_| {}));
    plane.knows(|known| drop(known.insert(name_of(app.address.ip()).into(), whose("was", app.address.ip()))));
    let sidecar = Following::pushed(&plane, &app);
    let mut connection = Client::connect(sidecar.address("virtualOutbound"));
    for _ in 0..50 {
        connection.ask(GET);
    }
    let metric = one(counted(&sidecar, REQUESTS, 50));
    assert_labels(&metric, &labels("destination", "was"));
    assert_eq!(metric.label("destination_service_name"), "was-service");
    assert_eq!(metric.label("destination_service"), "was-service.default.svc.cluster.local");
}

#[test]
fn what_is_said_of_an_endpoint_is_enough() {
    let app = App::start();
    let said = Some("was-from-eds;default;was;rev;eds-cluster");
    let plane = ControlPlane::start(outbound(service(app.address, said), |_| {}));
    plane.knows(|known| drop(known.insert(name_of(app.address.ip()).into(), whose("other", app.address.ip()))));
    let sidecar = Following::pushed(&plane, &app);
    Client::connect(sidecar.address("virtualOutbound")).ask(GET);
    assert_eq!(one(counted(&sidecar, REQUESTS, 1)).label("destination_workload"), "was-from-eds");
    assert!(plane.asked().is_empty(), "{:?}", plane.asked());
}

#[test]
fn nobody_is_looked_up_with_whom_there_was_no_connection() {
    let app = App::start();
    let closed = Nobody::new();
    let plane = ControlPlane::start(outbound(service(closed.address(), None), |_| {}));
    let sidecar = Following::pushed(&plane, &app);
    let response = Client::connect(sidecar.address("virtualOutbound")).ask(GET);
    assert_eq!(response.line, "HTTP/1.1 503 Service Unavailable");
    let metric = one(counted(&sidecar, REQUESTS, 1));
    assert_eq!((metric.label("response_flags"), metric.label("destination_workload")), ("URX,UF", "unknown"));
    assert!(plane.asked().is_empty(), "{:?}", plane.asked());
}

/// A database: it greets, answers a line, and is rid of the client.
fn database() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"welcome\n");
            let mut buf = [0; 64];
            if stream.read(&mut buf).is_ok() {
                let _ = stream.write_all(b"bye\n");
            }
        }
    });
    address
}

/// Greeting, a line of five bytes, and the answer.
fn converse(mut stream: TcpStream) {
    let mut greeting = [0; 8];
    stream.read_exact(&mut greeting).unwrap();
    stream.write_all(b"quit\n").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!((&greeting, rest.as_slice()), (b"welcome\n", b"bye\n".as_slice()));
}

fn assert_tcp(sidecar: &Following, connections: u64, side: &str, name: &str) -> Metric {
    for (metric, each) in [("opened_total", 1), ("closed_total", 1)] {
        let found = one(counted(sidecar, &format!("istio_tcp_connections_{metric}"), connections * each));
        assert_labels(&found, &labels(side, name));
    }
    assert_labels(&one(counted(sidecar, "istio_tcp_received_bytes_total", connections * 5)), &labels(side, name));
    let sent = one(counted(sidecar, "istio_tcp_sent_bytes_total", connections * 12));
    assert_labels(&sent, &labels(side, name));
    sent
}

#[test]
fn a_destination_that_is_passed_through_is_known_and_its_service_is_not() {
    let (database, app) = (database(), App::start());
    let config = outbound_tcp(cluster("PassthroughCluster", original_dst()), &Stats::default());
    let plane = ControlPlane::start(config);
    plane.knows(|known| drop(known.insert(name_of(database.ip()).into(), whose("mysql", database.ip()))));
    let sidecar = Following::towards(&plane, &app, database);
    for _ in 0..5 {
        converse(TcpStream::connect(sidecar.address("virtualOutbound")).unwrap());
    }
    let metric = assert_tcp(&sidecar, 5, "destination", "mysql");
    assert_eq!(metric.label("destination_service_name"), "PassthroughCluster");
    assert_eq!(metric.label("destination_service"), "unknown");
    assert_eq!(metric.label("source_workload"), "test");
}

#[test]
fn a_tcp_client_in_plain_text_is_known_too() {
    let (database, app) = (database(), App::start());
    let plane = ControlPlane::start(inbound_tcp(&Stats::default()));
    plane.knows(|known| drop(known.insert(name_of(address(8)).into(), whose("batch", address(8)))));
    let sidecar = Following::towards(&plane, &app, database);
    for _ in 0..5 {
        converse(connect(address(8), sidecar.address("virtualInbound")));
    }
    assert_tcp(&sidecar, 5, "source", "batch");
}

#[test]
fn an_open_connection_is_counted_for_whom_it_is_with() {
    let (database, app) = (database(), App::start());
    let often = Stats { tcp_reporting_interval: Some(Duration::from_millis(20)), ..Stats::default() };
    let plane = ControlPlane::start(outbound_tcp(cluster("PassthroughCluster", original_dst()), &often));
    plane.knows(|known| drop(known.insert(name_of(database.ip()).into(), whose("mysql", database.ip()))));
    let sidecar = Following::towards(&plane, &app, database);
    let stream = TcpStream::connect(sidecar.address("virtualOutbound")).unwrap();
    let opened = one(counted(&sidecar, "istio_tcp_connections_opened_total", 1));
    assert_labels(&opened, &labels("destination", "mysql"));
    assert_eq!(one(series(&sidecar, "istio_tcp_connections_closed_total")).value, 0);
    converse(stream);
    assert_tcp(&sidecar, 1, "destination", "mysql");
}

#[test]
fn whoever_comes_from_many_addresses_makes_nothing_grow() {
    let app = App::start();
    let plane = ControlPlane::start(inbound(Mode::Permissive));
    let sidecar = Following::pushed(&plane, &app);
    let to = sidecar.address("virtualInbound");
    for n in 0..1500 {
        assert_eq!(client(address(n), to).ask(GET).line, "HTTP/1.1 200 OK");
    }
    let all = counted(&sidecar, REQUESTS, 1500);
    assert_eq!(one(all).label("source_workload"), "unknown");
    let (_, page) = sidecar.get("admin", "/workloads");
    let known = page.matches("\"address\"").count();
    assert!(known <= 1024, "{known}");
}
