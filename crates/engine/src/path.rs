//! The normal form of a request's path, byte for byte as Envoy makes it.
//!
//! Whatever decides about a path (routes, policies) must see what the application will see, so this comes before everything.
//! Steps, each as configured: the fragment is cut; escaped slashes are decoded or refused; dot segments are resolved,
//! `\` becomes `/`, unreserved characters are decoded and unsafe ones encoded; repeated slashes become one. The query is never touched.

use std::borrow::Cow;

use crate::facts::split_query;
use crate::ir::{PathNormalization, SlashesAction};

#[cfg(test)]
mod tests;

/// What became of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Normalized<'a> {
    /// Go on with this path, query included.
    Path(Cow<'a, str>),
    /// Answer 307 with this path as location (`UNESCAPE_AND_REDIRECT`, 307 Temporary Redirect).
    Redirect(String),
    /// Answer 400 (`path_normalization_failed`): a NUL, or an escaped slash where these are refused.
    Rejected,
}

/// Brings `raw` (path and query) to the configured form. Borrows where nothing changes, which is the common case.
pub fn normalize(raw: &str, how: PathNormalization) -> Normalized<'_> {
    let raw = cut_fragment(raw);
    if !raw.starts_with('/') {
        return Normalized::Path(Cow::Borrowed(raw));
    }
    let (path, _) = split_query(raw);
    let suffix = raw.get(path.len()..).unwrap_or_default();
    let mut current = Cow::Borrowed(path);
    let mut redirect = false;
    if how.escaped_slashes != SlashesAction::Keep
        && let Some(decoded) = decode_slashes(&current)
    {
        match how.escaped_slashes {
            SlashesAction::Reject => return Normalized::Rejected,
            SlashesAction::UnescapeAndRedirect => redirect = true,
            SlashesAction::Keep | SlashesAction::UnescapeAndForward => {}
        }
        current = Cow::Owned(decoded);
    }
    if how.normalize && !is_canonical(current.as_bytes()) {
        match canonicalize(current.as_bytes()) {
            Some(canonical) => current = Cow::Owned(canonical),
            None => return Normalized::Rejected,
        }
    }
    if how.merge_slashes && current.contains("//") {
        current = Cow::Owned(merge_slashes(&current));
    }
    match current {
        Cow::Borrowed(_) => Normalized::Path(Cow::Borrowed(raw)),
        Cow::Owned(mut path) => {
            path.push_str(suffix);
            if redirect { Normalized::Redirect(path) } else { Normalized::Path(Cow::Owned(path)) }
        }
    }
}

/// Cuts `#` and what follows, in path or query.
fn cut_fragment(raw: &str) -> &str {
    memchr::memchr(b'#', raw.as_bytes()).and_then(|at| raw.get(..at)).unwrap_or(raw)
}

/// `%2F` to `/` and `%5C` to `\`; `None` when there is none.
fn decode_slashes(path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    let mut found = false;
    while let Some(at) = rest.find('%') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let (text, skip) = match from.get(..3) {
            Some(escape) if escape.eq_ignore_ascii_case("%2f") => ("/", 3),
            Some(escape) if escape.eq_ignore_ascii_case("%5c") => ("\\", 3),
            _ => ("%", 1),
        };
        found |= skip == 3;
        out.push_str(text);
        rest = from.get(skip..).unwrap_or_default();
    }
    out.push_str(rest);
    found.then_some(out)
}

/// One slash for several.
fn merge_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

/// What becomes of a byte in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Kept, and kept escaped where it is escaped.
    Keep,
    /// Unreserved: kept, and decoded where it is escaped.
    Decode,
    /// Encoded.
    Encode,
    /// NUL: refused, escaped or not.
    Refuse,
}

/// The table of the URL library that Envoy normalises with.
fn class(byte: u8) -> Class {
    match byte {
        0 => Class::Refuse,
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'~' => Class::Decode,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'.' | b'/' | b':' | b';' | b'=' | b'@'
        | b'[' | b']' => Class::Keep,
        _ => Class::Encode,
    }
}

/// Whether [`canonicalize`] would change nothing. May say no to a path that stays as it is, never the reverse.
fn is_canonical(path: &[u8]) -> bool {
    !path.windows(2).any(|pair| pair == b"/.")
        && path.iter().all(|byte| matches!(class(*byte), Class::Keep | Class::Decode))
}

/// Dot segments, backslashes and escapes; `None` if there is a NUL.
fn canonicalize(path: &[u8]) -> Option<String> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len() + 8);
    let mut rest = path;
    // Where the last percent sign stands that begins no escape sequence.
    let mut bare = None;
    while let Some((byte, after)) = rest.split_first() {
        if out.last() == Some(&b'/')
            && let Some((segment, after_segment)) = dot_segment(rest)
        {
            if segment == DotSegment::Parent {
                back_up(&mut out);
                bare = None;
            }
            rest = after_segment;
            continue;
        }
        match byte {
            b'\\' => out.push(b'/'),
            b'%' => {
                let (before, length) = (rest, out.len());
                rest = escape(rest, &mut out)?;
                if out.get(length) == Some(&b'%') && before.len() - rest.len() == 1 {
                    bare = Some(length);
                } else if out.len() == length + 1 {
                    keep_bare(&mut out, bare, rest.first());
                }
                continue;
            }
            other => match class(*other) {
                Class::Keep | Class::Decode => out.push(*other),
                Class::Encode => push_escaped(*other, &mut out),
                Class::Refuse => return None,
            },
        }
        rest = after;
    }
    String::from_utf8(out).ok()
}

/// A percent sign that begins no escape sequence must not begin one with what has just been decoded behind it, or an application
/// would decode a second time (`%%32F`, `%2%46`): it is escaped itself then, as in Envoy. `next` is what follows in the path.
fn keep_bare(out: &mut Vec<u8>, bare: Option<usize>, next: Option<&u8>) {
    let Some(at) = bare else { return };
    let two = match out.get(at + 1..) {
        Some([first]) => Some((*first, next.copied())),
        Some([first, second]) => Some((*first, Some(*second))),
        _ => None,
    };
    if let Some((first, Some(second))) = two
        && first.is_ascii_hexdigit()
        && second.is_ascii_hexdigit()
    {
        out.splice(at + 1..at + 1, *b"25");
    }
}

/// Copies or decodes one escape sequence at the front of `path`; what is no escape sequence is a percent sign.
fn escape<'a>(path: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let Some((sequence, after)) = path.split_at_checked(3) else {
        out.push(b'%');
        return Some(path.get(1..).unwrap_or_default());
    };
    match (sequence, decoded(sequence)) {
        (_, Some(value)) => match class(value) {
            Class::Refuse => return None,
            Class::Decode => out.push(value),
            Class::Keep if value == b'.' => out.push(value),
            Class::Keep | Class::Encode => out.extend_from_slice(sequence),
        },
        (_, None) => {
            out.push(b'%');
            return Some(path.get(1..).unwrap_or_default());
        }
    }
    Some(after)
}

/// Value of `%XX`.
fn decoded(sequence: &[u8]) -> Option<u8> {
    let [b'%', high, low] = sequence else { return None };
    let digit = |c: u8| char::from(c).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

fn push_escaped(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |n: u8| HEX.get(usize::from(n)).copied().unwrap_or(b'0');
    out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum DotSegment {
    Current,
    Parent,
}

/// A `.` or `..` segment at the front of `path`, with its slash taken off; dots may be escaped, and what follows a `;` is
/// a parameter that applications drop before they resolve the dots.
fn dot_segment(path: &[u8]) -> Option<(DotSegment, &[u8])> {
    let after_one = dot(path)?;
    let (segment, rest) = match dot(after_one) {
        Some(after_two) => (DotSegment::Parent, after_two),
        None => (DotSegment::Current, after_one),
    };
    let is_slash = |c: &u8| *c == b'/' || *c == b'\\';
    match rest.first() {
        None => Some((segment, rest)),
        Some(c) if is_slash(c) => Some((segment, rest.get(1..).unwrap_or_default())),
        Some(b';') => {
            let end = rest.iter().position(is_slash).map_or(rest.len(), |at| at + 1);
            Some((segment, rest.get(end..).unwrap_or_default()))
        }
        Some(_) => None,
    }
}

/// Takes `.` or `%2e` off the front.
fn dot(path: &[u8]) -> Option<&[u8]> {
    match path {
        [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Removes the last segment of a path that ends in a slash; the first slash stays.
fn back_up(out: &mut Vec<u8>) {
    out.pop();
    while out.last().is_some_and(|c| *c != b'/') {
        out.pop();
    }
    if out.is_empty() {
        out.push(b'/');
    }
}
