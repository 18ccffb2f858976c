//! Matchers.

use ipnet::IpNet;
use varka_engine::ir::{HeaderMatch, HeaderMatcher, PathMatch, QueryMatch, QueryMatcher, Regex, StringMatch};

use super::message::Message;

pub(super) fn regex(regex: &Regex) -> Message {
    Message::new().text("regex", regex.source())
}

pub(super) fn string(m: &StringMatch) -> Message {
    let (name, value, ignore_case) = match m {
        StringMatch::Exact { value, ignore_case } => ("exact", value, *ignore_case),
        StringMatch::Prefix { value, ignore_case } => ("prefix", value, *ignore_case),
        StringMatch::Suffix { value, ignore_case } => ("suffix", value, *ignore_case),
        StringMatch::Contains { value, ignore_case } => ("contains", value, *ignore_case),
        StringMatch::Regex(r) => return Message::new().message("safe_regex", regex(r)),
    };
    Message::new().always(name, (**value).into()).flag("ignore_case", ignore_case)
}

pub(super) fn header(m: &HeaderMatcher) -> Message {
    let message = Message::new().text("name", &m.name);
    let message = match &m.matches {
        HeaderMatch::Present(present) => message.always("present_match", (*present).into()),
        HeaderMatch::Value(value) => message.message("string_match", string(value)),
        HeaderMatch::Range { start, end } => message
            .message("range_match", Message::new().text("start", &start.to_string()).text("end", &end.to_string())),
    };
    message.flag("invert_match", m.invert).flag("treat_missing_header_as_empty", m.treat_missing_as_empty)
}

pub(super) fn query(m: &QueryMatcher) -> Message {
    let message = Message::new().text("name", &m.name);
    match &m.matches {
        QueryMatch::Present => message.always("present_match", true.into()),
        QueryMatch::Value(value) => message.message("string_match", string(value)),
    }
}

/// The path part of a `RouteMatch`.
pub(super) fn path(m: &PathMatch) -> Message {
    match m {
        PathMatch::Prefix(prefix) => Message::new().always("prefix", (**prefix).into()),
        PathMatch::SeparatedPrefix(prefix) => Message::new().text("path_separated_prefix", prefix),
        PathMatch::Exact(path) => Message::new().text("path", path),
        PathMatch::Regex(r) => Message::new().message("safe_regex", regex(r)),
        PathMatch::Template(template) => Message::new().message("path_match_policy", uri_template(template)),
    }
}

pub(super) fn uri_template(template: &str) -> Message {
    let template = template.replace("{**}", "**").replace("{*}", "*");
    super::message::extension(
        "uri_template",
        "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
        Message::new().text("path_template", &template),
    )
}

pub(super) fn cidr(net: &IpNet) -> Message {
    Message::new().text("address_prefix", &net.network().to_string()).always("prefix_len", net.prefix_len().into())
}
