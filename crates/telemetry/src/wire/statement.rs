//! What a statement says, without the values in it, and the trace that it belongs to.

use crate::trace::Context;

/// So much of a statement is kept.
const LONGEST: usize = 1024;

/// A statement without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Literals are `?`, comments are gone, and it is cut at 1,024 bytes.
    pub text: String,
    /// Of sqlcommenter's comment, where there is one.
    pub trace: Option<Context>,
}

impl Statement {
    /// Of SQL as it was sent.
    pub fn of(sql: &str) -> Self {
        Self { text: sanitised(sql), trace: trace_context(sql) }
    }

    /// Its first word.
    pub fn operation(&self) -> Option<String> {
        let word = self.text.trim_start_matches(['(', ' ']).split(|c: char| !c.is_ascii_alphabetic()).next()?;
        (!word.is_empty() && word.len() <= 20).then(|| word.to_ascii_uppercase())
    }
}

/// SQL without values: what is in quotes and every number becomes `?`, comments and needless spaces go. Names in backticks and
/// (as standard SQL has it) in double quotes stay.
pub fn sanitised(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len().min(LONGEST));
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        if out.len() >= LONGEST {
            break;
        }
        let in_word = out.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '`' | '"' | '$' | ':'));
        let used = match first {
            '\'' => {
                out.push('?');
                quoted(rest, '\'')
            }
            '"' | '`' => {
                let length = quoted(rest, first);
                out.push_str(rest.get(..length).unwrap_or_default());
                length
            }
            '#' => line(rest),
            '-' if rest.starts_with("--") => line(rest),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '0'..='9' if !in_word => {
                out.push('?');
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len())
            }
            c if c.is_whitespace() => {
                if !out.is_empty() && !out.ends_with(' ') {
                    out.push(' ');
                }
                c.len_utf8()
            }
            c => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = rest.get(used..).unwrap_or_default();
    }
    out.truncate(out.floor_char_boundary(LONGEST));
    out.truncate(out.trim_end().len());
    out
}

/// Length of a text in quotes, which are doubled or behind a backslash where they are meant.
fn quoted(text: &str, quote: char) -> usize {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' && quote != '`' {
            letters.next();
        } else if letter == quote {
            if letters.peek().is_some_and(|(_, next)| *next == quote) {
                letters.next();
            } else {
                return at + letter.len_utf8();
            }
        }
    }
    text.len()
}

fn line(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

/// The trace context that sqlcommenter wrote into a comment: `/*traceparent='00-...-...-01'*/`.
pub fn trace_context(sql: &str) -> Option<Context> {
    let mut rest = sql;
    while let Some((_, after)) = rest.split_once("/*") {
        let (comment, behind) = after.split_once("*/").unwrap_or((after, ""));
        for pair in comment.split(',') {
            if let Some((key, value)) = pair.split_once('=')
                && key.trim() == "traceparent"
            {
                let value = value.trim().trim_matches('\'');
                let header = http::HeaderValue::from_str(value).ok()?;
                let headers = http::HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), header)]);
                return Context::extract(&headers);
            }
        }
        rest = behind;
    }
    None
}

#[cfg(test)]
mod tests;
