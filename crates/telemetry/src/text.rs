//! Numbers, addresses and identifiers as text, appended to a buffer.
//!
//! Every request leaves dozens of them in its log lines and spans. They read as `Display` shows them, without the detour over a
//! formatter, which costs several times as much. What is short is made in one place and put where it belongs whole.

use std::net::Ipv4Addr;

mod buffer;
#[cfg(test)]
mod tests;

pub use buffer::Buffer;

/// Room for an address of four bytes with its port, and for blocks that are longer than what counts of them.
const ADDRESS: usize = 24;

/// A number as hexadecimal digits in lower case; all of them are made at once, each in its byte of one wide number.
pub(crate) fn hex(value: u64) -> [u8; 16] {
    let mut halves = u128::from(value);
    halves = (halves | halves << 32) & 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff;
    halves = (halves | halves << 16) & 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff;
    halves = (halves | halves << 8) & 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff;
    halves = (halves | halves << 4) & all(0x0f);
    let above_nine = (halves + all(6)) >> 4 & all(1);
    let to_letter = u128::from(b'a' - b'0' - 10);
    (halves + all(b'0') + above_nine * to_letter).to_be_bytes()
}

/// The number that sixteen hexadecimal digits are, upper or lower case; `None`: something else is among them.
pub(crate) fn unhex(digits: [u8; 16]) -> Option<u64> {
    let letters = u128::from_be_bytes(digits);
    // Upper case becomes lower case.
    let letters = letters | letters >> 1 & all(0x20);
    // Of a digit the lower half is its value, and of a letter nine less, which alone has this bit.
    let halves = (letters & all(0x0f)) + (letters >> 6 & all(1)) * 9;
    let halves = (halves | halves >> 4) & 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff;
    let halves = (halves | halves >> 8) & 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff;
    let halves = (halves | halves >> 16) & 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff;
    let number = u64::try_from((halves | halves >> 32) & u128::from(u64::MAX)).ok()?;
    // What was none of these reads otherwise.
    (hex(number) == letters.to_be_bytes()).then_some(number)
}

/// The same byte sixteen times.
const fn all(byte: u8) -> u128 {
    u128::from_ne_bytes([byte; 16])
}

/// A text of at most `N` bytes that is made in one place and appended at once: a buffer that may have to grow is asked for room once,
/// and not for each letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short<const N: usize> {
    /// What is behind its length counts for nothing.
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Default for Short<N> {
    fn default() -> Self {
        Self { bytes: [0; N], length: 0 }
    }
}

impl<const N: usize> Short<N> {
    /// Adds a letter; what is beyond the room is left out.
    pub(crate) fn push(&mut self, letter: u8) {
        self.block([letter], 1);
    }

    /// Adds the last digits of a number, zeros before it where it has fewer.
    pub(crate) fn digits<const COUNT: usize>(&mut self, mut value: u32) {
        let mut digits = [b'0'; COUNT];
        for digit in digits.iter_mut().rev() {
            *digit += u8::try_from(value % 10).unwrap_or(0);
            value /= 10;
        }
        self.block(digits, COUNT);
    }

    /// Adds the first `length` letters of a block, all of which there must be room for.
    pub(crate) fn block<const SIZE: usize>(&mut self, block: [u8; SIZE], length: usize) {
        let place = self.bytes.get_mut(self.length..).and_then(<[u8]>::first_chunk_mut);
        debug_assert!(place.is_some() && block.is_ascii(), "it is made for what it holds");
        if let Some(place) = place {
            *place = block;
            self.length += length;
        }
    }

    /// Adds a number.
    fn small(&mut self, value: u16) {
        match value {
            0..10 => self.digits::<1>(value.into()),
            10..100 => self.digits::<2>(value.into()),
            100..1000 => self.digits::<3>(value.into()),
            1000..10_000 => self.digits::<4>(value.into()),
            10_000.. => self.digits::<5>(value.into()),
        }
    }

    fn ip(address: Ipv4Addr) -> Self {
        let mut text = Self::default();
        for octet in address.octets() {
            let (block, length) = OCTETS.get(usize::from(octet)).copied().unwrap_or_default();
            text.block(block, usize::from(length));
        }
        text.length = text.length.saturating_sub(1);
        text
    }

    fn address(address: Ipv4Addr, port: u16) -> Self {
        let mut text = Self::ip(address);
        text.push(b':');
        text.small(port);
        text
    }

    /// Adds a letter of any script; `false`: there is no room for it.
    pub(crate) fn add(&mut self, letter: char) -> bool {
        let end = self.length + letter.len_utf8();
        let place = self.bytes.get_mut(self.length..end);
        if let Some(place) = place {
            letter.encode_utf8(place);
            self.length = end;
            return true;
        }
        false
    }

    /// What is in it.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// What each byte of an address reads as, with the dot behind it, and how long that is.
static OCTETS: [([u8; 4], u8); 256] = {
    const fn digit(value: u8) -> u8 {
        b'0' + value % 10
    }
    let mut table = [([0; 4], 0); 256];
    let mut octet = 0_u8;
    loop {
        let [ones, tens, hundreds] = [digit(octet), digit(octet / 10), digit(octet / 100)];
        #[expect(clippy::indexing_slicing, reason = "it is made while it is compiled, and has a place for each byte")]
        {
            table[octet as usize] = match octet {
                0..10 => ([ones, b'.', 0, 0], 2),
                10..100 => ([tens, ones, b'.', 0], 3),
                100.. => ([hundreds, tens, ones, b'.'], 4),
            };
        }
        if octet == u8::MAX {
            break table;
        }
        octet += 1;
    }
};
