//! Fields of protobuf's messages, as far as spans have them: <https://protobuf.dev/programming-guides/encoding>.

use crate::text::Buffer;

/// How a field of this number begins whose value is a number.
pub(super) const fn number(field: u8) -> u8 {
    field << 3
}

/// How a field of this number begins whose value is eight bytes.
pub(super) const fn eight(field: u8) -> u8 {
    field << 3 | 1
}

/// How a field of this number begins whose value is as many bytes as a length says.
pub(super) const fn bytes(field: u8) -> u8 {
    field << 3 | 2
}

/// Length of a field with so many bytes in it.
pub(super) fn delimited(length: usize) -> usize {
    let mut digits = 1;
    while length >> (7 * digits) > 0 {
        digits += 1;
    }
    1 + digits + length
}

/// The beginning of a field of so many bytes.
pub(super) fn begin(out: &mut Buffer, field: u8, length: usize) {
    let (head, used) = head(field, length);
    out.push(head.get(..used).unwrap_or_default());
}

/// The same by itself, and how much of it counts.
pub(super) fn head(field: u8, mut length: usize) -> ([u8; 11], usize) {
    let mut head = [0; 11];
    let mut used = 0;
    // Seven bits in each byte, the least first; the eighth says that there are more.
    let mut places = head.iter_mut();
    let mut write = |byte| {
        if let Some(place) = places.next() {
            *place = byte;
            used += 1;
        }
    };
    write(field);
    while length >= 0x80 {
        write(low_byte(length) | 0x80);
        length >>= 7;
    }
    write(low_byte(length));
    (head, used)
}

/// A field of bytes.
pub(super) fn put(out: &mut Buffer, field: u8, value: &[u8]) {
    begin(out, field, value.len());
    out.push(value);
}

/// Of a length that is known to be so short.
pub(super) fn low_byte(length: usize) -> u8 {
    length.to_le_bytes()[0]
}

/// Takes a field of bytes; `None`: it is another one, or none.
pub(super) fn take<'a>(wanted: u8, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (found, mut after) = rest.split_first()?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let (byte, more) = after.split_first()?;
        after = more;
        length |= usize::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (content, after) = after.split_at_checked(length)?;
    *rest = after;
    (*found == wanted).then_some(content)
}
