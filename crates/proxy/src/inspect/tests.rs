use proptest::prelude::*;
use varka_engine::facts::DetectedHttp;

use super::detect_http;

#[test]
fn http_is_told_by_its_first_line() {
    assert_eq!(detect_http(b"GET / HTTP/1.1\r\n"), Some(Some(DetectedHttp::Http11)));
    assert_eq!(detect_http(b"GET / HTTP/1.0\r\n"), Some(Some(DetectedHttp::Http10)));
    assert_eq!(detect_http(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Some(Some(DetectedHttp::H2c)));
    assert_eq!(detect_http(b"PRI * HTTP/2.0\r\n"), None);
    assert_eq!(detect_http(b"GET / HT"), None);
    assert_eq!(detect_http(b"GET"), None);
    assert_eq!(detect_http(b"NONSENSE\r\n\r\n"), Some(None));
    assert_eq!(detect_http(b"get / HTTP/1.1\r\n"), Some(Some(DetectedHttp::Http11)));
    assert_eq!(detect_http(b"(get) / HTTP/1.1\r\n"), Some(None));
    assert_eq!(detect_http(b"PING\r\n"), Some(None));
    assert_eq!(detect_http(b"\x00\x01\x02"), Some(None));
    assert_eq!(detect_http(b"SSH-2.0-x\r\n"), Some(None));
}

#[test]
fn a_long_target_is_http_like_any_other() {
    let line = format!("GET /?{} HTTP/1.1\r\n", "a".repeat(50_000));
    assert_eq!(detect_http(line.as_bytes().get(..40_000).unwrap_or_default()), None);
    assert_eq!(detect_http(line.as_bytes()), Some(Some(DetectedHttp::Http11)));
    assert_eq!(detect_http(format!("{} / HTTP/1.1\r\n", "M".repeat(40)).as_bytes()), Some(Some(DetectedHttp::Http11)));
}

#[test]
fn a_request_line_without_end_is_not_waited_for() {
    let line = |length: usize| [&b"GET /"[..], &vec![b'a'; length - 5]].concat();
    assert_eq!(detect_http(&line(64 * 1024)), None);
    assert_eq!(detect_http(&line(64 * 1024 + 1)), Some(None));
}

proptest! {
    #[test]
    fn more_bytes_never_change_a_decision(bytes in prop::collection::vec(any::<u8>(), 1..80), cut in 1usize..80) {
        let cut = cut.min(bytes.len());
        if let Some(decided) = detect_http(&bytes[..cut]) {
            prop_assert_eq!(detect_http(&bytes), Some(decided));
        }
    }
}
