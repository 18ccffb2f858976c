//! Filters and timing of rules, as VirtualServices have them.

use std::collections::BTreeMap;

use varka_api::Duration;
use varka_api::istio::{
    CorsPolicy, HeaderOperations, Headers, HttpRedirect, HttpRetry, HttpRewrite, HttpRoute, Mirror, Percent,
    RedirectPort, RegexRewrite, StringMatch, UnmatchedPreflights,
};
use varka_api::kube::{
    CorsFilter, HeaderFilter, HeaderValue, HttpRouteRetry, HttpRouteTimeouts, MirrorFilter, PathModifier,
    RedirectFilter, RewriteFilter, RouteFilter,
};

use super::backends::{self, From};
use super::{Problem, World};

/// Applies the filters of a rule, in order. What is returned without an error keeps requests from a mirror only.
pub(super) fn apply(
    world: &World<'_>,
    from: From<'_>,
    filters: &[RouteFilter],
    rule: &mut HttpRoute,
) -> Result<Option<Problem>, Problem> {
    let mut problem = None;
    for filter in filters {
        match filter.r#type.as_str() {
            "RequestHeaderModifier" | "ResponseHeaderModifier" => headers(filter, &mut rule.headers)?,
            "RequestMirror" => {
                let Some(mirror) = &filter.request_mirror else { continue };
                match copy(world, from, mirror) {
                    (Some(made), _) => rule.mirrors.push(made),
                    (None, found) => problem = found,
                }
            }
            "RequestRedirect" if from.kind == "HTTPRoute" => {
                rule.redirect = filter.request_redirect.as_ref().map(redirect);
            }
            "URLRewrite" if from.kind == "HTTPRoute" => rule.rewrite = filter.url_rewrite.as_ref().and_then(rewrite),
            "CORS" if from.kind == "HTTPRoute" => rule.cors_policy = filter.cors.as_ref().map(cors),
            other => return Err(unsupported(other)),
        }
    }
    Ok(problem)
}

fn unsupported(kind: &str) -> Problem {
    let message = format!("filters: type {kind} is not supported here; requests that the rule matches are not served");
    Problem::new("InvalidFilter", message)
}

/// Filters of one backend: only header operations.
pub(super) fn of_backend(filters: &[RouteFilter]) -> Result<Option<Headers>, Problem> {
    let mut out = None;
    for filter in filters {
        match filter.r#type.as_str() {
            "RequestHeaderModifier" | "ResponseHeaderModifier" => headers(filter, &mut out)?,
            other => return Err(unsupported(other)),
        }
    }
    Ok(out)
}

fn headers(filter: &RouteFilter, into: &mut Option<Headers>) -> Result<(), Problem> {
    let request = filter.r#type == "RequestHeaderModifier";
    let given = if request { &filter.request_header_modifier } else { &filter.response_header_modifier };
    let Some(given) = given else { return Ok(()) };
    let made = operations(given)?;
    let headers = into.get_or_insert_default();
    if request {
        headers.request = Some(made);
    } else {
        headers.response = Some(made);
    }
    Ok(())
}

fn operations(filter: &HeaderFilter) -> Result<HeaderOperations, Problem> {
    let is_text = |v: &str| v.bytes().all(|b| b == b'\t' || (b >= 0x20 && b != 0x7f));
    if let Some(bad) = filter.set.iter().chain(&filter.add).find(|h| !is_text(&h.value)) {
        let message = format!("filters: the value of header {:?} has bytes that no header can have", bad.name);
        return Err(Problem::new("InvalidFilter", message));
    }
    Ok(HeaderOperations { set: first(&filter.set), add: first(&filter.add), remove: filter.remove.clone() })
}

/// Of headers with the same name only the first counts.
fn first(headers: &[HeaderValue]) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for header in headers {
        out.entry(header.name.to_ascii_lowercase()).or_insert_with(|| header.value.clone());
    }
    out
}

fn copy(world: &World<'_>, from: From<'_>, filter: &MirrorFilter) -> (Option<Mirror>, Option<Problem>) {
    let destination = match backends::destination(world, from, &filter.backend_ref) {
        Ok((destination, None)) => destination,
        Ok((_, Some(problem))) | Err(problem) => return (None, Some(problem)),
    };
    let value = match (&filter.fraction, filter.percent) {
        (Some(f), _) => Some(100.0 * f64::from(f.numerator) / f64::from(f.denominator.unwrap_or(100).max(1))),
        (None, percent) => percent.map(f64::from),
    };
    (Some(Mirror { destination: Some(destination), percentage: value.map(|value| Percent { value }) }), None)
}

fn redirect(filter: &RedirectFilter) -> HttpRedirect {
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    // Without a port, that of the new scheme, else the request's.
    let derive_port = match (filter.port, &filter.scheme) {
        (Some(_), _) => None,
        (None, Some(_)) => Some(RedirectPort::FromProtocolDefault),
        (None, None) => Some(RedirectPort::FromRequestPort),
    };
    let path = |kind: &str, value: fn(&PathModifier) -> &Option<String>| {
        filter.path.as_ref().filter(|p| p.r#type == kind).map(|p| text(value(p))).unwrap_or_default()
    };
    HttpRedirect {
        uri: path("ReplaceFullPath", |p| &p.replace_full_path),
        prefix_rewrite: path("ReplacePrefixMatch", |p| &p.replace_prefix_match),
        authority: text(&filter.hostname),
        port: filter.port,
        derive_port,
        scheme: text(&filter.scheme),
        redirect_code: filter.status_code.unwrap_or_default(),
    }
}

fn rewrite(filter: &RewriteFilter) -> Option<HttpRewrite> {
    let mut out = HttpRewrite { authority: filter.hostname.clone().unwrap_or_default(), ..HttpRewrite::default() };
    match filter.path.as_ref().map(|p| (p.r#type.as_str(), p)) {
        Some(("ReplacePrefixMatch", path)) => {
            let prefix = path.replace_prefix_match.as_deref().unwrap_or_default();
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            // `/` takes the prefix away.
            out.uri = if prefix.is_empty() { "/".to_owned() } else { prefix.to_owned() };
        }
        Some(("ReplaceFullPath", path)) => {
            out.uri_regex_rewrite = Some(RegexRewrite {
                r#match: "/.*".to_owned(),
                rewrite: path.replace_full_path.clone().unwrap_or_default(),
            });
        }
        _ => {}
    }
    (out != HttpRewrite::default()).then_some(out)
}

fn cors(filter: &CorsFilter) -> CorsPolicy {
    CorsPolicy {
        allow_origins: filter.allow_origins.iter().filter(|o| !o.is_empty()).map(|o| origin(o)).collect(),
        allow_methods: filter.allow_methods.clone(),
        allow_headers: filter.allow_headers.clone(),
        expose_headers: filter.expose_headers.clone(),
        max_age: filter.max_age.filter(|s| *s > 0).map(Duration::from_secs),
        allow_credentials: (filter.allow_credentials == Some(true)).then_some(true),
        unmatched_preflights: UnmatchedPreflights::Ignore,
        ..CorsPolicy::default()
    }
}

/// `*` is any origin, one `*` at the end a prefix, any other a pattern.
fn origin(text: &str) -> StringMatch {
    if text == "*" {
        let regex = r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s?#]+$".to_owned();
        return StringMatch { regex: Some(regex), ..StringMatch::default() };
    }
    match text.split_once('*') {
        None => StringMatch { exact: Some(text.to_owned()), ..StringMatch::default() },
        Some((prefix, "")) => StringMatch { prefix: Some(prefix.to_owned()), ..StringMatch::default() },
        Some(_) => {
            let parts: Vec<String> = text.split('*').map(regex::escape).collect();
            StringMatch { regex: Some(format!("^{}$", parts.join(".*"))), ..StringMatch::default() }
        }
    }
}

/// Retries and timeouts. A text that is no duration counts as absent: the schema refuses it.
pub(super) fn timing(rule: &mut HttpRoute, timeouts: Option<&HttpRouteTimeouts>, retry: Option<&HttpRouteRetry>) {
    let duration =
        |text: &Option<String>| text.as_deref().and_then(|t| t.parse::<Duration>().ok()).filter(|d| !d.is_zero());
    if let Some(retry) = retry {
        let attempts = retry.attempts.unwrap_or(2);
        let mut on: Vec<String> =
            ["connect-failure", "refused-stream", "unavailable", "cancelled"].map(str::to_owned).to_vec();
        on.extend(retry.codes.iter().map(ToString::to_string));
        rule.retries = Some(HttpRetry {
            attempts,
            retry_on: if attempts == 0 { String::new() } else { on.join(",") },
            backoff: duration(&retry.backoff),
            ..HttpRetry::default()
        });
    }
    let Some(timeouts) = timeouts else { return };
    rule.timeout = duration(&timeouts.request);
    if let Some(one) = duration(&timeouts.backend_request) {
        match &mut rule.retries {
            Some(retries) => retries.per_try_timeout = Some(one),
            None => rule.timeout = Some(one),
        }
    }
}
