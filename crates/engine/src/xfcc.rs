//! `x-forwarded-client-cert`: whose certificate the client showed, for the application to read.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::facts::{Connection, PeerIdentity};
use crate::ir::ClientCertForwarding;

#[cfg(test)]
mod tests;

const NAME: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// Removes, keeps, sets or appends the header as configured. Without a client certificate nothing that the client sent stays,
/// unless it is always forwarded.
pub fn apply(how: ClientCertForwarding, connection: &Connection<'_>, headers: &mut HeaderMap) {
    let peer = match (how, connection.peer_identity) {
        (ClientCertForwarding::AlwaysForward, _) | (ClientCertForwarding::ForwardOnly, Some(_)) => return,
        (ClientCertForwarding::AppendForward | ClientCertForwarding::SanitizeSet, Some(peer)) => peer,
        (ClientCertForwarding::Sanitize, _) | (_, None) => {
            headers.remove(NAME);
            return;
        }
    };
    let mut text = String::new();
    if how == ClientCertForwarding::AppendForward {
        for line in headers.get_all(NAME) {
            text.push_str(line.to_str().unwrap_or_default());
            text.push(',');
        }
    }
    element(connection.local_identity, peer, &mut text);
    match HeaderValue::try_from(text) {
        Ok(value) => headers.insert(NAME, value),
        Err(_) => headers.remove(NAME),
    };
}

/// `By=...;Hash=...;Subject="...";URI=...;DNS=...`.
fn element(local: Option<&str>, peer: &PeerIdentity, out: &mut String) {
    if let Some(local) = local {
        let _ = write!(out, "By={local};");
    }
    let _ = write!(out, "Hash={};Subject=\"{}\"", peer.sha256, peer.subject.replace('"', "\\\""));
    if peer.uri_sans.is_empty() {
        out.push_str(";URI=");
    }
    for uri in &peer.uri_sans {
        let _ = write!(out, ";URI={uri}");
    }
    for dns in &peer.dns_sans {
        let _ = write!(out, ";DNS={dns}");
    }
}
