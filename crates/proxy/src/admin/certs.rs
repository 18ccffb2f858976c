//! `/certs`: every certificate chain with its trust anchors, when it began and when it ends.
//!
//! Beside Envoy's members the certificate that is shown to peers, the first of its chain, has `Valid Until`: the line that people
//! look for with `grep`, so that it must not be found on the authorities' certificates as well.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use varka_identity::CertificateFacts;

use super::{Answer, Query};
use crate::state::State;
use crate::tls::CertificateView;

pub(super) fn certs(state: &State, _: &Query<'_>) -> Answer {
    let views = state.secrets.view();
    let anchors = |name: &str| {
        let found = views.iter().find(|view| view.is_anchor && &*view.name == name);
        found.map(|view| view.chain.iter().map(certificate).collect()).unwrap_or_default()
    };
    let entry = |view: &CertificateView| {
        // The workload's own certificate goes with the mesh's anchors, a gateway's with its own (`NAME-cacert`).
        let ca: Vec<Value> = match &*view.name {
            crate::tls::WORKLOAD => anchors(crate::tls::MESH_ROOTS),
            name => anchors(&format!("{name}-cacert")),
        };
        let mut chain: Vec<Value> = view.chain.iter().map(certificate).collect();
        if let (Some(Value::Object(leaf)), Some(facts)) = (chain.first_mut(), view.chain.first()) {
            leaf.insert("Valid Until".to_owned(), rfc3339(facts.not_after).into());
        }
        json!({"ca_cert": ca, "cert_chain": chain})
    };
    let certificates: Vec<Value> = views.iter().filter(|view| !view.is_anchor).map(entry).collect();
    Answer::json(&json!({ "certificates": certificates }))
}

fn certificate(facts: &CertificateFacts) -> Value {
    let names = facts.uris.iter().map(|uri| json!({ "uri": uri }));
    let names = names.chain(facts.dns_names.iter().map(|dns| json!({ "dns": dns })));
    let names = names.chain(facts.addresses.iter().map(|ip| json!({ "ip_address": ip.to_string() })));
    let days = facts.not_after.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO).as_secs() / 86_400;
    json!({
        "path": "<inline>",
        "serial_number": facts.serial,
        "subject_alt_names": names.collect::<Vec<_>>(),
        "days_until_expiration": days.to_string(),
        "valid_from": rfc3339(facts.not_before),
        "expiration_time": rfc3339(facts.not_after),
    })
}

/// `2026-01-01T00:00:00Z`.
pub(super) fn rfc3339(at: SystemTime) -> String {
    let Ok(at) = jiff::Timestamp::try_from(at) else { return String::new() };
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
