//! Numbers, addresses and identifiers as text, appended to a buffer.
//!
//! Every request leaves dozens of them in its log lines and spans. They read as `Display` shows them, without the detour over a
//! formatter, which costs several times as much.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Appends a whole number.
pub fn number(value: impl itoa::Integer, out: &mut String) {
    out.push_str(itoa::Buffer::new().format(value));
}

/// Appends an address without port.
pub fn ip(address: IpAddr, out: &mut String) {
    match address {
        IpAddr::V4(address) => {
            let mut text = Ascii::<15>::default();
            text.ip(address);
            text.append_to(out);
        }
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// Appends an address with its port.
pub fn address(address: SocketAddr, out: &mut String) {
    match address {
        SocketAddr::V4(address) => {
            let mut text = Ascii::<21>::default();
            text.ip(*address.ip());
            text.push(b':');
            text.number(address.port());
            text.append_to(out);
        }
        SocketAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// Appends bytes as two lower-case hexadecimal digits each.
pub(crate) fn hex<const N: usize>(bytes: [u8; N], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or_default();
    let mut text = [[0; 2]; N];
    for (place, byte) in text.iter_mut().zip(bytes) {
        *place = [digit(byte >> 4), digit(byte & 0xf)];
    }
    out.push_str(std::str::from_utf8(text.as_flattened()).unwrap_or_default());
}

/// The number that so many hexadecimal digits are, upper or lower case; `None`: something else is among them.
pub(crate) fn unhex(digits: &[u8]) -> Option<u64> {
    let mut number = 0;
    let mut known = true;
    for digit in digits {
        let half = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => {
                known = false;
                0
            }
        };
        number = number << 4 | u64::from(half);
    }
    known.then_some(number)
}

/// A short text that is made in one place and appended at once: a buffer that may have to grow is asked for room once, and not for
/// each letter.
pub(crate) struct Ascii<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Default for Ascii<N> {
    fn default() -> Self {
        Self { bytes: [0; N], length: 0 }
    }
}

impl<const N: usize> Ascii<N> {
    /// Adds a letter; what is beyond the room is left out.
    pub(crate) fn push(&mut self, letter: u8) {
        self.extend(&[letter]);
    }

    /// Adds the last digits of a number, zeros before it where it has fewer.
    pub(crate) fn digits<const COUNT: usize>(&mut self, mut value: u32) {
        let mut digits = [b'0'; COUNT];
        for digit in digits.iter_mut().rev() {
            *digit += u8::try_from(value % 10).unwrap_or(0);
            value /= 10;
        }
        self.extend(&digits);
    }

    fn extend(&mut self, letters: &[u8]) {
        debug_assert!(letters.is_ascii() && self.length + letters.len() <= N, "it is made for what it holds");
        let end = self.length + letters.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(letters);
            self.length = end;
        }
    }

    fn number(&mut self, value: u16) {
        self.extend(itoa::Buffer::new().format(value).as_bytes());
    }

    fn ip(&mut self, address: Ipv4Addr) {
        let [first, rest @ ..] = address.octets();
        self.number(first.into());
        for octet in rest {
            self.push(b'.');
            self.number(octet.into());
        }
    }

    /// Appends it.
    pub(crate) fn append_to(&self, out: &mut String) {
        let made = self.bytes.get(..self.length).unwrap_or_default();
        out.push_str(std::str::from_utf8(made).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use proptest::prelude::*;

    use super::*;

    fn made(write: impl FnOnce(&mut String)) -> String {
        let mut out = "before ".to_owned();
        write(&mut out);
        out
    }

    proptest! {
        #[test]
        fn it_reads_as_it_is_shown(ip_address: IpAddr, port: u16, value: u64, id: u128, small in 0_u32..1000) {
            prop_assert_eq!(made(|out| number(value, out)), format!("before {value}"));
            prop_assert_eq!(made(|out| ip(ip_address, out)), format!("before {ip_address}"));
            let whole = SocketAddr::new(ip_address, port);
            prop_assert_eq!(made(|out| address(whole, out)), format!("before {whole}"));
            prop_assert_eq!(made(|out| hex(id.to_be_bytes(), out)), format!("before {id:032x}"));
            let half = u64::try_from(id >> 64).unwrap();
            prop_assert_eq!(unhex(format!("{half:016x}").as_bytes()), Some(half));
            prop_assert_eq!(unhex(format!("{half:016X}").as_bytes()), Some(half));
            prop_assert_eq!(unhex(format!("{half:015x}g").as_bytes()), None);
            let mut digits = Ascii::<4>::default();
            digits.digits::<4>(small);
            prop_assert_eq!(made(|out| digits.append_to(out)), format!("before {small:04}"));
        }
    }
}
