//! Names and forms as Envoy and Istio show them.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use varka_engine::ir::{MetricOverride, Stats};
use varka_engine::outcome::{Flag, ResponseFlags};

use super::envoy::{ClusterStats, HttpStats, ListenerCounters, ServerFacts, TcpCounters};
use super::istio::{Customization, Facts, IstioMetrics, Protocol, Reporter, RequestResult, SeriesKey, Workload};
use super::render::{Kind, Selection, json, prometheus, text};
use super::*;

const WAS: &str = "outbound|8080||was-service.blog-system.svc.cluster.local";

fn all(f: impl FnOnce(&mut Vec<Sample>)) -> Vec<Sample> {
    let mut out = vec![];
    f(&mut out);
    out
}

#[test]
fn a_cluster_under_both_names() {
    let stats = ClusterStats::default();
    stats.counters.upstream_cx_total.add(2);
    stats.counters.upstream_rq_total.add(2);
    stats.counters.membership_healthy.set(3);
    stats.counters.upstream_rq_time.record(3);
    stats.codes.count(200);
    stats.codes.count(200);
    stats.codes.count(999);
    let samples = all(|out| stats.samples(WAS, out));
    let shown = prometheus(&samples, &Selection::default());
    for line in [
        "# TYPE envoy_cluster_upstream_cx_total counter",
        "envoy_cluster_upstream_cx_total{cluster_name=\"outbound|8080||was-service.blog-system.svc.cluster.local\"} 2",
        "envoy_cluster_upstream_rq{cluster_name=\"outbound|8080||was-service.blog-system.svc.cluster.local\",response_code=\"200\"} 2",
        "envoy_cluster_upstream_rq{cluster_name=\"outbound|8080||was-service.blog-system.svc.cluster.local\",response_code_class=\"2xx\"} 2",
        "envoy_cluster_upstream_rq_pending_overflow{cluster_name=\"outbound|8080||was-service.blog-system.svc.cluster.local\"} 0",
        "envoy_cluster_ssl_handshake{cluster_name=\"outbound|8080||was-service.blog-system.svc.cluster.local\"} 0",
        "envoy_cluster_circuit_breakers_default_rq_open{cluster_name=\"outbound|8080||was-service.blog-system.svc.cluster.local\"} 0",
        "envoy_cluster_membership_healthy{cluster_name=\"outbound|8080||was-service.blog-system.svc.cluster.local\"} 3",
        "# TYPE envoy_cluster_external_upstream_rq_time histogram",
        "envoy_cluster_external_upstream_rq_time_bucket{cluster_name=\"outbound|8080||was-service.blog-system.svc.cluster.local\",le=\"1\"} 0",
        "envoy_cluster_external_upstream_rq_time_bucket{cluster_name=\"outbound|8080||was-service.blog-system.svc.cluster.local\",le=\"5\"} 1",
        "envoy_cluster_upstream_rq_time_count{cluster_name=\"outbound|8080||was-service.blog-system.svc.cluster.local\"} 1",
    ] {
        assert!(shown.lines().any(|l| l == line), "no {line} in\n{shown}");
    }
    let used = Selection {
        used_only: true,
        filter: Some(regex::Regex::new("upstream_rq").unwrap()),
        kind: Some(Kind::Counter),
    };
    assert_eq!(
        text(&samples, &used),
        format!(
            "cluster.{WAS};.external.upstream_rq_200: 2\ncluster.{WAS};.external.upstream_rq_2xx: 2\n\
         cluster.{WAS};.external.upstream_rq_completed: 2\ncluster.{WAS};.upstream_rq_200: 2\ncluster.{WAS};.upstream_rq_2xx: 2\n\
         cluster.{WAS};.upstream_rq_completed: 2\ncluster.{WAS};.upstream_rq_total: 2\n"
        )
    );
    assert!(
        json(&samples, &used).starts_with(&format!(
            "{{\"stats\":[{{\"name\":\"cluster.{WAS};.external.upstream_rq_200\",\"value\":2}},"
        ))
    );
}

#[test]
fn the_other_owners() {
    let (http, tcp, listener) = (HttpStats::default(), TcpCounters::default(), ListenerCounters::default());
    http.counters.downstream_rq_total.add(6);
    http.codes.count(404);
    let samples = all(|out| {
        http.samples("inbound_0.0.0.0_80", out);
        tcp.samples("outbound_tcp", out);
        listener.samples("0.0.0.0_15006", out);
        ServerFacts { live: true, concurrency: 1, active_clusters: 11, ..Default::default() }.samples(out);
    });
    let shown = prometheus(&samples, &Selection::default());
    for line in [
        "envoy_http_downstream_rq_total{http_conn_manager_prefix=\"inbound_0.0.0.0_80\"} 6",
        "envoy_http_downstream_rq{http_conn_manager_prefix=\"inbound_0.0.0.0_80\",response_code_class=\"4xx\"} 1",
        "envoy_tcp_downstream_cx_total{tcp_prefix=\"outbound_tcp\"} 0",
        "envoy_listener_0_0_0_0_15006_no_filter_chain_match{} 0",
        "envoy_cluster_manager_active_clusters{} 11",
        "envoy_server_live{} 1",
        "envoy_server_state{} 0",
    ] {
        assert!(shown.lines().any(|l| l == line), "no {line} in\n{shown}");
    }
}

fn workload(name: &str, app: &str, cluster: &str) -> Workload {
    Workload {
        name: name.into(),
        namespace: "default".into(),
        app: app.into(),
        version: "v1".into(),
        canonical_service: name.into(),
        canonical_revision: "version-1".into(),
        cluster: cluster.into(),
    }
}

/// What is known of a request from productpage to ratings.
fn key_of(reporter: Reporter, edit: impl FnOnce(&mut Facts<'_>)) -> SeriesKey {
    let (productpage, ratings) = (
        workload("productpage-v1", "productpage", "client-cluster"),
        workload("ratings-v1", "ratings", "server-cluster"),
    );
    let service = ("server.default.svc.cluster.local".into(), "server".into(), "default".into());
    let (own, peer) = match reporter {
        Reporter::Source => (&productpage, &ratings),
        Reporter::Destination => (&ratings, &productpage),
    };
    let mut facts = Facts {
        reporter,
        own,
        own_principal: "",
        peer: Some(peer),
        peer_principal: "",
        host: "",
        route: "default",
        cluster: "outbound|80||server.default.svc.cluster.local",
        service: Some(&service),
        protocol: Protocol::Http,
    };
    edit(&mut facts);
    SeriesKey::of(&facts)
}

fn key(reporter: Reporter) -> SeriesKey {
    key_of(reporter, |_| {})
}

fn shown(metrics: &IstioMetrics) -> String {
    prometheus(&all(|out| metrics.samples("1.0", out)), &Selection::default())
}

const OK: RequestResult = RequestResult { status: 200, flags: ResponseFlags::NONE, grpc_status: None };

#[test]
fn requests_have_istio_s_labels_in_istio_s_order() {
    let metrics = IstioMetrics::default();
    let series = metrics.http(key(Reporter::Source), None);
    series.count(OK, Duration::from_millis(3), 100, 2000);
    series.count(OK, Duration::from_millis(30), 100, 2000);
    let refused = RequestResult {
        status: 503,
        flags: ResponseFlags::of(Flag::UpstreamRetryLimitExceeded).with(Flag::UpstreamConnectionFailure),
        grpc_status: None,
    };
    series.count(refused, Duration::from_millis(1), 100, 95);
    assert!(Arc::ptr_eq(&series, &metrics.http(key(Reporter::Source), None)));
    let shown = prometheus(&all(|out| metrics.samples("1.0", out)), &Selection::default());
    let labels = "reporter=\"source\",source_workload=\"productpage-v1\",source_canonical_service=\"productpage-v1\",\
        source_canonical_revision=\"version-1\",source_workload_namespace=\"default\",source_principal=\"unknown\",\
        source_app=\"productpage\",source_version=\"v1\",source_cluster=\"client-cluster\",destination_workload=\"ratings-v1\",\
        destination_workload_namespace=\"default\",destination_principal=\"unknown\",destination_app=\"ratings\",\
        destination_version=\"v1\",destination_service=\"server.default.svc.cluster.local\",\
        destination_canonical_service=\"ratings-v1\",destination_canonical_revision=\"version-1\",\
        destination_service_name=\"server\",destination_service_namespace=\"default\",destination_cluster=\"server-cluster\",\
        request_protocol=\"http\"";
    for line in [
        format!(
            "istio_requests_total{{{labels},response_code=\"200\",grpc_response_status=\"\",response_flags=\"-\",connection_security_policy=\"unknown\"}} 2"
        ),
        format!(
            "istio_requests_total{{{labels},response_code=\"503\",grpc_response_status=\"\",response_flags=\"URX,UF\",connection_security_policy=\"unknown\"}} 1"
        ),
        format!(
            "istio_request_duration_milliseconds_sum{{{labels},response_code=\"200\",grpc_response_status=\"\",response_flags=\"-\",connection_security_policy=\"unknown\"}} 33"
        ),
        "istio_build{component=\"proxy\",tag=\"1.0\"} 1".to_owned(),
    ] {
        assert!(shown.lines().any(|l| l == line), "no {line} in\n{shown}");
    }
}

#[test]
fn connections_have_no_response_code() {
    let metrics = IstioMetrics::default();
    let nobody = key_of(Reporter::Destination, |facts| {
        facts.peer = None;
        facts.protocol = Protocol::Tcp;
        (facts.peer_principal, facts.own_principal) =
            ("spiffe://cluster.local/ns/shop/sa/client", "spiffe://cluster.local/ns/default/sa/server");
    });
    let series = metrics.tcp(nobody, None, ResponseFlags::NONE);
    series.opened.inc();
    series.sent_bytes.add(7);
    let shown = prometheus(&all(|out| metrics.samples("1.0", out)), &Selection::default());
    let line = shown.lines().find(|l| l.starts_with("istio_tcp_sent_bytes_total")).unwrap();
    assert!(line.ends_with(
        "destination_cluster=\"server-cluster\",request_protocol=\"tcp\",response_flags=\"-\",connection_security_policy=\"mutual_tls\"} 7"
    ));
    assert!(line.contains("source_workload=\"unknown\"") && line.contains("source_canonical_revision=\"latest\""));
    // Without a word of the client, its certificate says in which namespace it is.
    assert!(line.contains("source_workload_namespace=\"shop\""), "{line}");
}

#[test]
fn more_results_than_quick_slots_are_all_counted() {
    let metrics = IstioMetrics::default();
    let series = metrics.http(key(Reporter::Destination), None);
    for status in 200..240 {
        series.count(RequestResult { status, ..OK }, Duration::ZERO, 0, 0);
        series.count(RequestResult { status, ..OK }, Duration::ZERO, 0, 0);
    }
    let counted: Vec<u64> = all(|out| metrics.samples("1.0", out))
        .into_iter()
        .filter(|s| s.family == "istio_requests_total")
        .map(|s| if let Value::Counter(n) = s.value { n } else { 0 })
        .collect();
    assert_eq!(counted, vec![2; 40]);
}

#[test]
fn a_peer_s_word_does_not_change_its_namespace_and_host_stands_in_for_a_service() {
    let metrics = IstioMetrics::default();
    let lying = key_of(Reporter::Destination, |facts| {
        facts.peer_principal = "spiffe://cluster.local/ns/shop/sa/client";
        facts.own_principal = "spiffe://cluster.local/ns/default/sa/server";
    });
    metrics.http(lying, None).count(OK, Duration::ZERO, 0, 0);
    let outside = key_of(Reporter::Source, |facts| {
        (facts.host, facts.route, facts.cluster) = ("example.com", "allow_any", "PassthroughCluster");
        (facts.service, facts.peer) = (None, None);
    });
    metrics.http(outside, None).count(OK, Duration::ZERO, 0, 0);
    let shown = shown(&metrics);
    for part in [
        "source_workload_namespace=\"shop\",source_principal=\"spiffe://cluster.local/ns/shop/sa/client\"",
        "destination_service=\"example.com\",destination_canonical_service=\"unknown\",\
         destination_canonical_revision=\"latest\",destination_service_name=\"PassthroughCluster\",\
         destination_service_namespace=\"unknown\"",
    ] {
        assert!(shown.contains(part), "no {part} in\n{shown}");
    }
}

#[test]
fn labels_are_set_removed_and_added_up_and_metrics_left_out() {
    let stats = Stats {
        metrics: vec![
            MetricOverride {
                name: "requests_total".into(),
                dimensions: vec![("destination_port".into(), "string(destination.port)".into())],
                tags_to_remove: vec!["response_code".into()],
                ..MetricOverride::default()
            },
            MetricOverride { name: "response_bytes".into(), drop: true, ..MetricOverride::default() },
        ],
        ..Stats::default()
    };
    let custom = Customization::new(&stats).unwrap();
    assert_eq!(custom.dimensions().len(), 1);
    let metrics = IstioMetrics::default();
    let series = metrics.http(key(Reporter::Source), Some(custom.with([Some("8080".to_owned())].into_iter())));
    series.count(OK, Duration::ZERO, 0, 0);
    series.count(RequestResult { status: 404, ..OK }, Duration::ZERO, 0, 0);
    let shown = shown(&metrics);
    let lines: Vec<_> = shown.lines().filter(|l| l.starts_with("istio_requests_total{")).collect();
    assert_eq!(lines.len(), 1, "one series is left of two: {lines:?}");
    assert!(lines[0].ends_with(",connection_security_policy=\"unknown\",destination_port=\"8080\"} 2"), "{}", lines[0]);
    assert!(!shown.contains("istio_response_bytes"), "left out");
    assert!(shown.contains("istio_request_bytes_count{"));
    assert!(
        shown
            .lines()
            .any(|l| l.contains("istio_request_duration_milliseconds_count{") && l.contains("response_code=\"404\""))
    );
}

/// A request to a service that is not known.
fn unknown_host(host: &str) -> SeriesKey {
    let own = workload("productpage-v1", "productpage", "client-cluster");
    SeriesKey::of(&Facts {
        reporter: Reporter::Source,
        own: &own,
        own_principal: "",
        peer: None,
        peer_principal: "",
        host,
        route: "",
        cluster: "",
        service: None,
        protocol: Protocol::Http,
    })
}

#[test]
fn series_and_results_are_bounded_and_nothing_is_lost() {
    let metrics = IstioMetrics::default();
    let hosts = 10_500;
    for i in 0..hosts {
        let host = format!("host-{i}");
        metrics.http(unknown_host(&host), None).count(OK, Duration::ZERO, 0, 0);
    }
    let series = metrics.http(key(Reporter::Destination), None);
    for status in 0..1000 {
        series.count(RequestResult { grpc_status: Some(status), ..OK }, Duration::ZERO, 0, 0);
    }
    let samples = all(|out| metrics.samples("1.0", out));
    let requests: Vec<_> = samples.iter().filter(|s| s.family == "istio_requests_total").collect();
    assert!(requests.len() <= 10_001 + 300, "{}", requests.len());
    let total: u64 = requests.iter().map(|s| if let Value::Counter(n) = s.value { n } else { 0 }).sum();
    assert_eq!(total, hosts + 1000);
}

#[test]
fn the_registry_gives_the_same_owner_for_the_same_name() {
    let registry = Registry::default();
    registry.cluster(&"a".into()).counters.upstream_rq_total.inc();
    registry.cluster(&"a".into()).counters.upstream_rq_total.inc();
    registry.http(&"h".into()).counters.no_route.inc();
    let shown = text(
        &registry.samples(&ServerFacts::default(), "t"),
        &Selection::new(Some("rq_total|no_route"), true, None).unwrap(),
    );
    assert_eq!(shown, "cluster.a;.upstream_rq_total: 2\nhttp.h.no_route: 1\n");
    registry.keep_clusters(|name| name != "a");
    assert_eq!(registry.cluster(&"a".into()).counters.upstream_rq_total.get(), 0);
}

#[test]
fn labels_are_escaped() {
    let sample = Sample {
        stat: "s".into(),
        family: "f".into(),
        labels: vec![("l".into(), "a\"b\\c\nd".into())],
        value: Value::Gauge(1),
    };
    assert_eq!(prometheus(&[sample], &Selection::default()), "# TYPE f gauge\nf{l=\"a\\\"b\\\\c\\nd\"} 1\n");
}

#[test]
fn a_gauge_never_goes_below_zero() {
    let gauge = Gauge::default();
    gauge.dec();
    gauge.inc();
    assert_eq!(gauge.get(), 1);
}

proptest! {
    #[test]
    fn buckets_hold_what_is_at_most_their_bound(values in prop::collection::vec(0u64..5_000_000, 0..50)) {
        let histogram = Histogram::default();
        values.iter().for_each(|v| histogram.record(*v));
        let snapshot = histogram.snapshot();
        for (label, count) in snapshot.cumulative() {
            let bound: f64 = label.parse().unwrap_or(f64::INFINITY);
            let want = values.iter().filter(|v| (**v as f64) <= bound).count();
            prop_assert_eq!(count, want as u64, "{}", label);
        }
        prop_assert_eq!(snapshot.sum, values.iter().sum::<u64>());
        if let Some(median) = snapshot.quantile(0.5) {
            let (least, most) = (values.iter().min().unwrap(), values.iter().max().unwrap());
            prop_assert!(median >= 0.0 && median <= (*most as f64).max(1.0) * 5.0 + 1.0, "{} {} {}", least, median, most);
        }
    }
}
