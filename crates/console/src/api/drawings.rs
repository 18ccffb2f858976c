//! Graphs that were drawn a moment ago, for everybody who asks for the same.
//!
//! A graph of a small mesh is made anew as good as each time. One of thousands of edges takes a while: whoever asks is answered with what
//! there is, of the moment that it says it is of, and the next is made meanwhile. What there is is never older than a scrape is at most.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::graph::Drawn;
use crate::jaeger::blocking;
use crate::store::Error;

/// Making graphs takes at most this share of a processor: one is as fresh as if new for so many times what it took.
const FRESH: u32 = 10;
/// Older than this is for nobody.
const STALE: Duration = Duration::from_secs(15);
/// What takes less is waited for.
const QUICK: Duration = Duration::from_millis(30);
/// Different graphs that are kept.
const MOST: usize = 64;

/// The graphs; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Drawings(Arc<Mutex<HashMap<String, Arc<Slot>>>>);

/// A graph that somebody asked for.
#[derive(Debug, Default)]
struct Slot {
    made: Mutex<Option<Made>>,
    /// One is made now; who has nothing yet waits for it.
    making: tokio::sync::Mutex<()>,
    renewing: AtomicBool,
}

#[derive(Debug, Clone)]
struct Made {
    at: Instant,
    took: Duration,
    drawn: Arc<Drawn>,
}

impl Made {
    fn answers(&self) -> bool {
        let age = self.at.elapsed();
        age <= self.took * FRESH || self.took > QUICK && age <= STALE
    }

    fn is_fresh(&self) -> bool {
        self.at.elapsed() <= self.took * FRESH
    }
}

impl Slot {
    fn made(&self) -> Option<Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(Made::answers)
    }

    async fn make(&self, draw: impl FnOnce() -> Result<Drawn, Error> + Send + 'static) -> Result<Arc<Drawn>, Error> {
        let at = Instant::now();
        let drawn = Arc::new(blocking(draw).await?);
        let made = Made { at, took: at.elapsed(), drawn: Arc::clone(&drawn) };
        let before = self.made.lock().unwrap_or_else(PoisonError::into_inner).replace(made);
        let_go(before.map(|before| before.drawn));
        Ok(drawn)
    }
}

/// Takes a graph apart where it holds nobody up: a large one is a million pieces.
pub(super) fn let_go(drawn: Option<Arc<Drawn>>) {
    if let Some(drawn) = drawn {
        drop(tokio::task::spawn_blocking(move || drop(drawn)));
    }
}

impl Drawings {
    /// The graph of a name, drawn where there is none that still answers.
    pub(super) async fn get(
        &self,
        name: String,
        draw: impl FnOnce() -> Result<Drawn, Error> + Send + 'static,
    ) -> Result<Arc<Drawn>, Error> {
        let slot = self.slot(name);
        if let Some(made) = slot.made() {
            if !made.is_fresh() && !slot.renewing.swap(true, SeqCst) {
                let slot = Arc::clone(&slot);
                tokio::spawn(async move {
                    if let Err(problem) = slot.make(draw).await {
                        tracing::warn!(%problem, "a graph is not renewed");
                    }
                    slot.renewing.store(false, SeqCst);
                });
            }
            return Ok(made.drawn);
        }
        let _alone = slot.making.lock().await;
        match slot.made() {
            Some(made) => Ok(made.drawn),
            None => slot.make(draw).await,
        }
    }

    fn slot(&self, name: String) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST && !slots.contains_key(&name) {
            slots.retain(|_, slot| slot.made().is_some() || slot.making.try_lock().is_err());
            if slots.len() >= MOST {
                slots.clear();
            }
        }
        Arc::clone(slots.entry(name).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use super::{Drawings, Drawn, STALE};

    /// A graph that takes its time, and how often it was drawn.
    fn drawing(count: &Arc<AtomicUsize>, takes: u64) -> impl FnOnce() -> Result<Drawn, super::Error> + Send + use<> {
        let count = Arc::clone(count);
        move || {
            std::thread::sleep(Duration::from_millis(takes));
            let number = count.fetch_add(1, SeqCst);
            let mut drawn = Drawn::default();
            drawn.timestamp = i64::try_from(number).unwrap();
            Ok(drawn)
        }
    }

    #[tokio::test]
    async fn many_who_ask_for_the_same_share_one() {
        let (drawings, count) = (Drawings::default(), Arc::new(AtomicUsize::new(0)));
        let ask = || drawings.get("a".to_owned(), drawing(&count, 100));
        let (a, b, c) = tokio::join!(ask(), ask(), ask());
        assert_eq!([a, b, c].map(|drawn| drawn.unwrap().timestamp), [0, 0, 0]);
        assert_eq!(drawings.get("b".to_owned(), drawing(&count, 0)).await.unwrap().timestamp, 1, "another");
    }

    #[tokio::test]
    async fn what_is_too_old_is_drawn_anew() {
        let (drawings, count) = (Drawings::default(), Arc::new(AtomicUsize::new(0)));
        for expected in [0, 1] {
            assert_eq!(drawings.get("a".to_owned(), drawing(&count, 100)).await.unwrap().timestamp, expected);
            let slot = drawings.slot("a".to_owned());
            slot.made.lock().unwrap().as_mut().unwrap().at -= STALE * 2;
        }
    }
}
