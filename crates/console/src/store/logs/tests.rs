use super::super::Store;
use super::super::tests::forever;
use super::{Line, Source};

pub(super) fn source(pod: &str) -> Source {
    Source { namespace: "blog-system".to_owned(), pod: pod.to_owned(), container: "app".to_owned() }
}

pub(super) fn line(pod: &str, at: u64, text: &str) -> Line {
    Line { at, source: source(pod), text: text.to_owned() }
}

fn texts(store: &Store, pod: Option<&str>, start: u64, end: u64, limit: usize) -> Vec<String> {
    let wanted = |source: &Source| pod.is_none_or(|pod| source.pod == pod);
    store.logs().lines(wanted, start, end, limit).unwrap().into_iter().map(|line| line.text).collect()
}

#[test]
fn lines_are_found_by_container_and_time_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let store = Store::open(directory.path(), forever()).unwrap();
        if round == 0 {
            for l in [line("web", 10, "a"), line("was", 15, "b"), line("web", 20, "c"), line("web", 20, "d")] {
                assert!(store.logs().append(l));
            }
            assert!(store.logs().append(line("web", 5, "late")), "in the order in which they come");
        }
        assert_eq!(texts(&store, None, 0, u64::MAX, 10), ["a", "b", "c", "d", "late"]);
        assert_eq!(texts(&store, Some("web"), 0, u64::MAX, 10), ["a", "c", "d", "late"]);
        assert_eq!(texts(&store, Some("web"), 11, 20, 2), ["d", "late"], "the newest");
        assert_eq!(texts(&store, None, 11, 19, 10), ["b"]);
        assert_eq!((store.logs().newest(&source("web")), store.logs().newest(&source("x"))), (Some(20), None));
        assert_eq!(store.logs().sources().len(), 2);
    }
}

#[test]
fn long_lines_are_cut_between_characters() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), forever()).unwrap();
    store.logs().append(line("web", 1, &"é".repeat(super::LONGEST)));
    let found = texts(&store, None, 0, 9, 9);
    assert_eq!(found[0].len(), super::LONGEST);
}
