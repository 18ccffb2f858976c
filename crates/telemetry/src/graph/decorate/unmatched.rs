//! What stands behind edges to PassthroughCluster and BlackHoleCluster, host by host.
//!
//! Where a server tells of requests from the same client which the client's proxy sent to none of its services, they are taken to
//! be where this traffic arrived.

use std::collections::HashMap;

use super::super::arena::Id;
use super::super::draft::{Draft, Flow};
use super::super::input::{Labels, Metrics, Series};
use super::super::key::known;
use super::super::model::Unit;
use super::super::row::read;
use super::super::unmatched::{Arrived, Asked, Unmatched, explain};
use super::Finder;

/// Hosts that are told of for one edge, the most used first: a client can make up as many as it likes.
const MOST: usize = 10;

/// Explains every edge to nowhere.
pub(super) fn apply<'a>(draft: &mut Draft<'a>, metrics: &Metrics<'a>) {
    if !draft.nodes.iter().any(|node| node.egress.is_some() && !node.gone) {
        return;
    }
    let mut finder = Finder::new(draft);
    let mut asked: HashMap<Id<Flow<'a>>, HashMap<Asked<'a>, f64>> = HashMap::new();
    for (series, unit) in [
        (&metrics.requests, Unit::Requests),
        (&metrics.tcp_received_bytes, Unit::Bytes),
        (&metrics.tcp_sent_bytes, Unit::Bytes),
    ] {
        for series in series.iter().filter(|s| is_egress(&s.labels)) {
            note(draft, &mut finder, series, unit, &mut asked);
        }
    }
    let mut arrived = Arrivals::new(metrics);
    for (flow, asked) in asked {
        let source = draft.flows[flow].edge.source;
        let client = (draft.nodes[source].namespace.as_str(), draft.nodes[source].workload.as_str());
        let arrived = arrived.of(client);
        let mut unmatched: Vec<Unmatched> = asked.into_iter().map(|(asked, rate)| of(&asked, rate)).collect();
        unmatched.sort_by(|a, b| b.rate.total_cmp(&a.rate).then_with(|| (&a.host, a.port).cmp(&(&b.host, b.port))));
        unmatched.truncate(MOST);
        for one in &mut unmatched {
            let asked = Asked {
                cluster: &draft.nodes[source].cluster,
                namespace: &draft.nodes[source].namespace,
                host: &one.host,
                address: &one.address,
                port: one.port,
            };
            (one.reason, one.meant) = explain(&asked, draft.facts);
            one.arrived = arrived.clone();
            one.message = one.to_string();
        }
        draft.flows[flow].edge.unmatched = unmatched;
    }
}

fn is_egress(labels: &Labels<'_>) -> bool {
    matches!(labels.destination_service_name, "PassthroughCluster" | "BlackHoleCluster")
}

fn note<'a>(
    draft: &Draft<'a>,
    finder: &mut Finder<'a>,
    series: &Series<'a>,
    unit: Unit,
    asked: &mut HashMap<Id<Flow<'a>>, HashMap<Asked<'a>, f64>>,
) {
    let mut left_out = draft.left_out;
    let Some(row) = read(series, unit, &draft.options.rates, &mut left_out) else { return };
    let Some(flow) = finder.find(draft, &row).asked.filter(|_| row.side.sends()) else { return };
    let labels = &series.labels;
    let host = if labels.request_host.is_empty() { labels.destination_service } else { labels.request_host };
    let named = known(host) && host != labels.destination_service_name;
    let what = Asked {
        host: if named { host } else { "" },
        address: labels.destination_address,
        port: labels.destination_port.parse().ok(),
        ..Asked::default()
    };
    let stretch = draft.options.stretch(row.source.namespace(), row.target.namespace());
    *asked.entry(flow).or_default().entry(what).or_default() += series.rate * stretch;
}

fn of(asked: &Asked<'_>, rate: f64) -> Unmatched {
    Unmatched {
        host: asked.host.to_owned(),
        address: asked.address.to_owned(),
        port: asked.port,
        rate,
        reason: super::super::unmatched::Reason::NothingKnown,
        meant: None,
        arrived: None,
        message: String::new(),
    }
}

/// Namespace and name of a workload.
type Name<'a> = (&'a str, &'a str);

/// Requests that servers tell of, by client, and whether the client tells of them too.
struct Arrivals<'m, 'a> {
    metrics: &'m Metrics<'a>,
    by_client: Option<HashMap<Name<'a>, HashMap<Name<'a>, Told<'a>>>>,
}

#[derive(Default)]
struct Told<'a> {
    by_client: bool,
    by_server: f64,
    service: &'a str,
}

impl<'m, 'a> Arrivals<'m, 'a> {
    fn new(metrics: &'m Metrics<'a>) -> Self {
        Self { metrics, by_client: None }
    }

    /// Where most of what the client's proxy tells nothing of arrived.
    fn of(&mut self, client: (&str, &str)) -> Option<Arrived> {
        let metrics = self.metrics;
        let by_client = self.by_client.get_or_insert_with(|| read_all(metrics));
        let untold = by_client.get(&client)?.iter().filter(|(_, told)| !told.by_client && told.by_server > 0.0);
        let most = untold.max_by(|(a, at), (b, bt)| at.by_server.total_cmp(&bt.by_server).then_with(|| b.cmp(a)));
        most.map(|((namespace, workload), told)| Arrived {
            namespace: (*namespace).to_owned(),
            workload: (*workload).to_owned(),
            service: told.service.to_owned(),
        })
    }
}

fn read_all<'a>(metrics: &Metrics<'a>) -> HashMap<Name<'a>, HashMap<Name<'a>, Told<'a>>> {
    let mut told: HashMap<Name<'a>, HashMap<Name<'a>, Told<'a>>> = HashMap::new();
    for series in metrics.requests.iter().chain(&metrics.tcp_received_bytes).filter(|s| s.rate > 0.0) {
        let labels = &series.labels;
        let client = (labels.source_workload_namespace, labels.source_workload);
        let server = (labels.destination_workload_namespace, labels.destination_workload);
        if !known(client.1) || !known(server.1) {
            continue;
        }
        let told = told.entry(client).or_default().entry(server).or_default();
        if labels.reporter == "destination" {
            told.by_server += series.rate;
            told.service = labels.destination_service_name;
        } else {
            told.by_client = true;
        }
    }
    told
}
