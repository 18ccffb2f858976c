//! Sidecar and edge.

use proptest::prelude::*;

use super::*;
use crate::ir::{ClientCertForwarding, Codec, PathNormalization, RouteSource, SlashesAction};

fn manager(use_remote_address: bool, xff_trusted_hops: u32) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: "x".into(),
        codec: Codec::Auto,
        routes: RouteSource::Rds("80".into()),
        filters: vec![],
        server_name: "envoy".into(),
        use_remote_address,
        xff_trusted_hops,
        skip_xff_append: false,
        client_cert: ClientCertForwarding::Sanitize,
        generate_request_id: true,
        preserve_external_request_id: false,
        path: PathNormalization { normalize: true, merge_slashes: false, escaped_slashes: SlashesAction::Keep },
        stream_idle_timeout: None,
        request_timeout: None,
        request_headers_timeout: None,
        idle_timeout: None,
        max_connection_duration: None,
        max_request_headers_kb: None,
        max_headers: None,
        accept_http_10: false,
        max_concurrent_streams: None,
        upgrades: vec![],
        strip_trailing_host_dot: false,
        local_replies: vec![],
        tracing: None,
        access_log: vec![],
    }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    map
}

fn peer(address: &str) -> Connection<'static> {
    Connection::plain("10.77.0.21:8080".parse().unwrap(), address.parse().unwrap())
}

#[test]
fn a_sidecar_believes_the_last_entry_and_adds_nothing() {
    let m = manager(false, 0);
    let mut h = headers(&[("x-forwarded-for", "203.0.113.7, 198.51.100.1")]);
    let c = client(&m, &peer("10.77.0.11:4"), &h);
    assert_eq!(c.address.to_string(), "198.51.100.1:0");
    apply(&c, &mut h);
    assert_eq!(h["x-forwarded-for"], "203.0.113.7, 198.51.100.1");
    assert_eq!(h["x-forwarded-proto"], "http");
    assert!(!h.contains_key("x-envoy-external-address"));
    let none = client(&m, &peer("10.77.0.11:4"), &HeaderMap::new());
    assert_eq!(none.address.to_string(), "10.77.0.11:4");
    let bad = client(&m, &peer("10.77.0.11:4"), &headers(&[("x-forwarded-for", "203.0.113.7, unknown")]));
    assert_eq!(bad.address.to_string(), "10.77.0.11:4");
}

#[test]
fn a_sidecar_believes_the_scheme() {
    let c = client(&manager(false, 0), &peer("10.77.0.11:4"), &headers(&[("x-forwarded-proto", "https")]));
    assert_eq!((c.scheme, c.set_proto), ("https", None));
    let c = client(&manager(false, 0), &peer("10.77.0.11:4"), &headers(&[("x-forwarded-proto", "ftp")]));
    assert_eq!(c.scheme, "http");
}

#[test]
fn an_edge_believes_nobody_it_was_not_told_to() {
    let lines = [("x-forwarded-for", "1.1.1.1,2.2.2.2"), ("x-forwarded-proto", "https")];
    let mut h = headers(&lines);
    let c = client(&manager(true, 0), &peer("9.9.9.9:4"), &h);
    assert_eq!((c.address.to_string().as_str(), c.scheme), ("9.9.9.9:4", "http"));
    apply(&c, &mut h);
    assert_eq!(h["x-forwarded-for"], "1.1.1.1,2.2.2.2,9.9.9.9");
    assert_eq!(h["x-forwarded-proto"], "http");
    assert_eq!(h["x-envoy-external-address"], "9.9.9.9");
    let trusting = client(&manager(true, 1), &peer("9.9.9.9:4"), &headers(&lines));
    assert_eq!((trusting.address.to_string().as_str(), trusting.scheme), ("2.2.2.2:0", "https"));
    let two = client(&manager(true, 2), &peer("9.9.9.9:4"), &headers(&lines));
    assert_eq!(two.address.to_string(), "1.1.1.1:0");
    let three = client(&manager(true, 3), &peer("9.9.9.9:4"), &headers(&lines));
    assert_eq!(three.address.to_string(), "9.9.9.9:4");
    let mut h = HeaderMap::new();
    apply(&client(&manager(true, 0), &peer("127.0.0.1:4"), &h), &mut h);
    assert_eq!(h["x-forwarded-for"], "10.77.0.21");
}

proptest! {
    #[test]
    fn entries_are_counted_from_the_end_over_all_lines(lines in prop::collection::vec(prop::collection::vec(0u8..=255, 1..3), 1..4), skip in 0usize..8) {
        let text = |line: &Vec<u8>| line.iter().map(|n| format!("10.0.0.{n}")).collect::<Vec<_>>().join(", ");
        let texts: Vec<String> = lines.iter().map(text).collect();
        let map = headers(&texts.iter().map(|t| ("x-forwarded-for", t.as_str())).collect::<Vec<_>>());
        let all: Vec<u8> = lines.concat();
        let want = all.iter().rev().nth(skip).map(|n| IpAddr::from([10, 0, 0, *n]));
        prop_assert_eq!(entry(&map, skip), want);
    }
}
