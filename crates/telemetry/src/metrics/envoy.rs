//! Envoy's statistics, under Envoy's names.
//!
//! Each struct belongs to one cluster, connection manager, TCP proxy or listener, and is counted by the code that runs it. The
//! Prometheus labels are those of Istio's bootstrap (`cluster_name`, `http_conn_manager_prefix`, `response_code`, ...).

use std::borrow::Cow;
use std::sync::OnceLock;

use super::{Counter, Gauge, Histogram, Sample, Scope, Value};

macro_rules! stats {
    (
        $(#[$meta:meta])*
        $owner:ident {
            $(counter $counter:ident $counter_name:literal,)*
            $(gauge $gauge:ident $gauge_name:literal,)*
            $(histogram $histogram:ident $histogram_name:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub struct $owner {
            $(#[doc = concat!("`", $counter_name, "`, counter.")] pub $counter: Counter,)*
            $(#[doc = concat!("`", $gauge_name, "`, gauge.")] pub $gauge: Gauge,)*
            $(#[doc = concat!("`", $histogram_name, "`, histogram.")] pub $histogram: Histogram,)*
        }

        impl $owner {
            /// Appends a sample of each statistic.
            fn each(&self, scope: &Scope, out: &mut Vec<Sample>) {
                $(out.push(scope.sample($counter_name, Value::Counter(self.$counter.get())));)*
                $(out.push(scope.sample($gauge_name, Value::Gauge(self.$gauge.get())));)*
                $(out.push(scope.sample($histogram_name, Value::Histogram(Box::new(self.$histogram.snapshot()))));)*
            }
        }
    };
}

stats! {
    /// A cluster's statistics (`cluster.NAME;.*`), but for response codes, which are in [`ResponseCodes`].
    ClusterCounters {
        counter upstream_cx_total "upstream_cx_total",
        counter upstream_cx_http1_total "upstream_cx_http1_total",
        counter upstream_cx_http2_total "upstream_cx_http2_total",
        counter upstream_cx_connect_fail "upstream_cx_connect_fail",
        counter upstream_cx_connect_timeout "upstream_cx_connect_timeout",
        counter upstream_cx_idle_timeout "upstream_cx_idle_timeout",
        counter upstream_cx_max_requests "upstream_cx_max_requests",
        counter upstream_cx_none_healthy "upstream_cx_none_healthy",
        counter upstream_cx_overflow "upstream_cx_overflow",
        counter upstream_cx_destroy "upstream_cx_destroy",
        counter upstream_cx_destroy_local "upstream_cx_destroy_local",
        counter upstream_cx_destroy_remote "upstream_cx_destroy_remote",
        counter upstream_cx_destroy_with_active_rq "upstream_cx_destroy_with_active_rq",
        counter upstream_cx_protocol_error "upstream_cx_protocol_error",
        counter upstream_cx_rx_bytes_total "upstream_cx_rx_bytes_total",
        counter upstream_cx_tx_bytes_total "upstream_cx_tx_bytes_total",
        counter upstream_rq_total "upstream_rq_total",
        counter upstream_rq_pending_total "upstream_rq_pending_total",
        counter upstream_rq_pending_overflow "upstream_rq_pending_overflow",
        counter upstream_rq_pending_failure_eject "upstream_rq_pending_failure_eject",
        counter upstream_rq_cancelled "upstream_rq_cancelled",
        counter upstream_rq_timeout "upstream_rq_timeout",
        counter upstream_rq_per_try_timeout "upstream_rq_per_try_timeout",
        counter upstream_rq_rx_reset "upstream_rq_rx_reset",
        counter upstream_rq_tx_reset "upstream_rq_tx_reset",
        counter upstream_rq_retry "upstream_rq_retry",
        counter upstream_rq_retry_success "upstream_rq_retry_success",
        counter upstream_rq_retry_overflow "upstream_rq_retry_overflow",
        counter upstream_rq_retry_limit_exceeded "upstream_rq_retry_limit_exceeded",
        counter membership_change "membership_change",
        counter lb_healthy_panic "lb_healthy_panic",
        counter update_success "update_success",
        counter ejections_enforced_total "outlier_detection.ejections_enforced_total",
        counter ejections_enforced_5xx "outlier_detection.ejections_enforced_consecutive_5xx",
        counter ejections_enforced_gateway "outlier_detection.ejections_enforced_consecutive_gateway_failure",
        counter ejections_enforced_local "outlier_detection.ejections_enforced_consecutive_local_origin_failure",
        counter ejections_overflow "outlier_detection.ejections_overflow",
        counter ssl_handshake "ssl.handshake",
        counter ssl_connection_error "ssl.connection_error",
        counter ssl_fail_verify_error "ssl.fail_verify_error",
        counter ssl_fail_verify_san "ssl.fail_verify_san",
        gauge upstream_cx_active "upstream_cx_active",
        gauge upstream_rq_active "upstream_rq_active",
        gauge upstream_rq_pending_active "upstream_rq_pending_active",
        gauge membership_total "membership_total",
        gauge membership_healthy "membership_healthy",
        gauge membership_degraded "membership_degraded",
        gauge membership_excluded "membership_excluded",
        gauge ejections_active "outlier_detection.ejections_active",
        gauge cx_open "circuit_breakers.default.cx_open",
        gauge rq_pending_open "circuit_breakers.default.rq_pending_open",
        gauge rq_open "circuit_breakers.default.rq_open",
        gauge rq_retry_open "circuit_breakers.default.rq_retry_open",
        histogram upstream_cx_connect_ms "upstream_cx_connect_ms",
        histogram upstream_cx_length_ms "upstream_cx_length_ms",
        histogram upstream_rq_time "upstream_rq_time",
    }
}

stats! {
    /// Statistics of HTTP connection managers of one prefix (`http.PREFIX.*`), but for response classes.
    HttpCounters {
        counter downstream_cx_total "downstream_cx_total",
        counter downstream_cx_http1_total "downstream_cx_http1_total",
        counter downstream_cx_http2_total "downstream_cx_http2_total",
        counter downstream_cx_ssl_total "downstream_cx_ssl_total",
        counter downstream_cx_destroy "downstream_cx_destroy",
        counter downstream_cx_protocol_error "downstream_cx_protocol_error",
        counter downstream_cx_idle_timeout "downstream_cx_idle_timeout",
        counter downstream_cx_max_duration_reached "downstream_cx_max_duration_reached",
        counter downstream_cx_rx_bytes_total "downstream_cx_rx_bytes_total",
        counter downstream_cx_tx_bytes_total "downstream_cx_tx_bytes_total",
        counter downstream_rq_total "downstream_rq_total",
        counter downstream_rq_completed "downstream_rq_completed",
        counter downstream_rq_http1_total "downstream_rq_http1_total",
        counter downstream_rq_http2_total "downstream_rq_http2_total",
        counter downstream_rq_rx_reset "downstream_rq_rx_reset",
        counter downstream_rq_tx_reset "downstream_rq_tx_reset",
        counter downstream_rq_too_large "downstream_rq_too_large",
        counter downstream_rq_timeout "downstream_rq_timeout",
        counter downstream_rq_idle_timeout "downstream_rq_idle_timeout",
        counter downstream_rq_overload_close "downstream_rq_overload_close",
        counter downstream_rq_too_many_premature_resets "downstream_rq_too_many_premature_resets",
        counter no_route "no_route",
        counter no_cluster "no_cluster",
        counter rq_direct_response "rq_direct_response",
        counter rq_redirect "rq_redirect",
        counter rq_total "rq_total",
        counter rbac_allowed "rbac.allowed",
        counter rbac_denied "rbac.denied",
        counter rbac_shadow_allowed "rbac.shadow_allowed",
        counter rbac_shadow_denied "rbac.shadow_denied",
        counter jwt_allowed "jwt_authn.allowed",
        counter jwt_denied "jwt_authn.denied",
        counter jwt_preflight_bypassed "jwt_authn.cors_preflight_bypassed",
        counter ext_authz_ok "ext_authz.ok",
        counter ext_authz_denied "ext_authz.denied",
        counter ext_authz_error "ext_authz.error",
        counter ext_authz_failure_mode_allowed "ext_authz.failure_mode_allowed",
        counter fault_aborts_injected "fault.aborts_injected",
        counter fault_delays_injected "fault.delays_injected",
        gauge downstream_cx_active "downstream_cx_active",
        gauge downstream_rq_active "downstream_rq_active",
        histogram downstream_cx_length_ms "downstream_cx_length_ms",
        histogram downstream_rq_time "downstream_rq_time",
    }
}

stats! {
    /// Statistics of TCP proxies of one prefix (`tcp.PREFIX.*`).
    TcpCounters {
        counter downstream_cx_total "downstream_cx_total",
        counter downstream_cx_no_route "downstream_cx_no_route",
        counter downstream_cx_rx_bytes_total "downstream_cx_rx_bytes_total",
        counter downstream_cx_tx_bytes_total "downstream_cx_tx_bytes_total",
        counter idle_timeout "idle_timeout",
        counter max_downstream_connection_duration "max_downstream_connection_duration",
        gauge downstream_cx_active "downstream_cx_active",
    }
}

stats! {
    /// A listener's statistics (`listener.ADDRESS.*`).
    ListenerCounters {
        counter downstream_cx_total "downstream_cx_total",
        counter downstream_cx_destroy "downstream_cx_destroy",
        counter downstream_cx_overflow "downstream_cx_overflow",
        counter downstream_pre_cx_timeout "downstream_pre_cx_timeout",
        counter no_filter_chain_match "no_filter_chain_match",
        counter ssl_handshake "ssl.handshake",
        counter ssl_connection_error "ssl.connection_error",
        counter ssl_fail_verify_no_cert "ssl.fail_verify_no_cert",
        counter ssl_fail_verify_error "ssl.fail_verify_error",
        gauge downstream_cx_active "downstream_cx_active",
        gauge downstream_pre_cx_active "downstream_pre_cx_active",
        histogram downstream_cx_length_ms "downstream_cx_length_ms",
    }
}

/// Answers by status and by class of status. Takes its memory at the first answer.
#[derive(Debug, Default)]
pub struct ResponseCodes(OnceLock<Box<[Counter]>>);

/// Statuses that are counted: 100 to 599.
const STATUSES: std::ops::Range<u16> = 100..600;

impl ResponseCodes {
    /// Counts an answer; a status beyond 100 to 599 is not counted.
    pub fn count(&self, status: u16) {
        let counters = self.0.get_or_init(|| STATUSES.map(|_| Counter::default()).collect());
        let at = usize::from(status).checked_sub(usize::from(STATUSES.start));
        if let Some(counter) = at.and_then(|at| counters.get(at)) {
            counter.inc();
        }
    }

    /// Counted statuses with their numbers.
    pub fn nonzero(&self) -> impl Iterator<Item = (u16, u64)> {
        let counters = self.0.get().map(|counters| &**counters).unwrap_or_default();
        STATUSES.zip(counters).map(|(status, counter)| (status, counter.get())).filter(|(_, n)| *n > 0)
    }

    /// Appends `NAME_200` and `NAME_2xx` with labels `response_code` and `response_code_class`, and `NAME_completed`.
    fn samples(&self, scope: &Scope, name: &str, by_code: bool, out: &mut Vec<Sample>) {
        let mut classes = [0_u64; 5];
        for (status, n) in self.nonzero() {
            if let Some(class) = classes.get_mut(usize::from(status / 100 - 1)) {
                *class += n;
            }
            if by_code {
                out.push(labelled(scope, name, &status.to_string(), "response_code", n));
            }
        }
        for (class, n) in (1..).zip(classes).filter(|(_, n)| *n > 0) {
            out.push(labelled(scope, name, &format!("{class}xx"), "response_code_class", n));
        }
        if by_code {
            out.push(scope.sample(&format!("{name}_completed"), Value::Counter(classes.iter().sum())));
        }
    }
}

/// A counter whose dotted name ends in a value that is a label in Prometheus.
fn labelled(scope: &Scope, name: &str, value: &str, label: &'static str, n: u64) -> Sample {
    let mut sample = scope.sample(name, Value::Counter(n));
    sample.stat = format!("{}_{value}", sample.stat);
    sample.labels.push((label.into(), value.to_owned()));
    sample
}

/// All of a cluster.
#[derive(Debug, Default)]
pub struct ClusterStats {
    /// Counters, gauges, histograms.
    pub counters: ClusterCounters,
    /// Answers of its endpoints, and those the proxy made for it.
    pub codes: ResponseCodes,
}

impl ClusterStats {
    /// Samples of the cluster of this name. What is counted for all requests is also shown as `external`: no request counts as
    /// internal.
    pub fn samples(&self, cluster: &str, out: &mut Vec<Sample>) {
        let mut scope = Scope {
            stat: format!("cluster.{cluster};."),
            family: Cow::Borrowed("envoy_cluster_"),
            labels: vec![("cluster_name".into(), cluster.to_owned())],
        };
        self.counters.each(&scope, out);
        self.codes.samples(&scope, "upstream_rq", true, out);
        scope.stat.push_str("external.");
        scope.family = Cow::Borrowed("envoy_cluster_external_");
        self.codes.samples(&scope, "upstream_rq", true, out);
        let time = self.counters.upstream_rq_time.snapshot();
        if time.count() > 0 {
            out.push(scope.sample("upstream_rq_time", Value::Histogram(Box::new(time))));
        }
    }
}

/// All of the connection managers of one prefix.
#[derive(Debug, Default)]
pub struct HttpStats {
    /// Counters, gauges, histograms.
    pub counters: HttpCounters,
    /// Answers to clients.
    pub codes: ResponseCodes,
}

impl HttpStats {
    /// Samples of this prefix (`inbound_0.0.0.0_80`).
    pub fn samples(&self, prefix: &str, out: &mut Vec<Sample>) {
        let scope = Scope {
            stat: format!("http.{prefix}."),
            family: Cow::Borrowed("envoy_http_"),
            labels: vec![("http_conn_manager_prefix".into(), prefix.to_owned())],
        };
        self.counters.each(&scope, out);
        self.codes.samples(&scope, "downstream_rq", false, out);
    }
}

impl TcpCounters {
    /// Samples of this prefix.
    pub fn samples(&self, prefix: &str, out: &mut Vec<Sample>) {
        let scope = Scope {
            stat: format!("tcp.{prefix}."),
            family: Cow::Borrowed("envoy_tcp_"),
            labels: vec![("tcp_prefix".into(), prefix.to_owned())],
        };
        self.each(&scope, out);
    }
}

impl ListenerCounters {
    /// Samples of the listener at this address (`0.0.0.0_15006`). As with Istio's bootstrap the address is part of the
    /// Prometheus name.
    pub fn samples(&self, address: &str, out: &mut Vec<Sample>) {
        let name: String = address.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let scope = Scope {
            stat: format!("listener.{address}."),
            family: Cow::Owned(format!("envoy_listener_{name}_")),
            labels: vec![],
        };
        self.each(&scope, out);
    }
}

/// What a server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// Takes traffic.
    pub live: bool,
    /// 0 live, 1 draining, 2 pre-initializing, 3 initializing.
    pub state: u64,
    /// Seconds since it started.
    pub uptime: u64,
    /// Worker threads.
    pub concurrency: u64,
    /// Client connections open now.
    pub total_connections: u64,
    /// Resident memory, bytes.
    pub memory_physical_size: u64,
    /// Whole days until the first certificate ends.
    pub days_until_first_cert_expiring: u64,
    /// Clusters in use.
    pub active_clusters: u64,
    /// Listeners in use.
    pub active_listeners: u64,
    /// Whether the stream to the control plane is up.
    pub control_plane_connected: bool,
    /// Certificates by their names, with the seconds until each ends.
    pub certificates: Vec<(String, u64)>,
}

impl ServerFacts {
    /// Samples of the server, its cluster manager and its listener manager.
    pub fn samples(&self, out: &mut Vec<Sample>) {
        let scope = |stat: &str, family: &'static str| Scope {
            stat: stat.to_owned(),
            family: Cow::Borrowed(family),
            labels: vec![],
        };
        let server = scope("server.", "envoy_server_");
        for (name, value) in [
            ("live", u64::from(self.live)),
            ("state", self.state),
            ("uptime", self.uptime),
            ("concurrency", self.concurrency),
            ("total_connections", self.total_connections),
            ("memory_physical_size", self.memory_physical_size),
            ("days_until_first_cert_expiring", self.days_until_first_cert_expiring),
        ] {
            out.push(server.sample(name, Value::Gauge(value)));
        }
        let clusters = scope("cluster_manager.", "envoy_cluster_manager_");
        out.push(clusters.sample("active_clusters", Value::Gauge(self.active_clusters)));
        let listeners = scope("listener_manager.", "envoy_listener_manager_");
        out.push(listeners.sample("total_listeners_active", Value::Gauge(self.active_listeners)));
        let control_plane = scope("control_plane.", "envoy_control_plane_");
        out.push(control_plane.sample("connected_state", Value::Gauge(u64::from(self.control_plane_connected))));
        for (name, left) in &self.certificates {
            // Istio's agent tells of them under this name.
            let own = Scope {
                stat: format!("cert.{name}."),
                family: Cow::Borrowed("istio_agent_cert_"),
                labels: vec![("resource_name".into(), name.clone())],
            };
            out.push(own.sample("expiry_seconds", Value::Gauge(*left)));
        }
    }
}
