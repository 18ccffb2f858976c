//! `Sidecar`.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use super::Validation;
use super::common::{is_label, is_partial_wildcard, is_wildcard_domain, selector_labels};
use super::destination_rule::pool;
use super::edge::{server_port, server_tls};
use super::http_route::destination;
use crate::ObjectMeta;
use crate::istio::{CaptureMode, EgressListener, GatewayTlsMode, IngressListener, OutboundTrafficPolicyMode, Sidecar};

pub(super) fn check(_: &ObjectMeta, spec: &Sidecar, v: &mut Validation) {
    if let Some(selector) = &spec.workload_selector {
        selector_labels(v, "spec.workloadSelector.labels", &selector.labels);
        if selector.labels.is_empty() {
            v.warn("spec.workloadSelector", "the selector is empty, so it is for the whole namespace");
        }
    }
    if spec.ingress.is_empty()
        && spec.egress.is_empty()
        && spec.outbound_traffic_policy.is_none()
        && spec.inbound_connection_pool.is_none()
    {
        v.error(
            "spec",
            "the Sidecar says nothing: give ingress, egress, outboundTrafficPolicy or inboundConnectionPool",
        );
    }
    let mut ports = HashSet::new();
    for (i, listener) in spec.ingress.iter().enumerate() {
        let path = format!("spec.ingress[{i}]");
        ingress(v, &path, listener);
        if let Some(p) = &listener.port
            && !ports.insert(p.number)
        {
            v.error(format!("{path}.port"), format!("port {} is there twice", p.number));
        }
    }
    pool(v, "spec.inboundConnectionPool", spec.inbound_connection_pool.as_ref());
    let mut binds = HashSet::new();
    let mut catch_all = false;
    for (i, listener) in spec.egress.iter().enumerate() {
        let path = format!("spec.egress[{i}]");
        egress(v, &path, listener, i + 1 == spec.egress.len());
        match &listener.port {
            None if catch_all => v.error(&path, "only one egress listener can be without a port"),
            None => catch_all = true,
            Some(p) => {
                if !binds.insert((listener.bind.clone(), p.number)) {
                    v.error(format!("{path}.port"), format!("port {} is there twice", p.number));
                }
            }
        }
    }
    if let Some(policy) = &spec.outbound_traffic_policy
        && let Some(proxy) = &policy.egress_proxy
    {
        if policy.mode != OutboundTrafficPolicyMode::AllowAny {
            v.error("spec.outboundTrafficPolicy", "an egress proxy goes with mode ALLOW_ANY");
        }
        if proxy.port.is_none() {
            v.error("spec.outboundTrafficPolicy.egressProxy.port", "the egress proxy needs a port");
        }
        destination(v, "spec.outboundTrafficPolicy.egressProxy", Some(proxy));
    }
}

fn ingress(v: &mut Validation, path: &str, l: &IngressListener) {
    match &l.port {
        None => v.error(format!("{path}.port"), "an ingress listener needs a port"),
        Some(p) => server_port(v, &format!("{path}.port"), p, false, true),
    }
    if !l.bind.is_empty() && l.bind.parse::<IpAddr>().is_err() {
        v.error(format!("{path}.bind"), format!("`{}` is not an address", l.bind));
    }
    if !l.default_endpoint.is_empty() {
        endpoint(v, &format!("{path}.defaultEndpoint"), &l.default_endpoint);
    }
    pool(v, &format!("{path}.connectionPool"), l.connection_pool.as_ref());
    if let Some(tls) = &l.tls {
        let path = format!("{path}.tls");
        server_tls(v, &path, tls);
        if !matches!(tls.mode, GatewayTlsMode::Simple | GatewayTlsMode::Mutual | GatewayTlsMode::OptionalMutual) {
            v.error(format!("{path}.mode"), "a sidecar terminates TLS of mode SIMPLE, MUTUAL or OPTIONAL_MUTUAL");
        }
        let protocol = l.port.as_ref().map(|p| p.protocol.to_ascii_uppercase()).unwrap_or_default();
        if !matches!(protocol.as_str(), "HTTPS" | "TLS") {
            v.error(&path, format!("a listener of protocol {protocol} cannot have TLS settings"));
        }
        if tls.https_redirect
            || !tls.credential_name.is_empty()
            || !tls.credential_names.is_empty()
            || !tls.tls_certificates.is_empty()
        {
            v.error(&path, "a sidecar takes certificate files only, without a redirect");
        }
    }
}

/// `127.0.0.1:PORT`, `0.0.0.0:PORT`, `[::1]:PORT`, `[::]:PORT` or `unix://PATH`.
fn endpoint(v: &mut Validation, path: &str, text: &str) {
    if let Some(socket) = text.strip_prefix("unix://") {
        if !socket.starts_with('/') && !socket.starts_with('@') {
            v.error(path, "the path of a unix socket is absolute");
        }
        return;
    }
    match text.parse::<SocketAddr>() {
        Err(_) => v.error(path, format!("`{text}` is not ADDRESS:PORT")),
        Ok(address) if address.port() == 0 => v.error(path, "the port is missing"),
        Ok(address) => {
            let ip = address.ip();
            if !(ip.is_loopback() || ip.is_unspecified()) {
                v.error(
                    path,
                    "the endpoint is on the workload itself: 127.0.0.1, [::1], or 0.0.0.0 for its own address",
                );
            }
        }
    }
}

fn egress(v: &mut Validation, path: &str, l: &EgressListener, is_last: bool) {
    let is_unix = l.bind.starts_with("unix://");
    match &l.port {
        None => {
            if !is_last {
                v.error(path, "the egress listener without a port must be the last one");
            }
            if !l.bind.is_empty() && !is_unix {
                v.error(format!("{path}.bind"), "an address goes with a port");
            }
        }
        Some(p) => {
            if !p.protocol.eq_ignore_ascii_case("http_proxy") {
                server_port(v, &format!("{path}.port"), p, is_unix, true);
            }
            if is_unix && l.capture_mode == CaptureMode::Iptables {
                v.error(format!("{path}.captureMode"), "a unix socket cannot be captured");
            }
        }
    }
    if !l.bind.is_empty() && !is_unix && l.bind.parse::<IpAddr>().is_err() {
        v.error(format!("{path}.bind"), format!("`{}` is not an address", l.bind));
    }
    if l.hosts.is_empty() {
        v.error(format!("{path}.hosts"), "an egress listener needs at least one host");
    }
    let mut seen = HashSet::new();
    for host in &l.hosts {
        let Some((namespace, name)) = host.split_once('/') else {
            v.error(format!("{path}.hosts"), format!("`{host}` is not NAMESPACE/HOST"));
            continue;
        };
        if !seen.insert(host) {
            v.error(format!("{path}.hosts"), format!("`{host}` is there twice"));
        }
        let plain = namespace.strip_prefix('~').unwrap_or(namespace);
        if !["*", ".", ""].contains(&plain) && !is_label(plain) {
            v.error(format!("{path}.hosts"), format!("the namespace of `{host}` is not a name"));
        }
        if plain.is_empty() && !namespace.starts_with('~') {
            v.error(format!("{path}.hosts"), format!("`{host}` has no namespace"));
        }
        if is_partial_wildcard(name) || !is_wildcard_domain(name) {
            v.error(format!("{path}.hosts"), format!("the host of `{host}` is not a name or a wildcard"));
        }
    }
}
