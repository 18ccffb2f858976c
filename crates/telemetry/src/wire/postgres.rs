//! PostgreSQL, protocol 3: simple queries, and the steps of prepared ones.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::frames::Frames;
use super::{End, Operation, Side, Statement, System};

const VERSION_3: u32 = 3 << 16;
const CANCEL: u32 = 80_877_102;
const TLS: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
/// So much of a message of the client is looked at,
const KEEP_CLIENT: usize = 8 << 10;
/// and of one of the server.
const KEEP_SERVER: usize = 512;
/// A message is at most so long, as in PostgreSQL.
const LARGEST: usize = 1 << 30;
const PIPELINE: usize = 10_000;
/// Prepared statements that are remembered.
const PREPARED: usize = 1_000;

/// Whether a connection that begins with these is one.
pub(super) fn is_startup(length: u32, code: u32) -> bool {
    matches!((length, code), (8, TLS | GSS) | (16, CANCEL))
        || (9..=10_000).contains(&length) && code >> 16 == VERSION_3 >> 16
}

#[derive(Debug)]
enum Phase {
    /// Messages of the client have no type yet.
    Startup,
    /// The server's next byte says whether TLS begins.
    Asked,
    Typed,
}

#[derive(Debug)]
struct Waiting {
    statement: Option<Statement>,
    started: Instant,
    /// It ends with the server's readiness, not with the end of its command.
    simple: bool,
    error: Option<String>,
}

#[derive(Debug)]
pub(super) struct Reader {
    phase: Phase,
    startup: Frames<4>,
    client: Frames<5>,
    server: Frames<5>,
    database: Option<String>,
    prepared: HashMap<Vec<u8>, Statement>,
    /// Statements of portals.
    bound: HashMap<Vec<u8>, Statement>,
    waiting: VecDeque<Waiting>,
    /// After a refusal the server skips what it was asked, until this many readinesses are told.
    syncs: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            phase: Phase::Startup,
            startup: Frames::new(KEEP_CLIENT),
            client: Frames::new(KEEP_CLIENT),
            server: Frames::new(KEEP_SERVER),
            database: None,
            prepared: HashMap::new(),
            bound: HashMap::new(),
            waiting: VecDeque::new(),
            syncs: 0,
        }
    }
}

impl Reader {
    pub(super) fn read(
        &mut self,
        side: Side,
        mut bytes: &[u8],
        now: Instant,
        done: &mut dyn FnMut(Operation),
    ) -> Result<(), End> {
        match side {
            Side::Client => {
                if !self.startup(&mut bytes)? {
                    return Ok(());
                }
                let mut frames = std::mem::replace(&mut self.client, Frames::new(KEEP_CLIENT));
                let read = loop {
                    match frames.next(&mut bytes, length) {
                        None => break Ok(()),
                        Some(Err(end)) => break Err(end),
                        Some(Ok(frame)) => match self.asked(frame.header[0], frame.beginning, now) {
                            Ok(()) => {}
                            Err(end) => break Err(end),
                        },
                    }
                };
                self.client = frames;
                read
            }
            Side::Server => {
                if matches!(self.phase, Phase::Asked) {
                    let (answer, rest) = bytes.split_first().ok_or(End::Lost)?;
                    match answer {
                        b'S' | b'G' => return Err(End::Hidden),
                        b'N' => self.phase = Phase::Startup,
                        _ => return Err(End::Lost),
                    }
                    bytes = rest;
                }
                let mut frames = std::mem::replace(&mut self.server, Frames::new(KEEP_SERVER));
                let read = loop {
                    match frames.next(&mut bytes, length) {
                        None => break Ok(()),
                        Some(Err(end)) => break Err(end),
                        Some(Ok(frame)) => self.answered(frame.header[0], frame.beginning, now, done),
                    }
                };
                self.server = frames;
                read
            }
        }
    }

    /// Reads what has no type; whether the rest has.
    fn startup(&mut self, bytes: &mut &[u8]) -> Result<bool, End> {
        let length = |header: [u8; 4]| {
            usize::try_from(u32::from_be_bytes(header)).ok()?.checked_sub(4).filter(|length| *length <= 10_000)
        };
        while !matches!(self.phase, Phase::Typed) {
            let Some(frame) = self.startup.next(bytes, length) else { return Ok(false) };
            let (code, parameters) = frame?.beginning.split_first_chunk::<4>().ok_or(End::Lost)?;
            match u32::from_be_bytes(*code) {
                TLS | GSS => self.phase = Phase::Asked,
                code if code >> 16 == VERSION_3 >> 16 => {
                    let mut parts = parameters.split(|byte| *byte == 0);
                    let (mut user, mut database) = (None, None);
                    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                        match name {
                            b"user" => user = Some(value),
                            b"database" => database = Some(value),
                            _ => {}
                        }
                    }
                    // Who names none means the one that is called like the user.
                    self.database = database.or(user).map(|name| String::from_utf8_lossy(name).into_owned());
                    self.phase = Phase::Typed;
                }
                _ => return Err(End::Lost),
            }
        }
        Ok(true)
    }

    fn asked(&mut self, kind: u8, body: &[u8], now: Instant) -> Result<(), End> {
        let mut texts = body.split(|byte| *byte == 0);
        let mut text = || texts.next().unwrap_or_default();
        match kind {
            b'Q' => {
                let statement = Some(Statement::of(&String::from_utf8_lossy(text())));
                self.wait(Waiting { statement, started: now, simple: true, error: None })?;
                self.syncs += 1;
            }
            b'P' => {
                let (name, sql) = (text(), text());
                if self.prepared.len() >= PREPARED {
                    self.prepared.clear();
                }
                self.prepared.insert(name.to_owned(), Statement::of(&String::from_utf8_lossy(sql)));
            }
            b'B' => {
                let (portal, name) = (text(), text());
                if self.bound.len() >= PREPARED {
                    self.bound.clear();
                }
                match self.prepared.get(name) {
                    Some(statement) => self.bound.insert(portal.to_owned(), statement.clone()),
                    None => self.bound.remove(portal),
                };
            }
            b'E' => {
                let statement = self.bound.get(text()).cloned();
                self.wait(Waiting { statement, started: now, simple: false, error: None })?;
            }
            b'F' => self.wait(Waiting { statement: None, started: now, simple: false, error: None })?,
            b'S' => self.syncs += 1,
            b'C' => {
                if let Some((b'S', name)) = body.split_first() {
                    self.prepared.remove(name.strip_suffix(&[0]).unwrap_or(name));
                }
            }
            b'D' | b'H' | b'X' | b'p' | b'd' | b'c' | b'f' => {}
            _ => return Err(End::Lost),
        }
        Ok(())
    }

    fn wait(&mut self, waiting: Waiting) -> Result<(), End> {
        if self.waiting.len() >= PIPELINE {
            return Err(End::Lost);
        }
        self.waiting.push_back(waiting);
        Ok(())
    }

    fn answered(&mut self, kind: u8, body: &[u8], now: Instant, done: &mut dyn FnMut(Operation)) {
        match kind {
            // A command is complete, was empty, or waits for more to be fetched.
            b'C' | b'I' | b's' | b'V' if self.waiting.front().is_some_and(|waiting| !waiting.simple) => {
                self.end(now, done);
            }
            b'E' => {
                if let Some(waiting) = self.waiting.front_mut() {
                    waiting.error.get_or_insert_with(|| code(body));
                    if !waiting.simple {
                        self.end(now, done);
                    }
                }
            }
            b'Z' => {
                self.syncs = self.syncs.saturating_sub(1);
                if self.waiting.front().is_some_and(|waiting| waiting.simple) {
                    self.end(now, done);
                } else if self.syncs == 0 {
                    // What was skipped after a refusal was never done.
                    self.waiting.clear();
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, now: Instant, done: &mut dyn FnMut(Operation)) {
        let Some(waiting) = self.waiting.pop_front() else { return };
        let name = waiting.statement.as_ref().and_then(Statement::operation);
        done(Operation {
            system: System::PostgreSql,
            name: name.unwrap_or_else(|| "EXECUTE".to_owned()),
            statement: waiting.statement,
            database: self.database.clone(),
            started: waiting.started,
            ended: now,
            error: waiting.error,
        });
    }
}

fn length(header: [u8; 5]) -> Option<usize> {
    let [_, a, b, c, d] = header;
    usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?.checked_sub(4).filter(|length| *length <= LARGEST)
}

/// The field `C` of a refusal.
fn code(body: &[u8]) -> String {
    let fields = body.split(|byte| *byte == 0).filter_map(|field| field.split_first());
    let found = fields.filter(|(kind, _)| **kind == b'C').map(|(_, value)| String::from_utf8_lossy(value).into_owned());
    found.take(1).collect()
}
