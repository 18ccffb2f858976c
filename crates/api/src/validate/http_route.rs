//! HTTP rules of a VirtualService.

use super::Validation;
use super::common::{duration, duration_or_zero, header_name, header_value, is_fqdn, percent, port};
use crate::istio::{
    CorsPolicy, Destination, Fault, GRPC_STATUS_NAMES, Headers, HttpMatch, HttpRetry, HttpRoute, Percent,
    RouteDestination, StringMatch,
};

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"];
const RETRY_ON: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// One rule; `is_delegate`: of a VirtualService without hosts.
pub(super) fn check(v: &mut Validation, path: &str, route: &HttpRoute, is_delegate: bool) {
    actions(v, path, route, is_delegate);
    for (i, m) in route.r#match.iter().enumerate() {
        condition(v, &format!("{path}.match[{i}]"), m);
    }
    headers(v, &format!("{path}.headers"), route.headers.as_ref());
    if let Some(fault) = &route.fault {
        faults(v, &format!("{path}.fault"), fault);
    }
    duration_or_zero(v, &format!("{path}.timeout"), route.timeout);
    if let Some(retries) = &route.retries {
        retry(v, &format!("{path}.retries"), retries);
    }
    if let Some(cors) = &route.cors_policy {
        cors_policy(v, &format!("{path}.corsPolicy"), cors);
    }
    mirrors(v, path, route);
    destinations(v, &format!("{path}.route"), &route.route);
}

fn actions(v: &mut Validation, path: &str, route: &HttpRoute, is_delegate: bool) {
    if let Some(delegate) = &route.delegate {
        if is_delegate {
            v.error(format!("{path}.delegate"), "a delegate cannot delegate further");
        }
        if !route.route.is_empty() || route.redirect.is_some() || route.direct_response.is_some() {
            v.error(path, "a rule that delegates cannot have a route, a redirect or a direct response of its own");
        }
        if delegate.name.is_empty() {
            v.error(format!("{path}.delegate.name"), "the delegate has no name");
        }
        return;
    }
    let kinds = [!route.route.is_empty(), route.redirect.is_some(), route.direct_response.is_some()];
    match kinds.iter().filter(|k| **k).count() {
        0 => v.error(path, "a rule needs a route, a redirect or a direct response"),
        1 => {}
        _ => v.error(path, "a rule has only one of route, redirect and direct response"),
    }
    if let Some(redirect) = &route.redirect {
        let path = format!("{path}.redirect");
        if route.rewrite.is_some() {
            v.error(&path, "a redirect cannot be combined with a rewrite");
        }
        if redirect.uri.is_empty()
            && redirect.authority.is_empty()
            && redirect.prefix_rewrite.is_empty()
            && redirect.scheme.is_empty()
            && redirect.port.is_none()
            && redirect.derive_port.is_none()
        {
            v.error(
                &path,
                "the redirect changes nothing: give a uri, a prefixRewrite, an authority, a scheme or a port",
            );
        }
        if !redirect.uri.is_empty() && !redirect.prefix_rewrite.is_empty() {
            v.error(&path, "only one of uri and prefixRewrite can be set");
        }
        if redirect.redirect_code != 0 && !(300..=399).contains(&redirect.redirect_code) {
            v.error(format!("{path}.redirectCode"), format!("{} is not a redirect status", redirect.redirect_code));
        }
        if !redirect.prefix_rewrite.is_empty()
            && route.r#match.iter().any(|m| m.uri.as_ref().is_some_and(|u| u.prefix.is_none()))
        {
            v.error(format!("{path}.prefixRewrite"), "a prefix can only be replaced where the match is by prefix");
        }
    }
    if let Some(direct) = &route.direct_response
        && !(200..=599).contains(&direct.status)
    {
        v.error(format!("{path}.directResponse.status"), format!("{} is not a status from 200 to 599", direct.status));
    }
    if let Some(rewrite) = &route.rewrite {
        let path = format!("{path}.rewrite");
        match &rewrite.uri_regex_rewrite {
            Some(regex) => {
                if !rewrite.uri.is_empty() {
                    v.error(&path, "only one of uri and uriRegexRewrite can be set");
                }
                if regex.r#match.is_empty() || regex.rewrite.is_empty() {
                    v.error(format!("{path}.uriRegexRewrite"), "both match and rewrite are needed");
                }
            }
            None if rewrite.uri.is_empty() && rewrite.authority.is_empty() => {
                v.error(&path, "the rewrite changes nothing: give a uri, a uriRegexRewrite or an authority");
            }
            None => {}
        }
        let sets =
            route.headers.as_ref().and_then(|h| h.request.as_ref()).is_some_and(|r| r.set.contains_key(":authority"));
        if sets && !rewrite.authority.is_empty() {
            v.error(&path, "the authority is set by a header and by a rewrite: one of them would be lost");
        }
    }
}

fn condition(v: &mut Validation, path: &str, m: &HttpMatch) {
    for (field, headers) in [("headers", &m.headers), ("withoutHeaders", &m.without_headers)] {
        for (name, value) in headers {
            let path = format!("{path}.{field}.{name}");
            if !name.starts_with('@') {
                header_name(v, &path, name);
            }
            text(v, &path, value, false);
        }
    }
    for (name, value) in &m.query_params {
        text(v, &format!("{path}.queryParams.{name}"), value, false);
    }
    for (name, value) in [("scheme", &m.scheme), ("method", &m.method), ("authority", &m.authority)] {
        if let Some(value) = value {
            text(v, &format!("{path}.{name}"), value, false);
        }
    }
    if let Some(uri) = &m.uri {
        text(v, &format!("{path}.uri"), uri, true);
    }
    if m.port != 0 {
        port(v, &format!("{path}.port"), m.port);
    }
}

/// Empty prefixes and patterns match by accident; of the path they are tolerated as prefixes.
fn text(v: &mut Validation, path: &str, m: &StringMatch, is_uri: bool) {
    if m.prefix.as_deref() == Some("") && !is_uri {
        v.error(path, "an empty prefix matches everything; leave the value out to ask for presence");
    }
    match m.regex.as_deref() {
        Some("") => v.error(path, "an empty regular expression matches the empty text alone"),
        Some(pattern) if pattern.len() > 1024 => v.error(path, "the regular expression is longer than 1024 bytes"),
        _ => {}
    }
}

fn headers(v: &mut Validation, path: &str, headers: Option<&Headers>) {
    let Some(headers) = headers else { return };
    for (side, operations) in [("request", &headers.request), ("response", &headers.response)] {
        let Some(operations) = operations else { continue };
        for (what, values) in [("set", &operations.set), ("add", &operations.add)] {
            for (name, value) in values {
                header_name(v, &format!("{path}.{side}.{what}"), name);
                header_value(v, &format!("{path}.{side}.{what}.{name}"), value);
            }
        }
        for name in &operations.remove {
            header_name(v, &format!("{path}.{side}.remove"), name);
        }
    }
}

/// A share from 0 to 100.
fn share(v: &mut Validation, path: &str, p: Option<&Percent>) {
    if p.is_some_and(|p| !(0.0..=100.0).contains(&p.value)) {
        v.error(path, "a percentage is from 0.0 to 100.0");
    }
    if p.is_some_and(|p| p.value > 0.0 && p.value < 0.0001) {
        v.error(path, "a percentage finer than 0.0001 cannot be told from zero");
    }
}

fn faults(v: &mut Validation, path: &str, fault: &Fault) {
    if fault.abort.is_none() && fault.delay.is_none() {
        v.error(path, "the fault says nothing: give a delay or an abort");
    }
    if let Some(delay) = &fault.delay {
        percent(v, &format!("{path}.delay.percent"), delay.percent.into());
        share(v, &format!("{path}.delay.percentage"), delay.percentage.as_ref());
        duration(v, &format!("{path}.delay.fixedDelay"), delay.fixed_delay);
        if delay.exponential_delay.is_some() {
            v.error(format!("{path}.delay.exponentialDelay"), "exponential delays are not supported; use fixedDelay");
        }
        if delay.fixed_delay.is_none() && delay.exponential_delay.is_none() {
            v.error(format!("{path}.delay"), "the delay has no fixedDelay");
        }
    }
    if let Some(abort) = &fault.abort {
        share(v, &format!("{path}.abort.percentage"), abort.percentage.as_ref());
        if abort.http_status.is_some_and(|s| !(200..=599).contains(&s)) {
            v.error(format!("{path}.abort.httpStatus"), "a status is from 200 to 599");
        }
        if abort.grpc_status.as_deref().is_some_and(|s| !GRPC_STATUS_NAMES.contains(&s)) {
            v.error(format!("{path}.abort.grpcStatus"), "this is not the name of a gRPC status");
        }
        if abort.http2_error.is_some() {
            v.error(format!("{path}.abort.http2Error"), "HTTP/2 errors are not supported; use httpStatus");
        }
        if abort.http_status.is_none() && abort.grpc_status.is_none() && abort.http2_error.is_none() {
            v.error(format!("{path}.abort"), "the abort has no status");
        }
    }
}

fn retry(v: &mut Validation, path: &str, r: &HttpRetry) {
    if r.attempts < 0 {
        v.error(format!("{path}.attempts"), "the number of attempts cannot be negative");
    }
    let configured = r.per_try_timeout.is_some() || !r.retry_on.is_empty() || r.retry_remote_localities.is_some();
    if r.attempts == 0 && configured {
        v.error(path, "with attempts 0 there are no retries, so the other settings would have no effect");
    }
    duration_or_zero(v, &format!("{path}.perTryTimeout"), r.per_try_timeout);
    duration(v, &format!("{path}.backoff"), r.backoff);
    for name in r.retry_on.split(',').map(str::trim).filter(|n| !n.is_empty()) {
        let status = name.parse::<u16>().is_ok_and(|s| (100..600).contains(&s));
        if !status && !RETRY_ON.contains(&name) {
            v.error(format!("{path}.retryOn"), format!("`{name}` is neither a retry condition nor a status"));
        }
    }
}

fn cors_policy(v: &mut Validation, path: &str, c: &CorsPolicy) {
    for (i, origin) in c.allow_origins.iter().enumerate() {
        let one = origin.exact.as_ref().or(origin.prefix.as_ref()).or(origin.regex.as_ref());
        if one.is_none_or(String::is_empty) {
            v.error(format!("{path}.allowOrigins[{i}]"), "the origin is empty");
        }
    }
    for method in &c.allow_methods {
        if !METHODS.contains(&method.as_str()) {
            v.error(format!("{path}.allowMethods"), format!("`{method}` is not a method"));
        }
    }
    for (field, names) in [("allowHeaders", &c.allow_headers), ("exposeHeaders", &c.expose_headers)] {
        for name in names.iter().filter(|name| *name != "*") {
            header_name(v, &format!("{path}.{field}"), name);
        }
    }
    duration(v, &format!("{path}.maxAge"), c.max_age);
}

fn mirrors(v: &mut Validation, path: &str, route: &HttpRoute) {
    if route.mirror.is_some() && !route.mirrors.is_empty() {
        v.error(path, "only one of mirror and mirrors can be set");
    }
    if route.mirror_percent.is_some_and(|p| p > 100) {
        v.error(format!("{path}.mirrorPercent"), "a percentage is at most 100");
    }
    share(v, &format!("{path}.mirrorPercentage"), route.mirror_percentage.as_ref());
    destination(v, &format!("{path}.mirror"), route.mirror.as_ref());
    for (i, mirror) in route.mirrors.iter().enumerate() {
        let path = format!("{path}.mirrors[{i}]");
        if mirror.destination.is_none() {
            v.error(&path, "the mirror has no destination");
        }
        share(v, &format!("{path}.percentage"), mirror.percentage.as_ref());
        destination(v, &format!("{path}.destination"), mirror.destination.as_ref());
    }
}

fn destinations(v: &mut Validation, path: &str, routes: &[RouteDestination]) {
    let mut total = 0i64;
    for (i, route) in routes.iter().enumerate() {
        let path = format!("{path}[{i}]");
        if route.destination.is_none() {
            v.error(&path, "the route has no destination");
        }
        destination(v, &format!("{path}.destination"), route.destination.as_ref());
        weight(v, &path, route.weight);
        total += i64::from(route.weight);
        headers(v, &format!("{path}.headers"), route.headers.as_ref());
    }
    if routes.len() > 1 && total == 0 {
        v.error(path, "no destination has a weight above zero, so no request goes anywhere");
    }
}

pub(super) fn weight(v: &mut Validation, path: &str, weight: i32) {
    if weight < 0 {
        v.error(format!("{path}.weight"), "a weight cannot be negative");
    }
}

/// A host that is one service, a subset that has a name, a port that is a number.
pub(super) fn destination(v: &mut Validation, path: &str, d: Option<&Destination>) {
    let Some(d) = d else { return };
    if d.host == "*" || !is_fqdn(&d.host) {
        v.error(format!("{path}.host"), format!("`{}` is not a host name", d.host));
    }
    if !d.subset.is_empty() && !super::common::is_label(&d.subset) {
        v.error(format!("{path}.subset"), format!("`{}` is not a subset name", d.subset));
    }
    if let Some(p) = &d.port {
        port(v, &format!("{path}.port.number"), p.number);
    }
}
