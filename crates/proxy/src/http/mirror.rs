//! Copies of requests to shadow clusters: sent and forgotten.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use tokio::sync::mpsc;
use varka_engine::ir::{AlpnOverride, ClusterProtocol, Mirror, Str};

use super::body::RequestBody;
use super::exchange::Exchange;
use super::message::RequestHead;
use crate::cluster::Want;
use crate::config::Config;
use crate::conn::Conn;
use crate::on_demand;
use crate::pool::{ClusterPool, Target};
use crate::pump::{Frame, Sink as _, Source as _};
use crate::worker::Worker;

/// Pieces of a body that a mirror may be behind; one that is further behind gets no more and is given up.
const BEHIND: usize = 64;
/// A mirror takes at most so long.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// Starts a mirror; the body will be copied to it.
pub(crate) fn start(x: &Exchange<'_>, mirror: &Mirror, alpn: Option<&AlpnOverride>, body: &mut RequestBody) {
    let mut head = x.head.clone();
    if mirror.shadow_host_suffix {
        head.authority = shadow(head.authority.as_str()).into();
    }
    add_origin(&mut head, x.conn);
    let frames = (!body.is_empty()).then(|| {
        let (sender, receiver) = mpsc::channel(BEHIND);
        body.mirror_to(sender);
        receiver
    });
    let (worker, config, name) = (Rc::clone(x.worker()), Arc::clone(&x.config), Arc::clone(&mirror.cluster));
    let alpn = alpn.cloned();
    let original_dst = x.conn.seen.original_dst;
    tokio::task::spawn_local(async move {
        let sending = copy(&worker, &config, &name, (original_dst, alpn.as_ref()), &head, frames);
        let _ = tokio::time::timeout(LIMIT, sending).await;
    });
}

/// Sends a copy to an endpoint of the cluster, if there is one. `alpn`: what to offer to endpoints of the mesh.
async fn copy(
    worker: &Worker,
    config: &Arc<Config>,
    name: &Str,
    (original_dst, alpn): (SocketAddr, Option<&AlpnOverride>),
    head: &RequestHead,
    frames: Option<mpsc::Receiver<Frame>>,
) {
    let cluster = match on_demand::held(&worker.state, config, name) {
        Some(cluster) => cluster,
        None => match on_demand::cluster(&worker.state, config, name).await {
            Ok(Some(cluster)) => cluster,
            Ok(None) | Err(_) => return,
        },
    };
    let pool = worker.pools.get(&cluster, &worker.state);
    let want = Want {
        hash: None,
        tried: &[],
        reselections: 0,
        leave_priorities: false,
        original_dst,
        request: Some(head),
        resolved: None,
    };
    let Some(picked) = cluster.pick(&want) else { return };
    let http2 = match cluster.config.http.protocol {
        ClusterProtocol::Http1 => false,
        ClusterProtocol::Http2 => true,
        ClusterProtocol::Downstream => head.version == http::Version::HTTP_2,
    };
    let mesh = pool.is_mesh(picked.tls_mode.as_deref());
    let target = Target {
        address: picked.address,
        tls_mode: picked.tls_mode.as_deref(),
        http2,
        alpn: alpn.filter(|_| mesh).map(|offer| if http2 { &*offer.http2 } else { &*offer.http11 }),
        host: varka_engine::host::without_port(head.authority.as_str()),
        proxy: None,
    };
    send(&pool, &target, head, frames).await;
    drop(picked);
}

/// `was-service:8080` becomes `was-service-shadow:8080`.
fn shadow(authority: &str) -> String {
    let host = varka_engine::host::without_port(authority);
    let port = authority.get(host.len()..).unwrap_or_default();
    format!("{host}-shadow{port}")
}

/// Mirrors say that it is a proxy that sends them, and whence.
fn add_origin(head: &mut RequestHead, conn: &Conn) {
    let own = match conn.seen.local.ip() {
        ip if ip.is_loopback() => conn.worker.state.bootstrap.ip,
        ip => ip,
    };
    let text = match head.headers.get("x-forwarded-for").and_then(|v| v.to_str().ok()) {
        Some(before) => format!("{before},{own}"),
        None => own.to_string(),
    };
    if let Ok(value) = HeaderValue::try_from(text) {
        head.headers.insert("x-forwarded-for", value);
    }
    head.headers.insert("x-envoy-internal", HeaderValue::from_static("true"));
}

async fn send(pool: &Rc<ClusterPool>, target: &Target<'_>, head: &RequestHead, frames: Option<mpsc::Receiver<Frame>>) {
    let Ok(mut upstream) = pool.acquire(target).await else { return };
    if upstream.start(head, frames.is_none()).is_err() {
        return;
    }
    if let Some(mut frames) = frames {
        while let Some(frame) = frames.recv().await {
            let last = !matches!(frame, Frame::Data(_));
            let ready = std::future::poll_fn(|cx| upstream.poll_ready(cx)).await;
            if ready.is_err() || upstream.send(frame).is_err() {
                return;
            }
            if last {
                break;
            }
        }
    }
    if crate::pump::flush(&mut upstream).await.is_err() {
        return;
    }
    if std::future::poll_fn(|cx| upstream.poll_response(cx)).await.is_ok() && !upstream.received() {
        while let Ok(Frame::Data(_)) = std::future::poll_fn(|cx| upstream.poll_recv(cx)).await {}
    }
}
