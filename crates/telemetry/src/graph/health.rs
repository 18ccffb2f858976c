//! How well nodes and edges do, by Kiali's tolerances, and whether there is enough to say so.
//!
//! Two answers from the same numbers. [`tolerance`] is Kiali's arithmetic to the letter: one failed request of three is 33 %. The
//! [`Verdict`] beside it is ours: the same tolerances, but a state worse than healthy needs a share that is not chance
//! ([`significance`]), and it says by which rule, at which threshold, from how many requests.

use std::collections::BTreeMap;

use serde::Serialize;

use super::facts::Replicas;

pub mod significance;
pub mod tolerance;

pub use significance::{Interval, Verdict};
pub use tolerance::{Calculated, Config, Rate, Tolerance};

/// How well something does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum Status {
    /// Nothing can be said.
    #[default]
    #[serde(rename = "NA")]
    NotApplicable,
    /// All is well.
    Healthy,
    /// Scaled to zero.
    #[serde(rename = "Not Ready")]
    NotReady,
    /// Worse than it should be.
    Degraded,
    /// As good as broken.
    Failure,
}

impl Status {
    /// Kiali's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotApplicable => "NA",
            Self::Healthy => "Healthy",
            Self::NotReady => "Not Ready",
            Self::Degraded => "Degraded",
            Self::Failure => "Failure",
        }
    }

    /// By Kiali's name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::NotApplicable, Self::Healthy, Self::NotReady, Self::Degraded, Self::Failure];
        all.into_iter().find(|status| status.name() == name)
    }

    /// How bad it is, from 0.
    #[must_use]
    pub const fn priority(self) -> u8 {
        match self {
            Self::NotApplicable => 0,
            Self::Healthy => 1,
            Self::NotReady => 2,
            Self::Degraded => 3,
            Self::Failure => 4,
        }
    }

    /// The worse of two.
    #[must_use]
    pub const fn worse(self, other: Self) -> Self {
        if self.priority() > other.priority() { self } else { other }
    }
}

/// Requests a second, by protocol and code.
pub type ByCode = BTreeMap<String, BTreeMap<String, f64>>;

/// What something got and sent, by protocol and code.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Requests {
    /// As a server.
    pub inbound: ByCode,
    /// As a client.
    pub outbound: ByCode,
}

impl Requests {
    /// Both directions, with Kiali's words for them.
    pub fn directions(&self) -> [(&'static str, &ByCode); 2] {
        [("inbound", &self.inbound), ("outbound", &self.outbound)]
    }

    /// All requests a second.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.codes().map(|(_, rate)| rate).sum()
    }

    /// Share of HTTP statuses 4xx and 5xx, as Kiali takes it: by the first letter of any code. `None`: no requests.
    #[must_use]
    pub fn error_ratio(&self) -> Option<f64> {
        let total = self.total();
        let errors: f64 = self.codes().filter(|(code, _)| code.starts_with(['4', '5'])).map(|(_, rate)| rate).sum();
        (total != 0.0).then(|| errors / total)
    }

    fn codes(&self) -> impl Iterator<Item = (&str, f64)> {
        let protocols = self.inbound.values().chain(self.outbound.values());
        protocols.flatten().map(|(code, rate)| (code.as_str(), *rate))
    }
}

/// How well a workload does by its pods. `None`: nothing is known of them.
#[must_use]
pub fn of_replicas(replicas: Option<&Replicas>) -> Status {
    let Some(Replicas { desired, current, available, synced_proxies }) = replicas.copied() else {
        return Status::NotApplicable;
    };
    if desired == 0 {
        return Status::NotReady;
    }
    let some = desired > 0 && current > 0 && available > 0;
    if some && (current < desired || available < desired) {
        return Status::Degraded;
    }
    if (desired > 0 && available == 0) || (desired == available && available != current) {
        return Status::Failure;
    }
    let all_ready = desired == current && current == available;
    let unsynced = synced_proxies >= 0 && synced_proxies < desired;
    if all_ready && !unsynced { Status::Healthy } else { Status::Degraded }
}

/// How well a node does.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeHealth {
    /// What it got and sent.
    pub requests: Requests,
    /// Annotations that change its tolerances.
    pub annotations: BTreeMap<String, String>,
    /// Pods of its workloads.
    pub workloads: Vec<WorkloadReplicas>,
    /// Worst state of its workloads, by their pods.
    pub replicas: Status,
    /// By its requests, as far as they suffice.
    pub verdict: Verdict,
    /// The worse of both.
    pub status: Status,
    /// Kiali's; `None`: it calculates none.
    pub kiali: Option<Calculated>,
    /// Kiali's of the app that the node is a version of.
    pub kiali_app: Option<Calculated>,
}

/// Pods of one workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WorkloadReplicas {
    /// Name.
    pub name: String,
    /// How many there are.
    #[serde(flatten)]
    pub replicas: Replicas,
}

/// How well an edge does.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EdgeHealth {
    /// As far as there are enough requests.
    pub verdict: Verdict,
    /// Kiali's.
    pub kiali: Status,
}
