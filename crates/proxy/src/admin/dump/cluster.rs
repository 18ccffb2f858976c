//! Clusters and endpoints.

use serde_json::{Value, json};
use varka_engine::ir::{
    Cluster, ClusterLoadAssignment, ClusterProtocol, Discovery, Endpoint, HealthStatus, LbPolicy, Locality,
    LocalityEndpoints, OutlierDetection, TransportSocketMatch,
};

use super::message::{Message, extension, socket_address};
use super::tls;

pub(super) fn cluster(c: &Cluster) -> Message {
    let message = Message::new().text("name", &c.name).text("alt_stat_name", &format!("{};", c.name));
    let message = balancing(c, discovery(c, message))
        .duration("connect_timeout", Some(c.connect_timeout))
        .message("circuit_breakers", Message::new().list("thresholds", [thresholds(c)]))
        .optional("outlier_detection", c.outlier.as_ref().map(outlier))
        .set("common_lb_config", common_lb(c))
        .message("typed_extension_protocol_options", Message::new().message(HTTP_OPTIONS, http_options(c)))
        .list("transport_socket_matches", c.transport_matches.iter().map(transport_match))
        .optional("transport_socket", c.tls.as_ref().map(tls::upstream));
    let message = match c.bind_source {
        Some(ip) => {
            message.set("upstream_bind_config", json!({"source_address": {"address": ip.to_string(), "port_value": 0}}))
        }
        None => message,
    };
    let keepalive = c.tcp_keepalive.map(|k| {
        let seconds = |d: Option<std::time::Duration>| d.map_or(Value::Null, |d| d.as_secs().into());
        Message::new()
            .set("keepalive_probes", k.probes.map_or(Value::Null, Value::from))
            .set("keepalive_time", seconds(k.time))
            .set("keepalive_interval", seconds(k.interval))
    });
    let services = c.services.iter().map(|(host, name, namespace)| {
        Message::new().text("host", host).text("name", name).text("namespace", namespace)
    });
    let istio = Message::new().list("services", services).value();
    message.optional("upstream_connection_options", keepalive.map(|k| Message::new().message("tcp_keepalive", k))).set(
        "metadata",
        if super::message::is_empty(&istio) { Value::Null } else { json!({"filter_metadata": {"istio": istio}}) },
    )
}

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

fn discovery(c: &Cluster, message: Message) -> Message {
    match &c.discovery {
        Discovery::Eds { service_name } => message.text("type", "EDS").set(
            "eds_cluster_config",
            json!({"eds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}, "service_name": service_name}),
        ),
        Discovery::Static(inline) => message.text("type", "STATIC").message("load_assignment", assignment(inline)),
        Discovery::Dns { assignment: inline, logical } => message
            .text("type", if *logical { "LOGICAL_DNS" } else { "STRICT_DNS" })
            .message("load_assignment", assignment(inline))
            .duration("dns_refresh_rate", c.dns_refresh),
        Discovery::DynamicForwardProxy => message.set(
            "cluster_type",
            extension(
                "envoy.clusters.dynamic_forward_proxy",
                "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
                Message::new().set("dns_cache_config", json!({"name": "dynamic_dns", "dns_lookup_family": "V4_PREFERRED"})),
            )
            .value(),
        ),
        Discovery::OriginalDst { use_http_header, port } => message.text("type", "ORIGINAL_DST").set(
            "original_dst_lb_config",
            Message::new()
                .flag("use_http_header", *use_http_header)
                .number("upstream_port_override", port.unwrap_or(0).into())
                .value(),
        ),
    }
}

fn balancing(c: &Cluster, message: Message) -> Message {
    let slow_start = c.slow_start.map(|s| {
        Message::new()
            .duration("slow_start_window", Some(s.window))
            .set("aggression", json!({"default_value": s.aggression}))
            .set("min_weight_percent", json!({"value": s.min_weight_percent}))
    });
    match c.lb {
        LbPolicy::RoundRobin => match slow_start {
            Some(s) => message.message("round_robin_lb_config", Message::new().message("slow_start_config", s)),
            None => message,
        },
        LbPolicy::LeastRequest { choices } => message.text("lb_policy", "LEAST_REQUEST").set(
            "least_request_lb_config",
            Message::new().number("choice_count", choices.into()).optional("slow_start_config", slow_start).value(),
        ),
        LbPolicy::Random => message.text("lb_policy", "RANDOM"),
        LbPolicy::RingHash { min_size } => message
            .text("lb_policy", "RING_HASH")
            .set("ring_hash_lb_config", json!({"minimum_ring_size": min_size.to_string()})),
        LbPolicy::Maglev { table_size } => {
            message.text("lb_policy", "MAGLEV").set("maglev_lb_config", json!({"table_size": table_size.to_string()}))
        }
        LbPolicy::ClusterProvided => message.text("lb_policy", "CLUSTER_PROVIDED"),
    }
}

fn thresholds(c: &Cluster) -> Message {
    let limits = &c.circuit_breakers;
    let budget = c.retry_budget.map(|(millionths, least)| {
        Message::new()
            .set("budget_percent", json!({"value": f64::from(millionths) / 10_000.0}))
            .number("min_retry_concurrency", least.into())
    });
    Message::new()
        .always("max_connections", limits.max_connections.into())
        .always("max_pending_requests", limits.max_pending_requests.into())
        .always("max_requests", limits.max_requests.into())
        .always("max_retries", limits.max_retries.into())
        .optional("retry_budget", budget)
}

fn outlier(o: &OutlierDetection) -> Message {
    Message::new()
        .always("consecutive_5xx", o.consecutive_5xx.into())
        .duration("interval", Some(o.interval))
        .duration("base_ejection_time", Some(o.base_ejection))
        .duration("max_ejection_time", Some(o.max_ejection))
        .always("max_ejection_percent", o.max_ejection_percent.into())
        .always("enforcing_consecutive_5xx", u32::from(o.consecutive_5xx > 0).wrapping_mul(100).into())
        .always("enforcing_success_rate", 0.into())
        .number("consecutive_gateway_failure", o.consecutive_gateway.into())
        .number("enforcing_consecutive_gateway_failure", if o.consecutive_gateway > 0 { 100 } else { 0 })
        .flag("split_external_local_origin_errors", o.split_local_origin)
        .number("consecutive_local_origin_failure", o.consecutive_local.into())
}

fn common_lb(c: &Cluster) -> Value {
    let message = Message::new().always("healthy_panic_threshold", json!({"value": c.panic_threshold}));
    if c.locality_weighted { message.message("locality_weighted_lb_config", Message::new()) } else { message }.value()
}

fn http_options(c: &Cluster) -> Message {
    let o = &c.http;
    let common = Message::new()
        .duration("idle_timeout", o.idle_timeout)
        .duration("max_connection_duration", o.max_connection_duration)
        .number("max_requests_per_connection", o.max_requests_per_connection.unwrap_or(0).into());
    let http2 = Message::new().number("max_concurrent_streams", o.max_concurrent_streams.unwrap_or(0).into());
    let pings =
        o.keepalive.map(|k| Message::new().duration("interval", Some(k.interval)).duration("timeout", Some(k.timeout)));
    let http2 = http2.optional("connection_keepalive", pings);
    let message = Message::typed(HTTP_OPTIONS).set("common_http_protocol_options", common.value());
    match o.protocol {
        ClusterProtocol::Http1 => message.set("explicit_http_config", json!({"http_protocol_options": {}})),
        ClusterProtocol::Http2 => {
            message.message("explicit_http_config", Message::new().message("http2_protocol_options", http2))
        }
        ClusterProtocol::Downstream => message.message(
            "use_downstream_protocol_config",
            Message::new().message("http_protocol_options", Message::new()).message("http2_protocol_options", http2),
        ),
    }
}

fn transport_match(m: &TransportSocketMatch) -> Message {
    let asked = Message::new().text("tlsMode", m.tls_mode.as_deref().unwrap_or_default());
    Message::new()
        .text("name", &m.name)
        .message("match", asked)
        .message("transport_socket", m.tls.as_ref().map_or_else(tls::raw, tls::upstream))
}

pub(super) fn assignment(a: &ClusterLoadAssignment) -> Message {
    Message::new().text("cluster_name", &a.cluster_name).list("endpoints", a.localities.iter().map(locality_endpoints))
}

fn locality_endpoints(l: &LocalityEndpoints) -> Message {
    let Locality { region, zone, sub_zone } = &l.locality;
    let locality = Message::new().text("region", region).text("zone", zone).text("sub_zone", sub_zone);
    Message::new()
        .set("locality", locality.value())
        .list("lb_endpoints", l.endpoints.iter().map(endpoint))
        .set("load_balancing_weight", l.weight.map_or(Value::Null, Value::from))
        .number("priority", l.priority.into())
}

fn endpoint(e: &Endpoint) -> Message {
    let address = match (&e.address, &e.host) {
        (Some(address), _) => socket_address(*address),
        (None, Some((host, port))) => json!({"socket_address": {"address": host, "port_value": port}}),
        (None, None) => Value::Null,
    };
    let inner = Message::new()
        .set("address", address)
        .text("hostname", e.address.and(e.host.as_ref()).map_or("", |(host, _)| host));
    let health = match e.health {
        HealthStatus::Unknown => "",
        HealthStatus::Healthy => "HEALTHY",
        HealthStatus::Unhealthy => "UNHEALTHY",
        HealthStatus::Draining => "DRAINING",
    };
    let tls_mode = Message::new().text("tlsMode", e.tls_mode.as_deref().unwrap_or_default()).value();
    let workload = Message::new().text("workload", e.workload.as_deref().unwrap_or_default()).value();
    let filters = Message::new().set("envoy.transport_socket_match", tls_mode).set("istio", workload).value();
    Message::new()
        .message("endpoint", inner)
        .text("health_status", health)
        .set("metadata", Message::new().set("filter_metadata", filters).value())
        .always("load_balancing_weight", e.weight.into())
}
