//! Status conditions as the built-in kinds keep them: one entry for each type, with the time of its last change.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A moment as Kubernetes writes it: whole seconds.
pub(crate) fn time(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// Whether a limit of `seconds` counted from `from` is over, and when it ends.
pub(crate) fn deadline(from: &Time, seconds: i64) -> Option<Timestamp> {
    from.0.checked_add(jiff::SignedDuration::from_secs(seconds)).ok()
}
