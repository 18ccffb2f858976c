//! TLS listeners: the control plane's own certificate, which is renewed while they run, and limits on who waits.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};
use varka_identity::{Authority, CertificateDer, CertificateFacts, SystemRandom, TrustBundle, renewal};

use crate::Error;

/// Life of the control plane's own certificate.
const OWN_VALIDITY: Duration = Duration::from_secs(24 * 60 * 60);
/// A client that has not finished its handshake by then is let go.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Accepting fails for want of file descriptors, mostly; trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The certificate that the control plane shows. Replaced in place; connections that stand keep theirs.
pub(crate) struct OwnCertificate {
    authority: Arc<Authority>,
    names: Vec<String>,
    current: ArcSwap<CertifiedKey>,
    facts: ArcSwap<CertificateFacts>,
}

impl OwnCertificate {
    /// A certificate for `names` by `authority`.
    pub(crate) fn issue(authority: Arc<Authority>, names: Vec<String>) -> Result<Self, Error> {
        let (key, facts) = certified(&authority, &names)?;
        Ok(Self { authority, names, current: ArcSwap::from_pointee(key), facts: ArcSwap::from_pointee(facts) })
    }

    /// Renews it before half of its life is over, for ever.
    pub(crate) async fn keep(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let wait = match failures {
                0 => renewal::wait(&self.facts.load(), SystemTime::now(), 0.0),
                _ => renewal::back_off(failures, 1.0),
            };
            tokio::time::sleep(wait).await;
            match certified(&self.authority, &self.names) {
                Ok((key, facts)) => {
                    self.current.store(Arc::new(key));
                    self.facts.store(Arc::new(facts));
                    failures = 0;
                }
                Err(error) => {
                    failures += 1;
                    warn!(%error, "cannot renew the control plane's own certificate; trying again");
                }
            }
        }
    }
}

fn certified(authority: &Authority, names: &[String]) -> Result<(CertifiedKey, CertificateFacts), Error> {
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let made = authority.issue_server_certificate(&names, SystemTime::now(), OWN_VALIDITY, &SystemRandom::new())?;
    let provider = rustls::crypto::ring::default_provider();
    Ok((CertifiedKey::from_der(made.chain, made.key.private_key(), &provider)?, made.facts))
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCertificate").field("names", &self.names).finish_non_exhaustive()
    }
}

/// TLS for proxies: a client certificate of the mesh is checked where one is shown; a token may stand in its place.
pub(crate) fn mesh_tls(own: Arc<OwnCertificate>, bundle: &TrustBundle) -> Result<Arc<ServerConfig>, Error> {
    let mut roots = RootCertStore::empty();
    roots.roots.extend(bundle.anchors().iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(own);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// TLS for the API server, which calls the webhooks.
pub(crate) fn webhook_tls(own: Arc<OwnCertificate>) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(own);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Opens a listening socket; `[::]` stands for all addresses, also where the kernel has no IPv6.
pub(crate) async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    let opened = match TcpListener::bind(address).await {
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        opened => opened,
    };
    opened.map_err(|source| Error::Bind { what, address, source })
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Where from.
    pub(crate) address: SocketAddr,
    /// The client certificate's chain, checked; empty: none was shown.
    pub(crate) certificates: Arc<[CertificateDer<'static>]>,
}

/// A connection with its handshake done.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    _slot: OwnedSemaphorePermit,
}

/// Accepts until dropped, at most `limit` connections at once, and hands over those whose handshake succeeds.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    limit: usize,
    into: mpsc::Sender<io::Result<Connection>>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let slots = Arc::new(Semaphore::new(limit));
    let mut handshakes = JoinSet::new();
    loop {
        // Without a slot nothing is accepted: the kernel's queue holds the rest back.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, into) = (acceptor.clone(), into.clone());
        handshakes.spawn(async move {
            // Small messages in both directions: waiting for more of them to come would only delay.
            let _ = stream.set_nodelay(true);
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default().into();
                    let peer = Peer { address, certificates };
                    let _ = into.send(Ok(Connection { stream, peer, _slot: slot })).await;
                }
                Ok(Err(error)) => debug!(%address, %error, "TLS handshake failed"),
                Err(_) => debug!(%address, "TLS handshake timed out"),
            }
        });
        while handshakes.try_join_next().is_some() {}
    }
}

impl tonic::transport::server::Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
