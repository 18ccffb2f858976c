//! What other metrics tell of edges: how long requests took, how they were secured, how many bytes they had.
//!
//! The server's report goes before the client's, for times and mTLS; for the bytes of requests the client's goes first. Where
//! only the other side reports, its word is taken.

use std::collections::HashMap;

use super::super::arena::Id;
use super::super::draft::{Draft, Flow};
use super::super::input::{Metrics, Series};
use super::super::key::known;
use super::super::model::{Security, Unit};
use super::super::options::{GrpcRate, ResponseTime, TcpRate, Throughput};
use super::super::row::{Side, read};
use super::Finder;

/// Label of traffic that came over mTLS.
const MUTUAL_TLS: &str = "mutual_tls";

/// What the server says of an edge, and what the client says.
#[derive(Debug)]
struct Said<T> {
    server: T,
    client: T,
}

impl<T: Default> Default for Said<T> {
    fn default() -> Self {
        Self { server: T::default(), client: T::default() }
    }
}

impl<T> Said<T> {
    fn by(&mut self, side: Side) -> &mut T {
        if side.receives() { &mut self.server } else { &mut self.client }
    }
}

/// Goes through a metric of requests and hands over each report that belongs to edges.
fn each<'a, T: Default>(
    draft: &mut Draft<'a>,
    finder: &mut Finder<'a>,
    (series, unit): (&[Series<'a>], Unit),
    said: &mut HashMap<Id<Flow<'a>>, Said<T>>,
    mut take: impl FnMut(&mut T, &Series<'a>),
) {
    // What is wrong with a series has been counted where it was counted.
    let mut left_out = draft.left_out;
    for series in series {
        let Some(row) = read(series, unit, &draft.options.rates, &mut left_out) else { continue };
        for edge in finder.find(draft, &row).edges() {
            take(said.entry(edge).or_default().by(row.side), series);
        }
    }
}

/// Sum and count, or cumulative buckets by their upper bound.
#[derive(Debug, Default)]
struct Times {
    sum: f64,
    count: f64,
    buckets: Vec<(f64, f64)>,
}

impl Times {
    fn add(&mut self, bound: f64, rate: f64) {
        match self.buckets.iter_mut().find(|(b, _)| *b == bound) {
            Some((_, sum)) => *sum += rate,
            None => self.buckets.push((bound, rate)),
        }
    }

    fn millis(&mut self, how: ResponseTime) -> Option<f64> {
        match how {
            ResponseTime::Average => (self.count > 0.0).then(|| self.sum / self.count),
            ResponseTime::Quantile(share) => {
                self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                quantile(&self.buckets, share)
            }
        }
        .filter(|millis| millis.is_finite() && *millis > 0.0)
    }
}

/// The value below which a share of all values lie, by linear interpolation in its bucket; bounds rise, counts are cumulative.
pub(in super::super) fn quantile(buckets: &[(f64, f64)], share: f64) -> Option<f64> {
    let (last, all) = *buckets.last()?;
    if last.is_finite() || all <= 0.0 {
        return None;
    }
    let rank = share * all;
    let (mut lower, mut below) = (0.0, 0.0);
    for (upper, count) in buckets {
        if *count >= rank && *count > below {
            // The last bucket has no end: its beginning is the best that can be said.
            return Some(if upper.is_finite() {
                lower + (upper - lower) * (rank - below) / (count - below)
            } else {
                lower
            });
        }
        (lower, below) = (*upper, *count);
    }
    Some(lower)
}

/// How long requests took.
pub(super) fn response_time<'a>(draft: &mut Draft<'a>, metrics: &Metrics<'a>) {
    if !draft.options.rates.requests() {
        return;
    }
    let how = draft.options.response_time;
    let mut finder = Finder::new(draft);
    let mut said: HashMap<_, Said<Times>> = HashMap::new();
    match how {
        ResponseTime::Average => {
            each(draft, &mut finder, (&metrics.duration_sums, Unit::Requests), &mut said, |t, s| t.sum += s.rate);
            each(draft, &mut finder, (&metrics.duration_counts, Unit::Requests), &mut said, |t, s| t.count += s.rate);
        }
        ResponseTime::Quantile(_) => {
            each(draft, &mut finder, (&metrics.duration_buckets, Unit::Requests), &mut said, |times, series| {
                if let Ok(bound) = series.labels.le.parse() {
                    times.add(bound, series.rate);
                }
            });
        }
    }
    for (edge, mut said) in said {
        draft.flows[edge].edge.response_time = said.server.millis(how).or_else(|| said.client.millis(how));
    }
}

/// How many bytes requests or responses had.
pub(super) fn throughput<'a>(draft: &mut Draft<'a>, metrics: &Metrics<'a>) {
    let series = match draft.options.throughput {
        Throughput::Request => &metrics.request_bytes,
        Throughput::Response => &metrics.response_bytes,
    };
    let of_requests = draft.options.throughput == Throughput::Request;
    let mut finder = Finder::new(draft);
    let mut said: HashMap<_, Said<f64>> = HashMap::new();
    each(draft, &mut finder, (series, Unit::Requests), &mut said, |bytes, series| *bytes += series.rate);
    for (edge, Said { server, client }) in said {
        let (first, other) = if of_requests { (client, server) } else { (server, client) };
        let (source, target) = (draft.flows[edge].edge.source, draft.flows[edge].edge.target);
        let stretch = draft.options.stretch(&draft.nodes[source].namespace, &draft.nodes[target].namespace);
        let bytes = if first > 0.0 { first } else { other } * stretch;
        draft.flows[edge].edge.throughput = (bytes > 0.0).then_some(bytes);
    }
}

/// How much came over mTLS, and from whom to whom.
#[derive(Debug, Default)]
struct Secured<'a> {
    mtls: f64,
    all: f64,
    principals: Option<(&'a str, &'a str)>,
    more: bool,
}

/// How traffic was secured; only servers know.
pub(super) fn security<'a>(draft: &mut Draft<'a>, metrics: &Metrics<'a>) {
    let rates = draft.options.rates;
    let mut finder = Finder::new(draft);
    let mut said: HashMap<_, Said<Secured<'a>>> = HashMap::new();
    let sent = matches!(rates.grpc, GrpcRate::Sent | GrpcRate::Total);
    let received = matches!(rates.grpc, GrpcRate::Received | GrpcRate::Total);
    let tcp_sent = matches!(rates.tcp, TcpRate::Sent | TcpRate::Total);
    let tcp_received = matches!(rates.tcp, TcpRate::Received | TcpRate::Total);
    for (asked, series, unit) in [
        (rates.requests(), &metrics.requests, Unit::Requests),
        (sent, &metrics.request_messages, Unit::Messages),
        (received, &metrics.response_messages, Unit::Messages),
        (tcp_sent, &metrics.tcp_received_bytes, Unit::Bytes),
        (tcp_received, &metrics.tcp_sent_bytes, Unit::Bytes),
    ] {
        if asked {
            each(draft, &mut finder, (series, unit), &mut said, secured);
        }
    }
    for (edge, Said { server, client }) in said {
        // A ztunnel at the client's end knows, where there is none at the server's.
        let secured = if server.all > 0.0 { server } else { client };
        let by_client = secured.principals.is_none_or(|(source, _)| !known(source)) && secured.mtls <= 0.0;
        if secured.all <= 0.0 || (by_client && draft.flows[edge].edge.security.is_some()) {
            continue;
        }
        let name = |name: &str| known(name).then(|| name.to_owned());
        let (source, destination) = secured.principals.unwrap_or_default();
        draft.flows[edge].edge.security = Some(Security {
            mtls: secured.mtls / secured.all,
            source_principal: name(source),
            destination_principal: name(destination),
            more_principals: secured.more,
        });
    }
    // A waypoint is always reached over mTLS, though no label says so.
    for id in draft.flow_ids() {
        let edge = &draft.flows[id].edge;
        if edge.security.is_none() && (draft.nodes[edge.source].waypoint || draft.nodes[edge.target].waypoint) {
            draft.flows[id].edge.security = Some(Security { mtls: 1.0, ..Security::default() });
        }
    }
}

fn secured<'a>(secured: &mut Secured<'a>, series: &Series<'a>) {
    let labels = &series.labels;
    let ztunnel = labels.app == "ztunnel";
    if series.rate <= 0.0 || (labels.reporter == "source" && !ztunnel) {
        return;
    }
    secured.all += series.rate;
    if labels.connection_security_policy == MUTUAL_TLS {
        secured.mtls += series.rate;
    }
    let principals = (labels.source_principal, labels.destination_principal);
    secured.more |= *secured.principals.get_or_insert(principals) != principals;
}
