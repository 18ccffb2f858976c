//! AuthorizationPolicy: which policies a workload has, as RBAC filters in the order in which they decide.

use std::sync::Arc;

use varka_api::Object;
use varka_api::istio::{AuthorizationAction, AuthorizationPolicy, Labels};
use varka_engine::ir::{
    ExtAuthz, HttpFilter, NetworkFilter, Permission, PolicyAction, Principal, Rbac, RbacPolicy, Str,
};

use super::attach;
use super::generate::{Aim, policy};
use crate::context::{Ctx, s};
use crate::diagnostic::Severity;
use crate::reads::ReadKey;
use crate::snapshot::{Kind, Snapshot, by_age};

/// RBAC of a workload in the order in which it decides: custom, audit, deny, allow; dry runs beside what is enforced.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// In order.
    pub filters: Vec<Rbac>,
    /// Services that are asked about what the first of them note, of HTTP alone.
    pub services: Vec<ExtAuthz>,
}

/// The rules of a workload, for anyone who asks outside a compilation; `tcp`: as an opaque port has them.
pub fn authorization_rules(snapshot: &Snapshot, namespace: &str, labels: &Labels, tcp: bool) -> Rules {
    let mut proxy = crate::ProxyKey::new(
        crate::ProxyKind::Sidecar,
        "",
        namespace,
        std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    );
    proxy.labels = labels.clone();
    let mut out = Rules::default();
    for filter in rules(&Ctx::new(snapshot, &proxy), if tcp { Layer::Tcp } else { Layer::Http }) {
        match filter {
            HttpFilter::Rbac(rules) => out.filters.push(rules),
            HttpFilter::ExtAuthz(service) => out.services.push(*service),
            _ => {}
        }
    }
    out
}

/// What a chain is known to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// HTTP.
    Http,
    /// A port that was declared as TCP: a rule that asks for HTTP fields is a mistake, and told.
    Tcp,
    /// Whatever comes to an undeclared port, or is not what the port was declared for: rules that ask for HTTP fields are
    /// meant for the declared traffic, so nothing is told.
    Undeclared,
}

/// As HTTP filters: services that are asked, tokens, then what policies say.
pub(crate) fn http_filters(ctx: &Ctx<'_>) -> Vec<HttpFilter> {
    let mut filters = rules(ctx, Layer::Http);
    if let Some(tokens) = super::jwt::filter(ctx) {
        // Tokens are read once those were asked who need none.
        let asked = filters.iter().rposition(is_of_custom).map_or(0, |last| last + 1);
        filters.insert(asked, tokens);
    }
    filters
}

/// Whether a filter is part of what CUSTOM policies become.
fn is_of_custom(filter: &HttpFilter) -> bool {
    match filter {
        HttpFilter::ExtAuthz(_) => true,
        HttpFilter::Rbac(rules) => {
            rules.is_for_ext_authz() || rules.policies.iter().any(|p| p.name.ends_with(super::custom::BAD))
        }
        _ => false,
    }
}

/// As network filters.
pub(crate) fn network_filters(ctx: &Ctx<'_>, layer: Layer) -> impl Iterator<Item = NetworkFilter> + use<> {
    rules(ctx, layer).into_iter().filter_map(|filter| match filter {
        HttpFilter::Rbac(rules) => Some(NetworkFilter::Rbac(rules)),
        _ => None,
    })
}

pub(super) type Policy = Arc<Object<AuthorizationPolicy>>;

/// Policies of the mesh, the namespace and the workload, which add up.
fn applicable(ctx: &Ctx<'_>) -> Vec<Policy> {
    let store = &ctx.snapshot.stores.authorization_policies;
    let root = ctx.root_namespace();
    let mut namespaces = vec![root];
    if *root != *ctx.proxy.namespace {
        namespaces.push(&ctx.proxy.namespace);
    }
    let mut found = Vec::new();
    for namespace in namespaces {
        let mut here: Vec<_> = ctx
            .namespace(Kind::AuthorizationPolicy, store, namespace)
            .filter(|p| attach::is_for(ctx.proxy, namespace, &p.spec))
            .cloned()
            .collect();
        here.sort_by(|a, b| by_age(a, b));
        found.append(&mut here);
    }
    found
}

fn is_dry_run(policy: &Policy) -> bool {
    policy.metadata.annotations.get("istio.io/dry-run").is_some_and(|v| v == "true")
}

fn rules(ctx: &Ctx<'_>, layer: Layer) -> Vec<HttpFilter> {
    ctx.read(ReadKey::Kind(Kind::MeshConfig));
    let policies = applicable(ctx);
    let mut out = super::custom::filters(ctx, &policies, layer);
    for (action, meaning) in [
        (AuthorizationAction::Audit, PolicyAction::Log),
        (AuthorizationAction::Deny, PolicyAction::Deny),
        (AuthorizationAction::Allow, PolicyAction::Allow),
    ] {
        for shadow in [false, true] {
            let mine: Vec<_> = policies.iter().filter(|p| p.spec.action == action && is_dry_run(p) == shadow).collect();
            if mine.is_empty() {
                continue;
            }
            let mut compiled = Vec::new();
            for p in mine {
                compiled.extend(compile(ctx, p, meaning, layer));
            }
            let stat_prefix = if shadow { dry_run_prefix(meaning) } else { prefix(layer) };
            out.push(HttpFilter::Rbac(Rbac { action: meaning, policies: compiled, shadow, stat_prefix }));
        }
    }
    out
}

/// Istio's prefix of what policies note that are tried out.
fn dry_run_prefix(action: PolicyAction) -> Str {
    s(match action {
        PolicyAction::Allow => "istio_dry_run_allow_",
        PolicyAction::Deny => "istio_dry_run_deny_",
        PolicyAction::Log => "",
    })
}

pub(super) fn prefix(layer: Layer) -> Str {
    s(if layer == Layer::Http { "" } else { "tcp." })
}

/// Rules of one policy. A policy without rules matches nothing, which an ALLOW policy turns into a denial of everything.
pub(super) fn compile(ctx: &Ctx<'_>, p: &Policy, action: PolicyAction, layer: Layer) -> Vec<RbacPolicy> {
    let name = |i: usize| s(format!("ns[{}]-policy[{}]-rule[{i}]", p.metadata.namespace, p.metadata.name));
    if p.spec.rules.is_empty() {
        return vec![RbacPolicy {
            name: name(0),
            permissions: vec![Permission::Not(Box::new(Permission::Any))],
            principals: vec![Principal::Not(Box::new(Principal::Any))],
        }];
    }
    let aim = Aim {
        tcp: layer != Layer::Http,
        allow: action == PolicyAction::Allow,
        namespace: &p.metadata.namespace,
        trust_domain: ctx.trust_domain(),
        aliases: &ctx.mesh().trust_domain_aliases,
    };
    let mut out = Vec::new();
    for (i, rule) in p.spec.rules.iter().enumerate() {
        match policy(rule, &aim) {
            Ok((permissions, principals)) => out.push(RbacPolicy { name: name(i), permissions, principals }),
            Err(_) if layer == Layer::Undeclared => {}
            Err(reason) => ctx.report(
                Severity::Warning,
                "authorization-rule-left-out",
                p,
                &format!("spec.rules[{i}]"),
                reason,
                "the rule is left out, so it allows nothing here",
            ),
        }
    }
    out
}
