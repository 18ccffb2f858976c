//! `DestinationRule` and the traffic policies that it is made of.

use std::collections::HashSet;

use super::Validation;
use super::common::{
    duration, duration_or_zero, export_to, is_label, is_wildcard_domain, label, percent, port, selector_labels,
};
use crate::ObjectMeta;
use crate::istio::{
    ClientTlsMode, ClientTlsSettings, ConnectionPool, DestinationRule, LoadBalancer, LocalityLb, OutlierDetection,
    TrafficPolicy,
};

pub(super) fn check(meta: &ObjectMeta, spec: &DestinationRule, v: &mut Validation) {
    if !is_wildcard_domain(&spec.host) {
        v.error("spec.host", format!("`{}` is not a host name or a wildcard", spec.host));
    }
    if let Some(policy) = &spec.traffic_policy {
        traffic_policy(v, "spec.trafficPolicy", policy);
    }
    let mut names = HashSet::new();
    for (i, subset) in spec.subsets.iter().enumerate() {
        let path = format!("spec.subsets[{i}]");
        if !is_label(&subset.name) {
            v.error(format!("{path}.name"), format!("`{}` is not a subset name", subset.name));
        }
        if !names.insert(&subset.name) {
            v.error(format!("{path}.name"), format!("subset `{}` is there twice", subset.name));
        }
        for (key, value) in &subset.labels {
            if key.is_empty() {
                v.error(format!("{path}.labels"), "a label needs a key");
            }
            label(v, &format!("{path}.labels"), key, value);
        }
        if let Some(policy) = &subset.traffic_policy {
            traffic_policy(v, &format!("{path}.trafficPolicy"), policy);
        }
    }
    if let Some(selector) = &spec.workload_selector {
        selector_labels(v, "spec.workloadSelector.matchLabels", &selector.match_labels);
    }
    export_to(v, &meta.namespace, &spec.export_to, false, spec.workload_selector.is_some());
}

fn traffic_policy(v: &mut Validation, path: &str, p: &TrafficPolicy) {
    let parts = p.load_balancer.is_some()
        || p.connection_pool.is_some()
        || p.outlier_detection.is_some()
        || p.tls.is_some()
        || p.tunnel.is_some()
        || p.proxy_protocol.is_some()
        || p.retry_budget.is_some();
    if !parts && p.port_level_settings.is_empty() {
        v.error(path, "the policy says nothing");
    }
    pool(v, &format!("{path}.connectionPool"), p.connection_pool.as_ref());
    outlier(v, &format!("{path}.outlierDetection"), p.outlier_detection.as_ref());
    load_balancer(v, &format!("{path}.loadBalancer"), p.load_balancer.as_ref());
    tls(v, &format!("{path}.tls"), p.tls.as_ref());
    let mut ports = HashSet::new();
    for (i, level) in p.port_level_settings.iter().enumerate() {
        let path = format!("{path}.portLevelSettings[{i}]");
        match &level.port {
            None => v.error(format!("{path}.port"), "settings of a port need the port's number"),
            Some(n) => {
                port(v, &format!("{path}.port.number"), n.number);
                if !ports.insert(n.number) {
                    v.error(format!("{path}.port"), format!("port {} is there twice", n.number));
                }
            }
        }
        pool(v, &format!("{path}.connectionPool"), level.connection_pool.as_ref());
        outlier(v, &format!("{path}.outlierDetection"), level.outlier_detection.as_ref());
        load_balancer(v, &format!("{path}.loadBalancer"), level.load_balancer.as_ref());
        tls(v, &format!("{path}.tls"), level.tls.as_ref());
    }
    if let Some(t) = &p.tunnel {
        if !["", "CONNECT", "POST"].contains(&t.protocol.as_str()) {
            v.error(format!("{path}.tunnel.protocol"), "a tunnel speaks CONNECT or POST");
        }
        if t.target_host.is_empty() {
            v.error(format!("{path}.tunnel.targetHost"), "the tunnel has no target");
        }
        port(v, &format!("{path}.tunnel.targetPort"), t.target_port);
    }
    if p.retry_budget.as_ref().and_then(|b| b.percent).is_some_and(|p| !(0.0..=100.0).contains(&p.value())) {
        v.error(format!("{path}.retryBudget.percent"), "a percentage is from 0 to 100");
    }
}

/// Limits; none of them may be negative.
pub(super) fn pool(v: &mut Validation, path: &str, pool: Option<&ConnectionPool>) {
    let Some(pool) = pool else { return };
    if pool.tcp.is_none() && pool.http.is_none() {
        v.error(path, "the pool has neither tcp nor http settings");
    }
    if let Some(http) = &pool.http {
        for (name, value) in [
            ("http1MaxPendingRequests", http.http1_max_pending_requests),
            ("http2MaxRequests", http.http2_max_requests),
            ("maxRequestsPerConnection", http.max_requests_per_connection),
            ("maxRetries", http.max_retries),
            ("maxConcurrentStreams", http.max_concurrent_streams),
        ] {
            if value < 0 {
                v.error(format!("{path}.http.{name}"), "a limit cannot be negative");
            }
        }
        duration_or_zero(v, &format!("{path}.http.idleTimeout"), http.idle_timeout);
        if let Some(pings) = &http.http2_keep_alive {
            for (name, value) in [("interval", pings.interval), ("timeout", pings.timeout)] {
                let path = format!("{path}.http.http2KeepAlive.{name}");
                if value.is_none() {
                    v.error(&path, "pings need an interval and a timeout");
                }
                duration(v, &path, value);
            }
        }
        if http.use_client_protocol && http.h2_upgrade_policy == crate::istio::H2UpgradePolicy::Upgrade {
            v.error(format!("{path}.http"), "useClientProtocol and h2UpgradePolicy UPGRADE contradict each other");
        }
    }
    if let Some(tcp) = &pool.tcp {
        if tcp.max_connections < 0 {
            v.error(format!("{path}.tcp.maxConnections"), "a limit cannot be negative");
        }
        duration(v, &format!("{path}.tcp.connectTimeout"), tcp.connect_timeout);
        duration(v, &format!("{path}.tcp.maxConnectionDuration"), tcp.max_connection_duration);
        duration_or_zero(v, &format!("{path}.tcp.idleTimeout"), tcp.idle_timeout);
    }
}

fn outlier(v: &mut Validation, path: &str, o: Option<&OutlierDetection>) {
    let Some(o) = o else { return };
    if o.consecutive_errors != 0 {
        v.warn(
            format!("{path}.consecutiveErrors"),
            "it is deprecated and has no effect; use consecutiveGatewayErrors or consecutive5xxErrors",
        );
    }
    if !o.split_external_local_origin_errors && o.consecutive_local_origin_failures.is_some_and(|n| n > 0) {
        v.error(format!("{path}.consecutiveLocalOriginFailures"), "it only works with splitExternalLocalOriginErrors");
    }
    duration(v, &format!("{path}.interval"), o.interval);
    duration(v, &format!("{path}.baseEjectionTime"), o.base_ejection_time);
    percent(v, &format!("{path}.maxEjectionPercent"), o.max_ejection_percent.into());
    percent(v, &format!("{path}.minHealthPercent"), o.min_health_percent.into());
}

fn load_balancer(v: &mut Validation, path: &str, l: Option<&LoadBalancer>) {
    let Some(l) = l else { return };
    if let Some(hash) = &l.consistent_hash {
        let path = format!("{path}.consistentHash");
        if let Some(cookie) = &hash.http_cookie
            && cookie.name.is_empty()
        {
            v.error(format!("{path}.httpCookie.name"), "the cookie has no name");
        }
        let mut attributes = HashSet::new();
        for attribute in hash.http_cookie.iter().flat_map(|c| &c.attributes) {
            if attribute.name.is_empty() || !attributes.insert(&attribute.name) {
                v.error(format!("{path}.httpCookie.attributes"), "an attribute needs a name of its own");
            }
        }
        let keys = [
            hash.http_header_name.is_some(),
            hash.http_cookie.is_some(),
            hash.use_source_ip.is_some(),
            hash.http_query_parameter_name.is_some(),
        ];
        if !keys.contains(&true) {
            v.error(&path, "a hash needs a key: a header, a cookie, the source address or a query parameter");
        }
        if hash.ring_hash.is_some() && hash.maglev.is_some() {
            v.error(&path, "only one of ringHash and maglev can be set");
        }
    }
    if l.simple.is_some() && l.consistent_hash.is_some() {
        v.error(path, "only one of simple and consistentHash can be set");
    }
    duration(v, &format!("{path}.warmupDurationSecs"), l.warmup_duration_secs);
    if let Some(warmup) = &l.warmup {
        if warmup.duration.is_none() {
            v.error(format!("{path}.warmup.duration"), "a warm-up needs a duration");
        }
        duration(v, &format!("{path}.warmup.duration"), warmup.duration);
        if warmup.minimum_percent.is_some_and(|p| !(0.0..=100.0).contains(&p)) {
            v.error(format!("{path}.warmup.minimumPercent"), "a percentage is from 0 to 100");
        }
        if warmup.aggression.is_some_and(|a| a < 1.0) {
            v.error(format!("{path}.warmup.aggression"), "the aggression is at least 1");
        }
    }
    if l.locality_lb_setting.is_some() && l.zone_aware_lb_setting.is_some() {
        v.error(path, "only one of localityLbSetting and zoneAwareLbSetting can be set");
    }
    if let Some(locality) = &l.locality_lb_setting {
        localities(v, &format!("{path}.localityLbSetting"), locality);
    }
}

fn localities(v: &mut Validation, path: &str, l: &LocalityLb) {
    if !l.distribute.is_empty() && !l.failover.is_empty() {
        v.error(path, "only one of distribute and failover can be set");
    }
    let mut seen = HashSet::new();
    for d in &l.distribute {
        if !seen.insert(&d.from) {
            v.error(format!("{path}.distribute"), format!("`{}` is there twice", d.from));
        }
        let sum: u64 = d.to.values().map(|w| u64::from(*w)).sum();
        if sum != 100 {
            v.error(format!("{path}.distribute"), format!("the shares of `{}` sum to {sum}, not 100", d.from));
        }
        if d.to.values().any(|w| *w == 0) {
            v.error(format!("{path}.distribute"), "a share is at least 1");
        }
    }
    for f in &l.failover {
        if f.from == f.to {
            v.error(format!("{path}.failover"), "a region cannot fail over to itself");
        }
        if f.from.contains('/') || f.to.contains('/') || f.from.contains('*') || f.to.contains('*') {
            v.error(format!("{path}.failover"), "failover is between regions, not zones");
        }
    }
}

fn tls(v: &mut Validation, path: &str, t: Option<&ClientTlsSettings>) {
    let Some(t) = t else { return };
    let no_files = t.client_certificate.is_empty() && t.private_key.is_empty() && t.ca_certificates.is_empty();
    match t.mode {
        ClientTlsMode::Mutual
            if t.credential_name.is_empty() && (t.client_certificate.is_empty() || t.private_key.is_empty()) =>
        {
            v.error(path, "MUTUAL needs a client certificate and a private key, or a credentialName");
        }
        ClientTlsMode::Mutual if !t.credential_name.is_empty() && !no_files => {
            v.error(path, "a credentialName takes the place of certificate files")
        }
        ClientTlsMode::Simple if !t.credential_name.is_empty() && !no_files => {
            v.error(path, "a credentialName takes the place of certificate files");
        }
        ClientTlsMode::IstioMutual if !no_files || !t.credential_name.is_empty() => {
            v.error(path, "ISTIO_MUTUAL uses the mesh's certificate; no other can be given");
        }
        _ => {}
    }
    if t.insecure_skip_verify == Some(true) {
        let anchors =
            !t.ca_certificates.is_empty() || (t.mode == ClientTlsMode::Simple && !t.credential_name.is_empty());
        if anchors {
            v.error(format!("{path}.insecureSkipVerify"), "trust anchors are given but would not be used");
        }
        if !t.subject_alt_names.is_empty() {
            v.error(format!("{path}.subjectAltNames"), "names cannot be verified with insecureSkipVerify");
        }
    }
}
