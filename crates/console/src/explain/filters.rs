//! The connection manager's filters in its order: services that are asked, tokens, policies, faults, CORS.

use std::net::SocketAddr;

use serde_json::Value;
use varka_engine::facts::{Connection, Metadata};
use varka_engine::host::RouteIndex;
use varka_engine::ir::{
    Cors, ExtAuthz, Fault, HttpConnectionManager, HttpFilter, JwtAuthn, PolicyAction, Rbac, Route, Str,
};
use varka_engine::outcome::LocalReply;
use varka_engine::rbac::{self, Subject};
use varka_engine::route::{NoRoute, RouteDecision};
use varka_engine::{cors, ext_authz, fault, jwt};
use varka_pilot::Placed;

use super::answer::{By, Outcome, Rejected, Step};
use super::mesh::Mesh;
use super::proxy::Proxy;
use super::walk::{End, Walk};
use super::{doubt, http, place};

/// A number that falls into a share only where that is all of it.
const CERTAIN: [u64; 2] = [999_999; 2];
/// The same, but that it falls into the share that is aborted.
const ABORTED: [u64; 2] = [999_999, 0];
/// Why a request waits.
pub(super) const DELAYED: &str = "a delay is injected";
/// All of a share.
const MILLION: u32 = 1_000_000;

/// Where the filters run.
pub(super) struct At<'a, 'm> {
    pub(super) proxy: &'a Proxy<'m>,
    pub(super) manager: &'a HttpConnectionManager,
    pub(super) connection: &'a Connection<'a>,
    /// The client's address, as far as headers say.
    pub(super) client: SocketAddr,
    pub(super) metadata: &'a mut Metadata,
    /// Choices that were made before the route was looked for.
    pub(super) forks: usize,
}

/// Runs them; what is offered to endpoints of the mesh.
pub(super) fn run<'t>(
    walk: &mut Walk<'_>,
    at: &mut At<'_, '_>,
    index: Option<&'t RouteIndex>,
    decision: &mut Result<RouteDecision<'t>, NoRoute>,
) -> Result<Option<Vec<Str>>, End> {
    let mut alpn = None;
    for filter in &at.manager.filters {
        let route: Option<&Route> = decision.as_ref().ok().and_then(|d| d.route);
        match filter {
            HttpFilter::ExtAuthz(filter) if decision.is_ok() => asked(walk, at, filter),
            HttpFilter::Jwt(config) => {
                if tokens(walk, at, config)? {
                    walk.forks.truncate(at.forks);
                    *decision = http::find(walk, at, index);
                }
            }
            HttpFilter::Rbac(rules) => policies(walk, at, route.and_then(|r| r.rbac.as_ref()).unwrap_or(rules))?,
            HttpFilter::Fault => {
                if let Some((route, fault)) = route.and_then(|r| Some((r, r.fault.as_ref()?))) {
                    inject(walk, route, fault)?;
                }
            }
            HttpFilter::Cors => {
                if let Some(policy) = route.and_then(|r| r.cors.as_ref()) {
                    cross_origin(walk, at, policy)?;
                }
            }
            HttpFilter::Alpn(offer) => {
                let request = walk.request.facts(at.connection, at.client, at.metadata);
                let offer = if request.version == ::http::Version::HTTP_2 { &offer.http2 } else { &offer.http11 };
                alpn = Some(offer.clone());
            }
            HttpFilter::ExtAuthz(_)
            | HttpFilter::DynamicForwardProxy
            | HttpFilter::PeerMetadata(_)
            | HttpFilter::GrpcStats
            | HttpFilter::Stats(_) => {}
        }
    }
    Ok(alpn)
}

fn policies(walk: &mut Walk<'_>, at: &mut At<'_, '_>, rules: &Rbac) -> Result<(), End> {
    let request = walk.request.clone();
    let facts = request.facts(at.connection, at.client, at.metadata);
    let subject = Subject::request(&facts);
    doubt::of_rules(walk, rules, &subject);
    let decision = rbac::evaluate(rules, &subject);
    let notes: Vec<(String, String)> =
        if rules.shadow && decision.allowed { decision.notes(rules).collect() } else { Vec::new() };
    let (step, denied) = authorize(walk.mesh, rules, &subject);
    let because = step.because.clone();
    let by = step.by.as_ref().map_or_else(String::new, |by| format!(" by {} {}/{}", by.kind, by.namespace, by.name));
    if !rules.is_for_ext_authz() {
        walk.step(step);
    }
    for (key, value) in notes {
        at.metadata.insert(rbac::METADATA, key, Value::from(value));
    }
    if denied {
        let reply = LocalReply::rbac_denied(decision.details());
        let status = reply.outcome.status;
        let verdict = format!("{} answers {status}, denied{by}: {because}.", at.proxy.pod.workload);
        return Err(End::new(Outcome::Denied, verdict).answers(status));
    }
    Ok(())
}

/// What one filter of policies says, and whether that ends the request.
pub(super) fn authorize(mesh: &Mesh, rules: &Rbac, subject: &Subject<'_>) -> (Step, bool) {
    let decision = rbac::evaluate(rules, subject);
    let what = match rules.action {
        PolicyAction::Allow => "ALLOW",
        PolicyAction::Deny => "DENY",
        PolicyAction::Log => "AUDIT",
    };
    let unmet = rbac::missing(rules, subject);
    let unmet: Vec<Rejected> = unmet
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(policy, why)| Rejected { what: policy.to_owned(), why: why.to_owned() })
        .collect();
    let place = |name: &str| place::of_policy(mesh, name);
    let (because, by) = match (rules.action, decision.policy) {
        (_, Some(policy)) => (format!("rule {policy} matches"), place(policy)),
        (PolicyAction::Allow, None) => {
            let why = unmet.first().map_or_else(
                || "the policies have no rule".to_owned(),
                |first| format!("{}: {}", first.what, first.why),
            );
            let more = if unmet.len() > 1 { format!(", and {} more", unmet.len() - 1) } else { String::new() };
            let by = rules.policies.first().and_then(|policy| place(&policy.name));
            (format!("there are ALLOW policies and none of their rules matches ({why}{more})"), by)
        }
        (_, None) => ("none of their rules matches".to_owned(), None),
    };
    let chosen = match (rules.shadow, decision.would_allow) {
        (true, true) => format!("dry run of {what}: would be allowed"),
        (true, false) => format!("dry run of {what}: would be denied"),
        (false, _) if rules.action == PolicyAction::Log => "audited".to_owned(),
        (false, true) => format!("allowed ({what})"),
        (false, false) => format!("denied ({what})"),
    };
    let step = Step { ok: decision.allowed, ..Step::new("authorization", chosen, because).by(by).instead_of(unmet) };
    (step, !decision.allowed)
}

/// The services that CUSTOM policies ask; what they answer is not known.
fn asked(walk: &mut Walk<'_>, at: &mut At<'_, '_>, filter: &ExtAuthz) {
    let facts = walk.request.facts(at.connection, at.client, at.metadata);
    let (service, is_asked) = (filter_service(filter), ext_authz::is_enabled(filter, &facts));
    let note = varka_engine::rbac::METADATA;
    let policy = at.metadata.get(note, &[format!("{}shadow_effective_policy_id", rbac::EXT_AUTHZ_PREFIX).into()]);
    let by = policy.and_then(Value::as_str).and_then(|name| place::of_policy(walk.mesh, name));
    if is_asked {
        walk.doubt(format!("{filter:?}"), format!("what {service} answers"));
    }
    walk.step(if is_asked {
        Step::new(
            "extAuthz",
            format!("{service} is asked"),
            "a CUSTOM policy matches; what it answers is not known here",
        )
        .by(by)
    } else {
        Step::new("extAuthz", "not asked", "no CUSTOM policy matches")
    });
}

fn filter_service(filter: &ExtAuthz) -> &str {
    match &filter.service {
        varka_engine::ir::AuthzService::Http(service) => &service.cluster,
        varka_engine::ir::AuthzService::Grpc(service) => &service.cluster,
    }
}

/// Tokens; `true`: the route is to be looked for once more.
fn tokens(walk: &mut Walk<'_>, at: &mut At<'_, '_>, config: &JwtAuthn) -> Result<bool, End> {
    let decision = {
        let facts = walk.request.facts(at.connection, at.client, at.metadata);
        jwt::decide(config, &facts, walk.now)
    };
    let issuers: Vec<&str> =
        config.providers.iter().map(|p| if p.issuer.is_empty() { "any" } else { &*p.issuer }).collect();
    let by = issuers.first().and_then(|issuer| request_authentication(walk.mesh, at, issuer));
    walk.doubt(format!("{config:?}"), format!("a token (of {})", issuers.join(", ")));
    if let Err(failure) = decision.result {
        let because = format!("{failure}; tokens are accepted of {}", issuers.join(", "));
        walk.step(Step::new("requestAuthentication", "refused", because.clone()).by(by).fails());
        let request = &walk.request;
        let reply = LocalReply::jwt_denied(failure, request.scheme, &request.authority, &request.path);
        let (workload, status) = (&at.proxy.pod.workload, reply.outcome.status);
        return Err(End::new(Outcome::Denied, format!("{workload} answers {status}: {because}.")).answers(status));
    }
    let (chosen, because) = if decision.payloads.is_empty() {
        ("no token", "the request has none, which RequestAuthentication lets pass")
    } else {
        ("the token holds", "it was signed by an issuer that is accepted, and is for this audience and time")
    };
    walk.step(Step::new("requestAuthentication", chosen, because).by(by));
    if let Some(path) = decision.changes.path(&walk.request.path) {
        walk.request.path = path;
    }
    decision.changes.apply(&mut walk.request.headers);
    if !decision.payloads.is_empty() {
        at.metadata.set(jwt::METADATA.into(), Value::Object(decision.payloads));
    }
    Ok(decision.reroute)
}

/// The RequestAuthentication that accepts an issuer: of the workload's namespace, else of the mesh.
fn request_authentication(mesh: &Mesh, at: &At<'_, '_>, issuer: &str) -> Option<By> {
    let root = mesh.snapshot.mesh().root_namespace.as_str();
    let root = if root.is_empty() { "istio-system" } else { root };
    let all = mesh.world.of("security.istio.io", "RequestAuthentication");
    let text = |object: &Value, path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    [at.proxy.pod.namespace.as_str(), root].into_iter().find_map(|namespace| {
        let own = all.iter().filter(|object| text(object, "/metadata/namespace") == namespace);
        own.filter_map(|object| {
            let rules = object.pointer("/spec/jwtRules")?.as_array()?;
            let rule = rules.iter().position(|rule| text(rule, "/issuer") == issuer)?;
            let object = format!("RequestAuthentication {namespace}/{}", text(object, "/metadata/name"));
            place::of(mesh, &Placed { object, path: format!("spec.jwtRules[{rule}]") })
        })
        .next()
    })
}

/// A fault that meets every request ends or delays this one; one that meets a share is told.
fn inject(walk: &mut Walk<'_>, route: &Route, fault: &Fault) -> Result<(), End> {
    let by = route.origin.as_ref().and_then(|origin| place::of_origin(walk.mesh, &format!("{origin}.fault")));
    let share = |millionths: u32| format!("{} % of requests", f64::from(millionths) / 10_000.0);
    if let Some(delay) = &fault.delay {
        let told = format!("{:?} of delay for {}", delay.duration, share(delay.parts_per_million));
        walk.step(Step::new("fault", told, DELAYED).by(by.clone()));
    }
    let Some(abort) = &fault.abort else { return Ok(()) };
    let told = format!("an answer {} for {}", abort.status, share(abort.parts_per_million));
    let step = Step::new("fault", told, "a fault is injected").by(by);
    let share = abort.parts_per_million.min(MILLION);
    let aborted = walk.fork(vec![u64::from(MILLION - share), u64::from(share)], 0) == 1;
    match fault::decide(fault, if aborted { ABORTED } else { CERTAIN }).abort {
        Some(abort) => {
            walk.step(step.fails());
            let reply = LocalReply::fault_abort(abort.status, abort.grpc_status);
            let (status, flags) = (reply.outcome.status, reply.outcome.flags);
            let verdict = format!("The answer is {status} ({flags}): a fault is injected.");
            Err(End::new(Outcome::Failed, verdict).answers(status))
        }
        None => {
            walk.step(step);
            Ok(())
        }
    }
}

fn cross_origin(walk: &mut Walk<'_>, at: &mut At<'_, '_>, policy: &Cors) -> Result<(), End> {
    let decided = {
        let facts = walk.request.facts(at.connection, at.client, at.metadata);
        cors::decide(policy, &facts)
    };
    walk.doubt(format!("{policy:?}"), "header origin (a CORS policy)".to_owned());
    match decided {
        cors::Decision::Pass => Ok(()),
        cors::Decision::Annotate(_) => {
            walk.step(Step::new("cors", "allowed", "the origin is one that the rule allows"));
            Ok(())
        }
        cors::Decision::Preflight(_) => {
            walk.step(Step::new("cors", "answered", "a preflight of an origin that the rule allows"));
            Err(End::new(Outcome::Ok, "The proxy answers the preflight itself: the origin is allowed."))
        }
    }
}
