//! Retry policies.

use varka_api::istio::{HttpRetry, MeshConfig};
use varka_engine::ir::{RetryBackOff, RetryOn, RetryPolicy};

/// Retries where a route says nothing: the mesh's, else Istio's. With a consistent hash the same host is asked again.
pub(crate) fn default_policy(mesh: &MeshConfig, hashed: bool) -> Option<RetryPolicy> {
    match &mesh.default_http_retry_policy {
        Some(own) => convert(own, hashed),
        None => Some(istio_default(hashed)),
    }
}

fn istio_default(hashed: bool) -> RetryPolicy {
    RetryPolicy {
        on: RetryOn {
            connect_failure: true,
            refused_stream: true,
            unavailable: true,
            cancelled: true,
            status_codes: true,
            ..RetryOn::default()
        },
        attempts: 2,
        per_try_timeout: None,
        status_codes: Vec::new(),
        back_off: None,
        avoid_previous_hosts: !hashed,
        host_selection_attempts: 5,
        remote_localities: false,
    }
}

/// A route's own retries; `None`: it wants none.
pub(super) fn convert(own: &HttpRetry, hashed: bool) -> Option<RetryPolicy> {
    let attempts = u32::try_from(own.attempts).ok().filter(|a| *a > 0)?;
    let mut policy = istio_default(hashed);
    policy.attempts = attempts;
    if !own.retry_on.is_empty() {
        (policy.on, policy.status_codes) = conditions(&own.retry_on);
    }
    policy.per_try_timeout = own.per_try_timeout.map(|d| d.to_std()).filter(|d| !d.is_zero());
    if own.retry_ignore_previous_hosts == Some(false) {
        policy.avoid_previous_hosts = false;
    }
    policy.remote_localities = own.retry_remote_localities == Some(true);
    policy.back_off = own.backoff.map(|d| {
        let base = d.to_std();
        RetryBackOff { base, max: base.saturating_mul(10) }
    });
    Some(policy)
}

/// Names of conditions; a number is a status code.
fn conditions(text: &str) -> (RetryOn, Vec<u16>) {
    let mut on = RetryOn::default();
    let mut codes = Vec::new();
    for part in text.split(',').map(str::trim) {
        match part {
            "5xx" => on.server_error = true,
            "gateway-error" => on.gateway_error = true,
            "reset" => on.reset = true,
            "reset-before-request" => on.reset_before_request = true,
            "connect-failure" => on.connect_failure = true,
            "envoy-ratelimited" => on.envoy_rate_limited = true,
            "retriable-4xx" => on.retriable_4xx = true,
            "refused-stream" => on.refused_stream = true,
            "retriable-status-codes" => on.status_codes = true,
            "cancelled" => on.cancelled = true,
            "deadline-exceeded" => on.deadline_exceeded = true,
            "internal" => on.internal = true,
            "resource-exhausted" => on.resource_exhausted = true,
            "unavailable" => on.unavailable = true,
            _ => {
                if let Ok(code) = part.parse() {
                    codes.push(code);
                    on.status_codes = true;
                }
            }
        }
    }
    (on, codes)
}
