//! Conditions of a VirtualService's HTTP rule.

use varka_api::istio::{HttpMatch, StringMatch as ApiMatch};
use varka_engine::ir::{
    HeaderMatch, HeaderMatcher, MetadataMatch, PathMatch, QueryMatch, QueryMatcher, Regex, RouteMatch, Str, StringMatch,
};

use crate::ProxyKey;
use crate::context::s;

/// What can be decided without a request: port, gateway, and who the client is.
pub(super) fn applies(m: &HttpMatch, proxy: &ProxyKey, port: u16, gateways: &[String]) -> bool {
    if m.port != 0 && m.port != u32::from(port) {
        return false;
    }
    if !m.gateways.is_empty() {
        return m.gateways.iter().any(|g| gateways.contains(g));
    }
    proxy.has_labels(&m.source_labels) && (m.source_namespace.is_empty() || m.source_namespace == *proxy.namespace)
}

/// Whether that is the same for every client, port and gateway.
pub(super) fn is_for_all(m: &HttpMatch) -> bool {
    m.port == 0 && m.gateways.is_empty() && m.source_labels.is_empty() && m.source_namespace.is_empty()
}

/// The rest, for the proxy to decide; `by_element`: prefixes are compared by path elements. The error says which pattern is none.
pub(super) fn route_match(m: Option<&HttpMatch>, by_element: bool) -> Result<RouteMatch, String> {
    let mut out = RouteMatch {
        path: PathMatch::Prefix(s("/")),
        case_sensitive: true,
        headers: Vec::new(),
        query: Vec::new(),
        metadata: Vec::new(),
        grpc: false,
    };
    let Some(m) = m else { return Ok(out) };
    if let Some(uri) = &m.uri {
        out.path = match (&uri.exact, &uri.prefix, &uri.regex) {
            (Some(exact), _, _) => PathMatch::Exact(s(exact)),
            // An element-wise prefix has no slash at its end; `/` is everything.
            (_, Some(prefix), _) if by_element && prefix != "/" => {
                PathMatch::SeparatedPrefix(s(prefix.trim_end_matches('/')))
            }
            (_, Some(prefix), _) => PathMatch::Prefix(s(prefix)),
            (_, _, Some(regex)) => PathMatch::Regex(pattern(regex)?),
            (None, None, None) => out.path,
        };
    }
    out.case_sensitive = !m.ignore_uri_case;
    for (name, value) in &m.headers {
        add_header(&mut out, name, value, false)?;
    }
    for (name, value) in &m.without_headers {
        add_header(&mut out, name, value, true)?;
    }
    for (name, value) in [(":method", &m.method), (":authority", &m.authority), (":scheme", &m.scheme)] {
        if let Some(value) = value {
            out.headers.push(header(name, value, false)?);
        }
    }
    for (name, value) in &m.query_params {
        let matches = match text(value)? {
            None => QueryMatch::Present,
            Some(value) => QueryMatch::Value(value),
        };
        out.query.push(QueryMatcher { name: s(name), matches });
    }
    Ok(out)
}

/// A header, or what its name stands for: a claim of the request's token.
fn add_header(out: &mut RouteMatch, name: &str, value: &ApiMatch, without: bool) -> Result<(), String> {
    match claim(name) {
        Some(path) => {
            let value = match text(value)? {
                Some(value) => value,
                None => StringMatch::Regex(pattern(".+")?),
            };
            let filter = s(varka_engine::jwt::METADATA);
            out.metadata.push(MetadataMatch { filter, path, value, invert: without });
        }
        None => out.headers.push(header(name, value, without)?),
    }
    Ok(())
}

/// `@request.auth.claims.a.b` and `@request.auth.claims[a][b]`.
fn claim(name: &str) -> Option<Vec<Str>> {
    let start = "@request.auth.claims";
    let rest = name.get(..start.len()).filter(|s| s.eq_ignore_ascii_case(start)).and(name.get(start.len()..))?;
    let dotted = rest.strip_prefix('.').filter(|r| !r.is_empty()).map(|r| r.split('.').map(s).collect::<Vec<_>>());
    let bracketed = || {
        let inner = rest.strip_prefix('[')?.strip_suffix(']').filter(|r| !r.is_empty())?;
        Some(inner.split("][").map(s).collect())
    };
    let path: Vec<Str> = dotted.or_else(bracketed)?;
    Some(std::iter::once(s(crate::policy::PAYLOAD)).chain(path).collect())
}

fn header(name: &str, value: &ApiMatch, without: bool) -> Result<HeaderMatcher, String> {
    let matches = text(value)?.map_or(HeaderMatch::Present(true), HeaderMatch::Value);
    let treat_missing_as_empty = without && !matches!(matches, HeaderMatch::Present(_));
    Ok(HeaderMatcher { name: s(name.to_ascii_lowercase()), matches, invert: without, treat_missing_as_empty })
}

/// `None`: any value, as long as there is one.
fn text(m: &ApiMatch) -> Result<Option<StringMatch>, String> {
    Ok(match (&m.exact, &m.prefix, &m.regex) {
        (Some(exact), _, _) => Some(StringMatch::Exact { value: s(exact), ignore_case: false }),
        (_, Some(prefix), _) => Some(StringMatch::Prefix { value: s(prefix), ignore_case: false }),
        (_, _, Some(regex)) if regex == "*" => None,
        (_, _, Some(regex)) => Some(StringMatch::Regex(pattern(regex)?)),
        (None, None, None) => None,
    })
}

pub(super) fn pattern(source: &str) -> Result<Regex, String> {
    Regex::new(source).map_err(|e| format!("`{source}` is not a regular expression: {e}"))
}

/// Whether nothing after it can ever be reached.
pub(crate) fn is_catch_all(m: &RouteMatch) -> bool {
    let every_path = match &m.path {
        PathMatch::Prefix(p) | PathMatch::SeparatedPrefix(p) => &**p == "/",
        PathMatch::Regex(r) => r.source() == "*" || r.source() == ".*",
        PathMatch::Exact(_) | PathMatch::Template(_) => false,
    };
    every_path && m.headers.is_empty() && m.query.is_empty() && m.metadata.is_empty() && !m.grpc
}

#[cfg(test)]
mod tests;
