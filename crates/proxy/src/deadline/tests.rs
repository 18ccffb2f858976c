//! What puts a limit off, and what does not.

use std::future::poll_fn;

use super::*;

fn idle(limit: Duration) -> Deadlines {
    let mut deadlines = Deadlines::new(Timeouts::default(), Some(limit), None);
    deadlines.begin_attempt(false);
    deadlines
}

#[tokio::test(start_paused = true)]
async fn a_slow_upload_that_moves_is_not_idle() {
    let mut deadlines = idle(Duration::from_secs(5));
    let start = Instant::now();
    for moved in 1..100 {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let still = poll_fn(|cx| Poll::Ready(deadlines.poll_moving(cx, moved).is_pending())).await;
        assert!(still, "cut after {:?}", start.elapsed());
    }
    let expired = poll_fn(|cx| deadlines.poll_moving(cx, 99)).await;
    assert_eq!((expired, start.elapsed().as_secs()), (Expired::Idle { complete: false }, 99 * 4 + 5));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_whole_waits_for_its_endpoint() {
    let mut deadlines = idle(Duration::from_secs(5));
    deadlines.request_complete();
    assert_eq!(poll_fn(|cx| deadlines.poll(cx)).await, Expired::Idle { complete: true });
}
