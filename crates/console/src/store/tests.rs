use std::time::Duration;

use super::metrics::{Labels, Sample};
use super::{Limits, Store};

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

/// Times in tests are long past.
pub(crate) fn forever() -> Limits {
    Limits { age: Duration::from_secs(1 << 40), ..Limits::default() }
}

#[test]
fn what_was_taken_in_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let of = labels(&[("__name__", "requests"), ("app", "web")]);
    {
        let store = Store::open(directory.path(), forever()).unwrap();
        let series = store.metrics().series(&of).unwrap();
        for i in 0..1000 {
            store.metrics().append(&series, Sample { at: 1_000_000 + i * 1000, value: i as f64 });
        }
    }
    let store = Store::open(directory.path(), forever()).unwrap();
    let found = store.metrics().select(&[("app", "web")], |_| true);
    assert_eq!(found.len(), 1);
    let samples = store.metrics().samples(&found[0], 1_100_000, 1_200_000).unwrap();
    let expected: Vec<_> = (100..=200).map(|i| Sample { at: 1_000_000 + i * 1000, value: i as f64 }).collect();
    assert_eq!(samples, expected);
}

#[test]
fn one_process_at_a_time_uses_the_file_and_nobody_else_reads_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let _store = Store::open(directory.path(), forever()).unwrap();
    let second = Store::open(directory.path(), forever()).unwrap_err().to_string();
    assert!(second.contains("telemetry.redb"), "{second}");
    let mode = std::fs::metadata(directory.path().join("telemetry.redb")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_is_too_old_or_too_much_goes_and_the_rest_stays() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { age: Duration::from_secs(7200), metrics: 4000, ..Limits::default() };
    let disk = std::sync::Arc::new(super::Disk::open(&directory.path().join("t")).unwrap());
    let parts = super::Parts {
        metrics: super::Metrics::open(std::sync::Arc::clone(&disk)).unwrap(),
        spans: super::Spans::open(std::sync::Arc::clone(&disk)).unwrap(),
        logs: super::Logs::open(std::sync::Arc::clone(&disk)).unwrap(),
        revisions: super::Revisions::open(std::sync::Arc::clone(&disk)).unwrap(),
        observed: super::Observed::open(std::sync::Arc::clone(&disk), limits.observed).unwrap(),
    };
    let hour = 3_600_000;
    let now = 1_000 * hour;
    for (name, from) in [("old", now - 5 * hour), ("new", now - hour)] {
        let series = parts.metrics.series(&labels(&[("__name__", name)])).unwrap();
        for i in 0..2000 {
            parts.metrics.append(&series, Sample { at: from + i * 1000, value: 0.5 + i as f64 });
        }
    }
    disk.write(false, |write| super::keeper::flush(&parts, write)).unwrap();
    super::keeper::settle(&parts, true);
    let before = parts.metrics.extent().unwrap().0;
    super::keeper::expire(&disk, &parts, limits, now).unwrap();
    assert!(parts.metrics.select(&[("__name__", "old")], |_| true).is_empty(), "its age");
    let kept = parts.metrics.select(&[("__name__", "new")], |_| true);
    let count = |series: &super::metrics::Series| parts.metrics.samples(series, 0, now * 2).unwrap().len();
    let full = count(&kept[0]);
    assert!(full > 1500 && full <= 2000, "{full}");
    let mut last = before;
    for round in 1..100 {
        super::keeper::expire(&disk, &parts, limits, now + round * 60_000).unwrap();
        let size = parts.metrics.extent().unwrap().0;
        assert!(size <= last);
        last = size;
    }
    assert!(last <= limits.metrics, "{last}");
    assert!(count(&kept[0]) < full, "its size");
    assert!(parts.counts().metrics.expired > 0);
}
