//! Hosts and paths of the ingress.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use varka_api::Object;
use varka_api::kube::{HttpIngressPath, Ingress, IngressBackend, PathType};
use varka_engine::ir::{
    Action, DirectResponse, HeaderAppend, HeaderMutation, PathMatch, Redirect, Regex, RetryOn, RetryPolicy, Rewrite,
    Route, RouteAction, RouteConfiguration, Str, VirtualHost, WeightedRoute,
};

use super::mesh::by_virtual_service;
use super::{Settings, backend, ours};
use crate::context::{Ctx, s};
use crate::diagnostic::Severity;
use crate::hosts;
use crate::route::plain_route;

/// A table: virtual hosts by host, a 404 for every other one unless an Ingress has a default backend.
pub(super) fn build(ctx: &Ctx<'_>, name: &str, port: u16) -> RouteConfiguration {
    let mut by_host: BTreeMap<String, Vec<(Order, Route)>> = BTreeMap::new();
    let mut fallback = None;
    for ingress in ours(ctx) {
        let settings = Settings::of(ctx, &ingress);
        // A captured group in the target, or use-regex, makes every path of the Ingress a pattern.
        let regex = settings.use_regex || settings.rewrite_target.as_ref().is_some_and(|t| t.contains('$'));
        for (i, rule) in ingress.spec.rules.iter().enumerate() {
            let host = if rule.host.is_empty() { "*".to_owned() } else { rule.host.to_ascii_lowercase() };
            let secure = settings.force_ssl_redirect || (settings.ssl_redirect && has_tls(&ingress, &host));
            for (j, path) in rule.http.iter().flat_map(|h| h.paths.iter().enumerate()) {
                let at = format!("spec.rules[{i}].http.paths[{j}]");
                let one = Wanted { ingress: &ingress, settings: &settings, at, regex };
                let Some((order, mut route)) = location(ctx, &one, path) else { continue };
                let locations = by_host.entry(host.clone()).or_default();
                if secure && port == 80 {
                    route.origin = Some(s(format!("{} {}", ingress.label(), one.at)));
                    route.action = Action::Redirect(to_https(&host));
                    locations.push((order, route));
                } else {
                    let made = forward(ctx, &one, &path.backend, route);
                    locations.extend(made.into_iter().map(|route| (order, rewritten(ctx, &one, path, route))));
                }
            }
        }
        if let Some(default) = ingress.spec.default_backend.as_ref().filter(|_| fallback.is_none()) {
            let at = "spec.defaultBackend".to_owned();
            let one = Wanted { ingress: &ingress, settings: &settings, at, regex: false };
            let route = plain_route("", PathMatch::Prefix(s("/")), not_found());
            fallback = Some(forward(ctx, &one, default, route));
        }
    }
    let default =
        fallback.unwrap_or_else(|| vec![plain_route("default-backend", PathMatch::Prefix(s("/")), not_found())]);
    let mut virtual_hosts: Vec<VirtualHost> = Vec::new();
    for (host, mut found) in by_host {
        found.sort_by_key(|(order, _)| *order);
        let mut all: Vec<Route> = found.into_iter().map(|(_, r)| r).collect();
        all.extend(default.iter().cloned());
        virtual_hosts.push(virtual_host(&host, port, all));
    }
    if !virtual_hosts.iter().any(|v| v.domains.iter().any(|d| &**d == "*")) {
        virtual_hosts.push(virtual_host("*", port, default));
    }
    RouteConfiguration {
        name: s(name),
        virtual_hosts,
        ignore_port_in_host: true,
        on_demand: false,
        request_headers: forwarded_headers(port),
        response_headers: Vec::new(),
    }
}

/// A path of an Ingress, with what its Ingress says.
struct Wanted<'a> {
    ingress: &'a Object<Ingress>,
    settings: &'a Settings,
    at: String,
    regex: bool,
}

/// Exact paths first, then longer ones.
type Order = (bool, std::cmp::Reverse<usize>);

fn virtual_host(host: &str, port: u16, routes: Vec<Route>) -> VirtualHost {
    VirtualHost {
        name: s(format!("{host}:{port}")),
        domains: vec![s(host)],
        routes,
        require_tls: false,
        include_attempt_count: false,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
    }
}

fn not_found() -> Action {
    Action::Direct(DirectResponse { status: 404, body: Some("default backend - 404".into()) })
}

fn has_tls(ingress: &Object<Ingress>, host: &str) -> bool {
    ingress
        .spec
        .tls
        .iter()
        .any(|t| t.hosts.is_empty() || t.hosts.iter().any(|h| hosts::is_subset(host, &h.to_ascii_lowercase())))
}

fn to_https(host: &str) -> Redirect {
    let plain = !hosts::is_wildcard(host);
    Redirect {
        // The port of the plain listener must not stay.
        authority: plain.then(|| s(host)),
        port: (!plain).then_some(443),
        scheme: Some(s("https")),
        status: 308,
        ..Redirect::default()
    }
}

/// When a path applies, and before which others.
fn location(ctx: &Ctx<'_>, one: &Wanted<'_>, path: &HttpIngressPath) -> Option<(Order, Route)> {
    let text = if path.path.is_empty() { "/" } else { path.path.as_str() };
    let regex = one.regex && path.path_type != PathType::Exact;
    let matches = if regex {
        match Regex::new(&format!("(?i){text}.*")) {
            Ok(pattern) => PathMatch::Regex(pattern),
            Err(error) => {
                let message = format!("`{text}` is not a regular expression: {error}");
                ctx.report(Severity::Error, "ingress-path", one.ingress, &one.at, message, "the path is left out");
                return None;
            }
        }
    } else {
        match path.path_type {
            PathType::Exact => PathMatch::Exact(s(text)),
            PathType::Prefix if text.trim_end_matches('/').is_empty() => PathMatch::Prefix(s("/")),
            PathType::Prefix => PathMatch::SeparatedPrefix(s(text.trim_end_matches('/'))),
            PathType::ImplementationSpecific => PathMatch::Prefix(s(text)),
        }
    };
    let exact = path.path_type == PathType::Exact;
    let order = (!exact, std::cmp::Reverse(text.len()));
    Some((order, plain_route("", matches, not_found())))
}

/// With `rewrite-target`, where the rule that decides says nothing else.
fn rewritten(ctx: &Ctx<'_>, one: &Wanted<'_>, path: &HttpIngressPath, mut route: Route) -> Route {
    let text = if path.path.is_empty() { "/" } else { path.path.as_str() };
    if let (Some(target), Action::Forward(action)) = (&one.settings.rewrite_target, &mut route.action)
        && action.rewrite.prefix.is_none()
        && action.rewrite.regex.is_none()
    {
        action.rewrite.regex = rewrite(text, target, one.regex && path.path_type != PathType::Exact);
        if action.rewrite.regex.is_none() {
            let message = format!("`{text}` cannot be rewritten to `{target}`");
            ctx.report(Severity::Error, "ingress-rewrite", one.ingress, &one.at, message, "the path stays as it is");
        }
    }
    route
}

/// The whole path becomes the target, `$1` its first captured group.
fn rewrite(path: &str, target: &str, regex: bool) -> Option<(Regex, Str)> {
    let pattern = if regex { format!("(?i)^{path}.*") } else { format!("^{}.*", regex::escape(path)) };
    let mut substitution = String::new();
    let mut rest = target.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '$' if rest.peek().is_some_and(char::is_ascii_digit) => substitution.push('\\'),
            '\\' => substitution.push_str("\\\\"),
            other => substitution.push(other),
        }
    }
    Some((Regex::new(&pattern).ok()?, s(substitution)))
}

/// To a backend; one that is not there is a 503. More than one route where a VirtualService decides.
fn forward(ctx: &Ctx<'_>, one: &Wanted<'_>, wanted: &IngressBackend, mut route: Route) -> Vec<Route> {
    route.origin = Some(s(format!("{} {}", one.ingress.label(), one.at)));
    route.max_request_bytes = one.settings.body_size;
    route.cors.clone_from(&one.settings.cors);
    let Some((service, number)) = backend(ctx, one.ingress, wanted) else {
        let name = wanted.service.as_ref().map_or("", |b| b.name.as_str());
        ctx.report(
            Severity::Error,
            "ingress-backend",
            one.ingress,
            &one.at,
            format!("there is no Service `{name}` with this port in namespace {}", one.ingress.metadata.namespace),
            "requests are answered with 503",
        );
        route.action = Action::Direct(DirectResponse { status: 503, body: None });
        return vec![route];
    };
    if let Some(routes) = by_virtual_service(ctx, &route, &service.host, number) {
        return routes;
    }
    let cluster = s(format!("outbound|{number}||{}", service.host));
    route.operation = Some(s(format!("{}:{number}/*", service.host)));
    route.action = Action::Forward(Box::new(RouteAction {
        clusters: vec![WeightedRoute {
            cluster,
            weight: 1,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            host_rewrite: None,
        }],
        rewrite: Rewrite::default(),
        timeout: None,
        grpc_timeout_max: Some(Duration::ZERO),
        idle_timeout: Some(one.settings.idle_timeout),
        retry: Some(retry()),
        mirrors: Vec::new(),
        hash_policy: Vec::new(),
        upgrades: Vec::new(),
        cluster_not_found_status: 503,
    }));
    vec![route]
}

/// nginx asks the next endpoint when one cannot be reached.
fn retry() -> RetryPolicy {
    RetryPolicy {
        on: RetryOn { connect_failure: true, reset_before_request: true, refused_stream: true, ..RetryOn::default() },
        attempts: 2,
        per_try_timeout: None,
        status_codes: Vec::new(),
        back_off: None,
        avoid_previous_hosts: true,
        host_selection_attempts: 3,
        remote_localities: false,
    }
}

/// What nginx tells its backends of the client. `X-Forwarded-For` is the client alone: what it claims itself is not believed.
fn forwarded_headers(port: u16) -> Vec<HeaderMutation> {
    let client = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%";
    let scheme = if port == 443 { "https" } else { "http" };
    let port = port.to_string();
    [
        ("x-real-ip", client),
        ("x-forwarded-for", client),
        ("x-forwarded-host", "%REQ(:AUTHORITY)%"),
        ("x-forwarded-port", port.as_str()),
        ("x-forwarded-proto", scheme),
        ("x-forwarded-scheme", scheme),
        ("x-scheme", scheme),
    ]
    .into_iter()
    .filter_map(|(name, value)| {
        Some(HeaderMutation::Append {
            name: HeaderName::from_static(name),
            value: HeaderValue::from_str(value).ok()?,
            action: HeaderAppend::Overwrite,
        })
    })
    .collect()
}

/// Clusters that a table leads to.
pub(super) fn clusters_of(table: &RouteConfiguration) -> Vec<Str> {
    let actions = table.virtual_hosts.iter().flat_map(|v| &v.routes).filter_map(|r| match &r.action {
        Action::Forward(action) => Some(action),
        _ => None,
    });
    let named = |a: &RouteAction| {
        a.clusters
            .iter()
            .map(|c| c.cluster.clone())
            .chain(a.mirrors.iter().map(|m| m.cluster.clone()))
            .collect::<Vec<_>>()
    };
    actions.flat_map(|a| named(a)).collect()
}
