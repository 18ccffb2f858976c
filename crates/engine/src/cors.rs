//! Cross-origin requests (`envoy.filters.http.cors`).
//!
//! A preflight of an allowed origin is answered here, whatever method it asks for; other requests go on, and their responses
//! get the headers of the policy in place of the upstream's.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderMap, HeaderName, HeaderValue, ORIGIN,
};

use crate::facts::Request;
use crate::ir::Cors;
use crate::matcher;

#[cfg(test)]
mod tests;

/// What the policy makes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Not cross-origin, or an origin that is not allowed: go on, leave the response alone.
    Pass,
    /// Go on, and put these headers on the response ([`apply_response`]).
    Annotate(HeaderValue),
    /// Answer the preflight with 200 and these headers.
    Preflight(HeaderMap),
}

/// Decides about a request.
pub fn decide(policy: &Cors, request: &Request<'_>) -> Decision {
    let Some(origin) = request.headers.get(ORIGIN).filter(|origin| !origin.is_empty()) else { return Decision::Pass };
    let allowed = policy.origins.iter().any(|o| matcher::string(o, b"*") || matcher::string(o, origin.as_bytes()));
    let preflight = request.method == "OPTIONS"
        && request.headers.get(ACCESS_CONTROL_REQUEST_METHOD).is_some_and(|method| !method.is_empty());
    match (preflight, allowed) {
        (true, true) => Decision::Preflight(preflight_headers(policy, Some(origin))),
        (true, false) if !policy.forward_unmatched_preflights => Decision::Preflight(preflight_headers(policy, None)),
        (false, true) => Decision::Annotate(origin.clone()),
        (_, false) => Decision::Pass,
    }
}

fn preflight_headers(policy: &Cors, origin: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(origin) = origin {
        allow(policy, origin, &mut headers);
    }
    set(&mut headers, ACCESS_CONTROL_ALLOW_METHODS, &policy.methods);
    set(&mut headers, ACCESS_CONTROL_ALLOW_HEADERS, &policy.headers);
    set(&mut headers, ACCESS_CONTROL_MAX_AGE, &policy.max_age);
    if origin.is_some() {
        set(&mut headers, ACCESS_CONTROL_EXPOSE_HEADERS, &policy.expose_headers);
    }
    headers
}

fn allow(policy: &Cors, origin: &HeaderValue, headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if policy.credentials {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

/// Puts the policy's headers on the response to a request of an allowed origin.
pub fn apply_response(policy: &Cors, origin: &HeaderValue, headers: &mut HeaderMap) {
    allow(policy, origin, headers);
    set(headers, ACCESS_CONTROL_EXPOSE_HEADERS, &policy.expose_headers);
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if !value.is_empty()
        && let Ok(value) = HeaderValue::from_str(value)
    {
        headers.insert(name, value);
    }
}
