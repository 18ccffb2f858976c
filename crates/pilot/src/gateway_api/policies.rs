//! BackendTLSPolicies: TLS towards the endpoints of a Service, as DestinationRules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use varka_api::istio::{
    ClientTlsMode, ClientTlsSettings, DestinationRule, PortSelector, PortTrafficPolicy, TrafficPolicy,
};
use varka_api::kube::{BackendTlsPolicy, GATEWAY_API, PolicyTarget};
use varka_api::{Object, ObjectMeta, Position};

use super::{Condition, MADE, PARENTS, Problem, World, made};
use crate::secret;
use crate::snapshot::by_age;

/// Takes a policy out of the mesh's hands.
const IGNORE: &str = "istio.io/ignore-policy-attachment";
/// Trust anchors that nobody has: connections fail, and are never made without the check that was asked for.
const NOBODY: &str = "invalid://";

/// What came of a policy.
#[derive(Debug)]
pub(super) struct PolicyResult {
    pub(super) metadata: ObjectMeta,
    /// As it is.
    pub(super) status: Value,
    pub(super) targets: Vec<TargetResult>,
    /// Gateways with a route to one of the targets.
    pub(super) gateways: BTreeSet<(String, String)>,
    /// Conditions where no target in particular is meant.
    pub(super) conditions: Vec<Condition>,
    position: Position,
}

/// What came of one target.
#[derive(Debug)]
pub(super) struct TargetResult {
    pub(super) target: PolicyTarget,
    pub(super) conditions: Vec<Condition>,
    settings: Option<Settings>,
}

/// TLS towards hosts.
#[derive(Debug)]
struct Settings {
    hosts: Vec<String>,
    /// Only on this port.
    port: Option<u32>,
    tls: ClientTlsSettings,
}

/// All policies, oldest first.
pub(super) fn convert(world: &World<'_>) -> Vec<PolicyResult> {
    let mut objects: Vec<_> = world.stores.backend_tls_policies.iter().collect();
    objects.sort_by(|a, b| by_age(a, b));
    objects.iter().map(|object| policy(world, object, &objects)).collect()
}

fn is_ignored(object: &Object<BackendTlsPolicy>) -> bool {
    object.metadata.annotations.get(IGNORE).is_some_and(|v| v.eq_ignore_ascii_case("true"))
}

fn policy(
    world: &World<'_>,
    object: &Object<BackendTlsPolicy>,
    oldest_first: &[&Arc<Object<BackendTlsPolicy>>],
) -> PolicyResult {
    let mut out = PolicyResult {
        metadata: object.metadata.clone(),
        status: object.status.clone(),
        targets: Vec::new(),
        gateways: BTreeSet::new(),
        conditions: Vec::new(),
        position: object.position.clone(),
    };
    if is_ignored(object) {
        let problem = Problem::new("IgnoredByIstio", format!("the annotation {IGNORE} takes it out of force"));
        let conditions = || vec![Condition::unless(Some(&problem), "Accepted", "Accepted", "")];
        let target = |t: &PolicyTarget| TargetResult { target: t.clone(), conditions: conditions(), settings: None };
        out.targets = object.spec.target_refs.iter().map(target).collect();
        return out;
    }
    let (credential, references) = trust(world, object);
    let unusable = references.as_ref().map(|p| match p.reason {
        "Invalid" => p.clone(),
        _ => Problem::new("NoValidCACertificate", p.message.clone()),
    });
    let conditions = |problem: Option<&Problem>| {
        let references = references.as_ref().filter(|p| p.reason != "Invalid");
        vec![
            Condition::unless(problem, "Accepted", "Accepted", "Connections to the target are made as it says"),
            Condition::unless(references, "ResolvedRefs", "ResolvedRefs", "Everything that it refers to is there"),
        ]
    };
    for target in &object.spec.target_refs {
        let place = place(world, object, target);
        let rival = older_rival(object, target, oldest_first);
        if place.is_ok() {
            out.gateways.extend(ancestors(world, &object.metadata.namespace, target));
        }
        let (problem, settings) = match (place, rival) {
            (Err(problem), _) => (Some(problem), None),
            (Ok(_), Some(rival)) => {
                let message = format!("BackendTLSPolicy {rival} is older and is about the same target: it is in force");
                (Some(Problem::new("Conflicted", message)), None)
            }
            (Ok((hosts, port)), None) => {
                (unusable.clone(), Some(Settings { hosts, port, tls: settings(object, &credential) }))
            }
        };
        out.targets.push(TargetResult { target: target.clone(), conditions: conditions(problem.as_ref()), settings });
    }
    let of_all = out.targets.last().map(|t| t.conditions.clone());
    out.conditions = of_all.unwrap_or_else(|| conditions(unusable.as_ref()));
    out
}

fn settings(object: &Object<BackendTlsPolicy>, credential: &str) -> ClientTlsSettings {
    let validation = &object.spec.validation;
    let names = validation.subject_alt_names.iter().filter_map(|n| match n.r#type.as_str() {
        "Hostname" => Some(n.hostname.clone()),
        "URI" => Some(n.uri.clone()),
        _ => None,
    });
    ClientTlsSettings {
        mode: ClientTlsMode::Simple,
        sni: validation.hostname.clone(),
        subject_alt_names: names.collect(),
        credential_name: credential.to_owned(),
        ..ClientTlsSettings::default()
    }
}

/// `credentialName` of the trust anchors; empty: the system's. With it, what is wrong.
fn trust(world: &World<'_>, object: &Object<BackendTlsPolicy>) -> (String, Option<Problem>) {
    let validation = &object.spec.validation;
    if let Some(known) = &validation.well_known_ca_certificates {
        let problem = (known != "System").then(|| {
            Problem::new("Invalid", format!("validation.wellKnownCACertificates: {known:?} is not known; write System"))
        });
        return (String::new(), problem);
    }
    let Some(reference) = validation.ca_certificate_refs.first() else { return (String::new(), None) };
    let (namespace, name) = (&object.metadata.namespace, &reference.name);
    let place = format!("validation.caCertificateRefs: {} {namespace}/{name}", reference.kind);
    let nobody = |reason, message| (NOBODY.to_owned(), Some(Problem::new(reason, message)));
    if !reference.group.is_empty() || reference.kind != "ConfigMap" {
        return nobody("InvalidKind", format!("{place}: only a ConfigMap is supported; no connection is made"));
    }
    match world.stores.config_maps.get(namespace, name).map(|o| secret::map_anchors(o)) {
        Some(Some(_)) => (format!("{}{namespace}/{name}", secret::CONFIG_MAP), None),
        Some(None) => nobody(
            "InvalidCACertificateRef",
            format!("{place} has no certificates in PEM under ca.crt; no connection is made"),
        ),
        None => nobody("InvalidCACertificateRef", format!("{place} is not there; no connection is made")),
    }
}

/// Hosts of a target, and the port that is meant.
fn place(
    world: &World<'_>,
    object: &Object<BackendTlsPolicy>,
    target: &PolicyTarget,
) -> Result<(Vec<String>, Option<u32>), Problem> {
    let namespace = object.metadata.namespace.as_str();
    let name = target.name.as_str();
    let what = format!("targetRefs: {} {namespace}/{name}", target.kind);
    let not_found = |why: &str| Problem::new("TargetNotFound", format!("{what} {why}"));
    let (hosts, ports): (_, Vec<(&str, u32)>) = match (target.group.as_str(), target.kind.as_str()) {
        ("", "Service") => {
            let service = world.stores.services.get(namespace, name).ok_or_else(|| not_found("is not there"))?;
            let ports = service.spec.ports.iter().map(|p| (p.name.as_str(), p.port));
            (vec![world.fqdn(name, namespace)], ports.collect())
        }
        ("networking.istio.io", "ServiceEntry") => {
            let entry = world.stores.service_entries.get(namespace, name).ok_or_else(|| not_found("is not there"))?;
            (entry.spec.hosts.clone(), entry.spec.ports.iter().map(|p| (p.name.as_str(), p.number)).collect())
        }
        _ => return Err(not_found("is neither a Service nor a ServiceEntry")),
    };
    let Some(section) = target.section_name.as_deref().filter(|s| !s.is_empty()) else { return Ok((hosts, None)) };
    let port = ports.iter().find(|(name, _)| *name == section).map(|(_, number)| *number);
    let port = port.ok_or_else(|| not_found(&format!("has no port that is called {section:?}")))?;
    Ok((hosts, Some(port)))
}

/// Name of an older policy in force about the same target.
fn older_rival<'a>(
    object: &Object<BackendTlsPolicy>,
    target: &PolicyTarget,
    oldest_first: &[&'a Arc<Object<BackendTlsPolicy>>],
) -> Option<&'a str> {
    let own = &object.metadata;
    let older = oldest_first.iter().filter(|o| o.metadata.namespace == own.namespace);
    older
        .take_while(|o| o.metadata.name != own.name)
        .find(|o| !is_ignored(o) && o.spec.target_refs.contains(target))
        .map(|o| o.metadata.name.as_str())
}

/// Gateways that routes attach to which lead to a target.
fn ancestors(world: &World<'_>, namespace: &str, target: &PolicyTarget) -> Vec<(String, String)> {
    let stores = world.stores;
    let mut out = Vec::new();
    macro_rules! routes {
        ($($store:ident),*) => {$(
            for route in stores.$store.iter() {
                let own = route.metadata.namespace.as_str();
                let leads_there = route.spec.rules.iter().flat_map(|r| &r.backend_refs).any(|b| {
                    b.name == target.name
                        && b.group.as_deref().unwrap_or_default() == target.group
                        && b.kind.as_deref().unwrap_or("Service") == target.kind
                        && b.namespace.as_deref().unwrap_or(own) == namespace
                });
                if leads_there {
                    let gateways =
                        route.spec.parent_refs.iter().filter(|r| super::parent_kind(r) == (GATEWAY_API, "Gateway"));
                    let name = |r: &varka_api::kube::ParentReference| {
                        (r.namespace.clone().unwrap_or_else(|| own.to_owned()), r.name.clone())
                    };
                    out.extend(gateways.map(name));
                }
            }
        )*};
    }
    routes!(kubernetes_http_routes, kubernetes_grpc_routes, kubernetes_tls_routes, kubernetes_tcp_routes);
    out
}

/// One DestinationRule for each host, of all policies about it.
pub(super) fn destination_rules(policies: &[PolicyResult]) -> Vec<Object<DestinationRule>> {
    let mut by_host: BTreeMap<(String, String), Object<DestinationRule>> = BTreeMap::new();
    for policy in policies {
        let meta = &policy.metadata;
        let parent = format!("BackendTLSPolicy/{}.{}", meta.namespace, meta.name);
        for result in &policy.targets {
            let Some(settings) = &result.settings else { continue };
            for host in &settings.hosts {
                let object = by_host.entry((meta.namespace.clone(), host.clone())).or_insert_with(|| Object {
                    metadata: made(rule_name(&result.target, host), meta, &meta.namespace, &[]),
                    spec: DestinationRule { host: host.clone(), ..DestinationRule::default() },
                    status: Value::Null,
                    position: policy.position.clone(),
                });
                let parents = object.metadata.annotations.entry(PARENTS.to_owned()).or_default();
                if !parents.split(',').any(|p| p == parent) {
                    let separator = if parents.is_empty() { "" } else { "," };
                    *parents = format!("{parents}{separator}{parent}");
                }
                let to = object.spec.traffic_policy.get_or_insert_default();
                add(to, settings);
            }
        }
    }
    by_host.into_values().collect()
}

fn add(policy: &mut TrafficPolicy, settings: &Settings) {
    let Some(number) = settings.port else {
        policy.tls.get_or_insert_with(|| settings.tls.clone());
        return;
    };
    let is_port = |p: &PortTrafficPolicy| p.port.as_ref().is_some_and(|p| p.number == number);
    if !policy.port_level_settings.iter().any(is_port) {
        policy.port_level_settings.push(PortTrafficPolicy {
            port: Some(PortSelector { number }),
            tls: Some(settings.tls.clone()),
            ..PortTrafficPolicy::default()
        });
        policy.port_level_settings.sort_by_key(|p| p.port.as_ref().map(|p| p.number));
    }
}

fn rule_name(target: &PolicyTarget, host: &str) -> String {
    match target.kind.as_str() {
        "ServiceEntry" => format!("{}~{}~{MADE}", target.name, host.replace('.', "-")),
        _ => format!("{}~{MADE}", target.name),
    }
}
