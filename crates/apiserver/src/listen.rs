//! HTTPS on a listener: TLS, HTTP/1.1 and HTTP/2, within fixed limits.

use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::Error;
use crate::server::{self, Inner};

/// Connections at a time, for each listener.
const MAX_CONNECTIONS: usize = 1024;
/// Time for the TLS handshake, and for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: u32 = 64 << 10;
const MAX_STREAMS: u32 = 250;
/// Pause after `accept` fails, which it does when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until the server stops.
pub(crate) async fn serve(server: &Arc<Inner>, listener: TcpListener) -> Result<(), Error> {
    let acceptor = TlsAcceptor::from(Arc::new(tls(server)?));
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut stop = server.stop.subscribe();
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return Ok(()) };
        let accepted = tokio::select! {
            _ = async { drop(stop.wait_for(|stop| *stop).await) } => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (server, acceptor) = (Arc::clone(server), acceptor.clone());
                tokio::spawn(async move {
                    connection(server, acceptor, stream).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "API server: a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn tls(server: &Inner) -> Result<rustls::ServerConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config =
        builder.with_no_client_auth().with_single_cert(server.pki.chain.clone(), server.pki.key.clone_key())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

async fn connection(server: Arc<Inner>, acceptor: TlsAcceptor, stream: TcpStream) {
    // Small frames of watches and terminals should not wait for more.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await else { return };
    let mut stop = server.stop.subscribe();
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, std::convert::Infallible>(server::handle(server, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_headers(MAX_HEADERS);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS).max_header_list_size(MAX_HEADER_BYTES);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // Errors of a connection are the peer's: it went away or spoke nonsense.
    let stopping = async { drop(stop.wait_for(|stop| *stop).await) };
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopping => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
