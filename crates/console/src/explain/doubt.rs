//! What a decision hangs on that was not recorded of a request: its headers but for a few, and what its token says.
//!
//! Such a header counts as not there when it is decided. Where it could have been there, and something else would have been decided then,
//! that is a doubt. It is kept with everything that was said of it, so that two configurations with the same doubts are known to say the
//! same of every header.

use std::collections::BTreeSet;

use varka_engine::facts::Request;
use varka_engine::ir::{HeaderMatcher, Permission, PolicyAction, Principal, Rbac, RbacPolicy, Route, Str, VirtualHost};
use varka_engine::rbac::{self, Subject};
use varka_engine::route;

use super::walk::Walk;

/// Whether what a header is asked for was recorded.
fn is_recorded(header: &HeaderMatcher, request: &Request<'_>) -> bool {
    let name = &*header.name;
    name.starts_with(':')
        || name == "host"
        || matches!(name, "user-agent" | "content-type") && request.headers.contains_key(name)
}

/// Routes that might have matched before the one that does, and that one where it wants a header not to be there.
pub(super) fn of_routes(walk: &mut Walk<'_>, host: &VirtualHost, chosen: Option<&Route>, request: &Request<'_>) {
    if walk.notes.is_none() {
        return;
    }
    for route in &host.routes {
        let headers: BTreeSet<&str> =
            route.matches.headers.iter().filter(|h| !is_recorded(h, request)).map(|h| &*h.name).collect();
        let claims: BTreeSet<String> = route.matches.metadata.iter().map(|claim| claim.path.join(".")).collect();
        if !(headers.is_empty() && claims.is_empty()) {
            let mut open = route.matches.clone();
            open.headers.retain(|header| is_recorded(header, request));
            open.metadata.clear();
            if route::why_not(&open, request).is_none() {
                let headers = headers.iter().map(|name| format!("header {name}"));
                let asked: Vec<String> = headers.chain(claims.iter().map(|path| format!("claim {path}"))).collect();
                let whose =
                    route.origin.as_ref().map_or_else(String::new, |origin| format!(" (asked for by {origin})"));
                // Where it stands makes no difference.
                let said = Route { origin: None, ..route.clone() };
                walk.doubt(format!("{said:?}"), format!("{}{whose}", asked.join(", ")));
            }
        }
        if chosen.is_some_and(|chosen| std::ptr::eq(chosen, route)) {
            break;
        }
    }
}

/// Rules of which it is not known whether they match, where that decides.
pub(super) fn of_rules(walk: &mut Walk<'_>, rules: &Rbac, subject: &Subject<'_>) {
    if walk.notes.is_none() || rules.action == PolicyAction::Log || rules.shadow && !rules.is_for_ext_authz() {
        return;
    }
    let known: Vec<(&RbacPolicy, Option<bool>)> =
        rules.policies.iter().map(|policy| (policy, policy_matches(policy, subject))).collect();
    if known.iter().any(|(_, matches)| *matches == Some(true)) {
        return;
    }
    for (policy, _) in known.iter().filter(|(_, matches)| matches.is_none()) {
        let mut asked = BTreeSet::new();
        policy.permissions.iter().for_each(|permission| asked_by(permission, subject, &mut asked));
        policy.principals.iter().for_each(|principal| asked_of(principal, subject, &mut asked));
        let asked: Vec<String> = asked.into_iter().collect();
        let said = format!("{:?} {policy:?}", rules.action);
        walk.doubt(said, format!("{} (asked for by {})", asked.join(", "), policy.name));
    }
}

/// `None`: it is not known.
type Known = Option<bool>;

fn all(of: impl IntoIterator<Item = Known>) -> Known {
    let mut all = Some(true);
    for one in of {
        all = match (all, one) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), one) => one,
            (None, _) => None,
        };
    }
    all
}

fn any(of: impl IntoIterator<Item = Known>) -> Known {
    all(of.into_iter().map(|one| one.map(|one| !one))).map(|none| !none)
}

fn policy_matches(policy: &RbacPolicy, subject: &Subject<'_>) -> Known {
    let permitted = any(policy.permissions.iter().map(|p| permission(p, subject)));
    all([permitted, any(policy.principals.iter().map(|p| principal(p, subject)))])
}

/// As the engine says of a condition alone.
fn alone(permission: Permission, principal: Principal, subject: &Subject<'_>) -> Known {
    let policy = RbacPolicy { name: Str::default(), permissions: vec![permission], principals: vec![principal] };
    let action = PolicyAction::Allow;
    let rules = Rbac { policies: vec![policy], action, shadow: false, stat_prefix: Str::default() };
    Some(rbac::evaluate(&rules, subject).allowed)
}

/// Where there is no request, none of its headers is asked for.
fn header_is_known(header: &HeaderMatcher, subject: &Subject<'_>) -> bool {
    subject.request.is_none_or(|request| is_recorded(header, request))
}

fn permission(of: &Permission, subject: &Subject<'_>) -> Known {
    match of {
        Permission::And(of) => all(of.iter().map(|p| permission(p, subject))),
        Permission::Or(of) => any(of.iter().map(|p| permission(p, subject))),
        Permission::Not(not) => permission(not, subject).map(|matches| !matches),
        Permission::Header(header) if !header_is_known(header, subject) => None,
        Permission::Metadata { .. } if subject.request.is_some() => None,
        known => alone(known.clone(), Principal::Any, subject),
    }
}

fn principal(of: &Principal, subject: &Subject<'_>) -> Known {
    match of {
        Principal::And(of) => all(of.iter().map(|p| principal(p, subject))),
        Principal::Or(of) => any(of.iter().map(|p| principal(p, subject))),
        Principal::Not(not) => principal(not, subject).map(|matches| !matches),
        Principal::Header(header) if !header_is_known(header, subject) => None,
        Principal::Metadata { .. } | Principal::RemoteIp(_) if subject.request.is_some() => None,
        known => alone(Permission::Any, known.clone(), subject),
    }
}

fn asked_by(of: &Permission, subject: &Subject<'_>, asked: &mut BTreeSet<String>) {
    match of {
        Permission::And(of) | Permission::Or(of) => of.iter().for_each(|p| asked_by(p, subject, asked)),
        Permission::Not(not) => asked_by(not, subject, asked),
        Permission::Header(header) if !header_is_known(header, subject) => {
            asked.insert(format!("header {}", header.name));
        }
        Permission::Metadata { path, .. } => {
            asked.insert(format!("claim {}", path.join(".")));
        }
        _ => {}
    }
}

fn asked_of(of: &Principal, subject: &Subject<'_>, asked: &mut BTreeSet<String>) {
    match of {
        Principal::And(of) | Principal::Or(of) => of.iter().for_each(|p| asked_of(p, subject, asked)),
        Principal::Not(not) => asked_of(not, subject, asked),
        Principal::Header(header) if !header_is_known(header, subject) => {
            asked.insert(format!("header {}", header.name));
        }
        Principal::Metadata { path, .. } => {
            asked.insert(format!("claim {}", path.join(".")));
        }
        Principal::RemoteIp(_) => {
            asked.insert("the client's address (x-forwarded-for)".to_owned());
        }
        _ => {}
    }
}
