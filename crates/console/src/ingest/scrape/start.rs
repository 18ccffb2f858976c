//! When what a target counts with began, where it says so.
//!
//! A counter of a process that was started again may be higher than it was by the time that it is seen again, and nothing in it
//! shows that. What processes say of their start does.

use crate::store::Millis;

/// A sidecar's, as Istio's agent says it,
const SIDECAR: &str = "istio_agent_process_start_time_seconds ";
/// and anybody else's, as Prometheus' libraries say it.
const PROCESS: &str = "process_start_time_seconds ";
/// What sidecars count, also where what their application counts stands beside it.
const OF_SIDECARS: [&str; 3] = ["istio_", "envoy_", "varka_"];

/// When the processes of one target began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Starts {
    sidecar: Option<Millis>,
    process: Option<Millis>,
}

impl Starts {
    /// What a text says.
    pub(super) fn of(text: &str) -> Self {
        let mut starts = Self::default();
        for line in text.lines() {
            if let Some(value) = line.strip_prefix(SIDECAR) {
                starts.sidecar = millis(value);
            } else if let Some(value) = line.strip_prefix(PROCESS) {
                starts.process = millis(value);
            }
        }
        starts
    }

    /// When a series began, at the earliest.
    pub(super) fn of_series(&self, name: &str) -> Option<Millis> {
        let of_sidecar = self.sidecar.is_some() && OF_SIDECARS.iter().any(|prefix| name.starts_with(prefix));
        if of_sidecar { self.sidecar } else { self.process }
    }
}

/// Seconds as milliseconds, of a time that there can be.
fn millis(seconds: &str) -> Option<Millis> {
    let seconds: f64 = seconds.trim().parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "within the bounds of the range")]
    (0.0..1e12).contains(&seconds).then(|| (seconds * 1000.0).round() as Millis)
}
