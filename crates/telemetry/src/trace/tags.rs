//! Names and values that are told of a span, kept as OTLP's message has them.

use crate::text::Line;

/// How fields of OTLP's messages begin that are read here again. Each is a number and says that a length follows.
mod field {
    /// `Span.attributes`, a list of `KeyValue`.
    pub(super) const ATTRIBUTES: u8 = 9 << 3 | 2;
    /// `KeyValue.key`.
    pub(super) const KEY: u8 = 1 << 3 | 2;
    /// `KeyValue.value`, an `AnyValue`.
    pub(super) const VALUE: u8 = 2 << 3 | 2;
    /// `AnyValue.string_value`.
    pub(super) const STRING: u8 = 1 << 3 | 2;
}

/// Names and values, in one text: a span of a dozen of them takes little more room than they have letters, and what is cleared and filled
/// again takes no new one. They are written as attributes of OTLP's `Span` at once, which is where nearly all of them go.
#[derive(Debug, Clone, Default)]
pub struct Tags {
    attributes: Line,
    /// Where a value is made whose length is not known before.
    value: Line,
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
    pub fn write(&mut self, name: &str, value: impl FnOnce(&mut Line)) {
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
            let mut attribute = field(field::ATTRIBUTES, &mut rest)?;
            let name = field(field::KEY, &mut attribute)?;
            let mut value = field(field::VALUE, &mut attribute)?;
            let value = field(field::STRING, &mut value)?;
            Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
        })
    }
}

#[inline]
fn attribute(out: &mut Line, name: &[u8], value: &[u8]) {
    // Three fields are around a value, and two more bytes before a name; hardly one is so long that a length does not fit into a byte.
    let whole = name.len() + value.len() + 6;
    if whole >= 0x80 {
        return long_attribute(out, name, value);
    }
    let [whole, name_length, any, length] = [whole, name.len(), value.len() + 2, value.len()].map(low_byte);
    out.block([field::ATTRIBUTES, whole, field::KEY, name_length]);
    out.push(name);
    out.block([field::VALUE, any, field::STRING, length]);
    out.push(value);
}

fn long_attribute(out: &mut Line, name: &[u8], value: &[u8]) {
    let any = delimited(value.len());
    begin(out, field::ATTRIBUTES, delimited(name.len()) + delimited(any));
    begin(out, field::KEY, name.len());
    out.push(name);
    begin(out, field::VALUE, any);
    begin(out, field::STRING, value.len());
    out.push(value);
}

fn low_byte(length: usize) -> u8 {
    length.to_le_bytes()[0]
}

/// Length of a field with so many bytes in it.
fn delimited(length: usize) -> usize {
    let mut digits = 1;
    while length >> (7 * digits) > 0 {
        digits += 1;
    }
    1 + digits + length
}

/// A field's number and length; seven bits of it in each byte, the least first, of which the eighth says that there are more.
fn begin(out: &mut Line, field: u8, mut length: usize) {
    out.block([field]);
    while length >= 0x80 {
        out.block([low_byte(length) | 0x80]);
        length >>= 7;
    }
    out.block([low_byte(length)]);
}

/// Takes a field that [`begin`] began.
fn field<'a>(wanted: u8, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (found, mut after) = rest.split_first()?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let (byte, more) = after.split_first()?;
        after = more;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (content, after) = after.split_at_checked(length)?;
    *rest = after;
    (*found == wanted).then_some(content)
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
