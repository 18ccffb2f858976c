//! What an authorization service is asked over HTTP, and what its answer means (`envoy.filters.http.ext_authz`).
//!
//! The asking itself is the proxy's, and so is the message of gRPC; both kinds of answers become a [`Verdict`].

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE,
};

use crate::facts::Request;
use crate::ir::{AuthzBody, AuthzHttp, ExtAuthz, StringMatch};
use crate::matcher;

#[cfg(test)]
mod tests;

/// Says whether the body of a check is only a part.
const PARTIAL_BODY: HeaderName = HeaderName::from_static("x-envoy-auth-partial-body");
/// Names headers that the application is not to get.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// What the service says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The request goes on.
    Allow(Box<Allowed>),
    /// It is answered like this.
    Deny {
        /// Status.
        status: u16,
        /// Headers that replace those of that name.
        headers: HeaderMap,
        /// Body.
        body: Bytes,
    },
    /// It did not say anything that could be understood, or nothing at all.
    Error,
}

/// What a service that allows wants changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Request headers, each in place of what there is.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Request headers, added to what there is, and only if there is.
    pub append: Vec<(HeaderName, HeaderValue)>,
    /// Request headers that go.
    pub remove: Vec<HeaderName>,
    /// Response headers that are added.
    pub response_add: Vec<(HeaderName, HeaderValue)>,
    /// Response headers, each in place of what there is.
    pub response_set: Vec<(HeaderName, HeaderValue)>,
}

impl Allowed {
    /// Changes the request's headers.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.append {
            if let Some(old) = headers.get(name) {
                let joined = [old.as_bytes(), b",", value.as_bytes()].concat();
                if let Ok(joined) = HeaderValue::from_bytes(&joined) {
                    headers.insert(name, joined);
                }
            }
        }
        for name in self.remove.iter().filter(|name| **name != HOST) {
            headers.remove(name);
        }
    }

    /// Changes the response's headers.
    pub fn apply_response(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.response_add {
            headers.append(name, value.clone());
        }
        for (name, value) in &self.response_set {
            headers.insert(name, value.clone());
        }
    }
}

/// Whether this request is asked about.
pub fn is_enabled(filter: &ExtAuthz, request: &Request<'_>) -> bool {
    filter.enabled_metadata.as_ref().is_none_or(|wanted| matcher::metadata(wanted, request))
}

/// How much of a body there is for a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collected {
    /// More is wanted.
    More,
    /// It is all there, or all that is wanted; `partial`: there is more of it.
    Enough {
        /// Whether what is sent along is only a part.
        partial: bool,
    },
    /// It is longer than is accepted: 413.
    TooLarge,
}

/// Whether `length` bytes of a body are enough; `ended`: there is no more.
pub fn collected(settings: &AuthzBody, length: usize, ended: bool) -> Collected {
    let most = usize::try_from(settings.max_request_bytes).unwrap_or(usize::MAX);
    match (ended, length > most, settings.allow_partial) {
        (_, true, false) => Collected::TooLarge,
        (_, true, true) => Collected::Enough { partial: true },
        (true, false, _) => Collected::Enough { partial: false },
        (false, false, true) if length == most => Collected::Enough { partial: true },
        (false, false, _) => Collected::More,
    }
}

/// Headers of a check over HTTP: those that always go along, those that are configured, and what the body says of itself.
pub fn check_headers(
    filter: &ExtAuthz,
    service: &AuthzHttp,
    request: &Request<'_>,
    body: Option<(usize, bool)>,
) -> HeaderMap {
    let mut out = HeaderMap::new();
    let length = body.map_or(0, |(length, _)| length);
    out.insert(CONTENT_LENGTH, HeaderValue::from(length));
    for (name, value) in request.headers {
        let goes = *name == AUTHORIZATION || any(&filter.allowed_headers, name);
        if goes && *name != CONTENT_LENGTH && !is_of_connection(name) {
            out.append(name, value.clone());
        }
    }
    if let Some((_, partial)) = body {
        out.insert(PARTIAL_BODY, HeaderValue::from_static(if partial { "true" } else { "false" }));
    }
    for (name, value) in &service.headers_to_add {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            out.insert(name, value);
        }
    }
    out
}

/// A check is a request of its own, which frames itself.
fn is_of_connection(name: &HeaderName) -> bool {
    [http::header::TRANSFER_ENCODING, http::header::TE, http::header::EXPECT, http::header::CONNECTION].contains(name)
}

fn any(matchers: &[StringMatch], name: &HeaderName) -> bool {
    matchers.iter().any(|m| matcher::string(m, name.as_str().as_bytes()))
}

/// What an answer over HTTP means: 200 allows, 5xx says nothing, everything else denies.
pub fn answer(service: &AuthzHttp, status: u16, headers: &HeaderMap, body: Bytes) -> Verdict {
    match status {
        200 => Verdict::Allow(Box::new(allowed(service, headers))),
        500..=599 => Verdict::Error,
        _ => {
            let mut kept = HeaderMap::new();
            for (name, value) in headers.iter().filter(|(name, _)| reaches_client(service, name)) {
                kept.append(name, value.clone());
            }
            Verdict::Deny { status, headers: kept, body }
        }
    }
}

fn allowed(service: &AuthzHttp, headers: &HeaderMap) -> Allowed {
    let mut out = Allowed::default();
    for (name, value) in headers {
        if *name == TO_REMOVE {
            let names = value.to_str().unwrap_or_default().split(',');
            out.remove.extend(names.filter_map(|n| HeaderName::from_bytes(n.trim().as_bytes()).ok()));
            continue;
        }
        if any(&service.upstream_headers, name) {
            out.set.push((name.clone(), value.clone()));
        }
        if any(&service.client_headers_on_success, name) {
            out.response_add.push((name.clone(), value.clone()));
        }
    }
    out
}

/// Without a list every header of a denial, with one those of it and what a client cannot do without.
fn reaches_client(service: &AuthzHttp, name: &HeaderName) -> bool {
    if *name == HOST || *name == CONTENT_LENGTH || is_of_connection(name) {
        return false;
    }
    service.client_headers.is_empty()
        || *name == WWW_AUTHENTICATE
        || *name == LOCATION
        || any(&service.client_headers, name)
}
