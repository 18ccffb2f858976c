//! Access log lines in Envoy's formats.
//!
//! A format is compiled once and rendered into a buffer that the caller reuses. What has no value is `-` in text and `null` in
//! JSON, where a lone operator that yields a number stays a number.

use http::HeaderName;
use varka_engine::expression::{Expression, ExpressionError};
use varka_engine::format::{FormatError, Operator, Segment, segments};
use varka_engine::ir::AccessLogFormat;

use crate::text::{Buffer, Short};

mod attributes;
mod record;
#[cfg(test)]
mod tests;
mod time;

pub use record::Record;

pub use varka_engine::ir::{ISTIO_JSON, ISTIO_TEXT};

/// Why a format cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no format.
    #[error("access log format: {0}")]
    Malformed(#[from] FormatError),
    /// An operator that does not exist here.
    #[error("access log format: the operator %{operator}% is not supported; use one of Envoy's common operators")]
    UnknownOperator {
        /// As written.
        operator: String,
    },
    /// No condition, or one that is not supported.
    #[error("access log filter: {0}")]
    Filter(#[from] ExpressionError),
    /// A header name that cannot be one.
    #[error("access log format: {name:?} is no header name")]
    HeaderName {
        /// As written.
        name: String,
    },
}

/// Compiles a configured filter.
///
/// # Errors
/// What of it is no condition, or not supported.
pub fn filter(expression: &str) -> Result<Expression, Error> {
    Ok(Expression::parse(expression)?)
}

/// A compiled format.
#[derive(Debug, Clone, PartialEq)]
pub struct Format(Shape);

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Text(Vec<Part>),
    /// Keys, each already as `"key":`, and their values.
    Json(Vec<(String, Vec<Part>)>),
}

/// Text that is between values for the most part; longer text is in several pieces.
type Literal = Short<16>;

/// Some text, and a value behind it.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    text: Literal,
    value: Value,
    /// Letters that are shown of the value; `None`: all.
    longest: Option<usize>,
}

impl Part {
    fn text(text: Literal) -> Self {
        Self { text, value: Value::Nothing, longest: None }
    }
}

/// A header or pseudo-header.
#[derive(Debug, Clone, PartialEq)]
enum Header {
    Method,
    Path,
    Authority,
    Scheme,
    Status,
    Name(HeaderName),
}

/// What an operator stands for.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    /// There is only text.
    Nothing,
    StartTime(Option<String>),
    Request(Header, Option<Header>),
    Response(Header, Option<Header>),
    Trailer(Header, Option<Header>),
    Field(record::Field),
}

impl Format {
    /// Compiles a configured format.
    ///
    /// # Errors
    /// What of it is no format, or not supported.
    pub fn new(format: &AccessLogFormat) -> Result<Self, Error> {
        match format {
            AccessLogFormat::Text(text) => Self::text(text),
            AccessLogFormat::Json(fields) => Self::json(fields.iter().map(|(key, text)| (&**key, &**text))),
        }
    }

    /// Compiles a text format.
    ///
    /// # Errors
    /// As [`Format::new`].
    pub fn text(text: &str) -> Result<Self, Error> {
        parts(text).map(Shape::Text).map(Self)
    }

    /// Compiles a JSON format of keys and values.
    ///
    /// # Errors
    /// As [`Format::new`].
    pub fn json<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Error> {
        let field = |(key, text): (&str, &str)| Ok((format!("{}:", serde_json::Value::from(key)), parts(text)?));
        fields.into_iter().map(field).collect::<Result<_, _>>().map(Shape::Json).map(Self)
    }

    /// Appends the line of one request or connection. A JSON line ends with a newline, a text line with what the format ends with.
    pub fn render(&self, record: &Record<'_>, out: &mut Buffer) {
        match &self.0 {
            Shape::Text(parts) => parts.iter().for_each(|part| write_text(part, record, out)),
            Shape::Json(fields) => {
                for (i, (key, parts)) in fields.iter().enumerate() {
                    out.letter(if i == 0 { b'{' } else { b',' });
                    out.push(key.as_bytes());
                    write_json(parts, record, out);
                }
                out.push(if fields.is_empty() { b"{}\n" } else { b"}\n" });
            }
        }
    }
}

// A line has dozens of parts: what is done for each is done in one place, without a call.
#[inline(always)]
fn write_text(part: &Part, record: &Record<'_>, out: &mut Buffer) {
    out.put(&part.text);
    if part.longest.is_some() {
        return write_cut(part, record, out);
    }
    if !record.write(&part.value, out) {
        out.letter(b'-');
    }
}

#[inline(never)]
fn write_cut(part: &Part, record: &Record<'_>, out: &mut Buffer) {
    let start = out.len();
    if !record.write(&part.value, out) {
        out.letter(b'-');
    } else if let Some(longest) = part.longest
        && let Some((end, _)) = String::from_utf8_lossy(out.since(start)).char_indices().nth(longest)
    {
        out.truncate(start + end);
    }
}

fn write_json(parts: &[Part], record: &Record<'_>, out: &mut Buffer) {
    let before = out.len();
    if let [Part { text, value, longest: None }] = parts
        && text.as_bytes().is_empty()
    {
        if let Value::Field(field) = value
            && field.is_number()
        {
            if !record.write(value, out) {
                out.push(b"null");
            }
            return;
        }
        out.letter(b'"');
        if !record.write(value, out) {
            out.truncate(before);
            return out.push(b"null");
        }
    } else {
        out.letter(b'"');
        parts.iter().for_each(|part| write_text(part, record, out));
    }
    let made = out.since(before + 1);
    // One look at all of them is quicker than one that ends at the first.
    if made.iter().fold(true, |plain, letter| plain & matches!(letter, b' '..=b'~') & !matches!(letter, b'"' | b'\\')) {
        return out.letter(b'"');
    }
    let escaped = serde_json::Value::from(String::from_utf8_lossy(made)).to_string();
    out.truncate(before);
    out.push(escaped.as_bytes());
}

fn parts(text: &str) -> Result<Vec<Part>, Error> {
    let (mut parts, mut before) = (Vec::new(), Literal::default());
    for segment in segments(text) {
        match segment? {
            Segment::Literal(text) => {
                for letter in text.chars() {
                    if !before.add(letter) {
                        parts.push(Part::text(std::mem::take(&mut before)));
                        before.add(letter);
                    }
                }
            }
            Segment::Operator(operator) => {
                let (value, longest) = (value(&operator)?, operator.max_length);
                parts.push(Part { text: std::mem::take(&mut before), value, longest });
            }
        }
    }
    if !before.as_bytes().is_empty() {
        parts.push(Part::text(before));
    }
    Ok(parts)
}

fn value(operator: &Operator<'_>) -> Result<Value, Error> {
    let names = || -> Result<(Header, Option<Header>), Error> {
        let (first, second) = operator.header_names();
        Ok((header(first)?, second.map(header).transpose()?))
    };
    Ok(match operator.name {
        "START_TIME" => Value::StartTime(operator.argument.map(str::to_owned)),
        "REQ" => names().map(|(first, second)| Value::Request(first, second))?,
        "RESP" => names().map(|(first, second)| Value::Response(first, second))?,
        "TRAILER" => names().map(|(first, second)| Value::Trailer(first, second))?,
        name => match record::Field::named(name) {
            Some(field) => Value::Field(field),
            None => return Err(Error::UnknownOperator { operator: name.to_owned() }),
        },
    })
}

fn header(name: &str) -> Result<Header, Error> {
    let lower = name.to_ascii_lowercase();
    Ok(match lower.as_str() {
        ":method" => Header::Method,
        ":path" => Header::Path,
        ":authority" | "host" => Header::Authority,
        ":scheme" => Header::Scheme,
        ":status" => Header::Status,
        _ => Header::Name(lower.parse().map_err(|_| Error::HeaderName { name: name.to_owned() })?),
    })
}
