//! The addresses of which something is known or asked: a bounded number, the one that was not used for longest going first.
//!
//! Threads share it. They take its lock only when they see an address for the first time; what is known of one is read
//! without, from its [`Slot`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use super::{PATIENCE, Whose};

/// Addresses that are known or asked for.
pub(super) const MOST: usize = 1024;
/// New addresses in one go, before their rate counts.
const BURST: u32 = 1024;
/// New addresses in a second.
const PER_SECOND: u32 = 64;

/// What is known of one address.
#[derive(Debug)]
pub(crate) struct Slot {
    address: IpAddr,
    /// `None`: there is no answer yet.
    whose: ArcSwapOption<Whose>,
    answered: Notify,
    asked: Instant,
    /// The table's count when it was last used.
    used: AtomicU64,
    forgotten: AtomicBool,
}

impl Slot {
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    pub(super) fn whose(&self) -> Option<Arc<Whose>> {
        self.whose.load_full()
    }

    /// Whether it still follows the control plane.
    pub(super) fn is_kept(&self) -> bool {
        !self.forgotten.load(Relaxed)
    }

    /// Whether an answer is worth waiting for.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.is_kept() && now.saturating_duration_since(self.asked) < PATIENCE
    }

    /// Waits for an answer, until that is no longer worth it.
    pub(super) async fn answered(&self) {
        let given_up = tokio::time::sleep_until((self.asked + PATIENCE).into());
        let mut answered = std::pin::pin!(self.answered.notified());
        // Whoever answers from now on is heard; who did before has left the answer.
        answered.as_mut().enable();
        if self.whose.load().is_some() || !self.is_kept() {
            return;
        }
        tokio::select! {
            () = answered => {}
            () = given_up => {}
        }
    }

    fn forget(&self) {
        self.forgotten.store(true, Relaxed);
        self.answered.notify_waiters();
    }
}

/// All slots.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Mutex<Slots>,
    /// Counts addresses that came to be known.
    count: AtomicU64,
}

#[derive(Debug, Default)]
struct Slots {
    by_address: HashMap<IpAddr, Arc<Slot>>,
    rate: Rate,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of an address. One that is new is `add`ed and may have another one `remove`d; `None`: too many are.
    pub(super) fn slot(
        &self,
        address: IpAddr,
        now: Instant,
        add: impl FnOnce(IpAddr),
        remove: impl FnOnce(IpAddr),
    ) -> Option<Arc<Slot>> {
        let mut slots = self.lock();
        if let Some(slot) = slots.by_address.get(&address) {
            self.note_use(slot);
            return Some(Arc::clone(slot));
        }
        if !slots.rate.take(now) {
            return None;
        }
        if slots.by_address.len() >= MOST
            && let Some(oldest) = slots.by_address.values().min_by_key(|slot| slot.used.load(Relaxed)).map(Arc::clone)
        {
            slots.by_address.remove(&oldest.address);
            oldest.forget();
            remove(oldest.address);
        }
        let slot = Arc::new(Slot {
            address,
            whose: ArcSwapOption::empty(),
            answered: Notify::new(),
            asked: now,
            used: AtomicU64::new(self.count.fetch_add(1, Relaxed) + 1),
            forgotten: AtomicBool::new(false),
        });
        slots.by_address.insert(address, Arc::clone(&slot));
        add(address);
        Some(slot)
    }

    /// Notes that a slot is used.
    pub(super) fn note_use(&self, slot: &Slot) {
        let now = self.count.load(Relaxed);
        // Mostly nothing has come since: then nothing is written that others read.
        if slot.used.load(Relaxed) != now {
            slot.used.store(now, Relaxed);
        }
    }

    /// Takes over what is known of an address now.
    pub(super) fn answer(&self, address: IpAddr, whose: Whose) {
        let slot = self.lock().by_address.get(&address).map(Arc::clone);
        if let Some(slot) = slot {
            slot.whose.store(Some(Arc::new(whose)));
            slot.answered.notify_waiters();
        }
    }

    /// All slots, by address.
    pub(super) fn all(&self) -> Vec<Arc<Slot>> {
        let mut all: Vec<_> = self.lock().by_address.values().map(Arc::clone).collect();
        all.sort_by_key(|slot| slot.address);
        all
    }
}

/// How fast new addresses are let through.
#[derive(Debug)]
struct Rate {
    left: u32,
    /// Up to when `left` has been counted.
    counted: Option<Instant>,
}

impl Default for Rate {
    fn default() -> Self {
        Self { left: BURST, counted: None }
    }
}

impl Rate {
    fn take(&mut self, now: Instant) -> bool {
        let each = Duration::from_secs(1) / PER_SECOND;
        let since = *self.counted.get_or_insert(now);
        let earned = now.saturating_duration_since(since).as_nanos() / each.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BURST);
            self.counted = Some(since.checked_add(each.saturating_mul(earned)).unwrap_or(now));
        }
        self.left.checked_sub(1).map(|left| self.left = left).is_some()
    }
}
