//! A request of the proxy's own to a cluster, answered whole.
//!
//! It has a limit of time and of what is read of the answer, and no retries. Nothing is decided about the answer here.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use varka_engine::ir::{ClusterProtocol, Str};

use super::message::{RequestHead, ResponseHead};
use crate::cluster::Want;
use crate::config::Config;
use crate::conn::Conn;
use crate::on_demand;
use crate::pool::{NoConnection, Target};
use crate::pump::{Frame, Sink as _, Source as _};

/// Most bytes of an answer that are read.
const LONGEST: usize = 1 << 20;

/// A request to make.
pub(super) struct Call<'a> {
    pub(super) cluster: &'a Str,
    pub(super) head: RequestHead,
    pub(super) body: Bytes,
    /// Speak HTTP/2 whatever the cluster says.
    pub(super) http2: bool,
    pub(super) timeout: Duration,
}

/// An answer.
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    pub(super) body: Bytes,
    pub(super) trailers: Option<Box<HeaderMap>>,
}

/// Makes a request.
///
/// # Errors
/// Why there is no answer, for people.
pub(super) async fn call(conn: &Conn, config: &Arc<Config>, request: Call<'_>) -> Result<Answer, String> {
    let (timeout, name) = (request.timeout, request.cluster.clone());
    let answered = if timeout.is_zero() {
        answer(conn, config, request).await
    } else {
        match tokio::time::timeout(timeout, answer(conn, config, request)).await {
            Ok(answered) => answered,
            Err(_) => Err(format!("no answer within {timeout:?}")),
        }
    };
    answered.map_err(|why| format!("{name}: {why}"))
}

async fn answer(conn: &Conn, config: &Arc<Config>, request: Call<'_>) -> Result<Answer, String> {
    let state = &conn.worker.state;
    let cluster = match on_demand::held(state, config, request.cluster) {
        Some(cluster) => cluster,
        None => match on_demand::cluster(state, config, request.cluster).await {
            Ok(Some(cluster)) => cluster,
            Ok(None) => return Err("there is no such cluster".to_owned()),
            Err(why) => {
                return Err(format!("the control plane does not say whether there is such a cluster ({why:?})"));
            }
        },
    };
    let want = Want {
        hash: None,
        tried: &[],
        reselections: 0,
        leave_priorities: false,
        original_dst: conn.seen.original_dst,
        request: Some(&request.head),
        resolved: None,
    };
    let Some(picked) = cluster.pick(&want) else { return Err("it has no endpoint that could be asked".to_owned()) };
    let target = Target {
        address: picked.address,
        tls_mode: picked.tls_mode.as_deref(),
        http2: request.http2 || cluster.config.http.protocol == ClusterProtocol::Http2,
        alpn: None,
        host: varka_engine::host::without_port(request.head.authority.as_str()),
        proxy: None,
    };
    let pool = conn.worker.pools.get(&cluster, state);
    let mut upstream = loop {
        let mut upstream = pool.acquire(&target).await.map_err(|e| match e {
            NoConnection::Overflow => "its circuit breaker is open".to_owned(),
            NoConnection::Failed(e) => {
                picked.report(Err(e.reason));
                format!("{}: {} {}", target.address, e.reason.text(), e.transport)
            }
        })?;
        // A shared connection may have begun to close in the meantime.
        if upstream.start(&request.head, request.body.is_empty()).is_ok() {
            break upstream;
        }
    };
    let broken = |_| format!("{}: the connection broke before the answer", target.address);
    if !request.body.is_empty() {
        for frame in [Frame::Data(request.body.clone()), Frame::End] {
            poll_fn(|cx| upstream.poll_ready(cx)).await.map_err(broken)?;
            upstream.send(frame).map_err(broken)?;
        }
    }
    crate::pump::flush(&mut upstream).await.map_err(broken)?;
    let head = poll_fn(|cx| upstream.poll_response(cx)).await.map_err(broken)?;
    picked.report(Ok(head.status));
    let (mut body, mut trailers) = (BytesMut::new(), None);
    while !upstream.received() {
        match poll_fn(|cx| upstream.poll_recv(cx)).await.map_err(broken)? {
            Frame::Data(data) if body.len() + data.len() > LONGEST => {
                return Err(format!("the answer is longer than {LONGEST} bytes"));
            }
            Frame::Data(data) => body.extend_from_slice(&data),
            Frame::Trailers(last) => {
                trailers = Some(last);
                break;
            }
            Frame::End => break,
        }
    }
    Ok(Answer { head, body: body.freeze(), trailers })
}
