//! Circuit breakers and outlier detection.

use std::time::Duration;

use varka_engine::ir::{CircuitBreakers, OutlierDetection};
use varka_proto::envoy::cluster::{
    self as pb,
    circuit_breakers::{Thresholds, thresholds::RetryBudget},
};

use super::refusal::{At, Decoded, open};
use super::value::{duration, percent, percent_to_millionths, to_duration, u32_or, u32_value};

/// Share in millionths and least number.
type Budget = Option<(u32, u32)>;

/// Envoy's limits where none are given.
pub(super) const ENVOY_DEFAULT: (CircuitBreakers, Budget) =
    (CircuitBreakers { max_connections: 1024, max_pending_requests: 1024, max_requests: 1024, max_retries: 3 }, None);
/// Envoy's retry budget where it is given without figures: 20 percent, at least 3.
const DEFAULT_BUDGET: (u32, u32) = (200_000, 3);

pub(super) fn encode_breakers(c: CircuitBreakers, budget: Budget) -> pb::CircuitBreakers {
    let thresholds = Thresholds {
        max_connections: Some(u32_value(c.max_connections)),
        max_pending_requests: Some(u32_value(c.max_pending_requests)),
        max_requests: Some(u32_value(c.max_requests)),
        max_retries: Some(u32_value(c.max_retries)),
        retry_budget: budget.map(|(share, least)| RetryBudget {
            budget_percent: Some(percent(share)),
            min_retry_concurrency: Some(u32_value(least)),
            ..Default::default()
        }),
        ..Default::default()
    };
    pb::CircuitBreakers { thresholds: vec![thresholds], ..Default::default() }
}

pub(super) fn decode_breakers(at: &At<'_>, c: pb::CircuitBreakers) -> Decoded<(CircuitBreakers, Budget)> {
    open!(at, c => pb::CircuitBreakers { thresholds } refuse { per_host_thresholds });
    let mut thresholds = thresholds.into_iter();
    let (Some(only), None) = (thresholds.next(), thresholds.next()) else {
        return Err(at.not_implemented("a number of thresholds other than one"));
    };
    let at = &at.item("thresholds", 0);
    open!(at, only => Thresholds { max_connections, max_pending_requests, max_requests, max_retries, retry_budget }
        refuse { priority, max_connection_pools } harmless { track_remaining });
    let budget = at.maybe("retry_budget", retry_budget, |at, b| {
        open!(at, b => RetryBudget { budget_percent, min_retry_concurrency } refuse { budget_interval });
        let share = at.maybe("budget_percent", budget_percent, percent_to_millionths)?;
        Ok((share.unwrap_or(DEFAULT_BUDGET.0), u32_or(min_retry_concurrency, DEFAULT_BUDGET.1)))
    })?;
    let (default, _) = ENVOY_DEFAULT;
    let breakers = CircuitBreakers {
        max_connections: u32_or(max_connections, default.max_connections),
        max_pending_requests: u32_or(max_pending_requests, default.max_pending_requests),
        max_requests: u32_or(max_requests, default.max_requests),
        max_retries: u32_or(max_retries, default.max_retries),
    };
    Ok((breakers, budget))
}

/// A count of zero is said by not enforcing it.
pub(super) fn encode_outlier(o: &OutlierDetection) -> pb::OutlierDetection {
    let enforcing = |count: u32| Some(u32_value(if count == 0 { 0 } else { 100 }));
    pb::OutlierDetection {
        consecutive_5xx: Some(u32_value(o.consecutive_5xx)),
        enforcing_consecutive_5xx: enforcing(o.consecutive_5xx),
        consecutive_gateway_failure: Some(u32_value(o.consecutive_gateway)),
        enforcing_consecutive_gateway_failure: enforcing(o.consecutive_gateway),
        split_external_local_origin_errors: o.split_local_origin,
        consecutive_local_origin_failure: Some(u32_value(o.consecutive_local)),
        enforcing_consecutive_local_origin_failure: enforcing(o.consecutive_local),
        interval: Some(duration(o.interval)),
        base_ejection_time: Some(duration(o.base_ejection)),
        max_ejection_time: Some(duration(o.max_ejection)),
        max_ejection_percent: Some(u32_value(o.max_ejection_percent)),
        enforcing_success_rate: Some(u32_value(0)),
        enforcing_local_origin_success_rate: Some(u32_value(0)),
        ..Default::default()
    }
}

/// What Envoy takes for a field that is not given.
struct Defaults;

impl Defaults {
    const CONSECUTIVE: u32 = 5;
    const INTERVAL: Duration = Duration::from_secs(10);
    const BASE_EJECTION: Duration = Duration::from_secs(30);
    const MAX_EJECTION: Duration = Duration::from_secs(300);
    const MAX_EJECTION_PERCENT: u32 = 10;
}

pub(super) fn decode_outlier(at: &At<'_>, o: pb::OutlierDetection) -> Decoded<OutlierDetection> {
    // The figures of detections that must be off; an endpoint can not be uneject by health checks that there are not.
    open!(at, o => pb::OutlierDetection { consecutive_5xx, interval, base_ejection_time, max_ejection_percent,
            enforcing_consecutive_5xx, enforcing_success_rate, consecutive_gateway_failure,
            enforcing_consecutive_gateway_failure, split_external_local_origin_errors,
            consecutive_local_origin_failure, enforcing_consecutive_local_origin_failure,
            enforcing_local_origin_success_rate, enforcing_failure_percentage,
            enforcing_failure_percentage_local_origin, max_ejection_time, always_eject_one_host,
            detect_degraded_hosts }
        refuse { max_ejection_time_jitter, monitors }
        harmless { success_rate_minimum_hosts, success_rate_request_volume, success_rate_stdev_factor,
            failure_percentage_threshold, failure_percentage_minimum_hosts, failure_percentage_request_volume,
            successful_active_health_check_uneject_host });
    at.off("always_eject_one_host", always_eject_one_host)?;
    at.off("detect_degraded_hosts", detect_degraded_hosts)?;
    // Envoy detects by success rate unless it is told not to.
    let off = |name, value, default| match u32_or(value, default) {
        0 => Ok(()),
        _ => Err(at.not_implemented(format!("{name} other than 0"))),
    };
    off("enforcing_success_rate", enforcing_success_rate, 100)?;
    off("enforcing_failure_percentage", enforcing_failure_percentage, 0)?;
    off("enforcing_failure_percentage_local_origin", enforcing_failure_percentage_local_origin, 0)?;
    if split_external_local_origin_errors {
        off("enforcing_local_origin_success_rate", enforcing_local_origin_success_rate, 100)?;
    }
    let count = |name, count, enforcing, default| match u32_or(enforcing, default) {
        0 => Ok(0),
        100 => Ok(u32_or(count, Defaults::CONSECUTIVE)),
        _ => Err(at.not_implemented(format!("{name} other than 0 and 100"))),
    };
    let duration = |name, value, default| Ok(at.maybe(name, value, to_duration)?.unwrap_or(default));
    Ok(OutlierDetection {
        consecutive_5xx: count("enforcing_consecutive_5xx", consecutive_5xx, enforcing_consecutive_5xx, 100)?,
        consecutive_gateway: count(
            "enforcing_consecutive_gateway_failure",
            consecutive_gateway_failure,
            enforcing_consecutive_gateway_failure,
            0,
        )?,
        split_local_origin: split_external_local_origin_errors,
        consecutive_local: count(
            "enforcing_consecutive_local_origin_failure",
            consecutive_local_origin_failure,
            enforcing_consecutive_local_origin_failure,
            100,
        )?,
        interval: duration("interval", interval, Defaults::INTERVAL)?,
        base_ejection: duration("base_ejection_time", base_ejection_time, Defaults::BASE_EJECTION)?,
        max_ejection: duration("max_ejection_time", max_ejection_time, Defaults::MAX_EJECTION)?,
        max_ejection_percent: u32_or(max_ejection_percent, Defaults::MAX_EJECTION_PERCENT),
    })
}
