//! The `location` of a redirect, as Envoy composes it.

use crate::facts::{Request, split_query};
use crate::ir::{Redirect, RouteMatch};

use super::rewrite::replace_matched;

/// New location of a request. The path keeps the query unless the new one has its own; the port of Host is kept unless the
/// redirect sets one, or the scheme changes and it was the old scheme's default.
pub fn location(redirect: &Redirect, matched: &RouteMatch, request: &Request<'_>) -> String {
    let scheme = redirect.scheme.as_deref().unwrap_or(request.scheme);
    let host = match &redirect.authority {
        Some(authority) => authority,
        None => kept_host(request.authority, scheme, request.scheme, redirect.port.is_some()),
    };
    let mut out = format!("{scheme}://{host}");
    if let Some(port) = redirect.port {
        out.push(':');
        out.push_str(&port.to_string());
    }
    let (path, query) = split_query(request.path);
    let mut own_query = false;
    match (&redirect.path, &redirect.prefix) {
        (Some(new), _) => {
            out.push_str(new);
            own_query = new.contains('?');
        }
        (None, Some(prefix)) => out.push_str(&replace_matched(&matched.path, path, prefix)),
        (None, None) => out.push_str(path),
    }
    if let Some(query) = query.filter(|_| !own_query && !redirect.strip_query) {
        out.push('?');
        out.push_str(query);
    }
    out
}

/// The same place over TLS, for virtual hosts that ask for it.
pub(super) fn to_https(request: &Request<'_>) -> String {
    format!("https://{}{}", kept_host(request.authority, "https", request.scheme, false), request.path)
}

/// The request's host, without its port where the new location has another.
fn kept_host<'a>(authority: &'a str, new_scheme: &str, old_scheme: &str, new_port: bool) -> &'a str {
    let colon = match authority.starts_with('[') {
        true => authority.rfind("]:").map(|at| at + 1),
        false => authority.rfind(':'),
    };
    let Some((host, port)) = colon.and_then(|at| authority.split_at_checked(at)) else { return authority };
    let old_default = matches!((old_scheme, port), ("http", ":80") | ("https", ":443"));
    if new_port || (new_scheme != old_scheme && old_default) { host } else { authority }
}
