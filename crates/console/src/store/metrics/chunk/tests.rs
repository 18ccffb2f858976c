use proptest::prelude::*;

use super::{Chunk, read};
use crate::store::metrics::{STALE, Sample};

fn same(a: &[Sample], b: &[Sample]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.at == b.at && a.value.to_bits() == b.value.to_bits())
}

fn packed(samples: &[Sample]) -> Chunk {
    let mut chunk = Chunk::default();
    for sample in samples {
        chunk.push(*sample);
    }
    chunk
}

#[test]
fn a_counter_that_is_read_every_second_costs_three_bytes_a_sample() {
    let at = 1_764_000_000_000;
    let samples: Vec<_> =
        (0..120_i32).map(|i| Sample { at: at + i64::from(i) * 1000, value: f64::from(i * 37) }).collect();
    let chunk = packed(&samples);
    assert!(chunk.bytes().len() <= 120 * 3 + 8, "{}", chunk.bytes().len());
    assert!(same(&chunk.samples().collect::<Vec<_>>(), &samples));
    assert_eq!((chunk.first(), chunk.last(), chunk.count()), (at, at + 119_000, 120));
}

fn values() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        any::<i32>().prop_map(f64::from),
        Just(STALE),
        Just(-0.0),
        Just(f64::INFINITY),
        Just(9_007_199_254_740_992.0),
        Just(-9_007_199_254_740_992.0),
    ]
}

proptest! {
    #[test]
    fn what_was_packed_is_read_bit_by_bit(first in any::<i32>(), steps in prop::collection::vec((0..1_i64 << 40, values()), 0..50)) {
        let mut at = i64::from(first);
        let samples: Vec<_> = steps.into_iter().map(|(step, value)| { at += step; Sample { at, value } }).collect();
        let chunk = packed(&samples);
        prop_assert!(same(&chunk.samples().collect::<Vec<_>>(), &samples));
        prop_assert!(same(&read(chunk.first(), chunk.bytes()).collect::<Vec<_>>(), &samples));
    }

    #[test]
    fn bytes_that_are_no_chunk_end_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read(0, &bytes).count() <= bytes.len());
    }
}
