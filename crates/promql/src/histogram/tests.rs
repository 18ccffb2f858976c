use super::*;

fn of(schema: i32, positive: &[f64]) -> Histogram {
    let count = positive.iter().sum();
    let positive = (0..).zip(positive.iter().copied()).collect();
    Histogram { schema, count, sum: count, positive, ..Histogram::default() }
}

#[test]
fn bounds_are_powers() {
    assert_eq!([0, 1, 2].map(|index| exponential_bound(index, 0)), [1.0, 2.0, 4.0]);
    assert_eq!([0, 1].map(|index| exponential_bound(index, -1)), [1.0, 4.0]);
    assert!((exponential_bound(1, 1) - std::f64::consts::SQRT_2).abs() < 1e-15);
    assert_eq!(exponential_bound(1024, 0), f64::MAX);
    assert_eq!(exponential_bound(1025, 0), f64::INFINITY);
}

#[test]
fn adding_meets_at_the_lower_resolution() {
    let mut sum = of(-1, &[0.0, 1.0]);
    sum.add(&Histogram { positive: vec![(1, 2.0), (2, 2.0)], ..of(0, &[0.0, 2.0, 2.0]) }).unwrap();
    assert_eq!((sum.schema, &*sum.positive), (-1, &[(0, 0.0), (1, 5.0)][..]));
    sum.subtract(&of(0, &[0.0, 2.0, 2.0])).unwrap();
    sum.compact();
    assert_eq!(sum.positive, [(1, 1.0)]);
}

#[test]
fn adding_meets_at_the_wider_zero_bucket() {
    let mut narrow =
        Histogram { zero_threshold: 0.5, zero_count: 1.0, positive: vec![(0, 3.0), (1, 1.0)], ..of(0, &[]) };
    let wide = Histogram { zero_threshold: 1.0, zero_count: 2.0, ..of(0, &[]) };
    narrow.add(&wide).unwrap();
    assert_eq!((narrow.zero_threshold, narrow.zero_count, &*narrow.positive), (1.0, 6.0, &[(1, 1.0)][..]));
}

#[test]
fn custom_bounds_meet_at_those_that_both_have() {
    let custom = |bounds: &[f64], counts: &[f64]| Histogram { bounds: bounds.into(), ..of(CUSTOM_SCHEMA, counts) };
    let mut sum = custom(&[1.0, 2.0, 4.0], &[1.0, 1.0, 1.0, 1.0]);
    let outcome = sum.add(&custom(&[2.0, 4.0], &[10.0, 10.0, 10.0])).unwrap();
    assert!(outcome.bounds_reconciled);
    assert_eq!((&*sum.bounds, &*sum.positive), (&[2.0, 4.0][..], &[(0, 12.0), (1, 11.0), (2, 11.0)][..]));
    assert!(sum.add(&of(0, &[1.0])).is_err());
}

#[test]
fn what_becomes_less_was_reset() {
    let (low, high) = (of(0, &[1.0, 2.0]), of(0, &[1.0, 3.0]));
    assert!(!high.is_reset_after(&low) && low.is_reset_after(&high));
    assert!(of(1, &[9.0]).is_reset_after(&low), "a higher resolution comes with a reset only");
    assert!(Histogram { hint: ResetHint::Reset, ..high.clone() }.is_reset_after(&low));
    assert!(of(0, &[0.0, 3.0, 9.0]).is_reset_after(&low), "a bucket is gone");
}

#[test]
fn quantiles_and_fractions_are_each_others_inverse() {
    let histogram = of(0, &[1.0, 2.0, 1.0]);
    assert!((histogram.quantile(0.5).value - std::f64::consts::SQRT_2).abs() < 1e-12);
    for q in [0.1, 0.3, 0.5, 0.9] {
        let value = histogram.quantile(q).value;
        assert!((histogram.fraction(f64::NEG_INFINITY, value).value - q).abs() < 1e-12, "{q}");
    }
    let unordered = Histogram { sum: f64::NAN, count: 8.0, ..histogram };
    assert_eq!(unordered.quantile(0.9).skew, Some(Skew::Nan));
    assert_eq!(unordered.quantile(0.1).skew, Some(Skew::High));
}

#[test]
fn it_prints_its_buckets() {
    let histogram = Histogram {
        zero_threshold: 0.001,
        zero_count: 2.0,
        negative: vec![(0, 1.0), (1, 2.0)],
        count: 20.0,
        sum: 10.0,
        ..of(0, &[1.0, 2.0])
    };
    let text = "{count:20, sum:10, [-2,-1):2, [-1,-0.5):1, [-0.001,0.001]:2, (0.5,1]:1, (1,2]:2}";
    assert_eq!(histogram.to_string(), text);
}

#[test]
fn trimming_keeps_one_side() {
    let mut below = of(0, &[1.0, 2.0, 1.0]);
    below.trim(2.0, true);
    assert_eq!((below.count, below.positive), (3.0, vec![(0, 1.0), (1, 2.0)]));
    let mut same = of(0, &[1.0, 2.0, 1.0]);
    same.trim(0.0, false);
    assert_eq!(same, of(0, &[1.0, 2.0, 1.0]));
}
