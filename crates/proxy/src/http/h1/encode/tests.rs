use bytes::BytesMut;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Version};

use super::{Answering, response};
use crate::http::message::ResponseHead;

/// The lines of an answer's head after its first.
fn lines(status: u16, headers: &[(&'static str, &'static str)], head: bool, keep_alive: bool) -> Vec<String> {
    let fields = headers.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)));
    let answer = ResponseHead { status, headers: fields.collect::<HeaderMap>() };
    let to = Answering { head, connect: false, version: Version::HTTP_11, keep_alive };
    let mut out = BytesMut::new();
    response(&mut out, &answer, true, to);
    let text = String::from_utf8(out.to_vec()).unwrap();
    text.trim_end().split("\r\n").skip(1).map(str::to_owned).collect()
}

#[test]
fn the_length_of_nothing_stands_last() {
    assert_eq!(lines(404, &[("server", "envoy")], false, true), ["server: envoy", "content-length: 0"]);
    assert_eq!(
        lines(400, &[("server", "envoy")], false, false),
        ["server: envoy", "connection: close", "content-length: 0"]
    );
}

#[test]
fn what_get_would_get_is_not_known_for_head() {
    assert_eq!(lines(404, &[], true, true), ["transfer-encoding: chunked"]);
    assert_eq!(lines(200, &[("content-length", "5")], true, true), ["content-length: 5"]);
}

#[test]
fn no_content_has_no_length() {
    assert_eq!(lines(204, &[("content-length", "0"), ("server", "envoy")], false, true), ["server: envoy"]);
    assert_eq!(lines(304, &[("content-length", "7")], false, true), ["content-length: 7"]);
}
