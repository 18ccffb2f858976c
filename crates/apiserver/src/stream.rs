//! Streams to and from containers, over WebSocket: exec and attach ([`exec`]), port-forward ([`forward`] over [`spdy`], or
//! [`channels`]).
//!
//! Only WebSocket is spoken, which kubectl does for exec and attach from 1.30 and for port-forward from 1.31 on. Bare SPDY, which older ones
//! use, is refused with a sentence that says so.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::respond::{self, Body};
use crate::status::Status;

pub(crate) mod channels;
pub(crate) mod exec;
pub(crate) mod forward;
pub(crate) mod spdy;

/// A WebSocket to a client.
pub(crate) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Largest WebSocket message taken from a client.
const MAX_MESSAGE: usize = 1 << 20;

/// The subprotocol that both sides speak, the server's preference first.
pub(crate) fn negotiate<'a>(headers: &HeaderMap, supported: &[&'a str]) -> Result<&'a str, Status> {
    let upgrade = headers.get(header::UPGRADE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !upgrade.eq_ignore_ascii_case("websocket") {
        let message = format!(
            "unable to upgrade: this server streams over WebSocket only, not \"{upgrade}\"; use kubectl 1.31 or newer (1.30 for exec and attach)"
        );
        return Err(Status::bad_request(message));
    }
    let offered: Vec<&str> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .collect();
    supported.iter().copied().find(|p| offered.contains(p)).ok_or_else(|| {
        Status::bad_request(format!(
            "unable to upgrade: none of the subprotocols {offered:?} is supported; supported are {supported:?}"
        ))
    })
}

/// The answer that switches to WebSocket.
pub(crate) fn switch(headers: &HeaderMap, protocol: &str) -> Result<Response<Body>, Status> {
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or_else(|| Status::bad_request("the request has no Sec-WebSocket-Key"))?;
    let accept = derive_accept_key(key.as_bytes());
    let mut response = Response::new(respond::whole(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Status::internal("header"));
    let fields = response.headers_mut();
    fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    fields.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.insert(header::SEC_WEBSOCKET_ACCEPT, value(&accept)?);
    fields.insert(header::SEC_WEBSOCKET_PROTOCOL, value(protocol)?);
    Ok(response)
}

/// The WebSocket, once the answer has been sent.
pub(crate) async fn socket(upgrade: hyper::upgrade::OnUpgrade) -> Option<Socket> {
    let io = TokioIo::new(upgrade.await.ok()?);
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    Some(WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await)
}
