//! The thread that writes, and that throws away what is too old or too much.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use redb::WriteTransaction;

use super::disk::Disk;
use super::{Error, Millis, Parts, WRITTEN_AFTER};

/// What was written is on the disk for good after this.
const DURABLE_AFTER: Duration = Duration::from_secs(5);
/// What is too old is looked for so often.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Nothing older.
    pub age: Duration,
    /// Bytes for samples.
    pub metrics: u64,
    /// Bytes for spans.
    pub spans: u64,
    /// Bytes for lines.
    pub logs: u64,
    /// Bytes for what pods and their like were.
    pub observed: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self { age: 7 * day, metrics: 512 << 20, spans: 512 << 20, logs: 256 << 20, observed: 64 << 20 }
    }
}

/// What happened to one kind of thing since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Taken in.
    pub taken: u64,
    /// Not taken in: a queue was full, or it was nothing to keep.
    pub dropped: u64,
    /// Records thrown away for their age, or for want of room.
    pub expired: u64,
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples; of what expired: chunks.
    pub metrics: Count,
    /// Spans.
    pub spans: Count,
    /// Lines.
    pub logs: Count,
    /// States of pods and their like; of what expired: segments.
    pub observed: Count,
}

/// The thread; it ends, having written everything, when this goes.
#[derive(Debug)]
pub(super) struct Keeper {
    stop: Option<SyncSender<()>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Keeper {
    pub(super) fn start(disk: Arc<Disk>, parts: Arc<Parts>, limits: Limits) -> Self {
        let (stop, stopped) = sync_channel::<()>(0);
        let run = move || {
            let (mut durable, mut expired) = (Instant::now(), None::<Instant>);
            loop {
                let ends = stopped.recv_timeout(WRITTEN_AFTER) != Err(RecvTimeoutError::Timeout);
                let durably = ends || durable.elapsed() >= DURABLE_AFTER;
                if durably {
                    durable = Instant::now();
                }
                let written = disk.write(durably, |write| flush(&parts, write));
                settle(&parts, written.is_ok());
                if let Err(problem) = written {
                    tracing::error!(%problem, "telemetry is not written; it is kept in memory as long as there is room");
                }
                if ends {
                    return;
                }
                if expired.is_none_or(|last| last.elapsed() >= EXPIRE_EVERY) {
                    expired = Some(Instant::now());
                    if let Err(problem) = expire(&disk, &parts, limits, now()) {
                        tracing::error!(%problem, "old telemetry is not thrown away");
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("telemetry-store".to_owned()).spawn(run);
        if let Err(problem) = &thread {
            tracing::error!(%problem, "telemetry is kept in memory only: the thread that writes cannot be started");
        }
        Self { stop: Some(stop), thread: Mutex::new(thread.ok()) }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(thread.join());
        }
    }
}

pub(super) fn flush(parts: &Parts, write: &WriteTransaction) -> Result<(), redb::Error> {
    parts.metrics.flush(write)?;
    parts.spans.flush(write)?;
    parts.logs.flush(write)?;
    parts.revisions.flush(write)?;
    parts.observed.flush(write)
}

pub(super) fn settle(parts: &Parts, written: bool) {
    parts.metrics.settle(written);
    parts.spans.settle(written);
    parts.logs.settle(written);
    parts.revisions.settle(written);
    parts.observed.settle(written);
}

/// Throws away what is too old, then of each kind that takes too much its oldest tenth.
pub(super) fn expire(disk: &Disk, parts: &Parts, limits: Limits, now: Millis) -> Result<(), Error> {
    let oldest = now.saturating_sub(i64::try_from(limits.age.as_millis()).unwrap_or(i64::MAX));
    disk.write(false, |write| {
        parts.metrics.expire(write, oldest)?;
        parts.spans.expire(write, oldest)?;
        parts.logs.expire(write, oldest)?;
        parts.revisions.expire(write, oldest)?;
        parts.observed.expire(write, oldest)
    })?;
    let tenth = |(size, begins): (u64, Option<Millis>), limit: u64| {
        let begins = begins.filter(|_| size > limit)?;
        Some(begins.saturating_add((now.saturating_sub(begins) / 10).max(1)))
    };
    if let Some(before) = tenth(parts.metrics.extent()?, limits.metrics) {
        disk.write(false, |write| parts.metrics.expire(write, before))?;
    }
    if let Some(before) = tenth(parts.spans.extent()?, limits.spans) {
        disk.write(false, |write| parts.spans.expire(write, before))?;
    }
    if let Some(before) = tenth(parts.logs.extent()?, limits.logs) {
        disk.write(false, |write| parts.logs.expire(write, before))?;
    }
    Ok(())
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
