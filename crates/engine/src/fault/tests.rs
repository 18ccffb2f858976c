//! Shares and flags.

use proptest::prelude::*;

use super::*;
use crate::ir::{FaultAbort, FaultDelay};

#[test]
fn delay_and_abort() {
    let fault = Fault {
        delay: Some(FaultDelay { duration: Duration::from_millis(300), parts_per_million: 1_000_000 }),
        abort: Some(FaultAbort { status: 418, grpc_status: None, parts_per_million: 1_000_000 }),
    };
    let injected = decide(&fault, [u64::MAX, u64::MAX]);
    assert_eq!(injected.delay, Some(Duration::from_millis(300)));
    assert_eq!(injected.reply().unwrap().outcome.flags.to_string(), "DI,FI");
}

#[test]
fn a_grpc_abort_is_200_for_http() {
    let fault = Fault {
        delay: None,
        abort: Some(FaultAbort { status: 0, grpc_status: Some(14), parts_per_million: 1_000_000 }),
    };
    let reply = decide(&fault, [0, 0]).reply().unwrap();
    assert_eq!(reply.clone().render(false, false).status, 200);
    assert_eq!(reply.render(true, false).headers["grpc-status"], "14");
}

proptest! {
    #[test]
    fn the_share_is_the_share(parts_per_million in 0u32..=1_000_000, random: u64) {
        let fault = Fault { delay: None, abort: Some(FaultAbort { status: 500, grpc_status: None, parts_per_million }) };
        prop_assert_eq!(decide(&fault, [0, random]).abort.is_some(), random % 1_000_000 < u64::from(parts_per_million));
    }
}
