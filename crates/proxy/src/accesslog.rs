//! Where access log lines go: to their file or standard output, by a thread of its own.
//!
//! Lines are appended to a buffer in memory, so that a slow disk or pipe never delays a request. When the buffer is full, lines
//! are dropped and counted, and the log says so. What a line says is [`varka_telemetry::accesslog`]'s business.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use varka_engine::expression::Expression;
use varka_engine::facts::Connection;
use varka_engine::ir::{AccessLog, AccessLogSink, Str};
use varka_engine::outcome::{Flag, Outcome};
use varka_telemetry::accesslog::{self, Format, Record};
use varka_telemetry::text::Buffer;

use crate::peer::{Peer, Secured};
use crate::state::State;

/// Bytes that may wait to be written.
const MAX_WAITING: usize = 4 << 20;
/// Lines are gathered for so long before they are written,
const GATHER: Duration = Duration::from_millis(20);
/// or until there are so many bytes.
const ENOUGH: usize = 32 << 10;
/// Room for them, and for those that come until they are taken.
const ROOM: usize = ENOUGH + (8 << 10);
/// So long after the last line the room is given back.
const IDLE: Duration = Duration::from_secs(1);

/// Where a request was sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct UpstreamRecord {
    /// Endpoint.
    pub host: Option<SocketAddr>,
    /// Cluster.
    pub cluster: Option<Str>,
    /// Our end of the connection to it.
    pub local: Option<SocketAddr>,
    /// Attempts that were made.
    pub attempts: u32,
    /// Why its connection failed.
    pub failure: String,
    /// Whose the endpoint is, as far as it is known.
    pub peer: Option<Peer>,
    /// Whose certificates the connection was made with.
    pub secured: Option<Rc<Secured>>,
    /// Why the connection to the client was ended by us.
    pub termination: String,
}

impl UpstreamRecord {
    /// A record that says this and nothing of a request: begun then, by the connection's peer.
    pub(crate) fn record<'a>(
        &'a self,
        start: SystemTime,
        connection: &'a Connection<'a>,
        outcome: &'a Outcome,
        state: &'a State,
    ) -> Record<'a> {
        Record {
            start,
            duration: Duration::ZERO,
            request_duration: None,
            response_duration: None,
            connection,
            client: connection.peer,
            version: None,
            method: "",
            path: "",
            authority: "",
            scheme: "",
            request: None,
            response: None,
            trailers: None,
            outcome,
            termination: &self.termination,
            transport_failure: &self.failure,
            bytes_received: 0,
            bytes_sent: 0,
            upstream_host: self.host,
            upstream_local: self.local,
            cluster: self.cluster.as_deref().unwrap_or_default(),
            attempts: self.attempts,
            route: "",
            chain: "",
            hostname: &state.bootstrap.pod_name,
        }
    }
}

/// An access log that is configured, made ready.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    sink: AccessLogSink,
    format: Format,
    only_not_found: bool,
    filter: Option<Arc<Expression>>,
}

impl Log {
    /// Of some configured logs those whose format can be used, and what is wrong with the others.
    pub(crate) fn prepare(configured: &[AccessLog], errors: &mut Vec<accesslog::Error>) -> Box<[Self]> {
        let log = |log: &AccessLog| {
            let format = Format::new(&log.format).map_err(|e| errors.push(e)).ok()?;
            let filter = log.filter.as_deref().map(accesslog::filter).transpose().map_err(|e| errors.push(e)).ok()?;
            let filter = filter.map(Arc::new);
            Some(Self { sink: log.sink.clone(), format, only_not_found: log.only_not_found, filter })
        };
        configured.iter().filter_map(log).collect()
    }

    fn takes(&self, record: &Record<'_>) -> bool {
        (!self.only_not_found || record.outcome.flags.contains(Flag::NoRouteFound))
            && self.filter.as_ref().is_none_or(|filter| filter.holds(record))
    }
}

thread_local! {
    /// Where a line is made.
    static LINE: RefCell<Buffer> = RefCell::new(Buffer::with_room(512));
}

/// Where lines go.
#[derive(Debug)]
pub(crate) struct AccessLogs {
    all_to: Option<PathBuf>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// A few at most: those that are configured, and were.
    outputs: Vec<Output>,
    bytes: usize,
    dropped: u64,
    /// Taken lines are being written.
    writing: bool,
    /// The writing thread is to be told of the next line.
    asleep: bool,
    started: bool,
}

/// Lines that wait for one place.
#[derive(Debug)]
struct Output {
    /// `None`: standard output.
    path: Option<PathBuf>,
    text: Vec<u8>,
}

impl AccessLogs {
    /// `all_to`: every line goes to this file.
    pub(crate) fn new(all_to: Option<PathBuf>) -> Self {
        Self { all_to, shared: Arc::default() }
    }

    /// Writes the logs of one request or connection.
    pub(crate) fn write(&self, logs: &[Log], record: &Record<'_>) {
        for log in logs {
            if log.takes(record) {
                LINE.with_borrow_mut(|line| {
                    line.clear();
                    log.format.render(record, line);
                    self.append(&log.sink, line.as_bytes());
                });
            }
        }
    }

    fn append(&self, sink: &AccessLogSink, line: &[u8]) {
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.bytes + line.len() > MAX_WAITING {
            waiting.dropped += 1;
            return;
        }
        let before = waiting.bytes;
        waiting.bytes += line.len();
        if std::mem::take(&mut waiting.asleep) || before < ENOUGH && waiting.bytes >= ENOUGH {
            self.shared.more.notify_one();
        }
        let path = match (&self.all_to, sink) {
            (Some(path), _) => Some(path.as_os_str()),
            (None, AccessLogSink::File(path)) => Some(OsStr::new(&**path)),
            (None, AccessLogSink::Stdout) => None,
        };
        waiting.append(path, line);
        if !waiting.started {
            waiting.started = true;
            let shared = Arc::clone(&self.shared);
            let spawned = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || shared.write_all());
            if let Err(e) = spawned {
                waiting.started = false;
                tracing::error!("no thread for the access log: {e}; lines wait for the next one");
            }
        }
    }

    /// Returns when everything that was appended before is written.
    pub(crate) fn flush(&self) {
        loop {
            let waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if (waiting.bytes == 0 && !waiting.writing) || !waiting.started {
                return;
            }
            drop(waiting);
            std::thread::yield_now();
        }
    }
}

impl Waiting {
    fn append(&mut self, path: Option<&OsStr>, line: &[u8]) {
        // As they are written: taking paths apart costs more than the line.
        let same = |output: &&mut Output| output.path.as_ref().map(|p| p.as_os_str()) == path;
        match self.outputs.iter_mut().find(same) {
            Some(output) => output.text.extend_from_slice(line),
            None => {
                let mut text = Vec::with_capacity(ROOM.max(line.len()));
                text.extend_from_slice(line);
                self.outputs.push(Output { path: path.map(PathBuf::from), text });
            }
        }
    }

    /// Takes what waits for each place, and leaves it the room that its last text was in. Places that nothing came for are forgotten.
    fn take(&mut self, taken: &mut Vec<Output>) {
        taken.iter_mut().for_each(|output| output.text.clear());
        self.outputs.retain(|output| !output.text.is_empty());
        for output in &mut self.outputs {
            match taken.iter_mut().find(|taken| taken.path == output.path) {
                Some(taken) => std::mem::swap(&mut taken.text, &mut output.text),
                None => taken.push(Output { path: output.path.clone(), text: std::mem::take(&mut output.text) }),
            }
        }
        taken.retain(|taken| !taken.text.is_empty());
        self.bytes = 0;
    }
}

impl Shared {
    /// The writing thread.
    fn write_all(&self) {
        let mut files: HashMap<PathBuf, File> = HashMap::new();
        let mut taken = Vec::new();
        loop {
            let dropped = self.gather(&mut taken);
            if dropped > 0 {
                tracing::warn!("{dropped} access log lines dropped: the log is read or written too slowly");
            }
            for Output { path, text } in &taken {
                match path {
                    Some(path) => write_file(&mut files, path, text),
                    None => {
                        if let Err(e) = std::io::stdout().write_all(text) {
                            tracing::warn!("access log lines lost: standard output: {e}");
                        }
                    }
                }
            }
        }
    }

    /// Waits for lines and takes them; how many were dropped.
    fn gather(&self, taken: &mut Vec<Output>) -> u64 {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.writing = false;
        loop {
            // Where there were lines there will be more: as long as they come, nobody has to say so before there are enough.
            let gathered = self.more.wait_timeout_while(waiting, GATHER, |waiting| waiting.bytes < ENOUGH);
            (waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
            if waiting.bytes > 0 {
                break;
            }
            waiting.asleep = true;
            let (held, idle) = self.more.wait_timeout(waiting, IDLE).unwrap_or_else(PoisonError::into_inner);
            waiting = held;
            if idle.timed_out() && waiting.bytes == 0 {
                // Nobody has room for lines that do not come.
                *taken = Vec::new();
                waiting.outputs = Vec::new();
                waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            waiting.asleep = false;
        }
        waiting.writing = true;
        waiting.take(taken);
        std::mem::take(&mut waiting.dropped)
    }
}

fn write_file(files: &mut HashMap<PathBuf, File>, path: &Path, text: &[u8]) {
    let open = || OpenOptions::new().create(true).append(true).open(path);
    let written = match files.get_mut(path) {
        Some(file) => file.write_all(text),
        None => open().and_then(|file| files.entry(path.to_owned()).or_insert(file).write_all(text)),
    };
    if let Err(e) = written {
        files.remove(path);
        tracing::warn!("access log lines lost: {}: {e}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_written_once_where_it_belongs() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        let logs = AccessLogs::new(None);
        let mut wanted: HashMap<&str, String> = HashMap::new();
        // The second place is there now and then, and a line is longer than the room for many.
        for round in 0..5 {
            for (name, count) in [("all", 40), ("some", round % 2)] {
                let long = "x".repeat(ROOM / 16 * (round + 1));
                for number in 0..count {
                    let line = format!("{name} {round} {number} {long}\n");
                    logs.append(&AccessLogSink::File(path(name).into()), line.as_bytes());
                    wanted.entry(name).or_default().push_str(&line);
                }
            }
            logs.flush();
            for (name, text) in &wanted {
                assert!(std::fs::read_to_string(path(name)).unwrap() == *text, "{name} after round {round}");
            }
        }
        assert_eq!(wanted.len(), 2);
    }

    #[test]
    fn what_is_taken_leaves_room_behind_and_forgets_places_that_nothing_came_for() {
        let (mut waiting, mut taken) = (Waiting::default(), Vec::new());
        let [a, b] = ["/a", "/b"].map(OsStr::new);
        let texts = |taken: &[Output]| -> Vec<(Option<PathBuf>, Vec<u8>)> {
            taken.iter().map(|output| (output.path.clone(), output.text.clone())).collect()
        };
        waiting.append(Some(a), b"1");
        waiting.append(None, b"2");
        waiting.append(Some(a), b"3");
        waiting.take(&mut taken);
        assert_eq!(texts(&taken), [(Some("/a".into()), b"13".to_vec()), (None, b"2".to_vec())]);
        waiting.append(Some(a), b"4");
        waiting.append(Some(b), b"5");
        waiting.take(&mut taken);
        assert_eq!(texts(&taken), [(Some("/a".into()), b"4".to_vec()), (Some("/b".into()), b"5".to_vec())]);
        waiting.append(Some(a), b"6");
        assert!(waiting.outputs.iter().all(|output| output.path.is_some()), "nothing came for standard output");
        assert!(
            waiting
                .outputs
                .iter()
                .any(|output| output.path.as_deref() == Some(Path::new("/a")) && output.text.capacity() >= ROOM)
        );
    }
}
