//! The key of consistent hashing: from a header, a cookie, the client's address or the query.

use std::time::Duration;

use http::header::{COOKIE, HeaderValue};
use smallvec::SmallVec;
use twox_hash::XxHash64;

use crate::facts::Request;
use crate::ir::{HashKey, HashPolicy, Str};
use crate::matcher::query_value;

/// xxHash64 with seed 0, as Envoy hashes everything.
pub fn xxhash64(data: &[u8]) -> u64 {
    XxHash64::oneshot(0, data)
}

pub(super) fn xxhash64_seeded(data: &[u8], seed: u64) -> u64 {
    XxHash64::oneshot(seed, data)
}

/// The key of a request, and a cookie to send to the client so that its next request has the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HashOutcome {
    /// The key; `None`: no policy found one, and the pick is random.
    pub hash: Option<u64>,
    /// `set-cookie` for the response.
    pub set_cookie: Option<HeaderValue>,
}

/// Runs the policies in order: each that finds something is mixed in, a terminal one ends it.
pub fn hash_key(policies: &[HashPolicy], request: &Request<'_>) -> HashOutcome {
    let mut outcome = HashOutcome::default();
    for policy in policies {
        let found = match &policy.key {
            HashKey::Header(name) => header(name, request),
            HashKey::SourceIp => Some(xxhash64(request.remote_ip().to_string().as_bytes())),
            HashKey::Query(name) => query_value(request.query(), name).map(|value| xxhash64(value.as_bytes())),
            HashKey::Cookie { name, path, ttl, attributes } => match cookie(request, name) {
                Some(value) => Some(xxhash64(value.as_bytes())),
                None => ttl.map(|ttl| {
                    let value = made_up(request);
                    outcome.set_cookie = set_cookie(name, &value, path, ttl, attributes);
                    xxhash64(value.as_bytes())
                }),
            },
        };
        if let Some(found) = found {
            outcome.hash = Some(outcome.hash.unwrap_or(0).rotate_left(1) ^ found);
        }
        if policy.terminal && outcome.hash.is_some() {
            break;
        }
    }
    outcome
}

/// Several lines are hashed one after the other, in the order of their values.
fn header(name: &str, request: &Request<'_>) -> Option<u64> {
    let mut hashes: SmallVec<[Vec<u8>; 1]> = SmallVec::new();
    request.any_line(name, |line| {
        hashes.push(line.to_vec());
        false
    })?;
    hashes.sort_unstable();
    Some(hashes.iter().fold(0, |seed, line| xxhash64_seeded(line, seed)))
}

/// Value of a cookie, without quotes.
fn cookie<'a>(request: &Request<'a>, name: &str) -> Option<&'a str> {
    let lines = request.headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let value = pairs.find(|(key, _)| *key == name).map(|(_, value)| value)?;
    let value = value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value);
    (!value.is_empty()).then_some(value)
}

/// A value that all requests of one connection share.
fn made_up(request: &Request<'_>) -> String {
    let connection = request.connection;
    format!("{:016x}", xxhash64(format!("{}{}", request.remote_address, connection.original_dst).as_bytes()))
}

fn set_cookie(name: &str, value: &str, path: &Str, ttl: Duration, attributes: &[(Str, Str)]) -> Option<HeaderValue> {
    let mut text = format!("{name}=\"{value}\"");
    if !ttl.is_zero() {
        text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
    }
    if !path.is_empty() {
        text.push_str(&format!("; Path={path}"));
    }
    for (name, value) in attributes {
        let value = if value.is_empty() { String::new() } else { format!("={value}") };
        text.push_str(&format!("; {name}{value}"));
    }
    text.push_str("; HttpOnly");
    HeaderValue::try_from(text).ok()
}
