//! Links, rules and original destinations, in network namespaces of the test's own threads.
//!
//! Needs the right to make network namespaces (root, or `unshare -Ur`). Fails without it unless `SKIP_NETNS=1`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is not as it must be")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use varka_sys::nft::{self, Protocol, ServiceRule, ServiceRules, SidecarRules};
use varka_sys::{link, ns, socket};

/// Runs the body in a thread with a network namespace of its own.
fn in_new_namespace(body: impl FnOnce() + Send + 'static) {
    if std::env::var_os("SKIP_NETNS").is_some_and(|v| v == "1") {
        eprintln!("skipped on request");
        return;
    }
    std::thread::spawn(move || {
        ns::unshare(ns::NET).expect("a network namespace: run as root or under `unshare -Ur`, or set SKIP_NETNS=1");
        let links = link::Links::open().unwrap();
        links.up(link::index_of("lo").unwrap()).unwrap();
        body();
    })
    .join()
    .unwrap();
}

fn answering(listener: TcpListener, text: &'static str) -> std::thread::JoinHandle<SocketAddr> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let meant = socket::original_dst(&stream).unwrap_or_else(|_| stream.local_addr().unwrap());
        stream.write_all(text.as_bytes()).unwrap();
        meant
    })
}

fn read(to: SocketAddrV4) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to.into(), Duration::from_secs(2))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn base() -> Ipv4Addr {
    let links = link::Links::open().unwrap();
    links.add_bridge("br0", [2, 0, 10, 244, 0, 1]).unwrap();
    let bridge = link::index_of("br0").unwrap();
    let gateway = Ipv4Addr::new(10, 244, 0, 1);
    links.add_address(bridge, gateway, 16).unwrap();
    links.up(bridge).unwrap();
    links.add_route(bridge, Ipv4Addr::new(10, 96, 0, 0), 16, link::Via::Link).unwrap();
    gateway
}

#[test]
fn outbound_connections_reach_the_sidecar_with_their_destination() {
    in_new_namespace(|| {
        base();
        nft::apply_sidecar_rules(&SidecarRules::default()).unwrap();
        let server = answering(TcpListener::bind("0.0.0.0:15001").unwrap(), "sidecar");
        let meant = SocketAddrV4::new(Ipv4Addr::new(10, 96, 3, 4), 8080);
        assert_eq!(read(meant).unwrap(), "sidecar");
        assert_eq!(server.join().unwrap(), SocketAddr::V4(meant));
    });
}

#[test]
fn the_mark_exempts_and_a_marked_call_to_the_own_pod_goes_inbound() {
    in_new_namespace(|| {
        let own = base();
        nft::apply_sidecar_rules(&SidecarRules::default()).unwrap();
        let inbound = answering(TcpListener::bind("0.0.0.0:15006").unwrap(), "inbound");
        let app = answering(TcpListener::bind((own, 8080)).unwrap(), "app");
        let connect = |source: Option<Ipv4Addr>| {
            let raw = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket::set_mark(&raw, 1337).unwrap();
            if let Some(source) = source {
                socket::bind_source(&raw, source.into()).unwrap();
            }
            raw.connect_timeout(&SocketAddrV4::new(own, 8080).into(), Duration::from_secs(2)).unwrap();
            let mut text = String::new();
            TcpStream::from(raw).read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(connect(None), "inbound");
        assert_eq!(inbound.join().unwrap(), SocketAddr::from((own, 8080)));
        assert_eq!(connect(Some(socket::INBOUND_PASSTHROUGH_SOURCE)), "app");
        app.join().unwrap();
    });
}

#[test]
fn exclusions_hold() {
    in_new_namespace(|| {
        let own = base();
        let rules = SidecarRules {
            exclude_outbound_ports: vec![3306],
            exclude_outbound_cidrs: vec![(Ipv4Addr::new(10, 244, 9, 0), 24)],
            ..SidecarRules::default()
        };
        nft::apply_sidecar_rules(&rules).unwrap();
        let sidecar = answering(TcpListener::bind("0.0.0.0:15001").unwrap(), "sidecar");
        // No route leads there, so only interception could have answered.
        for left_alone in
            [SocketAddrV4::new(Ipv4Addr::new(10, 96, 1, 1), 3306), SocketAddrV4::new(Ipv4Addr::new(10, 244, 9, 9), 80)]
        {
            let result = TcpStream::connect_timeout(&left_alone.into(), Duration::from_millis(200));
            assert!(result.is_err(), "{left_alone}");
        }
        // Loopback and calls to the own address by anyone but the sidecar stay.
        let app = answering(TcpListener::bind((own, 8080)).unwrap(), "app");
        assert_eq!(read(SocketAddrV4::new(own, 8080)).unwrap(), "app");
        app.join().unwrap();
        assert_eq!(read(SocketAddrV4::new(Ipv4Addr::new(10, 244, 8, 9), 80)).unwrap(), "sidecar");
        sidecar.join().unwrap();
    });
}

#[test]
fn services_reach_their_endpoints_and_refuse_without() {
    in_new_namespace(|| {
        let gateway = base();
        let address = Ipv4Addr::new(10, 96, 0, 7);
        let service = |port, backends: &[u16]| ServiceRule {
            address,
            port,
            protocol: Protocol::Tcp,
            backends: backends.iter().map(|p| SocketAddrV4::new(gateway, *p)).collect(),
        };
        let mut rules = ServiceRules {
            bridge: "br0".into(),
            inside: vec![(Ipv4Addr::new(10, 244, 0, 0), 16), (Ipv4Addr::new(10, 96, 0, 0), 16)],
            host: Ipv4Addr::new(10, 96, 255, 254),
            relay_port: 15099,
            service_network: (Ipv4Addr::new(10, 96, 0, 0), 16),
            local: vec![Ipv4Addr::new(10, 96, 0, 10)],
            services: vec![service(80, &[9001, 9002]), service(81, &[])],
        };
        nft::apply_service_rules(&rules).unwrap();
        let _one = TcpListener::bind((gateway, 9001)).unwrap();
        let _two = TcpListener::bind((gateway, 9002)).unwrap();
        for listener in [&_one, &_two] {
            listener.set_nonblocking(true).unwrap();
        }
        for _ in 0..64 {
            drop(TcpStream::connect_timeout(&SocketAddrV4::new(address, 80).into(), Duration::from_secs(2)).unwrap());
        }
        let count = |l: &TcpListener| std::iter::from_fn(|| l.accept().ok()).count();
        let (a, b) = (count(&_one), count(&_two));
        // 64 fair choices all to one side have a chance of 2^-63.
        assert!(a > 0 && b > 0 && a + b == 64, "{a} {b}");
        let refused = |port| read(SocketAddrV4::new(address, port)).unwrap_err().kind();
        assert_eq!(refused(81), std::io::ErrorKind::ConnectionRefused);
        assert_eq!(refused(4711), std::io::ErrorKind::ConnectionRefused);
        rules.services.clear();
        nft::apply_service_rules(&rules).unwrap();
        assert_eq!(refused(80), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_veth_pair_joins_two_namespaces() {
    in_new_namespace(|| {
        let gateway = base();
        let pod = Ipv4Addr::new(10, 244, 0, 2);
        let (send, receive) = std::sync::mpsc::channel();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            ns::unshare(ns::NET).unwrap();
            send.send(ns::of_this_thread("net").unwrap()).unwrap();
            wait.recv().unwrap();
            let links = link::Links::open().unwrap();
            let eth0 = link::index_of("eth0").unwrap();
            links.add_address(eth0, pod, 32).unwrap();
            links.up(eth0).unwrap();
            links.add_route(eth0, Ipv4Addr::UNSPECIFIED, 0, link::Via::Gateway(gateway)).unwrap();
            read(SocketAddrV4::new(gateway, 9000)).unwrap()
        });
        let namespace = receive.recv().unwrap();
        let server = answering(TcpListener::bind((gateway, 9000)).unwrap(), "hello");
        link::Links::open().unwrap().add_veth("v1", link::index_of("br0").unwrap(), "eth0", &namespace).unwrap();
        done.send(()).unwrap();
        assert_eq!(thread.join().unwrap(), "hello");
        server.join().unwrap();
    });
}
