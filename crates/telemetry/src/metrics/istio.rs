//! Istio's standard metrics, with exactly Istio's labels.
//!
//! What is the same for all requests between two workloads on one route is resolved once to an [`HttpSeries`] or [`TcpSeries`],
//! which the caller keeps; what differs from request to request (status, flags) is found in it without a lock.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use varka_engine::ir::Str;
use varka_engine::outcome::ResponseFlags;

use super::{Counter, Histogram, Labels, Sample, Value};

/// Most series of each kind; further ones are counted under a destination service `unknown`, so that a client cannot fill
/// the memory with names that it makes up.
const MOST_SERIES: usize = 10_000;
/// Results of one series that are found without a lock.
const QUICK_RESULTS: usize = 16;

/// On whose side a request is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reporter {
    /// The client's.
    Source,
    /// The server's.
    Destination,
}

/// What is known of a workload. Empty: not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Workload {
    /// Name of the Deployment or the like.
    pub name: Str,
    /// Namespace.
    pub namespace: Str,
    /// SPIFFE identity.
    pub principal: Str,
    /// Label `app`.
    pub app: Str,
    /// Label `version`.
    pub version: Str,
    /// Canonical service.
    pub canonical_service: Str,
    /// Canonical revision.
    pub canonical_revision: Str,
    /// Cluster (of Kubernetes) that it runs in.
    pub cluster: Str,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP.
    Http,
    /// gRPC.
    Grpc,
    /// Anything else over TCP.
    Tcp,
}

impl Protocol {
    /// Value of the label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

/// Whether the connection was secured, as the server knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecurityPolicy {
    /// The client does not say.
    Unknown,
    /// Plain text.
    None,
    /// mTLS.
    MutualTls,
}

impl SecurityPolicy {
    /// Value of the label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::None => "none",
            Self::MutualTls => "mutual_tls",
        }
    }
}

/// What all requests of a series have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SeriesKey {
    /// Whose report it is.
    pub reporter: Reporter,
    /// The client.
    pub source: Workload,
    /// The server.
    pub destination: Workload,
    /// Host of the service; on the client's side the request's Host where no service is known.
    pub service: Str,
    /// Name of the service.
    pub service_name: Str,
    /// Namespace of the service.
    pub service_namespace: Str,
    /// What is spoken.
    pub protocol: Protocol,
    /// How it was secured.
    pub security: SecurityPolicy,
}

impl SeriesKey {
    /// Labels from `reporter` to `destination_cluster`, in Istio's order.
    fn labels(&self) -> Labels {
        let (s, d) = (&self.source, &self.destination);
        let reporter = match self.reporter {
            Reporter::Source => "source",
            Reporter::Destination => "destination",
        };
        vec![
            ("reporter", reporter.to_owned()),
            ("source_workload", known(&s.name)),
            ("source_canonical_service", known(&s.canonical_service)),
            ("source_canonical_revision", revision(&s.canonical_revision)),
            ("source_workload_namespace", known(&s.namespace)),
            ("source_principal", known(&s.principal)),
            ("source_app", known(&s.app)),
            ("source_version", known(&s.version)),
            ("source_cluster", known(&s.cluster)),
            ("destination_workload", known(&d.name)),
            ("destination_workload_namespace", known(&d.namespace)),
            ("destination_principal", known(&d.principal)),
            ("destination_app", known(&d.app)),
            ("destination_version", known(&d.version)),
            ("destination_service", known(&self.service)),
            ("destination_canonical_service", known(&d.canonical_service)),
            ("destination_canonical_revision", revision(&d.canonical_revision)),
            ("destination_service_name", known(&self.service_name)),
            ("destination_service_namespace", known(&self.service_namespace)),
            ("destination_cluster", known(&d.cluster)),
        ]
    }
}

fn known(text: &str) -> String {
    if text.is_empty() { "unknown" } else { text }.to_owned()
}

fn revision(text: &str) -> String {
    if text.is_empty() { "latest" } else { text }.to_owned()
}

/// How one request ended, as far as it is a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestResult {
    /// HTTP status; 0 when the client got none.
    pub status: u16,
    /// Envoy's flags.
    pub flags: ResponseFlags,
    /// `grpc-status`.
    pub grpc_status: Option<u32>,
}

#[derive(Debug, Default)]
struct ResultSeries {
    requests: Counter,
    duration: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
}

/// Requests between two workloads to one service.
#[derive(Debug)]
pub struct HttpSeries {
    key: SeriesKey,
    quick: [OnceLock<(RequestResult, ResultSeries)>; QUICK_RESULTS],
    more: Mutex<HashMap<RequestResult, Arc<ResultSeries>>>,
    /// gRPC messages from the client.
    pub request_messages: Counter,
    /// gRPC messages to the client.
    pub response_messages: Counter,
}

impl HttpSeries {
    fn new(key: SeriesKey) -> Self {
        Self {
            key,
            quick: [const { OnceLock::new() }; QUICK_RESULTS],
            more: Mutex::default(),
            request_messages: Counter::default(),
            response_messages: Counter::default(),
        }
    }

    /// Counts a request. Sizes are of head and body, in bytes, as Istio counts them.
    pub fn count(&self, result: RequestResult, duration: Duration, request_bytes: u64, response_bytes: u64) {
        let add = |series: &ResultSeries| {
            series.requests.inc();
            series.duration.record(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
            series.request_bytes.record(request_bytes);
            series.response_bytes.record(response_bytes);
        };
        for slot in &self.quick {
            let (found, series) = slot.get_or_init(|| (result, ResultSeries::default()));
            if *found == result {
                return add(series);
            }
        }
        let series = {
            let mut more = self.more.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(more.entry(result).or_default())
        };
        add(&series);
    }

    fn samples(&self, out: &mut Vec<Sample>) {
        let labels = self.key.labels();
        for (result, series) in self.quick.iter().filter_map(OnceLock::get) {
            self.result_samples(&labels, result, series, out);
        }
        let more: Vec<_> = {
            let more = self.more.lock().unwrap_or_else(PoisonError::into_inner);
            more.iter().map(|(result, series)| (*result, Arc::clone(series))).collect()
        };
        for (result, series) in &more {
            self.result_samples(&labels, result, series, out);
        }
        for (family, counter) in [
            ("istio_request_messages_total", &self.request_messages),
            ("istio_response_messages_total", &self.response_messages),
        ] {
            if counter.get() > 0 {
                out.push(sample(family, labels.clone(), Value::Counter(counter.get())));
            }
        }
    }

    fn result_samples(&self, common: &Labels, result: &RequestResult, series: &ResultSeries, out: &mut Vec<Sample>) {
        let mut labels = common.clone();
        labels.extend([
            ("request_protocol", self.key.protocol.name().to_owned()),
            ("response_code", result.status.to_string()),
            ("grpc_response_status", result.grpc_status.map(|s| s.to_string()).unwrap_or_default()),
            ("response_flags", result.flags.to_string()),
            ("connection_security_policy", self.key.security.name().to_owned()),
        ]);
        out.push(sample("istio_requests_total", labels.clone(), Value::Counter(series.requests.get())));
        for (family, histogram) in [
            ("istio_request_duration_milliseconds", &series.duration),
            ("istio_request_bytes", &series.request_bytes),
            ("istio_response_bytes", &series.response_bytes),
        ] {
            out.push(sample(family, labels.clone(), Value::Histogram(Box::new(histogram.snapshot()))));
        }
    }
}

/// TCP connections between two workloads to one service.
#[derive(Debug)]
pub struct TcpSeries {
    key: SeriesKey,
    flags: ResponseFlags,
    /// `istio_tcp_connections_opened_total`.
    pub opened: Counter,
    /// `istio_tcp_connections_closed_total`.
    pub closed: Counter,
    /// `istio_tcp_sent_bytes_total`: to the client.
    pub sent_bytes: Counter,
    /// `istio_tcp_received_bytes_total`: from the client.
    pub received_bytes: Counter,
}

impl TcpSeries {
    fn samples(&self, out: &mut Vec<Sample>) {
        let mut labels = self.key.labels();
        labels.extend([
            ("request_protocol", Protocol::Tcp.name().to_owned()),
            ("response_flags", self.flags.to_string()),
            ("connection_security_policy", self.key.security.name().to_owned()),
        ]);
        for (family, counter) in [
            ("istio_tcp_connections_opened_total", &self.opened),
            ("istio_tcp_connections_closed_total", &self.closed),
            ("istio_tcp_sent_bytes_total", &self.sent_bytes),
            ("istio_tcp_received_bytes_total", &self.received_bytes),
        ] {
            out.push(sample(family, labels.clone(), Value::Counter(counter.get())));
        }
    }
}

fn sample(family: &'static str, labels: Labels, value: Value) -> Sample {
    let mut stat = format!("istiocustom.{family}");
    for (name, value) in &labels {
        stat.push('.');
        stat.push_str(name);
        stat.push('.');
        stat.push_str(value);
    }
    Sample { stat, family: Cow::Borrowed(family), labels, value }
}

/// All series of a proxy.
#[derive(Debug, Default)]
pub struct IstioMetrics {
    http: Mutex<HashMap<SeriesKey, Arc<HttpSeries>>>,
    tcp: Mutex<HashMap<(SeriesKey, ResponseFlags), Arc<TcpSeries>>>,
}

impl IstioMetrics {
    /// The series of these labels, to be kept by the caller.
    pub fn http(&self, key: SeriesKey) -> Arc<HttpSeries> {
        let mut all = self.http.lock().unwrap_or_else(PoisonError::into_inner);
        let key = if all.len() < MOST_SERIES || all.contains_key(&key) { key } else { anonymous(key) };
        Arc::clone(all.entry(key.clone()).or_insert_with(|| Arc::new(HttpSeries::new(key))))
    }

    /// The series of these labels, to be kept by the caller.
    pub fn tcp(&self, key: SeriesKey, flags: ResponseFlags) -> Arc<TcpSeries> {
        let mut all = self.tcp.lock().unwrap_or_else(PoisonError::into_inner);
        let key = if all.len() < MOST_SERIES || all.contains_key(&(key.clone(), flags)) { key } else { anonymous(key) };
        let new = || {
            Arc::new(TcpSeries {
                key: key.clone(),
                flags,
                opened: Counter::default(),
                closed: Counter::default(),
                sent_bytes: Counter::default(),
                received_bytes: Counter::default(),
            })
        };
        Arc::clone(all.entry((key.clone(), flags)).or_insert_with(new))
    }

    /// Samples of all series, and of `istio_build`.
    pub fn samples(&self, build_tag: &str, out: &mut Vec<Sample>) {
        let labels = vec![("component", "proxy".to_owned()), ("tag", build_tag.to_owned())];
        out.push(sample("istio_build", labels, Value::Gauge(1)));
        let http: Vec<_> = self.http.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect();
        http.iter().for_each(|series| series.samples(out));
        let tcp: Vec<_> = self.tcp.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect();
        tcp.iter().for_each(|series| series.samples(out));
    }
}

/// Where everything goes that is beyond the bound.
fn anonymous(key: SeriesKey) -> SeriesKey {
    SeriesKey {
        source: Workload::default(),
        destination: Workload::default(),
        service: "".into(),
        service_name: "".into(),
        service_namespace: "".into(),
        ..key
    }
}
