use super::growth;
use crate::store::metrics::{STALE, Sample};

#[test]
fn what_is_counted_is_what_was_counted() {
    let of = |samples: &[(i64, f64)], start| {
        let samples: Vec<_> = samples.iter().map(|(at, value)| Sample { at: *at, value: *value }).collect();
        growth(&samples, start)
    };
    assert_eq!(of(&[], 0), 0.0);
    assert_eq!(of(&[(5, 7.0)], 0), 0.0, "it may be old");
    assert_eq!(of(&[(1, 0.0), (5, 7.0), (9, 8.0)], 0), 8.0);
    assert_eq!(of(&[(1, 3.0), (5, 7.0), (9, 8.0)], 4), 5.0, "from the last sample before the window");
    assert_eq!(of(&[(1, 3.0), (5, 7.0), (9, 2.0)], 0), 6.0, "a restart");
    assert_eq!(of(&[(1, 3.0), (5, STALE), (9, 4.0)], 0), 1.0, "a gap");
}
