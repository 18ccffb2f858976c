//! Headers that a client must not decide.

use http::header::{HeaderMap, HeaderName};
use smallvec::SmallVec;

/// What all of them begin with.
const PREFIX: &str = "x-envoy-";

/// Removed from every request that does not come from inside, which since Envoy 1.33 is every request.
const INTERNAL: [&str; 15] = [
    "internal",
    "retriable-status-codes",
    "retriable-header-names",
    "retry-on",
    "retry-grpc-on",
    "max-retries",
    "upstream-alt-stat-name",
    "upstream-rq-timeout-ms",
    "upstream-rq-per-try-timeout-ms",
    "upstream-rq-timeout-alt-response",
    "expected-rq-timeout-ms",
    "force-trace",
    "ip-tags",
    "original-url",
    "hedge-on-per-try-timeout",
];

/// Removed at an edge (`use_remote_address`) as well.
const EDGE: [&str; 4] =
    ["decorator-operation", "downstream-service-cluster", "downstream-service-node", "original-path"];

/// Removes what only a proxy of the mesh may say. `edge`: the connection manager uses the peer's address as the client's.
pub fn sanitize_request(headers: &mut HeaderMap, edge: bool) {
    // Hardly any request has one of them: looking over what there is costs less than looking for each.
    let is_ours = |name: &&HeaderName| {
        let rest = name.as_str().strip_prefix(PREFIX);
        rest.is_some_and(|rest| INTERNAL.contains(&rest) || edge && EDGE.contains(&rest))
    };
    let ours: SmallVec<[HeaderName; 4]> = headers.keys().filter(is_ours).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
}
