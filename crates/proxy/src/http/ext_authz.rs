//! Asks an authorization service about a request: collects what of the body goes along, asks, and does what it says.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use http::{Method, Version};
use varka_engine::ext_authz::{self, Collected, Verdict};
use varka_engine::facts::Connection;
use varka_engine::ir::{AuthzGrpc, AuthzHttp, AuthzService, ExtAuthz};
use varka_engine::outcome::LocalReply;
use varka_xds::authz;

use super::call::{Answer, Call, call};
use super::downstream::Downstream;
use super::exchange::{Exchange, Halt};
use super::message::RequestHead;
use crate::limit::TARGET;
use crate::pump::{Frame, Source as _};

/// The client has so long to send what of the body goes along.
const COLLECTING: Duration = Duration::from_secs(300);
/// Where gRPC services check.
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Asks about one request.
pub(super) async fn check(
    x: &mut Exchange<'_>,
    down: &mut Downstream,
    facts: &Connection<'_>,
    filter: &ExtAuthz,
) -> Result<(), Halt> {
    if !ext_authz::is_enabled(filter, &x.facts(facts)) {
        return Ok(());
    }
    let body = collect(x, down, filter).await?;
    let (verdict, why) = match ask(x, down, facts, filter, body).await? {
        Ok(verdict) => (verdict, "the service answered with an error".to_owned()),
        Err(why) => (Verdict::Error, why),
    };
    let counters = x.conn.http_stats.as_ref().map(|stats| &stats.counters);
    match verdict {
        Verdict::Allow(allowed) => {
            if let Some(c) = counters {
                c.ext_authz_ok.inc();
            }
            allowed.apply(&mut x.head.headers);
            if !allowed.response_add.is_empty() || !allowed.response_set.is_empty() {
                x.allowed = Some(allowed);
            }
            Ok(())
        }
        Verdict::Deny { status, headers, body } => {
            if let Some(c) = counters {
                c.ext_authz_denied.inc();
            }
            x.why = Some(format!("the authorization service {} denies it with {status}", cluster(filter)));
            Err(LocalReply::ext_authz_denied(status, headers, body).into())
        }
        Verdict::Error => {
            if let Some(c) = counters {
                c.ext_authz_error.inc();
            }
            if filter.failure_mode_allow {
                if let Some(c) = counters {
                    c.ext_authz_failure_mode_allowed.inc();
                }
                if let Some(left_out) = x.conn.worker.shadows.take(std::time::Instant::now()) {
                    let path = varka_engine::facts::split_query(x.head.path.as_str()).0;
                    tracing::info!(target: TARGET, path, left_out, "passes unasked, since failOpen is set: {why}");
                }
                return Ok(());
            }
            x.why = Some(format!("nobody says whether it may pass: {why}"));
            Err(LocalReply::ext_authz_error(filter.status_on_error).into())
        }
    }
}

fn cluster(filter: &ExtAuthz) -> &str {
    match &filter.service {
        AuthzService::Http(http) => &http.cluster,
        AuthzService::Grpc(grpc) => &grpc.cluster,
    }
}

/// What of the body goes along; it stays part of the request.
async fn collect(
    x: &mut Exchange<'_>,
    down: &mut Downstream,
    filter: &ExtAuthz,
) -> Result<Option<(Bytes, bool)>, Halt> {
    let Some(settings) = filter.with_request_body else { return Ok(None) };
    if x.head.upgrade.is_some() || down.received() && x.begun.is_none() {
        return Ok(None);
    }
    let mut begun = x.begun.take().map(|b| *b).unwrap_or_default();
    let mut data = BytesMut::from(&*begun.data);
    let deadline = tokio::time::sleep(COLLECTING);
    tokio::pin!(deadline);
    let partial = loop {
        match ext_authz::collected(&settings, data.len(), begun.ended) {
            Collected::Enough { partial } => break partial,
            Collected::TooLarge => return Err(LocalReply::request_payload_too_large().into()),
            Collected::More => {}
        }
        let frame = poll_fn(|cx| match down.poll_recv(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.map_err(|_| Halt::ClientGone)),
            Poll::Pending => deadline.as_mut().poll(cx).map(|()| Err(LocalReply::request_timeout().into())),
        })
        .await?;
        match frame {
            Frame::Data(more) => data.extend_from_slice(&more),
            Frame::Trailers(trailers) => (begun.ended, begun.trailers) = (true, Some(trailers)),
            Frame::End => begun.ended = true,
        }
    };
    begun.data = data.freeze();
    let most = usize::try_from(settings.max_request_bytes).unwrap_or(usize::MAX);
    let sent = begun.data.slice(..begun.data.len().min(most));
    x.begun = Some(Box::new(begun));
    Ok(Some((sent, partial)))
}

/// Asks, unless the client goes away.
async fn ask(
    x: &Exchange<'_>,
    down: &mut Downstream,
    facts: &Connection<'_>,
    filter: &ExtAuthz,
    body: Option<(Bytes, bool)>,
) -> Result<Result<Verdict, String>, Halt> {
    let asking = async {
        match &filter.service {
            AuthzService::Http(service) => over_http(x, facts, filter, service, body).await,
            AuthzService::Grpc(service) => over_grpc(x, facts, filter, service, body).await,
        }
    };
    let mut asking = Box::pin(asking);
    poll_fn(|cx| {
        if let Poll::Ready(answer) = asking.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        down.poll_gone(cx).map(|()| Err(Halt::ClientGone))
    })
    .await
}

async fn over_http(
    x: &Exchange<'_>,
    facts: &Connection<'_>,
    filter: &ExtAuthz,
    service: &AuthzHttp,
    body: Option<(Bytes, bool)>,
) -> Result<Verdict, String> {
    let (sent, about) = match body {
        Some((data, partial)) => (data.clone(), Some((data.len(), partial))),
        None => (Bytes::new(), None),
    };
    let mut head = RequestHead {
        method: x.head.method.clone(),
        https: false,
        version: Version::HTTP_11,
        headers: ext_authz::check_headers(filter, service, &x.facts(facts), about),
        path: format!("{}{}", service.path_prefix, x.head.path.as_str()).into(),
        authority: x.head.authority.clone(),
        upgrade: None,
    };
    head.headers.insert("x-envoy-internal", HeaderValue::from_static("true"));
    if let (false, Ok(limit)) = (service.timeout.is_zero(), u64::try_from(service.timeout.as_millis())) {
        head.headers.insert("x-envoy-expected-rq-timeout-ms", HeaderValue::from(limit));
    }
    let request = Call { cluster: &service.cluster, head, body: sent, http2: false, timeout: service.timeout };
    let Answer { head, body, .. } = call(x.conn, &x.config, request).await?;
    Ok(match ext_authz::answer(service, head.status, &head.headers, body) {
        Verdict::Error => return Err(format!("{}: the service answered with {}", service.cluster, head.status)),
        verdict => verdict,
    })
}

async fn over_grpc(
    x: &Exchange<'_>,
    facts: &Connection<'_>,
    filter: &ExtAuthz,
    service: &AuthzGrpc,
    body: Option<(Bytes, bool)>,
) -> Result<Verdict, String> {
    let as_bytes = filter.with_request_body.is_some_and(|b| b.as_bytes);
    let time = x.started_at().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let about = authz::About { time, body: body.as_ref().map(|(data, partial)| (&**data, *partial)), as_bytes };
    let message = authz::check_request(filter, &x.facts(facts), &about);
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(&message);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    let millis = service.timeout.as_millis().min(99_999_999);
    if let Ok(limit) = HeaderValue::try_from(format!("{millis}m"))
        && millis > 0
    {
        headers.insert(HeaderName::from_static("grpc-timeout"), limit);
    }
    let authority = if service.authority.is_empty() { &service.cluster } else { &service.authority };
    let head = RequestHead {
        method: Method::POST,
        https: false,
        version: Version::HTTP_2,
        headers,
        path: CHECK.into(),
        authority: (&**authority).into(),
        upgrade: None,
    };
    let request =
        Call { cluster: &service.cluster, head, body: framed.freeze(), http2: true, timeout: service.timeout };
    let Answer { head, body, trailers } = call(x.conn, &x.config, request).await?;
    let status = trailers.as_deref().and_then(grpc_status).or_else(|| grpc_status(&head.headers));
    let unframed = body.first_chunk::<5>().map(|[compressed, a, b, c, d]| {
        (*compressed, usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX))
    });
    match (head.status, status, unframed) {
        (200, Some(0), Some((0, length))) => {
            let message = body.get(5..).and_then(|rest| rest.get(..length));
            message.and_then(authz::verdict).ok_or_else(|| format!("{}: not a CheckResponse", service.cluster))
        }
        (http, grpc, _) => Err(format!("{}: status {http}, gRPC status {grpc:?}", service.cluster)),
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}
