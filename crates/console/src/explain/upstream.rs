//! Cluster, endpoint, and how it is dialled.

use std::net::SocketAddr;

use varka_engine::balance::{Balancer, Pick, hosts};
use varka_engine::facts::{Connection, PeerIdentity};
use varka_engine::ir::{Cluster, ClusterLoadAssignment, Discovery, Endpoint, HttpConnectionManager, Str};
use varka_engine::outcome::{LocalReply, ResetReason};
use varka_engine::{matcher, transport};
use varka_pilot::destination_rule_of;

use super::answer::{By, Outcome, Rejected, Step};
use super::http::Forwarded;
use super::proxy::Proxy;
use super::walk::{Delivery, End, Offer, Walk};
use super::{place, unmatched};

/// Sends a request to a cluster.
pub(super) fn send<'m>(
    walk: &mut Walk<'m>,
    proxy: &Proxy<'m>,
    to: &Forwarded,
    connection: &Connection<'_>,
    manager: Option<&HttpConnectionManager>,
) -> Result<Delivery<'m>, End> {
    let mappings = manager.map(|manager| manager.local_replies.clone());
    if unmatched::is_nowhere(&to.cluster) {
        return unmatched::send(walk, proxy, to, connection.original_dst, mappings);
    }
    let Some(cluster) = proxy.cluster(&to.cluster) else {
        let step = Step::new("cluster", to.cluster.to_string(), absent(walk, proxy, &to.cluster));
        let because = step.because.clone();
        walk.step(step.by(rule(walk, proxy, &to.cluster).0).fails());
        let reply = LocalReply::cluster_not_found(503);
        let (status, flags) = (reply.outcome.status, reply.outcome.flags);
        let verdict = format!("The answer is {status} ({flags}): {because}.");
        return Err(End::new(Outcome::Failed, verdict).answers(status));
    };
    if let Some(notes) = &mut walk.notes {
        notes.settings.push(format!("{cluster:?}"));
    }
    let (by, because) = rule(walk, proxy, &to.cluster);
    walk.step(Step::new("cluster", cluster.name.to_string(), because).by(by));
    let (endpoint, address) = endpoint(walk, proxy, &cluster, to, connection)?;
    let tls_mode = endpoint.as_ref().and_then(|e| e.tls_mode.as_deref());
    let offer = dial(walk, proxy, &cluster, tls_mode, to)?;
    let delivery = Delivery { from: proxy.pod, to: address, tls: offer, http: to.http, mappings };
    verify(walk, &cluster, tls_mode, &delivery)?;
    Ok(delivery)
}

/// Port, subset and host of a cluster's name.
fn parts(cluster: &str) -> Option<(u16, &str, &str)> {
    let mut parts = cluster.splitn(4, '|');
    parts.next().filter(|side| *side == "outbound")?;
    Some((parts.next()?.parse().ok()?, parts.next()?, parts.next()?))
}

/// The object that shaped a cluster, and how.
fn rule(walk: &Walk<'_>, proxy: &Proxy<'_>, cluster: &str) -> (Option<By>, String) {
    let Some((port, subset, host)) = parts(cluster) else { return (None, "of this proxy alone".to_owned()) };
    let service = format!("port {port} of {host}");
    let Some(rule) = destination_rule_of(&walk.mesh.snapshot, &proxy.pod.key, host, subset) else {
        return (None, format!("{service}; no DestinationRule says anything of it"));
    };
    let (placed, because) = match &rule.subset {
        Some((placed, labels)) => {
            let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let of =
                if labels.is_empty() { "every pod".to_owned() } else { format!("pods with {}", labels.join(", ")) };
            (placed, format!("{service}; subset {subset}: {of}"))
        }
        None => (&rule.rule, format!("{service}, as {} says", rule.rule.object)),
    };
    (place::of(walk.mesh, placed), because)
}

/// Why a cluster that a route names is not there.
fn absent(walk: &Walk<'_>, proxy: &Proxy<'_>, cluster: &str) -> String {
    let Some((port, subset, host)) = parts(cluster) else { return format!("there is no cluster {cluster}") };
    let Some(service) = varka_pilot::service_of(&walk.mesh.snapshot, &proxy.pod.key, host) else {
        return format!("the route leads to {host}, which is no service that {} sees", proxy.pod.workload);
    };
    if service.port(port).is_none() {
        return format!("the route leads to port {port} of {host}, which it does not have");
    }
    match destination_rule_of(&walk.mesh.snapshot, &proxy.pod.key, host, "") {
        Some(rule) => {
            format!("{} has no subset {subset}; it has {}", rule.rule.object, rule.subsets.join(", "))
        }
        None => format!("the route names subset {subset}, and no DestinationRule for {host} has one of that name"),
    }
}

type Chosen = (Option<Endpoint>, SocketAddr);

fn endpoint(
    walk: &mut Walk<'_>,
    proxy: &Proxy<'_>,
    cluster: &Cluster,
    to: &Forwarded,
    connection: &Connection<'_>,
) -> Result<Chosen, End> {
    let assignment = match &cluster.discovery {
        Discovery::Eds { service_name } => proxy.endpoints(service_name).map(|a| (*a).clone()),
        Discovery::Static(assignment) => Some(assignment.clone()),
        Discovery::Dns { assignment, .. } => return Ok(named(walk, assignment, connection)),
        Discovery::DynamicForwardProxy => {
            walk.step(Step::new("endpoint", "what DNS says of the Host", "the cluster resolves what is asked for"));
            return Ok((None, connection.original_dst));
        }
        Discovery::OriginalDst { port, .. } => {
            let mut address = connection.original_dst;
            address.set_port(port.unwrap_or(address.port()));
            let because = "the cluster dials what the application dialled";
            let named = walk.named(address);
            walk.step(Step::new("endpoint", named, because));
            return Ok((None, address));
        }
    };
    let assignment = assignment.unwrap_or_default();
    let all = hosts(&assignment, |_| false);
    let balancer = Balancer::new(cluster.lb, cluster.panic_threshold, cluster.locality_weighted, &all);
    let mut first = || 0;
    let mut pick = Pick {
        hash: to.hash,
        counter: 0,
        random: &mut first,
        active: &|_| 0,
        avoid: &[],
        reselections: 0,
        avoid_priorities: &[],
    };
    let chosen = balancer.pick(&mut pick);
    let endpoints: Vec<&Endpoint> = assignment.localities.iter().flat_map(|l| &l.endpoints).collect();
    let chosen = chosen.map(|at| spread(walk, &balancer, &endpoints, to.hash, at));
    let Some((chosen, address)) = chosen.and_then(|at| endpoints.get(at)).and_then(|e| Some((*e, e.address?))) else {
        return Err(no_endpoint(walk, proxy, cluster));
    };
    let others = endpoints.iter().filter(|e| !std::ptr::eq(**e, chosen)).filter_map(|e| e.address);
    let why = "another one that takes requests: which one it is changes from request to request";
    let others: Vec<SocketAddr> = others.collect();
    let rejected = others.iter().map(|a| Rejected { what: walk.named(*a), why: why.to_owned() }).collect();
    let how = if to.hash.is_some() { "by the key of the request (consistent hashing)" } else { "by load" };
    let because = match endpoints.len() {
        1 => "the only one that takes requests".to_owned(),
        many => format!("one of {many} that take requests, chosen {how}"),
    };
    let named = walk.named(address);
    walk.step(Step::new("endpoint", named, because).instead_of(rejected));
    Ok((Some(chosen.clone()), address))
}

/// Times that are drawn to find out which workload gets which share.
const DRAWS: u64 = 256;

/// Where endpoints are of several workloads, which one of them it is, is left to chance: what the balancer says so many times.
fn spread(
    walk: &mut Walk<'_>,
    balancer: &Balancer,
    endpoints: &[&Endpoint],
    hash: Option<u64>,
    usually: usize,
) -> usize {
    let mesh = walk.mesh;
    let whose = |at: usize| {
        let address = endpoints.get(at).and_then(|endpoint| endpoint.address)?;
        mesh.pod_at(address.ip()).map(|pod| (pod.namespace.as_str(), pod.workload.as_str()))
    };
    if walk.notes.is_none() || (1..endpoints.len()).all(|at| whose(at) == whose(0)) {
        return usually;
    }
    let (mut found, mut weights): (Vec<usize>, Vec<u64>) = (vec![usually], vec![0]);
    for counter in 0..DRAWS {
        let mut state = counter;
        // SplitMix64: the same numbers for each who asks, so that what is the same comes out the same.
        let mut random = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        let (avoid, avoid_priorities) = (&[][..], &[][..]);
        let pick =
            &mut Pick { hash, counter, random: &mut random, active: &|_| 0, avoid, reselections: 0, avoid_priorities };
        let Some(drawn) = balancer.pick(pick) else { continue };
        match found.iter().position(|of| whose(*of) == whose(drawn)).and_then(|place| weights.get_mut(place)) {
            Some(weight) => *weight += 1,
            None => {
                found.push(drawn);
                weights.push(1);
            }
        }
    }
    let taken = walk.fork(weights, 0);
    found.get(taken).copied().unwrap_or(usually)
}

/// An endpoint that only DNS knows the address of.
fn named(walk: &mut Walk<'_>, assignment: &ClusterLoadAssignment, connection: &Connection<'_>) -> Chosen {
    let endpoint = assignment.localities.iter().flat_map(|l| &l.endpoints).next().cloned();
    let name = endpoint.as_ref().and_then(|e| e.host.as_ref()).map(|(host, port)| format!("{host}:{port}"));
    walk.step(Step::new("endpoint", name.unwrap_or_default(), "its name is resolved by the proxy"));
    let address = endpoint.as_ref().and_then(|e| e.address);
    (endpoint, address.unwrap_or(connection.original_dst))
}

fn no_endpoint(walk: &mut Walk<'_>, proxy: &Proxy<'_>, cluster: &Cluster) -> End {
    let because = match parts(&cluster.name) {
        Some((port, subset, host)) if !subset.is_empty() => {
            let whole = proxy.endpoints(&format!("outbound|{port}||{host}"));
            let count = whole.map_or(0, |a| a.localities.iter().map(|l| l.endpoints.len()).sum::<usize>());
            format!("no pod that is ready has the labels of subset {subset}; the service has {count} endpoints")
        }
        _ => "the service has no pod that is ready: its selector fits none, or none passes its readiness probe"
            .to_owned(),
    };
    walk.step(Step::new("endpoint", "none", because.clone()).fails());
    let reply = LocalReply::no_healthy_upstream();
    let (status, flags) = (reply.outcome.status, reply.outcome.flags);
    End::new(Outcome::Failed, format!("The answer is {status} ({flags}): {because}.")).answers(status)
}

/// Plain text, or which TLS.
fn dial(
    walk: &mut Walk<'_>,
    proxy: &Proxy<'_>,
    cluster: &Cluster,
    tls_mode: Option<&str>,
    to: &Forwarded,
) -> Result<Option<Offer>, End> {
    let by_rule = cluster.transport_matches.is_empty();
    let by = if by_rule && cluster.tls.is_some() { rule(walk, proxy, &cluster.name).0 } else { None };
    let Some((_, tls)) = transport::choose(cluster, tls_mode) else {
        let because = match (by_rule, tls_mode) {
            (false, _) => "the endpoint has no sidecar, so it is not spoken to by the mesh's TLS",
            (true, _) if proxy.is_gateway() => "this gateway has no certificate of the mesh, or is told not to use it",
            (true, _) => "a DestinationRule (tls.mode DISABLE), or a service outside the mesh",
        };
        let by = if by_rule { rule(walk, proxy, &cluster.name).0 } else { None };
        walk.step(Step::new("tls", "plain text", because).by(by));
        return Ok(None);
    };
    let mesh = transport::is_mesh(cluster, tls_mode);
    let offered: &[Str] = to.alpn.as_deref().filter(|_| mesh).unwrap_or(&tls.alpn);
    let (chosen, because) = match (mesh, by_rule) {
        (true, false) => ("mutual TLS of the mesh", "the endpoint has a sidecar (automatic mutual TLS)"),
        (true, true) => ("mutual TLS of the mesh", "a DestinationRule says ISTIO_MUTUAL"),
        (false, _) => ("TLS of the server's own", "a DestinationRule says so"),
    };
    let shown = mesh.then(|| PeerIdentity::of_uri(&proxy.pod.identity(walk.mesh.trust_domain())));
    let identity = shown.as_ref().and_then(|i| i.uri()).map_or_else(String::new, |uri| format!("; shown is {uri}"));
    walk.step(Step::new("tls", chosen, format!("{because}{identity}")).by(by));
    let alpn = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Some(Offer { sni: tls.sni.as_ref().map(ToString::to_string), alpn, identity: shown }))
}

/// Whether the server's certificate is for whom the client asks.
fn verify(walk: &mut Walk<'_>, cluster: &Cluster, tls_mode: Option<&str>, delivery: &Delivery<'_>) -> Result<(), End> {
    let Some((_, tls)) = transport::choose(cluster, tls_mode) else { return Ok(()) };
    let Some(pod) = walk.mesh.pod_at(delivery.to.ip()).filter(|_| transport::is_mesh(cluster, tls_mode)) else {
        return Ok(());
    };
    let identity = pod.identity(walk.mesh.trust_domain());
    let names = &tls.subject_alt_names;
    if names.is_empty() || names.iter().any(|name| matcher::string(name, identity.as_bytes())) {
        return Ok(());
    }
    let because =
        format!("the server is {identity}, which is not among the names that the client asks for (subjectAltNames)");
    walk.step(Step::new("tls", "refused", because.clone()).fails());
    let gets = delivery.broken_off(ResetReason::RemoteConnectionFailure);
    let status = delivery.status_of(ResetReason::RemoteConnectionFailure);
    Err(End::new(Outcome::Failed, format!("The TLS handshake fails: {because}; {gets}.")).answers(status))
}
