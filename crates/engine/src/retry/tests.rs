//! Retry conditions as Envoy reads them.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn policy(on: RetryOn, attempts: u32) -> RetryPolicy {
    RetryPolicy {
        on,
        attempts,
        per_try_timeout: None,
        status_codes: vec![],
        back_off: None,
        avoid_previous_hosts: true,
        host_selection_attempts: 5,
        remote_localities: false,
    }
}

/// Istio's default: `connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes` without codes.
fn istio_default() -> RetryPolicy {
    policy(
        RetryOn {
            connect_failure: true,
            refused_stream: true,
            unavailable: true,
            cancelled: true,
            status_codes: true,
            ..Default::default()
        },
        2,
    )
}

fn response(policy: &RetryPolicy, status: u16, lines: &[(&'static str, &'static str)]) -> bool {
    let headers = lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
    is_retriable(policy, &Attempt::Response { status, headers: &headers })
}

fn reset(policy: &RetryPolicy, reason: ResetReason, request_started: bool) -> bool {
    is_retriable(policy, &Attempt::Reset { reason, request_started })
}

#[test]
fn istio_does_not_retry_a_503_by_default() {
    let p = istio_default();
    assert!(!response(&p, 503, &[]));
    assert!(response(&p, 200, &[("grpc-status", "14")]) && !response(&p, 200, &[("grpc-status", "13")]));
    assert!(reset(&p, ResetReason::RemoteConnectionFailure, false) && reset(&p, ResetReason::ConnectionTimeout, false));
    assert!(reset(&p, ResetReason::RemoteRefusedStream, true));
    assert!(!reset(&p, ResetReason::ConnectionTermination, true) && !reset(&p, ResetReason::RemoteReset, true));
    assert!(!is_retriable(&p, &Attempt::PerTryTimeout));
}

#[test]
fn each_condition_alone() {
    let only = |on: RetryOn| policy(on, 1);
    let p = only(RetryOn { server_error: true, ..Default::default() });
    assert!(response(&p, 500, &[]) && response(&p, 599, &[]) && !response(&p, 499, &[]));
    assert!(reset(&p, ResetReason::ConnectionTermination, true) && is_retriable(&p, &Attempt::PerTryTimeout));
    let p = only(RetryOn { gateway_error: true, ..Default::default() });
    assert!(!response(&p, 500, &[]) && response(&p, 502, &[]) && response(&p, 504, &[]) && !response(&p, 505, &[]));
    let p = only(RetryOn { retriable_4xx: true, ..Default::default() });
    assert!(response(&p, 409, &[]) && !response(&p, 404, &[]));
    let mut p = only(RetryOn { status_codes: true, ..Default::default() });
    p.status_codes = vec![429];
    assert!(response(&p, 429, &[]) && !response(&p, 503, &[]));
    let p = only(RetryOn { reset_before_request: true, ..Default::default() });
    assert!(
        reset(&p, ResetReason::ConnectionTermination, false) && !reset(&p, ResetReason::ConnectionTermination, true)
    );
    let p = only(RetryOn { envoy_rate_limited: true, server_error: true, ..Default::default() });
    assert!(response(&p, 429, &[("x-envoy-ratelimited", "true")]));
    let p = only(RetryOn { server_error: true, ..Default::default() });
    assert!(!response(&p, 503, &[("x-envoy-ratelimited", "true")]));
}

#[test]
fn attempts_run_out() {
    let p = policy(RetryOn { server_error: true, ..Default::default() }, 3);
    let headers = HeaderMap::new();
    let bad = Attempt::Response { status: 503, headers: &headers };
    assert!(matches!(decide(&p, 3, &bad, true, 0), Verdict::After(_)));
    assert_eq!(decide(&p, 4, &bad, true, 0), Verdict::LimitExceeded);
    assert_eq!(decide(&p, 1, &bad, false, 0), Verdict::Overflow);
    assert_eq!(decide(&p, 4, &Attempt::Response { status: 200, headers: &headers }, true, 0), Verdict::No);
}

proptest! {
    #[test]
    fn overflow_is_never_retried(bits: u16) {
        let bit = |n: u16| bits & (1 << n) != 0;
        let on = RetryOn {
            server_error: bit(0), gateway_error: bit(1), reset: bit(2), reset_before_request: bit(3), connect_failure: bit(4),
            envoy_rate_limited: bit(5), retriable_4xx: bit(6), refused_stream: bit(7), status_codes: bit(8), cancelled: bit(9),
            deadline_exceeded: bit(10), internal: bit(11), resource_exhausted: bit(12), unavailable: bit(13),
        };
        prop_assert!(!reset(&policy(on, 1), ResetReason::Overflow, false));
    }

    #[test]
    fn back_off_stays_below_its_bound(attempt in 1u32..80, random: u64) {
        let how = RetryBackOff { base: Duration::from_millis(25), max: Duration::from_millis(250) };
        let bound = 25_u64.saturating_mul(1_u64.checked_shl(attempt - 1).unwrap_or(u64::MAX)).min(250);
        prop_assert!(back_off(how, attempt, random) < Duration::from_millis(bound));
    }
}
