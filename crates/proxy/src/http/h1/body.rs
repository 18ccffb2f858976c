//! HTTP/1 bodies: from bytes to frames and back.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::http::message::Framing;
use crate::pump::{Broken, Frame, OutBuf};

/// Longest chunk-size line, extensions included.
const MAX_SIZE_LINE: usize = 4096;
/// Most bytes of trailers.
const MAX_TRAILERS: usize = 16 * 1024;

/// Where in a body the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoder {
    /// So many bytes are left.
    Length(u64),
    /// Before a chunk-size line.
    ChunkSize,
    /// So many bytes are left of a chunk.
    Chunk(u64),
    /// Before the line end that follows a chunk.
    ChunkEnd,
    /// After the last chunk.
    Trailers,
    /// Until the connection closes.
    UntilClose,
    /// The end was given out, or there is no body.
    Done,
}

impl Decoder {
    /// Before the first byte of a body.
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Done,
            Framing::Length(n) => Self::Length(n),
            Framing::Chunked => Self::ChunkSize,
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Whether the end was given out.
    pub fn is_done(self) -> bool {
        self == Self::Done
    }

    /// The next frame in `buf`; `None`: more bytes are needed.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Frame>, Broken> {
        loop {
            match *self {
                Self::Done => return Ok(Some(Frame::End)),
                Self::Length(0) => *self = Self::Done,
                Self::Length(left) => {
                    let data = take(buf, left);
                    *self = Self::Length(left - data.len() as u64);
                    return Ok((!data.is_empty()).then_some(Frame::Data(data)));
                }
                Self::UntilClose => {
                    let data = take(buf, u64::MAX);
                    return Ok((!data.is_empty()).then_some(Frame::Data(data)));
                }
                Self::ChunkSize => match chunk_size(buf)? {
                    None => return Ok(None),
                    Some(0) => *self = Self::Trailers,
                    Some(n) => *self = Self::Chunk(n),
                },
                Self::Chunk(0) => *self = Self::ChunkEnd,
                Self::Chunk(left) => {
                    let data = take(buf, left);
                    *self = Self::Chunk(left - data.len() as u64);
                    return Ok((!data.is_empty()).then_some(Frame::Data(data)));
                }
                Self::ChunkEnd => match buf.get(..2) {
                    None if buf.first().is_none_or(|b| *b == b'\r') => return Ok(None),
                    Some(b"\r\n") => {
                        buf.advance(2);
                        *self = Self::ChunkSize;
                    }
                    _ => return Err(Broken::Protocol),
                },
                Self::Trailers => {
                    if !trailers(buf)? {
                        return Ok(None);
                    }
                    *self = Self::Done;
                    return Ok(Some(Frame::End));
                }
            }
        }
    }

    /// The connection ended: is that the end of the body?
    pub fn eof(&mut self) -> Result<Frame, Broken> {
        match self {
            Self::UntilClose | Self::Done => {
                *self = Self::Done;
                Ok(Frame::End)
            }
            _ => Err(Broken::Closed),
        }
    }
}

fn take(buf: &mut BytesMut, most: u64) -> Bytes {
    let n = usize::try_from(most).unwrap_or(usize::MAX).min(buf.len());
    buf.split_to(n).freeze()
}

/// `1f;ext=1\r\n`. Only CRLF ends it: a bare LF is read differently by different parsers.
fn chunk_size(buf: &mut BytesMut) -> Result<Option<u64>, Broken> {
    let Some(end) = memchr::memchr(b'\n', buf) else {
        return if buf.len() > MAX_SIZE_LINE { Err(Broken::Protocol) } else { Ok(None) };
    };
    if end > MAX_SIZE_LINE {
        return Err(Broken::Protocol);
    }
    let line = buf.split_to(end + 1);
    let line = line.strip_suffix(b"\r\n").ok_or(Broken::Protocol)?;
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at_checked(digits).ok_or(Broken::Protocol)?;
    // Space and tab may stand there, and no other white space: a bare CR is a line end to some parsers.
    let space = extension.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let extension_ok = match extension.get(space..).unwrap_or_default() {
        [] => true,
        [b';', rest @ ..] => rest.iter().all(|b| *b == b'\t' || (0x20..0x7f).contains(b) || *b >= 0x80),
        _ => false,
    };
    if size.is_empty() || size.len() > 15 || !extension_ok {
        return Err(Broken::Protocol);
    }
    let text = std::str::from_utf8(size).map_err(|_| Broken::Protocol)?;
    u64::from_str_radix(text, 16).map(Some).map_err(|_| Broken::Protocol)
}

/// Whether the trailers are complete: they are read and go no further, since no configuration enables those of HTTP/1.
fn trailers(buf: &mut BytesMut) -> Result<bool, Broken> {
    if let Some(b"\r\n") = buf.get(..2) {
        buf.advance(2);
        return Ok(true);
    }
    // Only CRLF ends a line, as in the chunks before; where a lone LF did, others would read on. What follows the trailers is
    // another message.
    let end = memchr::memmem::find(buf, b"\r\n\r\n");
    let own = buf.get(..end.unwrap_or(buf.len())).unwrap_or_default();
    let mut ends = memchr::memchr_iter(b'\n', own);
    if ends.any(|at| at.checked_sub(1).and_then(|before| own.get(before)) != Some(&b'\r')) {
        return Err(Broken::Protocol);
    }
    match end {
        None if buf.len() > MAX_TRAILERS => Err(Broken::Protocol),
        None => Ok(false),
        Some(end) => {
            let lines = buf.split_to(end + 4);
            let mut room = [httparse::EMPTY_HEADER; 32];
            match httparse::parse_headers(&lines, &mut room) {
                // An empty line that ends in a bare LF is the end for some parsers and none for others: what follows would be a
                // message to them.
                Ok(httparse::Status::Complete((length, _))) if length == lines.len() => Ok(true),
                _ => Err(Broken::Protocol),
            }
        }
    }
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoder {
    /// So many bytes are still to be written.
    Length(u64),
    /// In chunks.
    Chunked,
    /// As it comes; the end is the end of the connection.
    Raw,
    /// Nothing may be written: the end has been, or the message has no body.
    Done,
}

impl Encoder {
    /// Queues a frame. A body longer than its announced length is cut and reported.
    pub(crate) fn encode(&mut self, frame: Frame, out: &mut OutBuf) -> Result<(), Broken> {
        match (frame, *self) {
            (Frame::Data(data), Self::Length(left)) => {
                let n = data.len() as u64;
                if n > left {
                    return Err(Broken::Protocol);
                }
                *self = Self::Length(left - n);
                out.push(data);
            }
            (Frame::Data(data), Self::Raw) => out.push(data),
            (Frame::Data(data), Self::Chunked) => {
                write_hex(out.tail(), data.len());
                out.push(data);
                out.tail().put_slice(b"\r\n");
            }
            // Responses to HEAD and the like: what the peer sends beyond the head is dropped.
            (Frame::Data(_), Self::Done) => {}
            // HTTP/2's trailers end here: no configuration enables those of HTTP/1.
            (Frame::End | Frame::Trailers(_), Self::Chunked) => {
                out.tail().put_slice(b"0\r\n\r\n");
                *self = Self::Done;
            }
            (Frame::End | Frame::Trailers(_), Self::Length(left)) if left > 0 => return Err(Broken::Protocol),
            (Frame::End | Frame::Trailers(_), _) => *self = Self::Done,
        }
        Ok(())
    }
}

fn write_hex(out: &mut BytesMut, n: usize) {
    let mut digits = [0_u8; 18];
    let mut at = digits.len();
    let mut rest = n;
    loop {
        at -= 1;
        if let Some(d) = digits.get_mut(at) {
            *d = b"0123456789abcdef".get(rest & 15).copied().unwrap_or(b'0');
        }
        rest >>= 4;
        if rest == 0 || at == 0 {
            break;
        }
    }
    out.put_slice(digits.get(at..).unwrap_or_default());
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
