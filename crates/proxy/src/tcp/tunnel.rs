//! A connection as an HTTP request: `CONNECT`, or `POST` with the bytes of each direction as a body.

use std::future::poll_fn;
use std::rc::Rc;

use http::{Method, Version};
use varka_engine::ir::TcpTunnel;
use varka_engine::outcome::{Flag, ResetReason};

use crate::http::RequestHead;
use crate::pool::{ClusterPool, NoConnection, Target, Upstream};
use crate::pump::{Broken, flush};

/// Why there is no tunnel.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no connection to the proxy.
    NoConnection(NoConnection),
    /// It broke before the answer.
    Broken,
    /// The answer is not that the tunnel stands.
    Refused(u16),
}

impl From<Broken> for Failure {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

impl Failure {
    pub(super) fn reason(&self) -> ResetReason {
        match self {
            Self::NoConnection(NoConnection::Overflow) => ResetReason::Overflow,
            Self::NoConnection(NoConnection::Failed(e)) => e.reason,
            Self::Broken | Self::Refused(_) => ResetReason::ConnectionTermination,
        }
    }

    pub(super) fn flag(&self) -> Flag {
        match self {
            Self::NoConnection(NoConnection::Overflow) => Flag::UpstreamOverflow,
            _ => Flag::UpstreamConnectionFailure,
        }
    }

    pub(super) fn transport(self) -> String {
        match self {
            Self::NoConnection(NoConnection::Failed(e)) => e.transport,
            Self::Refused(status) => format!("the tunnel is refused with status {status}"),
            Self::NoConnection(NoConnection::Overflow) | Self::Broken => String::new(),
        }
    }
}

/// Asks for a tunnel, and waits until it stands.
pub(super) async fn open(pool: &Rc<ClusterPool>, target: &Target<'_>, tunnel: &TcpTunnel) -> Result<Upstream, Failure> {
    let mut upstream = pool.acquire(target).await.map_err(Failure::NoConnection)?;
    let head = RequestHead {
        method: if tunnel.post { Method::POST } else { Method::CONNECT },
        version: if target.http2 { Version::HTTP_2 } else { Version::HTTP_11 },
        path: if tunnel.post { "/".into() } else { "".into() },
        authority: (&*tunnel.hostname).into(),
        ..RequestHead::default()
    };
    upstream.start(&head, false)?;
    flush(&mut upstream).await?;
    let response = poll_fn(|cx| upstream.poll_response(cx)).await?;
    // RFC 9110 9.3.6: any 2xx; Envoy takes 200 alone over HTTP/2.
    let stands = if target.http2 { response.status == 200 } else { (200..300).contains(&response.status) };
    if stands { Ok(upstream) } else { Err(Failure::Refused(response.status)) }
}
