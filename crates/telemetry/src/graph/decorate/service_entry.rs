//! One node for a ServiceEntry instead of one for each of its hosts.
//!
//! Which ServiceEntry a host belongs to depends on who asks: it must be exported to the client's namespace. So a host that is
//! asked from two namespaces may become two nodes, and one that is asked from another cluster stays as it is.

use std::collections::{HashMap, HashSet};

use super::super::arena::Id;
use super::super::draft::{Draft, node_of};
use super::super::facts::ServiceEntry;
use super::super::key::{Identity, known as is_known};
use super::super::model::{Node, NodeKind, ServiceEntryNode};
use super::Known;

/// Puts ServiceEntries in the place of hosts.
pub(super) fn apply(draft: &mut Draft<'_>, known: &Known<'_>) {
    if draft.facts.service_entries.is_empty() {
        return;
    }
    let mut seen = Seen { entries: &draft.facts.service_entries, by_namespace: HashMap::new() };
    let mut replaced: HashSet<Id<Node>> = HashSet::new();
    let senders: HashSet<Id<Node>> = draft.flows.iter().map(|flow| flow.edge.source).collect();
    for id in draft.flow_ids() {
        if draft.flows[id].gone {
            continue;
        }
        let (source, target) = (draft.flows[id].edge.source, draft.flows[id].edge.target);
        let host = &draft.nodes[target];
        if host.kind != NodeKind::Service || host.injected || host.egress.is_some() || host.service_entry.is_some() {
            continue;
        }
        // A host within the mesh says where it is; one outside is known by who asks.
        let client = &draft.nodes[source];
        let within = is_known(&host.cluster) && is_known(&host.namespace);
        let at = if within { host } else { client };
        if (!within && client.kind == NodeKind::Service) || !known.may_see(at) || client.cluster != at.cluster {
            continue;
        }
        let Some(entry) = seen.find(&at.cluster, &at.namespace, &host.service) else { continue };
        let (namespace, services) = (at.namespace.clone(), host.services.clone());
        let identity = Identity::service(&entry.cluster, &namespace, &entry.name);
        let Some(node) = node_for(draft, &identity, entry) else { continue };
        draft.nodes[node].services.extend(services);
        replaced.insert(target);
        draft.redirect(id, source, node);
        // What the host itself sends on, to an egress gateway, is the ServiceEntry's.
        for onward in if senders.contains(&target) { draft.flow_ids() } else { Vec::new() } {
            if draft.flows[onward].edge.source == target {
                let to = draft.flows[onward].edge.target;
                draft.redirect(onward, node, to);
            }
        }
    }
    let still_asked: HashSet<Id<Node>> = draft.flows.iter().filter(|f| !f.gone).map(|f| f.edge.target).collect();
    for id in replaced.into_iter().filter(|id| !still_asked.contains(id)) {
        draft.nodes[id].gone = true;
    }
    draft.tally();
}

fn node_for(draft: &mut Draft<'_>, identity: &Identity<'_>, entry: &ServiceEntry) -> Option<Id<Node>> {
    let (key, kind) = identity.key(draft.options.graph_type)?;
    // A service of the same name stands under the same name.
    if let Some(id) = draft.find_key(&key).filter(|id| draft.nodes[*id].service_entry.is_some()) {
        return Some(id);
    }
    let node = Node {
        service_entry: Some(ServiceEntryNode {
            namespace: entry.namespace.clone(),
            name: entry.name.clone(),
            hosts: entry.hosts.clone(),
            internal: entry.internal,
        }),
        ..node_of(identity, key, kind, draft.options.graph_type)
    };
    Some(draft.insert(node))
}

/// ServiceEntries that a namespace sees, by host.
struct Seen<'f> {
    entries: &'f [ServiceEntry],
    by_namespace: HashMap<(String, String), HashMap<&'f str, &'f ServiceEntry>>,
}

impl<'f> Seen<'f> {
    fn find(&mut self, cluster: &str, namespace: &str, service: &str) -> Option<&'f ServiceEntry> {
        let entries = self.entries;
        let hosts = self.by_namespace.entry((cluster.to_owned(), namespace.to_owned())).or_insert_with(|| {
            let seen = entries.iter().filter(|e| e.cluster == cluster && is_exported(e, namespace));
            let mut hosts: HashMap<&'f str, &'f ServiceEntry> = HashMap::new();
            for entry in seen {
                for host in &entry.hosts {
                    // Whole hosts go before names, and what is for this namespace before what is for all.
                    keep(&mut hosts, host, entry);
                }
            }
            for entry in entries.iter().filter(|e| e.cluster == cluster && e.internal && is_exported(e, namespace)) {
                for name in entry.hosts.iter().filter_map(|host| short_name(host)) {
                    hosts.entry(name).or_insert(entry);
                }
            }
            hosts
        });
        hosts.get(service).copied()
    }
}

fn keep<'f>(hosts: &mut HashMap<&'f str, &'f ServiceEntry>, host: &'f str, entry: &'f ServiceEntry) {
    let for_all = |e: &ServiceEntry| e.export_to.first().is_none_or(|to| to == "*");
    match hosts.get(host) {
        Some(there) if !for_all(there) || for_all(entry) => {}
        _ => {
            hosts.insert(host, entry);
        }
    }
}

/// Name of a service within the mesh; hosts of the form `name.namespace.global` have none.
fn short_name(host: &str) -> Option<&str> {
    let of_other_mesh = host.ends_with(".global") && host.split('.').count() == 3;
    (!of_other_mesh).then(|| host.split('.').next()).flatten()
}

pub(super) fn is_exported(entry: &ServiceEntry, namespace: &str) -> bool {
    entry.export_to.is_empty()
        || entry.export_to.iter().any(|to| match to.as_str() {
            "*" => true,
            "." => entry.namespace == namespace,
            other => other == namespace,
        })
}
