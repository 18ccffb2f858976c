//! What databases are asked, read from the bytes that go by: MySQL, PostgreSQL and Redis.
//!
//! Nothing is altered, held up or answered here, and nothing is copied that is not needed. The protocol is known by its first bytes.
//! Whatever is not understood ends the reading, never the connection: from then on it is TCP. So it is when a connection
//! turns to TLS or to compression.

mod frames;
mod mysql;
mod postgres;
mod redis;
mod statement;

use std::time::Instant;

pub use statement::{Statement, sanitised, trace_context};

/// Which side of a connection said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who connected.
    Client,
    /// The database.
    Server,
}

/// Which protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum System {
    /// MySQL and MariaDB.
    MySql,
    /// PostgreSQL.
    PostgreSql,
    /// Redis and what speaks like it.
    Redis,
}

impl System {
    /// OpenTelemetry's `db.system.name`.
    pub fn name(self) -> &'static str {
        match self {
            Self::MySql => "mysql",
            Self::PostgreSql => "postgresql",
            Self::Redis => "redis",
        }
    }
}

/// Something that a database was asked and has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// By which protocol.
    pub system: System,
    /// `SELECT`, `PING`, `GET`.
    pub name: String,
    /// What was asked, without values; none where only a name is known.
    pub statement: Option<Statement>,
    /// The database that was named when the connection began, or since.
    pub database: Option<String>,
    /// When it was asked.
    pub started: Instant,
    /// When the answer was complete.
    pub ended: Instant,
    /// The answer was a refusal: its code, such as `1146` or `42P01`.
    pub error: Option<String>,
}

impl Operation {
    /// Peers say of themselves what they like: a tag or label holds so much of it.
    fn bounded(mut self) -> Self {
        cut(&mut self.name, MOST_OF_NAME);
        self.error.iter_mut().for_each(|code| cut(code, MOST_OF_NAME));
        self.database.iter_mut().for_each(|name| cut(name, MOST_OF_DATABASE));
        self
    }
}

/// Leaves so many bytes of it at most, whole characters.
fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
}

/// What became of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It is not known yet what is spoken.
    Undecided,
    /// Operations are read.
    Of(System),
    /// It turned to TLS, or to compression.
    Hidden(System),
    /// It is none of these, or was not understood.
    Nothing,
}

/// Reads one connection.
#[derive(Debug)]
pub struct Observer {
    state: State,
}

#[derive(Debug)]
enum State {
    Undecided(Beginning),
    MySql(Box<mysql::Reader>),
    PostgreSql(Box<postgres::Reader>),
    Redis(Box<redis::Reader>),
    Hidden(System),
    Nothing,
}

/// First bytes that were not enough to tell.
#[derive(Debug, Default)]
struct Beginning {
    client: Vec<u8>,
    server: Vec<u8>,
}

/// So many first bytes tell.
const ENOUGH: usize = 16;
/// Most bytes of an operation's name and of an error's code that are told,
const MOST_OF_NAME: usize = 64;
/// and of a database's name.
const MOST_OF_DATABASE: usize = 256;

/// Why a reader ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Hidden,
    Lost,
}

impl Default for Observer {
    fn default() -> Self {
        Self { state: State::Undecided(Beginning::default()) }
    }
}

impl Observer {
    /// What became of reading.
    pub fn reading(&self) -> Reading {
        match &self.state {
            State::Undecided(_) => Reading::Undecided,
            State::MySql(_) => Reading::Of(System::MySql),
            State::PostgreSql(_) => Reading::Of(System::PostgreSql),
            State::Redis(_) => Reading::Of(System::Redis),
            State::Hidden(system) => Reading::Hidden(*system),
            State::Nothing => Reading::Nothing,
        }
    }

    /// Reads bytes in the order in which they went by, and tells each operation that ended with them.
    pub fn observe(&mut self, side: Side, bytes: &[u8], now: Instant, done: &mut dyn FnMut(Operation)) {
        if let State::Undecided(beginning) = &mut self.state {
            let of_side = match side {
                Side::Client => &mut beginning.client,
                Side::Server => &mut beginning.server,
            };
            let before = of_side.len();
            of_side.extend(bytes.iter().take(ENOUGH.saturating_sub(before)));
            let Some(state) = begin(beginning, side) else { return };
            let held = std::mem::replace(&mut self.state, state);
            // The first bytes are read before what follows them.
            if let State::Undecided(Beginning { client, server }) = held {
                let held_back = match side {
                    Side::Client => (Side::Server, server, client),
                    Side::Server => (Side::Client, client, server),
                };
                let (other, of_other, of_side) = held_back;
                self.read(other, &of_other, now, done);
                self.read(side, of_side.get(..before).unwrap_or_default(), now, done);
            }
        }
        self.read(side, bytes, now, done);
    }

    fn read(&mut self, side: Side, bytes: &[u8], now: Instant, done: &mut dyn FnMut(Operation)) {
        if bytes.is_empty() {
            return;
        }
        let done: &mut dyn FnMut(Operation) = &mut |operation| done(operation.bounded());
        let (ended, system) = match &mut self.state {
            State::MySql(reader) => (reader.read(side, bytes, now, done), System::MySql),
            State::PostgreSql(reader) => (reader.read(side, bytes, now, done), System::PostgreSql),
            State::Redis(reader) => (reader.read(side, bytes, now, done), System::Redis),
            State::Undecided(_) | State::Hidden(_) | State::Nothing => return,
        };
        match ended {
            Ok(()) => {}
            Err(End::Hidden) => self.state = State::Hidden(system),
            Err(End::Lost) => self.state = State::Nothing,
        }
    }
}

/// How it goes on; `None`: not enough is known.
fn begin(beginning: &Beginning, side: Side) -> Option<State> {
    match side {
        // Only MySQL's servers speak first.
        Side::Server => match beginning.server.as_slice() {
            [_, _, _, 0, 10 | 0xff, ..] if beginning.client.is_empty() => Some(State::MySql(Box::default())),
            [_, _, _, _, _, ..] => Some(State::Nothing),
            _ => None,
        },
        Side::Client => {
            let client = beginning.client.as_slice();
            match client {
                [b'*', b'1'..=b'9', ..] => return Some(State::Redis(Box::default())),
                [] | [_] => return None,
                _ => {}
            }
            let Some((length, code)) = client.first_chunk::<8>().map(|first| {
                let [a, b, c, d, e, f, g, h] = *first;
                (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
            }) else {
                // The first byte of PostgreSQL's length is zero.
                return (client.first() != Some(&0)).then_some(State::Nothing);
            };
            let starts = postgres::is_startup(length, code);
            Some(if starts { State::PostgreSql(Box::default()) } else { State::Nothing })
        }
    }
}

#[cfg(test)]
mod tests;
