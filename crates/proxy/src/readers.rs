//! Who reads our metrics, so that the last counts are read before the proxy ends.
//!
//! What was counted since the last scrape would be lost with the process. So a proxy that has drained stays a moment for those
//! who come anyway: the console, which asks a pod that ends several times a second, and whoever's next scrape falls into that
//! moment. A Prometheus that asks every 15 seconds is mostly not waited for, and loses what it loses with Istio. A reader is a
//! connection: who has closed it, or had the last counts on it and closed it then, holds nobody up.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use http::header::USER_AGENT;

use crate::own_server::OwnRequest;

/// The end waits at most so long.
const LIMIT: Duration = Duration::from_secs(2);
/// How often it looks whether it still must.
const LOOK: Duration = Duration::from_millis(5);
/// How the console names itself.
const CONSOLE: &str = "varka/";

/// Everybody who reads metrics.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    known: Mutex<Vec<Reader>>,
    last: AtomicBool,
}

#[derive(Debug)]
struct Reader {
    connection: Weak<()>,
    console: bool,
    asked: Instant,
    /// Between the last two times that it asked; `None`: it has asked once.
    every: Option<Duration>,
}

impl Readers {
    /// Somebody reads. True: nothing is counted any more, so that these are the last counts.
    pub(crate) fn note(&self, request: &OwnRequest) -> bool {
        let agent = request.head.headers.get(USER_AGENT);
        let console = agent.is_some_and(|agent| agent.as_bytes().starts_with(CONSOLE.as_bytes()));
        self.asked(&request.connection, console, Instant::now());
        self.last.load(SeqCst)
    }

    fn asked(&self, connection: &Weak<()>, console: bool, now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|reader| reader.connection.strong_count() > 0);
        match known.iter_mut().find(|reader| reader.connection.ptr_eq(connection)) {
            Some(reader) => {
                reader.every = Some(now.saturating_duration_since(reader.asked));
                reader.asked = now;
            }
            None => known.push(Reader { connection: connection.clone(), console, asked: now, every: None }),
        }
    }

    /// Nothing is counted any more: returns when everybody who is waited for has read that, or after [`LIMIT`].
    pub(crate) async fn finish(&self) {
        self.last.store(true, SeqCst);
        let until = Instant::now() + LIMIT;
        while self.is_awaited(Instant::now(), until) {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn is_awaited(&self, now: Instant, until: Instant) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        now < until && known.iter().any(|reader| reader.comes(now, until))
    }
}

impl Reader {
    /// Whether it will read once more before then.
    fn comes(&self, now: Instant, until: Instant) -> bool {
        if self.connection.strong_count() == 0 {
            return false;
        }
        match self.every {
            // Long overdue: it does not come any more, although it has not closed.
            Some(every) if now > self.asked + every * 2 + LIMIT => false,
            Some(every) => self.console || self.asked + every <= until,
            None => self.console,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn who_comes_soon_is_waited_for_and_nobody_else() {
        let readers = Readers::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (console, often, seldom, once) = (Arc::new(()), Arc::new(()), Arc::new(()), Arc::new(()));
        readers.asked(&Arc::downgrade(&seldom), false, at(0));
        readers.asked(&Arc::downgrade(&seldom), false, at(15_000));
        readers.asked(&Arc::downgrade(&once), false, at(15_000));
        let awaited = |ms: u64| readers.is_awaited(at(ms), at(16_000) + LIMIT);
        assert!(!awaited(16_000), "a scrape that is far off, and a reader that came once");
        readers.asked(&Arc::downgrade(&often), false, at(15_000));
        readers.asked(&Arc::downgrade(&often), false, at(15_900));
        assert!(awaited(16_000));
        drop(often);
        assert!(!awaited(16_000), "it has closed its connection");
        readers.asked(&Arc::downgrade(&console), true, at(15_990));
        assert!(awaited(16_000), "the console comes when it learns that the pod ends");
        assert!(!awaited(18_000), "not for ever");
        drop(console);
        assert!(!readers.is_awaited(at(29_000), at(29_000) + Duration::from_millis(500)));
        assert!(readers.is_awaited(at(29_000), at(29_000) + LIMIT), "a scrape that is due");
        assert!(!readers.is_awaited(at(48_000), at(48_000) + LIMIT), "one that did not come");
    }
}
