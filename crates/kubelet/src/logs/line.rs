//! One line of a log file: time, stream, whether it is whole, and the text.

use jiff::Timestamp;

/// A container's output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Cuts a stream of bytes into lines of the log's form.
#[derive(Debug)]
pub struct Splitter {
    stream: Stream,
    longest: usize,
    pending: Vec<u8>,
}

impl Splitter {
    /// Lines of a stream, at most `longest` bytes each.
    pub fn new(stream: Stream, longest: usize) -> Self {
        Self { stream, longest, pending: Vec::new() }
    }

    /// Takes bytes and writes the lines that are complete or too long to wait for.
    pub fn push(&mut self, bytes: &[u8], now: Timestamp, out: &mut Vec<u8>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(piece);
            while self.pending.len() > self.longest && self.pending.get(self.longest) != Some(&b'\n') {
                let rest = self.pending.split_off(self.longest);
                let part = std::mem::replace(&mut self.pending, rest);
                self.write(&part, false, now, out);
            }
            if self.pending.last() == Some(&b'\n') {
                self.pending.pop();
                let line = std::mem::take(&mut self.pending);
                self.write(&line, true, now, out);
            }
        }
    }

    /// Writes what is left at the end of the stream.
    pub fn finish(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            let rest = std::mem::take(&mut self.pending);
            self.write(&rest, false, now, out);
        }
    }

    fn write(&self, text: &[u8], whole: bool, now: Timestamp, out: &mut Vec<u8>) {
        let tag = if whole { 'F' } else { 'P' };
        // Nine digits always, so that times compare as text.
        out.extend_from_slice(format!("{now:.9} {} {tag} ", self.stream.name()).as_bytes());
        out.extend_from_slice(text);
        out.push(b'\n');
    }
}

/// A line as it is read back.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was written.
    pub time: &'a [u8],
    /// Whether the line ends here.
    pub whole: bool,
    /// What was written.
    pub text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Parses a line without its end. `None` for one that was cut off by a crash.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = bytes.splitn(4, |byte| *byte == b' ');
        let (time, _stream, tag, text) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        Some(Self { time, whole: tag == b"F", text })
    }

    /// When it was written.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        std::str::from_utf8(self.time).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_back(bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        for line in bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let line = Line::parse(line).unwrap();
            text.extend_from_slice(line.text);
            if line.whole {
                text.push(b'\n');
            }
        }
        text
    }

    #[test]
    fn a_line_has_time_stream_and_tag() {
        let mut out = Vec::new();
        let now: Timestamp = "2026-01-02T03:04:05.6Z".parse().unwrap();
        Splitter::new(Stream::Stderr, 10).push(b"hello\n", now, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "2026-01-02T03:04:05.600000000Z stderr F hello\n");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_back(chunks in prop::collection::vec("[a-c\n ]{0,12}", 0..8), longest in 1usize..6) {
            let (mut splitter, mut out) = (Splitter::new(Stream::Stdout, longest), Vec::new());
            for chunk in &chunks {
                splitter.push(chunk.as_bytes(), Timestamp::UNIX_EPOCH, &mut out);
            }
            splitter.finish(Timestamp::UNIX_EPOCH, &mut out);
            prop_assert_eq!(read_back(&out), chunks.concat().into_bytes());
        }
    }
}
