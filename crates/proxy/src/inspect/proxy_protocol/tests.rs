use proptest::prelude::*;

use super::{Header, parse};

#[test]
fn both_versions() {
    let v1 = b"PROXY TCP4 203.0.113.9 10.0.0.1 40000 443\r\nGET";
    let addresses = ("203.0.113.9:40000".parse().unwrap(), "10.0.0.1:443".parse().unwrap());
    assert_eq!(parse(v1), Header::Complete(v1.len() - 3, Some(addresses)));
    for cut in 0..v1.len() - 4 {
        assert_eq!(parse(&v1[..cut]), Header::Partial, "{cut}");
    }
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([203, 0, 113, 9, 10, 0, 0, 1, 0x9c, 0x40, 1, 0xbb]);
    assert_eq!(parse(&v2), Header::Complete(v2.len(), Some(addresses)));
    assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Header::Complete(15, None));
    for bad in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
    ] {
        assert_eq!(parse(bad), Header::Malformed, "{}", String::from_utf8_lossy(bad));
    }
}

#[test]
fn a_header_is_so_long_at_most() {
    let line = |length: usize| [&b"PROXY TCP4 "[..], &vec![b'1'; length - 11]].concat();
    assert_eq!(parse(&line(106)), Header::Partial);
    assert_eq!(parse(&line(107)), Header::Malformed);
    let announced = |length: u16| [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..], &length.to_be_bytes()].concat();
    assert_eq!(parse(&announced(4000)), Header::Partial);
    assert_eq!(parse(&announced(5000)), Header::Malformed);
}

proptest! {
    #[test]
    fn any_bytes_never_crash(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = parse(&bytes);
        let _ = parse(&[b"\r\n\r\n\0\r\nQUIT\n", &bytes[..]].concat());
        let _ = parse(&[b"PROXY ", &bytes[..], b"\r\n"].concat());
    }
}
