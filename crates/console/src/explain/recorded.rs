//! A request that was made: what its spans and log lines tell is put beside what would be decided, hop by hop.
//!
//! Spans tell method, authority, path, cluster, status and flags; a proxy's log line tells what was dialled and why it ended.
//! Other headers are not recorded, so a decision that hangs on one may differ: that is said, as is what else may be the reason.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use varka_engine::facts::PeerIdentity;
use varka_pilot::{ProxyKind, addresses_of, service_of};

use super::answer::{Direction, Explanation, Outcome, Step};
use super::destination::{self, Dialled};
use super::mesh::Mesh;
use super::pod::Pod;
use super::request::{Request, To};
use super::walk::{Delivery, End, Offer, Refusal, Walk};
use super::{inbound, outbound, wire};

/// A request as its proxies recorded it, by time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// A client's or a server's proxy each.
    pub hops: Vec<RecordedHop>,
}

/// What one proxy recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedHop {
    /// Of its span.
    pub id: Vec<u8>,
    /// Span that it follows from; empty: none.
    pub parent: Vec<u8>,
    /// Namespace of the pod.
    pub namespace: String,
    /// Pod.
    pub pod: String,
    /// Client's or server's side.
    pub direction: Direction,
    /// Method.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Host header as it was sent on.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// It is gRPC.
    pub grpc: bool,
    /// Empty: not known.
    pub user_agent: String,
    /// Cluster that it was sent to; empty: none.
    pub cluster: String,
    /// 0: none.
    pub status: u16,
    /// Response flags; `-`: none.
    pub flags: String,
    /// The other end of the connection that it came on; `None`: not known.
    pub peer: Option<std::net::IpAddr>,
    /// What was dialled, from the log; `None`: not known.
    pub dialled: Option<SocketAddr>,
    /// Details of the log; empty: not known.
    pub details: String,
    /// Endpoint, from the log; empty: not known.
    pub upstream: String,
    /// Server name of the client's TLS, from the log; empty: not known, or plain text.
    pub server_name: String,
}

/// Explains a recorded request.
///
/// # Errors
/// None of its proxies is of this mesh.
pub fn trace(mesh: &Mesh, recorded: &Recorded, now: u64) -> Result<Explanation, Refusal> {
    let Some(first) = recorded.hops.first() else {
        return Err(Refusal::Bad("The trace has no span of a proxy of the mesh.".to_owned()));
    };
    let (mut hops, mut touched) = (Vec::new(), BTreeSet::new());
    let mut end: Option<End> = None;
    // What broke further on and was made up for is told by its hop alone.
    let went_wrong = first.status == 0 || is_error(first) || wire::happened(&first.flags).is_some();
    for hop in &recorded.hops {
        let is_answered = hop.direction == Direction::Inbound
            && recorded.hops.iter().any(|h| h.direction == Direction::Outbound && h.id == hop.parent);
        if is_answered {
            // It is told beside the client's.
            continue;
        }
        let Some(pod) = pod_of(mesh, hop) else { continue };
        let server = recorded.hops.iter().find(|h| h.direction == Direction::Inbound && h.parent == hop.id);
        let mut walk = Walk::new(mesh, request_of(hop)?, now);
        walk.recorded = vec![known(&hop.cluster), None];
        let asked = walk.asked();
        let came = one(&mut walk, pod, hop);
        let explained = walk.finish(asked, came);
        let (outcome, mut own) = (explained.outcome, explained.hops);
        touched.extend(explained.touched);
        compare(&mut own, outcome, (hop, server), mesh.is_undated());
        hops.append(&mut own);
        let came = match wire::happened(&hop.flags).filter(|_| outcome == Outcome::Ok && went_wrong) {
            Some(what) => End::new(Outcome::Failed, let_through(&pod.workload, what, &hop.flags)),
            None => End::new(outcome, explained.verdict),
        };
        // What is deepest and did not go well is why; where all went well, it is the deepest that answered what the client got.
        let went_well = end.as_ref().is_none_or(|end| end.outcome == Outcome::Ok);
        if came.outcome != Outcome::Ok || went_well && (end.is_none() || is_error(first) && hop.status == first.status)
        {
            end = Some(came);
        }
    }
    let Some(end) = end else {
        let pods: Vec<&str> = recorded.hops.iter().map(|hop| hop.pod.as_str()).collect();
        let message = format!("The pods of the trace are gone, and so are their workloads: {}.", pods.join(", "));
        return Err(Refusal::NotFound(message));
    };
    let got = if first.status == 0 { "no answer".to_owned() } else { first.status.to_string() };
    let request =
        super::answer::Asked { method: first.method.clone(), host: first.authority.clone(), path: first.path.clone() };
    let own = end.outcome == Outcome::Ok && is_error(first) && recorded.hops.iter().all(|hop| is_unflagged(&hop.flags));
    let own = if own { " What is answered is the application's own." } else { "" };
    let verdict = format!("The client got {got}. {}{own}", end.verdict);
    Ok(Explanation { request, verdict, outcome: end.outcome, hops, pods_of_now: mesh.is_undated(), touched })
}

fn is_error(hop: &RecordedHop) -> bool {
    hop.status >= 400
}

fn is_unflagged(flags: &str) -> bool {
    matches!(flags, "" | "-")
}

fn let_through(workload: &str, what: &str, flags: &str) -> String {
    format!("Configuration lets it through, and then {what} (at {workload}, {flags}).")
}

fn known(cluster: &str) -> Option<String> {
    (!cluster.is_empty()).then(|| cluster.to_owned())
}

/// The pod, or another one of its workload where it is gone.
pub(super) fn pod_of<'m>(mesh: &'m Mesh, hop: &RecordedHop) -> Option<&'m Pod> {
    mesh.pod_named(&hop.namespace, &hop.pod).or_else(|| {
        // DEPLOYMENT-HASH-POD, or STATEFULSET-NUMBER and DAEMONSET-POD.
        let parent = hop.pod.rsplit_once('-')?.0;
        let grandparent = parent.rsplit_once('-').map_or(parent, |(name, _)| name);
        mesh.pod_of(&hop.namespace, grandparent).or_else(|| mesh.pod_of(&hop.namespace, parent))
    })
}

pub(super) fn request_of(hop: &RecordedHop) -> Result<Request, Refusal> {
    let mut headers = std::collections::BTreeMap::from([("host".to_owned(), hop.authority.clone())]);
    if !hop.user_agent.is_empty() {
        headers.insert("user-agent".to_owned(), hop.user_agent.clone());
    }
    if hop.grpc {
        headers.insert("content-type".to_owned(), "application/grpc".to_owned());
    }
    let to = To { host: hop.authority.clone(), port: 0, method: hop.method.clone(), path: hop.path.clone(), headers };
    Request::new(&to, 80).map_err(Refusal::Bad)
}

pub(super) fn one<'m>(walk: &mut Walk<'m>, pod: &'m Pod, hop: &RecordedHop) -> End {
    match (hop.direction, pod.proxy) {
        (Direction::Outbound, Some(ProxyKind::Router)) => {
            let port = if hop.scheme == "https" { 443 } else { 80 };
            outbound::gateway(walk, pod, hop.dialled.map_or(port, |dialled| dialled.port()))
        }
        (Direction::Outbound, _) => {
            let dialled = dialled(walk.mesh, pod, hop);
            walk.sent_by(pod, Ok(dialled))
        }
        (Direction::Inbound, _) => from_outside(walk, pod, hop),
    }
}

/// What the application dialled: as the log says, else the address of the service whose cluster it was.
pub(super) fn dialled(mesh: &Mesh, pod: &Pod, hop: &RecordedHop) -> Dialled {
    let (address, because) = match hop.dialled {
        Some(address) => (Some(address), "what the application dialled, as the proxy's log says"),
        None => (of_cluster(mesh, pod, &hop.cluster), "the address of the service that the request went to"),
    };
    let default = hop.authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(80);
    let unknown = || destination::outside(default);
    let address = address.unwrap_or_else(unknown);
    let step = Step::new("address", destination::shown(address), because);
    Dialled { address, step }
}

fn of_cluster(mesh: &Mesh, pod: &Pod, cluster: &str) -> Option<SocketAddr> {
    let parts: Vec<&str> = cluster.splitn(4, '|').collect();
    let ["outbound", port, _, host] = parts.as_slice() else { return None };
    let port: u16 = port.parse().ok()?;
    let service = service_of(&mesh.snapshot, &pod.key, host)?;
    let ip = addresses_of(&mesh.snapshot, &pod.key, &service, port).first().copied()?;
    Some(SocketAddr::new(ip, port))
}

/// A server's span without a client's: the client has no proxy, or one that leaves no spans.
fn from_outside<'m>(walk: &mut Walk<'m>, pod: &'m Pod, hop: &RecordedHop) -> End {
    let client = hop.peer.and_then(|ip| walk.mesh.pod_at(ip)).unwrap_or(pod);
    let port = hop.dialled.map(|dialled| dialled.port());
    let port = port.or_else(|| hop.cluster.split('|').nth(1)?.parse().ok()).unwrap_or(80);
    // Clients of the mesh name what they mean to reach.
    let of_mesh = hop.server_name.starts_with("outbound_");
    let tls = of_mesh.then(|| Offer {
        sni: Some(hop.server_name.clone()),
        alpn: ["istio-http/1.1", "istio"].map(|name| name.as_bytes().to_vec()).to_vec(),
        identity: Some(PeerIdentity::of_uri(&client.identity(walk.mesh.trust_domain()))),
    });
    let delivery = Delivery { from: client, to: SocketAddr::new(pod.ip, port), tls, http: true, mappings: None };
    inbound::sidecar(walk, pod, &delivery)
}

/// Puts what was recorded beside what is decided.
fn compare(
    own: &mut [super::answer::Hop],
    outcome: Outcome,
    (hop, server): (&RecordedHop, Option<&RecordedHop>),
    pods_of_now: bool,
) {
    let mut sides = own.iter_mut();
    let Some(client) = sides.next() else { return };
    let cluster = client.steps.iter().rev().find(|s| is_destination(s.step)).map(|s| s.chosen.clone());
    client.steps.push(beside(hop, cluster.as_deref(), outcome, pods_of_now));
    if let (Some(decided), Some(server)) = (sides.next_back(), server) {
        let outcome = if decided.steps.iter().all(|step| step.ok) { Outcome::Ok } else { outcome };
        decided.steps.push(beside(server, None, outcome, pods_of_now));
    }
}

fn is_destination(step: &str) -> bool {
    matches!(step, "route" | "passthrough" | "blackhole")
}

fn beside(hop: &RecordedHop, cluster: Option<&str>, outcome: Outcome, pods_of_now: bool) -> Step {
    let status = if hop.status == 0 { "no answer".to_owned() } else { hop.status.to_string() };
    let flags = if is_unflagged(&hop.flags) { String::new() } else { format!(" {}", hop.flags) };
    let details = if hop.details.is_empty() { String::new() } else { format!(" ({})", hop.details) };
    let to = match (hop.cluster.as_str(), hop.upstream.as_str()) {
        ("", _) => String::new(),
        (cluster, "" | "-") => format!(" by {cluster}"),
        (cluster, upstream) => format!(" by {cluster} from {upstream}"),
    };
    let chosen = format!("{status}{flags}{details}{to}");
    let mut differs = Vec::new();
    if let Some(decided) = cluster.filter(|decided| !hop.cluster.is_empty() && *decided != hop.cluster) {
        differs.push(format!("it went to {}, and what is decided here is {decided}", hop.cluster));
    }
    let refused = hop.status == 0 || !flags.is_empty() || matches!(hop.status, 401 | 403);
    let by_mesh = hop.details.starts_with("rbac_") || hop.details.starts_with("jwt_");
    match outcome {
        Outcome::Denied | Outcome::Failed if hop.status > 0 && hop.status < 400 => {
            differs
                .push(format!("it was answered with {status}, and what is decided here is that it is not let through"));
        }
        Outcome::Ok if (refused && !flags.is_empty()) || by_mesh => {
            differs.push(format!(
                "it ended with {status}{flags}{details}, and what is decided here is that it gets through"
            ));
        }
        _ => {}
    }
    if differs.is_empty() {
        return Step::new("recorded", chosen, "as is decided here");
    }
    if let (1, Outcome::Ok, Some(what)) = (differs.len(), outcome, wire::happened(&hop.flags)) {
        let because = format!("{what}: configuration lets it through, and does not decide that alone");
        return Step::new("recorded", chosen, because).fails();
    }
    let pods = if pods_of_now { ", or pods and their addresses were others at that time" } else { "" };
    let because = format!(
        "{}; reasons may be: the proxy had not got the newest configuration yet, or the decision hangs on a header that is not \
         recorded{pods}",
        differs.join("; ")
    );
    Step::new("recorded", chosen, because).fails()
}
