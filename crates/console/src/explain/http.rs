//! What one proxy decides about a request, in the order of the data plane: path, virtual host, route, filters, rewrites.

use std::sync::Arc;

use varka_engine::balance::hash_key;
use varka_engine::facts::{Connection, Metadata};
use varka_engine::headers::{self, RequestValues};
use varka_engine::host::RouteIndex;
use varka_engine::ir::{Action, HttpConnectionManager, Route, RouteAction, RouteSource, Str, WeightedRoute};
use varka_engine::outcome::LocalReply;
use varka_engine::path::{Normalized, normalize};
use varka_engine::route::{self, Decided, Forward, NoRoute, RouteDecision};
use varka_engine::trace::Trace;
use varka_engine::xff;

use super::answer::{Direction, Outcome, Rejected, Step};
use super::proxy::Proxy;
use super::walk::{End, Walk};
use super::{doubt, filters, place, unmatched};

/// Where a request goes on to.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) cluster: Str,
    /// Key of consistent hashing.
    pub(super) hash: Option<u64>,
    /// What is offered to endpoints of the mesh.
    pub(super) alpn: Option<Vec<Str>>,
    /// Whether HTTP goes on, as far as the proxy knows.
    pub(super) http: bool,
}

impl Forwarded {
    pub(super) fn bytes(cluster: Str) -> Self {
        Self { cluster, hash: None, alpn: None, http: false }
    }
}

/// Everything between a request's head and the choice of an endpoint.
pub(super) fn decide(
    walk: &mut Walk<'_>,
    proxy: &Proxy<'_>,
    manager: &HttpConnectionManager,
    connection: &Connection<'_>,
) -> Result<Forwarded, End> {
    normalise(walk, manager)?;
    headers::sanitize_request(&mut walk.request.headers, manager.use_remote_address);
    let client = xff::client(manager, connection, &walk.request.headers);
    xff::apply(&client, &mut walk.request.headers);
    walk.request.scheme = client.scheme;
    let index = match &manager.routes {
        RouteSource::Rds(name) => proxy.routes(name),
        RouteSource::Inline(table) => Some(Arc::new(RouteIndex::new(Arc::clone(table)))),
    };
    let index = index.as_deref();
    let mut metadata = Metadata::default();
    let (client, forks) = (client.address, walk.forks.len());
    let mut at = filters::At { proxy, manager, connection, client, metadata: &mut metadata, forks };
    let mut decision = find(walk, &at, index);
    let alpn = filters::run(walk, &mut at, index, &mut decision)?;
    let decision = decision.map_err(|why| not_found(&why))?;
    match &decision.action {
        Decided::Forward(to) => Ok(forward(walk, &at, &decision, to, alpn)),
        Decided::Redirect { status, location } => {
            Err(End::new(Outcome::Ok, format!("The answer is {status}, a redirect to {location}.")).answers(*status))
        }
        Decided::Direct(response) => Err(direct(walk, decision.route, response.status)),
    }
}

fn normalise(walk: &mut Walk<'_>, manager: &HttpConnectionManager) -> Result<(), End> {
    let path = walk.request.path.clone();
    match normalize(&path, manager.path) {
        Normalized::Path(new) if *new == *path => Ok(()),
        Normalized::Path(new) => {
            walk.step(Step::new("path", new.to_string(), format!("the normal form of {path}")));
            walk.request.path = new.into_owned();
            Ok(())
        }
        Normalized::Redirect(to) => {
            Err(End::new(Outcome::Ok, format!("The answer is 307, a redirect to {to}.")).answers(307))
        }
        Normalized::Rejected => {
            walk.step(Step::new("path", "refused", "it holds what has no normal form").fails());
            Err(End::new(Outcome::Failed, "The answer is 400: the path has no normal form.").answers(400))
        }
    }
}

/// Virtual host, route and destination, each with what else there was.
pub(super) fn find<'t>(
    walk: &mut Walk<'_>,
    at: &filters::At<'_, '_>,
    index: Option<&'t RouteIndex>,
) -> Result<RouteDecision<'t>, NoRoute> {
    let Some(index) = index else {
        walk.step(Step::new("virtualHost", "none", "the listener's route table is empty").fails());
        return Err(NoRoute::VirtualHost);
    };
    let known = walk.known_cluster().map(str::to_owned);
    let request = walk.request.clone();
    let facts = request.facts(at.connection, at.client, at.metadata);
    let mut trace = Trace::on();
    let host = index.find(facts.authority, &mut trace);
    let because = trace.notes().join("; ");
    let Some(host) = host else {
        walk.step(Step::new("virtualHost", "none", because).fails());
        return Err(NoRoute::VirtualHost);
    };
    let nowhere = matches!(&*host.name, "allow_any" | "block_all" | "allow_any_dynamic_dns");
    let because = if nowhere {
        format!("{because}: no service that this workload sees has that name on this port")
    } else {
        because
    };
    walk.step(Step::new("virtualHost", host.name.to_string(), because));
    let decided = route::decide(index, &facts, 0, &mut Trace::off());
    let decided = match decided.as_ref().ok().and_then(|d| d.route).map(|route| &route.action) {
        // The same decision with the number that leads to the destination that is followed.
        Some(Action::Forward(action)) => {
            let number = number_of(walk, action, known.as_deref());
            route::decide(index, &facts, number, &mut Trace::off())
        }
        _ => decided,
    };
    doubt::of_routes(walk, host, decided.as_ref().ok().and_then(|d| d.route), &facts);
    let lost = host
        .routes
        .iter()
        .map_while(|other| route::why_not(&other.matches, &facts).map(|why| Rejected { what: title(other), why }));
    let lost: Vec<Rejected> = lost.collect();
    match &decided {
        Ok(decision) => walk.step(found(walk, decision, lost)),
        Err(why) => walk.step(Step::new("route", "none", why.to_string()).instead_of(lost).fails()),
    }
    decided
}

fn title(route: &Route) -> String {
    match (&route.origin, &*route.name) {
        (Some(origin), "") => origin.to_string(),
        (Some(origin), name) => format!("{name} ({origin})"),
        (None, name) => name.to_owned(),
    }
}

/// A random number for which the engine chooses the destination that was recorded, else the one with the largest share.
fn number_of(walk: &mut Walk<'_>, action: &RouteAction, recorded: Option<&str>) -> u64 {
    let followed = |(_, d): &(usize, &WeightedRoute)| (Some(&*d.cluster) == recorded, d.weight);
    let Some((usually, _)) = action.clusters.iter().enumerate().rev().max_by_key(followed) else { return 0 };
    let weights: Vec<u64> = action.clusters.iter().map(|d| u64::from(d.weight)).collect();
    let taken = walk.fork(weights.clone(), usually);
    weights.iter().take(taken).sum()
}

fn found(walk: &Walk<'_>, decision: &RouteDecision<'_>, mut lost: Vec<Rejected>) -> Step {
    let Some(route) = decision.route else {
        return Step::new("route", "redirect to https", "the virtual host asks for TLS");
    };
    let by = route.origin.as_ref().and_then(|origin| place::of_origin(walk.mesh, origin));
    let chosen = match &decision.action {
        Decided::Forward(to) => to.destination.cluster.to_string(),
        Decided::Redirect { status, location } => format!("{status} {location}"),
        Decided::Direct(response) => format!("answer {}", response.status),
    };
    let mut because = match (&route.origin, lost.is_empty()) {
        (Some(origin), true) => format!("the first rule that matches: {origin}"),
        (Some(origin), false) => format!("the first rule that matches, after {} that do not: {origin}", lost.len()),
        (None, _) if matches!(&*route.name, "allow_any" | "block_all") => {
            "what the mesh does with hosts that it does not know (outboundTrafficPolicy)".to_owned()
        }
        (None, _) if walk.hops.last().is_some_and(|hop| hop.proxy.direction == Direction::Inbound) => {
            "every request goes to the application".to_owned()
        }
        (None, _) => "no VirtualService says anything for this host: every request goes to the service".to_owned(),
    };
    if let Action::Forward(action) = &route.action
        && action.clusters.len() > 1
        && let Decided::Forward(to) = &decision.action
    {
        let total: u64 = action.clusters.iter().map(|d| u64::from(d.weight)).sum();
        let share = |weight: u32| format!("{} of {total} requests", weight);
        because.push_str(&format!("; it gets {}", share(to.destination.weight)));
        let others = action.clusters.iter().filter(|d| !std::ptr::eq(*d, to.destination));
        lost.extend(others.map(|d| Rejected { what: d.cluster.to_string(), why: format!("gets {}", share(d.weight)) }));
    }
    Step::new("route", chosen, because).by(by).instead_of(lost)
}

fn not_found(why: &NoRoute) -> End {
    let reply = LocalReply::route_not_found();
    let (status, flags) = (reply.outcome.status, reply.outcome.flags);
    End::new(Outcome::Failed, format!("The answer is {status} ({flags}): {why}.")).answers(status)
}

fn direct(walk: &mut Walk<'_>, route: Option<&Route>, status: u16) -> End {
    if route.is_some_and(|route| &*route.name == "block_all") {
        return unmatched::blocked(walk, status);
    }
    let outcome = if status < 400 { Outcome::Ok } else { Outcome::Failed };
    End::new(outcome, format!("The proxy answers {status} itself, as a rule says.")).answers(status)
}

/// Rewrites, time limits, retries and copies; then the request is as the next proxy gets it.
fn forward(
    walk: &mut Walk<'_>,
    at: &filters::At<'_, '_>,
    decision: &RouteDecision<'_>,
    to: &Forward<'_>,
    alpn: Option<Vec<Str>>,
) -> Forwarded {
    let outbound = walk.hops.last().is_some_and(|hop| hop.proxy.direction == Direction::Outbound);
    let by = || decision.route.and_then(|r| r.origin.as_ref()).and_then(|origin| place::of_origin(walk.mesh, origin));
    let limits = limits(to);
    let mirrors: Vec<String> = to
        .action
        .mirrors
        .iter()
        .map(|m| format!("{} gets a copy of {} % of requests", m.cluster, f64::from(m.parts_per_million) / 10_000.0))
        .collect();
    let mut steps = Vec::new();
    if outbound {
        steps.push(Step::new("retry", limits.0, limits.1).by(by()));
    }
    if !mirrors.is_empty() {
        steps.push(Step::new("mirror", mirrors.join(", "), "a copy is sent and its answer thrown away").by(by()));
    }
    let request = walk.request.clone();
    let facts = request.facts(at.connection, at.client, at.metadata);
    let hash = hash_key(&to.action.hash_policy, &facts).hash;
    let cluster = &to.destination.cluster;
    let values = RequestValues { request: &facts, route_name: decision.route_name(), cluster };
    let mut new = request.clone();
    let set = headers::apply_request(decision, &mut new.headers, &values);
    if let Some(route) = decision.route {
        let rewritten = route::rewrite(route, to.action, to.destination, &facts);
        if let Some(path) = rewritten.path {
            new.path = path;
        }
        let authority = rewritten.authority.map(|a| a.to_string());
        let set = set.and_then(|value| value.to_str().ok().map(str::to_owned));
        if let Some(authority) = set.or(authority) {
            new.authority = authority;
        }
    }
    if (&new.path, &new.authority) != (&request.path, &request.authority) {
        steps.push(Step::new("rewrite", format!("{}{}", new.authority, new.path), "as the rule says").by(by()));
    }
    for step in steps {
        walk.step(step);
    }
    walk.request = new;
    Forwarded { cluster: cluster.clone(), hash, alpn, http: true }
}

/// Time limits and retries, in words: what, and why.
fn limits(to: &Forward<'_>) -> (String, String) {
    let limit = match to.timeouts.global {
        Some(limit) => format!("timeout {limit:?}"),
        None => "no timeout".to_owned(),
    };
    let Some(retry) = to.action.retry.as_ref().filter(|retry| retry.attempts > 0) else {
        return (format!("{limit}, no retries"), "what the rule says, else the mesh's defaults".to_owned());
    };
    let per_try = to.timeouts.per_try.map_or_else(String::new, |limit| format!(", each at most {limit:?}"));
    let named = [
        (retry.on.server_error, "5xx"),
        (retry.on.gateway_error, "gateway-error"),
        (retry.on.reset, "reset"),
        (retry.on.reset_before_request, "reset-before-request"),
        (retry.on.connect_failure, "connect-failure"),
        (retry.on.refused_stream, "refused-stream"),
        (retry.on.unavailable, "unavailable"),
        (retry.on.cancelled, "cancelled"),
        (retry.on.deadline_exceeded, "deadline-exceeded"),
        (retry.on.internal, "internal"),
        (retry.on.resource_exhausted, "resource-exhausted"),
        (retry.on.retriable_4xx, "retriable-4xx"),
    ];
    let mut on: Vec<String> = named.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned()).collect();
    if retry.on.status_codes {
        on.extend(retry.status_codes.iter().map(u16::to_string));
    }
    (format!("{limit}, up to {} retries{per_try}", retry.attempts), format!("tried again after {}", on.join(", ")))
}
