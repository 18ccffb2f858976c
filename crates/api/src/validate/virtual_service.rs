//! `VirtualService`.

use std::net::IpAddr;

use super::Validation;
use super::common::{export_to, is_label, is_network, is_wildcard_domain, port};
use super::http_route::{self, destination, weight};
use crate::ObjectMeta;
use crate::istio::{HttpMatch, StringMatch, VirtualService, WeightedDestination};

pub(super) fn check(meta: &ObjectMeta, spec: &VirtualService, v: &mut Validation) {
    let is_delegate = spec.hosts.is_empty();
    let is_mesh = spec.gateways.is_empty() || spec.gateways.iter().any(|g| g == "mesh");
    if is_delegate {
        if !spec.tcp.is_empty() || !spec.tls.is_empty() {
            v.error("spec.hosts", "a VirtualService without hosts is a delegate, which has HTTP rules only");
        }
        if !spec.gateways.is_empty() {
            v.error(
                "spec.gateways",
                "a delegate has the gateways of the VirtualService that delegates to it; leave them out",
            );
        }
    }
    for (i, gateway) in spec.gateways.iter().enumerate() {
        let ok = match gateway.split_once('/') {
            Some((namespace, name)) => is_label(namespace) && is_name(name),
            None => is_name(gateway),
        };
        if !ok {
            v.error(
                format!("spec.gateways[{i}]"),
                format!("`{gateway}` is not a gateway: write NAME or NAMESPACE/NAME"),
            );
        }
    }
    hosts(spec, is_mesh && !is_delegate, v);
    if spec.http.is_empty() && spec.tcp.is_empty() && spec.tls.is_empty() {
        v.error("spec", "it has no rules: give http, tcp or tls");
    }
    for (i, route) in spec.http.iter().enumerate() {
        let path = format!("spec.http[{i}]");
        http_route::check(v, &path, route, is_delegate);
        if is_mesh
            && route
                .r#match
                .iter()
                .any(|m| m.headers.keys().chain(m.without_headers.keys()).any(|k| k.starts_with("@request.auth.")))
        {
            v.error(path, "routing by token claims works on gateways only");
        }
    }
    unreachable(spec, v);
    for (i, route) in spec.tls.iter().enumerate() {
        tls(spec, i, route, v);
    }
    for (i, route) in spec.tcp.iter().enumerate() {
        let path = format!("spec.tcp[{i}]");
        for m in &route.r#match {
            subnets(v, &path, &m.destination_subnets);
            if m.port != 0 {
                port(v, &path, m.port);
            }
        }
        l4(v, &path, &route.route);
    }
    export_to(v, &meta.namespace, &spec.export_to, false, false);
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.split('.').all(is_label)
}

fn hosts(spec: &VirtualService, is_mesh: bool, v: &mut Validation) {
    for (i, host) in spec.hosts.iter().enumerate() {
        let path = format!("spec.hosts[{i}]");
        let is_ip = host.parse::<IpAddr>().is_ok();
        if !is_ip && !is_wildcard_domain(host) {
            v.error(&path, format!("`{host}` is not a host name, a wildcard or an address"));
        }
        if is_mesh && host == "*" {
            v.error(&path, "`*` cannot be bound to the mesh: every service of it would be meant");
        }
        for other in spec.hosts.iter().take(i) {
            let covers = |a: &str, b: &str| a == b || a.strip_prefix('*').is_some_and(|end| b.ends_with(end));
            if covers(host, other) || covers(other, host) {
                v.error(&path, format!("`{host}` and `{other}` have hosts in common"));
            }
        }
    }
}

fn tls(spec: &VirtualService, i: usize, route: &crate::istio::TlsRoute, v: &mut Validation) {
    let path = format!("spec.tls[{i}]");
    if route.r#match.is_empty() {
        v.error(&path, "a TLS rule needs a match");
    }
    for (j, m) in route.r#match.iter().enumerate() {
        let path = format!("{path}.match[{j}]");
        if m.sni_hosts.is_empty() {
            v.error(&path, "a TLS match needs sniHosts");
        }
        for sni in &m.sni_hosts {
            if !is_wildcard_domain(sni) {
                v.error(format!("{path}.sniHosts"), format!("`{sni}` is not a host name or a wildcard"));
            } else if sni.parse::<IpAddr>().is_ok() {
                v.warn(format!("{path}.sniHosts"), "clients send no addresses as SNI, so this never matches");
            } else if !spec.hosts.iter().any(|h| h == sni || h.strip_prefix('*').is_some_and(|end| sni.ends_with(end)))
            {
                v.error(format!("{path}.sniHosts"), format!("`{sni}` is not among the hosts of the VirtualService"));
            }
        }
        subnets(v, &path, &m.destination_subnets);
        if m.port != 0 {
            port(v, &path, m.port);
        }
    }
    l4(v, &path, &route.route);
}

fn subnets(v: &mut Validation, path: &str, list: &[String]) {
    for net in list.iter().filter(|n| !is_network(n)) {
        v.error(format!("{path}.destinationSubnets"), format!("`{net}` is not an address or a network"));
    }
}

fn l4(v: &mut Validation, path: &str, routes: &[WeightedDestination]) {
    if routes.is_empty() {
        v.error(format!("{path}.route"), "the rule has no destination");
    }
    let mut total = 0i64;
    for (i, route) in routes.iter().enumerate() {
        let path = format!("{path}.route[{i}]");
        if route.destination.is_none() {
            v.error(&path, "the route has no destination");
        }
        destination(v, &format!("{path}.destination"), route.destination.as_ref());
        weight(v, &path, route.weight);
        total += i64::from(route.weight);
    }
    if routes.len() > 1 && total == 0 {
        v.error(format!("{path}.route"), "no destination has a weight above zero");
    }
}

/// Rules behind one that takes all of theirs are never asked.
fn unreachable(spec: &VirtualService, v: &mut Validation) {
    let mut before: Vec<(usize, &HttpMatch)> = Vec::new();
    let mut catch_all: Option<usize> = None;
    for (i, route) in spec.http.iter().enumerate() {
        if let Some(first) = catch_all {
            v.warn(
                format!("spec.http[{i}]"),
                format!("http[{first}] takes every request, so this rule is never asked"),
            );
            continue;
        }
        for (j, m) in route.r#match.iter().enumerate() {
            if let Some((first, _)) = before.iter().find(|(_, b)| covers(b, m)) {
                v.warn(
                    format!("spec.http[{i}].match[{j}]"),
                    format!("a match of http[{first}] takes all of its requests, so it never applies"),
                );
            }
            before.push((i, m));
        }
        if route.r#match.is_empty() || route.r#match.iter().any(is_everything) {
            catch_all = Some(i);
        }
    }
}

fn is_everything(m: &HttpMatch) -> bool {
    *m == HttpMatch { name: m.name.clone(), stat_prefix: m.stat_prefix.clone(), ..HttpMatch::default() }
}

/// Whether `first`, which asks for a path prefix and nothing else, takes all that `second` could.
fn covers(first: &HttpMatch, second: &HttpMatch) -> bool {
    let only_uri = HttpMatch { uri: first.uri.clone(), name: first.name.clone(), ..HttpMatch::default() };
    let Some(StringMatch { prefix: Some(prefix), .. }) = &first.uri else { return false };
    if *first != only_uri || prefix == "/" {
        return false;
    }
    let Some(uri) = &second.uri else { return false };
    uri.prefix.as_ref().or(uri.exact.as_ref()).is_some_and(|u| u.starts_with(prefix.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::HttpRoute;

    #[test]
    fn a_catch_all_hides_what_follows() {
        let spec = VirtualService {
            hosts: vec!["a".into()],
            http: vec![HttpRoute::default(), HttpRoute::default()],
            ..VirtualService::default()
        };
        let mut v = Validation::default();
        unreachable(&spec, &mut v);
        assert_eq!(v.warnings.len(), 1);
        assert_eq!(v.warnings[0].path, "spec.http[1]");
    }
}
