//! `ServiceEntry` and `WorkloadEntry`.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use super::Validation;
use super::common::{export_to, is_fqdn, is_network, is_wildcard_domain, label, port, selector_labels};
use crate::ObjectMeta;
use crate::istio::{Location, Resolution, ServiceEntry, WorkloadEntry};

pub(super) fn service_entry(meta: &ObjectMeta, spec: &ServiceEntry, v: &mut Validation) {
    if spec.hosts.is_empty() {
        v.error("spec.hosts", "a ServiceEntry needs at least one host");
    }
    for host in &spec.hosts {
        if host == "*" {
            v.error("spec.hosts", "`*` would mean every host");
        } else if !is_wildcard_domain(host) {
            v.error("spec.hosts", format!("`{host}` is not a host name or a wildcard"));
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
        Resolution::DynamicDns => {
            if !spec.endpoints.is_empty() {
                v.error("spec.endpoints", "DYNAMIC_DNS resolves the host that is asked for; it has no endpoints");
            }
            if spec.hosts.iter().any(|h| !h.starts_with('*')) {
                v.error("spec.hosts", "DYNAMIC_DNS is for wildcard hosts; use DNS");
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
    if spec.address.is_empty() {
        if spec.network.is_empty() {
            v.error("spec.address", "a workload needs an address, or a network whose gateway leads to it");
        }
    } else if spec.address.starts_with("unix://") {
        if !spec.ports.is_empty() {
            v.error("spec.ports", "a unix socket has no ports");
        }
    } else if spec.address.parse::<IpAddr>().is_err() && !is_fqdn(&spec.address) {
        v.error("spec.address", format!("`{}` is not an address or a host name", spec.address));
    }
    for (name, number) in &spec.ports {
        port(v, &format!("spec.ports.{name}"), *number);
    }
    for (key, value) in &spec.labels {
        label(v, "spec.labels", key, value);
    }
}
