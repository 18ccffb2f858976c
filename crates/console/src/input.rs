//! What reads foreign bytes here, for those who try it (`fuzz`).

use varka_proto::otlp::ExportTraceServiceRequest;

pub use crate::ingest::exposition::{Line, labels as exposition_labels, lines as exposition_lines};
pub use crate::ingest::zipkin::read as zipkin_spans;
use crate::jaeger::query::{self, Wanted};
pub use crate::jaeger::{Invalid, Pairs};
pub use crate::store::spans::Search;

/// Spans of OpenTelemetry in JSON.
pub fn otlp_json(body: &[u8]) -> Option<ExportTraceServiceRequest> {
    serde_json::from_slice(body).ok()
}

/// What Jaeger's interface is asked for; `None`: traces by their ids.
///
/// # Errors
/// A parameter cannot be meant.
pub fn jaeger_search(pairs: &Pairs, now: u64) -> Result<Option<Search>, Invalid> {
    query::operations(pairs).map(drop).or_else(|_| query::dependencies(pairs, now).map(drop))?;
    Ok(match query::traces(pairs, now)? {
        Wanted::Traces(_) => None,
        Wanted::Search(search) => Some(search),
    })
}
