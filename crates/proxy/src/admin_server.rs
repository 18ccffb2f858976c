//! The admin server on loopback (15000): reads and changes the state of the running proxy. What it answers is in [`crate::admin`].

use std::sync::Arc;

use crate::admin;
use crate::own_server::{OwnAnswer, OwnRequest};
use crate::state::State;

/// Answers one request.
pub(crate) async fn handle(state: Arc<State>, request: OwnRequest) -> OwnAnswer {
    answer(&state, request.head.method.as_str(), request.head.path.as_str(), &request.body)
}

/// The proxy's own metrics, as `/stats/prometheus` has them.
pub(crate) fn metrics(state: &State) -> OwnAnswer {
    let mut answer = answer(state, "GET", "/stats/prometheus", &[]);
    answer.content_type = "text/plain; version=0.0.4";
    answer
}

fn answer(state: &State, method: &str, path_and_query: &str, body: &[u8]) -> OwnAnswer {
    let (status, content_type, body) = admin::handle(state, method, path_and_query, body);
    OwnAnswer { status, content_type, body: body.into(), last: false }
}
