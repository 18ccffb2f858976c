//! The path of one request, phase by phase, in the order in which Envoy's filters run.
//!
//! [`serve`] calls the phases; each asks the engine and does what it says. A phase that does not let the request go on says
//! so with [`Halt`], and the request is answered and recorded all the same.

use http::Method;
use varka_engine::facts::Connection;
use varka_engine::host::RouteIndex;
use varka_engine::ir::{AlpnOverride, Cors, HttpFilter, PeerMetadata, Route, TrafficDirection};
use varka_engine::outcome::{LocalReply, Outcome};
use varka_engine::path::Normalized;
use varka_engine::route::{self, Decided, NoRoute, RouteDecision};
use varka_engine::trace::Trace;
use varka_engine::{cors, fault, headers, path, request_id, xfcc, xff};

use super::downstream::Downstream;
use super::exchange::{Exchange, Halt};
use super::message::RequestHead;
use super::{ext_authz, filters, forward, reply};
use crate::conn::Conn;
use crate::in_flight::InFlight;
use crate::{on_demand, peer, spans};

/// Serves one request: everything between its head and its access log line. `true`: the client gave it up before any answer.
pub(crate) async fn serve(conn: &Conn, down: &mut Downstream, head: RequestHead) -> bool {
    let mut x = Exchange::new(conn, head);
    let mut given_up = false;
    let outcome = match run(&mut x, down).await {
        Ok(outcome) => outcome,
        Err(Halt::Reply(reply) | Halt::Answer(reply)) => reply::send(&mut x, down, *reply).await,
        Err(Halt::ClientGone) => {
            let reset = down.was_reset();
            down.abort();
            given_up = x.status == 0;
            if reset { Outcome::client_reset(x.status) } else { Outcome::client_gone(x.status) }
        }
        Err(Halt::BrokeOff(outcome)) => {
            down.abort();
            outcome
        }
    };
    x.record(&outcome);
    given_up
}

/// The phases, in order.
async fn run(x: &mut Exchange<'_>, down: &mut Downstream) -> Result<Outcome, Halt> {
    check_head(x)?;
    identify_client(x);
    normalise_path(x)?;
    let table = x.config.routes(&x.conn.chain);
    let facts = x.conn.facts();
    let asked;
    let (table, mut decision) = match find_route(x, &facts, table.as_deref()) {
        Err(NoRoute::NotAsked) => {
            asked = Box::pin(on_demand::routes(x)).await?;
            (asked.as_deref(), find_route(x, &facts, asked.as_deref()))
        }
        known => (table.as_deref(), known),
    };
    let filtered = run_filters(x, down, &facts, table, &mut decision).await;
    let Ok(decision) = decision else {
        filtered?;
        return Err(LocalReply::route_not_found().into());
    };
    let mut done = follow(x, down, &facts, &decision, filtered).await;
    if let Err(Halt::Reply(reply)) = &mut done {
        add_route_headers(x, &facts, &decision, reply);
    }
    done
}

/// Does what the route says, if the filters let the request pass.
async fn follow<'a>(
    x: &mut Exchange<'_>,
    down: &mut Downstream,
    facts: &Connection<'_>,
    decision: &RouteDecision<'_>,
    filtered: Result<Filtered<'a>, Halt>,
) -> Result<Outcome, Halt> {
    // A route that sends nothing on has no headers for what a filter answers.
    let denied = |halt| match (halt, &decision.action) {
        (Halt::Reply(reply), Decided::Redirect { .. } | Decided::Direct(_)) => Halt::Answer(reply),
        (halt, _) => halt,
    };
    let filtered = filtered.map_err(denied)?;
    match &decision.action {
        Decided::Forward(to) => forward::forward(x, down, facts, decision, to, &filtered).await,
        Decided::Redirect { status, location } => Err(LocalReply::redirect(*status, location).into()),
        Decided::Direct(response) => Err(LocalReply::direct(response).into()),
    }
}

/// What HTTP itself asks of a head.
fn check_head(x: &mut Exchange<'_>) -> Result<(), Halt> {
    if x.head.authority.as_str().is_empty() {
        return Err(LocalReply::missing_host().into());
    }
    if x.manager().strip_trailing_host_dot
        && let Some(host) = without_final_dot(x.head.authority.as_str())
    {
        x.head.authority = host.into();
    }
    if !x.head.path.as_str().starts_with('/') && !x.head.path.as_str().is_empty() && x.head.method != Method::CONNECT {
        return Err(LocalReply::absolute_path_rejected().into());
    }
    if x.head.path.as_str().is_empty() && x.head.method != Method::CONNECT {
        return Err(LocalReply::path_normalization_failed().into());
    }
    Ok(())
}

/// `blog.example.:443` becomes `blog.example:443`; `None`: there is no final dot.
fn without_final_dot(authority: &str) -> Option<String> {
    let host = varka_engine::host::without_port(authority);
    let port = authority.get(host.len()..).unwrap_or_default();
    host.strip_suffix('.').map(|host| format!("{host}{port}"))
}

/// Who the client is, what it may say of itself, and the request's identifier.
fn identify_client(x: &mut Exchange<'_>) {
    let manager = x.manager();
    let mut map = std::mem::take(&mut x.head.headers);
    let facts = x.conn.facts();
    headers::sanitize_request(&mut map, manager.use_remote_address);
    let client = xff::client(manager, &facts, &map);
    request_id::ensure(manager, &mut map, rand::random());
    if let Some(tracing) = &manager.tracing {
        let room = || spans::room(&x.worker().state, &tracing.provider, x.started);
        let traced = spans::begin(tracing, x.conn.chain.direction(), &mut map, room);
        if x.conn.chain.direction() == TrafficDirection::Inbound {
            x.in_flight = Some(InFlight::begin(&x.worker().state, traced.context()));
        }
        x.traced = Some(Box::new(traced));
    }
    xff::apply(&client, &mut map);
    xfcc::apply(manager.client_cert, &facts, &mut map);
    x.client = client.address;
    x.head.https = client.scheme == "https";
    x.head.headers = map;
}

/// Brings the path to its normal form, before anything looks at it.
fn normalise_path(x: &mut Exchange<'_>) -> Result<(), Halt> {
    let changed = match path::normalize(x.head.path.as_str(), x.manager().path) {
        Normalized::Path(std::borrow::Cow::Borrowed(same)) if same.len() == x.head.path.as_str().len() => None,
        Normalized::Path(new) => Some(new.into_owned()),
        Normalized::Redirect(to) => return Err(LocalReply::redirect(307, &to).into()),
        Normalized::Rejected => return Err(LocalReply::path_normalization_failed().into()),
    };
    if let Some(new) = changed {
        x.head.path = new.into();
    }
    Ok(())
}

/// Host, then route, then destination.
fn find_route<'t>(
    x: &mut Exchange<'_>,
    facts: &Connection<'_>,
    table: Option<&'t RouteIndex>,
) -> Result<RouteDecision<'t>, NoRoute> {
    let Some(table) = table else {
        let on_demand = x.worker().state.names().is_some();
        return Err(if on_demand { NoRoute::NotAsked } else { NoRoute::VirtualHost });
    };
    let decision = route::decide(table, &x.facts(facts), rand::random(), &mut Trace::off())?;
    x.route = decision.route.map(|r| std::sync::Arc::clone(&r.name));
    x.upstream.cluster = decision.cluster().cloned();
    if let Some(traced) = &mut x.traced {
        traced.operation = decision.route.and_then(|r| r.operation.clone());
    }
    Ok(decision)
}

/// What the filters leave for later phases.
#[derive(Debug, Default)]
pub(crate) struct Filtered<'a> {
    /// Policy and origin whose headers the response gets.
    pub cors: Option<(&'a Cors, http::HeaderValue)>,
    /// Protocols to offer to mesh endpoints.
    pub alpn: Option<&'a AlpnOverride>,
    /// Hosts may be resolved for clusters that want it.
    pub dynamic: bool,
    /// Mesh endpoints are told who we are, and tell us.
    pub tell_upstream: bool,
}

/// The connection manager's filters, in its order. One that learns what routes ask for has the route looked for once more.
async fn run_filters<'t, 'c: 't>(
    x: &mut Exchange<'c>,
    down: &mut Downstream,
    facts: &Connection<'_>,
    table: Option<&'t RouteIndex>,
    decision: &mut Result<RouteDecision<'t>, NoRoute>,
) -> Result<Filtered<'t>, Halt> {
    let mut filtered = Filtered::default();
    let mut unasked = Vec::new();
    for filter in &x.manager().filters {
        let route: Option<&'t Route> = decision.as_ref().ok().and_then(|d| d.route);
        match filter {
            // Without a route there is nothing to be authorized for: the answer is 404, unless a token shows one.
            HttpFilter::ExtAuthz(filter) if decision.is_err() => unasked.push(filter),
            HttpFilter::ExtAuthz(filter) => Box::pin(ext_authz::check(x, down, facts, filter)).await?,
            HttpFilter::Jwt(config) => {
                if filters::authenticate(x, facts, config)? {
                    *decision = find_route(x, facts, table);
                    let asked_now = if decision.is_ok() { std::mem::take(&mut unasked) } else { Vec::new() };
                    for filter in asked_now {
                        Box::pin(ext_authz::check(x, down, facts, filter)).await?;
                    }
                }
            }
            HttpFilter::Rbac(rules) => {
                filters::authorize(x, facts, route.and_then(|r| r.rbac.as_ref()).unwrap_or(rules))?;
            }
            HttpFilter::Fault => {
                if let Some(fault) = route.and_then(|r| r.fault.as_ref()) {
                    // Few requests have one; the others must not pay for its future.
                    Box::pin(filters::inject(x, &fault::decide(fault, [rand::random(), rand::random()]))).await?;
                }
            }
            HttpFilter::Cors => {
                if let Some(policy) = route.and_then(|r| r.cors.as_ref()) {
                    match cors::decide(policy, &x.facts(facts)) {
                        cors::Decision::Pass => {}
                        cors::Decision::Annotate(origin) => filtered.cors = Some((policy, origin)),
                        cors::Decision::Preflight(headers) => {
                            return Err(Halt::Answer(Box::new(LocalReply::cors_preflight(headers))));
                        }
                    }
                }
            }
            HttpFilter::Alpn(alpn) => filtered.alpn = Some(alpn),
            HttpFilter::DynamicForwardProxy => filtered.dynamic = true,
            HttpFilter::PeerMetadata(exchange) => {
                filtered.tell_upstream = exchange.upstream;
                learn_peer(x, exchange);
            }
            HttpFilter::GrpcStats | HttpFilter::Stats(_) => {}
        }
    }
    Ok(filtered)
}

/// Takes out what the client says of itself, which no application is to see, and believes it if the mesh vouches for the client.
fn learn_peer(x: &mut Exchange<'_>, exchange: &PeerMetadata) {
    let said = peer::take(&mut x.head.headers);
    if exchange.downstream && x.conn.is_mesh() {
        x.answer_peer = said.is_some();
        x.peer = said.and_then(|said| x.worker().peers.peer(said));
    }
}

/// What the proxy answers itself gets the route's response headers too.
fn add_route_headers(x: &Exchange<'_>, facts: &Connection<'_>, decision: &RouteDecision<'_>, reply: &mut LocalReply) {
    let request = x.facts(facts);
    let cluster = decision.cluster().map_or("", |c| c);
    let values = headers::RequestValues { request: &request, route_name: decision.route_name(), cluster };
    headers::apply_response(decision, &mut reply.headers, &values);
}
