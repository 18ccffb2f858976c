//! Whether a request is traced, where no caller has decided it: by its identifier, so that every proxy on its way decides alike.
//!
//! The decision travels in the version digit of `x-request-id`: `9` sampled at random, `a` forced by the service, `b` asked for by
//! the client (`x-client-trace-id`), anything else: none.

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::ir::Tracing;
use crate::request_id;

const CLIENT_TRACE_ID: HeaderName = HeaderName::from_static("x-client-trace-id");
/// Where in the identifier the decision is.
const DIGIT: usize = 14;
/// All of it.
const WHOLE: u64 = 1_000_000;

/// Decides, and writes the decision into the request's identifier. `random` stands in for an identifier that is no UUID. `room` is asked for
/// each request that would be traced for no other reason than chance: whether one more may.
pub fn decide(tracing: &Tracing, headers: &mut HeaderMap, random: u64, room: impl FnOnce() -> bool) -> bool {
    let id = headers.get(request_id::NAME).map(HeaderValue::as_bytes);
    if let Some(b'9' | b'a' | b'b') = id.filter(|id| id.len() == 36).and_then(|id| id.get(DIGIT)) {
        return true;
    }
    let number = id.and_then(request_id::stable_number).unwrap_or(random);
    let within = |share: u32| number % WHOLE < u64::from(share);
    if !within(tracing.overall_sampling) {
        return false;
    }
    let digit = if headers.contains_key(CLIENT_TRACE_ID) && within(tracing.client_sampling) {
        b'b'
    } else if within(tracing.random_sampling) && room() {
        b'9'
    } else {
        return false;
    };
    let id = headers.get(request_id::NAME).filter(|id| request_id::stable_number(id.as_bytes()).is_some());
    if let Some(id) = id {
        let mut text = id.as_bytes().to_vec();
        if let Some(slot) = text.get_mut(DIGIT) {
            *slot = digit;
        }
        if let Ok(value) = HeaderValue::from_bytes(&text) {
            headers.insert(request_id::NAME, value);
        }
    }
    true
}
