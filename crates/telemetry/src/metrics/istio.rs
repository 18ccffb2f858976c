//! Istio's standard metrics, with exactly Istio's labels.
//!
//! What is the same for all requests between two workloads on one route is resolved once to an [`HttpSeries`] or [`TcpSeries`],
//! which the caller keeps; what differs from request to request (status, flags) is found in it without a lock.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use varka_engine::outcome::ResponseFlags;

use super::{Counter, Histogram, Labels, Sample, Scope, Value};

mod customize;
mod key;

pub use customize::{Custom, Customization, Dimension};
pub use key::{Facts, Protocol, Reporter, SecurityPolicy, SeriesKey, Workload, bounded};

/// Most series of each kind; further ones are counted under a destination service `unknown`, so that a client cannot fill
/// the memory with names that it makes up.
const MOST_SERIES: usize = 10_000;
/// Results of one series that are found without a lock.
const QUICK_RESULTS: usize = 16;
/// Most results of one series; an endpoint can make up `grpc-status` as it likes. Further ones are counted without it.
const MOST_RESULTS: usize = 256;

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
    custom: Option<Custom>,
    quick: [OnceLock<(RequestResult, ResultSeries)>; QUICK_RESULTS],
    more: Mutex<HashMap<RequestResult, Arc<ResultSeries>>>,
    /// gRPC messages from the client.
    pub request_messages: Counter,
    /// gRPC messages to the client.
    pub response_messages: Counter,
}

impl HttpSeries {
    fn new((key, custom): Key) -> Self {
        Self {
            key,
            custom,
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
            let room = more.len() < MOST_RESULTS || more.contains_key(&result);
            let result = if room { result } else { RequestResult { grpc_status: None, ..result } };
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
                // Istio counts them before it knows how the request ends, so they have no more labels.
                push(out, self.custom.as_ref(), family, labels.clone(), Value::Counter(counter.get()));
            }
        }
    }

    fn result_samples(&self, common: &Labels, result: &RequestResult, series: &ResultSeries, out: &mut Vec<Sample>) {
        let mut labels = common.clone();
        labels.extend([
            ("request_protocol".into(), self.key.protocol().name().to_owned()),
            ("response_code".into(), result.status.to_string()),
            ("grpc_response_status".into(), result.grpc_status.map(|s| s.to_string()).unwrap_or_default()),
            ("response_flags".into(), result.flags.to_string()),
            ("connection_security_policy".into(), self.key.security().name().to_owned()),
        ]);
        let custom = self.custom.as_ref();
        push(out, custom, "istio_requests_total", labels.clone(), Value::Counter(series.requests.get()));
        for (family, histogram) in [
            ("istio_request_duration_milliseconds", &series.duration),
            ("istio_request_bytes", &series.request_bytes),
            ("istio_response_bytes", &series.response_bytes),
        ] {
            push(out, custom, family, labels.clone(), Value::Histogram(Box::new(histogram.snapshot())));
        }
    }
}

/// TCP connections between two workloads to one service.
#[derive(Debug)]
pub struct TcpSeries {
    key: SeriesKey,
    custom: Option<Custom>,
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
            ("request_protocol".into(), Protocol::Tcp.name().to_owned()),
            ("response_flags".into(), self.flags.to_string()),
            ("connection_security_policy".into(), self.key.security().name().to_owned()),
        ]);
        for (family, counter) in [
            ("istio_tcp_connections_opened_total", &self.opened),
            ("istio_tcp_connections_closed_total", &self.closed),
            ("istio_tcp_sent_bytes_total", &self.sent_bytes),
            ("istio_tcp_received_bytes_total", &self.received_bytes),
        ] {
            push(out, self.custom.as_ref(), family, labels.clone(), Value::Counter(counter.get()));
        }
    }
}

/// Shows a metric, as it is configured.
fn push(out: &mut Vec<Sample>, custom: Option<&Custom>, family: &'static str, labels: Labels, value: Value) {
    let labels = match custom {
        None => Some(labels),
        Some(custom) => custom.apply(family, labels),
    };
    out.extend(labels.map(|labels| sample(family, labels, value)));
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

/// Exchanges of metadata over TCP.
#[derive(Debug, Default)]
pub struct ExchangeCounters {
    found: Counter,
    not_found: Counter,
    added: Counter,
}

impl ExchangeCounters {
    /// A connection has begun. `agreed`: both sides want to exchange, and we have said who we are.
    pub fn begun(&self, agreed: bool) {
        if agreed {
            self.found.inc();
            self.added.inc();
        } else {
            self.not_found.inc();
        }
    }

    /// Under Envoy's names.
    pub fn samples(&self, out: &mut Vec<Sample>) {
        let scope = Scope {
            stat: "metadata_exchange.".to_owned(),
            family: "envoy_metadata_exchange_".into(),
            labels: Vec::new(),
        };
        for (name, counter) in [
            ("alpn_protocol_found", &self.found),
            ("alpn_protocol_not_found", &self.not_found),
            ("metadata_added", &self.added),
        ] {
            out.push(scope.sample(name, Value::Counter(counter.get())));
        }
    }
}

/// Labels, and how they are shown.
type Key = (SeriesKey, Option<Custom>);

/// All series of a proxy.
#[derive(Debug, Default)]
pub struct IstioMetrics {
    http: Mutex<HashMap<Key, Arc<HttpSeries>>>,
    tcp: Mutex<HashMap<(Key, ResponseFlags), Arc<TcpSeries>>>,
}

impl IstioMetrics {
    /// The series of these labels, to be kept by the caller.
    pub fn http(&self, key: SeriesKey, custom: Option<Custom>) -> Arc<HttpSeries> {
        let mut all = self.http.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (key, custom);
        let key = if all.len() < MOST_SERIES || all.contains_key(&key) { key } else { anonymous(key) };
        Arc::clone(all.entry(key.clone()).or_insert_with(|| Arc::new(HttpSeries::new(key))))
    }

    /// The series of these labels, to be kept by the caller.
    pub fn tcp(&self, key: SeriesKey, custom: Option<Custom>, flags: ResponseFlags) -> Arc<TcpSeries> {
        let mut all = self.tcp.lock().unwrap_or_else(PoisonError::into_inner);
        let key = ((key, custom), flags);
        let key = if all.len() < MOST_SERIES || all.contains_key(&key) { key } else { (anonymous(key.0), flags) };
        let new = || {
            Arc::new(TcpSeries {
                key: key.0.0.clone(),
                custom: key.0.1.clone(),
                flags,
                opened: Counter::default(),
                closed: Counter::default(),
                sent_bytes: Counter::default(),
                received_bytes: Counter::default(),
            })
        };
        Arc::clone(all.entry(key.clone()).or_insert_with(new))
    }

    /// Samples of all series, and of `istio_build`.
    pub fn samples(&self, build_tag: &str, out: &mut Vec<Sample>) {
        let labels = vec![("component".into(), "proxy".to_owned()), ("tag".into(), build_tag.to_owned())];
        out.push(sample("istio_build", labels, Value::Gauge(1)));
        let http: Vec<_> = self.http.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect();
        let tcp: Vec<_> = self.tcp.lock().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect();
        let mut series = Vec::new();
        http.iter().for_each(|h| h.samples(&mut series));
        tcp.iter().for_each(|t| t.samples(&mut series));
        let customized = http.iter().any(|h| h.custom.is_some()) || tcp.iter().any(|t| t.custom.is_some());
        out.extend(if customized { customize::merge(series) } else { series });
    }
}

/// Where everything goes that is beyond the bound.
fn anonymous((key, custom): Key) -> Key {
    (key.anonymous(), custom.map(|c| c.anonymous()))
}
