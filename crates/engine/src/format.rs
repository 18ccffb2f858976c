//! The command operators of Envoy's access logs and header values: `%REQ(X-ID?:PATH):8%`.
//!
//! [`segments`] takes a text apart without allocating; what an operator stands for is said by whoever knows the request, through
//! [`Values`]. `%%` is a percent sign.

use std::fmt::Write as _;

#[cfg(test)]
mod tests;

/// A piece of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment<'a> {
    /// Text that stands for itself.
    Literal(&'a str),
    /// Something to fill in.
    Operator(Operator<'a>),
}

/// One command operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator<'a> {
    /// `REQ`, `RESPONSE_CODE`, ...
    pub name: &'a str,
    /// What stands in parentheses.
    pub argument: Option<&'a str>,
    /// Longest value, in characters.
    pub max_length: Option<usize>,
}

impl<'a> Operator<'a> {
    /// The one or two header names of `REQ(A?B)`, in the order to try.
    pub fn header_names(&self) -> (&'a str, Option<&'a str>) {
        let argument = self.argument.unwrap_or_default();
        match argument.split_once('?') {
            Some((first, second)) => (first, Some(second)),
            None => (argument, None),
        }
    }
}

/// What is wrong with a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A `%` without its partner.
    #[error("the operator that begins at byte {at} has no closing %; a percent sign is written %%")]
    Unclosed {
        /// Offset of the opening `%`.
        at: usize,
    },
    /// Nothing that Envoy would accept.
    #[error("%{text}% is no command operator: NAME, NAME(ARGUMENT) or NAME(ARGUMENT):LENGTH is expected")]
    Malformed {
        /// What stands between the percent signs.
        text: String,
    },
}

/// Takes a format apart.
pub fn segments(format: &str) -> Segments<'_> {
    Segments { format, at: 0 }
}

/// Iterator of [`segments`].
#[derive(Debug, Clone)]
pub struct Segments<'a> {
    format: &'a str,
    at: usize,
}

impl<'a> Iterator for Segments<'a> {
    type Item = Result<Segment<'a>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.format.get(self.at..).filter(|rest| !rest.is_empty())?;
        let Some(inner) = rest.strip_prefix('%') else {
            let end = rest.find('%').unwrap_or(rest.len());
            self.at += end;
            return Some(Ok(Segment::Literal(rest.get(..end).unwrap_or(rest))));
        };
        if inner.starts_with('%') {
            self.at += 2;
            return Some(Ok(Segment::Literal("%")));
        }
        let Some(length) = operator_length(inner) else {
            let at = self.at;
            self.at = self.format.len();
            return Some(Err(FormatError::Unclosed { at }));
        };
        self.at += length + 2;
        let text = inner.get(..length).unwrap_or_default();
        Some(operator(text).map(Segment::Operator).ok_or_else(|| FormatError::Malformed { text: text.to_owned() }))
    }
}

/// Length up to the closing `%`; one inside parentheses (a time format) does not close.
fn operator_length(inner: &str) -> Option<usize> {
    let mut depth = 0_u32;
    inner.char_indices().find_map(|(at, c)| match c {
        '(' => {
            depth += 1;
            None
        }
        ')' => {
            depth = depth.saturating_sub(1);
            None
        }
        '%' if depth == 0 => Some(at),
        _ => None,
    })
}

fn operator(text: &str) -> Option<Operator<'_>> {
    let name_end =
        text.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(name_end)?;
    let (argument, rest) = match rest.strip_prefix('(') {
        Some(inside) => {
            let close = inside.rfind(')')?;
            (Some(inside.get(..close)?), inside.get(close + 1..)?)
        }
        None => (None, rest),
    };
    let max_length = match rest.strip_prefix(':') {
        Some(digits) => Some(digits.parse().ok()?),
        None if rest.is_empty() => None,
        None => return None,
    };
    (!name.is_empty()).then_some(Operator { name, argument, max_length })
}

/// Knows what operators stand for.
pub trait Values {
    /// Appends the value of `operator`; `false` when there is none (or the operator is not known here), with nothing appended.
    fn write(&self, operator: &Operator<'_>, out: &mut String) -> bool;
}

/// Fills in a header value: what has no value is left out. A text that is no format stands for itself.
pub fn header_value(format: &str, values: &dyn Values, out: &mut String) {
    let start = out.len();
    for segment in segments(format) {
        match segment {
            Ok(Segment::Literal(text)) => out.push_str(text),
            Ok(Segment::Operator(operator)) => write_truncated(&operator, values, out),
            Err(_) => {
                out.truncate(start);
                out.push_str(format);
                return;
            }
        }
    }
}

fn write_truncated(operator: &Operator<'_>, values: &dyn Values, out: &mut String) {
    let start = out.len();
    if values.write(operator, out)
        && let Some(longest) = operator.max_length
        && let Some((end, _)) = out.get(start..).and_then(|value| value.char_indices().nth(longest))
    {
        out.truncate(start + end);
    }
}

/// Appends what `Display` prints.
pub fn push(out: &mut String, value: impl std::fmt::Display) -> bool {
    write!(out, "{value}").is_ok()
}
