//! Changes of path and authority before a request is forwarded.

use crate::facts::{Request, split_query};
use crate::ir::{PathMatch, Route, RouteAction, Str, WeightedRoute};

/// The new path and authority; `None`: unchanged. Where one is set, Envoy sends the old one along:
/// `x-envoy-original-path` and `x-envoy-original-host`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// New path with query.
    pub path: Option<String>,
    /// New authority.
    pub authority: Option<Str>,
    /// The authority becomes the host name of the endpoint, once it is chosen.
    pub auto_authority: bool,
    /// The old authority also goes into `x-forwarded-host`.
    pub append_x_forwarded_host: bool,
}

/// What a route makes of path and authority. The path counts as rewritten even where the text stays the same.
pub fn rewrite(route: &Route, action: &RouteAction, destination: &WeightedRoute, request: &Request<'_>) -> Rewritten {
    let how = &action.rewrite;
    let (path, query) = split_query(request.path);
    let new_path = match (&how.prefix, &how.regex) {
        (Some(prefix), _) => Some(replace_matched(&route.matches.path, path, prefix)),
        (None, Some((pattern, substitution))) => Some(pattern.replace_all(path, substitution)),
        (None, None) => None,
    };
    let path = new_path.map(|mut new| {
        if let Some(query) = query {
            new.push('?');
            new.push_str(query);
        }
        new
    });
    Rewritten {
        path,
        authority: destination.host_rewrite.clone().or_else(|| how.authority.clone()),
        auto_authority: how.auto_authority,
        append_x_forwarded_host: how.append_x_forwarded_host,
    }
}

/// Puts `new` in place of the part of `path` that the matcher matched: a prefix, or all of it.
pub(super) fn replace_matched(matcher: &PathMatch, path: &str, new: &str) -> String {
    let matched = match matcher {
        PathMatch::Prefix(prefix) | PathMatch::SeparatedPrefix(prefix) => prefix.len(),
        PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Template(_) => path.len(),
    };
    let rest = path.get(matched..).unwrap_or_default();
    let mut out = String::with_capacity(new.len() + rest.len());
    out.push_str(new);
    out.push_str(rest);
    out
}
