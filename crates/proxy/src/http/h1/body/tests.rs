use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::{Decoder, Encoder};
use crate::http::message::Framing;
use crate::pump::{Broken, Frame, OutBuf};

/// Decodes `wire` given in pieces of `step` bytes; the payload, trailers seen, and what is left over.
fn decode(framing: Framing, wire: &[u8], step: usize) -> Result<(Vec<u8>, bool, Vec<u8>), Broken> {
    let (mut decoder, mut buf, mut out, mut trailers) = (Decoder::new(framing), BytesMut::new(), Vec::new(), false);
    let mut pieces = wire.chunks(step.max(1));
    loop {
        match decoder.decode(&mut buf)? {
            Some(Frame::Data(data)) => out.extend_from_slice(&data),
            Some(frame) => {
                trailers |= matches!(frame, Frame::Trailers(_));
                buf.extend(pieces.flatten());
                return Ok((out, trailers, buf.to_vec()));
            }
            None => match pieces.next() {
                Some(piece) => buf.extend_from_slice(piece),
                None => return decoder.eof().map(|_| (out, trailers, buf.to_vec())),
            },
        }
    }
}

#[test]
fn trailers_are_read_and_go_no_further() {
    let wire = b"3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nx-sum: 1\r\n\r\nGET /";
    for step in 1..20 {
        assert_eq!(decode(Framing::Chunked, wire, step), Ok((b"abcd".to_vec(), false, b"GET /".to_vec())));
    }
}

#[test]
fn trailers_of_http2_are_not_written() {
    let mut out = OutBuf::default();
    let trailers = http::HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
    assert_eq!(Encoder::Chunked.encode(Frame::Trailers(Box::new(trailers)), &mut out), Ok(()));
    assert_eq!(out.tail().as_ref(), b"0\r\n\r\n");
}

#[test]
fn bad_chunks_are_refused() {
    let smuggled: [&[u8]; 2] =
        [b"0\r\n\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n", b"0\r\na: b\n\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n"];
    let chunks = [
        &b"g\r\n"[..],
        b"3\nabc\r\n",
        b"3\r\nabcX\r\n",
        b"-1\r\n",
        b"ffffffffffffffff\r\n",
        b"3 x\r\nabc\r\n",
        b"3\r\r\nabc\r\n",
        b"3\x0c\r\nabc\r\n",
        b"\r\n",
    ];
    for wire in chunks.into_iter().chain(smuggled) {
        assert_eq!(decode(Framing::Chunked, wire, 64), Err(Broken::Protocol), "{}", String::from_utf8_lossy(wire));
    }
}

#[test]
fn size_lines_and_trailers_are_so_long_at_most() {
    let size = |length: usize| [&b"3;"[..], &vec![b'x'; length - 2]].concat();
    assert_eq!(decode(Framing::Chunked, &size(4096), 4096), Err(Broken::Closed));
    assert_eq!(decode(Framing::Chunked, &size(4097), 4097), Err(Broken::Protocol));
    let trailers = |length: usize| [&b"0\r\nx: "[..], &vec![b'x'; length - 3]].concat();
    assert_eq!(decode(Framing::Chunked, &trailers(16 * 1024), 1 << 20), Err(Broken::Closed));
    assert_eq!(decode(Framing::Chunked, &trailers(16 * 1024 + 1), 1 << 20), Err(Broken::Protocol));
}

#[test]
fn only_crlf_ends_a_trailer() {
    assert_eq!(decode(Framing::Chunked, b"0\r\nx: 1\n\r\n", 100), Err(Broken::Protocol));
    assert_eq!(decode(Framing::Chunked, b"0\r\nx: 1\r\n\n", 100), Err(Broken::Protocol));
}

#[test]
fn a_short_body_is_broken() {
    assert_eq!(decode(Framing::Length(5), b"abc", 9), Err(Broken::Closed));
    assert_eq!(decode(Framing::UntilClose, b"abc", 9), Ok((b"abc".to_vec(), false, Vec::new())));
}

#[test]
fn a_body_longer_or_shorter_than_announced_is_not_written() {
    let mut out = OutBuf::default();
    assert_eq!(Encoder::Length(2).encode(Frame::Data(Bytes::from_static(b"abc")), &mut out), Err(Broken::Protocol));
    assert_eq!(Encoder::Length(2).encode(Frame::End, &mut out), Err(Broken::Protocol));
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..5000), 0..5), step in 1usize..6000) {
        let (mut out, mut encoder) = (OutBuf::default(), Encoder::Chunked);
        for part in &parts {
            encoder.encode(Frame::Data(Bytes::copy_from_slice(part)), &mut out).unwrap();
        }
        encoder.encode(Frame::End, &mut out).unwrap();
        let mut wire = Vec::new();
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut sink = std::io::Cursor::new(&mut wire);
        prop_assert!(out.poll_write_to(&mut sink, &mut cx).is_ready());
        prop_assert_eq!(decode(Framing::Chunked, &wire, step), Ok((parts.concat(), false, Vec::new())));
    }

    #[test]
    fn any_bytes_never_crash(wire in prop::collection::vec(any::<u8>(), 0..200), step in 1usize..50) {
        let _ = decode(Framing::Chunked, &wire, step);
    }
}
