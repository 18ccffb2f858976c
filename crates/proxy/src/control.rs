//! What a proxy says to its control plane, and hears from it: its certificate and its configuration.
//!
//! Both go over TLS that is verified by the mesh's root certificate, with the pod's token as credential; once there is a
//! certificate, it is shown as well. Tokens and root certificates are read anew for each connection, for they are rotated.

mod identity;
mod xds;

use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};
use zeroize::Zeroizing;

use crate::Error;
use crate::state::{Lifecycle, State};

pub(crate) use identity::{WorkloadIdentity, keep as keep_identity};

/// Keeps certificate and configuration up to date, for as long as the proxy runs.
pub(crate) async fn run(state: &Arc<State>) {
    let (identity, obtained) = tokio::sync::watch::channel(None);
    tokio::join!(identity::keep(state, identity), xds::follow(state, obtained.clone()), ready(state, obtained));
}

/// The proxy serves once it has both.
async fn ready(state: &State, mut obtained: tokio::sync::watch::Receiver<Option<Arc<WorkloadIdentity>>>) {
    let mut synced = state.follow_synced();
    let has_identity = obtained.wait_for(Option::is_some).await.is_ok();
    if has_identity && synced.wait_for(|s| *s).await.is_ok() {
        state.advance(Lifecycle::Ready);
    }
}

/// Connects to an address of the control plane. `identity`: shown as client certificate.
async fn channel(state: &State, address: &str, identity: Option<&WorkloadIdentity>) -> Result<Channel, Error> {
    let problem = |problem: String| Error::ControlPlane { address: address.to_owned(), problem };
    let path = &state.bootstrap.root_cert_path;
    let root = std::fs::read(path).map_err(|source| Error::File { path: path.clone(), source })?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(root)).domain_name(host);
    if let Some(identity) = identity {
        tls = tls.identity(Identity::from_pem(&identity.chain, identity.key.as_str()));
    }
    let endpoint = Endpoint::from_shared(format!("https://{address}")).map_err(|e| problem(e.to_string()))?;
    let endpoint = varka_xds::client::keep_alive(endpoint).tls_config(tls).map_err(|e| problem(chain(&e)))?;
    let (mark, address_of) = (state.mark(), address.to_owned());
    let connector = tower::service_fn(move |_: Uri| {
        let address = address_of.clone();
        async move { dial(&address, mark).await.map(TokioIo::new) }
    });
    endpoint.connect_with_connector(connector).await.map_err(|e| problem(chain(&e)))
}

/// An error with its causes, which tonic keeps apart.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let more = e.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = e.source();
    }
    text
}

/// Tries every address of a name.
async fn dial(address: &str, mark: Option<u32>) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        match dial_one(address, mark).await {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

async fn dial_one(address: SocketAddr, mark: Option<u32>) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(mark) = mark {
        varka_sys::socket::set_mark(&socket, mark)?;
    }
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

/// The pod's token.
fn token(state: &State) -> Result<Zeroizing<String>, Error> {
    let path = &state.bootstrap.token_path;
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(|source| Error::File { path: path.clone(), source })
}
