use super::super::tests::{line, source};
use super::{Line, News, Place};
use crate::store::Store;
use crate::store::tests::forever;

fn texts(news: &News) -> Vec<&str> {
    news.lines.iter().map(|line| line.text.as_str()).collect()
}

fn append(store: &Store, lines: impl IntoIterator<Item = Line>) {
    lines.into_iter().for_each(|line| assert!(store.logs().append(line)));
}

#[test]
fn each_line_is_new_once_however_late_it_comes() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), forever()).unwrap();
    append(&store, [line("web", 10, "before")]);
    let mut place = store.logs().end(15);
    let mut news = |limit| store.logs().news(|_| true, &mut place, limit).unwrap();
    assert_eq!(texts(&news(9)), Vec::<&str>::new());
    append(&store, [line("web", 12, "of a slow clock"), line("was", 30, "new"), line("api", 14, "of before")]);
    assert_eq!(texts(&news(9)), ["of a slow clock", "new"]);
    // From another container and earlier than what was told, or of the same moment as that.
    append(&store, [line("web", 20, "late"), line("was", 30, "same"), line("api", 16, "later")]);
    assert_eq!(texts(&news(9)), ["later", "late", "same"]);
    assert_eq!(texts(&news(9)), Vec::<&str>::new());
    append(&store, [line("web", 40, "a"), line("was", 41, "b"), line("web", 42, "c")]);
    let news = news(2);
    assert_eq!((texts(&news), news.left_out), (vec!["b", "c"], 1));
}

#[test]
fn what_is_left_out_is_counted_wherever_it_lies() {
    let directory = tempfile::tempdir().unwrap();
    let many = |from: u64| (from..from + 100).map(|at| line("web", at, "x"));
    {
        let store = Store::open(directory.path(), forever()).unwrap();
        append(&store, many(100));
    }
    // Of these a hundred are in the file and a hundred may still wait.
    let store = Store::open(directory.path(), forever()).unwrap();
    append(&store, many(200));
    let wanted = |of: &super::Source| *of == source("web");
    for (after, limit, told, left_out) in
        [(0, 1000, 200, 0), (0, 5, 5, 195), (149, 5, 5, 145), (0, 150, 150, 50), (299, 5, 0, 0)]
    {
        let news = store.logs().news(wanted, &mut Place::after(after), limit).unwrap();
        assert_eq!((news.lines.len(), news.left_out), (told, left_out), "after {after}, at most {limit}");
        assert!(news.lines.last().is_none_or(|line| line.at == 299));
    }
    let mut place = Place::after(0);
    assert_eq!(store.logs().news(wanted, &mut place, 5).unwrap().left_out, 195);
    assert_eq!(store.logs().news(wanted, &mut place, 5).unwrap().left_out, 0, "told once");
}
