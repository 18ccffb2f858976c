//! Shares, and decisions that travel.

use proptest::prelude::*;

use super::*;
use crate::ir::TracingProvider;

fn tracing(client: u32, random: u32, overall: u32) -> Tracing {
    let provider = TracingProvider::Zipkin {
        cluster: "zipkin".into(),
        hostname: "zipkin".into(),
        path: "/api/v2/spans".into(),
        trace_id_128bit: true,
        w3c: false,
    };
    Tracing {
        client_sampling: client,
        random_sampling: random,
        overall_sampling: overall,
        provider,
        custom_tags: Vec::new(),
        max_path_tag_length: None,
    }
}

fn with_id(random: u128) -> HeaderMap {
    let id = HeaderValue::from_bytes(&request_id::uuid(random)).unwrap();
    [(request_id::NAME, id)].into_iter().collect()
}

fn digit(headers: &HeaderMap) -> u8 {
    headers.get(request_id::NAME).unwrap().as_bytes()[DIGIT]
}

#[test]
fn a_decision_is_written_down_and_obeyed() {
    let mut headers = with_id(7);
    assert!(!decide(&tracing(1_000_000, 0, 1_000_000), &mut headers, 0, || true));
    assert_eq!(digit(&headers), b'4');
    assert!(decide(&tracing(0, 1_000_000, 1_000_000), &mut headers, 0, || true));
    assert_eq!(digit(&headers), b'9');
    assert!(decide(&tracing(0, 0, 0), &mut headers, 0, || false), "a proxy further on obeys");
    let mut asked = with_id(7);
    asked.insert(CLIENT_TRACE_ID, HeaderValue::from_static("1"));
    assert!(!decide(&tracing(0, 0, 1_000_000), &mut asked, 0, || true));
    assert!(!decide(&tracing(1_000_000, 0, 0), &mut asked, 0, || true));
    assert!(decide(&tracing(1_000_000, 0, 1_000_000), &mut asked, 0, || true));
    assert_eq!(digit(&asked), b'b');
    let mut crowded = with_id(7);
    assert!(!decide(&tracing(0, 1_000_000, 1_000_000), &mut crowded, 0, || false), "there is no room");
    assert_eq!(digit(&crowded), b'4');
    crowded.insert(CLIENT_TRACE_ID, HeaderValue::from_static("1"));
    assert!(decide(&tracing(1_000_000, 0, 1_000_000), &mut crowded, 0, || false), "who asks for it gets it");
}

#[test]
fn an_identifier_that_is_no_uuid_is_left_alone() {
    let mut headers: HeaderMap = [(request_id::NAME, HeaderValue::from_static("mine"))].into_iter().collect();
    assert!(decide(&tracing(0, 500_000, 1_000_000), &mut headers, 499_999, || true));
    assert!(!decide(&tracing(0, 500_000, 1_000_000), &mut headers, 500_000, || true));
    assert_eq!(headers.get(request_id::NAME).unwrap(), "mine");
}

proptest! {
    #[test]
    fn everybody_decides_alike_and_a_larger_share_has_more(id in any::<u128>(), share in 0..1_000_000u32) {
        let small = decide(&tracing(0, share, 1_000_000), &mut with_id(id), 1, || true);
        prop_assert_eq!(small, decide(&tracing(0, share, 1_000_000), &mut with_id(id), 2, || true));
        prop_assert!(!small || decide(&tracing(0, share + 1, 1_000_000), &mut with_id(id), 1, || true));
    }
}
