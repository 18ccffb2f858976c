//! Header operations of VirtualServices.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use varka_api::istio::{HeaderOperations, Headers};
use varka_engine::ir::{HeaderAppend, HeaderMutation, Str};

use crate::context::s;

/// Operations of one place, and the new authority that they ask for.
#[derive(Debug, Clone, Default)]
pub(super) struct Operations {
    pub(super) request: Vec<HeaderMutation>,
    pub(super) response: Vec<HeaderMutation>,
    pub(super) authority: Option<Str>,
    /// Names or values that no header can have.
    pub(super) refused: Vec<String>,
}

impl Operations {
    pub(super) fn of(headers: Option<&Headers>) -> Self {
        let mut out = Self::default();
        let Some(headers) = headers else { return out };
        if let Some(request) = &headers.request {
            out.authority =
                request.set.iter().chain(&request.add).filter(|(k, _)| is_authority(k)).map(|(_, v)| s(v)).next_back();
            out.request = mutations(request, &mut out.refused);
        }
        if let Some(response) = &headers.response {
            out.response = mutations(response, &mut out.refused);
        }
        out
    }
}

fn is_authority(name: &str) -> bool {
    matches!(name.to_ascii_lowercase().as_str(), ":authority" | "host" | "authority")
}

/// Removals come first, as in Envoy, then what is set, then what is added.
fn mutations(operations: &HeaderOperations, refused: &mut Vec<String>) -> Vec<HeaderMutation> {
    let mut out = Vec::new();
    for name in operations.remove.iter().filter(|n| !is_internal(n)) {
        match name.parse::<HeaderName>() {
            Ok(name) => out.push(HeaderMutation::Remove(name)),
            Err(_) => refused.push(name.clone()),
        }
    }
    append(&operations.set, HeaderAppend::Overwrite, &mut out, refused);
    append(&operations.add, HeaderAppend::Append, &mut out, refused);
    out
}

fn append(
    values: &BTreeMap<String, String>,
    action: HeaderAppend,
    out: &mut Vec<HeaderMutation>,
    refused: &mut Vec<String>,
) {
    for (name, value) in values.iter().filter(|(n, _)| !is_internal(n)) {
        match (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            (Ok(name), Ok(value)) => out.push(HeaderMutation::Append { name, value, action }),
            _ => refused.push(name.clone()),
        }
    }
}

/// Pseudo-headers and Host are changed by rewrites, not here.
fn is_internal(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}
