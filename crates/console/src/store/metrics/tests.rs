use super::super::Store;
use super::super::tests::{forever, labels};
use super::{HEARTBEAT, STALE, Sample, Tells};

fn sample(at: i64, value: f64) -> Sample {
    Sample { at, value }
}

#[test]
fn a_value_that_does_not_change_is_kept_now_and_then() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), forever()).unwrap();
    let series = store.metrics().series(&labels(&[("__name__", "idle")])).unwrap();
    for second in 0..=60 {
        store.metrics().append(&series, sample(second * 1000, if second < 50 { 7.0 } else { 8.0 }));
    }
    let at: Vec<_> = store.metrics().samples(&series, 0, i64::MAX).unwrap().iter().map(|s| s.at).collect();
    assert_eq!(
        at,
        [0, HEARTBEAT, 2 * HEARTBEAT, 3 * HEARTBEAT, 49_000, 50_000, 60_000],
        "and when it was repeated last"
    );
    store.metrics().append(&series, sample(50_000, 9.0));
    store.metrics().append(&series, sample(40_000, 9.0));
    assert_eq!((series.last(), store.counts().metrics.dropped), (Some(sample(50_000, 8.0)), 2), "what is not newer");
}

#[test]
fn series_are_found_by_labels() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), forever()).unwrap();
    for (name, app, version) in [("a", "web", "v1"), ("a", "web", "v2"), ("a", "was", "v1"), ("b", "web", "")] {
        store.metrics().series(&labels(&[("__name__", name), ("app", app), ("version", version)])).unwrap();
    }
    let names = |equal: &[(&str, &str)], version: Option<&str>| {
        let keep = |l: &super::Labels| version.is_none_or(|v| l.get("version") == v);
        store.metrics().select(equal, keep).len()
    };
    assert_eq!(names(&[], None), 4);
    assert_eq!(names(&[("__name__", "a")], None), 3);
    assert_eq!(names(&[("__name__", "a"), ("app", "web")], Some("v2")), 1);
    assert_eq!(names(&[("app", "web")], Some("")), 1, "an empty value is none");
    assert_eq!(names(&[("app", "nobody")], None), 0);
    assert_eq!(store.metrics().label_values(Some("app")), ["was".into(), "web".into()]);
    assert_eq!(store.metrics().label_values(None), ["__name__".into(), "app".into(), "version".into()]);
}

#[test]
fn what_is_partly_written_is_read_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), forever()).unwrap();
    let series = store.metrics().series(&labels(&[("__name__", "x")])).unwrap();
    let mut expected = Vec::new();
    for round in 0..40 {
        for i in 0..25 {
            let next = sample((round * 25 + i) * 1000, i as f64 + round as f64 * 0.5);
            expected.push(next);
            store.metrics().append(&series, next);
        }
        // The keeper writes meanwhile, at moments of its own.
        assert_eq!(store.metrics().samples(&series, 0, i64::MAX).unwrap(), expected);
    }
}

#[test]
fn what_is_counted_is_what_was_counted() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), forever()).unwrap();
    let mut number = 0;
    let mut of = |samples: &[(i64, f64)], start, end| {
        number += 1;
        let series = store.metrics().series(&labels(&[("__name__", "x"), ("number", &number.to_string())])).unwrap();
        for (at, value) in samples {
            store.metrics().append(&series, sample(*at, *value));
        }
        store.metrics().growth(&series, 0, start, end).unwrap()
    };
    assert_eq!(of(&[], 0, 9), None);
    assert_eq!(of(&[(5, 7.0)], 0, 9), Some(0.0), "it may be old");
    assert_eq!(of(&[(1, 0.0), (5, 7.0), (9, 8.0)], 0, 9), Some(8.0));
    assert_eq!(of(&[(1, 3.0), (5, 7.0), (9, 8.0)], 4, 9), Some(5.0), "from the last sample before the window");
    assert_eq!(of(&[(1, 3.0), (5, 7.0), (9, 8.0)], 4, 8), Some(4.0), "until its end");
    assert_eq!(of(&[(1, 3.0), (5, 7.0), (9, 2.0)], 0, 9), Some(6.0), "a restart");
    assert_eq!(of(&[(1, 3.0), (5, STALE), (9, 4.0)], 0, 9), Some(1.0), "a gap");
    assert_eq!(of(&[(1, 3.0), (5, 4.0), (20_005, 4.0)], 20_000, 20_009), Some(0.0), "it rests");
    assert_eq!(of(&[(1, 3.0), (5, 4.0)], 3, 20_009), Some(1.0));
}

#[test]
fn growth_is_the_same_wherever_samples_are() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), forever()).unwrap();
    let series = store.metrics().series(&labels(&[("__name__", "x")])).unwrap();
    // Several chunks, with a rest in the middle.
    for second in 0..2_000_i64 {
        let value = if second < 900 { second } else { 900.max(second - 300) };
        store.metrics().append(&series, sample(second * 1000, value as f64));
    }
    for (start, end) in [(0, 10), (0, 1999), (100, 1000), (950, 1100), (1990, 1999), (1998, 5000), (500, 1999)] {
        let (start, end) = (start * 1000, end * 1000);
        let plain = super::growth(store.metrics().samples(&series, 0, end).unwrap().into_iter(), start);
        assert_eq!(store.metrics().growth(&series, 0, start, end).unwrap(), plain, "{start} {end}");
    }
}

#[test]
fn the_series_of_a_histogram_know_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), forever()).unwrap();
    let part = |name: &str, app: &str, le: &str| {
        store.metrics().series(&labels(&[("__name__", name), ("app", app), ("le", le)])).unwrap().histogram()
    };
    let bucket = part("x_bucket", "a", "5").unwrap();
    assert_eq!(bucket.tells, Tells::Bucket(5.0));
    assert_eq!(part("x_sum", "a", "").map(|p| (p.of == bucket.of, p.tells)), Some((true, Tells::Sum)));
    assert_eq!(part("x_count", "a", "").map(|p| (p.of == bucket.of, p.tells)), Some((true, Tells::Count)));
    assert_eq!(part("x_bucket", "a", "+Inf").map(|p| p.of), Some(bucket.of));
    assert_ne!(part("x_bucket", "b", "5").map(|p| p.of), Some(bucket.of));
    assert_ne!(part("y_bucket", "a", "5").map(|p| p.of), Some(bucket.of));
    assert_eq!((part("x", "a", ""), part("x_bucket", "a", "much")), (None, None));
}

#[test]
fn a_series_that_waits_for_its_first_sample_stays() {
    let directory = tempfile::tempdir().unwrap();
    let disk = super::super::disk::Disk::open(&directory.path().join("telemetry.redb")).unwrap();
    let metrics = super::Metrics::open(disk.into()).unwrap();
    let (old, new) = (labels(&[("__name__", "old"), ("app", "a")]), labels(&[("__name__", "new"), ("app", "a")]));
    let series = metrics.series(&old).unwrap();
    metrics.append(&series, sample(1000, 1.0));
    let waits = metrics.series(&new).unwrap();
    metrics.disk.write(false, |write| metrics.expire(write, 1_000_000)).unwrap();
    assert!(metrics.select(&[("__name__", "old")], |_| true).is_empty(), "nothing of it is left");
    metrics.append(&waits, sample(2_000_000, 1.0));
    let found = metrics.select(&[("app", "a")], |_| true);
    assert_eq!(found.iter().map(|series| series.labels()).collect::<Vec<_>>(), [&new]);
}
