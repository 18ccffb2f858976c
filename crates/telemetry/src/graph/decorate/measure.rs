//! What other metrics tell of edges: how long requests took, how they were secured, how many bytes they had.
//!
//! The server's report goes before the client's, for times and mTLS; for the bytes of requests the client's goes first. Where
//! only the other side reports, its word is taken.

use std::collections::HashMap;

use super::super::arena::Id;
use super::super::draft::{Draft, Flow};
use super::super::input::{Durations, Metrics, Series};
use super::super::key::known;
use super::super::model::{Bytes, ResponseTimes, Security, Unit};
use super::super::options::{GrpcRate, TcpRate};
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
fn each<'a, T: Default, R: Reported<'a>>(
    draft: &mut Draft<'a>,
    finder: &mut Finder<'a>,
    (reports, unit): (&[R], Unit),
    said: &mut HashMap<Id<Flow<'a>>, Said<T>>,
    mut take: impl FnMut(&mut T, &R),
) {
    // What is wrong with a series has been counted where it was counted.
    let mut left_out = draft.left_out;
    for report in reports {
        let Some(row) = read(&report.series(), unit, &draft.options.rates, &mut left_out) else { continue };
        for edge in finder.find(draft, &row).edges() {
            take(said.entry(edge).or_default().by(row.side), report);
        }
    }
}

/// What says by its labels whose it is.
trait Reported<'a> {
    fn series(&self) -> Series<'a>;
}

impl<'a> Reported<'a> for Series<'a> {
    fn series(&self) -> Series<'a> {
        *self
    }
}

impl<'a> Reported<'a> for Durations<'a> {
    fn series(&self) -> Series<'a> {
        Series { labels: self.labels, rate: self.count }
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
    fn add(&mut self, durations: &Durations<'_>) {
        self.sum += durations.sum;
        self.count += durations.count;
        for (place, (bound, rate)) in durations.buckets.iter().enumerate() {
            // All histograms have the same bounds as a rule, in the same order.
            let same = self.buckets.get(place).is_some_and(|(known, _)| known == bound);
            let place = if same { Some(place) } else { self.buckets.iter().position(|(known, _)| known == bound) };
            match place.and_then(|place| self.buckets.get_mut(place)) {
                Some((_, sum)) => *sum += rate,
                None => self.buckets.push((*bound, *rate)),
            }
        }
    }

    fn millis(mut self) -> ResponseTimes {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let some = |millis: &f64| millis.is_finite() && *millis > 0.0;
        let within = |share| quantile(&self.buckets, share).filter(some).unwrap_or_default();
        let avg = (self.count > 0.0).then(|| self.sum / self.count).filter(some).unwrap_or_default();
        ResponseTimes { avg, p50: within(0.5), p95: within(0.95), p99: within(0.99) }
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
pub(super) fn response_times<'a>(draft: &mut Draft<'a>, metrics: &Metrics<'a>) {
    if !draft.options.rates.requests() {
        return;
    }
    let mut finder = Finder::new(draft);
    let mut said: HashMap<_, Said<Times>> = HashMap::new();
    each(draft, &mut finder, (&metrics.durations, Unit::Requests), &mut said, Times::add);
    for (edge, said) in said {
        let (server, client) = (said.server.millis(), said.client.millis());
        let first = |one: f64, other: f64| if one > 0.0 { one } else { other };
        let times = ResponseTimes {
            avg: first(server.avg, client.avg),
            p50: first(server.p50, client.p50),
            p95: first(server.p95, client.p95),
            p99: first(server.p99, client.p99),
        };
        draft.flows[edge].edge.response_times = (times != ResponseTimes::default()).then_some(times);
    }
}

/// How many bytes requests and responses had.
pub(super) fn throughput<'a>(draft: &mut Draft<'a>, metrics: &Metrics<'a>) {
    let mut finder = Finder::new(draft);
    for (of_requests, series) in [(true, &metrics.request_bytes), (false, &metrics.response_bytes)] {
        let mut said: HashMap<_, Said<f64>> = HashMap::new();
        each(draft, &mut finder, (series, Unit::Requests), &mut said, |bytes, series| *bytes += series.rate);
        for (edge, Said { server, client }) in said {
            let (first, other) = if of_requests { (client, server) } else { (server, client) };
            let (source, target) = (draft.flows[edge].edge.source, draft.flows[edge].edge.target);
            let stretch = draft.options.stretch(&draft.nodes[source].namespace, &draft.nodes[target].namespace);
            let bytes = if first > 0.0 { first } else { other } * stretch;
            if bytes > 0.0 {
                let known = draft.flows[edge].edge.throughput.get_or_insert_with(Bytes::default);
                *(if of_requests { &mut known.request } else { &mut known.response }) = bytes;
            }
        }
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
