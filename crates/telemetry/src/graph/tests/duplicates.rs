//! Each request counts once.

use proptest::prelude::*;

use super::super::{Appender, Facts, GraphType, Labels, Metrics, RequestedNamespace, Series};
use super::{NOBODY, Who, edge, edges, graph, namespaces, node, options, report, series, who};

const CLIENT: Who = who("blog", "client", "client");
const OTHER: Who = who("blog", "other", "other");
const SERVER: Who = who("blog", "server", "server");
const HOST: &str = "server.blog.svc.cluster.local";

fn of(requests: Vec<Series<'static>>) -> Vec<String> {
    let facts = Facts { namespaces: namespaces(&["blog"]), ..Facts::default() };
    let metrics = Metrics { requests, ..Metrics::default() };
    edges(&graph(&metrics, &facts, &options(GraphType::Workload, &["blog"], &[])))
}

fn by(reporter: &'static str, from: Who, code: &'static str, rate: f64) -> Series<'static> {
    series(Labels { response_code: code, ..report(reporter, from, SERVER, "server", HOST) }, rate)
}

#[test]
fn both_sides_tell_of_one_request() {
    let both = vec![by("source", CLIENT, "200", 10.2), by("destination", CLIENT, "200", 10.0)];
    assert_eq!(of(both), ["wl_client -> wl_server http 10.000"]);
    for side in ["source", "destination"] {
        assert_eq!(of(vec![by(side, CLIENT, "200", 10.0)]), ["wl_client -> wl_server http 10.000"], "{side}");
    }
}

#[test]
fn pods_of_one_side_add_up() {
    let pods = vec![by("destination", CLIENT, "200", 4.0), by("destination", CLIENT, "200", 3.0)];
    assert_eq!(of(pods), ["wl_client -> wl_server http 7.000"]);
}

#[test]
fn who_counted_more_is_believed() {
    // The server ended what the client broke off: it calls it no answer, the client a timeout.
    let differ = vec![
        by("source", CLIENT, "200", 9.0),
        by("source", CLIENT, "504", 1.0),
        by("destination", CLIENT, "200", 9.0),
        by("destination", CLIENT, "0", 1.0),
    ];
    assert_eq!(of(differ), ["wl_client -> wl_server http 10.000"]);
    // Two attempts for each request: the server saw both.
    let attempts = vec![
        by("source", CLIENT, "200", 5.0),
        by("destination", CLIENT, "200", 5.0),
        by("destination", CLIENT, "503", 5.0),
    ];
    assert_eq!(of(attempts), ["wl_client -> wl_server http 10.000"]);
}

#[test]
fn a_workload_of_two_services_is_asked_once() {
    let stable = Labels { destination_service_name: "server-stable", ..report("source", CLIENT, SERVER, "", HOST) };
    let requests = vec![series(stable, 10.0), by("destination", CLIENT, "200", 10.0)];
    let facts = Facts { namespaces: namespaces(&["blog"]), ..Facts::default() };
    let metrics = Metrics { requests, ..Metrics::default() };
    let mut options = options(GraphType::Workload, &["blog"], &[]);
    options.inject_service_nodes = true;
    assert_eq!(
        edges(&graph(&metrics, &facts, &options)),
        ["svc_server-stable -> wl_server http 10.000", "wl_client -> svc_server-stable http 10.000"]
    );
}

#[test]
fn what_nobody_sent_is_what_is_left() {
    let plain = |known: f64, unknown: f64| {
        of(vec![by("source", CLIENT, "200", known), by("destination", NOBODY, "200", known + unknown)])
    };
    assert_eq!(plain(10.0, 0.0), ["wl_client -> wl_server http 10.000"]);
    assert_eq!(plain(10.0, 0.2), ["wl_client -> wl_server http 10.000"], "proxies are not read at one moment");
    assert_eq!(
        plain(10.0, 5.0),
        ["unknown_unknown_source -> wl_server http 5.000", "wl_client -> wl_server http 10.000"]
    );
}

#[test]
fn what_never_arrived_is_nobodys_loss() {
    let lost = series(
        Labels { response_code: "503", response_flags: "UF", ..report("source", CLIENT, SERVER, "server", HOST) },
        4.0,
    );
    let requests = vec![lost, by("destination", NOBODY, "200", 10.0)];
    assert_eq!(of(requests), ["unknown_unknown_source -> wl_server http 10.000", "wl_client -> wl_server http 4.000"]);
}

#[test]
fn a_client_that_both_know_takes_nothing_off() {
    let requests = vec![
        by("source", CLIENT, "200", 10.0),
        by("destination", CLIENT, "200", 10.0),
        by("destination", NOBODY, "200", 3.0),
        // It knows itself.
        by("source", SERVER, "200", 2.0),
    ];
    assert_eq!(
        of(requests),
        [
            "unknown_unknown_source -> wl_server http 3.000",
            "wl_client -> wl_server http 10.000",
            "wl_server -> wl_server http 2.000"
        ]
    );
}

#[test]
fn contradictions_are_left_out() {
    let nameless = Who { name: "unknown", app: "unknown", ..CLIENT };
    let strange = series(Labels { request_protocol: "quic", ..by("source", CLIENT, "200", 1.0).labels }, 1.0);
    let not_a_number = by("source", OTHER, "200", f64::NAN);
    let metrics =
        Metrics { requests: vec![by("source", nameless, "200", 5.0), strange, not_a_number], ..Metrics::default() };
    let facts = Facts { namespaces: namespaces(&["blog"]), ..Facts::default() };
    let graph = graph(&metrics, &facts, &options(GraphType::Workload, &["blog"], &[]));
    assert!(graph.nodes.is_empty() && graph.edges.is_empty());
    assert_eq!((graph.left_out.contradictory, graph.left_out.unusable), (1, 2));
}

#[test]
fn idle_edges_are_shown_where_asked_for() {
    let metrics = Metrics { requests: vec![by("source", CLIENT, "200", 0.0)], ..Metrics::default() };
    let facts = Facts { namespaces: namespaces(&["blog"]), ..Facts::default() };
    let mut options = options(GraphType::Workload, &["blog"], &[]);
    assert!(graph(&metrics, &facts, &options).edges.is_empty());
    options.include_idle_edges = true;
    let graph = graph(&metrics, &facts, &options);
    assert_eq!(edge(&graph, "client", "server").rates.total, 0.0);
    assert!(node(&graph, "wl_Kubernetes_blog_server").traffic.is_none());
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const CODES: [&str; 2] = ["200", "503"];

/// A client's traffic to one server.
#[derive(Debug, Clone)]
struct Pair {
    client: usize,
    server: usize,
    rates: [Option<f64>; 2],
}

#[derive(Debug, Clone)]
struct World {
    /// Which clients and servers have a sidecar.
    clients: Vec<bool>,
    servers: Vec<bool>,
    /// Which clients send plain text, so that servers do not know them.
    plain: Vec<bool>,
    pairs: Vec<Pair>,
    order: u64,
}

fn world() -> impl Strategy<Value = World> {
    let flags = || proptest::collection::vec(any::<bool>(), 4);
    let rate = || proptest::option::of((5_u8..10).prop_map(f64::from));
    let pair = (0_usize..4, 0_usize..4, rate(), rate());
    let pairs = proptest::collection::vec(pair, 1..8).prop_map(|pairs| {
        let mut pairs: Vec<Pair> =
            pairs.into_iter().map(|(client, server, a, b)| Pair { client, server, rates: [a, b] }).collect();
        pairs.sort_by_key(|pair| (pair.client, pair.server));
        pairs.dedup_by_key(|pair| (pair.client, pair.server));
        pairs
    });
    (flags(), flags(), flags(), pairs, any::<u64>()).prop_map(|(clients, servers, plain, pairs, order)| World {
        clients,
        servers,
        plain,
        pairs,
        order,
    })
}

impl World {
    fn reports(&self) -> Vec<Series<'static>> {
        let mut reports = Vec::new();
        for pair in &self.pairs {
            let client = who("clients", NAMES[pair.client], NAMES[pair.client]);
            let server = who("blog", NAMES[pair.server], NAMES[pair.server]);
            for (code, rate) in CODES.into_iter().zip(pair.rates) {
                let Some(rate) = rate else { continue };
                let of = |reporter, from| {
                    let labels = report(reporter, from, server, NAMES[pair.server], "host");
                    Labels { response_code: code, ..labels }
                };
                if self.clients[pair.client] {
                    reports.push(series(of("source", client), rate));
                }
                if self.servers[pair.server] {
                    let seen = if self.clients[pair.client] && !self.plain[pair.client] { client } else { NOBODY };
                    reports.push(series(of("destination", seen), rate));
                }
            }
        }
        // Some order or other.
        let len = u64::try_from(reports.len().max(1)).unwrap();
        reports.rotate_left(usize::try_from(self.order % len).unwrap());
        reports
    }

    /// What each server got, as far as anybody tells.
    fn told(&self, server: usize) -> f64 {
        let told = self.pairs.iter().filter(|p| p.server == server && (self.clients[p.client] || self.servers[server]));
        told.flat_map(|pair| pair.rates).flatten().sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_arrives_is_what_was_told_once(world in world(), all in any::<bool>()) {
        let facts = Facts { namespaces: namespaces(&["blog", "clients"]), ..Facts::default() };
        let metrics = Metrics { requests: world.reports(), ..Metrics::default() };
        let mut options = options(GraphType::Workload, &["blog"], &[Appender::Health]);
        options.inject_service_nodes = all;
        if all {
            options.namespaces.push(RequestedNamespace { name: "clients".into(), ..Default::default() });
        }
        let graph = graph(&metrics, &facts, &options);
        for (place, name) in NAMES.iter().enumerate() {
            // What clients alone tell of is shown where their namespace is asked for.
            if !world.servers[place] && !all {
                continue;
            }
            let told = world.told(place);
            let Some(id) = graph.node(&format!("wl_Kubernetes_blog_{name}")) else {
                prop_assert_eq!(told, 0.0);
                continue;
            };
            let arrived: f64 = graph.incoming(id).map(|edge| edge.rates.total).sum();
            prop_assert!((arrived - told).abs() < 1e-9, "{} told {}, {:?}", name, told, edges(&graph));
            let of_node = graph.nodes[id].traffic.http.incoming.total;
            prop_assert!((arrived - of_node).abs() < 1e-9);
            let parts: f64 = graph.incoming(id).flat_map(|edge| &edge.responses).map(|response| response.rate).sum();
            prop_assert!((arrived - parts).abs() < 1e-9);
        }
    }

    #[test]
    fn the_order_of_reports_does_not_count(world in world()) {
        let facts = Facts { namespaces: namespaces(&["blog", "clients"]), ..Facts::default() };
        let options = options(GraphType::VersionedApp, &["blog", "clients"], &[]);
        let once = Metrics { requests: world.reports(), ..Metrics::default() };
        let mut reversed = once.clone();
        reversed.requests.reverse();
        prop_assert_eq!(edges(&graph(&once, &facts, &options)), edges(&graph(&reversed, &facts, &options)));
    }
}
