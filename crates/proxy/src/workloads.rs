//! Whose an address is, where a peer did not say who it is: the control plane is asked, and nobody waits for the answer.
//!
//! Only what is counted needs it. When a request or connection is over and its other side is not known, its address is looked
//! up, and what is counted is counted when the answer has come: in the background, for a bounded time, so that the first
//! request has the labels of all others and no request is held for them. Only addresses of connections that there really were
//! are asked for; how many are known and how fast new ones are asked for is limited; what was not used for longest is
//! forgotten. What is known follows the control plane, also that an address is nobody's. It fills labels, and never stands in
//! for an identity: where a certificate shows another one, it counts as not known.

mod table;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use varka_engine::ir;
use varka_telemetry::metrics::istio::{Workload, bounded};
use varka_xds::client::{Lookups, Update};

use crate::metrics::Who;
use crate::peer::Peer;
use crate::state::State;
use crate::worker::Worker;

pub(crate) use table::{Slot, Table};

/// An answer is waited for so long; after that its address counts as nobody's until there is one.
const PATIENCE: Duration = Duration::from_secs(2);
/// Requests and connections of a worker that may wait to be counted; further ones are counted without an answer.
const WAITING: usize = 1024;

/// What is known of an address.
#[derive(Debug)]
pub(crate) enum Whose {
    /// It is this workload's.
    Workload {
        /// As the control plane says.
        workload: Arc<ir::Workload>,
        /// The same as labels.
        labels: Peer,
        /// The identity that it would show.
        principal: Option<String>,
    },
    /// It is nobody's that the control plane knows for sure.
    Nobody,
}

impl Whose {
    fn of(workload: Arc<ir::Workload>) -> Self {
        let labels = Workload {
            name: bounded(&workload.workload_name),
            namespace: bounded(&workload.namespace),
            app: bounded(&workload.app),
            version: bounded(&workload.version),
            canonical_service: bounded(&workload.canonical_name),
            canonical_revision: bounded(&workload.canonical_revision),
            cluster: bounded(&workload.cluster_id),
        };
        Self::Workload { principal: workload.principal(), labels: Arc::new(labels), workload }
    }

    /// Its labels, if a peer that showed this identity (empty: none) can be it.
    fn labels(&self, shown: &str) -> Option<&Peer> {
        match self {
            Self::Workload { labels, principal, .. } => {
                (shown.is_empty() || principal.as_deref() == Some(shown)).then_some(labels)
            }
            Self::Nobody => None,
        }
    }
}

/// What all threads know of addresses.
#[derive(Debug)]
pub(crate) struct Workloads {
    /// Before each name that is asked for.
    network: String,
    table: Table,
    lookups: OnceLock<Lookups>,
}

impl Workloads {
    /// Nothing is known yet, and nobody can be asked.
    pub(crate) fn new(network: &str) -> Self {
        Self { network: network.to_owned(), table: Table::default(), lookups: OnceLock::new() }
    }

    /// Addresses are looked up by this.
    pub(crate) fn ask_by(&self, lookups: Lookups) {
        // There is one client for the life of the proxy.
        let _ = self.lookups.set(lookups);
    }

    /// What is known of an address, asked for now if need be; `None`: there is nobody to ask, or too much is asked.
    fn slot(&self, address: IpAddr, now: Instant) -> Option<Arc<Slot>> {
        let lookups = self.lookups.get()?;
        let name = |address| ir::Workload::name_of(&self.network, address);
        self.table.slot(address, now, |new| lookups.add(name(new)), |forgotten| lookups.remove(&name(forgotten)))
    }

    /// Takes over what the control plane says.
    pub(crate) fn told(&self, update: Update) {
        for resource in update.upserts {
            if let ir::Resource::Workload(name, workload) = resource {
                self.answer(&name, Whose::of(workload));
            }
        }
        // What is merely no longer looked up is not absent.
        for name in update.absent {
            self.answer(&name, Whose::Nobody);
        }
    }

    fn answer(&self, name: &str, whose: Whose) {
        if let Some((network, address)) = ir::Workload::address_of(name)
            && network == self.network
        {
            self.table.answer(address, whose);
        }
    }

    /// Everything that is known, by address.
    pub(crate) fn known(&self) -> Vec<(IpAddr, Option<Arc<Whose>>)> {
        self.table.all().into_iter().map(|slot| (slot.address(), slot.whose())).collect()
    }
}

/// What a worker has at hand of that, found without a lock.
#[derive(Debug, Default)]
pub(crate) struct Near {
    slots: RefCell<HashMap<IpAddr, Arc<Slot>>>,
    waiting: Cell<usize>,
    counted: Notify,
}

impl Near {
    /// Returns when nothing waits to be counted.
    pub(crate) async fn all_counted(&self) {
        while self.waiting.get() > 0 {
            self.counted.notified().await;
        }
    }

    /// Nothing waits any more from now on: the worker ends.
    pub(crate) fn count_at_once(&self) {
        self.waiting.set(WAITING);
    }

    /// What is known of an address. `ask`: it may be asked for.
    fn slot(&self, state: &State, address: IpAddr, ask: bool) -> Option<Arc<Slot>> {
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = slots.get(&address).filter(|slot| slot.is_kept()) {
            state.workloads.table.note_use(slot);
            return Some(Arc::clone(slot));
        }
        if !ask {
            return None;
        }
        let slot = state.workloads.slot(address, Instant::now())?;
        if slots.len() >= table::MOST {
            slots.clear();
        }
        slots.insert(address, Arc::clone(&slot));
        Some(slot)
    }
}

/// Whose the other side is.
#[derive(Debug)]
pub(crate) enum Found {
    /// This workload.
    Known(Peer),
    /// An answer is on its way.
    NotYet(Arc<Slot>),
    /// Nobody knows, or nobody needs to.
    Unknown,
}

/// Whose the other side of something that is over is, where it did not say so itself.
pub(crate) fn look_up(who: &Who<'_>) -> Found {
    if who.peer().is_some() || who.conn.chain.stats().is_none() {
        return Found::Unknown;
    }
    let Some((address, reached)) = who.other_side() else { return Found::Unknown };
    let worker = &who.conn.worker;
    match worker.workloads.slot(&worker.state, address.to_canonical(), reached) {
        Some(slot) => found(slot, who.principal()),
        None => Found::Unknown,
    }
}

fn found(slot: Arc<Slot>, shown: &str) -> Found {
    match slot.whose() {
        Some(whose) => whose.labels(shown).map_or(Found::Unknown, |labels| Found::Known(Arc::clone(labels))),
        None if slot.is_due(Instant::now()) => Found::NotYet(slot),
        None => Found::Unknown,
    }
}

/// Keeps `counted`, which is counted by being dropped, until an answer has come or has come to be given up.
pub(crate) fn when_known(worker: &Rc<Worker>, slot: Arc<Slot>, counted: impl Sized + 'static) {
    let waiting = &worker.workloads.waiting;
    if waiting.get() >= WAITING {
        return;
    }
    waiting.set(waiting.get() + 1);
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        slot.answered().await;
        drop(counted);
        let near = &worker.workloads;
        near.waiting.set(near.waiting.get().saturating_sub(1));
        near.counted.notify_one();
    });
}
