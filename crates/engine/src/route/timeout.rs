//! How long a request may take.

use std::time::Duration;

use crate::facts::Request;
use crate::ir::RouteAction;

/// Limits of time of one request. `None`: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Whole request, retries included, from the end of the request to the end of the response.
    pub global: Option<Duration>,
    /// One attempt.
    pub per_try: Option<Duration>,
    /// Nothing moves in either direction; `Some(0)` off, `None` the connection manager's.
    pub idle: Option<Duration>,
}

/// The limits of a route for this request. A gRPC client's `grpc-timeout` replaces the route's limit where the route lets it,
/// up to the cap; a per-try limit that could never fire before the whole one is dropped, as Envoy does.
pub fn route_timeouts(action: &RouteAction, request: &Request<'_>) -> Timeouts {
    let global = match action.grpc_timeout_max {
        Some(max) if request.is_grpc() => {
            let asked = request
                .headers
                .get("grpc-timeout")
                .and_then(|value| grpc_timeout(value.as_bytes()))
                .unwrap_or(Duration::ZERO);
            match (max.is_zero(), asked.is_zero()) {
                (true, _) => asked,
                (false, true) => max,
                (false, false) => asked.min(max),
            }
        }
        _ => action.timeout.unwrap_or_default(),
    };
    let global = Some(global).filter(|t| !t.is_zero());
    let per_try = action
        .retry
        .as_ref()
        .and_then(|policy| policy.per_try_timeout)
        .filter(|t| !t.is_zero() && global.is_none_or(|limit| *t < limit));
    Timeouts { global, per_try, idle: action.idle_timeout }
}

/// How long the next attempt may take, after `elapsed` of the whole time; at least a millisecond, for 0 would mean no limit.
pub fn expected(timeouts: &Timeouts, elapsed: Duration) -> Option<Duration> {
    let limit = timeouts.per_try.or(timeouts.global)?;
    let left = timeouts.global.map_or(limit, |global| global.saturating_sub(elapsed));
    Some(limit.min(left).max(Duration::from_millis(1)))
}

/// `grpc-timeout`, in the smallest unit that eight digits have room for.
pub fn grpc_timeout_text(limit: Duration) -> String {
    const MOST: u128 = 99_999_999;
    let milliseconds = limit.as_millis();
    for (divisor, unit) in [(1, 'm'), (1000, 'S'), (60_000, 'M')] {
        if milliseconds / divisor <= MOST {
            return format!("{}{unit}", milliseconds / divisor);
        }
    }
    format!("{}H", (milliseconds / 3_600_000).min(MOST))
}

/// Parses `grpc-timeout`: at most eight digits and a unit of `H M S m u n`.
pub fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}
