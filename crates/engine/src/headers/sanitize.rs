//! Headers that a client must not decide.

use http::header::{CONNECTION, HeaderMap, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use smallvec::SmallVec;

/// Removed from every request that does not come from inside, which since Envoy 1.33 is every request.
const INTERNAL: [&str; 14] = [
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
    "x-envoy-hedge-on-per-try-timeout",
];

/// Removed at an edge (`use_remote_address`) as well.
const EDGE: [&str; 4] = [
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
];

/// Removes what only a proxy of the mesh may say. `edge`: the connection manager uses the peer's address as the client's.
pub fn sanitize_request(headers: &mut HeaderMap, edge: bool) {
    headers.remove("x-envoy-internal");
    for name in INTERNAL {
        headers.remove(name);
    }
    if edge {
        for name in EDGE {
            headers.remove(name);
        }
    }
}

/// Removes the headers of one connection: `connection` and what it names, `keep-alive`, `proxy-connection`,
/// `transfer-encoding`, and `te` other than `trailers`. With `upgrade`, `connection` and `upgrade` stay.
pub fn strip_hop_by_hop(headers: &mut HeaderMap, upgrade: bool) {
    let mut named: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for line in headers.get_all(CONNECTION) {
        let names = line.to_str().unwrap_or_default().split(',').filter_map(|name| name.trim().parse().ok());
        named.extend(names.filter(|name: &HeaderName| *name != UPGRADE && !is_protected(name)));
    }
    for name in named {
        headers.remove(name);
    }
    if !upgrade {
        headers.remove(CONNECTION);
        headers.remove(UPGRADE);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
    headers.remove(TRANSFER_ENCODING);
    let trailers = headers.get(TE).is_some_and(|te| {
        te.to_str().is_ok_and(|te| te.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers")))
    });
    headers.remove(TE);
    if trailers {
        headers.insert(TE, http::HeaderValue::from_static("trailers"));
    }
}

/// Headers that a client cannot have removed by naming them in `connection`.
fn is_protected(name: &HeaderName) -> bool {
    matches!(name.as_str(), "host" | "content-length" | "te" | "transfer-encoding" | "authorization" | "cookie")
        || name.as_str().starts_with("x-forwarded-")
        || name.as_str().starts_with("x-envoy-")
}
