//! Packing and unpacking of `google.protobuf.Any`, with a check that nothing is lost on the way in.
//!
//! prost drops fields that it has no name for. What was dropped shows when the message is written again: it is shorter.
//! Only then are the two compared field by field, to name what is missing.

use std::collections::HashMap;

use prost::{Message, Name};
use varka_proto::protobuf::Any;

use super::refusal::{At, Decoded, Reason};

/// Packs a message.
pub(super) fn pack<M: Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// The message's full name in a type URL.
pub(super) fn type_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

/// Whether `any` says that it holds an `M`.
pub(super) fn holds<M: Name>(any: &Any) -> bool {
    type_name(&any.type_url) == type_name(&M::type_url())
}

/// Unpacks an `M`, refusing anything else.
pub(super) fn unpack<M: Name + Default>(at: &At<'_>, any: &Any) -> Decoded<M> {
    if !holds::<M>(any) {
        return Err(at.not_implemented(type_name(&any.type_url)));
    }
    read(at, &any.value)
}

/// Reads an `M` from its bytes, refusing fields that have no name here.
fn read<M: Message + Default>(at: &At<'_>, bytes: &[u8]) -> Decoded<M> {
    read_named(at, bytes, |_| ())
}

/// Like [`read`]; `note` sees the message even if it holds a field that has no name.
pub(super) fn read_named<M: Message + Default>(at: &At<'_>, bytes: &[u8], note: impl FnOnce(&M)) -> Decoded<M> {
    let message = M::decode(bytes).map_err(|e| at.refuse(Reason::Malformed(e)))?;
    note(&message);
    if message.encoded_len() != bytes.len()
        && let Some(path) = lost(bytes, &message.encode_to_vec())
    {
        return Err(at.refuse(Reason::UnknownField(path)));
    }
    Ok(message)
}

/// A value as it is on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Path, in field numbers, of the first value that `original` has and `kept` lacks.
fn lost(original: &[u8], kept: &[u8]) -> Option<String> {
    let (original, kept) = (fields(original)?, fields(kept)?);
    let is_entry = original.iter().all(|(n, _)| matches!(n, 1 | 2));
    // What is equal on both sides is there; what differs is paired in order below.
    let mut same: HashMap<(u64, Wire<'_>), usize> = HashMap::new();
    for field in &kept {
        *same.entry(*field).or_default() += 1;
    }
    let mut differing = Vec::new();
    for field in &original {
        match same.get_mut(field) {
            Some(n) if *n > 0 => *n -= 1,
            _ => differing.push(*field),
        }
    }
    let mut rest: HashMap<u64, std::collections::VecDeque<Wire<'_>>> = HashMap::new();
    for field in &kept {
        if let Some(n) = same.get_mut(field)
            && *n > 0
        {
            *n -= 1;
            rest.entry(field.0).or_default().push_back(field.1);
        }
    }
    for (number, value) in differing {
        let pair = rest.get_mut(&number).and_then(std::collections::VecDeque::pop_front);
        match (value, pair) {
            (Wire::Bytes(a), Some(Wire::Bytes(b))) => {
                if let Some(below) = lost(a, b) {
                    return Some(format!("{number}.{below}"));
                }
            }
            // A repeated number, packed on one side only.
            (_, Some(_)) => {}
            // A default that the sender wrote out; in the entry of a map also an empty key or value.
            (Wire::Number(0), None) => {}
            (Wire::Bytes([]), None) if is_entry => {}
            (_, None) => return Some(number.to_string()),
        }
    }
    None
}

/// The fields of a message; `None` if the bytes are not one.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Wire<'_>)>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Wire::Number(varint(&mut bytes)?),
            1 => Wire::Number(u64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                Wire::Bytes(bytes.split_off(..length)?)
            }
            5 => Wire::Number(u64::from(u32::from_le_bytes(*bytes.split_off(..4)?.first_chunk()?))),
            _ => return None,
        };
        out.push((key >> 3, value));
    }
    Some(out)
}

/// A base-128 number of at most ten bytes.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
