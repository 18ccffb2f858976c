//! Names and forms as Envoy and Istio show them.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use varka_engine::outcome::{Flag, ResponseFlags};

use super::envoy::{ClusterStats, HttpStats, ListenerCounters, ServerFacts, TcpCounters};
use super::istio::{IstioMetrics, Protocol, Reporter, RequestResult, SecurityPolicy, SeriesKey, Workload};
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

fn key(reporter: Reporter) -> SeriesKey {
    let workload = |name: &str, app: &str, cluster: &str| Workload {
        name: name.into(),
        namespace: "default".into(),
        principal: "".into(),
        app: app.into(),
        version: "v1".into(),
        canonical_service: name.into(),
        canonical_revision: "version-1".into(),
        cluster: cluster.into(),
    };
    SeriesKey {
        reporter,
        source: workload("productpage-v1", "productpage", "client-cluster"),
        destination: workload("ratings-v1", "ratings", "server-cluster"),
        service: "server.default.svc.cluster.local".into(),
        service_name: "server".into(),
        service_namespace: "default".into(),
        protocol: Protocol::Http,
        security: if reporter == Reporter::Source { SecurityPolicy::Unknown } else { SecurityPolicy::MutualTls },
    }
}

const OK: RequestResult = RequestResult { status: 200, flags: ResponseFlags::NONE, grpc_status: None };

#[test]
fn requests_have_istio_s_labels_in_istio_s_order() {
    let metrics = IstioMetrics::default();
    let series = metrics.http(key(Reporter::Source));
    series.count(OK, Duration::from_millis(3), 100, 2000);
    series.count(OK, Duration::from_millis(30), 100, 2000);
    let refused = RequestResult {
        status: 503,
        flags: ResponseFlags::of(Flag::UpstreamRetryLimitExceeded).with(Flag::UpstreamConnectionFailure),
        grpc_status: None,
    };
    series.count(refused, Duration::from_millis(1), 100, 95);
    assert!(Arc::ptr_eq(&series, &metrics.http(key(Reporter::Source))));
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
    let nobody = SeriesKey { source: Workload::default(), protocol: Protocol::Tcp, ..key(Reporter::Destination) };
    let series = metrics.tcp(nobody, ResponseFlags::NONE);
    series.opened.inc();
    series.sent_bytes.add(7);
    let shown = prometheus(&all(|out| metrics.samples("1.0", out)), &Selection::default());
    let line = shown.lines().find(|l| l.starts_with("istio_tcp_sent_bytes_total")).unwrap();
    assert!(line.ends_with(
        "destination_cluster=\"server-cluster\",request_protocol=\"tcp\",response_flags=\"-\",connection_security_policy=\"mutual_tls\"} 7"
    ));
    assert!(line.contains("source_workload=\"unknown\"") && line.contains("source_canonical_revision=\"latest\""));
}

#[test]
fn more_results_than_quick_slots_are_all_counted() {
    let metrics = IstioMetrics::default();
    let series = metrics.http(key(Reporter::Destination));
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
        labels: vec![("l", "a\"b\\c\nd".into())],
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
