//! The forms of a context, and round trips.

use proptest::prelude::*;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect()
}

#[test]
fn reads_each_form() {
    let w3c = Context::extract(&headers(&[("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-01"))])).unwrap();
    assert_eq!(
        (w3c.trace.to_string().as_str(), w3c.span, w3c.sampled),
        (TRACE, SpanId(0x00f0_67aa_0ba9_02b7), Some(true))
    );
    let single = Context::extract(&headers(&[("b3", "a3ce929d0e0e4736-00f067aa0ba902b7-0-05e3ac9a4f6e3b90")])).unwrap();
    assert_eq!(
        (single.trace, single.parent, single.sampled),
        (TraceId(0xa3ce_929d_0e0e_4736), Some(SpanId(0x05e3_ac9a_4f6e_3b90)), Some(false))
    );
    let multi = Context::extract(&headers(&[
        ("x-b3-traceid", TRACE),
        ("x-b3-spanid", "00f067aa0ba902b7"),
        ("x-b3-flags", "1"),
    ]))
    .unwrap();
    assert_eq!((multi.sampled, multi.forms), (Some(true), Forms { w3c: false, b3_single: false, b3_multi: true }));
}

#[test]
fn what_is_malformed_counts_as_absent() {
    for text in [
        "",
        "00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
    ] {
        assert_eq!(Context::extract(&headers(&[("traceparent", text)])), None, "{text}");
    }
    assert!(
        Context::extract(&headers(&[("traceparent", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more")]))
            .is_some()
    );
    for text in ["0", "1", "d", "a-b", "a3ce929d0e0e4736-00f067aa0ba902b7-x"] {
        assert_eq!(Context::extract(&headers(&[("b3", text)])), None, "{text}");
    }
}

#[test]
fn the_form_is_kept_and_the_state_untouched() {
    let mut h = headers(&[("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-00")), ("tracestate", "a=b")]);
    Said::of(&h).context().unwrap().child(7, true).inject(&mut h);
    assert_eq!(h["traceparent"], format!("00-{TRACE}-0000000000000007-01"));
    assert_eq!(h["tracestate"], "a=b");
    assert!(!h.contains_key("b3") && !h.contains_key("x-b3-traceid"));
}

#[test]
fn a_decision_may_come_without_a_trace() {
    for (lines, want) in [
        (vec![("b3", "0")], Some(false)),
        (vec![("b3", "d")], Some(true)),
        (vec![("x-b3-sampled", "0")], Some(false)),
        (vec![("x-b3-flags", "1")], Some(true)),
        (vec![("x-b3-sampled", "maybe")], None),
        (vec![], None),
    ] {
        assert_eq!(Said::of(&headers(&lines)).decision(), want, "{lines:?}");
    }
}

#[test]
fn zipkin_gets_its_json() {
    let forms = Forms { w3c: false, b3_single: false, b3_multi: true };
    let mut tags = Tags::default();
    tags.add("http.status_code", "200");
    let span = Span {
        context: Context::root(0xa, 0xb, true, forms).child(0xc, true),
        trace_state: "".into(),
        kind: SpanKind::Server,
        name: "was:8080/*".into(),
        start: std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(5),
        duration: std::time::Duration::from_micros(250),
        tags,
        error: false,
    };
    let json = zipkin_json(&[span], "was.default", "10.0.0.7".parse().unwrap());
    let want = serde_json::json!([{
        "traceId": "0000000000000000000000000000000a", "id": "000000000000000c", "parentId": "000000000000000b",
        "name": "was:8080/*", "kind": "SERVER", "timestamp": 5000, "duration": 250,
        "localEndpoint": {"serviceName": "was.default", "ipv4": "10.0.0.7", "port": 0},
        "tags": {"http.status_code": "200"},
    }]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), want);
}

proptest! {
    #[test]
    fn a_context_survives_a_hop(trace: u128, span: u64, next: u64, sampled: bool, form in 0usize..3) {
        let forms = [
            Forms { w3c: true, b3_single: false, b3_multi: false },
            Forms { w3c: false, b3_single: true, b3_multi: false },
            Forms { w3c: false, b3_single: false, b3_multi: true },
        ][form];
        let context = Context { forms, ..Context::root(trace, span, sampled, forms) }.child(next, sampled);
        let mut map = HeaderMap::new();
        context.inject(&mut map);
        let read = Context::extract(&map).unwrap();
        let want = Context { parent: if forms.w3c { None } else { context.parent }, ..context };
        prop_assert_eq!(read, want);
    }

    #[test]
    fn never_panics(text in "[0-9a-fd-]{0,60}") {
        let _ = Context::extract(&headers(&[("traceparent", &text), ("b3", &text), ("x-b3-traceid", &text), ("x-b3-spanid", &text)]));
    }
}
