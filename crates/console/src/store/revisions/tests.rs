use std::sync::Arc;

use serde_json::json;

use super::super::Store;
use super::super::tests::forever;
use super::{Change, RECENT, Reference, Revision, Verb};

fn of(name: &str) -> Reference {
    Reference {
        group: "g".to_owned(),
        kind: "VirtualService".to_owned(),
        namespace: "b".to_owned(),
        name: name.to_owned(),
    }
}

fn revision(at: i64, name: &str, verb: Verb, weight: i32) -> Revision {
    let object =
        Arc::new(json!({"metadata": {"name": name, "resourceVersion": at.to_string()}, "spec": {"weight": weight}}));
    Revision { at, verb, of: of(name), version: at.to_string(), by: "kubectl".to_owned(), object }
}

fn weights(store: &Store, at: i64) -> Vec<(String, i64)> {
    let found = store.revisions().at(at).unwrap();
    let mut all: Vec<_> =
        found.iter().map(|r| (r.of.name.clone(), r.object["spec"]["weight"].as_i64().unwrap())).collect();
    all.sort();
    all
}

#[test]
fn the_past_is_as_it_was_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let store = Store::open(directory.path(), forever()).unwrap();
        if round == 0 {
            for (at, name, verb, weight) in [
                (10, "a", Verb::Created, 0),
                (20, "b", Verb::Created, 5),
                (30, "a", Verb::Updated, 10),
                (40, "b", Verb::Deleted, 5),
            ] {
                assert!(store.revisions().append(revision(at, name, verb, weight)));
            }
        }
        assert!(!store.revisions().append(revision(50, "a", Verb::Created, 10)), "nothing new");
        assert!(!store.revisions().append(revision(50, "b", Verb::Deleted, 5)), "gone already");
        assert!(!store.revisions().append(revision(50, "c", Verb::Deleted, 5)), "never there");
        let a = |weight| ("a".to_owned(), weight);
        assert_eq!(weights(&store, 9), []);
        assert_eq!(weights(&store, 25), [a(0), ("b".to_owned(), 5)]);
        assert_eq!(weights(&store, 99), [a(10)]);
        let verbs: Vec<_> = store.revisions().between(20, 40).unwrap().iter().map(|r| r.verb).collect();
        assert_eq!(verbs, [Verb::Created, Verb::Updated, Verb::Deleted]);
        assert_eq!(store.revisions().present(), [of("a")]);
    }
}

#[test]
fn a_number_is_given_once_whatever_became_of_its_revision() {
    let directory = tempfile::tempdir().unwrap();
    let mut last = 0;
    let mut identities = std::collections::BTreeSet::new();
    for round in 0..3 {
        let store = Store::open(directory.path(), forever()).unwrap();
        identities.insert(store.identity());
        assert!(store.revisions().next() > last, "as if what was told last had been lost in a crash");
        let first = store.revisions().next();
        for weight in [1, 2] {
            store.revisions().append(revision(round, "a", Verb::Created, weight + 10 * i32::try_from(round).unwrap()));
        }
        let numbers = |from| -> Vec<u64> { store.revisions().since(from).unwrap().iter().map(|(n, _)| *n).collect() };
        assert_eq!(numbers(first), [first, first + 1]);
        assert_eq!(numbers(first + 1), [first + 1]);
        assert_eq!(numbers(first + 2), Vec::<u64>::new());
        assert_eq!(numbers(0).len(), 2 * usize::try_from(round + 1).unwrap(), "those of former runs too");
        last = store.revisions().next() + 1000;
    }
    let another = tempfile::tempdir().unwrap();
    identities.insert(Store::open(another.path(), forever()).unwrap().identity());
    assert_eq!(identities.len(), 2, "the same after a restart, another one of another file");
}

#[test]
fn changes_are_told_with_what_was_there_before_from_memory_as_from_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let told = |store: &Store, first: u64| -> Vec<(u64, Option<i64>, i64)> {
        let weight = |revision: &Revision| revision.object["spec"]["weight"].as_i64().unwrap();
        let of = |change: &Change| (change.number, change.before.as_ref().map(weight), weight(&change.revision));
        store.revisions().changes(first).unwrap().iter().map(of).collect()
    };
    let store = Store::open(directory.path(), forever()).unwrap();
    let begin = store.revisions().next();
    let count = i32::try_from(RECENT).unwrap() + 50;
    for weight in 0..count {
        let name = if weight % 3 == 0 { "a" } else { "b" };
        assert!(store.revisions().append(revision(i64::from(weight), name, Verb::Updated, weight)));
    }
    let end = store.revisions().next();
    let all: Vec<_> = [begin, begin + 49, begin + 50, end - 3, end].map(|first| told(&store, first)).into();
    assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [RECENT + 50, RECENT + 1, RECENT, 3, 0]);
    let last = i64::from(count) - 1;
    assert_eq!(all[3].last(), Some(&(end - 1, Some(if last % 3 == 2 { last - 1 } else { last - 2 }), last)));
    for (first, found) in [begin, begin + 49, begin + 50, end - 3, end].into_iter().zip(&all) {
        assert!(all[0].ends_with(found), "from {first}");
    }
    drop(store);
    let again = Store::open(directory.path(), forever()).unwrap();
    assert_eq!(told(&again, end - 3), all[3], "of another run, from the file");
}
