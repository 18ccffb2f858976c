use std::sync::Arc;

use serde_json::json;

use super::super::Store;
use super::super::tests::forever;
use super::{Reference, Revision, Verb};

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
