//! Names and values that are told of a span, kept as OTLP's message has them.

use super::protobuf::{begin, bytes, delimited, low_byte, put, take};
use crate::text::Buffer;

/// `Span.attributes` and `Resource.attributes`, lists of `KeyValue`.
const SPAN: u8 = bytes(9);
const RESOURCE: u8 = bytes(1);
/// `KeyValue.key`.
const KEY: u8 = bytes(1);
/// `KeyValue.value`, an `AnyValue`.
const VALUE: u8 = bytes(2);
/// `AnyValue.string_value`.
const STRING: u8 = bytes(1);

/// Names and values, in one text: a span of a dozen of them takes little more room than they have letters, and what is cleared and filled
/// again takes no new one. They are written as attributes of OTLP's `Span` at once, which is where nearly all of them go.
#[derive(Debug, Clone, Default)]
pub struct Tags {
    attributes: Buffer,
    /// Where a value is made whose length is not known before.
    value: Buffer,
}

impl Tags {
    /// Forgets them all, and keeps their room.
    pub fn clear(&mut self) {
        self.attributes.clear();
    }

    /// Adds one.
    pub fn add(&mut self, name: &str, value: &str) {
        attribute(&mut self.attributes, name.as_bytes(), value.as_bytes());
    }

    /// Adds one whose value is appended.
    pub fn write(&mut self, name: &str, value: impl FnOnce(&mut Buffer)) {
        self.value.clear();
        value(&mut self.value);
        attribute(&mut self.attributes, name.as_bytes(), self.value.as_bytes());
    }

    /// As fields `attributes` of `opentelemetry.proto.trace.v1.Span`.
    pub fn as_attributes(&self) -> &[u8] {
        self.attributes.as_bytes()
    }

    /// All of them, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = self.attributes.as_bytes();
        std::iter::from_fn(move || {
            let mut attribute = take(SPAN, &mut rest)?;
            let name = take(KEY, &mut attribute)?;
            let mut value = take(VALUE, &mut attribute)?;
            let value = take(STRING, &mut value)?;
            Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
        })
    }
}

/// The only attribute of an OTLP `Resource`.
pub(super) fn of_resource(name: &str, value: &str) -> Buffer {
    let mut out = Buffer::default();
    long_attribute(&mut out, RESOURCE, name.as_bytes(), value.as_bytes());
    out
}

#[inline]
fn attribute(out: &mut Buffer, name: &[u8], value: &[u8]) {
    // Three fields are around a value, and two more bytes before a name; hardly one is so long that a length does not fit into a byte.
    let whole = name.len() + value.len() + 6;
    if whole >= 0x80 {
        return long_attribute(out, SPAN, name, value);
    }
    let [whole, name_length, any, length] = [whole, name.len(), value.len() + 2, value.len()].map(low_byte);
    out.block([SPAN, whole, KEY, name_length]);
    out.push(name);
    out.block([VALUE, any, STRING, length]);
    out.push(value);
}

fn long_attribute(out: &mut Buffer, field: u8, name: &[u8], value: &[u8]) {
    let any = delimited(value.len());
    begin(out, field, delimited(name.len()) + delimited(any));
    put(out, KEY, name);
    begin(out, VALUE, any);
    put(out, STRING, value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_added_is_there(
            tags in prop::collection::vec(("[a-z.]{0,30}", "\\PC{0,40}", prop::bool::weighted(0.1), any::<bool>()), 0..20)
        ) {
            let mut made = Tags::default();
            made.add("forgotten", "x");
            made.clear();
            let mut wanted = Vec::new();
            for (name, value, is_long, is_written) in tags {
                let value = if is_long { value.repeat(1000) } else { value };
                if is_written {
                    made.write(&name, |out| out.push(value.as_bytes()));
                } else {
                    made.add(&name, &value);
                }
                wanted.push((name, value));
            }
            let found: Vec<_> = made.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
