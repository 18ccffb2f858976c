//! Parameters of an admin request.

use std::borrow::Cow;

/// The parameters after `?`, decoded when they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Takes path and parameters apart.
    pub fn split(path_and_query: &'a str) -> (&'a str, Self) {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        (path, Self(query))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All parameters in order; one without `=` has the empty value.
    pub fn pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        self.0.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
    }

    /// First value of a parameter.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.pairs().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// First value of a parameter, if it is not empty.
    pub fn non_empty(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Whether a parameter is given at all.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// Percent-decoding; `+` stays, since names and regular expressions hold it. What is malformed stays as it is.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|c| char::from(*c).to_digit(16));
        let value = match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        rest = match value {
            Some(_) => after.get(2..).unwrap_or_default(),
            None => after,
        };
        out.push(value.unwrap_or(*byte));
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}
