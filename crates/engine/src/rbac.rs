//! Authorization policies on a request or a connection (`envoy.filters.http.rbac`, `envoy.filters.network.rbac`).
//!
//! A policy matches when one of its permissions and one of its principals match. ALLOW denies what no policy matches, DENY what
//! one matches, LOG only notes. What a connection cannot know (headers, metadata) does not match, so that its negation does.

use std::borrow::Cow;

use ipnet::IpNet;

use crate::facts::{Connection, Request, split_query};
use crate::ir::{Permission, PolicyAction, Principal, Rbac, RbacPolicy, Str, StringMatch};
use crate::matcher;

mod explain;
#[cfg(test)]
mod tests;

pub use explain::{missing, why_denied};

/// What a policy is asked about: a connection, and a request on it if there is one.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The connection.
    pub connection: &'a Connection<'a>,
    /// The request; `None` for plain TCP.
    pub request: Option<&'a Request<'a>>,
}

impl<'a> Subject<'a> {
    /// A request.
    pub fn request(request: &'a Request<'a>) -> Self {
        Self { connection: request.connection, request: Some(request) }
    }

    /// A connection.
    pub fn connection(connection: &'a Connection<'a>) -> Self {
        Self { connection, request: None }
    }
}

/// What policies say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Go on. Always true of shadow rules and of LOG.
    pub allowed: bool,
    /// What the rules would have said if they were enforced; differs from `allowed` for shadow rules only.
    pub would_allow: bool,
    /// The policy that matched.
    pub policy: Option<&'a Str>,
}

impl Decision<'_> {
    /// Response code details of a denied request: `rbac_access_denied_matched_policy[NAME]`, `none` where no policy matched.
    pub fn details(&self) -> Cow<'static, str> {
        match self.policy {
            None => Cow::Borrowed("rbac_access_denied_matched_policy[none]"),
            Some(name) => Cow::Owned(format!("rbac_access_denied_matched_policy[{}]", name.replace(' ', "_"))),
        }
    }
}

/// Under which filter's name shadow rules note what they say.
pub const METADATA: &str = "envoy.filters.http.rbac";

/// Prefix of what CUSTOM policies note for the filter that asks their service.
pub const EXT_AUTHZ_PREFIX: &str = "istio_ext_authz_";

impl Rbac {
    /// Whether these rules only say which requests a service is asked about.
    pub fn is_for_ext_authz(&self) -> bool {
        *self.stat_prefix == *EXT_AUTHZ_PREFIX
    }
}

impl Decision<'_> {
    /// What shadow rules note for later filters.
    pub fn notes(&self, rules: &Rbac) -> impl Iterator<Item = (String, String)> {
        let prefix = &rules.stat_prefix;
        let result = if self.would_allow { "allowed" } else { "denied" };
        let policy = self.policy.map(|name| (format!("{prefix}shadow_effective_policy_id"), name.to_string()));
        policy.into_iter().chain([(format!("{prefix}shadow_engine_result"), result.to_owned())])
    }
}

/// Evaluates rules.
pub fn evaluate<'a>(rules: &'a Rbac, subject: &Subject<'_>) -> Decision<'a> {
    let policy = rules.policies.iter().find(|policy| policy_matches(policy, subject)).map(|policy| &policy.name);
    let would_allow = match rules.action {
        PolicyAction::Allow => policy.is_some(),
        PolicyAction::Deny => policy.is_none(),
        PolicyAction::Log => true,
    };
    Decision { allowed: would_allow || rules.shadow, would_allow, policy }
}

fn policy_matches(policy: &RbacPolicy, subject: &Subject<'_>) -> bool {
    policy.permissions.iter().any(|p| permission(p, subject)) && policy.principals.iter().any(|p| principal(p, subject))
}

fn permission(p: &Permission, s: &Subject<'_>) -> bool {
    match p {
        Permission::Any => true,
        Permission::And(all) => all.iter().all(|p| permission(p, s)),
        Permission::Or(any) => any.iter().any(|p| permission(p, s)),
        Permission::Not(not) => !permission(not, s),
        Permission::Header(header) => s.request.is_some_and(|r| matcher::header(header, r)),
        Permission::Path(want) => s.request.is_some_and(|r| matcher::string(want, split_query(r.path).0.as_bytes())),
        Permission::Template(template) => s.request.is_some_and(|r| matcher::path(template, r.path, true)),
        Permission::DestinationIp(net) => net.contains(&s.connection.original_dst.ip()),
        Permission::DestinationPort(port) => s.connection.original_dst.port() == *port,
        Permission::ServerName(want) => matcher::string(want, s.connection.sni.unwrap_or_default().as_bytes()),
        Permission::Metadata { filter, path, value } => metadata(s, filter, path, value),
    }
}

fn principal(p: &Principal, s: &Subject<'_>) -> bool {
    match p {
        Principal::Any => true,
        Principal::And(all) => all.iter().all(|p| principal(p, s)),
        Principal::Or(any) => any.iter().any(|p| principal(p, s)),
        Principal::Not(not) => !principal(not, s),
        Principal::Authenticated(want) => authenticated(want.as_ref(), s.connection),
        Principal::DirectRemoteIp(net) => net.contains(&s.connection.peer.ip()),
        Principal::RemoteIp(net) => remote_ip(net, s),
        Principal::Header(header) => s.request.is_some_and(|r| matcher::header(header, r)),
        Principal::Metadata { filter, path, value } => metadata(s, filter, path, value),
    }
}

fn remote_ip(net: &IpNet, s: &Subject<'_>) -> bool {
    net.contains(&s.request.map_or(s.connection.peer.ip(), |r| r.remote_ip()))
}

/// The URI SANs, else the DNS SANs, else the subject. Without a client certificate nothing matches.
fn authenticated(want: Option<&StringMatch>, connection: &Connection<'_>) -> bool {
    let Some(peer) = connection.peer_identity else { return false };
    let Some(want) = want else { return true };
    peer.uri_sans.iter().chain(&peer.dns_sans).any(|name| matcher::string(want, name.as_bytes()))
        || matcher::string(want, peer.subject.as_bytes())
}

/// A connection has no metadata.
fn metadata(s: &Subject<'_>, filter: &str, path: &[Str], want: &StringMatch) -> bool {
    s.request.is_some_and(|request| matcher::metadata_value(request, filter, path, want))
}
