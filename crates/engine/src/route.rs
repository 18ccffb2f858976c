//! From a request to what is done with it: the route, and its cluster, redirect or direct response.
//!
//! The first route of the virtual host that matches wins. Among several destinations one is chosen by weight with a random
//! number that the caller passes, so that the same request and number always go the same way.

mod explain;
mod redirect;
mod rewrite;
#[cfg(test)]
mod tests;
mod timeout;

pub use explain::why_not;
pub use redirect::location;
pub use rewrite::{Rewritten, rewrite};
pub use timeout::{Timeouts, expected, grpc_timeout, grpc_timeout_text, route_timeouts};

use crate::facts::Request;
use crate::host::RouteIndex;
use crate::ir::{
    Action, DirectResponse, Mirror, Route, RouteAction, RouteConfiguration, RouteMatch, Str, VirtualHost, WeightedRoute,
};
use crate::matcher;
use crate::trace::Trace;

/// Where a request goes and by which rules.
#[derive(Debug)]
pub struct RouteDecision<'a> {
    /// The table that was searched.
    pub table: &'a RouteConfiguration,
    /// The virtual host of the request's Host.
    pub virtual_host: &'a VirtualHost,
    /// The route; `None` where the virtual host asks for TLS and the request has none.
    pub route: Option<&'a Route>,
    /// What is done.
    pub action: Decided<'a>,
}

impl<'a> RouteDecision<'a> {
    /// Route name for the access log; empty: `-`.
    pub fn route_name(&self) -> &'a str {
        self.route.map_or("", |route| &route.name)
    }

    /// The cluster, if the request is forwarded.
    pub fn cluster(&self) -> Option<&'a Str> {
        match &self.action {
            Decided::Forward(forward) => Some(&forward.destination.cluster),
            Decided::Redirect { .. } | Decided::Direct(_) => None,
        }
    }
}

/// What is done with a request.
#[derive(Debug)]
pub enum Decided<'a> {
    /// Sent to a cluster.
    Forward(Forward<'a>),
    /// Answered with a redirect and no body (details `direct_response`).
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// `location` header.
        location: String,
    },
    /// Answered at once (details `direct_response`).
    Direct(&'a DirectResponse),
}

/// The parts of a forwarding decision.
#[derive(Debug)]
pub struct Forward<'a> {
    /// Retry policy, mirrors, hash policy, upgrades.
    pub action: &'a RouteAction,
    /// The destination that was chosen.
    pub destination: &'a WeightedRoute,
    /// Limits of time.
    pub timeouts: Timeouts,
}

/// Why no route was found: 404 (`NR`, `route_not_found`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// No virtual host has the request's Host.
    #[error("no virtual host has the request's Host")]
    VirtualHost,
    /// Nobody has asked yet which virtual host has the request's Host: ask for [`RouteIndex::unasked`] and decide again.
    #[error("it is not known yet which virtual host has the request's Host")]
    NotAsked,
    /// No route of the virtual host matches.
    #[error("no route of the virtual host matches the request")]
    Route,
    /// The route has no destination with a weight.
    #[error("the route has no destination with a weight above zero")]
    Destination,
}

/// Decides where a request goes.
///
/// # Errors
/// No virtual host or no route matches: the answer is 404.
pub fn decide<'a>(
    index: &'a RouteIndex,
    request: &Request<'_>,
    random: u64,
    trace: &mut Trace,
) -> Result<RouteDecision<'a>, NoRoute> {
    let table = &**index.config();
    let virtual_host = index.find(request.authority, trace).ok_or_else(|| match index.unasked(request.authority) {
        Some(_) => NoRoute::NotAsked,
        None => NoRoute::VirtualHost,
    })?;
    if virtual_host.require_tls && request.scheme != "https" {
        trace.note(|| format!("virtual host {} asks for TLS: redirect", virtual_host.name));
        let location = redirect::to_https(request);
        return Ok(RouteDecision {
            table,
            virtual_host,
            route: None,
            action: Decided::Redirect { status: 301, location },
        });
    }
    let route = select(virtual_host, request, trace).ok_or(NoRoute::Route)?;
    let action = match &route.action {
        Action::Forward(action) => {
            let destination = weighted(&action.clusters, random).ok_or(NoRoute::Destination)?;
            trace.note(|| format!("cluster {}", destination.cluster));
            Decided::Forward(Forward { action, destination, timeouts: route_timeouts(action, request) })
        }
        Action::Redirect(redirect) => {
            Decided::Redirect { status: redirect.status, location: location(redirect, &route.matches, request) }
        }
        Action::Direct(response) => Decided::Direct(response),
    };
    Ok(RouteDecision { table, virtual_host, route: Some(route), action })
}

/// The first route that matches.
pub fn select<'a>(virtual_host: &'a VirtualHost, request: &Request<'_>, trace: &mut Trace) -> Option<&'a Route> {
    let found = virtual_host.routes.iter().find(|route| match mismatch(&route.matches, request) {
        None => true,
        Some(why) => {
            trace.note(|| format!("{}: not matched, {why}", title(route)));
            false
        }
    });
    trace.note(|| match found {
        Some(route) => format!("{}: matched", title(route)),
        None => format!("no route of virtual host {} matches", virtual_host.name),
    });
    found
}

fn title(route: &Route) -> String {
    match &route.origin {
        Some(origin) => format!("route {:?} ({origin})", &*route.name),
        None => format!("route {:?}", &*route.name),
    }
}

/// Whether a route matches a request.
pub fn matches(m: &RouteMatch, request: &Request<'_>) -> bool {
    mismatch(m, request).is_none()
}

/// What keeps a route from matching.
#[derive(Debug, Clone, Copy)]
enum Mismatch<'a> {
    Path,
    Grpc,
    Header(&'a str),
    Metadata(&'a [Str]),
    Query(&'a str),
}

impl std::fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path => f.write_str("the path is another"),
            Self::Grpc => f.write_str("the request is not gRPC"),
            Self::Header(name) => write!(f, "header {name} is not as asked"),
            Self::Metadata(path) => write!(f, "claim {} is not as asked", path.join(".")),
            Self::Query(name) => write!(f, "query parameter {name} is not as asked"),
        }
    }
}

fn mismatch<'a>(m: &'a RouteMatch, request: &Request<'_>) -> Option<Mismatch<'a>> {
    if !matcher::path(&m.path, request.path, m.case_sensitive) {
        return Some(Mismatch::Path);
    }
    if m.grpc && !request.is_grpc() {
        return Some(Mismatch::Grpc);
    }
    if let Some(missing) = m.headers.iter().find(|h| !matcher::header(h, request)) {
        return Some(Mismatch::Header(&missing.name));
    }
    if let Some(missing) = m.metadata.iter().find(|want| !matcher::metadata(want, request)) {
        return Some(Mismatch::Metadata(&missing.path));
    }
    if m.query.is_empty() {
        return None;
    }
    let query = request.query();
    m.query.iter().find(|q| !matcher::query(q, query)).map(|q| Mismatch::Query(&q.name))
}

/// One of several destinations by weight; a single one whatever its weight.
pub fn weighted(destinations: &[WeightedRoute], random: u64) -> Option<&WeightedRoute> {
    if let [only] = destinations {
        return Some(only);
    }
    let total: u64 = destinations.iter().map(|d| u64::from(d.weight)).sum();
    let mut left = random.checked_rem(total)?;
    destinations.iter().find(|d| match left.checked_sub(u64::from(d.weight)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    })
}

/// The mirrors that get a copy of this request, with a random number for each.
pub fn mirrors(action: &RouteAction, mut random: impl FnMut() -> u64) -> impl Iterator<Item = &Mirror> {
    action.mirrors.iter().filter(move |mirror| chosen(mirror.parts_per_million, random()))
}

/// Whether a random number falls into a share of so many millionths.
pub fn chosen(parts_per_million: u32, random: u64) -> bool {
    random % 1_000_000 < u64::from(parts_per_million)
}
