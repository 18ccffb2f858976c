//! The packets of an answer, up to its last.

use super::super::End;
use super::Agreed;

const MORE_RESULTS: u16 = 8;
/// A cursor holds the rows: none follow the columns.
const CURSOR: u16 = 0x40;
/// MariaDB tells how far it is in what looks like a refusal.
const PROGRESS: u16 = 0xffff;

/// How far the answer has come.
#[derive(Debug)]
enum Step {
    /// Yes or no.
    Ok,
    /// One packet of whatever kind.
    One,
    /// Yes, no, or how many columns.
    Result,
    /// So many columns, and then what stands behind them.
    Columns(u64, Behind),
    /// The end of columns.
    EndOfColumns,
    /// Rows until their end.
    Rows,
    /// Columns of a table until their end.
    Fields,
    /// What was prepared, with its parameters and columns.
    Prepared,
    /// So many packets.
    Skip(u64),
    /// An old end, or a yes.
    End,
    /// The client sends a file.
    File,
}

#[derive(Debug, Clone, Copy)]
enum Behind {
    /// An old end of columns, then rows.
    End,
    Rows,
}

/// An answer that comes.
#[derive(Debug)]
pub(super) struct Answer {
    step: Step,
    statement: Option<u32>,
}

/// What a packet means for the command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    More,
    Done,
    Refused(u16),
}

impl Answer {
    fn at(step: Step) -> Self {
        Self { step, statement: None }
    }

    pub(super) fn ok() -> Self {
        Self::at(Step::Ok)
    }

    pub(super) fn one() -> Self {
        Self::at(Step::One)
    }

    pub(super) fn result() -> Self {
        Self::at(Step::Result)
    }

    pub(super) fn fields() -> Self {
        Self::at(Step::Fields)
    }

    pub(super) fn prepared() -> Self {
        Self::at(Step::Prepared)
    }

    pub(super) fn end() -> Self {
        Self::at(Step::End)
    }

    pub(super) fn rows() -> Self {
        Self::at(Step::Rows)
    }

    /// Number of the statement that was prepared.
    pub(super) fn statement(&self) -> Option<u32> {
        self.statement
    }

    pub(super) fn wants_file(&self) -> bool {
        matches!(self.step, Step::File)
    }

    /// A packet of the file; an empty one is its end.
    pub(super) fn file(&mut self, length: usize) {
        if length == 0 {
            self.step = Step::Result;
        }
    }

    pub(super) fn packet(&mut self, agreed: Agreed, body: &[u8], length: usize) -> Result<Said, End> {
        let first = *body.first().ok_or(End::Lost)?;
        // In rows a first byte of 0xff is always a refusal: no text is so long.
        if first == 0xff && !matches!(self.step, Step::One | Step::Columns(..) | Step::Skip(_)) {
            let code = body.get(1..3).and_then(|code| code.first_chunk()).map(|code| u16::from_le_bytes(*code));
            return match code.ok_or(End::Lost)? {
                PROGRESS => Ok(Said::More),
                code => Ok(Said::Refused(code)),
            };
        }
        match &mut self.step {
            Step::One => Ok(Said::Done),
            Step::Ok => (first == 0).then_some(Said::Done).ok_or(End::Lost),
            Step::End => matches!(first, 0 | 0xfe).then_some(Said::Done).ok_or(End::Lost),
            Step::File => Err(End::Lost),
            Step::Result => self.result_begins(agreed, first, body),
            Step::Columns(left, behind) => {
                *left -= 1;
                if *left == 0 {
                    self.step = match behind {
                        Behind::End => Step::EndOfColumns,
                        Behind::Rows => Step::Rows,
                    };
                }
                Ok(Said::More)
            }
            Step::EndOfColumns => {
                let status = old_end(body).ok_or(End::Lost)?;
                self.step = Step::Rows;
                if status & CURSOR != 0 { Ok(self.done_unless_more(status)) } else { Ok(Said::More) }
            }
            Step::Rows | Step::Fields => {
                // Rows whose first text is longer than 16 MB begin with the same byte.
                let status = match agreed.has(Agreed::DEPRECATE_EOF) {
                    true if first == 0xfe && length < super::FULL => ok_status(body),
                    false if first == 0xfe && length < 9 => old_end(body),
                    _ => return Ok(Said::More),
                };
                Ok(self.done_unless_more(status.ok_or(End::Lost)?))
            }
            Step::Prepared => self.prepared_is(agreed, first, body),
            Step::Skip(left) => {
                *left -= 1;
                Ok(if *left == 0 { Said::Done } else { Said::More })
            }
        }
    }

    fn result_begins(&mut self, agreed: Agreed, first: u8, body: &[u8]) -> Result<Said, End> {
        match first {
            0 => Ok(self.done_unless_more(ok_status(body).ok_or(End::Lost)?)),
            0xfb => {
                self.step = Step::File;
                Ok(Said::More)
            }
            _ => {
                let (count, rest) = number(body).ok_or(End::Lost)?;
                // The server may leave out columns that the client knows.
                let may_lack = agreed.has(Agreed::MARIADB_CACHE_METADATA);
                let lacks = match agreed.has(Agreed::OPTIONAL_METADATA) {
                    true => body.first() == Some(&0),
                    false => may_lack && rest.first() == Some(&0),
                };
                let behind = if agreed.has(Agreed::DEPRECATE_EOF) { Behind::Rows } else { Behind::End };
                self.step = match (lacks, behind) {
                    (true, Behind::End) => Step::EndOfColumns,
                    (true, Behind::Rows) => Step::Rows,
                    // A result without columns is a yes, and no server says so in more than one byte.
                    (false, _) if count == 0 => return Err(End::Lost),
                    (false, behind) => Step::Columns(count, behind),
                };
                Ok(Said::More)
            }
        }
    }

    fn prepared_is(&mut self, agreed: Agreed, first: u8, body: &[u8]) -> Result<Said, End> {
        let [0, a, b, c, d, columns, columns_high, parameters, parameters_high] =
            *body.first_chunk::<9>().filter(|_| first == 0).ok_or(End::Lost)?
        else {
            return Err(End::Lost);
        };
        self.statement = Some(u32::from_le_bytes([a, b, c, d]));
        let count = |low, high| u64::from(u16::from_le_bytes([low, high]));
        let old_ends = u64::from(!agreed.has(Agreed::DEPRECATE_EOF));
        let packets = |count: u64| if count == 0 { 0 } else { count + old_ends };
        match packets(count(columns, columns_high)) + packets(count(parameters, parameters_high)) {
            0 => Ok(Said::Done),
            left => {
                self.step = Step::Skip(left);
                Ok(Said::More)
            }
        }
    }

    fn done_unless_more(&mut self, status: u16) -> Said {
        if status & MORE_RESULTS == 0 || matches!(self.step, Step::Fields) {
            return Said::Done;
        }
        self.step = Step::Result;
        Said::More
    }
}

/// The status of an old end of columns or rows.
fn old_end(body: &[u8]) -> Option<u16> {
    match body {
        [0xfe, _, _, low, high, ..] => Some(u16::from_le_bytes([*low, *high])),
        _ => None,
    }
}

/// The status of a yes.
fn ok_status(body: &[u8]) -> Option<u16> {
    let (_, rest) = number(body.get(1..)?)?;
    let (_, rest) = number(rest)?;
    rest.first_chunk().map(|status| u16::from_le_bytes(*status))
}

/// A number whose first byte says how long it is.
pub(super) fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let length = match first {
        0..=0xfa => return Some((u64::from(*first), rest)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        0xfb | 0xff => return None,
    };
    let (digits, rest) = rest.split_at_checked(length)?;
    let value = digits.iter().rev().fold(0, |value, digit| value << 8 | u64::from(*digit));
    Some((value, rest))
}
