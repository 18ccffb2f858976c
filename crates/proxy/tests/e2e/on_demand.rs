//! A sidecar that asks for what it needs: services, listeners, what there is not, and a control plane that is away.

use std::net::SocketAddr;
use std::sync::Arc;

use varka_engine::ir::{
    ClusterLoadAssignment, Discovery, FilterChain, FilterChainMatch, Listener, Proxy as Ir, ResourceType,
    RouteConfiguration, RouteSource, Terminal, TrafficDirection, TransportProtocol,
};

use crate::config::{
    action, chain, cluster, endpoints, listener, manager, original_dst, proxy, route, table, tcp, virtual_host,
};
use crate::control::{ControlPlane, Following};
use crate::support::{App, Client, until};

fn was(n: usize) -> String {
    format!("outbound|8080||was-{n}.default.svc.cluster.local")
}

/// A service by number: its virtual host, cluster and endpoints.
fn add_service(mesh: &mut Ir, n: usize, address: SocketAddr) {
    let name = was(n);
    let host = format!("was-{n}.default.svc.cluster.local");
    let short = format!("was-{n}");
    let virtual_host = virtual_host(&format!("{host}:8080"), &[&host, &short], vec![route(action(&name))]);
    let virtual_host = Arc::new(virtual_host);
    for domain in [&host, &short] {
        mesh.virtual_hosts.insert(format!("8080/{domain}").into(), Arc::clone(&virtual_host));
    }
    let discovery = Discovery::Eds { service_name: name.as_str().into() };
    mesh.clusters.insert(name.as_str().into(), Arc::new(cluster(&name, discovery)));
    let Discovery::Static(assignment) = endpoints(&[address], None) else { unreachable!() };
    let assignment = ClusterLoadAssignment { cluster_name: name.as_str().into(), ..assignment };
    mesh.endpoints.insert(name.as_str().into(), Arc::new(assignment));
}

fn http_chain() -> FilterChain {
    let matches = FilterChainMatch {
        transport_protocol: Some(TransportProtocol::RawBuffer),
        application_protocols: vec!["http/1.1".into(), "h2c".into()],
        ..FilterChainMatch::default()
    };
    chain("http", matches, None, Terminal::Http(Box::new(manager(false, RouteSource::Rds("8080".into())))))
}

/// An outbound listener that stands for a destination and has no socket.
fn for_destination(name: &str, address: SocketAddr, chain: FilterChain) -> Arc<Listener> {
    let listener = listener(name, TrafficDirection::Outbound, vec![chain]);
    Arc::new(Listener { address, bind_to_port: false, ..Listener::clone(&listener) })
}

/// A mesh in which HTTP is spoken on the application's port, and what nobody knows is passed on.
fn mesh(app: &App) -> Ir {
    let any = SocketAddr::from(([0, 0, 0, 0], app.address.port()));
    let accepting = listener(
        "virtualOutbound",
        TrafficDirection::Outbound,
        vec![chain("all", FilterChainMatch::default(), None, tcp("PassthroughCluster"))],
    );
    let accepting = Arc::new(Listener { use_original_dst: true, ..Listener::clone(&accepting) });
    let mut passthrough = route(action("PassthroughCluster"));
    passthrough.name = "allow_any".into();
    let table = table("8080", vec![virtual_host("allow_any", &["*"], vec![passthrough])]);
    let table = Arc::new(RouteConfiguration { on_demand: true, ..RouteConfiguration::clone(&table) });
    let http = for_destination(&format!("0.0.0.0_{}", any.port()), any, http_chain());
    proxy(vec![accepting, http], vec![table], vec![cluster("PassthroughCluster", original_dst())])
}

fn get(client: &mut Client, host: &str) -> String {
    client.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).line
}

const OK: &str = "HTTP/1.1 200 OK";

fn held(sidecar: &Following) -> Arc<varka_proxy::Config> {
    sidecar.proxy.as_ref().unwrap().state().config()
}

fn ready(sidecar: &Following) {
    until("it is ready", || (sidecar.get("readiness", "/healthz/ready").0 == 200).then_some(()));
}

#[test]
fn only_what_is_used_is_held() {
    let app = App::start();
    let mut config = mesh(&app);
    for n in 0..50 {
        add_service(&mut config, n, app.address);
    }
    let plane = ControlPlane::start(config);
    let sidecar = Following::asking(&plane, &app);
    ready(&sidecar);
    // It is ready without anything that somebody would have to ask for.
    assert_eq!(held(&sidecar).ir.clusters.len(), 1);
    assert_eq!(held(&sidecar).ir.listeners.len(), 1);
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    assert_eq!(get(&mut client, "was-7"), OK);
    assert_eq!(get(&mut client, "was-7.default.svc.cluster.local:8080"), OK);
    assert_eq!(get(&mut client, "WAS-9"), OK);
    let log = sidecar.log(3);
    assert!(log[0].contains(&was(7)) && log[1].contains(&was(7)) && log[2].contains(&was(9)), "{log:?}");
    let ir = Arc::clone(&held(&sidecar).ir);
    let mut clusters: Vec<_> = ir.clusters.keys().map(|name| name.to_string()).collect();
    clusters.sort();
    assert_eq!(clusters, ["PassthroughCluster".to_owned(), was(7), was(9)]);
    assert_eq!(ir.endpoints.len(), 2);
    // The other name of the first one was known by then.
    assert_eq!(ir.virtual_hosts.len(), 2);
    let (_, dump) = sidecar.get("admin", "/config_dump");
    assert!(dump.contains("was-7.default.svc.cluster.local:8080") && !dump.contains("was-8"), "{dump}");
    let (_, page) = sidecar.get("admin", "/clusters");
    assert!(page.contains(&was(9)) && !page.contains(&was(8)), "{page}");
}

#[test]
fn what_does_not_exist_is_passed_on_until_it_does() {
    let app = App::start();
    let plane = ControlPlane::start(mesh(&app));
    let sidecar = Following::asking(&plane, &app);
    ready(&sidecar);
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    assert_eq!(get(&mut client, "was-1"), OK);
    assert!(sidecar.log(1)[0].contains("PassthroughCluster"), "{:?}", sidecar.log(1));
    plane.config.send_modify(|mesh| add_service(mesh, 1, app.address));
    until("the service is known", || {
        assert_eq!(get(&mut client, "was-1"), OK);
        sidecar.log(1).last().unwrap().contains(&was(1)).then_some(())
    });
    plane.config.send_modify(|mesh| mesh.virtual_hosts.clear());
    until("the service is gone", || {
        assert_eq!(get(&mut client, "was-1"), OK);
        sidecar.log(1).last().unwrap().contains("PassthroughCluster").then_some(())
    });
}

#[test]
fn without_a_control_plane_the_known_goes_on_and_the_unknown_fails() {
    let app = App::start();
    let mut config = mesh(&app);
    add_service(&mut config, 1, app.address);
    add_service(&mut config, 2, app.address);
    let mut plane = ControlPlane::start(config);
    let sidecar = Following::asking(&plane, &app);
    ready(&sidecar);
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    assert_eq!(get(&mut client, "was-1"), OK);
    assert_eq!(get(&mut client, "example.com"), OK);
    plane.stop();
    let state = Arc::clone(sidecar.proxy.as_ref().unwrap().state());
    until("the stream is lost", || (!state.sync.load().connected).then_some(()));
    assert_eq!(get(&mut client, "was-1"), OK);
    // That there is no such service was said, and still counts.
    assert_eq!(get(&mut client, "example.com"), OK);
    let seen = app.seen.lock().unwrap().len();
    let refused = client.ask("GET / HTTP/1.1\r\nHost: was-2\r\n\r\n");
    assert_eq!(refused.line, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(refused.body, b"no answer from the control plane about virtual host 8080/was-2");
    assert_eq!(app.seen.lock().unwrap().len(), seen, "nothing leaves for a destination that may be a service");
    let log = sidecar.log(5);
    assert!(log[4].contains(" 503 NFCF configuration_timeout{virtual_host_8080/was-2} "), "{}", log[4]);
    // When it is back, the same name is answered.
    plane.again();
    until("the stream is back", || state.sync.load().connected.then_some(()));
    assert_eq!(get(&mut client, "was-2"), OK);
    assert!(sidecar.log(6)[5].contains(&was(2)), "{:?}", sidecar.log(6));
}

#[test]
fn a_connection_waits_for_its_listener() {
    let app = App::start();
    let mut config = mesh(&app);
    let name = format!("127.0.0.1_{}", app.address.port());
    let exact = for_destination(&name, app.address, chain("tcp", FilterChainMatch::default(), None, tcp(&was(3))));
    config.listeners.insert(Arc::clone(&exact.name), exact);
    add_service(&mut config, 3, app.address);
    let plane = ControlPlane::start(config);
    let sidecar = Following::asking(&plane, &app);
    ready(&sidecar);
    // The more specific one is found, although the other is there as well.
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    assert_eq!(get(&mut client, "whatever"), "HTTP/1.1 200 X", "its bytes are passed on as they are");
    drop(client);
    assert!(sidecar.log(1)[0].contains(&was(3)), "{:?}", sidecar.log(1));
    assert_eq!(held(&sidecar).ir.virtual_hosts.len(), 0);
    // It goes: then the less specific one counts.
    plane.config.send_modify(|mesh| mesh.listeners.retain(|known, _| **known != *name));
    until("the listener is gone", || (!held(&sidecar).ir.listeners.contains_key(&*name)).then_some(()));
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    assert_eq!(get(&mut client, "example.com"), OK);
    assert!(sidecar.log(2)[1].contains("allow_any"), "{:?}", sidecar.log(2));
}

#[test]
fn a_connection_without_a_listener_ends_when_nobody_says_what_to_do() {
    let app = App::start();
    let mut plane = ControlPlane::start(mesh(&app));
    let sidecar = Following::asking(&plane, &app);
    ready(&sidecar);
    plane.stop();
    let state = Arc::clone(sidecar.proxy.as_ref().unwrap().state());
    until("the stream is lost", || (!state.sync.load().connected).then_some(()));
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(client.rest().map_or(true, |said| said.is_empty()));
    assert!(app.seen.lock().unwrap().is_empty());
    let expected = format!(" 0 NFCF configuration_timeout{{listener_127.0.0.1_{}}} ", app.address.port());
    assert!(sidecar.log(1)[0].contains(&expected), "{:?}", sidecar.log(1));
}

#[test]
fn whoever_tries_many_names_makes_nothing_grow() {
    let app = App::start();
    let plane = ControlPlane::start(mesh(&app));
    let sidecar = Following::asking(&plane, &app);
    ready(&sidecar);
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    let mut lines = Vec::new();
    for n in 0..2000 {
        lines.push(get(&mut client, &format!("scan-{n}.example.com")));
    }
    let refused = lines.iter().filter(|line| line.contains("503")).count();
    let absent = held(&sidecar).ir.absent.iter().filter(|(kind, _)| *kind == ResourceType::VirtualHost).count();
    assert!(absent <= 1024, "{absent}");
    // Those that were asked for too fast failed, and did not leave.
    assert_eq!(app.seen.lock().unwrap().len() + refused, lines.len());
    if refused > 0 {
        assert!(
            sidecar.log(2000).iter().any(|line| line.contains("503 NFCF configuration_limit{virtual_host_8080/scan-"))
        );
    }
}
