//! The part of SPDY/3.1 that port-forward uses: framing and compressed header blocks. No flow control, as the peer has none.
//! <https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/>

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// The dictionary that header blocks are compressed with (section 2.6.10.1 of the draft).
const DICTIONARY: &[u8] = include_bytes!("spdy3-dictionary.bin");
const VERSION: u16 = 0x8003;
const HEAD: usize = 8;
/// Largest frame taken.
const MAX_FRAME: usize = 1 << 20;
/// Largest header block taken, decompressed.
const MAX_HEADERS: usize = 16 << 10;

/// The last frame of a direction of a stream.
pub(super) const FIN: u8 = 1;

/// What a peer sent.
#[derive(Debug, PartialEq)]
pub enum Frame {
    /// A stream opens.
    SynStream {
        /// Which.
        stream: u32,
        /// What it is for.
        headers: Vec<(String, String)>,
        /// Nothing more comes on it.
        fin: bool,
    },
    /// Bytes of a stream.
    Data {
        /// Which.
        stream: u32,
        /// The bytes.
        data: Bytes,
        /// Nothing more comes on it.
        fin: bool,
    },
    /// A stream ends at once.
    Reset {
        /// Which.
        stream: u32,
    },
    /// To be sent back.
    Ping(Bytes),
    /// The peer opens no more streams.
    GoAway,
    /// Nothing that matters here.
    Other,
}

/// What breaks the connection.
#[derive(Debug, thiserror::Error)]
pub enum SpdyError {
    /// Longer than is taken.
    #[error("a frame of {0} bytes; at most {MAX_FRAME} are taken")]
    FrameTooLong(usize),
    /// It ends within a field.
    #[error("a frame is cut short")]
    Truncated,
    /// Another version.
    #[error("not SPDY/3")]
    Version,
    /// What cannot be decompressed.
    #[error("a header block cannot be decompressed or is longer than {MAX_HEADERS} bytes")]
    Headers,
    /// The compressor failed.
    #[error("zlib: {0}")]
    Compress(#[from] flate2::CompressError),
}

/// Both directions of one connection.
pub struct Codec {
    inflate: Decompress,
    deflate: Compress,
    buffer: BytesMut,
}

impl Codec {
    /// A connection that has just begun.
    ///
    /// # Errors
    /// The compressor does not take its dictionary.
    pub fn new() -> Result<Self, SpdyError> {
        let mut deflate = Compress::new(Compression::default(), true);
        deflate.set_dictionary(DICTIONARY)?;
        Ok(Self { inflate: Decompress::new(true), deflate, buffer: BytesMut::new() })
    }

    /// Adds bytes that came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// What was sent is not SPDY, or more than is taken.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, SpdyError> {
        let Some(mut head) = self.buffer.get(..HEAD) else { return Ok(None) };
        let (first, second) = (head.get_u32(), head.get_u32());
        let length = (second & 0x00ff_ffff) as usize;
        let flags = (second >> 24) as u8;
        if length > MAX_FRAME {
            return Err(SpdyError::FrameTooLong(length));
        }
        if self.buffer.len() < HEAD + length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        let mut body = self.buffer.split_to(length).freeze();
        let fin = flags & FIN != 0;
        if first >> 31 == 0 {
            return Ok(Some(Frame::Data { stream: first, data: body, fin }));
        }
        if (first >> 16) as u16 != VERSION {
            return Err(SpdyError::Version);
        }
        Ok(Some(match first & 0xffff {
            1 => {
                let stream = stream_id(&mut body)?;
                body.try_get_u32().map_err(|_| SpdyError::Truncated)?;
                body.try_get_u16().map_err(|_| SpdyError::Truncated)?;
                Frame::SynStream { stream, headers: self.headers(&body)?, fin }
            }
            3 => Frame::Reset { stream: stream_id(&mut body)? },
            6 => Frame::Ping(body),
            7 => Frame::GoAway,
            8 => {
                // HEADERS carry nothing that is needed, but they move the decompressor on.
                stream_id(&mut body)?;
                self.headers(&body)?;
                Frame::Other
            }
            _ => Frame::Other,
        }))
    }

    fn headers(&mut self, block: &[u8]) -> Result<Vec<(String, String)>, SpdyError> {
        let mut out = Vec::with_capacity(MAX_HEADERS);
        let before = self.inflate.total_in();
        let consumed = |inflate: &Decompress| usize::try_from(inflate.total_in() - before).unwrap_or(usize::MAX);
        loop {
            let rest = block.get(consumed(&self.inflate)..).unwrap_or_default();
            match self.inflate.decompress_vec(rest, &mut out, FlushDecompress::Sync) {
                Ok(_) if consumed(&self.inflate) >= block.len() => break,
                Ok(_) if out.len() >= MAX_HEADERS => return Err(SpdyError::Headers),
                Ok(flate2::Status::BufError | flate2::Status::StreamEnd) => return Err(SpdyError::Headers),
                Ok(flate2::Status::Ok) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.inflate.set_dictionary(DICTIONARY).map_err(|_| SpdyError::Headers)?;
                }
                Err(_) => return Err(SpdyError::Headers),
            }
        }
        let mut text = &out[..];
        let count = text.try_get_u32().map_err(|_| SpdyError::Truncated)?;
        let mut headers = Vec::new();
        for _ in 0..count {
            headers.push((take_string(&mut text)?, take_string(&mut text)?));
        }
        Ok(headers)
    }

    /// A SYN_REPLY without headers.
    ///
    /// # Errors
    /// The compressor fails.
    pub fn reply(&mut self, stream: u32) -> Result<Bytes, SpdyError> {
        let mut block = Vec::with_capacity(64);
        self.deflate.compress_vec(&0u32.to_be_bytes(), &mut block, FlushCompress::Sync)?;
        let mut body = BytesMut::with_capacity(4 + block.len());
        body.put_u32(stream);
        body.put_slice(&block);
        Ok(control(2, &body))
    }
}

fn stream_id(body: &mut Bytes) -> Result<u32, SpdyError> {
    body.try_get_u32().map(|id| id & 0x7fff_ffff).map_err(|_| SpdyError::Truncated)
}

fn take_string(text: &mut &[u8]) -> Result<String, SpdyError> {
    let length = text.try_get_u32().map_err(|_| SpdyError::Truncated)? as usize;
    let (bytes, rest) = text.split_at_checked(length).ok_or(SpdyError::Truncated)?;
    *text = rest;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn control(kind: u16, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD + body.len());
    out.put_u16(VERSION);
    out.put_u16(kind);
    out.put_u32(u32::try_from(body.len()).unwrap_or(0) & 0x00ff_ffff);
    out.put_slice(body);
    out.freeze()
}

/// The answer to a ping.
pub(super) fn pong(body: &[u8]) -> Bytes {
    control(6, body)
}

/// A data frame.
pub(super) fn data(stream: u32, data: &[u8], flags: u8) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD + data.len());
    out.put_u32(stream & 0x7fff_ffff);
    out.put_u32(u32::from(flags) << 24 | (u32::try_from(data.len()).unwrap_or(0) & 0x00ff_ffff));
    out.put_slice(data);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client sends to open a stream.
    fn syn(client: &mut Compress, stream: u32, headers: &[(&str, &str)]) -> Bytes {
        let mut plain = BytesMut::new();
        plain.put_u32(u32::try_from(headers.len()).unwrap());
        for text in headers.iter().flat_map(|(n, v)| [n, v]) {
            plain.put_u32(u32::try_from(text.len()).unwrap());
            plain.put_slice(text.as_bytes());
        }
        let mut block = Vec::with_capacity(1024);
        client.compress_vec(&plain, &mut block, FlushCompress::Sync).unwrap();
        let mut body = BytesMut::new();
        body.put_u32(stream);
        body.put_u32(0);
        body.put_u16(0);
        body.put_slice(&block);
        control(1, &body)
    }

    #[test]
    fn header_blocks_share_one_context() {
        let mut client = Compress::new(Compression::default(), true);
        client.set_dictionary(DICTIONARY).unwrap();
        let mut codec = Codec::new().unwrap();
        for stream in [1, 3, 5] {
            let bytes = syn(&mut client, stream, &[("streamtype", "data"), ("port", "80"), ("requestid", "0")]);
            let (a, b) = bytes.split_at(9);
            codec.feed(a);
            assert_eq!(codec.next_frame().unwrap(), None);
            codec.feed(b);
            let Some(Frame::SynStream { stream: got, headers, fin: false }) = codec.next_frame().unwrap() else {
                panic!()
            };
            assert_eq!((got, headers[1].clone()), (stream, ("port".to_owned(), "80".to_owned())));
        }
    }

    #[test]
    fn data_and_ping() {
        let mut codec = Codec::new().unwrap();
        codec.feed(&data(3, b"hello", FIN));
        codec.feed(&pong(&[0, 0, 0, 1]));
        assert_eq!(
            codec.next_frame().unwrap(),
            Some(Frame::Data { stream: 3, data: Bytes::from_static(b"hello"), fin: true })
        );
        assert_eq!(codec.next_frame().unwrap(), Some(Frame::Ping(Bytes::from_static(&[0, 0, 0, 1]))));
        assert_eq!(codec.next_frame().unwrap(), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut codec = Codec::new().unwrap();
            codec.feed(&[&[0x80, 3, 0, 1, 0, 0, 0, 20][..], &bytes].concat());
            while let Ok(Some(_)) = codec.next_frame() {}
        }
    }
}
