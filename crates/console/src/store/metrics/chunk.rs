//! Samples of one series, packed: what a scrape every second costs on disk and in memory is two or three bytes.
//!
//! A sample is the change of the distance in time as a variable-length number, then its value: the difference to the last
//! whole number (counters are whole numbers), or, behind a mark, the eight bytes of a value that is none. Bytes that are no
//! chunk end it: what was read before holds.

use super::Sample;

/// Stands before eight bytes of a value that is no whole number; differences are written doubled, so none is odd.
const RAW: u64 = 1;
/// Whole numbers beyond are not exact as floating-point numbers.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A chunk that grows.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    state: State,
    count: u32,
    first: i64,
}

/// What the next sample is told in relation to.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    at: i64,
    distance: i64,
    whole: i64,
}

impl Chunk {
    /// Takes a sample that is not older than the last.
    pub(super) fn push(&mut self, sample: Sample) {
        if self.count == 0 {
            self.first = sample.at;
            self.state.at = sample.at;
        }
        let distance = sample.at.wrapping_sub(self.state.at);
        write(&mut self.bytes, zigzag(distance.wrapping_sub(self.state.distance)));
        self.state.distance = distance;
        self.state.at = sample.at;
        match whole(sample.value) {
            Some(number) => {
                write(&mut self.bytes, zigzag(number - self.state.whole) << 1);
                self.state.whole = number;
            }
            None => {
                write(&mut self.bytes, RAW);
                self.bytes.extend_from_slice(&sample.value.to_bits().to_le_bytes());
            }
        }
        self.count += 1;
    }

    /// When its first sample was taken.
    pub(super) fn first(&self) -> i64 {
        self.first
    }

    /// When its last sample was taken.
    pub(super) fn last(&self) -> i64 {
        self.state.at
    }

    /// How many samples it has.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// What is kept; [`read`] reads it, given [`first`](Self::first).
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its samples.
    pub(super) fn samples(&self) -> impl Iterator<Item = Sample> + '_ {
        read(self.first, &self.bytes)
    }
}

/// The samples of a chunk whose first was taken at `first`.
pub(super) fn read(first: i64, mut bytes: &[u8]) -> impl Iterator<Item = Sample> + '_ {
    let mut state = State { at: first, ..State::default() };
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        state.distance = state.distance.wrapping_add(unzigzag(take(&mut bytes)?));
        state.at = state.at.wrapping_add(state.distance);
        let value = match take(&mut bytes)? {
            RAW => {
                let (raw, rest) = bytes.split_first_chunk()?;
                bytes = rest;
                f64::from_bits(u64::from_le_bytes(*raw))
            }
            difference => {
                state.whole = state.whole.wrapping_add(unzigzag(difference >> 1));
                to_float(state.whole)
            }
        };
        Some(Sample { at: state.at, value })
    })
}

/// The value as a whole number, where it is one, and not minus zero.
fn whole(value: f64) -> Option<i64> {
    let is = value.fract() == 0.0 && value.abs() <= EXACT && !(value == 0.0 && value.is_sign_negative());
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and within the exact range")]
    is.then_some(value as i64)
}

#[expect(clippy::cast_precision_loss, reason = "only exact numbers were written")]
fn to_float(whole: i64) -> f64 {
    whole as f64
}

fn zigzag(number: i64) -> u64 {
    (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

fn write(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "the lowest seven bits are meant")]
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 128")]
    to.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests;
