//! gRPC messages are counted, not understood: a byte, a length, and so many bytes.

/// Counts the messages of one direction, in whatever pieces they come.
#[derive(Debug, Default)]
pub struct Messages {
    /// Complete prefixes so far.
    count: u64,
    /// Bytes of the prefix that have come.
    prefix: usize,
    /// Length of the message, while its prefix comes.
    length: u32,
    /// Bytes of the message that are still to come.
    rest: u32,
}

/// Flag and length.
const PREFIX: usize = 5;

impl Messages {
    /// How many have begun.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes note of what comes next.
    pub fn see(&mut self, mut data: &[u8]) {
        while let Some((first, more)) = data.split_first() {
            if self.rest > 0 {
                let skip = usize::try_from(self.rest).unwrap_or(usize::MAX).min(data.len());
                self.rest -= u32::try_from(skip).unwrap_or(0);
                data = data.get(skip..).unwrap_or_default();
                continue;
            }
            if self.prefix > 0 {
                self.length = (self.length << 8) | u32::from(*first);
            }
            self.prefix += 1;
            data = more;
            if self.prefix == PREFIX {
                self.count += 1;
                self.rest = self.length;
                (self.prefix, self.length) = (0, 0);
            }
        }
    }
}

#[cfg(test)]
mod tests;
