//! Who reads our metrics, so that the last counts are read before the proxy ends.
//!
//! What was counted since the last scrape would be lost with the process. So a proxy that has drained stays a moment for those
//! who come anyway: the console, which asks a pod that ends several times a second, and whoever's next scrape falls into that
//! moment. A Prometheus that asks every 15 seconds is mostly not waited for, and loses what it loses with Istio. A reader is a
//! connection: who has closed it, or had the last counts on it and closed it then, holds nobody up.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use http::header::USER_AGENT;
use tokio::sync::Notify;

use crate::own_server::{Connection, OwnRequest};

/// The end waits at most so long.
const LIMIT: Duration = Duration::from_secs(2);
/// How the console names itself.
const CONSOLE: &str = "varka/";

/// Everybody who reads metrics.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    known: Mutex<Vec<Reader>>,
    last: AtomicBool,
    /// Somebody asked.
    news: Notify,
}

#[derive(Debug, Clone)]
struct Reader {
    connection: Connection,
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
        self.news.notify_waiters();
        self.last.load(SeqCst)
    }

    fn asked(&self, connection: &Connection, console: bool, now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|reader| reader.connection.is_open());
        match known.iter_mut().find(|reader| reader.connection.is(connection)) {
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
        loop {
            let mut asked = pin!(self.news.notified());
            // From here on whoever asks is noticed.
            asked.as_mut().enable();
            let awaited = self.awaited(Instant::now(), until);
            if awaited.is_empty() {
                return;
            }
            let given_up = awaited.iter().filter_map(Reader::given_up).min().map_or(until, |at| at.min(until));
            let closing =
                awaited.into_iter().map(|mut reader| Box::pin(async move { reader.connection.closed().await }));
            let mut closing: Vec<_> = closing.collect();
            let closed = poll_fn(|cx| match closing.iter_mut().any(|one| one.as_mut().poll(cx).is_ready()) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            });
            tokio::select! {
                () = asked => {}
                () = closed => {}
                () = tokio::time::sleep_until(given_up.into()) => {}
            }
        }
    }

    /// Those that will read once more before then.
    fn awaited(&self, now: Instant, until: Instant) -> Vec<Reader> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter(|reader| now < until && reader.comes(now, until)).cloned().collect()
    }
}

impl Reader {
    /// Whether it will read once more before then.
    fn comes(&self, now: Instant, until: Instant) -> bool {
        if !self.connection.is_open() || self.given_up().is_some_and(|at| now >= at) {
            return false;
        }
        match self.every {
            Some(every) => self.console || self.asked + every <= until,
            None => self.console,
        }
    }

    /// When it is long overdue: it does not come any more, although it has not closed.
    fn given_up(&self) -> Option<Instant> {
        Some(self.asked + self.every? * 2 + LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::watch;

    use super::*;

    fn ask(readers: &Readers, connection: &Connection, console: bool, at: Instant) {
        readers.asked(connection, console, at);
        readers.news.notify_waiters();
    }

    fn open() -> (watch::Sender<()>, Connection) {
        Connection::open()
    }

    #[test]
    fn who_comes_soon_is_waited_for_and_nobody_else() {
        let readers = Readers::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let is_awaited = |now, until| !readers.awaited(now, until).is_empty();
        let [(console, by_console), (often, by_often), (_seldom, by_seldom), (_once, by_once)] =
            [open(), open(), open(), open()];
        readers.asked(&by_seldom, false, at(0));
        readers.asked(&by_seldom, false, at(15_000));
        readers.asked(&by_once, false, at(15_000));
        let awaited = |ms: u64| is_awaited(at(ms), at(16_000) + LIMIT);
        assert!(!awaited(16_000), "a scrape that is far off, and a reader that came once");
        readers.asked(&by_often, false, at(15_000));
        readers.asked(&by_often, false, at(15_900));
        assert!(awaited(16_000));
        drop(often);
        assert!(!awaited(16_000), "it has closed its connection");
        readers.asked(&by_console, true, at(15_990));
        assert!(awaited(16_000), "the console comes when it learns that the pod ends");
        assert!(!awaited(18_000), "not for ever");
        drop(console);
        assert!(!is_awaited(at(29_000), at(29_000) + Duration::from_millis(500)));
        assert!(is_awaited(at(29_000), at(29_000) + LIMIT), "a scrape that is due");
        assert!(!is_awaited(at(48_000), at(48_000) + LIMIT), "one that did not come");
    }

    #[tokio::test]
    async fn it_ends_when_the_last_who_is_waited_for_has_closed() {
        /// Lets the task do what it can do now.
        async fn turns() {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        }
        let readers = Arc::new(Readers::default());
        let [(first, by_first), (second, by_second)] = [open(), open()];
        ask(&readers, &by_first, true, Instant::now());
        let waiting = Arc::clone(&readers);
        let waiting = tokio::spawn(async move { waiting.finish().await });
        turns().await;
        assert!(readers.last.load(SeqCst) && !waiting.is_finished());
        // Another one comes while the first is waited for.
        ask(&readers, &by_second, true, Instant::now());
        drop(first);
        turns().await;
        assert!(!waiting.is_finished(), "the second has not closed");
        drop(second);
        turns().await;
        assert!(waiting.is_finished(), "it is told, and does not look now and then");
    }

    /// Who neither asks nor closes does not keep it from ending; if it did, this would not end.
    #[tokio::test]
    async fn nobody_is_waited_for_for_ever() {
        let readers = Readers::default();
        let (_open, connection) = open();
        ask(&readers, &connection, true, Instant::now());
        readers.finish().await;
    }
}
