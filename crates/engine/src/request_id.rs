//! `x-request-id`: a version 4 UUID that follows a request through the mesh, with the trace decision in its version digit.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::ir::HttpConnectionManager;

#[cfg(test)]
mod tests;

/// The header.
pub const NAME: HeaderName = HeaderName::from_static("x-request-id");

/// Makes sure that a request has an identifier: the client's, or a new one made of `random`. At an edge the client's counts
/// only where it is to be preserved.
pub fn ensure(manager: &HttpConnectionManager, headers: &mut HeaderMap, random: u128) {
    let replace = manager.use_remote_address && !manager.preserve_external_request_id;
    let missing = headers.get(NAME).is_none_or(HeaderValue::is_empty);
    if manager.generate_request_id && (missing || replace) {
        let text = uuid(random);
        if let Ok(value) = HeaderValue::from_bytes(&text) {
            headers.insert(NAME, value);
        }
    }
}

/// A version 4 UUID in lower-case hex.
pub fn uuid(random: u128) -> [u8; 36] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bits = (random & !(0xf << 76) & !(0x3 << 62)) | (4 << 76) | (0x2 << 62);
    let mut out = [b'-'; 36];
    let mut digit = 32;
    for (at, slot) in out.iter_mut().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            continue;
        }
        digit -= 1;
        let value = usize::try_from((bits >> (digit * 4)) & 0xf).unwrap_or(0);
        *slot = HEX.get(value).copied().unwrap_or(b'0');
    }
    out
}

/// A number that is the same wherever this request is seen, for consistent sampling: the first eight hex digits.
pub fn stable_number(id: &[u8]) -> Option<u64> {
    let head = std::str::from_utf8(id.get(..8)?).ok()?;
    u64::from_str_radix(head, 16).ok().filter(|_| id.len() == 36)
}
