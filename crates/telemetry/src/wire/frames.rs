//! Messages behind headers that say how long they are, cut from bytes that come in any pieces.

/// Cuts one direction of a connection. `HEADER` bytes stand before each message.
#[derive(Debug)]
pub(super) struct Frames<const HEADER: usize> {
    header: [u8; HEADER],
    have: usize,
    /// Of the message: its length, how much is still to come, and its beginning where it came in pieces.
    length: usize,
    left: usize,
    beginning: Vec<u8>,
    /// So much of a message is looked at.
    keep: usize,
}

/// A message: its header, its beginning, and how long all of it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'b, const HEADER: usize> {
    pub header: [u8; HEADER],
    pub beginning: &'b [u8],
    pub length: usize,
}

impl<const HEADER: usize> Frames<HEADER> {
    pub(super) fn new(keep: usize) -> Self {
        Self { header: [0; HEADER], have: 0, length: 0, left: 0, beginning: Vec::new(), keep }
    }

    /// The next message of `bytes`, which it takes from them; `None`: they are used up. `length` reads a header; where it says
    /// nothing, it is none.
    pub(super) fn next<'s, 'b: 's>(
        &'s mut self,
        bytes: &mut &'b [u8],
        length: impl Fn([u8; HEADER]) -> Option<usize>,
    ) -> Option<Result<Frame<'s, HEADER>, super::End>> {
        if self.have < HEADER {
            let missing = HEADER - self.have;
            let (head, rest) = bytes.split_at(missing.min(bytes.len()));
            for (to, from) in self.header.iter_mut().skip(self.have).zip(head) {
                *to = *from;
            }
            self.have += head.len();
            *bytes = rest;
            if self.have < HEADER {
                return None;
            }
            let Some(found) = length(self.header) else { return Some(Err(super::End::Lost)) };
            (self.length, self.left) = (found, found);
            self.beginning.clear();
        }
        let (now, rest) = bytes.split_at(self.left.min(bytes.len()));
        *bytes = rest;
        let whole = self.left == self.length && now.len() == self.length;
        self.left -= now.len();
        let room = self.keep.saturating_sub(self.beginning.len());
        if !whole {
            self.beginning.extend(now.iter().take(room));
        }
        if self.left > 0 {
            return None;
        }
        self.have = 0;
        let beginning = if whole { now.get(..self.keep.min(now.len())).unwrap_or_default() } else { &self.beginning };
        Some(Ok(Frame { header: self.header, beginning, length: self.length }))
    }
}
