//! Numbers drawn from a seed: the same seed, the same numbers, on every machine.

/// A source of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    /// From a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, which is not 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        let n = u64::try_from(n).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % n).unwrap_or_default()
    }

    /// In so many of a hundred cases.
    pub(super) fn percent(&mut self, n: usize) -> bool {
        self.below(100) < n
    }

    /// One of a list that is not empty.
    pub(super) fn one<'l, T>(&mut self, list: &'l [T]) -> &'l T
    where
        T: 'l,
    {
        let n = self.below(list.len());
        #[expect(clippy::indexing_slicing, reason = "it is below the length; an empty list is a slip of the caller's")]
        &list[n]
    }
}
