//! Header mutations of routes.
//!
//! Envoy has two lists, names to remove and headers to add, and applies them in this order. A sequence in which a header is
//! removed after it was added is brought into that form without a change of its effect: what was added is not added.

use http::{HeaderName, HeaderValue};
use varka_engine::ir::{HeaderAppend, HeaderMutation};
use varka_proto::envoy::core::{self, header_value_option::HeaderAppendAction};

use super::refusal::{At, Decoded, open};
use super::value::{bool_or, member};

/// Headers to add and names to remove.
pub(super) fn encode(mutations: &[HeaderMutation]) -> (Vec<core::HeaderValueOption>, Vec<String>) {
    let mut add: Vec<(&HeaderName, core::HeaderValueOption)> = Vec::new();
    let mut remove: Vec<String> = Vec::new();
    for mutation in mutations {
        match mutation {
            HeaderMutation::Remove(name) => {
                add.retain(|(added, _)| *added != name);
                remove.push(name.as_str().to_owned());
            }
            HeaderMutation::Append { name, value, action } => add.push((name, encode_append(name, value, *action))),
        }
    }
    (add.into_iter().map(|(_, option)| option).collect(), remove)
}

fn encode_append(name: &HeaderName, value: &HeaderValue, action: HeaderAppend) -> core::HeaderValueOption {
    let action = match action {
        HeaderAppend::Append => HeaderAppendAction::AppendIfExistsOrAdd,
        HeaderAppend::IfAbsent => HeaderAppendAction::AddIfAbsent,
        HeaderAppend::Overwrite => HeaderAppendAction::OverwriteIfExistsOrAdd,
    };
    let header = core::HeaderValue {
        key: name.as_str().to_owned(),
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        raw_value: Vec::new(),
    };
    // An empty value is sent as such, which Envoy does only where it is told to.
    core::HeaderValueOption {
        keep_empty_value: header.value.is_empty(),
        header: Some(header),
        append_action: action.into(),
        ..Default::default()
    }
}

pub(super) fn decode(
    at: &At<'_>,
    (add_field, add): (&str, Vec<core::HeaderValueOption>),
    (remove_field, remove): (&str, Vec<String>),
) -> Decoded<Vec<HeaderMutation>> {
    let mut out = at.each(remove_field, remove, |at, name| Ok(HeaderMutation::Remove(header_name(at, &name)?)))?;
    out.extend(at.each(add_field, add, decode_append)?);
    Ok(out)
}

fn decode_append(at: &At<'_>, option: core::HeaderValueOption) -> Decoded<HeaderMutation> {
    open!(at, option => core::HeaderValueOption { header, append, append_action, keep_empty_value });
    let core::HeaderValue { key, value, raw_value } = at.need("header", header)?;
    let at_value = &at.field("header.value");
    let value = if raw_value.is_empty() { value.into_bytes() } else { raw_value };
    if value.is_empty() && !keep_empty_value {
        return Err(at.not_implemented("an empty value without keep_empty_value"));
    }
    let action = match (append, member(&at.field("append_action"), append_action)?) {
        // The obsolete flag counts where it is given.
        (Some(_), _) if bool_or(append, true) => HeaderAppend::Append,
        (Some(_), _) | (None, HeaderAppendAction::OverwriteIfExistsOrAdd) => HeaderAppend::Overwrite,
        (None, HeaderAppendAction::AppendIfExistsOrAdd) => HeaderAppend::Append,
        (None, HeaderAppendAction::AddIfAbsent) => HeaderAppend::IfAbsent,
        (None, HeaderAppendAction::OverwriteIfExists) => {
            return Err(at.not_implemented("append_action OVERWRITE_IF_EXISTS"));
        }
    };
    let value = HeaderValue::from_bytes(&value).map_err(|_| at_value.invalid("the value", "a header value"))?;
    if std::str::from_utf8(value.as_bytes()).is_err() {
        return Err(at_value.not_implemented("a value that is not UTF-8"));
    }
    Ok(HeaderMutation::Append { name: header_name(&at.field("header.key"), &key)?, value, action })
}

fn header_name(at: &At<'_>, name: &str) -> Decoded<HeaderName> {
    name.parse().map_err(|_| at.invalid(name, "a header name that may be changed"))
}
