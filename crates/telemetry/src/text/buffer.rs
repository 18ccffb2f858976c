//! A buffer that is filled with many short pieces.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::{ADDRESS, Short};

/// What is made of many short pieces, again and again in the same place: a line of a log, a message.
///
/// Behind what is in it there is room, so that a short piece is put there as one block of a fixed size of which only the beginning
/// counts, instead of being copied by the letter.
#[derive(Debug, Clone, Default)]
pub struct Buffer {
    /// What is in it, and the room behind.
    bytes: Vec<u8>,
    used: usize,
}

impl Buffer {
    /// Empty, with room for so many bytes.
    pub fn with_room(room: usize) -> Self {
        Self { bytes: vec![0; room], used: 0 }
    }

    /// Forgets what is in it, and keeps the room.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// What is in it.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    /// How many bytes are in it.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// What was appended since it had so many bytes.
    pub(crate) fn since(&self, start: usize) -> &[u8] {
        self.bytes.get(start..self.used).unwrap_or_default()
    }

    /// Leaves so many bytes of it.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.used = self.used.min(length);
    }

    /// Appends bytes.
    #[inline]
    pub fn push(&mut self, text: &[u8]) {
        let end = self.used + text.len();
        loop {
            if let Some(place) = self.bytes.get_mut(self.used..end) {
                place.copy_from_slice(text);
                self.used = end;
                return;
            }
            self.grow(end);
        }
    }

    /// Appends so few bytes that they are no more than a register or two.
    #[inline]
    pub fn block<const N: usize>(&mut self, bytes: [u8; N]) {
        loop {
            if let Some(place) = self.bytes.get_mut(self.used..).and_then(<[u8]>::first_chunk_mut) {
                *place = bytes;
                self.used += N;
                return;
            }
            self.grow(self.used + N);
        }
    }

    /// Appends a short text.
    #[inline]
    pub(crate) fn put<const N: usize>(&mut self, text: &Short<N>) {
        loop {
            if let Some(place) = self.bytes.get_mut(self.used..).and_then(<[u8]>::first_chunk_mut) {
                *place = text.bytes;
                self.used += text.length;
                return;
            }
            self.grow(self.used + N);
        }
    }

    /// Appends a letter.
    #[inline]
    pub(crate) fn letter(&mut self, letter: u8) {
        self.block([letter]);
    }

    /// Makes room for so many bytes in all.
    #[cold]
    fn grow(&mut self, room: usize) {
        self.bytes.resize(room.max(self.bytes.len() * 2), 0);
    }

    /// Appends a whole number.
    pub fn number(&mut self, value: u64) {
        match u16::try_from(value) {
            Ok(small) => {
                let mut text = Short::<8>::default();
                text.small(small);
                self.put(&text);
            }
            Err(_) => self.push(itoa::Buffer::new().format(value).as_bytes()),
        }
    }

    /// Appends an address without port.
    pub fn ip(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.put(&Short::<ADDRESS>::ip(address)),
            IpAddr::V6(address) => drop(write!(self, "{address}")),
        }
    }

    /// Appends an address with its port.
    pub fn address(&mut self, address: SocketAddr) {
        match address {
            SocketAddr::V4(address) => self.put(&Short::<ADDRESS>::address(*address.ip(), address.port())),
            SocketAddr::V6(address) => drop(write!(self, "{address}")),
        }
    }
}

impl std::fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}
