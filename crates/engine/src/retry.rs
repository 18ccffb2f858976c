//! Whether a failed attempt is made again, and when.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::ir::{RetryBackOff, RetryOn, RetryPolicy};
use crate::outcome::ResetReason;

#[cfg(test)]
mod tests;

/// Envoy's back-off where the policy has none.
const DEFAULT_BACK_OFF: RetryBackOff =
    RetryBackOff { base: Duration::from_millis(25), max: Duration::from_millis(250) };

/// What came of an attempt that has not answered yet, or answered badly.
#[derive(Debug, Clone, Copy)]
pub enum Attempt<'a> {
    /// Response headers came. A gRPC failure shows in them when there is no body.
    Response {
        /// Status.
        status: u16,
        /// Headers.
        headers: &'a HeaderMap,
    },
    /// No response came.
    Reset {
        /// Why.
        reason: ResetReason,
        /// Whether any part of the request had been sent on the connection.
        request_started: bool,
    },
    /// The per-try timeout ran out.
    PerTryTimeout,
}

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Give the client what came.
    No,
    /// It would be retried, but no attempt is left: give the client what came, with flag `URX`.
    LimitExceeded,
    /// It would be retried, but the cluster's limit of concurrent retries is reached: flag `UO`.
    Overflow,
    /// Try again after this time.
    After(Duration),
}

/// Decides after attempt number `attempt` (the first is 1). `can_retry` is the cluster's circuit breaker for retries, `random`
/// spreads the back-off over `0..interval`.
pub fn decide(policy: &RetryPolicy, attempt: u32, outcome: &Attempt<'_>, can_retry: bool, random: u64) -> Verdict {
    if !is_retriable(policy, outcome) {
        Verdict::No
    } else if attempt > policy.attempts {
        Verdict::LimitExceeded
    } else if !can_retry {
        Verdict::Overflow
    } else {
        Verdict::After(back_off(policy.back_off.unwrap_or(DEFAULT_BACK_OFF), attempt, random))
    }
}

/// Whether the policy's conditions include this outcome.
pub fn is_retriable(policy: &RetryPolicy, outcome: &Attempt<'_>) -> bool {
    match outcome {
        Attempt::Response { status, headers } => response_is_retriable(policy, *status, headers),
        Attempt::Reset { reason, request_started } => reset_is_retriable(policy.on, *reason, *request_started),
        Attempt::PerTryTimeout => reset_is_retriable(policy.on, ResetReason::LocalReset, true),
    }
}

fn response_is_retriable(policy: &RetryPolicy, status: u16, headers: &HeaderMap) -> bool {
    let on = policy.on;
    if headers.contains_key(HeaderName::from_static("x-envoy-ratelimited")) {
        return on.envoy_rate_limited;
    }
    (on.server_error && (500..600).contains(&status))
        || (on.gateway_error && matches!(status, 502..=504))
        || (on.retriable_4xx && status == 409)
        || (on.status_codes && policy.status_codes.contains(&status))
        || grpc_is_retriable(on, headers)
}

fn grpc_is_retriable(on: RetryOn, headers: &HeaderMap) -> bool {
    if !(on.cancelled || on.deadline_exceeded || on.internal || on.resource_exhausted || on.unavailable) {
        return false;
    }
    match headers.get("grpc-status").map(http::HeaderValue::as_bytes) {
        Some(b"1") => on.cancelled,
        Some(b"4") => on.deadline_exceeded,
        Some(b"8") => on.resource_exhausted,
        Some(b"13") => on.internal,
        Some(b"14") => on.unavailable,
        _ => false,
    }
}

fn reset_is_retriable(on: RetryOn, reason: ResetReason, request_started: bool) -> bool {
    if reason == ResetReason::Overflow {
        return false;
    }
    on.reset
        || on.server_error
        || on.gateway_error
        || (on.reset_before_request && !request_started)
        || (on.refused_stream && reason == ResetReason::RemoteRefusedStream)
        || (on.connect_failure && reason.is_connect_failure())
}

/// Jittered exponential back-off before the retry that follows attempt number `attempt`: anything below
/// `base * 2^(attempt - 1)`, which `max` bounds.
pub fn back_off(how: RetryBackOff, attempt: u32, random: u64) -> Duration {
    let doubled = how.base.checked_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
    let interval = doubled.map_or(how.max, |interval| interval.min(how.max));
    let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random.checked_rem(millis).unwrap_or(0))
}
