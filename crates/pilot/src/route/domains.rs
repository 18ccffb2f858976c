//! Every Host header that means a service, seen from a client's namespace.

use std::collections::HashSet;

use varka_engine::ir::Str;

use crate::ProxyKey;
use crate::context::s;
use crate::registry::{Resolution, Service};

/// Domains of a service's virtual host; second: those that are short forms.
pub(super) fn of_service(service: &Service, proxy: &ProxyKey) -> (Vec<Str>, HashSet<Str>) {
    let mut domains: Vec<Str> = Vec::new();
    let mut short = HashSet::new();
    for name in std::iter::once(&service.host).chain(&service.aliases) {
        let alternatives = alternative_names(name, &proxy.dns_domain);
        domains.push(name.clone());
        domains.extend(alternatives.iter().cloned());
        short.extend(alternatives);
    }
    if service.resolution == Resolution::Passthrough && service.is_kubernetes() {
        // Pods of a headless service have names below the service's.
        let below: Vec<Str> = domains.iter().map(|d| s(format!("*.{d}"))).collect();
        domains.extend(below);
    }
    for address in service.addresses.iter().filter(|a| !a.contains('/')) {
        domains.push(if address.contains(':') { s(format!("[{address}]")) } else { address.clone() });
    }
    (domains, short)
}

/// Other forms of a host: with a final dot, and without the parts that the client's own domain supplies.
pub(crate) fn alternative_names(host: &str, dns_domain: &str) -> Vec<Str> {
    let mut names = Vec::new();
    if host.parse::<std::net::IpAddr>().is_err() {
        names.push(s(format!("{host}.")));
    }
    let Some((own_namespace, suffix)) = dns_domain.split_once(".svc.") else {
        names.extend(shared_forms(host, dns_domain));
        return names;
    };
    let Some(rest) = host.strip_suffix(suffix).and_then(|h| h.strip_suffix(".svc.")) else { return names };
    let Some((name, namespace)) = rest.split_once('.') else { return names };
    if namespace == own_namespace {
        names.push(s(name));
    }
    names.push(s(format!("{rest}.svc")));
    names.push(s(rest));
    names
}

/// Outside Kubernetes: what is left of a host without the labels that it shares with the client's domain.
fn shared_forms(host: &str, dns_domain: &str) -> Vec<Str> {
    let host_labels: Vec<&str> = host.split('.').collect();
    let own_labels: Vec<&str> = dns_domain.split('.').collect();
    let shared = host_labels.iter().rev().zip(own_labels.iter().rev()).take_while(|(a, b)| a == b).count();
    if shared == 0 || shared >= host_labels.len() {
        return Vec::new();
    }
    let unique = host_labels.get(..host_labels.len() - shared).unwrap_or_default();
    let mut names = vec![s(unique.join("."))];
    if unique.len() == 2
        && let Some(next) = host_labels.get(unique.len())
    {
        names.push(s(format!("{}.{next}", unique.join("."))));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_depend_on_the_clients_namespace() {
        let names = |host, domain| alternative_names(host, domain).iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let host = "was.blog.svc.cluster.local";
        assert_eq!(
            names(host, "blog.svc.cluster.local"),
            ["was.blog.svc.cluster.local.", "was", "was.blog.svc", "was.blog"]
        );
        assert_eq!(names(host, "other.svc.cluster.local"), ["was.blog.svc.cluster.local.", "was.blog.svc", "was.blog"]);
        assert_eq!(names("example.com", "blog.svc.cluster.local"), ["example.com."]);
        assert_eq!(names("10.0.0.1", "blog.svc.cluster.local"), Vec::<String>::new());
        assert_eq!(names("foo.local.campus.net", "local.campus.net"), ["foo.local.campus.net.", "foo"]);
    }
}
