use super::{View, fit, pressed, render};
use crate::args::Order;
use crate::golden::golden;
use crate::graph::Picture;
use crate::graph::tests::answer;

#[test]
fn nodes_and_edges_are_ordered_by_what_is_asked_for() {
    let picture = Picture::whole(&answer()).unwrap();
    golden("top/nodes", &render(&picture, View { edges: false, order: Order::Rate }));
    golden("top/edges", &render(&picture, View { edges: true, order: Order::Errors }));
    let slowest = render(&picture, View { edges: true, order: Order::Latency });
    assert!(slowest.lines().last().unwrap().contains("tcp"), "{slowest}");
}

#[test]
fn keys_change_the_view_or_end_it() {
    let view = View { edges: false, order: Order::Rate };
    assert!(pressed(b'q', view).is_none() && pressed(3, view).is_none());
    assert!(pressed(b'e', view).unwrap().edges);
    assert_eq!(pressed(b'x', view).unwrap().order, Order::Errors);
    assert_eq!(pressed(b'z', view).unwrap().order, Order::Rate);
}

#[test]
fn a_small_screen_says_what_it_leaves_out() {
    assert_eq!(fit("one\ntwo\nthree", 80, 24), ["one", "two", "three"]);
    assert_eq!(fit("one\ntwo\nthree\nfour", 4, 4), ["one", "two", "… 2…"]);
    assert_eq!(fit("a wide line", 6, 4), ["a wid…"]);
}
