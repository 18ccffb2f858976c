//! What puts a limit off, and what does not.

use std::future::poll_fn;

use super::*;

const LIMIT: Duration = Duration::from_millis(300);

fn idle() -> Deadlines {
    let mut deadlines = Deadlines::new(Timeouts::default(), Some(LIMIT), None);
    deadlines.begin_attempt(false);
    deadlines
}

#[tokio::test]
async fn a_slow_upload_that_moves_is_not_idle() {
    let mut deadlines = idle();
    for moved in 1..4 {
        // The limit has run out when it is looked at, but for the bytes that came meanwhile.
        tokio::time::sleep(LIMIT + LIMIT / 3).await;
        assert!(poll_fn(|cx| Poll::Ready(deadlines.poll_moving(cx, moved).is_pending())).await);
    }
    assert_eq!(poll_fn(|cx| deadlines.poll_moving(cx, 3)).await, Expired::Idle { complete: false });
}

#[tokio::test]
async fn a_request_that_is_whole_waits_for_its_endpoint() {
    let mut deadlines = idle();
    deadlines.request_complete();
    assert_eq!(poll_fn(|cx| deadlines.poll(cx)).await, Expired::Idle { complete: true });
}
