//! What both sides of a TCP connection send first: a magic number, a length, and metadata in a `google.protobuf.Any`.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use varka_proto::protobuf::value::Kind;
use varka_proto::protobuf::{Any, Struct, Value};
use varka_telemetry::metrics::istio::Workload;

use super::{METADATA, METADATA_ID, fields, from_struct, string};

/// Tells the prelude from anything else.
const MAGIC: u32 = 0x3D23_0467;
/// Magic number and length.
const HEAD: usize = 8;
/// Longest metadata that a peer may send.
const LONGEST: usize = 64 * 1024;
const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";

/// Our prelude.
pub(super) fn encode(metadata: Struct, id: &str) -> Bytes {
    let said = Struct {
        fields: [
            (METADATA.as_str().to_owned(), Value { kind: Some(Kind::StructValue(metadata)) }),
            (METADATA_ID.as_str().to_owned(), string(id)),
        ]
        .into(),
    };
    let body = Any { type_url: STRUCT.to_owned(), value: said.encode_to_vec() }.encode_to_vec();
    let mut out = BytesMut::with_capacity(HEAD + body.len());
    out.put_u32(MAGIC);
    out.put_u32(u32::try_from(body.len()).unwrap_or(0));
    out.put_slice(&body);
    out.freeze()
}

/// The prelude of a peer while it arrives.
#[derive(Debug, Default)]
pub struct Prelude {
    length: Option<usize>,
}

/// What came of the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// More must come.
    More,
    /// It is taken out of the buffer; `None`: it could not be read, or the peer sends none.
    Done(Option<Workload>),
    /// The peer announces more than anybody may send.
    TooLong,
}

impl Prelude {
    /// Takes it from the beginning of `buf`. `ended`: no more will come.
    pub fn take(&mut self, buf: &mut BytesMut, ended: bool) -> Taken {
        let length = match self.length {
            Some(length) => length,
            None => {
                let start = buf.len().min(4);
                if !MAGIC.to_be_bytes().starts_with(buf.get(..start).unwrap_or_default()) || (ended && buf.len() < HEAD)
                {
                    // Not a prelude: the application's own bytes.
                    return Taken::Done(None);
                }
                if buf.len() < HEAD {
                    return Taken::More;
                }
                buf.advance(4);
                let length = usize::try_from(buf.get_u32()).unwrap_or(usize::MAX);
                if length > LONGEST {
                    return Taken::TooLong;
                }
                self.length = Some(length);
                length
            }
        };
        if buf.len() < length {
            return if ended { Taken::Done(None) } else { Taken::More };
        }
        let body = buf.split_to(length);
        Taken::Done(decode(&body))
    }
}

fn decode(body: &[u8]) -> Option<Workload> {
    let any = Any::decode(body).ok()?;
    let said = Struct::decode(any.value.as_slice()).ok().filter(|_| any.type_url == STRUCT)?;
    Some(from_struct(fields(said.fields.get(METADATA.as_str()))?))
}
