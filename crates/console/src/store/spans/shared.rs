//! Two sides of a call that share an id, as Zipkin's clients make them, told apart as Jaeger does it.
//!
//! The server's span gets an id that no other span of the trace has, the client's becomes its parent, and what lies below the shared
//! id lies below the server's.

use std::collections::{HashMap, HashSet};

use super::Found;

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// `all`: the spans of one trace.
pub(crate) fn tell_apart(all: &mut [Found]) {
    let spans: &[Found] = all;
    let of = |kind: i32| spans.iter().filter(move |f| f.span.kind == kind).map(|f| f.span.span_id.clone());
    let clients: HashSet<Vec<u8>> = of(CLIENT).collect();
    let mut shared: Vec<Vec<u8>> = of(SERVER).filter(|id| clients.contains(id)).collect();
    if shared.is_empty() {
        return;
    }
    shared.sort();
    shared.dedup();
    let used: HashSet<&[u8]> = spans.iter().map(|found| found.span.span_id.as_slice()).collect();
    let free = (1_u64..).map(|number| number.to_be_bytes().to_vec()).filter(|id| !used.contains(id.as_slice()));
    let renamed: HashMap<Vec<u8>, Vec<u8>> = shared.into_iter().zip(free).collect();
    for found in all {
        let span = &mut found.span;
        let own = renamed.get(&span.span_id).filter(|_| span.kind == SERVER);
        if let Some(own) = own {
            span.parent_span_id = std::mem::replace(&mut span.span_id, own.clone());
        } else if let Some(parent) = renamed.get(&span.parent_span_id) {
            span.parent_span_id.clone_from(parent);
        }
    }
}
