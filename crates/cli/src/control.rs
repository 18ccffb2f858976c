//! What `varka up` tells the other commands through its control socket, and the client of that socket.
//!
//! The protocol is HTTP/1.0 with JSON over a Unix socket in the (private) state directory: one request, one answer.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::state::State;

/// Answer of `GET /status`, and what `varka status --output json` prints.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Every pod is Ready and every sidecar in sync.
    pub(crate) ready: bool,
    /// Where to reach what.
    pub(crate) addresses: Addresses,
    /// Every pod.
    pub(crate) pods: Vec<Pod>,
}

/// Addresses on this host.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Addresses {
    /// Kubernetes API, `https://127.0.0.1:6443`.
    pub(crate) api: String,
    /// Ingress, `https://127.0.0.1:8443`.
    pub(crate) ingress: String,
    /// Console; `None` while there is none.
    pub(crate) console: Option<String>,
}

/// One pod.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Pod {
    /// Namespace.
    pub(crate) namespace: String,
    /// Name.
    pub(crate) name: String,
    /// Condition Ready.
    pub(crate) ready: bool,
    /// Its proxy, where it has one.
    pub(crate) sidecar: Option<Sidecar>,
}

/// State of a proxy's configuration, as the control plane sees it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sidecar {
    /// Version that it has acknowledged; empty: none.
    pub(crate) version: String,
    /// It has acknowledged the newest.
    pub(crate) synced: bool,
    /// What it refused, and why.
    pub(crate) nacks: Vec<String>,
}

/// Answer of `GET /shell`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ShellInfo {
    /// Process whose namespaces to enter.
    pub(crate) pid: u32,
    /// The namespaces belong to a user namespace of their own.
    pub(crate) rootless: bool,
    /// Public hosts and the address of the ingress.
    pub(crate) hosts: Vec<(String, IpAddr)>,
    /// Cluster DNS.
    pub(crate) dns: IpAddr,
    /// CA certificates to be trusted, PEM.
    pub(crate) ca: String,
}

/// Addresses that `varka up` listens on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listening {
    /// API server.
    pub(crate) api: SocketAddr,
    /// Ingress, HTTPS.
    pub(crate) https: SocketAddr,
}

/// Asks the running system.
pub(crate) fn ask<T: for<'de> Deserialize<'de>>(state: &State, path: &str) -> anyhow::Result<T> {
    let body = request(state, "GET", path)?;
    serde_json::from_slice(&body)
        .context("the running system gave an answer that this version does not understand: is it of another version?")
}

/// Tells the running system to stop. Returns before it has.
pub(crate) fn stop(state: &State) -> anyhow::Result<()> {
    request(state, "POST", "/stop").map(drop)
}

fn request(state: &State, method: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    let socket = state.socket();
    let mut stream = UnixStream::connect(&socket).with_context(|| {
        format!("cannot speak to the running system through {}: it may still be starting or stopping", socket.display())
    })?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "{method} {path} HTTP/1.0\r\nhost: varka\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("the running system did not answer")?;
    let end = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .context("the running system closed the connection without an answer")?;
    let (head, body) = answer.split_at(end);
    let head = String::from_utf8_lossy(head);
    let body = body.get(4..).unwrap_or_default();
    if head.split(' ').nth(1) != Some("200") {
        bail!("{}", String::from_utf8_lossy(body));
    }
    Ok(body.to_vec())
}
