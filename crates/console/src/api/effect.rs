//! What a change would have done to the requests of the last minutes: what proxies recorded of them is gathered, and decided with the
//! configuration as it is and as it would be ([`crate::explain::predict`]).
//!
//! Spans tell what was asked for, lines of access logs what was dialled, counters how many requests there were: of a sample each stands for
//! as many as were counted between its client and its service. Whoever asks is told of namespaces that they may see.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::apply::{Foretell, Plan};
use super::{Refused, Shared};
use crate::access::sight::Sight;
use crate::access_line;
use crate::dialled::is_egress;
use crate::explain::effect::{Example, Shape, predict};
use crate::explain::{Direction, Mesh, RecordedHop};
use crate::graph::Source;
use crate::jaeger::{Traces, blocking};
use crate::requests::{Seen, seen};
use crate::store::Error;
use crate::store::logs::Source as Container;
use crate::world::{KINDS, Kind, Name};

/// Seconds that are looked back.
const WINDOW: i64 = 600;
/// Objects of one change.
const OBJECTS: usize = 100;
/// So many spans are looked at, the newest.
const SPANS: usize = 20_000;
/// Requests that are told apart.
const SHAPES: usize = 2_000;
/// Pods whose logs are read, and lines of each.
const LOGS: usize = 40;
const LINES: usize = 1_000;
/// A log line is written after its span, at most so long (microseconds).
const LATER: u64 = 10_000_000;
/// Deciding ends after this.
const PATIENCE: Duration = Duration::from_secs(3);
/// Of each shape.
const EXAMPLES: usize = 3;

/// Predictions that are made at a time, whoever asks for them.
static TURNS: Semaphore = Semaphore::const_new(2);

/// An object, and what becomes of it; `None`: it is taken away.
type Changes = Vec<(Kind, Name, Option<Value>)>;

pub(super) async fn effect(State(source): Shared, asked: Json<Value>) -> Result<Json<Value>, Refused> {
    let plan: Plan = serde_json::from_value(asked.0)
        .map_err(|problem| Refused::bad(format!("what is asked cannot be read: {problem}")))?;
    let many = plan.objects.len().saturating_add(plan.removed.len());
    if many > OBJECTS {
        return Err(Refused::bad(format!("{many} objects are too many: at most {OBJECTS}")));
    }
    let sight = source.world.sight().clone();
    Ok(Json(foretold(Source::clone(&source), sight, plan).await?))
}

/// Says what a plan would do, from what is recorded here.
pub(crate) fn foretell(source: Source) -> Foretell {
    Arc::new(move |sight, plan| {
        let source = source.clone();
        async move {
            foretold(source, sight, plan).await.unwrap_or_else(|problem| {
                tracing::warn!(%problem, "what a change would do is not told");
                Value::Null
            })
        }
        .boxed()
    })
}

/// Null where nothing is known of the objects' kinds.
async fn foretold(source: Source, sight: Sight, plan: Plan) -> Result<Value, Error> {
    let removed = plan.removed.into_iter().filter_map(change).map(|(kind, name, _)| (kind, name, None));
    let changes: Changes = plan.objects.into_iter().filter_map(change).chain(removed).collect();
    if changes.is_empty() {
        return Ok(Value::Null);
    }
    let turn = TURNS.acquire().await.ok();
    let now = super::now().div_euclid(1000);
    let predict = move || {
        // Whoever goes away while it is made leaves it to be made.
        let _turn = turn;
        of(&source, &sight, changes, now)
    };
    blocking(predict).await
}

fn change(object: Value) -> Option<(Kind, Name, Option<Value>)> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let group = text("/apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
    let is_config = |kind: &&Kind| kind.group.ends_with(".istio.io") || kind.group == "gateway.networking.k8s.io";
    let mut kinds = KINDS.iter().filter(is_config);
    let kind = *kinds.find(|kind| kind.group == group && kind.kind == text("/kind"))?;
    let name = (text("/metadata/namespace").to_owned(), text("/metadata/name").to_owned());
    Some((kind, name, Some(object)))
}

/// What is said, in the pages' words. To be called aside from the threads that serve: it waits.
fn of(source: &Source, sight: &Sight, changes: Changes, now: i64) -> Result<Value, Error> {
    let (from, to) = (now.saturating_sub(WINDOW), now);
    let whole = source.world.whole();
    // What pods asked that are gone since was asked all the same.
    let until = to.saturating_mul(1000).saturating_add(999);
    let departed = crate::facts::departed(&whole, from.saturating_mul(1000), until)?;
    let mesh = |world| Mesh::of(world, &source.cluster, &source.domain).with_departed(&departed, &source.cluster);
    let (before, after) = (mesh(&whole), mesh(&whole.changed(changes)));
    let records = records(source, (micros(from), micros(to)))?;
    let counted = Counted::read(source, to)?;
    let gathered = gather(records, &before, &counted, sight);
    let until = Instant::now() + PATIENCE;
    let seconds = u64::try_from(now).unwrap_or(0);
    let effect = predict(&gathered.shapes, (&before, &after), seconds, &|namespace| sight.sees(namespace), &mut || {
        Instant::now() < until
    });
    let mut told = serde_json::to_value(&effect).unwrap_or_default();
    if let Some(fields) = told.as_object_mut() {
        let unexamined = effect.unexamined.saturating_add(gathered.surplus);
        fields.insert("unexamined".to_owned(), unexamined.into());
        fields.insert("from".to_owned(), from.into());
        fields.insert("to".to_owned(), to.into());
        fields.insert("unrecorded".to_owned(), gathered.unrecorded.into());
        let elsewhere = matches!(source.traces, Traces::Elsewhere(_));
        fields.insert("records".to_owned(), json!(if elsewhere { "elsewhere" } else { "kept" }));
    }
    Ok(told)
}

fn micros(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000)
}

/// Each request once: as its client's proxy recorded it, else its server's.
fn records(source: &Source, (start, end): (u64, u64)) -> Result<Vec<Seen>, Error> {
    let spans = source.store.spans().recent(start, end.saturating_add(1_000_000), SPANS)?;
    let all: Vec<Seen> = spans.iter().filter_map(seen).collect();
    let clients: HashSet<(String, Vec<u8>)> = all
        .iter()
        .filter(|seen| seen.hop.direction == Direction::Outbound)
        .map(|seen| (seen.trace.clone(), seen.hop.id.clone()))
        .collect();
    let is_twice = |seen: &Seen| clients.contains(&(seen.trace.clone(), seen.hop.parent.clone()));
    let once = all.into_iter().filter(|seen| seen.hop.direction == Direction::Outbound || !is_twice(seen));
    let mut once: Vec<Seen> = once.collect();
    read_logs(source, &mut once, (start, end))?;
    Ok(once)
}

/// What requests to one place have in common: of a pod's side, its cluster and the authority.
type Place = (String, String, bool, String, String);

fn place(hop: &RecordedHop) -> Place {
    let outbound = hop.direction == Direction::Outbound;
    (hop.namespace.clone(), hop.pod.clone(), outbound, hop.cluster.clone(), hop.authority.clone())
}

/// What was dialled, from lines of access logs; of whom there is no line, as of others to the same place.
fn read_logs(source: &Source, records: &mut [Seen], (start, end): (u64, u64)) -> Result<(), Error> {
    let mut pods: HashMap<(String, String), usize> = HashMap::new();
    for seen in records.iter() {
        *pods.entry((seen.hop.namespace.clone(), seen.hop.pod.clone())).or_default() += 1;
    }
    let mut busiest: Vec<_> = pods.into_iter().collect();
    busiest.sort_by(|(a, more), (b, less)| less.cmp(more).then_with(|| a.cmp(b)));
    // A request keeps its id from one proxy to the next.
    let mut found: HashMap<(String, String, String, bool), (SocketAddr, String)> = HashMap::new();
    for ((namespace, pod), _) in busiest.into_iter().take(LOGS) {
        let is_own = |of: &Container| of.namespace == namespace && of.pod == pod;
        let lines = source.store.logs().lines(is_own, start, end.saturating_add(LATER), LINES)?;
        for line in lines.iter().filter_map(|line| access_line::read(&line.text)) {
            let outbound = line.direction() == Direction::Outbound;
            if let Some(dialled) = line.dialled {
                let of = (namespace.clone(), pod.clone(), line.request_id, outbound);
                found.insert(of, (dialled, line.server_name));
            }
        }
    }
    let mut known: HashMap<Place, (SocketAddr, String)> = HashMap::new();
    for seen in records.iter_mut() {
        let outbound = seen.hop.direction == Direction::Outbound;
        let of = (seen.hop.namespace.clone(), seen.hop.pod.clone(), seen.request_id.clone(), outbound);
        if let Some((dialled, server_name)) = found.get(&of) {
            (seen.hop.dialled, seen.hop.server_name) = (Some(*dialled), server_name.clone());
            known.insert(place(&seen.hop), (*dialled, server_name.clone()));
        }
    }
    for seen in records.iter_mut().filter(|seen| seen.hop.dialled.is_none()) {
        if let Some((dialled, server_name)) = known.get(&place(&seen.hop)) {
            (seen.hop.dialled, seen.hop.server_name) = (Some(*dialled), server_name.clone());
        }
    }
    Ok(())
}

/// From a workload (namespace and name) to the host of a service, or to a cluster of none; without a client's own count to a workload.
type Edge = (String, String, String);

/// How many requests there were, and the namespace that they were for.
type Counts = HashMap<Edge, (f64, String)>;

/// How many requests there were.
#[derive(Debug, Default)]
struct Counted {
    /// As clients' proxies count.
    clients: Counts,
    /// As those of servers count what comes from clients without one.
    servers: Counts,
}

impl Counted {
    fn read(source: &Source, end: i64) -> Result<Self, Error> {
        let rates = source.rates(end.saturating_mul(1000).saturating_add(999), WINDOW * 1000, false)?;
        let mut counted = Self::default();
        #[expect(clippy::cast_precision_loss, reason = "a constant, and small")]
        let seconds = WINDOW as f64;
        for series in rates.metrics("response_code").requests {
            let labels = &series.labels;
            let to_workload = (labels.destination_workload_namespace, labels.destination_workload);
            let (of, edge, namespace) = match labels.reporter {
                "source" => {
                    let name = labels.destination_service_name;
                    let to = if is_egress(name) { name.to_owned() } else { host(labels.destination_service) };
                    let from = (labels.source_workload_namespace, labels.source_workload);
                    let namespace = labels.destination_service_namespace;
                    (&mut counted.clients, (from.0.to_owned(), from.1.to_owned(), to), namespace)
                }
                "destination" if labels.source_workload == "unknown" => {
                    (&mut counted.servers, to_server(to_workload), to_workload.0)
                }
                _ => continue,
            };
            of.entry(edge).or_insert_with(|| (0.0, namespace.to_owned())).0 += series.rate * seconds;
        }
        Ok(counted)
    }
}

fn to_server((namespace, workload): (&str, &str)) -> Edge {
    (String::new(), String::new(), format!("{namespace}/{workload}"))
}

/// Without a port, in lower case.
fn host(authority: &str) -> String {
    let port = authority.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    port.map_or(authority, |(host, _)| host).to_ascii_lowercase()
}

/// Where a recorded request is counted, and the namespace that it was for.
fn edge(hop: &RecordedHop, at: (&str, &str)) -> (Edge, String) {
    if hop.direction == Direction::Inbound {
        return (to_server(at), at.0.to_owned());
    }
    let of_service = hop.cluster.strip_prefix("outbound|").and_then(|rest| rest.splitn(3, '|').nth(2));
    let to = match of_service {
        Some(service) => host(service),
        None if is_egress(&hop.cluster) => hop.cluster.clone(),
        // It ended before it was known what it was for.
        None => host(&hop.authority),
    };
    let mut labels = to.splitn(3, '.').skip(1);
    let namespace = labels.next().filter(|_| labels.next().is_some_and(|rest| rest.starts_with("svc.")));
    let namespace = namespace.unwrap_or_default().to_owned();
    ((at.0.to_owned(), at.1.to_owned(), to), namespace)
}

/// What was gathered.
#[derive(Debug, Default)]
struct Gathered {
    shapes: Vec<Shape>,
    /// Requests of shapes that are too many.
    surplus: u64,
    /// Requests that were counted where none was recorded.
    unrecorded: u64,
}

/// What requests that look the same have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Look {
    at: (String, String),
    outbound: bool,
    head: [String; 5],
    cluster: String,
    dialled: Option<SocketAddr>,
    client: String,
    grpc: bool,
}

impl Look {
    fn of(hop: &RecordedHop, at: (&str, &str)) -> Self {
        let outbound = hop.direction == Direction::Outbound;
        // A client outside is one or another.
        let peer = hop.peer.filter(|_| !outbound).map(|peer| peer.to_string());
        Self {
            at: (at.0.to_owned(), at.1.to_owned()),
            outbound,
            head: [&hop.method, &hop.scheme, &hop.authority, &hop.path, &hop.user_agent].map(Clone::clone),
            cluster: hop.cluster.clone(),
            dialled: hop.dialled,
            client: format!("{} {}", peer.unwrap_or_default(), hop.server_name),
            grpc: hop.grpc,
        }
    }
}

/// Requests by their looks, each with as many as it stands for.
fn gather(records: Vec<Seen>, mesh: &Mesh, counted: &Counted, sight: &Sight) -> Gathered {
    let mut recorded: HashMap<Edge, f64> = HashMap::new();
    let mut looks: HashMap<Look, (Edge, Shape)> = HashMap::new();
    for seen in records {
        let Some(at) = mesh.workload_at(&seen.hop) else { continue };
        let (edge, of) = edge(&seen.hop, at);
        if !(sight.sees(at.0) || sight.sees(&of)) {
            continue;
        }
        *recorded.entry(edge.clone()).or_default() += 1.0;
        let example = example(&seen);
        let shape = looks.entry(Look::of(&seen.hop, at)).or_insert_with(|| {
            let (codes, examples) = (BTreeMap::new(), Vec::new());
            (edge, Shape { hop: seen.hop.clone(), requests: 0.0, recorded: 0, codes, examples })
        });
        shape.1.recorded += 1;
        *shape.1.codes.entry(example.code).or_default() += 1;
        if shape.1.examples.len() < EXAMPLES {
            shape.1.examples.push(example);
        }
    }
    let stands_for = |edge: &Edge, outbound: bool| {
        let counted = if outbound { &counted.clients } else { &counted.servers };
        let counted = counted.get(edge).map_or(0.0, |(count, _)| *count);
        (counted / recorded.get(edge).map_or(1.0, |count| count.max(1.0))).max(1.0)
    };
    let mut shapes: Vec<Shape> = looks
        .into_iter()
        .map(|(look, (edge, mut shape))| {
            #[expect(clippy::cast_precision_loss, reason = "a window has fewer")]
            let count = shape.recorded as f64;
            shape.requests = count * stands_for(&edge, look.outbound);
            shape
        })
        .collect();
    shapes.sort_by(|a, b| b.requests.total_cmp(&a.requests).then_with(|| a.hop.path.cmp(&b.hop.path)));
    let surplus = shapes.iter().skip(SHAPES).map(|shape| shape.requests).sum();
    shapes.truncate(SHAPES);
    let all = counted.clients.iter().chain(&counted.servers);
    let is_seen = |edge: &Edge, of: &str| sight.sees(&edge.0) || sight.sees(of);
    let unrecorded =
        all.filter(|(edge, (_, of))| !recorded.contains_key(*edge) && is_seen(edge, of)).map(|(_, (count, _))| count);
    Gathered { surplus: whole(surplus), unrecorded: whole(unrecorded.sum()), shapes }
}

fn example(seen: &Seen) -> Example {
    let (hop, at) = (&seen.hop, seen.at / 1_000_000);
    let (method, path, trace_id) = (hop.method.clone(), hop.path.clone(), seen.trace.clone());
    Example { at, method, path, code: hop.status, trace_id }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded, and never negative")]
fn whole(number: f64) -> u64 {
    number.round().max(0.0) as u64
}

#[cfg(test)]
mod tests;
