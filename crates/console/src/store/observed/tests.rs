use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{MOST_WAITING, Observed, Then};
use crate::store::Millis;
use crate::store::disk::Disk;
use crate::store::revisions::Reference;

const ROOM: u64 = 64 << 10;

fn of(name: &str) -> Reference {
    Reference { group: String::new(), kind: "Pod".to_owned(), namespace: "b".to_owned(), name: name.to_owned() }
}

fn pod(name: &str, state: usize) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": "web"}}, "status": {"phase": "Running", "state": state}})
}

struct Kept {
    directory: tempfile::TempDir,
    disk: Arc<Disk>,
    observed: Observed,
    room: u64,
}

impl Kept {
    fn new(room: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = Arc::new(Disk::open(&directory.path().join("t")).unwrap());
        let observed = Observed::open(Arc::clone(&disk), room).unwrap();
        Self { directory, disk, observed, room }
    }

    fn write(&self) {
        self.disk.write(false, |write| self.observed.flush(write)).unwrap();
        self.observed.settle(true);
    }

    /// As if the process were another one.
    fn again(self) -> Self {
        self.write();
        let Self { directory, disk, observed, room } = self;
        drop((disk, observed));
        let disk = Arc::new(Disk::open(&directory.path().join("t")).unwrap());
        let observed = Observed::open(Arc::clone(&disk), room).unwrap();
        Self { directory, disk, observed, room }
    }

    fn tell(&self, at: Millis, name: &str, state: Option<usize>) -> bool {
        let object = state.map(|state| pod(name, state));
        self.observed.tell(&of(name), object.as_ref(), at)
    }

    /// Names and states of pods; `None`: not known.
    fn at(&self, time: Millis) -> Option<Vec<(String, u64)>> {
        let Then { kinds, objects } = self.observed.at(time).unwrap()?;
        assert_eq!(kinds, BTreeSet::from(["/Pod".to_owned()]));
        let all = objects.into_iter().map(|(of, object)| (of.name, object["status"]["state"].as_u64().unwrap()));
        let mut all: Vec<_> = all.collect();
        all.sort();
        Some(all)
    }

    fn between(&self, start: Millis, end: Millis) -> Vec<(String, u64)> {
        let found = self.observed.between(&|of| of.kind == "Pod", start, end).unwrap();
        let mut all: Vec<_> =
            found.into_iter().map(|(of, object)| (of.name, object["status"]["state"].as_u64().unwrap())).collect();
        all.sort();
        all
    }
}

fn named(all: &[(&str, u64)]) -> Vec<(String, u64)> {
    all.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect()
}

#[test]
fn pods_are_as_they_were_and_before_that_not_known_also_after_a_restart() {
    let mut kept = Kept::new(ROOM);
    assert_eq!(kept.at(1_000_000), None, "nobody has looked yet");
    assert!(kept.tell(1_000, "a", Some(0)));
    kept.observed.listed("", "Pod", 2_000);
    assert!(!kept.tell(2_500, "a", Some(0)), "a heartbeat is no change");
    assert!(kept.tell(3_000, "b", Some(5)));
    assert!(kept.tell(4_000, "a", Some(1)));
    assert!(kept.tell(5_000, "b", None));
    assert!(!kept.tell(5_500, "b", None), "gone already");
    for round in 0..3 {
        assert_eq!(kept.at(1_999), None, "{round}");
        assert_eq!(kept.at(4_999), Some(named(&[("a", 1), ("b", 5)])), "{round}");
        assert_eq!(kept.at(5_000), Some(named(&[("a", 1)])), "{round}");
        assert_eq!(kept.at(2_000), Some(named(&[("a", 0)])), "{round}");
        assert_eq!(kept.at(3_999), Some(named(&[("a", 0), ("b", 5)])), "{round}");
        assert_eq!(kept.between(4_500, 4_600), named(&[("a", 1), ("b", 5)]), "{round}");
        assert_eq!(kept.between(5_000, 9_000), named(&[("a", 1), ("b", 5)]), "it was there at the beginning");
        assert_eq!(kept.between(5_001, 9_000), named(&[("a", 1)]), "{round}");
        assert_eq!(kept.observed.since("", "Pod"), Some(2_000));
        assert_eq!(kept.observed.since("", "Node"), None);
        assert_eq!(kept.observed.present("", "Pod"), [of("a")]);
        kept = kept.again();
    }
    assert!(kept.tell(9_000, "a", Some(2)), "and it goes on");
    assert_eq!(kept.at(8_999), Some(named(&[("a", 1)])));
    assert_eq!(kept.at(9_000), Some(named(&[("a", 2)])));
}

#[test]
fn what_cannot_be_written_now_is_written_later_and_known_meanwhile() {
    let kept = Kept::new(ROOM);
    kept.observed.listed("", "Pod", 1_000);
    kept.write();
    kept.tell(2_000, "a", Some(0));
    kept.disk.write(false, |write| kept.observed.flush(write)).unwrap();
    kept.tell(3_000, "a", Some(1));
    kept.observed.settle(false);
    kept.tell(4_000, "a", Some(2));
    let all =
        |kept: &Kept| [1_500, 2_500, 3_500, 4_500].map(|at| kept.at(at).unwrap().first().map(|(_, state)| *state));
    assert_eq!(all(&kept), [None, Some(0), Some(1), Some(2)]);
    assert_eq!(all(&kept.again()), [None, Some(0), Some(1), Some(2)]);
}

#[test]
fn a_pod_that_flaps_costs_no_more_than_its_room_and_what_is_forgotten_is_not_made_up() {
    let kept = Kept::new(ROOM);
    kept.observed.listed("", "Pod", 0);
    kept.tell(1_000, "steady", Some(7));
    let mut at = 1_000;
    let mut largest = 0;
    for round in 0..3_000 {
        at += 1_000;
        kept.tell(at, "loop", Some(round));
        if round % 3 == 2 {
            kept.write();
            largest = largest.max(kept.observed.size());
        }
    }
    assert!(largest > ROOM / 2 && largest <= ROOM, "{largest}");
    let since = kept.observed.since("", "Pod").unwrap();
    assert!(since > 2_000 && since < at, "{since}");
    assert_eq!(kept.at(since - 1), None, "told apart from \"there were none\"");
    assert_eq!(kept.at(since).unwrap().len(), 2, "what has not changed since is still there");
    assert_eq!(kept.at(at).unwrap(), named(&[("loop", 2_999), ("steady", 7)]));
    assert!(kept.observed.counts().expired > 0);
    let kept = kept.again();
    assert_eq!(kept.observed.since("", "Pod"), Some(since));
    kept.disk.write(false, |write| kept.observed.expire(write, at)).unwrap();
    assert_eq!(kept.at(at).unwrap().len(), 2, "what held then stays, however old it is");
    assert!(kept.observed.since("", "Pod").unwrap() > since, "its age");
}

#[test]
fn where_nothing_can_be_written_for_long_it_begins_anew() {
    let kept = Kept::new(ROOM);
    kept.observed.listed("", "Pod", 0);
    kept.tell(500, "a", Some(0));
    kept.write();
    let mut at = 1_000;
    for round in 0..=MOST_WAITING {
        at += 1_000;
        kept.tell(at, "a", Some(round + 1));
    }
    let lost = at;
    assert_eq!(kept.observed.counts().dropped, MOST_WAITING as u64);
    assert_eq!(kept.at(600), None, "nobody can say from when on that is not true");
    kept.tell(at + 5_000, "b", Some(1));
    let kept = kept.again();
    assert_eq!((kept.at(600), kept.at(lost - 1)), (None, None));
    assert_eq!(kept.observed.since("", "Pod"), Some(lost));
    let a = ("a", MOST_WAITING as u64 + 1);
    assert_eq!((kept.at(lost).unwrap(), kept.at(lost + 5_000).unwrap()), (named(&[a]), named(&[a, ("b", 1)])));
}

#[test]
fn more_than_there_is_room_for_is_not_kept_at_all() {
    let kept = Kept::new(4_096);
    for pod in 0..2_000 {
        kept.tell(pod, &format!("pod-{pod}"), Some(usize::try_from(pod).unwrap()));
    }
    kept.observed.listed("", "Pod", 5_000);
    kept.write();
    kept.disk.write(false, |write| kept.observed.expire(write, 0)).unwrap();
    kept.tell(6_000, "more", Some(1));
    kept.write();
    assert_eq!((kept.observed.size(), kept.observed.since("", "Pod")), (0, None));
    assert!(kept.observed.at(7_000).unwrap().is_none());
}

#[test]
fn a_clock_that_is_set_back_is_followed() {
    let kept = Kept::new(ROOM);
    kept.observed.listed("", "Pod", 0);
    kept.tell(10_000_000, "a", Some(1));
    kept.write();
    kept.tell(5_000_000, "a", Some(2));
    kept.tell(6_000_000, "a", Some(3));
    let kept = kept.again();
    let all = [1, 5_000_000, 6_000_000, 20_000_000].map(|at| kept.at(at).unwrap().first().map(|(_, state)| *state));
    assert_eq!(all, [None, Some(2), Some(3), Some(3)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn every_moment_is_as_in_a_list_of_everything(
        steps in prop::collection::vec((0..6_usize, prop::option::of(0..4_usize), 300..2_000_i64, 0..12_u8), 1..60),
    ) {
        // So little room that segments are short, and none is thrown away.
        let mut kept = Kept::new(1 << 40);
        kept.observed.listed("", "Pod", 0);
        kept.write();
        let mut now: BTreeMap<String, u64> = BTreeMap::new();
        let mut all = vec![(0, now.clone())];
        let mut at = 0;
        for (name, state, pause, then) in steps {
            at += pause;
            let name = format!("p{name}");
            kept.tell(at, &name, state);
            match state {
                Some(state) => drop(now.insert(name, state as u64)),
                None => drop(now.remove(&name)),
            }
            all.push((at, now.clone()));
            match then {
                0..5 => kept.write(),
                // A new segment, as if the former had become long.
                5 => kept.observed.lock().begin_segment(at, false),
                6 => kept = kept.again(),
                _ => {}
            }
        }
        for (at, expected) in all {
            let found: BTreeMap<String, u64> = kept.at(at).unwrap().into_iter().collect();
            prop_assert_eq!(found, expected, "at {}", at);
        }
    }
}
