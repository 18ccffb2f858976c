//! `/listeners`: names and addresses.

use serde_json::{Value, json};
use varka_engine::ir::Listener;

use super::{Answer, Query};
use crate::state::State;

pub(super) fn listeners(state: &State, query: &Query<'_>) -> Answer {
    let config = state.config();
    let mut all: Vec<&Listener> = config.ir.listeners.values().map(AsRef::as_ref).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let address = |listener: &Listener| state.address(&listener.name).unwrap_or(listener.address);
    if query.get("format").as_deref() == Some("json") {
        let status = |listener: &&Listener| {
            let at = address(listener);
            let local = json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}});
            json!({"name": listener.name, "local_address": local})
        };
        return Answer::json(&json!({"listener_statuses": all.iter().map(status).collect::<Vec<Value>>()}));
    }
    Answer::text(all.iter().map(|listener| format!("{}::{}\n", listener.name, address(listener))).collect::<String>())
}
