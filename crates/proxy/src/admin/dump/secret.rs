//! Secrets: certificates and trust anchors, never a private key.

use std::fmt::Write as _;

use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};

use crate::state::State;

/// `[redacted]` in base64, as Envoy shows a private key.
const REDACTED: &str = "W3JlZGFjdGVkXQ==";

pub(super) fn secrets(state: &State, shown: &dyn Fn(&str) -> bool, updated: &str) -> Value {
    let entries = state.secrets.view().into_iter().filter(|view| shown(&view.name)).filter_map(|view| {
        let body = if view.is_anchor {
            let anchors = state.secrets.anchors(&view.name)?;
            json!({"validation_context": {"trusted_ca": {"inline_bytes": pem_base64(anchors.roots())}}})
        } else {
            let certificate = state.secrets.certificate(&view.name)?;
            json!({"tls_certificate": {
                "certificate_chain": {"inline_bytes": pem_base64(&certificate.key.cert)},
                "private_key": {"inline_bytes": REDACTED},
            }})
        };
        let mut secret = json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            "name": view.name,
        });
        if let (Some(secret), Value::Object(body)) = (secret.as_object_mut(), body) {
            secret.extend(body);
        }
        Some(json!({"name": view.name, "last_updated": updated, "secret": secret}))
    });
    entries.collect::<Vec<_>>().into()
}

/// Certificates as PEM, that as base64: what a `bytes` field is in JSON.
fn pem_base64(chain: &[CertificateDer<'_>]) -> String {
    let mut pem = String::new();
    for der in chain {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = base64(der);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64));
            let _ = writeln!(pem, "{line}");
            rest = after;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    base64(pem.as_bytes())
}

/// Standard base64 with padding.
fn base64(data: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(data)
}
