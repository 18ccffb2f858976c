use super::super::Store;
use super::super::tests::{forever, labels};
use super::{HEARTBEAT, Sample};

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
