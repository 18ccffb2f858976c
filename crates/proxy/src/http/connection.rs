//! An HTTP connection from a client: one request after another (HTTP/1), or many at a time (HTTP/2).

mod resets;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use varka_engine::facts::DetectedHttp;
use varka_engine::ir::Codec;
use varka_engine::outcome::LocalReply;
use varka_telemetry::metrics::envoy::HttpStats;

use super::downstream::Downstream;
use super::exchange::Exchange;
use super::h1::{self, HeadError, NoRequest, ServerConn};
use super::h2::{CONNECTION_WINDOW, MAX_HEADER_LIST, Malformed, STREAM_WINDOW, ServerStream, malformed};
use super::message::RequestHead;
use super::{reply, request};
use crate::conn::{Conn, Renewal};
use crate::inspect;
use crate::net::{Io, Socket};
use crate::state::Lifecycle;
use resets::Resets;

/// Idle connections are closed after an hour where the manager does not say otherwise, as Envoy does.
const IDLE: Duration = Duration::from_secs(3600);
/// A head takes at most so long where the manager does not say otherwise: slow heads must not pile up.
const HEAD: Duration = Duration::from_secs(60);
/// After an answer that ends the connection, what the client still sends is read for so long, so that no reset overtakes
/// the answer (Envoy's delayed close).
const LINGER: Duration = Duration::from_secs(1);
/// And at most so many bytes.
const LINGER_BYTES: usize = 1 << 20;
/// An idle HTTP/1 connection that is to end is closed after so long: at once, a request that is already on its way to us would
/// be lost. The next response on it says `connection: close` anyway. (HTTP/2 tells the client, and needs no such time.)
const GRACE: Duration = Duration::from_secs(2);
/// An HTTP/2 client that was told of the end confirms it, and then the connection is closed. One that does not is waited for so
/// long, as long as Envoy drains.
const FAREWELL: Duration = Duration::from_secs(5);
/// HTTP/2 streams of one connection where the manager does not say otherwise.
const MAX_STREAMS: u32 = 1024;
/// Header lines of a request where the manager does not say otherwise, as in Envoy.
const MAX_FIELDS: usize = 100;

/// Serves a connection that has just been accepted (or whose TLS handshake is done) until it ends.
pub(crate) async fn serve(conn: Rc<Conn>, mut io: Io, negotiated_h2: bool) {
    let h2 = match conn.manager().codec {
        Codec::Http1 => false,
        Codec::Http2 => true,
        Codec::Auto => negotiated_h2 || conn.seen.http == Some(DetectedHttp::H2c) || starts_h2(&mut io).await,
    };
    let _counted = conn.http_stats.clone().map(|stats| Counted::new(stats, h2, matches!(io, Io::Tls(_))));
    if h2 {
        Box::pin(serve_h2(conn, io)).await;
    } else {
        Box::pin(serve_h1(conn, io)).await;
    }
}

/// A connection in its manager's statistics, while it is open.
struct Counted(Arc<HttpStats>);

impl Counted {
    fn new(stats: Arc<HttpStats>, h2: bool, tls: bool) -> Self {
        let c = &stats.counters;
        c.downstream_cx_total.inc();
        if h2 { &c.downstream_cx_http2_total } else { &c.downstream_cx_http1_total }.inc();
        if tls {
            c.downstream_cx_ssl_total.inc();
        }
        c.downstream_cx_active.inc();
        Self(stats)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.counters.downstream_cx_active.dec();
        self.0.counters.downstream_cx_destroy.inc();
    }
}

/// Whether a connection in plain text begins with HTTP/2's preface.
async fn starts_h2(io: &mut Io) -> bool {
    let Io::Plain(socket) = io else { return false };
    let looking = async {
        loop {
            if !socket.ahead().is_empty()
                && let Some(found) = inspect::detect_http(socket.ahead())
            {
                return found == Some(DetectedHttp::H2c);
            }
            // Only a beginning of the preface is worth waiting for.
            if !socket.ahead().is_empty() && !socket.ahead().starts_with(b"P") {
                return false;
            }
            if !matches!(Socket::read_ahead(socket).await, Ok(n) if n > 0) {
                return false;
            }
        }
    };
    tokio::time::timeout(HEAD, looking).await.unwrap_or(false)
}

/// What an idle connection waits for besides its client.
struct Signals {
    changes: watch::Receiver<u64>,
    lifecycle: watch::Receiver<Lifecycle>,
    /// When the connection has lasted long enough.
    end: Option<tokio::time::Instant>,
}

impl Signals {
    fn new(conn: &Conn) -> Self {
        let longest = conn.manager().max_connection_duration.filter(|t| !t.is_zero());
        Self {
            changes: conn.worker.state.changes(),
            lifecycle: conn.worker.state.follow_lifecycle(),
            end: longest.map(|t| tokio::time::Instant::now() + t),
        }
    }

    /// The same, some time later; at once where no request would be served any more.
    async fn closing_after(&mut self, conn: &Conn, grace: Duration) {
        self.closing(conn).await;
        if !matches!(conn.renewal(), Renewal::Refused) {
            tokio::time::sleep(grace).await;
        }
    }

    /// Ready when the connection is to take no more requests: its chain is gone, or the proxy drains.
    async fn closing(&mut self, conn: &Conn) {
        while !conn.should_close() {
            tokio::select! {
                changed = self.changes.changed() => if changed.is_err() { return },
                changed = self.lifecycle.changed() => if changed.is_err() { return },
                () = sleep_until(self.end), if self.end.is_some() => return,
            }
        }
    }
}

async fn sleep_until(end: Option<tokio::time::Instant>) {
    if let Some(end) = end {
        tokio::time::sleep_until(end).await;
    }
}

async fn serve_h1(mut conn: Rc<Conn>, io: Io) {
    let manager = conn.manager();
    let limits = h1::Limits {
        bytes: manager.max_request_headers_kb.map_or(60, |kb| kb as usize) * 1024,
        lines: manager.max_headers.map_or(MAX_FIELDS, |n| n as usize),
        http10: manager.accept_http_10,
    };
    let idle = manager.idle_timeout.filter(|t| !t.is_zero()).unwrap_or(IDLE);
    let head_time = manager.request_headers_timeout.filter(|t| !t.is_zero()).unwrap_or(HEAD);
    let mut signals = Signals::new(&conn);
    let mut down = Downstream::H1(Box::new(ServerConn::new(io)));
    loop {
        let Downstream::H1(server) = &mut down else { return };
        tokio::select! {
            biased;
            more = server.wait() => if !more { return },
            () = signals.closing_after(&conn, GRACE) => return,
            () = tokio::time::sleep(idle) => return,
        }
        let head = tokio::time::timeout(head_time, server.read_head(&limits)).await;
        match conn.renewal() {
            Renewal::Same | Renewal::Ends => {}
            Renewal::Renewed(now) => conn = now,
            Renewal::Refused => return,
        }
        match head {
            Ok(Ok((head, _))) => drop(Box::pin(request::serve(&conn, &mut down, head)).await),
            Ok(Err(NoRequest::Closed | NoRequest::Broken)) => return,
            Ok(Err(NoRequest::Refused(error))) => {
                Box::pin(refuse(&conn, &mut down, RequestHead::default(), refusal(error))).await
            }
            Err(_) => {
                Box::pin(refuse(&conn, &mut down, RequestHead::default(), LocalReply::request_header_timeout())).await
            }
        }
        let Downstream::H1(server) = &mut down else { return };
        if server.aborted() {
            // What came of the answer is sent; that it is not complete shows by its missing end.
            let _ = tokio::time::timeout(LINGER, server.finish()).await;
            return;
        }
        if !server.reusable() {
            server.finish().await;
            let _ = tokio::time::timeout(LINGER, server.drain(LINGER_BYTES)).await;
            return;
        }
    }
}

fn refusal(error: HeadError) -> LocalReply {
    match error {
        HeadError::LowVersion => LocalReply::low_version(),
        HeadError::TooLarge => LocalReply::request_headers_too_large(),
        _ => {
            let mut reply = LocalReply::bad_request(error.details());
            if error.status() != reply.outcome.status {
                reply.outcome.status = error.status();
                reply.body = h1::reason(error.status()).into();
            }
            reply
        }
    }
}

fn http2_refusal(wrong: Malformed) -> LocalReply {
    match wrong {
        Malformed::TooManyFields => {
            let mut reply = refusal(HeadError::TooManyLines);
            reply.outcome.details = "http2.too_many_headers".into();
            reply
        }
        Malformed::Message => LocalReply::bad_request("http2.violation.of.messaging.rule"),
    }
}

/// Answers what is no request, and records it.
async fn refuse(conn: &Conn, down: &mut Downstream, head: RequestHead, reply: LocalReply) {
    let mut x = Exchange::new(conn, head);
    let outcome = reply::send(&mut x, down, reply).await;
    x.record(&outcome);
}

async fn serve_h2(mut conn: Rc<Conn>, io: Io) {
    let manager = conn.manager();
    let mut builder = ::h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(manager.max_request_headers_kb.map_or(MAX_HEADER_LIST, |kb| kb.saturating_mul(1024)))
        .max_concurrent_streams(manager.max_concurrent_streams.unwrap_or(MAX_STREAMS))
        .enable_connect_protocol();
    let Ok(Ok(mut h2)) = tokio::time::timeout(HEAD, builder.handshake(io)).await else { return };
    let idle = manager.idle_timeout.filter(|t| !t.is_zero()).unwrap_or(IDLE);
    let most_fields = manager.max_headers.map_or(MAX_FIELDS, |n| n as usize);
    let mut signals = Signals::new(&conn);
    let (mut closing, resets) = (false, Rc::new(Resets::default()));
    loop {
        tokio::select! {
            accepted = h2.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    match conn.renewal() {
                        Renewal::Same | Renewal::Ends => {}
                        Renewal::Renewed(now) => conn = now,
                        Renewal::Refused => return,
                    }
                    let wrong = malformed(&request, most_fields);
                    let (stream, head) = ServerStream::new(request, respond);
                    let (conn, resets) = (Rc::clone(&conn), Rc::clone(&resets));
                    tokio::task::spawn_local(async move {
                        let began = tokio::time::Instant::now();
                        let mut down = Downstream::H2(Box::new(stream));
                        let given_up = match wrong {
                            None => request::serve(&conn, &mut down, head).await,
                            Some(wrong) => {
                                Box::pin(refuse(&conn, &mut down, head, http2_refusal(wrong))).await;
                                false
                            }
                        };
                        resets.ended(given_up, began.elapsed());
                    });
                }
                Some(Err(_)) | None => return,
            },
            () = signals.closing(&conn), if !closing => {
                closing = true;
                h2.graceful_shutdown();
            }
            () = resets.too_many() => {
                resets::tell(&conn);
                closing = true;
                h2.abrupt_shutdown(::h2::Reason::ENHANCE_YOUR_CALM);
            }
            () = tokio::time::sleep(idle), if !closing => if !h2.has_streams() {
                closing = true;
                h2.graceful_shutdown();
            },
            () = tokio::time::sleep(idle.min(FAREWELL)), if closing => if !h2.has_streams() {
                return;
            },
        }
    }
}

#[cfg(test)]
mod tests;
