//! The plain HTTP port: readiness, metrics, and which proxies have which configuration.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::warn;

use crate::metrics::Metrics;
use crate::xds::connected::Connected;

const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 64;

/// What the pages show.
pub(crate) struct Monitor {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) connected: Arc<Connected>,
    /// Set once the first snapshot is there and every port is open.
    pub(crate) ready: AtomicBool,
}

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, monitor: Arc<Monitor>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let monitor = Arc::clone(&monitor);
                    let service = service_fn(move |request| {
                        let response = respond(&request, &monitor);
                        async move { Ok::<_, Infallible>(response) }
                    });
                    let mut builder = http1::Builder::new();
                    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
                    let connection = builder.serve_connection(TokioIo::new(stream), service);
                    connections.spawn(async move { drop(connection.await) });
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

fn respond(request: &Request<Incoming>, monitor: &Monitor) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return page(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "this port is for reading\n");
    }
    match request.uri().path() {
        "/ready" if monitor.ready.load(Ordering::Acquire) => page(StatusCode::OK, "text/plain", "ready\n"),
        "/ready" => page(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "resources are still being listed\n"),
        "/metrics" => page(StatusCode::OK, "text/plain; version=0.0.4", monitor.metrics.render()),
        "/debug/syncz" => page(StatusCode::OK, "application/json", monitor.connected.to_json()),
        "/version" => page(StatusCode::OK, "text/plain", concat!(env!("CARGO_PKG_VERSION"), "\n")),
        _ => page(StatusCode::NOT_FOUND, "text/plain", "/ready\n/metrics\n/debug/syncz\n/version\n"),
    }
}

fn page(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
