//! Batches of spans on their way to a collector, which is an ordinary cluster.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use varka_engine::ir::{ClusterProtocol, OtlpExporter, Str, TracingProvider};
use varka_telemetry::metrics::TracerCounters;
use varka_telemetry::text::Buffer;
use varka_telemetry::trace::{Span, Tags, otlp, zipkin_json};

use super::service_name;
use crate::cluster::Want;
use crate::http::RequestHead;
use crate::on_demand;
use crate::pool::{Target, Upstream};
use crate::pump::{Frame, Sink as _, Source as _, flush};
use crate::state::State;
use crate::worker::Worker;

/// Spans that wait for one collector; further ones are dropped.
const WAITING: usize = 2048;
/// Spans of one report.
const BATCH: usize = 128;
/// A report waits so long for more spans.
const GATHER: Duration = Duration::from_millis(500);
/// A report may take so long where the configuration does not say otherwise.
const REPORT: Duration = Duration::from_secs(10);
/// Most of a collector's answer that is read.
const ANSWER: usize = 64 * 1024;
/// Collectors that a worker remembers.
const COLLECTORS: usize = 16;
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A worker's spans that are still to be sent.
#[derive(Debug, Default)]
pub(crate) struct Exporter {
    queues: RefCell<Vec<Rc<Queue>>>,
    room: RefCell<Room>,
}

/// Room that one span after the other is made in.
#[derive(Debug, Default)]
struct Room {
    tags: Tags,
    message: Buffer,
}

/// Spans for one collector.
#[derive(Debug)]
struct Queue {
    provider: TracingProvider,
    waiting: RefCell<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<Batch>,
    /// In all of them.
    spans: usize,
    /// Bytes of the last batch if it was full: after it comes another, about as long.
    room: usize,
    /// A task sends them.
    sending: bool,
}

/// Spans of one report, as they will be sent.
#[derive(Debug, Default)]
struct Batch {
    packed: Vec<u8>,
    spans: usize,
}

impl Batch {
    fn pack(&mut self, worker: &Worker, provider: &TracingProvider, message: &mut Buffer, span: &Span<'_>) {
        self.spans += 1;
        match provider {
            TracingProvider::OpenTelemetry { .. } => otlp::pack(&mut self.packed, message, span),
            TracingProvider::Zipkin { .. } => {
                let state = &worker.state;
                let service = service_name(provider, &state.bootstrap, &state.own.workload.canonical_service);
                let list = zipkin_json(std::slice::from_ref(span), &service, state.bootstrap.ip);
                let one = list.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or_default();
                if !self.packed.is_empty() {
                    self.packed.push(b',');
                }
                self.packed.extend_from_slice(one.as_bytes());
            }
        }
    }
}

impl Exporter {
    /// Room for the tags of a span, empty.
    pub(crate) fn blank(&self) -> Tags {
        let mut tags = std::mem::take(&mut self.room.borrow_mut().tags);
        tags.clear();
        tags
    }

    /// Queues a span.
    pub(crate) fn push(&self, worker: &Rc<Worker>, provider: &TracingProvider, span: Span<'_>) {
        let queue = self.queue(provider);
        let mut waiting = queue.waiting.borrow_mut();
        if waiting.spans >= WAITING {
            counters(&worker.state, provider).spans_dropped.inc();
            return;
        }
        waiting.spans += 1;
        if waiting.batches.back().is_none_or(|batch| batch.spans >= BATCH) {
            let packed = Vec::with_capacity(waiting.room);
            waiting.batches.push_back(Batch { packed, spans: 0 });
        }
        if let Some(batch) = waiting.batches.back_mut() {
            let mut room = self.room.borrow_mut();
            batch.pack(worker, provider, &mut room.message, &span);
            room.tags = span.tags;
        }
        if !std::mem::replace(&mut waiting.sending, true) {
            tokio::task::spawn_local(send_all(Rc::downgrade(worker), Rc::clone(&queue)));
        }
    }

    fn queue(&self, provider: &TracingProvider) -> Rc<Queue> {
        let mut queues = self.queues.borrow_mut();
        if let Some(queue) = queues.iter().find(|q| q.provider == *provider) {
            return Rc::clone(queue);
        }
        // A queue that is let go sends what it has.
        if queues.len() >= COLLECTORS {
            queues.remove(0);
        }
        let queue = Rc::new(Queue { provider: provider.clone(), waiting: RefCell::default() });
        queues.push(Rc::clone(&queue));
        queue
    }

    /// Sends what is still waiting; called when nothing more will come.
    pub(crate) async fn finish(&self, worker: &Worker) {
        let queues: Vec<_> = self.queues.borrow().iter().map(Rc::clone).collect();
        for queue in queues {
            while let Some(batch) = queue.batch() {
                report(worker, &queue.provider, batch).await;
            }
        }
    }
}

pub(super) fn counters<'s>(state: &'s State, provider: &TracingProvider) -> &'s TracerCounters {
    match provider {
        TracingProvider::OpenTelemetry { .. } => &state.metrics.opentelemetry,
        TracingProvider::Zipkin { .. } => &state.metrics.zipkin,
    }
}

impl Queue {
    fn batch(&self) -> Option<Batch> {
        let mut waiting = self.waiting.borrow_mut();
        let batch = waiting.batches.pop_front()?;
        waiting.spans -= batch.spans;
        waiting.room = if batch.spans < BATCH { 0 } else { batch.packed.len() + batch.packed.len() / 16 };
        Some(batch)
    }
}

/// Sends until nothing waits.
async fn send_all(worker: Weak<Worker>, queue: Rc<Queue>) {
    loop {
        if queue.waiting.borrow().spans < BATCH {
            tokio::time::sleep(GATHER).await;
        }
        let (Some(worker), Some(batch)) = (worker.upgrade(), queue.batch()) else {
            queue.waiting.borrow_mut().sending = false;
            return;
        };
        report(&worker, &queue.provider, batch).await;
    }
}

/// Sends one batch, once.
async fn report(worker: &Worker, provider: &TracingProvider, batch: Batch) {
    let counters = counters(&worker.state, provider);
    let n = u64::try_from(batch.spans).unwrap_or(u64::MAX);
    let message = Report::new(worker, provider, batch.packed.into());
    match tokio::time::timeout(message.timeout, send(worker, provider.cluster(), message)).await {
        Ok(Ok(())) => {
            counters.reports_sent.inc();
            counters.spans_sent.add(n);
        }
        failed => {
            counters.reports_failed.inc();
            counters.spans_dropped.add(n);
            let why = failed.map_or("no answer in time", |result| result.err().unwrap_or_default());
            tracing::debug!(cluster = %provider.cluster(), "{n} spans are lost: {why}");
        }
    }
}

/// A report as an HTTP request.
struct Report {
    path: String,
    authority: String,
    headers: HeaderMap,
    /// In pieces: spans are sent from where they were packed.
    body: Vec<Bytes>,
    grpc: bool,
    timeout: Duration,
}

impl Report {
    fn new(worker: &Worker, provider: &TracingProvider, packed: Bytes) -> Self {
        let state = &worker.state;
        let service = service_name(provider, &state.bootstrap, &state.own.workload.canonical_service);
        match provider {
            TracingProvider::Zipkin { cluster, hostname, path, .. } => {
                let body = vec![Bytes::from_static(b"["), packed, Bytes::from_static(b"]")];
                let authority = if hostname.is_empty() { cluster } else { hostname };
                Self::http(path.to_string(), authority.to_string(), "application/json", body, REPORT, &[])
            }
            TracingProvider::OpenTelemetry { exporter: OtlpExporter::Http(collector), .. } => {
                let uri = collector.uri.strip_prefix("http://").unwrap_or(&collector.uri);
                let (authority, path) = uri.split_once('/').unwrap_or((uri, ""));
                let body = vec![otlp::report(packed.len(), &service).into(), packed];
                let (path, kind) = (format!("/{path}"), "application/x-protobuf");
                Self::http(path, authority.to_owned(), kind, body, collector.timeout, &collector.headers)
            }
            TracingProvider::OpenTelemetry {
                exporter: OtlpExporter::Grpc { cluster, authority, timeout, initial_metadata },
                ..
            } => {
                let begin = otlp::report(packed.len(), &service);
                let mut prefix = BytesMut::with_capacity(5);
                prefix.put_u8(0);
                prefix.put_u32(u32::try_from(begin.len() + packed.len()).unwrap_or(u32::MAX));
                let body = vec![prefix.freeze(), begin.into(), packed];
                let authority = if authority.is_empty() { cluster } else { authority };
                let timeout = timeout.unwrap_or(REPORT);
                let mut report = Self::http(
                    EXPORT.to_owned(),
                    authority.to_string(),
                    "application/grpc",
                    body,
                    timeout,
                    initial_metadata,
                );
                report.headers.remove(CONTENT_LENGTH);
                report.headers.insert(TE, HeaderValue::from_static("trailers"));
                report.grpc = true;
                report
            }
        }
    }

    fn http(
        path: String,
        authority: String,
        kind: &'static str,
        body: Vec<Bytes>,
        timeout: Duration,
        more: &[(Str, Str)],
    ) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in more {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.iter().map(Bytes::len).sum::<usize>()));
        let timeout = if timeout.is_zero() { REPORT } else { timeout };
        Self { path, authority, headers, body, grpc: false, timeout }
    }
}

async fn send(worker: &Worker, name: &Str, report: Report) -> Result<(), &'static str> {
    const MESH_HTTP1: [&str; 3] = ["istio-http/1.1", "istio", "http/1.1"];
    const MESH_HTTP2: [&str; 3] = ["istio-h2", "istio", "h2"];
    let config = worker.state.config();
    let cluster = match on_demand::held(&worker.state, &config, name) {
        Some(cluster) => cluster,
        None => match on_demand::cluster(&worker.state, &config, name).await {
            Ok(Some(cluster)) => cluster,
            Ok(None) | Err(_) => return Err("its cluster does not exist"),
        },
    };
    let http2 = report.grpc || cluster.config.http.protocol == ClusterProtocol::Http2;
    let head = RequestHead {
        method: Method::POST,
        version: if http2 { Version::HTTP_2 } else { Version::HTTP_11 },
        headers: report.headers,
        path: report.path.into(),
        authority: report.authority.into(),
        ..RequestHead::default()
    };
    let want = Want {
        hash: None,
        tried: &[],
        reselections: 0,
        leave_priorities: false,
        original_dst: std::net::SocketAddr::new(worker.state.bootstrap.ip, 0),
        request: Some(&head),
        resolved: None,
    };
    let picked = cluster.pick(&want).ok_or("it has no healthy endpoint")?;
    let pool = worker.pools.get(&cluster, &worker.state);
    let mesh = pool.is_mesh(picked.tls_mode.as_deref());
    let alpn: Option<Vec<Str>> = mesh.then(|| if http2 { MESH_HTTP2 } else { MESH_HTTP1 }.map(Into::into).to_vec());
    let target = Target {
        address: picked.address,
        tls_mode: picked.tls_mode.as_deref(),
        http2,
        alpn: alpn.as_deref(),
        host: varka_engine::host::without_port(head.authority.as_str()),
        proxy: None,
    };
    let mut upstream = pool.acquire(&target).await.map_err(|_| "no connection could be made")?;
    upstream.start(&head, false).map_err(|_| "the connection broke")?;
    let answer = exchange(&mut upstream, report.body).await;
    picked.report(
        answer.as_ref().map(|a| a.status).map_err(|_| varka_engine::outcome::ResetReason::ConnectionTermination),
    );
    let answer = answer?;
    let taken = (200..300).contains(&answer.status) && (!report.grpc || answer.grpc_status == Some(0));
    if taken { Ok(()) } else { Err("the collector refuses them") }
}

struct Answer {
    status: u16,
    grpc_status: Option<u32>,
}

async fn exchange(upstream: &mut Upstream, body: Vec<Bytes>) -> Result<Answer, &'static str> {
    const BROKEN: &str = "the connection broke";
    for frame in body.into_iter().map(Frame::Data).chain([Frame::End]) {
        poll_fn(|cx| upstream.poll_ready(cx)).await.map_err(|_| BROKEN)?;
        upstream.send(frame).map_err(|_| BROKEN)?;
    }
    flush(upstream).await.map_err(|_| BROKEN)?;
    let response = poll_fn(|cx| upstream.poll_response(cx)).await.map_err(|_| BROKEN)?;
    let status = |headers: &HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse().ok();
    let mut answer = Answer { status: response.status, grpc_status: status(&response.headers) };
    let mut read = 0;
    while !upstream.received() && read <= ANSWER {
        match poll_fn(|cx| upstream.poll_recv(cx)).await.map_err(|_| BROKEN)? {
            Frame::Data(data) => read += data.len(),
            Frame::Trailers(trailers) => {
                answer.grpc_status = status(&trailers).or(answer.grpc_status);
                break;
            }
            Frame::End => break,
        }
    }
    Ok(answer)
}
