//! Matching of strings, headers, query parameters and paths, with Envoy's exact meaning.
//!
//! Several lines of one header are each matched alone, and one that matches is enough (Envoy 1.39 and later); an inverted
//! matcher asks that none matches. Bytes that are not UTF-8 never match a regular expression.

use crate::facts::{Request, split_query};
use crate::ir::{HeaderMatch, HeaderMatcher, MetadataMatch, PathMatch, QueryMatch, QueryMatcher, Str, StringMatch};

#[cfg(test)]
mod tests;

/// Whether `value` is what `matcher` asks for.
pub fn string(matcher: &StringMatch, value: &[u8]) -> bool {
    match matcher {
        StringMatch::Exact { value: want, ignore_case } => equal(value, want.as_bytes(), *ignore_case),
        StringMatch::Prefix { value: want, ignore_case } => {
            value.get(..want.len()).is_some_and(|head| equal(head, want.as_bytes(), *ignore_case))
        }
        StringMatch::Suffix { value: want, ignore_case } => value
            .len()
            .checked_sub(want.len())
            .and_then(|at| value.get(at..))
            .is_some_and(|tail| equal(tail, want.as_bytes(), *ignore_case)),
        StringMatch::Contains { value: want, ignore_case: false } => {
            memchr::memmem::find(value, want.as_bytes()).is_some()
        }
        StringMatch::Contains { value: want, ignore_case: true } => {
            want.is_empty() || value.windows(want.len()).any(|part| part.eq_ignore_ascii_case(want.as_bytes()))
        }
        StringMatch::Regex(regex) => std::str::from_utf8(value).is_ok_and(|text| regex.is_match(text)),
    }
}

/// Whether a DNS name of a certificate is what `matcher` asks for: an exact name is also met by a wildcard for it.
pub fn certificate_dns_name(matcher: &StringMatch, name: &str) -> bool {
    match matcher {
        StringMatch::Exact { value, .. } => is_certificate_for(name, value),
        _ => string(matcher, name.as_bytes()),
    }
}

/// Whether a certificate's DNS name, which may have one `*` within its first label, stands for `host`.
fn is_certificate_for(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let (Some((label, parent)), Some((host_label, host_parent))) = (name.split_once('.'), host.split_once('.')) else {
        return false;
    };
    let Some((head, tail)) = label.split_once('*') else { return false };
    let is_ace = |label: &str| label.as_bytes().get(..4).is_some_and(|p| p.eq_ignore_ascii_case(b"xn--"));
    if is_ace(label) || tail.contains('*') || parent.contains('*') || !parent.eq_ignore_ascii_case(host_parent) {
        return false;
    }
    let (label, head, tail) = (host_label.as_bytes(), head.as_bytes(), tail.as_bytes());
    // A `*` beside other characters is for names that are no A-labels.
    let alone = head.is_empty() && tail.is_empty();
    (alone || !is_ace(host_label))
        && label.len() >= head.len() + tail.len()
        && label.get(..head.len()).is_some_and(|l| l.eq_ignore_ascii_case(head))
        && label.get(label.len() - tail.len()..).is_some_and(|l| l.eq_ignore_ascii_case(tail))
}

fn equal(a: &[u8], b: &[u8], ignore_case: bool) -> bool {
    if ignore_case { a.eq_ignore_ascii_case(b) } else { a == b }
}

/// Whether the request has what `matcher` asks of one header.
pub fn header(matcher: &HeaderMatcher, request: &Request<'_>) -> bool {
    let found = match &matcher.matches {
        HeaderMatch::Present(want) => {
            let present = request.any_line(&matcher.name, |_| true).is_some() || matcher.treat_missing_as_empty;
            return (present == *want) != matcher.invert;
        }
        HeaderMatch::Value(want) => request.any_line(&matcher.name, |line| string(want, line)),
        HeaderMatch::Range { start, end } => request.any_line(&matcher.name, |line| in_range(line, *start, *end)),
    };
    match (found, matcher.treat_missing_as_empty) {
        (Some(matched), _) => matched != matcher.invert,
        (None, false) => false,
        (None, true) => empty_matches(&matcher.matches) != matcher.invert,
    }
}

fn empty_matches(matches: &HeaderMatch) -> bool {
    match matches {
        HeaderMatch::Present(want) => *want,
        HeaderMatch::Value(want) => string(want, b""),
        HeaderMatch::Range { .. } => false,
    }
}

fn in_range(line: &[u8], start: i64, end: i64) -> bool {
    std::str::from_utf8(line).ok().and_then(|text| text.parse::<i64>().ok()).is_some_and(|n| start <= n && n < end)
}

/// Whether filters have found out what `matcher` asks.
pub fn metadata(matcher: &MetadataMatch, request: &Request<'_>) -> bool {
    metadata_value(request, &matcher.filter, &matcher.path, &matcher.value) != matcher.invert
}

/// Whether a filter has found out a text like this, or a list that has one.
pub fn metadata_value(request: &Request<'_>, filter: &str, path: &[Str], want: &StringMatch) -> bool {
    let matches = |value: &serde_json::Value| value.as_str().is_some_and(|text| string(want, text.as_bytes()));
    match request.metadata.get(filter, path) {
        Some(serde_json::Value::Array(items)) => items.iter().any(matches),
        Some(value) => matches(value),
        None => false,
    }
}

/// Whether the query has what `matcher` asks; of a repeated key the first value counts, and nothing is decoded.
pub fn query(matcher: &QueryMatcher, query: Option<&str>) -> bool {
    match (query_value(query, &matcher.name), &matcher.matches) {
        (None, _) => false,
        (Some(_), QueryMatch::Present) => true,
        (Some(value), QueryMatch::Value(want)) => string(want, value.as_bytes()),
    }
}

/// First value of `key`; a key without `=` has the empty value.
pub fn query_value<'a>(query: Option<&'a str>, key: &str) -> Option<&'a str> {
    query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).find(|(k, _)| *k == key).map(|(_, v)| v)
}

/// Whether a path (a query after it is ignored) is what `matcher` asks for.
pub fn path(matcher: &PathMatch, path: &str, case_sensitive: bool) -> bool {
    let path = split_query(path).0;
    let ignore_case = !case_sensitive;
    match matcher {
        PathMatch::Exact(want) => equal(path.as_bytes(), want.as_bytes(), ignore_case),
        PathMatch::Prefix(want) => starts_with(path, want, ignore_case),
        PathMatch::SeparatedPrefix(want) => {
            starts_with(path, want, ignore_case)
                && matches!(path.as_bytes().get(want.len()), None | Some(b'/') | Some(b'?') | Some(b'#'))
        }
        PathMatch::Regex(regex) => regex.is_match(path),
        PathMatch::Template(template) => self::template(template, path),
    }
}

fn starts_with(path: &str, prefix: &str, ignore_case: bool) -> bool {
    path.as_bytes().get(..prefix.len()).is_some_and(|head| equal(head, prefix.as_bytes(), ignore_case))
}

/// Whether a path matches a URI template: `{*}` (or `*`) stands for one segment that is not empty, `{**}` (or `**`) for any
/// rest of the path, none included; both only take the characters that RFC 3986 allows in a path.
pub fn template(template: &str, path: &str) -> bool {
    template_bytes(template.as_bytes(), path.as_bytes())
}

fn template_bytes(mut template: &[u8], mut path: &[u8]) -> bool {
    loop {
        let (wild, rest) = split_operator(template);
        match wild {
            None => match (rest.split_first(), path.split_first()) {
                (None, None) => return true,
                (Some((want, template_rest)), Some((have, path_rest))) if want == have => {
                    (template, path) = (template_rest, path_rest);
                }
                _ => return false,
            },
            Some(Wild::Segment) => {
                let longest = path.iter().take_while(|c| is_path_char(**c)).count();
                return (1..=longest).rev().any(|n| path.get(n..).is_some_and(|tail| template_bytes(rest, tail)));
            }
            Some(Wild::Rest) => {
                let longest = path.iter().take_while(|c| **c == b'/' || is_path_char(**c)).count();
                return (0..=longest).rev().any(|n| path.get(n..).is_some_and(|tail| template_bytes(rest, tail)));
            }
        }
    }
}

enum Wild {
    Segment,
    Rest,
}

/// Takes an operator off the front of a template.
fn split_operator(template: &[u8]) -> (Option<Wild>, &[u8]) {
    for (text, wild) in [("{**}", Wild::Rest), ("{*}", Wild::Segment), ("**", Wild::Rest), ("*", Wild::Segment)] {
        if let Some(rest) = template.strip_prefix(text.as_bytes()) {
            return (Some(wild), rest);
        }
    }
    (None, template)
}

/// Characters of a path segment that Envoy's template operators take: `pchar` of RFC 3986 without `*`.
fn is_path_char(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&c)
}
