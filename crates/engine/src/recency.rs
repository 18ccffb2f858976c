//! When a name was used last, so that of many the one that nobody has used for longest can be given up.
//!
//! Time is counted in names: each new one is a step. Whoever uses a name notes the step, which is two reads, and a write only
//! for the first use in a step; nobody waits for anybody. Between steps nothing is given up, so nothing is lost by not telling
//! uses within one step apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts steps; a clone counts the same ones.
#[derive(Debug, Clone, Default)]
pub struct Steps(Arc<AtomicU64>);

/// When one name was used last; a clone is of the same name.
#[derive(Debug, Clone, Default)]
pub struct LastUse {
    now: Steps,
    at: Arc<AtomicU64>,
}

impl Steps {
    /// A new name, which is used now.
    pub fn name(&self) -> LastUse {
        let now = self.0.fetch_add(1, Relaxed).wrapping_add(1);
        LastUse { now: self.clone(), at: Arc::new(AtomicU64::new(now)) }
    }
}

impl LastUse {
    /// It is used now.
    pub fn note(&self) {
        let now = self.now.0.load(Relaxed);
        if self.at.load(Relaxed) != now {
            self.at.store(now, Relaxed);
        }
    }

    /// The step in which it was used last.
    pub fn at(&self) -> u64 {
        self.at.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_names_the_least_recently_used_is_known() {
        let steps = Steps::default();
        let names = [steps.name(), steps.name(), steps.name()];
        let oldest = |names: &[LastUse]| names.iter().enumerate().min_by_key(|(_, name)| name.at()).map(|(i, _)| i);
        assert_eq!(oldest(&names), Some(0));
        names[0].clone().note();
        assert_eq!(oldest(&names), Some(1));
        let _later = steps.name();
        names[1].note();
        assert_eq!(oldest(&names), Some(0));
    }
}
