//! The trace that a request belongs to, as its `traceparent` header says (W3C Trace Context), and as a statement repeats it for
//! whoever reads along on the way to the database: a comment in sqlcommenter's form.

use axum::http::HeaderMap;

/// A well-formed `traceparent` of version 00.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceParent(String);

impl TraceParent {
    /// Reads the header; `None` where it is missing, repeated or malformed. What is no `traceparent` never gets near a statement.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("traceparent").iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        Self::parse(value.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let lengths = text.split('-').map(str::len);
        let hexadecimal = |byte: u8| byte == b'-' || byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let well_formed = text.starts_with("00-") && lengths.eq([2, 32, 16, 2]) && text.bytes().all(hexadecimal);
        well_formed.then(|| Self(text.to_owned()))
    }

    /// `sql` with a comment that names the trace.
    #[must_use]
    pub fn comment(&self, sql: &str) -> String {
        format!("{sql} /*traceparent='{}'*/", self.0)
    }
}

#[cfg(test)]
mod tests;
