//! Whether a share of errors says anything: one of three requests may be chance, three hundred of nine hundred are not.
//!
//! A share is taken as an interval (Wilson's, at 95 %), from the number of requests in the window. Something fails when even the
//! low end is at the threshold, and is degraded when it is at the lower one and the interval is not wide. A share that would make it
//! either, and does not reach that far, is not enough to tell. A single error of few requests never is.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::tolerance::{Compiled, Tolerance};
use super::{Requests, Status};

/// Square of the normal quantile for 95 %.
const Z: f64 = 1.96;
/// An interval that is wider, in percent, is too wide to call a share above the lower threshold more than chance.
const WIDEST: f64 = 25.0;
/// Errors at the least.
const ERRORS: f64 = 2.0;
/// So many requests make a single error worth telling.
const MANY: f64 = 100.0;

/// Between which shares, in percent, the true one lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Interval {
    /// Low end.
    pub low: f64,
    /// High end.
    pub high: f64,
}

impl Interval {
    /// Wilson's interval for so many errors of so many requests.
    #[must_use]
    pub fn of(errors: f64, all: f64) -> Self {
        if all <= 0.0 {
            return Self { low: 0.0, high: 100.0 };
        }
        let share = (errors / all).clamp(0.0, 1.0);
        let z2 = Z * Z;
        let centre = share + z2 / (2.0 * all);
        let spread = Z * (share * (1.0 - share) / all + z2 / (4.0 * all * all)).sqrt();
        let scale = 100.0 / (1.0 + z2 / all);
        Self { low: ((centre - spread) * scale).max(0.0), high: ((centre + spread) * scale).min(100.0) }
    }

    fn width(self) -> f64 {
        self.high - self.low
    }
}

/// What requests say, and why.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// State, as far as it is certain.
    pub status: Status,
    /// Errors were seen, and too few requests to tell what they mean.
    pub not_enough_data: bool,
    /// What decided; `None`: no requests, or none that anything is said of.
    pub reason: Option<Reason>,
}

/// The rule that decided, and from what.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// The rule.
    pub tolerance: Arc<Tolerance>,
    /// Protocol of the requests.
    pub protocol: String,
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// How many failed in the window.
    pub errors: f64,
    /// How many there were.
    pub all: f64,
    /// Share that failed, in percent.
    pub percent: f64,
    /// Where the true share lies, in percent.
    pub interval: Interval,
    /// What the share would mean if it were certain.
    pub if_certain: Status,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tolerance { code, degraded, failure, .. } = &*self.tolerance;
        let Interval { low, high } = self.interval;
        write!(
            f,
            "{} {}: {:.0} of {:.0} requests ended with {code} ({:.1} %, which may be {low:.1} % to {high:.1} %); \
             degraded from {degraded} %, failed from {failure} %",
            self.direction, self.protocol, self.errors, self.all, self.percent
        )
    }
}

/// Judges one share by one tolerance.
#[must_use]
pub fn judge(tolerance: &Compiled, errors: f64, all: f64) -> (Status, bool) {
    if all <= 0.0 {
        return (Status::NotApplicable, false);
    }
    let at_sight = tolerance.status(errors / all * 100.0);
    if at_sight.priority() <= Status::Healthy.priority() {
        return (at_sight, false);
    }
    let interval = Interval::of(errors, all);
    let enough = errors >= ERRORS || all >= MANY;
    let certain = tolerance.status(interval.low);
    if enough && certain == Status::Failure {
        return (Status::Failure, false);
    }
    if enough && certain == Status::Degraded && interval.width() <= WIDEST {
        return (Status::Degraded, false);
    }
    (Status::Healthy, true)
}

/// Judges all requests of something; numbers are how many there were.
#[must_use]
pub fn of_requests(requests: &Requests, tolerances: &[Compiled]) -> Verdict {
    let mut verdict = Verdict::default();
    for (direction, traffic) in requests.directions() {
        for (protocol, codes) in traffic {
            let codes: Vec<(&str, f64)> = codes.iter().map(|(code, count)| (code.as_str(), *count)).collect();
            verdict = worse(verdict, of_codes(protocol, direction, &codes, tolerances));
        }
    }
    verdict
}

/// Judges what one protocol says in one direction; numbers are how many requests ended so.
#[must_use]
pub fn of_codes(protocol: &str, direction: &'static str, codes: &[(&str, f64)], tolerances: &[Compiled]) -> Verdict {
    let mut verdict = Verdict::default();
    for tolerance in tolerances.iter().filter(|t| t.fits(protocol, Some(direction))) {
        let (errors, all) = tolerance.errors(codes.iter().copied());
        let (status, not_enough_data) = judge(tolerance, errors, all);
        if status == Status::NotApplicable {
            continue;
        }
        let percent = errors / all * 100.0;
        let reason = Reason {
            tolerance: Arc::clone(&tolerance.tolerance),
            protocol: protocol.to_owned(),
            direction,
            errors,
            all,
            percent,
            interval: Interval::of(errors, all),
            if_certain: tolerance.status(percent),
        };
        verdict = worse(verdict, Verdict { status, not_enough_data, reason: Some(reason) });
    }
    verdict
}

/// The worse of two; where both are alike, the one that saw errors.
pub(in super::super) fn worse(a: Verdict, b: Verdict) -> Verdict {
    let rank = |v: &Verdict| {
        let errors = v.reason.as_ref().map_or(0.0, |reason| reason.percent);
        (v.status.priority(), v.not_enough_data, errors)
    };
    if rank(&b) > rank(&a) { b } else { a }
}
