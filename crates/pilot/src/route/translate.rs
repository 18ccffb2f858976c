//! HTTP rules of a VirtualService as routes, for one port of one kind of proxy.

use std::time::Duration;

use varka_api::istio::{ConsistentHash, Destination, HttpMatch, HttpRoute, RouteDestination};
use varka_engine::ir::{
    Action, DirectResponse, HashKey, HashPolicy, PathMatch, Route, RouteAction, Str, WeightedRoute,
};

use super::headers::Operations;
use super::{actions, destination_cluster, is_catch_all, matches, plain_route, retry};
use crate::cluster::effective_policy;
use crate::context::{Ctx, s};
use crate::diagnostic::Severity;
use crate::gateway_api::has_gateway_semantics;
use crate::scope::destination_rule;
use crate::snapshot::Prepared;

/// What routes are made for.
#[derive(Debug, Clone)]
pub(crate) struct Target<'a> {
    /// Port that was addressed.
    pub(crate) port: u16,
    /// Gateways that it belongs to; `mesh` for sidecars.
    pub(crate) gateways: &'a [String],
    /// TLS was terminated.
    pub(crate) tls: bool,
}

/// Routes of every rule that can apply there, in order; nothing after one that takes everything.
pub(crate) fn routes(ctx: &Ctx<'_>, vs: &Prepared, target: &Target<'_>) -> Vec<Route> {
    let mut out = Vec::new();
    for (i, rule) in vs.spec.http.iter().enumerate() {
        let origin = vs.origins.get(i);
        if rule.r#match.is_empty() {
            out.push(route(ctx, vs, (i, rule), None, target, origin));
            return out;
        }
        for m in rule.r#match.iter().filter(|m| matches::applies(m, ctx.proxy, target.port, target.gateways)) {
            let made = route(ctx, vs, (i, rule), Some(m), target, origin);
            let last = is_catch_all(&made.matches);
            out.push(made);
            if last {
                return out;
            }
        }
    }
    out
}

/// Says what there is to say of every rule that can apply there to anybody: whoever the client is, whichever port it addresses.
pub(crate) fn check(ctx: &Ctx<'_>, vs: &Prepared, gateways: &[String]) {
    let target = Target { port: 80, gateways, tls: false };
    for (i, rule) in vs.spec.http.iter().enumerate() {
        if rule.r#match.is_empty() {
            drop(route(ctx, vs, (i, rule), None, &target, None));
            return;
        }
        let is_meant = |m: &&HttpMatch| m.gateways.is_empty() || m.gateways.iter().any(|g| gateways.contains(g));
        for m in rule.r#match.iter().filter(is_meant) {
            let made = route(ctx, vs, (i, rule), Some(m), &target, None);
            if is_catch_all(&made.matches) && matches::is_for_all(m) {
                return;
            }
        }
    }
}

/// One rule under one condition. What cannot be compiled becomes a route that answers 500, so that no later rule takes its place.
fn route(
    ctx: &Ctx<'_>,
    vs: &Prepared,
    (index, rule): (usize, &HttpRoute),
    m: Option<&HttpMatch>,
    target: &Target<'_>,
    origin: Option<&Str>,
) -> Route {
    let name = match m.map(|m| m.name.as_str()) {
        Some(own) if !own.is_empty() => format!("{}.{own}", rule.name),
        _ => rule.name.clone(),
    };
    let path = format!("spec.http[{index}]");
    let report = |code, message: String, effect: &str| {
        ctx.report(Severity::Error, code, &vs.object, &path, message, effect);
    };
    let refuse = || Action::Direct(DirectResponse { status: 500, body: None });
    let mut out = plain_route(&name, PathMatch::Prefix(s("/")), refuse());
    out.origin = origin.cloned();
    let by_element = vs.object.metadata.annotations.contains_key(crate::ingress::SEMANTICS);
    let condition = matches::route_match(m, by_element);
    match condition {
        Ok(condition) => {
            if !condition.metadata.is_empty() && !ctx.is_router() {
                let message =
                    "tokens are verified where a request arrives, and a sidecar's routes are for requests that leave";
                let effect = "no claim is known there: `headers` match nothing, `withoutHeaders` everything; bind it to a gateway";
                ctx.report(Severity::Warning, "claims-in-mesh", &vs.object, &path, message, effect);
            }
            out.matches = condition;
        }
        Err(message) => {
            report("route-match", message, "the rule matches nothing");
            // A path that no request has.
            out.matches.path = PathMatch::Exact(s(""));
            return out;
        }
    }
    let operations = Operations::of(rule.headers.as_ref());
    out.request_headers.clone_from(&operations.request);
    out.response_headers.clone_from(&operations.response);
    if !operations.refused.is_empty() {
        let names = operations.refused.join(", ");
        report("header-name", format!("no header can be named or valued like this: {names}"), "it is left out");
    }
    let action = if let Some(redirect) = &rule.redirect {
        let mut redirect = redirect.clone();
        // The default of the Gateway API is another than Istio's.
        if redirect.redirect_code == 0 && has_gateway_semantics(&vs.object.metadata) {
            redirect.redirect_code = 302;
        }
        actions::redirect(&redirect, target.port, target.tls)
            .map(Action::Redirect)
            .ok_or_else(|| format!("{} is not a redirect status", redirect.redirect_code))
    } else if let Some(direct) = &rule.direct_response {
        actions::direct_response(direct).map(Action::Direct)
    } else {
        forward(ctx, vs, rule, operations.authority, &mut out, target).map(|a| Action::Forward(Box::new(a)))
    };
    match action {
        Ok(action) => out.action = action,
        Err(message) => report("route-action", message, "requests that match are answered with 500"),
    }
    out.operation = Some(operation(&out, vs, target.port));
    out.fault = rule.fault.as_ref().map(actions::fault);
    match rule.cors_policy.as_ref().map(actions::cors_policy).transpose() {
        Ok(cors) => out.cors = cors,
        Err(message) => report("cors", message, "the cross-origin policy is not applied"),
    }
    out
}

/// To the destinations of a rule.
fn forward(
    ctx: &Ctx<'_>,
    vs: &Prepared,
    rule: &HttpRoute,
    authority: Option<Str>,
    out: &mut Route,
    target: &Target<'_>,
) -> Result<RouteAction, String> {
    let cluster = |d: &Destination| destination_cluster(d, ctx.service(&d.host).map(|v| &**v), target.port);
    let gateway_api = has_gateway_semantics(&vs.object.metadata);
    let mut rewrite = actions::rewrite(rule.rewrite.as_ref(), authority)?;
    if gateway_api && rewrite.prefix.as_deref() == Some("/") {
        rewrite.prefix = None;
        rewrite.regex = Some(actions::without_prefix(&out.matches.path)?);
    }
    let timeout = rule.timeout.map(|t| t.to_std()).filter(|t| !t.is_zero());
    let hash = |r: &RouteDestination| r.destination.as_ref().and_then(|d| hash_policy(ctx, d, target.port));
    let mut hash_policies: Vec<HashPolicy> = Vec::new();
    let mut clusters = Vec::new();
    let single = rule.route.len() == 1;
    for destination in rule.route.iter().filter(|r| single || r.weight > 0) {
        let Some(to) = &destination.destination else { return Err("a destination is missing".to_owned()) };
        let operations = Operations::of(destination.headers.as_ref());
        hash_policies.extend(hash(destination));
        let mut one = WeightedRoute {
            cluster: cluster(to),
            weight: if single { 1 } else { u32::try_from(destination.weight).unwrap_or(0) },
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            host_rewrite: None,
        };
        if single {
            out.request_headers.extend(operations.request);
            out.response_headers.extend(operations.response);
            rewrite.authority = rewrite.authority.or(operations.authority);
        } else {
            one.request_headers = operations.request;
            one.response_headers = operations.response;
            one.host_rewrite = operations.authority;
        }
        clusters.push(one);
    }
    if clusters.is_empty() {
        return Err("there is no destination with a weight above zero".to_owned());
    }
    let hashed = single && !hash_policies.is_empty();
    let retry = match &rule.retries {
        Some(own) => retry::convert(own, hashed),
        None => super::default_policy(ctx.mesh(), hashed),
    };
    Ok(RouteAction {
        clusters,
        rewrite,
        timeout,
        grpc_timeout_max: Some(timeout.unwrap_or(Duration::ZERO)),
        idle_timeout: None,
        retry,
        mirrors: actions::mirrors(rule, cluster),
        hash_policy: hash_policies,
        upgrades: Vec::new(),
        // A backend that is not there is a fault of the route, which the Gateway API answers with 500.
        cluster_not_found_status: if gateway_api { 500 } else { 503 },
    })
}

/// What the DestinationRule of a destination hashes by.
fn hash_policy(ctx: &Ctx<'_>, destination: &Destination, listen_port: u16) -> Option<HashPolicy> {
    let service = ctx.service(&destination.host)?;
    let rule = destination_rule(ctx, service, true)?;
    let port = destination.port.as_ref().map_or(u32::from(listen_port), |p| p.number);
    let policy = effective_policy(ctx.mesh(), Some(&rule), u16::try_from(port).ok()?, rule.subset(&destination.subset));
    hash_of(policy.load_balancer.as_ref()?.consistent_hash.as_ref()?)
}

/// The key of consistent hashing.
pub(super) fn hash_of(hash: &ConsistentHash) -> Option<HashPolicy> {
    let key = if let Some(name) = hash.http_header_name.as_ref().filter(|n| !n.is_empty()) {
        HashKey::Header(s(name.to_ascii_lowercase()))
    } else if let Some(cookie) = &hash.http_cookie {
        HashKey::Cookie {
            name: s(&cookie.name),
            path: s(&cookie.path),
            ttl: cookie.ttl.map(|t| t.to_std()),
            attributes: cookie.attributes.iter().map(|a| (s(&a.name), s(&a.value))).collect(),
        }
    } else if hash.use_source_ip == Some(true) {
        HashKey::SourceIp
    } else {
        HashKey::Query(s(hash.http_query_parameter_name.as_ref()?))
    };
    Some(HashPolicy { key, terminal: false })
}

/// Name of spans: `host:port/path*` of the only destination, else of the VirtualService.
fn operation(route: &Route, vs: &Prepared, port: u16) -> Str {
    let path = match &route.matches.path {
        PathMatch::Prefix(p) => format!("{p}*"),
        PathMatch::Exact(p) | PathMatch::Template(p) => p.to_string(),
        PathMatch::Regex(r) => r.source().to_owned(),
        PathMatch::SeparatedPrefix(_) => "/*".to_owned(),
    };
    if let Action::Forward(action) = &route.action
        && let [only] = action.clusters.as_slice()
    {
        let parts: Vec<&str> = only.cluster.split('|').collect();
        if let [_, port, _, host] = parts.as_slice() {
            return s(format!("{host}:{port}{path}"));
        }
    }
    s(format!("{}:{port}{path}", vs.name()))
}
