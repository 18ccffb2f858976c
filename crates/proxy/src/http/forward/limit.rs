//! Tells an endpoint how long its answer is waited for, so that it need not work for nobody.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use varka_engine::route::{self, Forward};

use super::Exchange;

const EXPECTED: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Puts the limit of the next attempt into the request; `elapsed`: what earlier ones took.
pub(super) fn tell(x: &mut Exchange<'_>, to: &Forward<'_>, elapsed: Duration) {
    let Some(limit) = route::expected(&to.timeouts, elapsed) else { return };
    let Ok(milliseconds) = u64::try_from(limit.as_millis()) else { return };
    x.head.headers.insert(EXPECTED, HeaderValue::from(milliseconds));
    let by_client = to.action.grpc_timeout_max.is_some() && x.head.is_grpc();
    if by_client && let Ok(value) = HeaderValue::try_from(route::grpc_timeout_text(limit)) {
        x.head.headers.insert(GRPC_TIMEOUT, value);
    }
}
