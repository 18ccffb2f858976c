//! MySQL and MariaDB: a greeting, a login, then commands and their answers, in their order. Drivers may send commands before earlier ones are
//! answered: closing a statement while its rows come, or preparing and executing at once.

mod answer;

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::frames::Frames;
use super::{End, Operation, Side, Statement, System};
use answer::{Answer, Said};

/// So much of a command is looked at,
const KEEP_CLIENT: usize = 8 << 10;
/// and of a packet of the server.
const KEEP_SERVER: usize = 512;
/// A packet of this length goes on in the next.
const FULL: usize = 0xff_ffff;
/// Prepared statements that are remembered.
const PREPARED: usize = 1_000;
/// Commands that may wait for the answers to those before them.
const WAITING: usize = 64;
/// MariaDB's name of the statement that was prepared last.
const LAST_PREPARED: u32 = u32::MAX;

/// What client and server agreed on (capability flags).
#[derive(Debug, Clone, Copy, Default)]
struct Agreed(u64);

impl Agreed {
    const CONNECT_WITH_DB: u64 = 1 << 3;
    const COMPRESS: u64 = 1 << 5;
    const TLS: u64 = 1 << 11;
    const SECURE_CONNECTION: u64 = 1 << 15;
    const LENENC_AUTH: u64 = 1 << 21;
    const DEPRECATE_EOF: u64 = 1 << 24;
    const OPTIONAL_METADATA: u64 = 1 << 25;
    const ZSTD: u64 = 1 << 26;
    const QUERY_ATTRIBUTES: u64 = 1 << 27;
    /// MariaDB's, told beside the others.
    const MARIADB_CACHE_METADATA: u64 = 1 << 36;

    fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }
}

#[derive(Debug)]
enum Phase {
    Greeting,
    /// The client's answer to the greeting is to come.
    Login,
    /// Until the server says yes or no.
    Authenticating,
    Idle,
    Answering(Box<Asked>),
}

/// A command that waits for its answer.
#[derive(Debug)]
struct Asked {
    name: String,
    statement: Option<Statement>,
    started: Instant,
    answer: Answer,
    /// What the answer to a preparation prepares.
    prepares: Option<Statement>,
    /// A statement that was not known yet when it was asked to be executed.
    executes: Option<u32>,
    /// A database that holds from now on if it is taken.
    uses: Option<String>,
    /// The login begins anew.
    changes_user: bool,
}

#[derive(Debug)]
pub(super) struct Reader {
    phase: Phase,
    client: Frames<4>,
    server: Frames<4>,
    /// The packet before goes on in the next.
    continued: [bool; 2],
    greeted: Agreed,
    agreed: Agreed,
    database: Option<String>,
    prepared: HashMap<u32, Statement>,
    last_prepared: Option<Statement>,
    /// Behind the one that is being answered.
    waiting: VecDeque<Asked>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            phase: Phase::Greeting,
            client: Frames::new(KEEP_CLIENT),
            server: Frames::new(KEEP_SERVER),
            continued: [false; 2],
            greeted: Agreed::default(),
            agreed: Agreed::default(),
            database: None,
            prepared: HashMap::new(),
            last_prepared: None,
            waiting: VecDeque::new(),
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
        let of_client = side == Side::Client;
        let empty = Frames::new(if of_client { KEEP_CLIENT } else { KEEP_SERVER });
        let own = if of_client { &mut self.client } else { &mut self.server };
        let mut frames = std::mem::replace(own, empty);
        let read = loop {
            let frame = match frames.next(&mut bytes, length) {
                None => break Ok(()),
                Some(Err(end)) => break Err(end),
                Some(Ok(frame)) => frame,
            };
            let [client, server] = &mut self.continued;
            let goes_on = if of_client { client } else { server };
            if std::mem::replace(goes_on, frame.length == FULL) {
                continue;
            }
            let read = match side {
                Side::Client => self.client_says(frame.header[3], frame.beginning, frame.length, now),
                Side::Server => self.server_says(frame.beginning, frame.length, now, done),
            };
            if let Err(end) = read {
                break Err(end);
            }
        };
        *(if of_client { &mut self.client } else { &mut self.server }) = frames;
        read
    }

    fn client_says(&mut self, sequence: u8, body: &[u8], length: usize, now: Instant) -> Result<(), End> {
        match &mut self.phase {
            // It has to wait for the greeting.
            Phase::Greeting => Err(End::Lost),
            Phase::Login => self.login(body),
            Phase::Authenticating => Ok(()),
            Phase::Answering(asked) => {
                // A file that the server asked for.
                if asked.answer.wants_file() {
                    asked.answer.file(length);
                    return Ok(());
                }
                if asked.changes_user { Ok(()) } else { self.command(sequence, body, now) }
            }
            Phase::Idle => self.command(sequence, body, now),
        }
    }

    fn login(&mut self, body: &[u8]) -> Result<(), End> {
        let (low, rest) = body.split_first_chunk::<4>().ok_or(End::Lost)?;
        let mut flags = u64::from(u32::from_le_bytes(*low));
        // Largest packet, character set, filler; MariaDB's own flags at the end.
        let (fixed, rest) =
            rest.split_at_checked(28).ok_or(if flags & Agreed::TLS != 0 { End::Hidden } else { End::Lost })?;
        if flags & 1 == 0
            && let Some(more) = fixed.last_chunk::<4>()
        {
            flags |= u64::from(u32::from_le_bytes(*more)) << 32;
        }
        self.agreed = Agreed(flags & self.greeted.0);
        if self.agreed.has(Agreed::TLS) && rest.is_empty() {
            return Err(End::Hidden);
        }
        if self.agreed.has(Agreed::COMPRESS) || self.agreed.has(Agreed::ZSTD) {
            return Err(End::Hidden);
        }
        if self.agreed.has(Agreed::CONNECT_WITH_DB) {
            self.database = login_database(self.agreed, rest);
        }
        self.phase = Phase::Authenticating;
        Ok(())
    }

    fn command(&mut self, sequence: u8, body: &[u8], now: Instant) -> Result<(), End> {
        if sequence != 0 {
            return Err(End::Lost);
        }
        let (code, rest) = body.split_first().ok_or(End::Lost)?;
        let sql = |bytes: &[u8]| Statement::of(&String::from_utf8_lossy(bytes));
        let mut asked = Asked {
            name: String::new(),
            statement: None,
            started: now,
            answer: Answer::ok(),
            prepares: None,
            executes: None,
            uses: None,
            changes_user: false,
        };
        asked.name = match code {
            // These have no answer.
            1 | 24 | 25 => {
                if let (25, Some(id)) = (code, rest.first_chunk()) {
                    self.prepared.remove(&u32::from_le_bytes(*id));
                }
                return Ok(());
            }
            2 => {
                asked.uses = Some(String::from_utf8_lossy(rest).into_owned());
                "USE"
            }
            3 => {
                let rest = if self.agreed.has(Agreed::QUERY_ATTRIBUTES) { behind_attributes(rest) } else { Some(rest) };
                asked.statement = rest.map(sql);
                asked.answer = Answer::result();
                "QUERY"
            }
            4 => {
                asked.answer = Answer::fields();
                "FIELDS"
            }
            9 => {
                asked.answer = Answer::one();
                "STATISTICS"
            }
            14 => "PING",
            17 => {
                asked.changes_user = true;
                "CHANGE USER"
            }
            22 => {
                asked.prepares = Some(sql(rest));
                asked.statement.clone_from(&asked.prepares);
                asked.answer = Answer::prepared();
                "PREPARE"
            }
            23 => {
                let id = u32::from_le_bytes(*rest.first_chunk().ok_or(End::Lost)?);
                asked.statement = self.prepared.get(&id).cloned();
                asked.executes = asked.statement.is_none().then_some(id);
                asked.answer = Answer::result();
                "EXECUTE"
            }
            26 => "RESET STATEMENT",
            27 => {
                asked.answer = Answer::end();
                "SET OPTION"
            }
            28 => {
                asked.answer = Answer::rows();
                "FETCH"
            }
            31 => "RESET CONNECTION",
            // Replication, and what nobody knows.
            _ => return Err(End::Lost),
        }
        .to_owned();
        if matches!(self.phase, Phase::Idle) {
            self.await_answer(asked);
        } else if self.waiting.len() < WAITING {
            self.waiting.push_back(asked);
        } else {
            return Err(End::Lost);
        }
        Ok(())
    }

    /// From now on the server answers this.
    fn await_answer(&mut self, mut asked: Asked) {
        if let Some(id) = asked.executes {
            let last = self.last_prepared.as_ref().filter(|_| id == LAST_PREPARED);
            asked.statement = self.prepared.get(&id).or(last).cloned();
        }
        // Except for a preparation, the statement says more than the command.
        if asked.prepares.is_none()
            && let Some(operation) = asked.statement.as_ref().and_then(Statement::operation)
        {
            asked.name = operation;
        }
        self.phase = Phase::Answering(Box::new(asked));
    }

    fn server_says(
        &mut self,
        body: &[u8],
        length: usize,
        now: Instant,
        done: &mut dyn FnMut(Operation),
    ) -> Result<(), End> {
        match &mut self.phase {
            Phase::Greeting => {
                self.greeted = greeting(body).ok_or(End::Lost)?;
                self.phase = Phase::Login;
                Ok(())
            }
            Phase::Login => Err(End::Lost),
            Phase::Authenticating => {
                match body.first() {
                    Some(0) => self.phase = Phase::Idle,
                    // It refuses and closes.
                    Some(0xff) => return Err(End::Lost),
                    _ => {}
                }
                Ok(())
            }
            // A server that closes says why without having been asked.
            Phase::Idle => Err(End::Lost),
            Phase::Answering(asked) => {
                // Other methods of login, and what they say to each other.
                if asked.changes_user && matches!(body.first(), Some(0xfe | 1)) {
                    return Ok(());
                }
                let said = asked.answer.packet(self.agreed, body, length)?;
                let error = match said {
                    Said::More => return Ok(()),
                    Said::Refused(code) => Some(code.to_string()),
                    Said::Done => None,
                };
                self.end(error, now, done);
                Ok(())
            }
        }
    }

    fn end(&mut self, error: Option<String>, now: Instant, done: &mut dyn FnMut(Operation)) {
        let Phase::Answering(asked) = std::mem::replace(&mut self.phase, Phase::Idle) else { return };
        let asked = *asked;
        if error.is_none() {
            if let (Some(statement), Some(id)) = (asked.prepares, asked.answer.statement()) {
                if self.prepared.len() >= PREPARED {
                    self.prepared.clear();
                }
                self.last_prepared = Some(statement.clone());
                self.prepared.insert(id, statement);
            }
            if asked.uses.is_some() {
                self.database = asked.uses;
            }
        }
        done(Operation {
            system: System::MySql,
            name: asked.name,
            statement: asked.statement,
            database: self.database.clone(),
            started: asked.started,
            ended: now,
            error,
        });
        if let Some(next) = self.waiting.pop_front() {
            self.await_answer(next);
        }
    }
}

fn length(header: [u8; 4]) -> Option<usize> {
    let [a, b, c, _] = header;
    usize::try_from(u32::from_le_bytes([a, b, c, 0])).ok()
}

/// What the server can do; `None`: it is no greeting.
fn greeting(body: &[u8]) -> Option<Agreed> {
    let rest = body.strip_prefix(&[10])?;
    let version = rest.iter().position(|byte| *byte == 0)?;
    // Connection's number, scramble, filler.
    let rest = rest.get(version + 1 + 4 + 8 + 1..)?;
    let (low, rest) = rest.split_first_chunk::<2>()?;
    let mut flags = u64::from(u16::from_le_bytes(*low));
    // Character set and status, then the upper half.
    if let Some(high) = rest.get(3..5).and_then(|high| high.first_chunk::<2>()) {
        flags |= u64::from(u16::from_le_bytes(*high)) << 16;
    }
    // MariaDB, which leaves the first flag out, tells more in the filler.
    if flags & 1 == 0
        && let Some(more) = rest.get(12..16).and_then(|more| more.first_chunk::<4>())
    {
        flags |= u64::from(u32::from_le_bytes(*more)) << 32;
    }
    Some(Agreed(flags))
}

/// The database that a login names.
fn login_database(agreed: Agreed, rest: &[u8]) -> Option<String> {
    let user = rest.iter().position(|byte| *byte == 0)?;
    let rest = rest.get(user + 1..)?;
    let rest = if agreed.has(Agreed::LENENC_AUTH) {
        let (length, rest) = answer::number(rest)?;
        rest.get(usize::try_from(length).ok()?..)?
    } else if agreed.has(Agreed::SECURE_CONNECTION) {
        let (length, rest) = rest.split_first()?;
        rest.get(usize::from(*length)..)?
    } else {
        let end = rest.iter().position(|byte| *byte == 0)?;
        rest.get(end + 1..)?
    };
    let name = rest.split(|byte| *byte == 0).next().filter(|name| !name.is_empty())?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// A query without the attributes before it; `None`: it has some, whose length depends on their types.
fn behind_attributes(rest: &[u8]) -> Option<&[u8]> {
    let (count, rest) = answer::number(rest)?;
    let (_, rest) = answer::number(rest)?;
    (count == 0).then_some(rest)
}
