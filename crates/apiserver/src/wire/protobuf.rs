//! Kubernetes' protobuf to JSON, by the field numbers in the table of types.
//!
//! A body is the four bytes `k8s\0` and an `Unknown` message that carries the object's message:
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding-idl>. Zero values of fields that Go leaves out of JSON are left
//! out here too, unless the field is required.

use base64::Engine as _;
use serde_json::{Map, Number, Value, json};

use crate::schema::{Field, StructId, Type, Types};

const MAGIC: &[u8] = b"k8s\0";
/// Messages nested deeper are refused.
const MAX_DEPTH: usize = 64;

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProtobufError {
    #[error("it does not start with \"k8s\\0\"")]
    Magic,
    #[error("it ends in the middle of a field")]
    Truncated,
    #[error("wire type {0} is not used by Kubernetes")]
    WireType(u8),
    #[error("a string is not UTF-8")]
    Text,
    #[error("messages are nested too deeply")]
    Depth,
}

/// Reads a body that holds an object of the struct `root`.
pub(super) fn decode(types: &Types, root: StructId, body: &[u8]) -> Result<Value, ProtobufError> {
    let mut unknown = Reader(body.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?);
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    while let Some((tag, value)) = unknown.next()? {
        match (tag, value) {
            (1, Wire::Bytes(meta)) => {
                let mut meta = Reader(meta);
                while let Some((tag, value)) = meta.next()? {
                    match (tag, value) {
                        (1, Wire::Bytes(text)) => api_version = string(text)?,
                        (2, Wire::Bytes(text)) => kind = string(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(message)) => raw = message,
            _ => {}
        }
    }
    let mut out = Map::new();
    out.insert("apiVersion".to_owned(), json!(api_version));
    out.insert("kind".to_owned(), json!(kind));
    message(types, root, raw, &mut out, 0)?;
    Ok(Value::Object(out))
}

enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, ProtobufError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let tag = u32::try_from(key >> 3).map_err(|_| ProtobufError::Truncated)?;
        let value = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| ProtobufError::Truncated)?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(ProtobufError::Truncated)?;
                self.0 = rest;
                Wire::Bytes(bytes)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
            other => return Err(ProtobufError::WireType(u8::try_from(other).unwrap_or(u8::MAX))),
        };
        Ok(Some((tag, value)))
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(ProtobufError::Truncated)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Truncated)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtobufError> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or(ProtobufError::Truncated)?;
        self.0 = rest;
        Ok(*bytes)
    }
}

fn string(bytes: &[u8]) -> Result<String, ProtobufError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| ProtobufError::Text)
}

fn message(
    types: &Types,
    id: StructId,
    bytes: &[u8],
    out: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > MAX_DEPTH {
        return Err(ProtobufError::Depth);
    }
    let item = types.get(id);
    let mut reader = Reader(bytes);
    while let Some((tag, wire)) = reader.next()? {
        if let Some((_, inner)) = item.embedded.iter().find(|(t, _)| *t == tag) {
            if let Wire::Bytes(bytes) = wire {
                message(types, *inner, bytes, out, depth + 1)?;
            }
            continue;
        }
        let Some(field) = item.fields.iter().find(|f| f.tag == tag) else { continue };
        store(types, field, &wire, out, depth)?;
    }
    Ok(())
}

fn store(
    types: &Types,
    field: &Field,
    wire: &Wire<'_>,
    out: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    match &field.ty {
        Type::List(element, _) => {
            let slot = out.entry(field.name.as_str()).or_insert_with(|| json!([]));
            let Some(list) = slot.as_array_mut() else { return Ok(()) };
            match (&**element, wire) {
                // Numbers may be packed.
                (Type::Int | Type::Bool, Wire::Bytes(packed)) => {
                    let mut reader = Reader(packed);
                    while !reader.0.is_empty() {
                        let number = reader.varint()?;
                        list.push(scalar(types, element, &Wire::Varint(number), depth)?);
                    }
                }
                _ => list.push(scalar(types, element, wire, depth)?),
            }
        }
        Type::Map(value, _) => {
            let Wire::Bytes(entry) = wire else { return Ok(()) };
            let (mut key, mut content) = (String::new(), None);
            let mut reader = Reader(entry);
            while let Some((tag, wire)) = reader.next()? {
                match (tag, &wire) {
                    (1, Wire::Bytes(text)) => key = string(text)?,
                    (2, _) => content = Some(scalar(types, value, &wire, depth)?),
                    _ => {}
                }
            }
            let slot = out.entry(field.name.as_str()).or_insert_with(|| json!({}));
            if let Some(map) = slot.as_object_mut() {
                let empty = || if matches!(**value, Type::String | Type::Bytes) { json!("") } else { Value::Null };
                map.insert(key, content.unwrap_or_else(empty));
            }
        }
        ty => {
            let value = scalar(types, ty, wire, depth)?;
            if !value.is_null() && (field.required || field.pointer || !is_zero(&value)) {
                out.insert(field.name.clone(), value);
            }
        }
    }
    Ok(())
}

/// Whether the value is the zero of its type: sent on the wire even if unset, and left out of JSON.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn scalar(types: &Types, ty: &Type, wire: &Wire<'_>, depth: usize) -> Result<Value, ProtobufError> {
    Ok(match (ty, wire) {
        // Negative numbers are sent as two's complement in 64 bits.
        (Type::Int, Wire::Varint(number)) => json!(number.cast_signed()),
        (Type::Bool, Wire::Varint(number)) => json!(*number != 0),
        (Type::Float, Wire::Fixed64(bits)) => {
            Number::from_f64(f64::from_bits(*bits)).map_or(Value::Null, Value::Number)
        }
        (Type::Float, Wire::Fixed32(bits)) => {
            Number::from_f64(f64::from(f32::from_bits(*bits))).map_or(Value::Null, Value::Number)
        }
        (Type::Bytes, Wire::Bytes(bytes)) => json!(base64::engine::general_purpose::STANDARD.encode(bytes)),
        (Type::String, Wire::Bytes(bytes)) => json!(string(bytes)?),
        (Type::Time | Type::MicroTime, Wire::Bytes(bytes)) => time(bytes, *ty == Type::MicroTime)?,
        (Type::Duration, Wire::Bytes(bytes)) => duration(bytes)?,
        (Type::Quantity, Wire::Bytes(bytes)) => first_string(bytes, 1)?,
        (Type::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
        (Type::StringItems, Wire::Bytes(bytes)) => strings(bytes)?,
        (Type::Any, Wire::Bytes(bytes)) => raw(bytes)?,
        (Type::Struct(id), Wire::Bytes(bytes)) => {
            let mut out = Map::new();
            message(types, *id, bytes, &mut out, depth + 1)?;
            Value::Object(out)
        }
        _ => Value::Null,
    })
}

/// `{1: seconds, 2: nanoseconds}`; an empty message is no time.
fn time(bytes: &[u8], micro: bool) -> Result<Value, ProtobufError> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    let mut reader = Reader(bytes);
    while let Some((tag, wire)) = reader.next()? {
        match (tag, wire) {
            (1, Wire::Varint(number)) => seconds = number.cast_signed(),
            (2, Wire::Varint(number)) => nanos = number.cast_signed(),
            _ => {}
        }
    }
    if seconds == 0 && nanos == 0 {
        return Ok(Value::Null);
    }
    let time = jiff::Timestamp::new(seconds, i32::try_from(nanos).unwrap_or(0)).ok();
    let text =
        time.map(|t| if micro { t.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string() } else { crate::object::time(t) });
    Ok(text.map_or(Value::Null, Value::String))
}

/// `{1: nanoseconds}` as a Go duration.
fn duration(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let mut reader = Reader(bytes);
    let mut nanos = 0i64;
    while let Some((tag, wire)) = reader.next()? {
        if let (1, Wire::Varint(number)) = (tag, wire) {
            nanos = number.cast_signed();
        }
    }
    Ok(json!(format!("{}ms", nanos / 1_000_000)))
}

fn first_string(bytes: &[u8], wanted: u32) -> Result<Value, ProtobufError> {
    let mut reader = Reader(bytes);
    while let Some((tag, wire)) = reader.next()? {
        if let (true, Wire::Bytes(text)) = (tag == wanted, wire) {
            return Ok(json!(string(text)?));
        }
    }
    Ok(json!("0"))
}

/// `{1: 0 for an integer or 1 for a string, 2: integer, 3: string}`.
fn int_or_string(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut is_string, mut number, mut text) = (false, 0i64, String::new());
    let mut reader = Reader(bytes);
    while let Some((tag, wire)) = reader.next()? {
        match (tag, wire) {
            (1, Wire::Varint(kind)) => is_string = kind == 1,
            (2, Wire::Varint(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(value)) => text = string(value)?,
            _ => {}
        }
    }
    Ok(if is_string { json!(text) } else { json!(number) })
}

fn strings(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let mut reader = Reader(bytes);
    let mut out = Vec::new();
    while let Some((tag, wire)) = reader.next()? {
        if let (1, Wire::Bytes(text)) = (tag, wire) {
            out.push(json!(string(text)?));
        }
    }
    Ok(Value::Array(out))
}

/// `{1: JSON}`: RawExtension, JSON, FieldsV1.
fn raw(bytes: &[u8]) -> Result<Value, ProtobufError> {
    let mut reader = Reader(bytes);
    while let Some((tag, wire)) = reader.next()? {
        if let (1, Wire::Bytes(json)) = (tag, wire) {
            return Ok(serde_json::from_slice(json).unwrap_or_default());
        }
    }
    Ok(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![tag << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend_from_slice(bytes);
        out
    }

    fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
    }

    #[test]
    fn a_config_map() {
        let metadata =
            [field(1, b"a"), field(8, &[]), field(11, &[field(1, b"app"), field(2, b"web")].concat())].concat();
        let data = [field(1, b"k"), field(2, b"v")].concat();
        let raw = [field(1, &metadata), field(2, &data)].concat();
        let types = Types::builtin();
        let value = decode(types, types.find("core.v1.ConfigMap").unwrap(), &body("v1", "ConfigMap", &raw)).unwrap();
        let expected = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"app": "web"}}, "data": {"k": "v"}});
        assert_eq!(value, expected);
    }

    #[test]
    fn embedded_messages_and_int_or_string() {
        // Pod.spec(2).containers(2).livenessProbe(10).handler(1).httpGet(2).port(2)
        let port = [vec![1 << 3, 0, 2 << 3, 80]].concat();
        let probe = field(1, &field(2, &field(2, &port)));
        let container = [field(1, b"c"), field(10, &probe)].concat();
        let raw = field(2, &field(2, &container));
        let types = Types::builtin();
        let value = decode(types, types.find("core.v1.Pod").unwrap(), &body("v1", "Pod", &raw)).unwrap();
        assert_eq!(value["spec"]["containers"][0], json!({"name": "c", "livenessProbe": {"httpGet": {"port": 80}}}));
    }

    #[test]
    fn broken_bodies_are_errors() {
        let types = Types::builtin();
        let pod = types.find("core.v1.Pod").unwrap();
        for bytes in [
            &b"{}"[..],
            b"k8s\0\x0a\xff",
            b"k8s\0\x12\x7f",
            b"k8s\0\x0b",
            b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(decode(types, pod, bytes).is_err(), "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let types = Types::builtin();
            let body = [MAGIC, &bytes].concat();
            let _ = decode(types, types.find("core.v1.Pod").unwrap(), &body);
        }
    }
}
