//! `/workloads`: whose addresses are, as far as that was looked up.

use serde_json::{Value, json};

use super::{Answer, Query};
use crate::state::State;
use crate::workloads::Whose;

pub(super) fn workloads(state: &State, _: &Query<'_>) -> Answer {
    let known = state.workloads.known();
    let entry = |(address, whose): &(std::net::IpAddr, Option<std::sync::Arc<Whose>>)| {
        let workload = match whose.as_deref() {
            Some(Whose::Workload { workload, .. }) => serde_json::to_value(workload).unwrap_or_default(),
            Some(Whose::Nobody) | None => Value::Null,
        };
        json!({"address": address.to_string(), "answered": whose.is_some(), "workload": workload})
    };
    Answer::json(&json!({"workloads": known.iter().map(entry).collect::<Vec<Value>>()}))
}
