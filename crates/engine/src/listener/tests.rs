//! Istio's inbound chains, and agreement with a decision tree as Envoy builds it.

use proptest::prelude::*;

use super::*;
use crate::ir::{ConnectionFilters, TcpProxy, Terminal, TrafficDirection};

fn chain(name: &str, matches: FilterChainMatch) -> FilterChain {
    FilterChain {
        name: name.into(),
        matches,
        tls: None,
        filters: vec![],
        terminal: Terminal::Tcp(TcpProxy {
            stat_prefix: name.into(),
            clusters: vec![],
            idle_timeout: None,
            max_connection_duration: None,
            access_log: vec![],
            hash_policy: vec![],
            tunnel: None,
        }),
        handshake_timeout: None,
    }
}

fn listener(name: &str, address: &str, chains: Vec<FilterChain>, default: Option<FilterChain>) -> Listener {
    Listener {
        name: name.into(),
        address: address.parse().unwrap(),
        bind_to_port: false,
        use_original_dst: false,
        direction: TrafficDirection::Inbound,
        inspect: ConnectionFilters::default(),
        filter_chains: chains,
        default_filter_chain: default,
        access_log: vec![],
    }
}

fn strs(names: &[&str]) -> Vec<Str> {
    names.iter().map(|n| Str::from(*n)).collect()
}

/// The chains of a STRICT port and the catch-alls beside it.
fn strict() -> Listener {
    let tls = Some(TransportProtocol::Tls);
    listener(
        "virtualInbound",
        "0.0.0.0:15006",
        vec![
            chain("blackhole", FilterChainMatch { destination_port: Some(15006), ..Default::default() }),
            chain(
                "0.0.0.0_8080",
                FilterChainMatch { destination_port: Some(8080), transport_protocol: tls, ..Default::default() },
            ),
            chain(
                "catchall-raw",
                FilterChainMatch { transport_protocol: Some(TransportProtocol::RawBuffer), ..Default::default() },
            ),
            chain(
                "catchall-istio",
                FilterChainMatch {
                    transport_protocol: tls,
                    application_protocols: strs(&["istio-http/1.1", "istio-h2"]),
                    ..Default::default()
                },
            ),
            chain("catchall-tls", FilterChainMatch { transport_protocol: tls, ..Default::default() }),
        ],
        None,
    )
}

fn chosen(listener: &Listener, connection: &Connection<'_>) -> Option<String> {
    choose_chain(listener, connection, &mut Trace::off()).map(|c| c.name.to_string())
}

#[test]
fn plain_text_to_a_strict_port_finds_no_chain() {
    let to = |port: u16| Connection::plain(SocketAddr::from(([10, 0, 0, 1], port)), "10.0.0.9:4".parse().unwrap());
    let listener = strict();
    assert_eq!(chosen(&listener, &to(8080)), None);
    assert_eq!(chosen(&listener, &to(9090)).as_deref(), Some("catchall-raw"));
    assert_eq!(chosen(&listener, &to(15006)).as_deref(), Some("blackhole"));
    let tls = |port, alpn| Connection { transport: TransportProtocol::Tls, alpn, ..to(port) };
    let istio = [b"istio-http/1.1".to_vec(), b"istio".to_vec(), b"http/1.1".to_vec()];
    assert_eq!(chosen(&listener, &tls(8080, &istio)).as_deref(), Some("0.0.0.0_8080"));
    assert_eq!(chosen(&listener, &tls(9090, &istio)).as_deref(), Some("catchall-istio"));
    assert_eq!(chosen(&listener, &tls(9090, &[])).as_deref(), Some("catchall-tls"));
}

#[test]
fn the_trace_names_what_decided() {
    let c = Connection::plain("10.0.0.1:8080".parse().unwrap(), "10.0.0.9:4".parse().unwrap());
    let mut trace = Trace::on();
    assert!(choose_chain(&strict(), &c, &mut trace).is_none());
    assert_eq!(
        trace.notes(),
        [
            "destination port 8080: 1 of 5 chains left",
            "transport raw_buffer: none of 1 chains accepts it",
            "no filter chain of listener virtualInbound matches and it has no default: closed",
        ]
    );
}

#[test]
fn server_names_exact_then_longest_suffix() {
    let tls = |names: &[&str]| FilterChainMatch { server_names: strs(names), ..Default::default() };
    let l = listener(
        "l",
        "0.0.0.0:443",
        vec![
            chain("any", tls(&[])),
            chain("com", tls(&["*.com"])),
            chain("a.com", tls(&["*.a.com"])),
            chain("x.a.com", tls(&["x.a.com"])),
        ],
        Some(chain("default", FilterChainMatch::default())),
    );
    let with = |sni| Connection {
        transport: TransportProtocol::Tls,
        sni,
        ..Connection::plain("10.0.0.1:443".parse().unwrap(), "10.0.0.9:4".parse().unwrap())
    };
    for (sni, want) in [
        (Some("x.a.com"), "x.a.com"),
        (Some("y.a.com"), "a.com"),
        (Some("a.com"), "com"),
        (Some("b.org"), "any"),
        (None, "any"),
    ] {
        assert_eq!(chosen(&l, &with(sni)).as_deref(), Some(want), "{sni:?}");
    }
}

#[test]
fn listeners_by_original_destination() {
    let mut proxy = Proxy::default();
    for (name, address) in
        [("virtualOutbound", "0.0.0.0:15001"), ("0.0.0.0_80", "0.0.0.0:80"), ("10.96.0.1_80", "10.96.0.1:80")]
    {
        proxy.listeners.insert(name.into(), Arc::new(listener(name, address, vec![], None)));
    }
    let index = ListenerIndex::new(&proxy);
    let mut accepting = listener("virtualOutbound", "0.0.0.0:15001", vec![], None);
    accepting.use_original_dst = true;
    let accepting = Arc::new(accepting);
    for (to, want) in
        [("10.96.0.1:80", "10.96.0.1_80"), ("10.96.0.2:80", "0.0.0.0_80"), ("10.96.0.1:81", "virtualOutbound")]
    {
        assert_eq!(&*index.choose(&accepting, to.parse().unwrap(), &mut Trace::off()).name, want);
    }
    assert_eq!(names("10.96.0.1:443".parse().unwrap()), ["10.96.0.1_443", "0.0.0.0_443"]);
}

#[test]
fn that_there_is_no_listener_is_used() {
    let mut proxy = Proxy::default();
    proxy.listeners.insert("0.0.0.0_80".into(), Arc::new(listener("0.0.0.0_80", "0.0.0.0:80", vec![], None)));
    proxy.absent.insert((ResourceType::Listener, "10.96.0.1_80".into()));
    let steps = crate::recency::Steps::default();
    let last_use = steps.name();
    let index = ListenerIndex::noting(&proxy, |_| last_use.clone());
    let before = last_use.at();
    let _later = steps.name();
    let found = index.look_up("10.96.0.1:80".parse().unwrap());
    assert!(matches!(found, Lookup::Found(l) if &*l.name == "0.0.0.0_80"));
    assert!(last_use.at() > before);
}

/// The tree that Envoy builds, walked without index: at each level the key that is found decides, and there is no way back.
fn tree(chains: &[FilterChain], c: &Connection<'_>) -> Option<String> {
    let keep =
        |set: Vec<FilterChain>, yes: &dyn Fn(&FilterChainMatch) -> bool, none: &dyn Fn(&FilterChainMatch) -> bool| {
            let exact: Vec<_> = set.iter().filter(|x| yes(&x.matches)).cloned().collect();
            if exact.is_empty() { set.into_iter().filter(|x| none(&x.matches)).collect() } else { exact }
        };
    let mut set = chains.to_vec();
    set = keep(set, &|m| m.destination_port == Some(c.original_dst.port()), &|m| m.destination_port.is_none());
    for len in (0..=32).rev() {
        let hit: Vec<_> = set
            .iter()
            .filter(|x| {
                let nets = &x.matches.destination_prefixes;
                (nets.is_empty() && len == 0)
                    || nets.iter().any(|n| n.prefix_len() == len && n.contains(&c.original_dst.ip()))
            })
            .cloned()
            .collect();
        if !hit.is_empty() || len == 0 {
            set = hit;
            break;
        }
    }
    set = keep(set, &|m| m.transport_protocol == Some(c.transport), &|m| m.transport_protocol.is_none());
    let key = c
        .alpn
        .iter()
        .find(|p| set.iter().any(|x| x.matches.application_protocols.iter().any(|w| w.as_bytes() == p.as_slice())));
    set = match key {
        Some(p) => keep(set, &|m| m.application_protocols.iter().any(|w| w.as_bytes() == p.as_slice()), &|_| false),
        None => keep(set, &|_| false, &|m| m.application_protocols.is_empty()),
    };
    set.first().map(|x| x.name.to_string())
}

proptest! {
    #[test]
    fn narrowing_is_the_tree(
        shape in prop::collection::vec((prop::option::of(80u16..82), 0usize..4, prop::option::of(any::<bool>()), 0usize..4), 1..8),
        port in 80u16..83, host in 0u8..3, tls: bool, offer in 0usize..4,
    ) {
        let nets: [&[&str]; 4] = [&[], &["10.0.0.0/8"], &["10.0.0.1/32"], &["10.0.0.0/31"]];
        let protocols: [&[&str]; 4] = [&[], &["a"], &["b"], &["a", "b"]];
        let transport = |t| if t { TransportProtocol::Tls } else { TransportProtocol::RawBuffer };
        let chains: Vec<_> = shape.iter().enumerate().map(|(i, (port, net, t, p))| chain(&i.to_string(), FilterChainMatch {
            destination_port: *port,
            destination_prefixes: nets[*net].iter().map(|n| n.parse().unwrap()).collect(),
            transport_protocol: t.map(transport),
            application_protocols: strs(protocols[*p]),
            ..Default::default()
        })).collect();
        let alpn: Vec<Vec<u8>> = protocols[offer].iter().map(|p| p.as_bytes().to_vec()).collect();
        let c = Connection {
            transport: transport(tls),
            alpn: &alpn,
            ..Connection::plain(SocketAddr::from(([10, 0, 0, host], port)), "10.9.0.9:4".parse().unwrap())
        };
        let want = tree(&chains, &c);
        prop_assert_eq!(chosen(&listener("l", "0.0.0.0:1", chains, None), &c), want);
    }
}
