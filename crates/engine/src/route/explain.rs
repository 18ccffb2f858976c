//! Why a route does not match a request, in words: what it asks for, and what is there.
//!
//! Asked only by `explain`, of the conditions that [`select`](super::select) looks at and in its order. What a header holds may be
//! a credential and is never shown.

use super::{Mismatch, mismatch};
use crate::facts::Request;
use crate::ir::{HeaderMatch, HeaderMatcher, PathMatch, QueryMatch, QueryMatcher, RouteMatch, StringMatch};
use crate::matcher;

/// The first condition that does not hold; `None`: the route matches.
pub fn why_not(m: &RouteMatch, request: &Request<'_>) -> Option<String> {
    let text = match mismatch(m, request)? {
        Mismatch::Path => format!("the path is {:?}, asked for is {}", request.path_only(), path(&m.path)),
        Mismatch::Grpc => "the request is not gRPC".to_owned(),
        Mismatch::Header(name) => match m.headers.iter().find(|h| !matcher::header(h, request)) {
            Some(wanted) => header(wanted, request),
            None => format!("header {name} is not as asked"),
        },
        Mismatch::Metadata(path) => format!("claim {} of the token is not as asked", path.join(".")),
        Mismatch::Query(name) => match m.query.iter().find(|q| !matcher::query(q, request.query())) {
            Some(wanted) => format!("query parameter {name} is not as asked: {}", query(wanted)),
            None => format!("query parameter {name} is not as asked"),
        },
    };
    Some(text)
}

/// What a route asks of the path.
fn path(wanted: &PathMatch) -> String {
    match wanted {
        PathMatch::Prefix(prefix) => format!("prefix {prefix:?}"),
        PathMatch::SeparatedPrefix(prefix) => format!("prefix {prefix:?} up to a /"),
        PathMatch::Exact(exact) => format!("exactly {exact:?}"),
        PathMatch::Regex(regex) => format!("a match of {:?}", regex.source()),
        PathMatch::Template(template) => format!("{template:?}"),
    }
}

fn header(wanted: &HeaderMatcher, request: &Request<'_>) -> String {
    let name = &wanted.name;
    let there = match request.any_line(name, |_| true) {
        _ if &**name == ":method" => format!("the method is {}", request.method),
        _ if matches!(&**name, ":authority" | "host") => format!("the authority is {:?}", request.authority),
        None => format!("there is no header {name}"),
        Some(_) => format!("header {name} is another"),
    };
    let not = if wanted.invert { "anything but " } else { "" };
    let asked = match &wanted.matches {
        HeaderMatch::Present(true) => format!("{not}any"),
        HeaderMatch::Present(false) => format!("{not}none"),
        HeaderMatch::Value(value) => format!("{not}{}", string(value)),
        HeaderMatch::Range { start, end } => format!("{not}a number from {start} to {end} (not included)"),
    };
    format!("{there}, asked for is {asked}")
}

fn query(wanted: &QueryMatcher) -> String {
    match &wanted.matches {
        QueryMatch::Present => "any".to_owned(),
        QueryMatch::Value(value) => string(value),
    }
}

fn string(wanted: &StringMatch) -> String {
    match wanted {
        StringMatch::Exact { value, .. } => format!("exactly {value:?}"),
        StringMatch::Prefix { value, .. } => format!("prefix {value:?}"),
        StringMatch::Suffix { value, .. } => format!("suffix {value:?}"),
        StringMatch::Contains { value, .. } => format!("something with {value:?}"),
        StringMatch::Regex(regex) => format!("a match of {:?}", regex.source()),
    }
}
