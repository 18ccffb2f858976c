//! The HTTPS server that the API server calls. Everything about a call is bounded: size, time, and how many at once.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::debug;

use super::review;
use crate::inject::Options;
use crate::listen::{self, Connection};
use crate::metrics::Metrics;
use crate::watch::Published;

/// A review holds an object twice at most, and the API server stores none larger than 3 MiB.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// The API server waits for 30 s at most; so does this.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 256;
const MAX_STREAMS: u32 = 64;

/// What the handlers need.
pub(crate) struct Webhooks {
    pub(crate) options: Arc<arc_swap::ArcSwap<Options>>,
    pub(crate) published: watch::Receiver<Arc<Published>>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Webhooks {
    /// What holds for a pod that is made now.
    fn options(&self) -> Options {
        let proxy_configs = self.published.borrow().snapshot.proxy_configs();
        Options { proxy_configs, ..Options::clone(&self.options.load()) }
    }
}

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, webhooks: Arc<Webhooks>) {
    let (into, mut accepted) = mpsc::channel(16);
    let accepting = listen::accept(listener, tls, MAX_CONNECTIONS, into);
    tokio::pin!(accepting);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut accepting => return,
            connection = accepted.recv() => match connection {
                Some(Ok(connection)) => { connections.spawn(serve_connection(connection, Arc::clone(&webhooks))); }
                Some(Err(_)) => {}
                None => return,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(connection: Connection, webhooks: Arc<Webhooks>) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
    let service = service_fn(move |request| {
        let webhooks = Arc::clone(&webhooks);
        async move { Ok::<_, Infallible>(respond(request, &webhooks).await) }
    });
    if let Err(error) = builder.serve_connection(TokioIo::new(connection), service).await {
        debug!(%error, "webhook connection ended");
    }
}

async fn respond(request: Request<Incoming>, webhooks: &Webhooks) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    if path == "/ready" && request.method() == Method::GET {
        return plain(StatusCode::OK, "ready\n");
    }
    // Istio's webhook URL may carry parameters as further path segments (`/inject/cluster/...`); none changes the answer here.
    let inject = path == "/inject" || path.starts_with("/inject/");
    if !inject && path != "/validate" {
        return plain(StatusCode::NOT_FOUND, "this server answers /inject, /validate and /ready\n");
    }
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "send an AdmissionReview by POST\n");
    }
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
    let body = match tokio::time::timeout(REQUEST_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return plain(StatusCode::PAYLOAD_TOO_LARGE, "the review is cut short or larger than 8 MiB\n"),
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the review did not arrive in time\n"),
    };
    let answer = if inject {
        review::mutate(&body, &webhooks.options(), &webhooks.metrics)
    } else {
        review::check(&body, &webhooks.metrics)
    };
    match answer {
        Ok(answer) => {
            let mut response = Response::new(Full::new(Bytes::from(answer)));
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => plain(StatusCode::BAD_REQUEST, &format!("{error}\n")),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response
}
