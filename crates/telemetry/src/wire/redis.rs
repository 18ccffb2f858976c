//! Redis: arrays of texts as requests, values as answers, both in order.

use std::collections::VecDeque;
use std::time::Instant;

use super::{End, Operation, Side, System};

/// Requests that wait for their answer at most; a client that sends more at once is read no further.
const PIPELINE: usize = 10_000;
/// A line is at most so long, values aside.
const LINE: usize = 512;
const DEPTH: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Reader {
    client: Values,
    server: Values,
    waiting: VecDeque<(String, Instant)>,
}

impl Reader {
    pub(super) fn read(
        &mut self,
        side: Side,
        mut bytes: &[u8],
        now: Instant,
        done: &mut dyn FnMut(Operation),
    ) -> Result<(), End> {
        let values = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        while let Some(value) = values.next(&mut bytes)? {
            match side {
                Side::Client => {
                    let name = value.text.to_ascii_uppercase();
                    // From then on answers come without a request.
                    if matches!(name.as_str(), "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" | "MONITOR" | "SYNC" | "PSYNC")
                    {
                        return Err(End::Lost);
                    }
                    if name.is_empty() || self.waiting.len() >= PIPELINE {
                        return Err(End::Lost);
                    }
                    self.waiting.push_back((name, now));
                }
                Side::Server if value.kind == b'>' => {}
                Side::Server => {
                    let (name, started) = self.waiting.pop_front().ok_or(End::Lost)?;
                    let failed = matches!(value.kind, b'-' | b'!');
                    let code = || value.text.split(' ').next().unwrap_or_default().to_owned();
                    done(Operation {
                        system: System::Redis,
                        name,
                        statement: None,
                        database: None,
                        started,
                        ended: now,
                        error: failed.then(code),
                    });
                }
            }
        }
        Ok(())
    }
}

/// A value from its first to its last byte: its kind, and its first text.
#[derive(Debug, Default)]
struct Value {
    kind: u8,
    text: String,
}

/// Values of one direction.
#[derive(Debug, Default)]
struct Values {
    line: Vec<u8>,
    /// Bytes of a text that are still to come, with its end of line.
    skip: usize,
    /// Of the text that is being skipped, the beginning is kept.
    keep: bool,
    /// How many values are still to come in each open array.
    open: Vec<usize>,
    value: Value,
    begun: bool,
    has_text: bool,
}

impl Values {
    /// The next whole value; `None`: the bytes are used up.
    fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Value>, End> {
        loop {
            if self.skip > 0 {
                let (now, rest) = bytes.split_at(self.skip.min(bytes.len()));
                if self.keep {
                    let room = LINE.saturating_sub(self.line.len());
                    self.line.extend(now.iter().take(room));
                }
                *bytes = rest;
                self.skip -= now.len();
                if self.skip > 0 {
                    return Ok(None);
                }
                let text = std::mem::take(&mut self.line);
                if std::mem::take(&mut self.keep) {
                    self.text(text.strip_suffix(b"\r\n").unwrap_or(&text));
                }
                if self.ends() {
                    return Ok(Some(self.take()));
                }
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                self.line.extend_from_slice(bytes);
                *bytes = &[];
                return if self.line.len() > LINE { Err(End::Lost) } else { Ok(None) };
            };
            let (now, rest) = bytes.split_at(end + 1);
            self.line.extend_from_slice(now);
            *bytes = rest;
            if self.line.len() > LINE {
                return Err(End::Lost);
            }
            let line = std::mem::take(&mut self.line);
            if self.line(line.strip_suffix(b"\r\n").ok_or(End::Lost)?)? {
                return Ok(Some(self.take()));
            }
        }
    }

    /// A line that begins a value, or is one. Whether the outermost value ends with it.
    fn line(&mut self, line: &[u8]) -> Result<bool, End> {
        let (kind, rest) = line.split_first().ok_or(End::Lost)?;
        if !self.begun {
            self.begun = true;
            self.value.kind = *kind;
        }
        let number = || std::str::from_utf8(rest).ok().and_then(|text| text.parse::<i64>().ok()).ok_or(End::Lost);
        match kind {
            b'+' | b'-' | b':' | b',' | b'#' | b'_' | b'(' => {
                self.text(rest);
                Ok(self.ends())
            }
            b'$' | b'!' | b'=' => match usize::try_from(number()?) {
                Ok(length) => {
                    self.skip = length.checked_add(2).ok_or(End::Lost)?;
                    self.keep = !self.has_text;
                    Ok(false)
                }
                // There is none.
                Err(_) => Ok(self.ends()),
            },
            b'*' | b'~' | b'>' | b'%' | b'|' => {
                let Ok(count) = usize::try_from(number()?) else { return Ok(self.ends()) };
                let count = if matches!(kind, b'%' | b'|') { count.checked_mul(2).ok_or(End::Lost)? } else { count };
                // Attributes stand before the value that they belong to, which is still to come.
                let count = count + usize::from(*kind == b'|');
                if count == 0 {
                    return Ok(self.ends());
                }
                if self.open.len() >= DEPTH {
                    return Err(End::Lost);
                }
                self.open.push(count);
                Ok(false)
            }
            _ => Err(End::Lost),
        }
    }

    fn text(&mut self, text: &[u8]) {
        if !std::mem::replace(&mut self.has_text, true) {
            self.value.text =
                String::from_utf8_lossy(text.get(..text.len().min(LINE)).unwrap_or_default()).into_owned();
        }
    }

    /// A value within ended. Whether the outermost one did.
    fn ends(&mut self) -> bool {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.open.pop();
        }
        true
    }

    fn take(&mut self) -> Value {
        (self.begun, self.has_text) = (false, false);
        std::mem::take(&mut self.value)
    }
}
