//! Connection pools, load balancing, outlier detection.

use std::time::Duration;

use varka_api::istio::{
    ConnectionPool, ConsistentHash, H2UpgradePolicy, LoadBalancer, OutlierDetection as ApiOutlier,
    ProxyProtocolVersion, SimpleLb, TrafficPolicy,
};
use varka_engine::ir::{
    Cluster, ClusterProtocol, Discovery, Http2Keepalive, LbPolicy, OutlierDetection, SlowStart, TcpKeepalive,
};

use crate::context::Ctx;
use crate::registry::{Port, Protocol};
use crate::route::parts_per_million;

/// Applies all but TLS.
pub(super) fn apply(ctx: &Ctx<'_>, cluster: &mut Cluster, policy: &TrafficPolicy, port: &Port) {
    let none = ConnectionPool::default();
    let pool = policy.connection_pool.as_ref().unwrap_or(&none);
    match pool.http.as_ref().map(|h| h.h2_upgrade_policy) {
        Some(H2UpgradePolicy::Upgrade) if port.protocol.is_http() || port.protocol == Protocol::Auto => {
            cluster.http.protocol = ClusterProtocol::Http2;
        }
        _ => {}
    }
    connection_pool(ctx, cluster, pool);
    if let Some(budget) = &policy.retry_budget {
        let share = budget.percent.map_or(20.0, varka_api::istio::Percentage::value);
        let least = if budget.min_retry_concurrency > 0 { budget.min_retry_concurrency } else { 3 };
        cluster.retry_budget = Some((parts_per_million(share), least));
    }
    cluster.proxy_protocol = policy.proxy_protocol.as_ref().map(|p| match p.version {
        ProxyProtocolVersion::V1 => 1,
        ProxyProtocolVersion::V2 => 2,
    });
    if let Some(outlier) = &policy.outlier_detection {
        cluster.outlier = Some(outlier_detection(outlier));
        cluster.panic_threshold = u8::try_from(outlier.min_health_percent.clamp(0, 100)).unwrap_or(0);
    }
    load_balancer(ctx, cluster, policy.load_balancer.as_ref());
    if matches!(cluster.discovery, Discovery::OriginalDst { .. } | Discovery::DynamicForwardProxy) {
        cluster.lb = LbPolicy::ClusterProvided;
    }
}

/// Limits, which hold on both sides of a connection.
pub(super) fn connection_pool(ctx: &Ctx<'_>, cluster: &mut Cluster, pool: &ConnectionPool) {
    if let Some(timeout) = ctx.mesh().connect_timeout {
        cluster.connect_timeout = timeout.to_std();
    }
    let positive = |n: i32| u32::try_from(n).ok().filter(|n| *n > 0);
    let mut idle = None;
    if let Some(http) = &pool.http {
        let limits = &mut cluster.circuit_breakers;
        limits.max_requests = positive(http.http2_max_requests).unwrap_or(limits.max_requests);
        limits.max_pending_requests = positive(http.http1_max_pending_requests).unwrap_or(limits.max_pending_requests);
        limits.max_retries = positive(http.max_retries).unwrap_or(limits.max_retries);
        idle = http.idle_timeout;
        cluster.http.max_requests_per_connection = positive(http.max_requests_per_connection);
        cluster.http.max_concurrent_streams = positive(http.max_concurrent_streams);
        // Where the client chooses the protocol Istio sends none.
        let pings = http.http2_keep_alive.as_ref().filter(|_| cluster.http.protocol == ClusterProtocol::Http2);
        cluster.http.keepalive =
            pings.and_then(|k| Some(Http2Keepalive { interval: k.interval?.to_std(), timeout: k.timeout?.to_std() }));
        if http.use_client_protocol {
            cluster.http.protocol = ClusterProtocol::Downstream;
        }
    }
    let mut keepalive = ctx.mesh().tcp_keepalive.clone();
    if let Some(tcp) = &pool.tcp {
        if let Some(timeout) = tcp.connect_timeout {
            cluster.connect_timeout = timeout.to_std();
        }
        let limits = &mut cluster.circuit_breakers;
        limits.max_connections = positive(tcp.max_connections).unwrap_or(limits.max_connections);
        cluster.http.max_connection_duration = tcp.max_connection_duration.map(|d| d.to_std());
        idle = idle.or(tcp.idle_timeout);
        keepalive = tcp.tcp_keepalive.clone().or(keepalive);
    }
    cluster.http.idle_timeout = idle.map(|d| d.to_std());
    cluster.tcp_keepalive = keepalive.map(|k| TcpKeepalive {
        probes: (k.probes > 0).then_some(k.probes),
        time: k.time.map(|d| d.to_std()),
        interval: k.interval.map(|d| d.to_std()),
    });
}

fn outlier_detection(o: &ApiOutlier) -> OutlierDetection {
    let base = o.base_ejection_time.map_or(Duration::from_secs(30), |d| d.to_std());
    OutlierDetection {
        consecutive_5xx: o.consecutive_5xx_errors.unwrap_or(5),
        consecutive_gateway: o.consecutive_gateway_errors.unwrap_or(0),
        split_local_origin: o.split_external_local_origin_errors,
        consecutive_local: if o.split_external_local_origin_errors {
            o.consecutive_local_origin_failures.unwrap_or(5)
        } else {
            0
        },
        interval: o.interval.map_or(Duration::from_secs(10), |d| d.to_std()),
        base_ejection: base,
        // Envoy's limit, unless the base is longer.
        max_ejection: Duration::from_secs(300).max(base),
        max_ejection_percent: u32::try_from(o.max_ejection_percent).ok().filter(|p| *p > 0).unwrap_or(10),
    }
}

fn load_balancer(ctx: &Ctx<'_>, cluster: &mut Cluster, settings: Option<&LoadBalancer>) {
    let locality = settings.and_then(|l| l.locality_lb_setting.as_ref()).or(ctx.mesh().locality_lb_setting.as_ref());
    cluster.locality_weighted = locality.is_some_and(|l| l.enabled != Some(false) && !l.distribute.is_empty());
    let Some(settings) = settings else { return };
    cluster.lb = match settings.simple {
        Some(SimpleLb::RoundRobin) => LbPolicy::RoundRobin,
        Some(SimpleLb::Random) => LbPolicy::Random,
        Some(SimpleLb::Passthrough) => LbPolicy::ClusterProvided,
        Some(SimpleLb::LeastConn | SimpleLb::LeastRequest | SimpleLb::Unspecified) | None => {
            LbPolicy::LeastRequest { choices: 2 }
        }
    };
    if let Some(hash) = &settings.consistent_hash {
        cluster.lb = hash_policy(hash);
    }
    let warmup = settings.warmup.as_ref();
    let window = warmup.and_then(|w| w.duration).or(settings.warmup_duration_secs);
    cluster.slow_start = window.map(|window| SlowStart {
        window: window.to_std(),
        aggression: warmup.and_then(|w| w.aggression).unwrap_or(1.0),
        min_weight_percent: warmup.and_then(|w| w.minimum_percent).unwrap_or(10.0),
    });
}

fn hash_policy(hash: &ConsistentHash) -> LbPolicy {
    if let Some(maglev) = &hash.maglev {
        let table_size = if maglev.table_size > 0 { maglev.table_size } else { 65_537 };
        return LbPolicy::Maglev { table_size };
    }
    let ring = hash.ring_hash.as_ref().map_or(hash.minimum_ring_size, |r| r.minimum_ring_size);
    LbPolicy::RingHash { min_size: if ring > 0 { ring } else { 1024 } }
}
