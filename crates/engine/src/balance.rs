//! Which endpoint of a cluster takes a request.
//!
//! A [`Balancer`] is built whenever the endpoints or their health change and is immutable, so that requests share it without a
//! lock; what changes from request to request (a counter, random numbers, how busy each endpoint is) is passed to
//! [`Balancer::pick`]. Ring and Maglev place keys exactly as Envoy does.

use crate::ir::{ClusterLoadAssignment, HealthStatus, LbPolicy, SlowStart, Str};

mod hash;
mod pool;
mod priority;
#[cfg(test)]
mod tests;

pub use hash::{HashOutcome, hash_key, xxhash64};

use pool::Pool;
use priority::Priority;

/// An endpoint as the balancer sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// Address as text, `10.0.0.1:8080`: the key of consistent hashing.
    pub key: Str,
    /// Share, with the ramp of a slow start in it.
    pub weight: f64,
    /// 0 is used first.
    pub priority: u32,
    /// Number of its locality: endpoints of the same number share its weight.
    pub locality: usize,
    /// Weight of its locality, where the localities of the cluster are weighted.
    pub locality_weight: u32,
    /// Whether it takes requests: known to be healthy and not ejected.
    pub healthy: bool,
}

/// The endpoints of an assignment in its order. `ejected` tells which ones outlier detection has taken out. Endpoints that are
/// draining, or whose address is not known, are not healthy.
pub fn hosts(assignment: &ClusterLoadAssignment, ejected: impl Fn(&str) -> bool) -> Vec<Host> {
    let localities = assignment.localities.iter().enumerate();
    localities
        .flat_map(|(number, locality)| locality.endpoints.iter().map(move |endpoint| (number, locality, endpoint)))
        .map(|(number, locality, endpoint)| {
            let key = match (&endpoint.address, &endpoint.host) {
                (Some(address), _) => address.to_string(),
                (None, Some((host, port))) => format!("{host}:{port}"),
                (None, None) => String::new(),
            };
            let known = matches!(endpoint.health, HealthStatus::Unknown | HealthStatus::Healthy);
            Host {
                healthy: known && !key.is_empty() && !ejected(&key),
                key: key.into(),
                weight: f64::from(endpoint.weight.max(1)),
                priority: locality.priority,
                locality: number,
                locality_weight: locality.weight.unwrap_or(1),
            }
        })
        .collect()
}

/// How much of its weight an endpoint has that joined so long ago.
pub fn slow_start_factor(ramp: &SlowStart, age: std::time::Duration) -> f64 {
    if age >= ramp.window || ramp.window.is_zero() {
        return 1.0;
    }
    let elapsed = age.as_secs_f64().max(1.0) / ramp.window.as_secs_f64();
    let aggression = if ramp.aggression > 0.0 { ramp.aggression } else { 1.0 };
    elapsed.powf(1.0 / aggression).max(ramp.min_weight_percent / 100.0).clamp(0.0, 1.0)
}

/// What varies from pick to pick.
pub struct Pick<'a> {
    /// Key of consistent hashing; without one a hashing balancer picks at random.
    pub hash: Option<u64>,
    /// Number of this pick, for taking turns; begins anywhere.
    pub counter: u64,
    /// Random numbers.
    pub random: &'a mut dyn FnMut() -> u64,
    /// Requests in flight at an endpoint.
    pub active: &'a dyn Fn(usize) -> u32,
    /// Endpoints that an earlier attempt of this request used, to be avoided.
    pub avoid: &'a [usize],
    /// How often to pick again in order to avoid them (`host_selection_retry_max_attempts`).
    pub reselections: u32,
    /// Priorities that earlier attempts used, to be avoided (`previous_priorities`).
    pub avoid_priorities: &'a [u32],
}

/// How the endpoints of a cluster are used. See the module.
#[derive(Debug, Clone)]
pub struct Balancer {
    priorities: Vec<Priority>,
    panic_threshold: u8,
}

impl Balancer {
    /// Arranges endpoints. The numbers that [`pick`](Self::pick) returns are positions in `hosts`. `panic_threshold` is the percentage
    /// of healthy endpoints below which all are used; `locality_weighted` spreads over localities by their weights.
    pub fn new(policy: LbPolicy, panic_threshold: u8, locality_weighted: bool, hosts: &[Host]) -> Self {
        let mut levels: Vec<u32> = hosts.iter().map(|host| host.priority).collect();
        levels.sort_unstable();
        levels.dedup();
        let priorities = levels
            .into_iter()
            .map(|level| Priority::new(level, policy, locality_weighted, hosts, panic_threshold > 0))
            .collect();
        Self { priorities, panic_threshold }
    }

    /// Picks an endpoint; `None`: no endpoint can take the request (`UH`).
    pub fn pick(&self, pick: &mut Pick<'_>) -> Option<usize> {
        let mut chosen = None;
        for attempt in 0..=u64::from(pick.reselections) {
            let (priority, panic) = priority::choose(&self.priorities, self.panic_threshold, pick)?;
            chosen = Some(priority.pool(panic, pick)?.choose(pick, attempt)?);
            if chosen.is_none_or(|host| !pick.avoid.contains(&host)) {
                break;
            }
        }
        chosen
    }

    /// Whether some endpoint would be picked.
    pub fn is_usable(&self) -> bool {
        let mut zero = || 0;
        let active = |_: usize| 0;
        let mut pick = Pick {
            hash: None,
            counter: 0,
            random: &mut zero,
            active: &active,
            avoid: &[],
            reselections: 0,
            avoid_priorities: &[],
        };
        self.pick(&mut pick).is_some()
    }

    /// The priority of an endpoint's position, for [`Pick::avoid_priorities`].
    pub fn priority_of(&self, host: usize) -> Option<u32> {
        self.priorities.iter().find(|priority| priority.contains(host)).map(|priority| priority.level)
    }
}
