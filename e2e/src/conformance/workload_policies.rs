//! The policies that Istio gives its node proxy: what they let through, and what ours do with the same connections.
//!
//! That proxy sees connections alone, and no server name. A PeerAuthentication is compared by the ports on which plain text is
//! refused, an AuthorizationPolicy by what it says of connections from and to everything that it names.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use varka_api::RawObject;
use varka_api::istio::{AuthorizationPolicy, Labels, PeerAuthentication};
use varka_engine::facts::{Connection, PeerIdentity};
use varka_engine::ir::{Rbac, TransportProtocol};
use varka_engine::rbac::{self, Subject};
use varka_pilot::{Mode, Snapshot, authorization_rules, peer_mode};

use super::{Report, cases, text};

/// Runs the table.
pub(super) fn run(table: &Value, dir: &Path, report: &mut Report) {
    for case in cases(table) {
        let name = text(case, "input").rsplit('/').next().unwrap_or_default();
        report.count(name, one(case, &dir.join("files")));
    }
}

fn one(case: &Value, files: &Path) -> Result<(), String> {
    let read = |file: &str| std::fs::read_to_string(files.join(file)).map_err(|e| format!("{file}: {e}"));
    let (mut objects, _) = varka_api::read("in", &read(text(case, "input"))?);
    for object in objects.iter_mut().filter(|o| o.metadata.namespace.is_empty()) {
        "default".clone_into(&mut object.metadata.namespace);
    }
    let want: Option<Value> = serde_saphyr::from_str(&read(text(case, "want"))?).map_err(|e| e.to_string())?;
    let want = want.unwrap_or_default();
    let last = objects.last().ok_or("no object")?.clone();
    let snapshot = Snapshot::builder().objects(objects.clone()).build();
    match last.kind.as_str() {
        "PeerAuthentication" => plain_text(&objects, &last, &snapshot, &want),
        _ => authorization(&last, &snapshot, &want),
    }
}

/// Where plain text is refused.
fn plain_text(objects: &[RawObject], last: &RawObject, snapshot: &Snapshot, want: &Value) -> Result<(), String> {
    let of = |o: &RawObject| o.decode::<PeerAuthentication>().map(|d| d.object).map_err(|e| e.to_string());
    let decoded = of(last)?;
    let labels: Labels = decoded.spec.selector.map(|s| s.match_labels).unwrap_or_default();
    let mut ports: BTreeSet<u16> = BTreeSet::from([80, 8080, 9090, 9091]);
    for object in objects {
        ports.extend(of(object)?.spec.port_level_mtls.keys().filter_map(|p| p.parse::<u16>().ok()));
    }
    let refused = |port| peer_mode(snapshot, &last.metadata.namespace, &labels, Some(port)) == Mode::Strict;
    if want.is_null() && labels.is_empty() {
        // What holds for a whole namespace is not written as a policy of a workload; there must be nothing in it by port.
        let modes: BTreeSet<bool> = ports.iter().map(|p| refused(*p)).collect();
        return if modes.len() == 1 { Ok(()) } else { Err("ports differ without a policy of a workload".to_owned()) };
    }
    for port in ports {
        let caller = Caller { principal: None, source: Ipv4Addr::new(10, 0, 0, 1) };
        let denied = !want.is_null() && policy_matches(want, &caller, (Ipv4Addr::new(10, 0, 0, 2), port));
        if refused(port) != denied {
            return Err(format!("plain text to port {port} is refused: {} instead of {denied}", refused(port)));
        }
    }
    Ok(())
}

/// Which connections a policy matches.
fn authorization(policy: &RawObject, snapshot: &Snapshot, want: &Value) -> Result<(), String> {
    let found = authorization_rules(snapshot, &policy.metadata.namespace, &Labels::new(), true).filters;
    let [ours] = found.as_slice() else { return Err(format!("{} filters instead of one", found.len())) };
    let decoded = policy.decode::<AuthorizationPolicy>().map_err(|e| e.to_string())?.object;
    let denies = text(want, "action") == "DENY";
    let groups = want.get("groups").and_then(Value::as_array).cloned().unwrap_or_default();
    // A DENY keeps every rule, so that they can be compared one by one; an ALLOW loses those that cannot be told here.
    let pairs: Vec<(Rbac, Value)> = if denies {
        if groups.len() != ours.policies.len() {
            return Err(format!("{} rules instead of {}", ours.policies.len(), groups.len()));
        }
        let one = |(p, g): (&_, &Value)| {
            let single = Rbac { policies: vec![varka_engine::ir::RbacPolicy::clone(p)], ..ours.clone() };
            (single, serde_json::json!({"groups": [g]}))
        };
        ours.policies.iter().zip(&groups).map(one).collect()
    } else {
        vec![(ours.clone(), want.clone())]
    };
    // Only a server name that a DENY asks for lets its rule match at all, which the node proxy does not look at.
    let names: Vec<Option<&str>> = if denies {
        let when = decoded.spec.rules.iter().flat_map(|r| &r.when).filter(|c| c.key == "connection.sni");
        when.flat_map(|c| &c.values).map(|v| Some(v.as_str())).chain([None]).collect()
    } else {
        vec![None]
    };
    for (ours, theirs) in &pairs {
        for caller in callers(want) {
            for target in targets(want) {
                let matches = |sni: &Option<&str>| ours_matches(ours, &caller, target, *sni);
                let (want, got) = (policy_matches(theirs, &caller, target), names.iter().any(matches));
                if want != got {
                    let rules: Vec<&str> = ours.policies.iter().map(|p| &*p.name).collect();
                    return Err(format!("{caller:?} to {target:?}: matches: {got} instead of {want}; {rules:?}"));
                }
            }
        }
    }
    Ok(())
}

fn ours_matches(rules: &Rbac, caller: &Caller, (ip, port): (Ipv4Addr, u16), sni: Option<&str>) -> bool {
    let identity = caller.principal.as_ref().map(|p| PeerIdentity::of_uri(&format!("spiffe://{p}")));
    let mut connection = Connection::plain(SocketAddr::from((ip, port)), SocketAddr::from((caller.source, 40_000)));
    connection.sni = sni;
    if identity.is_some() {
        connection.transport = TransportProtocol::Tls;
    }
    connection.peer_identity = identity.as_ref();
    rbac::evaluate(rules, &Subject::connection(&connection)).policy.is_some()
}

/// Who opens a connection.
#[derive(Debug, Clone)]
struct Caller {
    /// Without `spiffe://`.
    principal: Option<String>,
    source: Ipv4Addr,
}

/// Everyone that a policy names, and someone that it does not.
fn callers(policy: &Value) -> Vec<Caller> {
    let mut principals = BTreeSet::from([None, Some("cluster.local/ns/other/sa/other".to_owned())]);
    for field in ["principals", "notPrincipals"] {
        principals.extend(samples(policy, field).into_iter().map(Some));
    }
    for field in ["namespaces", "notNamespaces"] {
        let of = |namespace: String| Some(format!("cluster.local/ns/{namespace}/sa/other"));
        principals.extend(samples(policy, field).into_iter().map(of));
    }
    for account in members(policy, &["serviceAccounts", "notServiceAccounts"]) {
        let (namespace, name) = (text(account, "namespace"), text(account, "serviceAccount"));
        principals.insert(Some(format!("cluster.local/ns/{namespace}/sa/{name}")));
    }
    let sources = addresses(policy, &["sourceIps", "notSourceIps"]);
    let of = |principal: Option<String>| {
        sources.iter().map(move |source| Caller { principal: principal.clone(), source: *source })
    };
    principals.into_iter().flat_map(of).collect()
}

fn targets(policy: &Value) -> Vec<(Ipv4Addr, u16)> {
    let mut ports = BTreeSet::from([7]);
    let given = members(policy, &["destinationPorts", "notDestinationPorts"]);
    ports.extend(given.filter_map(|p| p.as_u64().and_then(|p| u16::try_from(p).ok())));
    let addresses = addresses(policy, &["destinationIps", "notDestinationIps"]);
    addresses.into_iter().flat_map(|a| ports.iter().map(move |p| (a, *p)).collect::<Vec<_>>()).collect()
}

fn samples(policy: &Value, field: &str) -> Vec<String> {
    let sample = |m: &Value| match (m.get("exact"), m.get("prefix"), m.get("suffix")) {
        (Some(exact), ..) => exact.as_str().map(str::to_owned),
        (_, Some(prefix), _) => prefix.as_str().map(|p| format!("{p}x")),
        (.., Some(suffix)) => suffix.as_str().map(|s| format!("x{s}")),
        _ => None,
    };
    members(policy, &[field]).filter_map(sample).collect()
}

fn addresses(policy: &Value, fields: &[&str]) -> BTreeSet<Ipv4Addr> {
    let given = members(policy, fields).filter_map(|m| network(m).map(|(address, _)| address));
    given.chain([Ipv4Addr::new(203, 0, 113, 9)]).collect()
}

fn members<'v>(policy: &'v Value, fields: &[&'v str]) -> impl Iterator<Item = &'v Value> {
    let rules = list(policy, "groups").iter().flat_map(|g| list(g, "rules"));
    let matches = rules.flat_map(|r| list(r, "matches"));
    let fields = fields.to_vec();
    matches.flat_map(move |m| fields.clone().into_iter().flat_map(move |f| list(m, f)).collect::<Vec<_>>())
}

/// One of the groups, all of its rules, one of a rule's matches.
fn policy_matches(policy: &Value, caller: &Caller, target: (Ipv4Addr, u16)) -> bool {
    let rule = |r: &Value| list(r, "matches").iter().any(|m| one_match(m, caller, target));
    list(policy, "groups").iter().any(|g| list(g, "rules").iter().all(rule))
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn one_match(m: &Value, caller: &Caller, (address, port): (Ipv4Addr, u16)) -> bool {
    let side = |name: &str, fits: &dyn Fn(&Value) -> bool| {
        let any = |key: String| m.get(&key).and_then(Value::as_array).map(|l| l.iter().any(fits));
        let mut negated = name.to_owned();
        if let Some(first) = negated.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        any(name.to_owned()).unwrap_or(true) && !any(format!("not{negated}")).unwrap_or(false)
    };
    let principal = caller.principal.as_deref();
    let parts: Vec<&str> = principal.unwrap_or_default().split('/').collect();
    let (namespace, account) = match parts.as_slice() {
        [_, "ns", namespace, "sa", account] => (Some(*namespace), Some(*account)),
        _ => (None, None),
    };
    side("principals", &|v| words(v, principal))
        && side("namespaces", &|v| words(v, namespace))
        && side("serviceAccounts", &|v| {
            Some(text(v, "namespace")) == namespace && Some(text(v, "serviceAccount")) == account
        })
        && side("sourceIps", &|v| contains(v, caller.source))
        && side("destinationIps", &|v| contains(v, address))
        && side("destinationPorts", &|v| v.as_u64() == Some(u64::from(port)))
}

fn words(m: &Value, value: Option<&str>) -> bool {
    let Some(value) = value else { return false };
    let of = |key: &str| m.get(key).and_then(Value::as_str);
    of("exact").is_some_and(|e| e == value)
        || of("prefix").is_some_and(|p| value.starts_with(p))
        || of("suffix").is_some_and(|s| value.ends_with(s))
        || m.get("presence").is_some()
}

fn network(m: &Value) -> Option<(Ipv4Addr, u32)> {
    let bytes: [u8; 4] = BASE64_STANDARD.decode(text(m, "address")).ok()?.try_into().ok()?;
    Some((bytes.into(), m.get("length").and_then(Value::as_u64).and_then(|l| u32::try_from(l).ok())?))
}

fn contains(m: &Value, address: Ipv4Addr) -> bool {
    let Some((network, length)) = network(m) else { return false };
    let mask = u32::MAX.checked_shl(32u32.saturating_sub(length)).unwrap_or(0);
    u32::from(network) & mask == u32::from(address) & mask
}
