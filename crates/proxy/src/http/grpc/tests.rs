//! Messages in pieces.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn messages_are_counted_however_they_are_cut(
        lengths in proptest::collection::vec(0..700usize, 0..8),
        cut in 1..300usize,
    ) {
        let mut bytes = Vec::new();
        for length in &lengths {
            bytes.push(0);
            bytes.extend_from_slice(&u32::try_from(*length).unwrap().to_be_bytes());
            bytes.resize(bytes.len() + length, 7);
        }
        let mut messages = Messages::default();
        bytes.chunks(cut).for_each(|piece| messages.see(piece));
        prop_assert_eq!(messages.count(), lengths.len() as u64);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        Messages::default().see(&bytes);
    }
}
