//! What a graph is made from: rates of Istio's series, and facts about the environment. The caller fills both.
//!
//! Nothing is looked up here. A series' labels are borrowed and sorted into fields once ([`Labels::from_pairs`]); whoever keeps
//! series may keep the fields beside them, because labels never change while rates do.

use std::collections::HashMap;

use super::facts::Facts;

/// Everything that a graph is made from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Rates over the window.
    pub metrics: &'a Metrics<'a>,
    /// What is known of namespaces, services and workloads.
    pub facts: &'a Facts,
}

/// Rates of the series of Istio's metrics, each over the whole window.
#[derive(Debug, Clone, Default)]
pub struct Metrics<'a> {
    /// `istio_requests_total`.
    pub requests: Vec<Series<'a>>,
    /// `istio_request_messages_total`.
    pub request_messages: Vec<Series<'a>>,
    /// `istio_response_messages_total`.
    pub response_messages: Vec<Series<'a>>,
    /// `istio_tcp_sent_bytes_total`: from the server to the client.
    pub tcp_sent_bytes: Vec<Series<'a>>,
    /// `istio_tcp_received_bytes_total`: from the client to the server.
    pub tcp_received_bytes: Vec<Series<'a>>,
    /// `istio_request_duration_milliseconds`, a histogram at a time.
    pub durations: Vec<Durations<'a>>,
    /// `istio_request_bytes_sum`.
    pub request_bytes: Vec<Series<'a>>,
    /// `istio_response_bytes_sum`.
    pub response_bytes: Vec<Series<'a>>,
}

/// One series and how fast it grew.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    /// Its labels.
    pub labels: Labels<'a>,
    /// Growth a second, averaged over the window.
    pub rate: f64,
}

/// How fast the series of one histogram of durations grew.
#[derive(Debug, Clone, Default)]
pub struct Durations<'a> {
    /// Its labels, without a bound.
    pub labels: Labels<'a>,
    /// Of `_sum`: milliseconds a second.
    pub sum: f64,
    /// Of `_count`.
    pub count: f64,
    /// Of each `_bucket`, cumulative as they are, by the upper bound in milliseconds.
    pub buckets: Vec<(f64, f64)>,
}

impl<'a> Durations<'a> {
    /// Puts series of `_bucket`, `_sum` and `_count` together. A bucket whose `le` is no number is left out.
    pub fn together(buckets: &[Series<'a>], sums: &[Series<'a>], counts: &[Series<'a>]) -> Vec<Self> {
        let mut places: HashMap<Labels<'a>, usize> = HashMap::new();
        let mut all: Vec<Self> = Vec::new();
        let mut each = |series: &[Series<'a>], add: fn(&mut Self, &Series<'a>)| {
            for series in series {
                let labels = Labels { le: "", ..series.labels };
                let place = *places.entry(labels).or_insert_with(|| {
                    all.push(Self { labels, ..Self::default() });
                    all.len() - 1
                });
                if let Some(of) = all.get_mut(place) {
                    add(of, series);
                }
            }
        };
        each(buckets, |of, series| of.buckets.extend(series.labels.le.parse().ok().map(|bound| (bound, series.rate))));
        each(sums, |of, series| of.sum += series.rate);
        each(counts, |of, series| of.count += series.rate);
        all
    }
}

/// The labels of a series that mean something to a graph. Empty: not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the fields are Istio's labels")]
pub struct Labels<'a> {
    pub reporter: &'a str,
    pub app: &'a str,
    pub source_cluster: &'a str,
    pub source_workload_namespace: &'a str,
    pub source_workload: &'a str,
    pub source_canonical_service: &'a str,
    pub source_canonical_revision: &'a str,
    pub source_principal: &'a str,
    pub destination_cluster: &'a str,
    pub destination_service_namespace: &'a str,
    pub destination_service: &'a str,
    pub destination_service_name: &'a str,
    pub destination_workload_namespace: &'a str,
    pub destination_workload: &'a str,
    pub destination_canonical_service: &'a str,
    pub destination_canonical_revision: &'a str,
    pub destination_principal: &'a str,
    pub request_protocol: &'a str,
    pub response_code: &'a str,
    /// `None`: the label is not there, which is not the same as an empty one.
    pub grpc_response_status: Option<&'a str>,
    pub response_flags: &'a str,
    pub connection_security_policy: &'a str,
    pub le: &'a str,
    /// Where a Telemetry resource adds it: the host that was asked for.
    pub request_host: &'a str,
    /// Where a Telemetry resource adds it: the address that was dialled.
    pub destination_address: &'a str,
    /// Where a Telemetry resource adds it: the port that was dialled.
    pub destination_port: &'a str,
    /// Value of the label that requests are told apart by ([`super::Options::aggregate`]).
    pub aggregate: &'a str,
}

impl<'a> Labels<'a> {
    /// Sorts labels into fields. `aggregate` is the name of the label that requests are told apart by; others are left out.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (&'a str, &'a str)>, aggregate: &str) -> Self {
        let mut labels = Self::default();
        for (name, value) in pairs {
            if name == aggregate {
                labels.aggregate = value;
            }
            let field = match name {
                "reporter" => &mut labels.reporter,
                "app" => &mut labels.app,
                "source_cluster" => &mut labels.source_cluster,
                "source_workload_namespace" => &mut labels.source_workload_namespace,
                "source_workload" => &mut labels.source_workload,
                "source_canonical_service" => &mut labels.source_canonical_service,
                "source_canonical_revision" => &mut labels.source_canonical_revision,
                "source_principal" => &mut labels.source_principal,
                "destination_cluster" => &mut labels.destination_cluster,
                "destination_service_namespace" => &mut labels.destination_service_namespace,
                "destination_service" => &mut labels.destination_service,
                "destination_service_name" => &mut labels.destination_service_name,
                "destination_workload_namespace" => &mut labels.destination_workload_namespace,
                "destination_workload" => &mut labels.destination_workload,
                "destination_canonical_service" => &mut labels.destination_canonical_service,
                "destination_canonical_revision" => &mut labels.destination_canonical_revision,
                "destination_principal" => &mut labels.destination_principal,
                "request_protocol" => &mut labels.request_protocol,
                "response_code" => &mut labels.response_code,
                "response_flags" => &mut labels.response_flags,
                "connection_security_policy" => &mut labels.connection_security_policy,
                "le" => &mut labels.le,
                "request_host" => &mut labels.request_host,
                "destination_address" => &mut labels.destination_address,
                "destination_port" => &mut labels.destination_port,
                "grpc_response_status" => {
                    labels.grpc_response_status = Some(value);
                    continue;
                }
                _ => continue,
            };
            *field = value;
        }
        labels
    }
}
