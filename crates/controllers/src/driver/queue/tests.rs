use super::{FRUITLESS, Queue};
use crate::action::Action;
use crate::resources;
use crate::route::Key;
use std::time::Duration;
use tokio::time::Instant;

fn key() -> Key {
    Key::Namespace("a".into())
}

fn action() -> Vec<Action> {
    vec![Action::DeleteAll { resource: resources::pods(), namespace: "a".into() }]
}

#[test]
fn a_key_is_not_planned_while_its_plan_is_carried_out() {
    let mut queue = Queue::default();
    queue.mark([key()]);
    let next = queue.next().unwrap();
    queue.started(&next);
    queue.mark([key()]);
    assert_eq!(queue.next(), None);
    queue.succeeded(&key(), action(), Instant::now());
    assert_eq!(queue.next(), Some(key()));
}

#[test]
fn failures_wait_longer_each_time_and_a_hint_ends_the_wait() {
    let mut queue = Queue::default();
    let mut pauses = Vec::new();
    let mut now = Instant::now();
    for _ in 0..3 {
        queue.failed(&key(), now);
        queue.mark([key()]);
        assert_eq!(queue.next(), None, "held until its time");
        let at = queue.next_timer().unwrap();
        pauses.push(at - now);
        now = at;
        queue.fire(now);
        assert_eq!(queue.next(), Some(key()));
    }
    assert_eq!(pauses, [10, 20, 40].map(Duration::from_millis));
    queue.failed(&key(), now);
    queue.retry_all();
    assert_eq!((queue.next(), queue.next_timer()), (Some(key()), None));
}

#[test]
fn plans_without_effect_are_slowed_down() {
    let mut queue = Queue::default();
    for _ in 0..FRUITLESS {
        queue.succeeded(&key(), action(), Instant::now());
        assert_eq!(queue.next_timer(), None);
    }
    queue.succeeded(&key(), action(), Instant::now());
    assert!(queue.next_timer().is_some());
    assert_eq!(queue.next(), None);
}
