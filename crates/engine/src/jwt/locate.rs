//! Where a request may carry tokens, in Envoy's order: headers, query parameters, cookies, each by name.

use std::borrow::Cow;

use http::HeaderName;
use smallvec::SmallVec;

use crate::facts::Request;
use crate::ir::JwtProvider;

/// A token and where it was.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// As it came, without what stands in front of it.
    pub(super) text: Cow<'a, [u8]>,
    pub(super) place: Place<'a>,
    issuers: Issuers<'a>,
}

/// Where a token was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    Header(&'a str),
    Param(&'a str),
    Cookie,
}

/// Whose tokens are looked for in a place; an empty name is anybody.
type Issuers<'a> = SmallVec<[&'a str; 2]>;

impl Found<'_> {
    /// Whether the place is one for this issuer's tokens.
    pub(super) fn is_issuer_allowed(&self, issuer: &str) -> bool {
        self.issuers.iter().any(|i| i.is_empty() || *i == issuer)
    }
}

/// A place that somebody's tokens are looked for in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Location<'a> {
    Header { name: &'a str, prefix: &'a str },
    Param(&'a str),
    Cookie(&'a str),
}

impl Location<'_> {
    /// Headers, parameters, cookies; of each by name, the prefix being part of a header's.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let rank = |location: &Self| match location {
            Self::Header { .. } => 0,
            Self::Param(_) => 1,
            Self::Cookie(_) => 2,
        };
        let parts = |location: &Self| match *location {
            Self::Header { name, prefix } => [name.as_bytes().to_vec(), prefix.as_bytes().to_vec()].concat(),
            Self::Param(name) | Self::Cookie(name) => name.as_bytes().to_vec(),
        };
        rank(self).cmp(&rank(other)).then_with(|| parts(self).cmp(&parts(other)))
    }
}

fn locations<'a>(provider: &'a JwtProvider, mut add: impl FnMut(Location<'a>)) {
    let headers = provider.from_headers.iter();
    headers.for_each(|h| add(Location::Header { name: &h.name, prefix: &h.value_prefix }));
    provider.from_params.iter().for_each(|name| add(Location::Param(name)));
    provider.from_cookies.iter().for_each(|name| add(Location::Cookie(name)));
    if provider.from_headers.is_empty() && provider.from_params.is_empty() && provider.from_cookies.is_empty() {
        add(Location::Header { name: "authorization", prefix: "Bearer " });
        add(Location::Param("access_token"));
    }
}

/// Every token in the places of `providers`, but for headers that clients may not set.
pub(super) fn tokens<'a>(
    providers: &[&'a JwtProvider],
    request: &Request<'a>,
    not_from: &[HeaderName],
) -> Vec<Found<'a>> {
    let mut all: SmallVec<[(Location<'a>, Issuers<'a>); 4]> = SmallVec::new();
    for provider in providers {
        locations(provider, |location| match all.iter_mut().find(|(known, _)| *known == location) {
            Some((_, issuers)) => issuers.push(&provider.issuer),
            None => all.push((location, std::iter::once(&*provider.issuer).collect())),
        });
    }
    if all.len() > 1 {
        all.sort_by(|(a, _), (b, _)| a.order(b));
    }
    let mut out = Vec::new();
    for (location, issuers) in all {
        let mut add = |text, place| out.push(Found { text, place, issuers: issuers.clone() });
        match location {
            Location::Header { name, prefix } => {
                if !not_from.iter().any(|n| n == name) {
                    header_values(request, name, |value| {
                        if let Some(text) = after_prefix(value, prefix) {
                            add(text, Place::Header(name));
                        }
                    });
                }
            }
            Location::Param(name) => {
                if let Some(value) = parameter(request.query(), name) {
                    add(value, Place::Param(name));
                }
            }
            Location::Cookie(name) => {
                if let Some(value) = cookie(request, name) {
                    add(Cow::Borrowed(value), Place::Cookie);
                }
            }
        }
    }
    out
}

/// Each line of a header; those of `authorization`, of which there must be one, as one.
fn header_values<'a>(request: &Request<'a>, name: &str, mut each: impl FnMut(Cow<'a, [u8]>)) {
    let lines = || request.headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
    if name == "authorization" && lines().nth(1).is_some() {
        each(Cow::Owned(lines().collect::<Vec<_>>().join(&b","[..])));
    } else {
        lines().for_each(|line| each(Cow::Borrowed(line)));
    }
}

/// What follows a prefix, from the first character on that a token can have; the whole value where there is none. `None`: the
/// prefix does not occur.
fn after_prefix<'a>(value: Cow<'a, [u8]>, prefix: &str) -> Option<Cow<'a, [u8]>> {
    if prefix.is_empty() {
        return Some(value);
    }
    let after = memchr::memmem::find(&value, prefix.as_bytes())? + prefix.len();
    let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let start = value.iter().skip(after).position(of_token).map_or(0, |at| after + at);
    Some(match value {
        Cow::Borrowed(value) => Cow::Borrowed(value.get(start..).unwrap_or_default()),
        Cow::Owned(value) => Cow::Owned(value.get(start..).unwrap_or_default().to_vec()),
    })
}

/// First value of a query parameter; name and value are decoded.
fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, [u8]>> {
    query?
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| *percent_decoded(key) == *name.as_bytes())
        .map(|(_, value)| percent_decoded(value))
}

/// `%41` becomes `A`; what is no escape stays.
pub(super) fn percent_decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = |byte: Option<&u8>| char::from(*byte?).to_digit(16).and_then(|d| u8::try_from(d).ok());
        match (*first, hex(after.first()), hex(after.get(1))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(out)
}

/// First cookie of a name; quotes around its value are not part of it.
fn cookie<'a>(request: &Request<'a>, name: &str) -> Option<&'a [u8]> {
    let lines = request.headers.get_all(http::header::COOKIE).iter();
    let mut pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let pair = pair.trim_ascii();
        let at = memchr::memchr(b'=', pair)?;
        let (key, value) = (pair.get(..at)?, pair.get(at + 1..)?);
        let quoted = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
        (key == name.as_bytes()).then(|| quoted.unwrap_or(value))
    })
}
