//! `ServiceEntry`, `WorkloadEntry`, `WorkloadGroup` and `ProxyConfig`.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use super::Validation;
use super::common::{
    export_to, is_fqdn, is_label, is_network, is_partial_wildcard, is_wildcard_domain, label, port, selector_labels,
};
use crate::ObjectMeta;
use crate::istio::{Location, ProxyConfig, ReadinessProbe, Resolution, ServiceEntry, WorkloadEntry, WorkloadGroup};

pub(super) fn service_entry(meta: &ObjectMeta, spec: &ServiceEntry, v: &mut Validation) {
    if spec.hosts.is_empty() {
        v.error("spec.hosts", "a ServiceEntry needs at least one host");
    }
    for host in &spec.hosts {
        if host == "*" {
            v.error("spec.hosts", "`*` would mean every host");
        } else if !is_wildcard_domain(host) {
            v.error("spec.hosts", format!("`{host}` is not a host name or a wildcard"));
        } else if is_partial_wildcard(host) && spec.resolution != Resolution::DynamicDns {
            v.warn(
                "spec.hosts",
                format!("`{host}`: a wildcard for a part of a label matches no server name; write `*.`"),
            );
        }
    }
    let wildcard = spec.hosts.iter().any(|h| h.starts_with('*'));
    for address in spec.addresses.iter().filter(|a| !is_network(a)) {
        v.error("spec.addresses", format!("`{address}` is not an address or a network"));
    }
    if spec.addresses.iter().any(|a| a.contains('/'))
        && spec.resolution != Resolution::None
        && spec.resolution != Resolution::Static
    {
        v.error("spec.addresses", "networks go with resolution NONE or STATIC");
    }
    let names = ports(spec, v);
    match &spec.workload_selector {
        Some(selector) => {
            selector_labels(v, "spec.workloadSelector.labels", &selector.labels);
            if selector.labels.is_empty() {
                v.warn("spec.workloadSelector", "the selector is empty and selects nothing");
            }
            if !spec.endpoints.is_empty() {
                v.error("spec.endpoints", "only one of workloadSelector and endpoints can be set");
            }
            if spec.resolution == Resolution::None && !selector.labels.is_empty() {
                v.warn(
                    "spec.resolution",
                    "with NONE the selected workloads are not balanced over; STATIC is meant, most likely",
                );
            }
        }
        None => resolution(spec, wildcard, v),
    }
    endpoints(spec, &names, v);
    if spec.resolution == Resolution::Dns
        && spec.hosts.len() > 1
        && spec.addresses.len() == 1
        && spec.ports.iter().any(|p| {
            p.protocol.eq_ignore_ascii_case("https")
                || p.protocol.eq_ignore_ascii_case("tls")
                || p.protocol.eq_ignore_ascii_case("tcp")
        })
    {
        v.warn("spec.hosts", "several hosts share one address, so connections that are not HTTP cannot be told apart");
    }
    if spec.location == Location::MeshInternal
        && spec.resolution == Resolution::DynamicDns
        && meta.labels.contains_key("istio.io/use-waypoint")
    {
        v.error("spec.location", "DYNAMIC_DNS within the mesh cannot go through a waypoint");
    }
    export_to(v, &meta.namespace, &spec.export_to, true, false);
}

fn ports(spec: &ServiceEntry, v: &mut Validation) -> BTreeSet<String> {
    let (mut names, mut numbers) = (BTreeSet::new(), HashSet::new());
    for (i, p) in spec.ports.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        if p.name.is_empty() {
            v.error(format!("{path}.name"), "a port needs a name");
        } else if !names.insert(p.name.clone()) {
            v.error(format!("{path}.name"), format!("port name `{}` is there twice", p.name));
        }
        port(v, &format!("{path}.number"), p.number);
        if !numbers.insert(p.number) {
            v.error(format!("{path}.number"), format!("port {} is there twice", p.number));
        }
        if p.target_port != 0 {
            port(v, &format!("{path}.targetPort"), p.target_port);
        }
        let auto = p.protocol.is_empty();
        if auto && spec.addresses.is_empty() && spec.resolution == Resolution::None {
            v.warn(
                format!("{path}.protocol"),
                "without an address and a protocol the port takes traffic of other services too",
            );
        }
        if spec.resolution == Resolution::DynamicDns
            && !["HTTP", "HTTPS", "TLS", "HTTP2", "GRPC"].contains(&p.protocol.to_ascii_uppercase().as_str())
        {
            v.error(format!("{path}.protocol"), "DYNAMIC_DNS works for HTTP and TLS only");
        }
    }
    names
}

fn resolution(spec: &ServiceEntry, wildcard: bool, v: &mut Validation) {
    match spec.resolution {
        Resolution::None if !spec.endpoints.is_empty() => {
            v.error(
                "spec.endpoints",
                "with resolution NONE there are no endpoints: traffic goes where it was addressed",
            );
        }
        Resolution::Static if spec.endpoints.is_empty() => {
            v.warn("spec.endpoints", "resolution STATIC without endpoints: requests are answered with 503");
        }
        Resolution::Dns | Resolution::DnsRoundRobin if spec.endpoints.is_empty() && wildcard => {
            v.error("spec.hosts", "a wildcard cannot be resolved by DNS; give endpoints");
        }
        Resolution::DnsRoundRobin if spec.endpoints.len() > 1 => {
            v.error("spec.endpoints", "DNS_ROUND_ROBIN takes one address of one name: give one endpoint, or use DNS");
        }
        Resolution::DynamicDns => {
            if !spec.endpoints.is_empty() {
                v.error("spec.endpoints", "DYNAMIC_DNS resolves the host that is asked for; it has no endpoints");
            }
            if spec.hosts.iter().any(|h| !h.starts_with('*')) {
                v.error("spec.hosts", "DYNAMIC_DNS is for wildcard hosts; use DNS for others");
            }
            if !spec.addresses.is_empty() {
                v.error("spec.addresses", "DYNAMIC_DNS cannot have addresses of its own");
            }
        }
        _ => {}
    }
}

fn endpoints(spec: &ServiceEntry, names: &BTreeSet<String>, v: &mut Validation) {
    for (i, e) in spec.endpoints.iter().enumerate() {
        let path = format!("spec.endpoints[{i}]");
        let is_unix = e.address.starts_with("unix://");
        if is_unix {
            let absolute = e.address.strip_prefix("unix://").is_some_and(|p| p.starts_with('/') || p.starts_with('@'));
            if spec.resolution != Resolution::Static {
                v.error(format!("{path}.address"), "a unix socket needs resolution STATIC");
            }
            if !absolute {
                v.error(format!("{path}.address"), "the path of a unix socket is absolute");
            }
            if spec.ports.len() != 1 || !e.ports.is_empty() {
                v.error(&path, "an endpoint that is a unix socket serves exactly one port");
            }
        } else {
            let is_ip = e.address.parse::<IpAddr>().is_ok();
            if spec.resolution == Resolution::Static && !is_ip {
                v.error(
                    format!("{path}.address"),
                    format!("resolution STATIC needs addresses, `{}` is none", e.address),
                );
            } else if !is_ip && !is_fqdn(&e.address) {
                v.error(format!("{path}.address"), format!("`{}` is not an address or a host name", e.address));
            }
        }
        for (name, number) in &e.ports {
            if !names.contains(name) {
                v.error(format!("{path}.ports.{name}"), "the entry has no port of this name");
            }
            port(v, &format!("{path}.ports.{name}"), *number);
        }
        for (key, value) in &e.labels {
            label(v, &format!("{path}.labels"), key, value);
        }
    }
}

pub(super) fn workload_entry(_: &ObjectMeta, spec: &WorkloadEntry, v: &mut Validation) {
    if spec.address.is_empty() && spec.network.is_empty() {
        v.error("spec.address", "a workload needs an address, or a network whose gateway leads to it");
    }
    workload(v, "spec", spec);
}

/// What a WorkloadEntry and the template of a WorkloadGroup have in common.
fn workload(v: &mut Validation, path: &str, spec: &WorkloadEntry) {
    let address = format!("{path}.address");
    if let Some(socket) = spec.address.strip_prefix("unix://") {
        if !socket.starts_with('/') && !socket.starts_with('@') {
            v.error(&address, "the path of a unix socket is absolute, or abstract and begins with `@`");
        } else if socket.ends_with('/') {
            v.error(&address, "the path of a unix socket is not that of a directory");
        }
        if !spec.ports.is_empty() {
            v.error(format!("{path}.ports"), "a unix socket has no ports");
        }
    } else if !spec.address.is_empty() && spec.address.parse::<IpAddr>().is_err() && !is_fqdn(&spec.address) {
        v.error(address, format!("`{}` is not an address or a host name", spec.address));
    }
    for (name, number) in &spec.ports {
        if !is_label(name) {
            v.error(
                format!("{path}.ports"),
                format!("`{name}` is not the name of a port: letters, digits and hyphens"),
            );
        }
        port(v, &format!("{path}.ports.{name}"), *number);
    }
    for (key, value) in &spec.labels {
        label(v, &format!("{path}.labels"), key, value);
    }
}

pub(super) fn workload_group(_: &ObjectMeta, spec: &WorkloadGroup, v: &mut Validation) {
    match &spec.template {
        None => v.error("spec.template", "a group needs a template; `template: {}` is the least"),
        Some(template) => workload(v, "spec.template", template),
    }
    for (key, value) in spec.metadata.iter().flat_map(|m| &m.labels) {
        label(v, "spec.metadata.labels", key, value);
    }
    if let Some(probe) = &spec.probe {
        readiness(v, "spec.probe", probe);
    }
}

fn readiness(v: &mut Validation, path: &str, probe: &ReadinessProbe) {
    for (name, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        if value < 0 {
            v.error(format!("{path}.{name}"), format!("{value} is below zero"));
        }
    }
    let ways = [probe.http_get.is_some(), probe.tcp_socket.is_some(), probe.exec.is_some(), probe.grpc.is_some()];
    if ways.iter().filter(|w| **w).count() != 1 {
        v.error(path, "a probe has exactly one of httpGet, tcpSocket, exec and grpc");
    }
    if let Some(http) = &probe.http_get {
        port(v, &format!("{path}.httpGet.port"), http.port);
        if !["", "HTTP", "HTTPS"].contains(&http.scheme.as_str()) {
            v.error(format!("{path}.httpGet.scheme"), format!("`{}` is neither HTTP nor HTTPS", http.scheme));
        }
        let word =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        for (i, header) in http.http_headers.iter().enumerate().filter(|(_, h)| !word(&h.name)) {
            v.error(format!("{path}.httpGet.httpHeaders[{i}].name"), format!("`{}` is not a header name", header.name));
        }
    }
    if let Some(tcp) = &probe.tcp_socket {
        port(v, &format!("{path}.tcpSocket.port"), tcp.port);
    }
    if let Some(grpc) = &probe.grpc {
        port(v, &format!("{path}.grpc.port"), grpc.port);
    }
    if probe.exec.as_ref().is_some_and(|e| e.command.is_empty() || e.command.iter().any(String::is_empty)) {
        v.error(format!("{path}.exec.command"), "the command is missing");
    }
}

pub(super) fn proxy_config(_: &ObjectMeta, spec: &ProxyConfig, v: &mut Validation) {
    if let Some(selector) = &spec.selector {
        selector_labels(v, "spec.selector.matchLabels", &selector.match_labels);
        if selector.match_labels.is_empty() {
            v.warn(
                "spec.selector",
                "the selector is empty, so it selects no workload; leave it out to mean the namespace",
            );
        }
    }
    if spec.concurrency.is_some_and(|c| c < 0) {
        v.error("spec.concurrency", "the number of threads is not below zero; 0 means one for each core");
    }
    for name in spec.environment_variables.keys().filter(|n| n.is_empty() || n.contains(['=', '\0'])) {
        v.error("spec.environmentVariables", format!("`{name}` is not the name of a variable"));
    }
}
