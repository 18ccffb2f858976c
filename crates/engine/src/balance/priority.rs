//! Priorities and localities: which group of endpoints is asked.
//!
//! A priority keeps its load while 72 % of its endpoints are healthy (100 / 1.4, Envoy's overprovisioning factor); below, the
//! rest spills to the next. Below the panic threshold the health of a priority's endpoints is no longer believed.

use crate::ir::LbPolicy;

use super::{Host, Pick, Pool};

/// Envoy's default overprovisioning factor, percent.
const OVERPROVISIONING: f64 = 140.0;

/// The endpoints of one priority.
#[derive(Debug, Clone)]
pub(super) struct Priority {
    pub(super) level: u32,
    members: Vec<usize>,
    healthy: usize,
    /// Pools of healthy endpoints with their weights; several where localities are weighted.
    pools: Vec<(f64, Pool)>,
    /// Pool of all endpoints, where a panic can happen.
    all: Option<Pool>,
}

impl Priority {
    pub(super) fn new(level: u32, policy: LbPolicy, locality_weighted: bool, hosts: &[Host], can_panic: bool) -> Self {
        let of_level = || hosts.iter().enumerate().filter(move |(_, host)| host.priority == level);
        let members: Vec<usize> = of_level().map(|(at, _)| at).collect();
        let healthy: Vec<(usize, &Host)> = of_level().filter(|(_, host)| host.healthy).collect();
        let all: Vec<(usize, &Host)> = of_level().collect();
        let by_locality = locality_weighted.then(|| locality_shares(&all));
        let pools = match &by_locality {
            Some(shares) if !is_hashing(policy) => shares
                .iter()
                .map(|(locality, share)| {
                    let of_locality = || healthy.iter().filter(|(_, host)| host.locality == *locality);
                    (*share, Pool::new(policy, of_locality().map(|(at, host)| (*at, *host, host.weight))))
                })
                .filter(|(share, pool)| *share > 0.0 && !pool.is_empty())
                .collect(),
            shares => {
                let weight = |host: &Host| weight_in_ring(host, &healthy, shares.as_deref());
                vec![(1.0, Pool::new(policy, healthy.iter().map(|(at, host)| (*at, *host, weight(host)))))]
            }
        };
        let all = can_panic.then(|| Pool::new(policy, all.iter().map(|(at, host)| (*at, *host, host.weight))));
        Self { level, healthy: healthy.len(), members, pools, all }
    }

    pub(super) fn contains(&self, host: usize) -> bool {
        self.members.binary_search(&host).is_ok()
    }

    /// Percent of the load that it can carry.
    fn availability(&self) -> f64 {
        (OVERPROVISIONING * ratio(self.healthy, self.members.len())).min(100.0)
    }

    /// The group that takes this request.
    pub(super) fn pool(&self, panic: bool, pick: &mut Pick<'_>) -> Option<&Pool> {
        if panic {
            return self.all.as_ref();
        }
        if let [(_, only)] = self.pools.as_slice() {
            return Some(only);
        }
        let total: f64 = self.pools.iter().map(|(share, _)| share).sum();
        let mut left = unit(pick.hash.unwrap_or_else(|| (pick.random)())) * total;
        self.pools
            .iter()
            .find(|(share, _)| {
                left -= share;
                left < 0.0
            })
            .or(self.pools.last())
            .map(|(_, pool)| pool)
    }
}

/// Effective weight of each locality: its own, scaled down as its endpoints fail.
fn locality_shares(all: &[(usize, &Host)]) -> Vec<(usize, f64)> {
    let mut numbers: Vec<usize> = all.iter().map(|(_, host)| host.locality).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
        .into_iter()
        .map(|locality| {
            let of = || all.iter().filter(move |(_, host)| host.locality == locality);
            let healthy = of().filter(|(_, host)| host.healthy).count();
            let weight = of().next().map_or(0, |(_, host)| host.locality_weight);
            (locality, f64::from(weight) * (OVERPROVISIONING / 100.0 * ratio(healthy, of().count())).min(1.0))
        })
        .collect()
}

/// Share of an endpoint in one ring over all localities.
fn weight_in_ring(host: &Host, healthy: &[(usize, &Host)], shares: Option<&[(usize, f64)]>) -> f64 {
    let Some(shares) = shares else { return host.weight };
    let share = shares.iter().find(|(locality, _)| *locality == host.locality).map_or(0.0, |(_, share)| *share);
    let total: f64 =
        healthy.iter().filter(|(_, other)| other.locality == host.locality).map(|(_, other)| other.weight).sum();
    if total > 0.0 { share * host.weight / total } else { 0.0 }
}

fn is_hashing(policy: LbPolicy) -> bool {
    matches!(policy, LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. })
}

/// Chooses a priority, and whether it is in panic.
pub(super) fn choose<'a>(
    priorities: &'a [Priority],
    panic_threshold: u8,
    pick: &mut Pick<'_>,
) -> Option<(&'a Priority, bool)> {
    let usable = |p: &&Priority| !pick.avoid_priorities.contains(&p.level) && p.healthy > 0;
    let avoiding = !pick.avoid_priorities.is_empty() && priorities.iter().any(|p| usable(&p));
    let availability = |p: &Priority| if avoiding && !usable(&p) { 0.0 } else { p.availability() };
    let total = priorities.iter().map(availability).sum::<f64>().min(100.0);
    let in_panic =
        |p: &Priority| total < 100.0 && 100.0 * ratio(p.healthy, p.members.len()) < f64::from(panic_threshold.min(100));
    if let [only] = priorities {
        return Some((only, in_panic(only)));
    }
    if total <= 0.0 && panic_threshold == 0 {
        return None;
    }
    let number = unit(pick.hash.unwrap_or_else(|| (pick.random)())) * 100.0;
    if priorities.iter().all(in_panic) {
        let hosts: usize = priorities.iter().map(|p| p.members.len()).sum();
        return spread(priorities, number, |p| 100.0 * ratio(p.members.len(), hosts)).map(|p| (p, true));
    }
    let mut left = 100.0;
    let loads: Vec<f64> = priorities
        .iter()
        .map(|p| {
            let load = if total > 0.0 { (availability(p) * 100.0 / total).min(left) } else { 0.0 };
            left -= load;
            load
        })
        .collect();
    let mut loads = loads.into_iter();
    spread(priorities, number, |_| loads.next().unwrap_or(0.0)).map(|p| (p, in_panic(p)))
}

/// The priority into whose share `number` (0 to 100) falls; the last with a share where rounding leaves none.
fn spread(priorities: &[Priority], mut number: f64, mut load: impl FnMut(&Priority) -> f64) -> Option<&Priority> {
    let mut last = None;
    for priority in priorities {
        let share = load(priority);
        if share > 0.0 {
            last = Some(priority);
            if number < share {
                return last;
            }
        }
        number -= share;
    }
    last
}

#[expect(clippy::cast_precision_loss, reason = "counts of endpoints are far below 2^52")]
fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A random number as a fraction of one, from its upper bits.
#[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
pub(super) fn unit(random: u64) -> f64 {
    (xx_mix(random) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Spreads a key over all bits, so that a hash which places an endpoint does not also decide its locality in the same order.
fn xx_mix(key: u64) -> u64 {
    super::xxhash64(&key.to_le_bytes())
}
