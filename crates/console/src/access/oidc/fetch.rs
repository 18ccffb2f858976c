//! Asks an identity provider: HTTPS, or HTTP on this machine; within limits of time and size, without following redirects.
//!
//! Servers are trusted as the system trusts them (`SSL_CERT_FILE`, `SSL_CERT_DIR`).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Largest answer.
const LARGEST: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn get(uri: &str) -> Result<String, String> {
    within(ask(uri, None, None)).await
}

/// Sends a form, with the Authorization header that is given.
pub(super) async fn post(uri: &str, form: String, authorization: Option<&str>) -> Result<String, String> {
    within(ask(uri, Some(form), authorization)).await
}

async fn within(asking: impl Future<Output = Result<String, String>>) -> Result<String, String> {
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
}

async fn ask(text: &str, form: Option<String>, authorization: Option<&str>) -> Result<String, String> {
    let uri: Uri = text.parse().map_err(|e| format!("not a URL: {e}"))?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") if is_here(&host) => false,
        _ => return Err(format!("{text} is no https: URL (http: is for providers on this machine)")),
    };
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = match form {
        Some(_) => Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded"),
        None => Request::get(path),
    };
    request = request.header(header::HOST, uri.authority().map_or("", |a| a.as_str())).header(header::ACCEPT, "application/json");
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let request = request.body(Full::new(Bytes::from(form.unwrap_or_default()))).map_err(|e| e.to_string())?;
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|e| format!("{host}:{port}: {e}"))?;
    if secure {
        let name = ServerName::try_from(host.clone()).map_err(|_| format!("{host} is no name of a server"))?;
        let stream = TlsConnector::from(trust().await?).connect(name, stream).await.map_err(|e| format!("TLS: {e}"))?;
        send(stream, request).await
    } else {
        send(stream, request).await
    }
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whom the system trusts.
async fn trust() -> Result<Arc<ClientConfig>, String> {
    let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.map_err(|e| e.to_string())?.certs);
    if roots.is_empty() {
        return Err("the system has no trust anchors to verify the server with".to_owned());
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<String, String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    // The connection ends with the sender, at the end of this function.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let body = body.map_err(|e| format!("the answer cannot be read, or is longer than {LARGEST} bytes: {e}"))?.to_bytes();
    let text = String::from_utf8(body.into()).map_err(|_| "the answer is not UTF-8".to_owned())?;
    if status.is_success() {
        return Ok(text);
    }
    // RFC 6749, 5.2: it says why.
    let why = serde_json::from_str::<serde_json::Value>(&text).unwrap_or_default();
    let said = |name: &str| why.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let message = format!("status {status} {} {}", said("error"), said("error_description"));
    Err(message.trim_end().to_owned())
}
