//! From a route to an endpoint and back: the request as the endpoint gets it, attempts, the response as the client gets it.

mod failure;
mod limit;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use varka_engine::facts::Connection;
use varka_engine::ir::{ClusterProtocol, Discovery};
use varka_engine::outcome::{Flag, LocalReply, Outcome, ResetReason, ResponseFlags};
use varka_engine::retry::{self, Verdict};
use varka_engine::route::{Forward, RouteDecision};
use varka_engine::{balance, cors, headers, host, route};

use failure::{Failure, halt, reset};

use super::body::{Attempt, RequestBody};
use super::downstream::Downstream;
use super::exchange::{Exchange, Halt, request_facts};
use super::grpc::Messages;
use super::message::ResponseHead;
use super::request::Filtered;
use super::{mirror, reply};
use crate::cluster::{ClusterState, Picked, Want};
use crate::deadline::Deadlines;
use crate::pool::{ClusterPool, NoConnection, Target, Upstream};
use crate::pump::{Broken, End, Flow, poll_direction};
use crate::{on_demand, peer};

const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// A request that is being forwarded.
struct Forwarding<'a> {
    decision: &'a RouteDecision<'a>,
    to: &'a Forward<'a>,
    filtered: &'a Filtered<'a>,
    cluster: Arc<ClusterState>,
    pool: Rc<ClusterPool>,
    body: RequestBody,
    deadlines: Deadlines,
    hash: Option<u64>,
    /// Address of the host, where the cluster wants it resolved.
    resolved: Option<SocketAddr>,
    /// Endpoints that were tried.
    tried: Vec<SocketAddr>,
    /// Pieces of the kept body that the current attempt was sent.
    at: usize,
}

/// Sends the request to the route's cluster and the response to the client.
pub(crate) async fn forward(
    x: &mut Exchange<'_>,
    down: &mut Downstream,
    facts: &Connection<'_>,
    decision: &RouteDecision<'_>,
    to: &Forward<'_>,
    filtered: &Filtered<'_>,
) -> Result<Outcome, Halt> {
    allow_upgrade(x, to)?;
    let name = &to.destination.cluster;
    let state = &x.worker().state;
    let cluster = match on_demand::held(state, &x.config, name) {
        Some(cluster) => cluster,
        None => {
            let found = Box::pin(on_demand::cluster(state, &x.config, name)).await;
            let found = found.map_err(|why| why.reply(&format!("cluster {name}")))?;
            let not_found = || LocalReply::cluster_not_found(to.action.cluster_not_found_status);
            x.config = state.config();
            found.ok_or_else(not_found)?
        }
    };
    let key = balance::hash_key(&to.action.hash_policy, &x.facts(facts));
    rewrite(x, facts, decision, to);
    limit::tell(x, to, Duration::ZERO);
    if let Some(traced) = &x.traced {
        traced.tell_endpoint(&mut x.head.headers);
    }
    let limit = decision.route.and_then(|r| r.max_request_bytes);
    let mut body = RequestBody::new(to.action.retry.is_some(), limit, down.received(), x.head.is_grpc());
    if let Some(begun) = x.begun.take() {
        body.begin_with(*begun);
    }
    let mut f = Forwarding {
        pool: x.worker().pools.get(&cluster, &x.worker().state),
        body,
        deadlines: Deadlines::new(to.timeouts, x.manager().stream_idle_timeout, x.manager().request_timeout),
        decision,
        to,
        filtered,
        cluster,
        hash: key.hash,
        resolved: None,
        tried: Vec::new(),
        at: 0,
    };
    for mirror in route::mirrors(to.action, rand::random) {
        mirror::start(x, mirror, filtered.alpn, &mut f.body);
    }
    if filtered.dynamic && matches!(f.cluster.config.discovery, Discovery::DynamicForwardProxy) {
        // Boxed, so that requests to other clusters do not pay for it.
        f.resolved = Some(Box::pin(resolve(x, down, &mut f)).await?);
    }
    let answered = attempts(x, down, &mut f).await;
    x.request_duration = f.deadlines.completed().map(|at| at.saturating_duration_since(x.started.into()));
    let (upstream, picked, mut response) = answered?;
    x.response_duration = Some(x.started.elapsed());
    learn_endpoint(x, &mut response);
    prepare_response(x, facts, &f, &mut response, key.set_cookie);
    respond(x, down, &mut f, upstream, picked, response).await
}

/// The address of the host that the request asks for; without a port, that of the cluster's transport.
async fn resolve(x: &Exchange<'_>, down: &mut Downstream, f: &mut Forwarding<'_>) -> Result<SocketAddr, Halt> {
    let authority = x.head.authority.as_str();
    let name = host::without_port(authority);
    let default = if f.cluster.config.tls.is_some() { 443 } else { 80 };
    let port = authority.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')?.parse().ok()).unwrap_or(default);
    let resolving = x.worker().names.resolve(name, port);
    let found = guarded(down, &mut f.deadlines, resolving).await.map_err(|failure| halt(failure, false))?;
    found.ok_or_else(|| LocalReply::dns_failure().into())
}

/// An upgrade needs the leave of the route or the connection manager.
fn allow_upgrade(x: &Exchange<'_>, to: &Forward<'_>) -> Result<(), Halt> {
    let Some(upgrade) = x.head.upgrade.as_ref().map(super::Ascii::as_str) else { return Ok(()) };
    let by_route = to.action.upgrades.iter().find(|u| u.kind.eq_ignore_ascii_case(upgrade)).map(|u| u.enabled);
    let by_manager = || x.manager().upgrades.iter().any(|u| u.eq_ignore_ascii_case(upgrade));
    if by_route.unwrap_or_else(by_manager) { Ok(()) } else { Err(LocalReply::upgrade_failed().into()) }
}

/// The request as the endpoint gets it: path, authority, headers of the route.
fn rewrite(x: &mut Exchange<'_>, facts: &Connection<'_>, decision: &RouteDecision<'_>, to: &Forward<'_>) {
    if decision.virtual_host.include_attempt_count {
        x.head.headers.insert(ATTEMPT_COUNT, HeaderValue::from_static("1"));
    }
    let before = x.head.clone();
    let mut map = std::mem::take(&mut x.head.headers);
    let original = request_facts(&before, facts, x.client, &x.metadata);
    let values = headers::RequestValues {
        request: &original,
        route_name: decision.route_name(),
        cluster: &to.destination.cluster,
    };
    let set_host = headers::apply_request(decision, &mut map, &values);
    if let Some(route) = decision.route {
        let new = route::rewrite(route, to.action, to.destination, &original);
        let host = new.authority.as_deref().map(str::to_owned);
        let host = set_host.and_then(|v| v.to_str().ok().map(str::to_owned)).or(host);
        if let Some(host) = host.filter(|h| h != before.authority.as_str()) {
            if let Ok(old) = HeaderValue::from_str(before.authority.as_str()) {
                if new.append_x_forwarded_host {
                    map.append(FORWARDED_HOST, old.clone());
                }
                map.insert(ORIGINAL_HOST, old);
            }
            x.head.authority = host.into();
        }
        if let Some(path) = new.path {
            if let Ok(old) = HeaderValue::from_str(before.path.as_str()) {
                map.insert(ORIGINAL_PATH, old);
            }
            x.head.path = path.into();
        }
    }
    x.head.headers = map;
}

/// Tries until there is a response to give to the client.
async fn attempts(
    x: &mut Exchange<'_>,
    down: &mut Downstream,
    f: &mut Forwarding<'_>,
) -> Result<(Upstream, Picked, ResponseHead), Halt> {
    let policy = f.to.action.retry.as_ref();
    let mut number = 1;
    let mut retry_permit = None;
    loop {
        let tried = attempt(x, down, f).await;
        x.bytes_received = f.body.received();
        x.messages[0] = f.body.messages();
        drop(retry_permit.take());
        let outcome = match &tried {
            Ok((_, _, response)) => {
                Some(retry::Attempt::Response { status: response.status, headers: &response.headers })
            }
            Err(Failure::Reset { reason, started, .. }) => {
                Some(retry::Attempt::Reset { reason: *reason, request_started: *started })
            }
            Err(Failure::PerTry) => Some(retry::Attempt::PerTryTimeout),
            Err(_) => None,
        };
        let verdict = match (policy, outcome) {
            (Some(policy), Some(outcome)) if f.body.can_repeat() && retry::is_retriable(policy, &outcome) => {
                retry_permit = f.cluster.retry();
                retry::decide(policy, number, &outcome, retry_permit.is_some(), rand::random())
            }
            _ => Verdict::No,
        };
        match verdict {
            Verdict::After(pause) => {
                drop(tried);
                f.deadlines.end_attempt();
                wait(down, f, pause).await.map_err(|failure| halt(failure, false))?;
                number += 1;
                if x.head.headers.contains_key(ATTEMPT_COUNT) {
                    x.head.headers.insert(ATTEMPT_COUNT, HeaderValue::from(number));
                }
                limit::tell(x, f.to, x.started.elapsed());
                continue;
            }
            Verdict::LimitExceeded => x.flags.insert(Flag::UpstreamRetryLimitExceeded),
            Verdict::Overflow => x.flags.insert(Flag::UpstreamOverflow),
            Verdict::No => {}
        }
        return tried.map_err(|failure| {
            if let Failure::Reset { transport, .. } = &failure {
                x.upstream.failure.clone_from(transport);
            }
            halt(failure, number > 1)
        });
    }
}

/// Waits before a retry, unless the client goes away or the time is up.
async fn wait(down: &mut Downstream, f: &mut Forwarding<'_>, pause: Duration) -> Result<(), Failure> {
    let sleep = tokio::time::sleep(pause);
    guarded(down, &mut f.deadlines, sleep).await
}

/// Runs `work` unless the client goes away or the time is up.
async fn guarded<T>(
    down: &mut Downstream,
    deadlines: &mut Deadlines,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        if down.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        deadlines.poll(cx).map(|which| Err(which.into()))
    })
    .await
}

/// One attempt: pick, connect, send, and wait for the response head.
async fn attempt(
    x: &mut Exchange<'_>,
    down: &mut Downstream,
    f: &mut Forwarding<'_>,
) -> Result<(Upstream, Picked, ResponseHead), Failure> {
    let avoid = f.to.action.retry.as_ref().filter(|r| r.avoid_previous_hosts);
    let want = Want {
        hash: f.hash,
        tried: &f.tried,
        reselections: avoid.map_or(0, |r| r.host_selection_attempts),
        leave_priorities: f.to.action.retry.as_ref().is_some_and(|r| r.remote_localities),
        original_dst: x.conn.seen.original_dst,
        request: Some(&x.head),
        resolved: f.resolved,
    };
    let picked = f.cluster.pick(&want).ok_or(Failure::NoEndpoint)?;
    x.upstream.attempts += 1;
    f.tried.push(picked.address);
    x.upstream.host = Some(picked.address);
    x.upstream.peer.clone_from(&picked.peer);
    x.upstream.secured = None;
    if f.to.action.rewrite.auto_authority
        && let Some(name) = &picked.name
    {
        x.head.authority = (&**name).into();
    }
    let http2 = match f.cluster.config.http.protocol {
        ClusterProtocol::Http1 => false,
        ClusterProtocol::Http2 => true,
        ClusterProtocol::Downstream => x.head.version == http::Version::HTTP_2,
    };
    let mesh = f.pool.is_mesh(picked.tls_mode.as_deref());
    if f.filtered.tell_upstream {
        // An attempt may go to an endpoint of the mesh and the next to one outside.
        peer::take(&mut x.head.headers);
        if mesh {
            x.worker().state.own.tell(&mut x.head.headers);
        }
    }
    let target = Target {
        address: picked.address,
        tls_mode: picked.tls_mode.as_deref(),
        http2,
        alpn: f.filtered.alpn.filter(|_| mesh).map(|offer| if http2 { &*offer.http2 } else { &*offer.http11 }),
        host: host::without_port(x.head.authority.as_str()),
        proxy: Some(&x.conn.seen),
    };
    f.deadlines.begin_attempt(f.body.ended());
    let no_body = f.body.is_empty() && x.head.upgrade.is_none();
    let starting = start(&f.pool, &target, &x.head, no_body);
    let mut upstream = match guarded(down, &mut f.deadlines, starting).await? {
        Ok(upstream) => upstream,
        Err(NoConnection::Overflow) => {
            return Err(Failure::Reset { reason: ResetReason::Overflow, started: false, transport: String::new() });
        }
        Err(NoConnection::Failed(e)) => {
            picked.report(Err(e.reason));
            return Err(Failure::Reset { reason: e.reason, started: false, transport: e.transport });
        }
    };
    x.upstream.local = upstream.local_addr();
    x.upstream.secured = upstream.secured().cloned();
    let sent = exchange_heads(x, down, f, &mut upstream).await;
    match &sent {
        Ok(response) => picked.report(Ok(response.status)),
        Err(Failure::Reset { reason, .. }) => picked.report(Err(*reason)),
        Err(Failure::PerTry | Failure::Route) => picked.report_timeout(),
        Err(_) => {}
    }
    sent.map(|response| (upstream, picked, response))
}

/// Takes out what the endpoint says of itself, and believes it if the mesh vouches for it. What is not asked for is left alone
/// towards the application, and never reaches a client.
fn learn_endpoint(x: &mut Exchange<'_>, response: &mut ResponseHead) {
    if let Some(traced) = &mut x.traced {
        traced.hear_endpoint(&mut response.headers);
    }
    let Some(said) = peer::take(&mut response.headers) else { return };
    if x.upstream.secured.as_ref().is_some_and(|s| s.mesh)
        && let Some(peer) = x.worker().peers.peer(said)
    {
        x.upstream.peer = Some(peer);
    }
}

/// Sends the request and reads the response head.
async fn exchange_heads(
    x: &mut Exchange<'_>,
    down: &mut Downstream,
    f: &mut Forwarding<'_>,
    upstream: &mut Upstream,
) -> Result<ResponseHead, Failure> {
    let no_body = f.body.is_empty() && x.head.upgrade.is_none();
    let h2 = matches!(upstream, Upstream::H2(_));
    let http1 = matches!(down, Downstream::H1(_));
    let mut sending = Flow { ended: no_body, ..Flow::default() };
    let (mut send_error, mut flushed) = (None, false);
    f.at = 0;
    poll_fn(|cx| {
        if send_error.is_none() && !flushed {
            let mut source = Attempt { down, body: &mut f.body, at: &mut f.at };
            match poll_direction(&mut source, upstream, &mut sending, cx) {
                Poll::Ready(Err((End::Source, _))) if f.body.too_large() => return Poll::Ready(Err(Failure::TooLarge)),
                Poll::Ready(Err((End::Source, Broken::Protocol))) if http1 => {
                    return Poll::Ready(Err(Failure::Malformed));
                }
                Poll::Ready(Err((End::Source, _))) => return Poll::Ready(Err(Failure::ClientGone)),
                // The endpoint may have answered before it closed: its answer counts.
                Poll::Ready(Err((End::Sink, e))) => send_error = Some(e),
                Poll::Ready(Ok(())) => flushed = true,
                Poll::Pending => {}
            }
        }
        if sending.ended {
            f.deadlines.request_complete();
        }
        match upstream.poll_response(cx) {
            Poll::Ready(Ok(response)) => return Poll::Ready(Ok(response)),
            Poll::Ready(Err(e)) => return Poll::Ready(Err(reset(send_error.unwrap_or(e), h2))),
            Poll::Pending => {}
        }
        if down.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        f.deadlines.poll_moving(cx, sending.bytes).map(|which| Err(which.into()))
    })
    .await
}

/// Gets a connection and queues the head on it. A shared connection may have begun to close in the meantime: nothing was
/// sent, so the next one is taken.
async fn start(
    pool: &Rc<ClusterPool>,
    target: &Target<'_>,
    head: &super::RequestHead,
    no_body: bool,
) -> Result<Upstream, NoConnection> {
    loop {
        let mut upstream = pool.acquire(target).await?;
        if upstream.start(head, no_body).is_ok() {
            return Ok(upstream);
        }
    }
}

/// The response as the client gets it.
fn prepare_response(
    x: &Exchange<'_>,
    facts: &Connection<'_>,
    f: &Forwarding<'_>,
    response: &mut ResponseHead,
    cookie: Option<HeaderValue>,
) {
    let waited = f.deadlines.since_complete().unwrap_or_else(|| x.started.elapsed());
    let millis = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
    response.headers.insert(SERVICE_TIME, HeaderValue::from(millis));
    let request = x.facts(facts);
    let values = headers::RequestValues {
        request: &request,
        route_name: f.decision.route_name(),
        cluster: &f.to.destination.cluster,
    };
    headers::apply_response(f.decision, &mut response.headers, &values);
    if let Some(cookie) = cookie {
        response.headers.append(http::header::SET_COOKIE, cookie);
    }
    if let Some((policy, origin)) = &f.filtered.cors {
        cors::apply_response(policy, origin, &mut response.headers);
    }
    if let Some(allowed) = &x.allowed {
        allowed.apply_response(&mut response.headers);
    }
    reply::finish_headers(x, &mut response.headers);
}

/// Sends the response, while the request's rest still goes the other way.
async fn respond(
    x: &mut Exchange<'_>,
    down: &mut Downstream,
    f: &mut Forwarding<'_>,
    mut upstream: Upstream,
    picked: Picked,
    mut response: ResponseHead,
) -> Result<Outcome, Halt> {
    let tunnel = match (&x.head.upgrade, &upstream) {
        (None, _) => x.head.method == http::Method::CONNECT && (200..300).contains(&response.status),
        (Some(_), Upstream::H1(_)) => response.status == 101,
        (Some(_), Upstream::H2(_)) => response.status == 200,
    };
    if tunnel && let Some(upgrade) = &x.head.upgrade {
        response.status = 101;
        if let Ok(value) = HeaderValue::from_str(upgrade.as_str()) {
            response.headers.insert(http::header::UPGRADE, value);
        }
    }
    if x.conn.should_close() {
        down.close_after();
    }
    x.status = response.status;
    let end = upstream.received() && !tunnel;
    let head_sent = down.send_head(&response, end);
    x.response = response.headers;
    head_sent.map_err(|_| Halt::ClientGone)?;
    let messages = x.head.is_grpc().then(Messages::default);
    let mut back = Flow { ended: end, messages, ..Flow::default() };
    let mut there = Flow { ended: f.body.ended() && !tunnel, ..Flow::default() };
    let mut there_done = false;
    let moved = poll_fn(|cx| {
        if !there_done && (tunnel || !f.body.ended()) {
            let mut source = Attempt { down, body: &mut f.body, at: &mut f.at };
            match poll_direction(&mut source, &mut upstream, &mut there, cx) {
                Poll::Ready(Err((End::Source, _))) => return Poll::Ready(Err(Halt::ClientGone)),
                Poll::Ready(_) => there_done = true,
                Poll::Pending => {}
            }
        }
        if there.ended && !tunnel {
            // An answer that began before its request was whole: the route's time runs from here as well.
            f.deadlines.request_complete();
        }
        match poll_direction(&mut upstream, down, &mut back, cx) {
            Poll::Ready(Ok(())) if tunnel && !there_done => {}
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err((End::Source, e))) => {
                return Poll::Ready(Err(Halt::BrokeOff(broke_off(x.status, e, &upstream))));
            }
            Poll::Ready(Err((End::Sink, _))) => return Poll::Ready(Err(Halt::ClientGone)),
            Poll::Pending => {}
        }
        if !tunnel && !back.ended && down.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Halt::ClientGone));
        }
        f.deadlines.poll_response(cx, back.bytes + there.bytes).map(|which| {
            let mut outcome = Outcome::upstream_broke_off(x.status, ResetReason::LocalReset);
            outcome.flags = ResponseFlags::of(which.flag());
            Err(Halt::BrokeOff(outcome))
        })
    })
    .await;
    x.bytes_sent = back.bytes;
    x.messages = [f.body.messages(), back.messages.as_ref().map_or(0, Messages::count)];
    x.trailers = back.trailers;
    x.bytes_received = f.body.received().max(there.bytes);
    drop(picked);
    moved?;
    let mut outcome = Outcome::via_upstream(x.status);
    outcome.flags = x.flags;
    Ok(outcome)
}

/// The endpoint broke off inside the body.
fn broke_off(status: u16, e: Broken, upstream: &Upstream) -> Outcome {
    let reason = match (upstream, e) {
        (Upstream::H1(_), _) | (_, Broken::Protocol) => ResetReason::ProtocolError,
        (Upstream::H2(_), Broken::Closed) => ResetReason::ConnectionTermination,
        (Upstream::H2(_), _) => ResetReason::RemoteReset,
    };
    Outcome::upstream_broke_off(status, reason)
}
