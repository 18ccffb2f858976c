//! An ingress in the mesh is a client like any other: behind a path of an Ingress, the VirtualService of the backend decides.
//!
//! A location becomes one route for each rule that can apply there. Paths of both must match: the rule's stays the path of the route,
//! since rewrites are relative to it, and the location's is a condition on `:path` beside it, unless one of the two takes every path.

use varka_engine::ir::{
    Action, DirectResponse, HeaderMatch, HeaderMatcher, PathMatch, Regex, Route, RouteMatch, StringMatch,
};

use super::is_outside;
use crate::context::{Ctx, s};
use crate::hosts;
use crate::route::{Target, is_catch_all, routes};

/// Routes of `location` to `host` and `port` by the VirtualService of that host; `None`: there is none, or the ingress is outside.
pub(super) fn by_virtual_service(ctx: &Ctx<'_>, location: &Route, host: &str, port: u16) -> Option<Vec<Route>> {
    if is_outside(ctx) {
        return None;
    }
    let egress = ctx.scope().egress_for(port)?;
    let vs = egress.virtual_services.iter().find(|vs| vs.spec.hosts.iter().any(|h| hosts::matches(h, host)))?;
    let mesh = ["mesh".to_owned()];
    let made = routes(ctx, vs, &Target { port, gateways: &mesh, tls: false });
    let complete = made.last().is_some_and(|r| is_catch_all(&r.matches));
    let mut out: Vec<Route> = made.into_iter().map(|rule| within(location, rule)).collect();
    if !complete {
        // What no rule takes has no route; the next location of the Ingress must not take it instead.
        let nothing = Action::Direct(DirectResponse { status: 404, body: None });
        out.push(Route { action: nothing, ..location.clone() });
    }
    Some(out)
}

/// A rule, for requests of the location alone.
fn within(location: &Route, mut rule: Route) -> Route {
    let takes_all = |m: &RouteMatch| matches!(&m.path, PathMatch::Prefix(p) if &**p == "/");
    let relative = match &rule.action {
        Action::Forward(action) => action.rewrite.prefix.is_some(),
        Action::Redirect(_) => true,
        Action::Direct(_) => false,
    };
    if takes_all(&rule.matches) && !relative {
        rule.matches.path = location.matches.path.clone();
        rule.matches.case_sensitive = location.matches.case_sensitive;
    } else if !takes_all(&location.matches) {
        rule.matches.headers.extend(on_path(&location.matches.path));
    }
    rule.max_request_bytes = location.max_request_bytes;
    if rule.cors.is_none() {
        rule.cors.clone_from(&location.cors);
    }
    rule
}

/// The location as a condition on `:path`, which has the query too.
fn on_path(path: &PathMatch) -> Option<HeaderMatcher> {
    let pattern = match path {
        PathMatch::Prefix(prefix) => format!("{}.*", regex::escape(prefix)),
        PathMatch::SeparatedPrefix(prefix) => format!(r"{}(?:[/?].*)?", regex::escape(prefix)),
        PathMatch::Exact(exact) => format!(r"{}(?:\?.*)?", regex::escape(exact)),
        PathMatch::Regex(regex) => format!(r"(?:{})(?:\?.*)?", regex.source()),
        // No location is one.
        PathMatch::Template(_) => return None,
    };
    let matches = HeaderMatch::Value(StringMatch::Regex(Regex::new(&pattern).ok()?));
    Some(HeaderMatcher { name: s(":path"), matches, invert: false, treat_missing_as_empty: false })
}

#[cfg(test)]
mod tests;
