//! What single filters do with a request: each asks the engine, counts, and keeps the reason for the log.

use std::time::{Instant, SystemTime};

use serde_json::Value;
use varka_engine::facts::{Connection, split_query};
use varka_engine::ir::{JwtAuthn, PolicyAction, Rbac};
use varka_engine::outcome::LocalReply;
use varka_engine::rbac::{self, Subject};
use varka_engine::{fault, jwt};

use super::exchange::{Exchange, Halt};
use crate::limit::TARGET;

/// Most policies whose unmet conditions are told of one request.
const TOLD: usize = 4;

/// One RBAC filter: AUDIT, DENY or ALLOW, enforced or only noted.
pub(super) fn authorize(x: &mut Exchange<'_>, facts: &Connection<'_>, rules: &Rbac) -> Result<(), Halt> {
    let request = x.facts(facts);
    let subject = Subject::request(&request);
    let decision = rbac::evaluate(rules, &subject);
    let counters = x.conn.http_stats.as_ref().map(|stats| &stats.counters);
    if let Some(c) = counters {
        match (rules.shadow, decision.would_allow) {
            (true, true) => &c.rbac_shadow_allowed,
            (true, false) => &c.rbac_shadow_denied,
            (false, true) => &c.rbac_allowed,
            (false, false) => &c.rbac_denied,
        }
        .inc();
    }
    let noted = rules.shadow || rules.action == PolicyAction::Log;
    if noted && !rules.is_for_ext_authz() {
        note(x, rules, &decision);
    }
    if decision.allowed {
        if rules.shadow {
            let notes = decision.notes(rules);
            for (key, value) in notes {
                x.metadata.insert(rbac::METADATA, key, Value::from(value));
            }
        }
        return Ok(());
    }
    let why = rbac::why_denied(rules, &decision, &subject, TOLD);
    let details = decision.details();
    x.why = Some(why);
    Err(LocalReply::rbac_denied(details).into())
}

/// What a policy that is not enforced says, for whoever tries it out or audits.
fn note(x: &Exchange<'_>, rules: &Rbac, decision: &rbac::Decision<'_>) {
    let policy = match (rules.action, decision.policy) {
        // Nothing was matched: there is nothing to audit.
        (PolicyAction::Log, None) => return,
        (_, policy) => policy.map_or("none", |name| name),
    };
    if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
        return;
    }
    let Some(left_out) = x.conn.worker.shadows.take(Instant::now()) else { return };
    let what = match (rules.action, decision.would_allow) {
        (PolicyAction::Log, _) => "audited",
        (_, true) => "would be allowed",
        (_, false) => "would be denied",
    };
    tracing::info!(
        target: TARGET,
        policy,
        method = x.head.method.as_str(),
        path = split_query(x.head.path.as_str()).0,
        peer = %x.conn.seen.peer,
        client = x.conn.peer_identity.as_ref().and_then(|p| p.uri()),
        left_out,
        "request {what}, as a policy says that is not enforced"
    );
}

/// The tokens of a request. `true`: the route is to be looked for once more.
pub(super) fn authenticate(x: &mut Exchange<'_>, facts: &Connection<'_>, config: &JwtAuthn) -> Result<bool, Halt> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let decision = jwt::decide(config, &x.facts(facts), now);
    let counters = x.conn.http_stats.as_ref().map(|stats| &stats.counters);
    if let Err(failure) = decision.result {
        if let Some(c) = counters {
            c.jwt_denied.inc();
        }
        let issuers: Vec<&str> =
            config.providers.iter().map(|p| if p.issuer.is_empty() { "any" } else { &p.issuer }).collect();
        x.why = Some(format!("its token is refused: {failure}; tokens are accepted of {}", issuers.join(", ")));
        let (scheme, authority) = (x.head.scheme(), x.head.authority.as_str());
        return Err(LocalReply::jwt_denied(failure, scheme, authority, x.head.path.as_str()).into());
    }
    if let Some(c) = counters {
        c.jwt_allowed.inc();
    }
    if let Some(path) = decision.changes.path(x.head.path.as_str()) {
        x.head.path = path.into();
    }
    decision.changes.apply(&mut x.head.headers);
    if !decision.payloads.is_empty() {
        x.metadata.set(jwt::METADATA.into(), Value::Object(decision.payloads));
    }
    Ok(decision.reroute)
}

/// An injected fault: the delay, then the abort.
pub(super) async fn inject(x: &mut Exchange<'_>, injected: &fault::Injected) -> Result<(), Halt> {
    if let Some(delay) = injected.delay {
        tokio::time::sleep(delay).await;
        x.flags.extend(injected.flags());
    }
    match injected.abort {
        Some(abort) => Err(LocalReply::fault_abort(abort.status, abort.grpc_status).into()),
        None => Ok(()),
    }
}
