//! Access log lines in Envoy's formats.
//!
//! A format is compiled once and rendered into a buffer that the caller reuses. What has no value is `-` in text and `null` in
//! JSON, where a lone operator that yields a number stays a number.

use http::HeaderName;
use varka_engine::expression::{Expression, ExpressionError};
use varka_engine::format::{FormatError, Operator, Segment, segments};
use varka_engine::ir::AccessLogFormat;

mod attributes;
mod record;
#[cfg(test)]
mod tests;
mod time;

pub use record::Record;
pub use time::write_utc;

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

/// Some text, and a value behind it with the most letters that are shown of it.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    text: String,
    value: Option<(Value, Option<usize>)>,
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
    pub fn render(&self, record: &Record<'_>, out: &mut String) {
        match &self.0 {
            Shape::Text(parts) => parts.iter().for_each(|part| write_text(part, record, out)),
            Shape::Json(fields) => {
                let mut value = String::new();
                for (i, (key, parts)) in fields.iter().enumerate() {
                    out.push(if i == 0 { '{' } else { ',' });
                    out.push_str(key);
                    write_json(parts, record, &mut value, out);
                }
                out.push_str(if fields.is_empty() { "{}\n" } else { "}\n" });
            }
        }
    }
}

fn write_text(part: &Part, record: &Record<'_>, out: &mut String) {
    out.push_str(&part.text);
    let Some((value, longest)) = &part.value else { return };
    let start = out.len();
    if !record.write(value, out) {
        out.push('-');
    } else if let Some(longest) = longest
        && let Some((end, _)) = out.get(start..).and_then(|text| text.char_indices().nth(*longest))
    {
        out.truncate(start + end);
    }
}

fn write_json(parts: &[Part], record: &Record<'_>, buffer: &mut String, out: &mut String) {
    buffer.clear();
    if let [Part { text, value: Some((value, None)) }] = parts
        && text.is_empty()
    {
        if !record.write(value, buffer) {
            out.push_str("null");
            return;
        }
        if matches!(value, Value::Field(field) if field.is_number()) {
            out.push_str(buffer);
            return;
        }
    } else {
        parts.iter().for_each(|part| write_text(part, record, buffer));
    }
    out.push_str(&serde_json::Value::from(buffer.as_str()).to_string());
}

fn parts(text: &str) -> Result<Vec<Part>, Error> {
    let (mut parts, mut before) = (Vec::new(), String::new());
    for segment in segments(text) {
        match segment? {
            Segment::Literal(text) => before.push_str(text),
            Segment::Operator(operator) => {
                let value = Some((value(&operator)?, operator.max_length));
                parts.push(Part { text: std::mem::take(&mut before), value });
            }
        }
    }
    if !before.is_empty() {
        parts.push(Part { text: before, value: None });
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
