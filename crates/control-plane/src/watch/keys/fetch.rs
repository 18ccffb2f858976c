//! Gets a key set over HTTP or HTTPS, within limits of time, size, redirects and addresses.
//!
//! Where it is may be written by whoever may write a RequestAuthentication, so the control plane does not let itself be sent to
//! link-local addresses or to the metadata services of clouds, and takes nothing for keys that does not look like keys. Servers
//! are trusted as the system trusts them (`SSL_CERT_FILE`, `SSL_CERT_DIR`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, LOCATION};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use varka_engine::ir::Str;
use varka_pilot::KeySource;

/// Largest key set.
const LARGEST: usize = 512 * 1024;
/// Redirects that are followed.
const REDIRECTS: usize = 5;
/// A fetch never takes longer, whatever a rule says.
const SLOWEST: Duration = Duration::from_secs(60);

/// Metadata services outside of the link-local ranges.
const METADATA_SERVICES: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// The key set of an issuer.
///
/// # Errors
/// Why there is none, for people.
pub(super) async fn keys(source: &KeySource, timeout: Duration) -> Result<Str, String> {
    let fetching = async {
        let uri = if source.uri.is_empty() { discovered(&source.issuer).await? } else { source.uri.to_string() };
        let text = get(&uri).await?;
        let keys = serde_json::from_str::<serde_json::Value>(&text).map_err(|e| format!("{uri}: not JSON: {e}"))?;
        if !keys.get("keys").is_some_and(serde_json::Value::is_array) {
            return Err(format!("{uri}: not a key set: it has no list \"keys\""));
        }
        Ok(Str::from(text))
    };
    let timeout = timeout.min(SLOWEST);
    tokio::time::timeout(timeout, fetching).await.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")))
}

/// Where an issuer says that its keys are (OpenID Connect Discovery).
async fn discovered(issuer: &str) -> Result<String, String> {
    let uri = format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer));
    let text = get(&uri).await?;
    let configuration: serde_json::Value = serde_json::from_str(&text).map_err(|e| format!("{uri}: not JSON: {e}"))?;
    let found = configuration.get("jwks_uri").and_then(serde_json::Value::as_str);
    found.map(str::to_owned).ok_or_else(|| format!("{uri}: there is no jwks_uri in it"))
}

async fn get(uri: &str) -> Result<String, String> {
    let mut uri = uri.to_owned();
    for _ in 0..=REDIRECTS {
        match once(&uri).await.map_err(|why| format!("{uri}: {why}"))? {
            Got::Text(text) => return Ok(text),
            Got::Redirect(to) => uri = to,
        }
    }
    Err(format!("{uri}: more than {REDIRECTS} redirects"))
}

enum Got {
    Text(String),
    Redirect(String),
}

async fn once(text: &str) -> Result<Got, String> {
    let uri: Uri = text.parse().map_err(|e| format!("not a URL: {e}"))?;
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err("neither http nor https".to_owned()),
    };
    let host = uri.host().filter(|h| !h.is_empty()).ok_or("there is no host in it")?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = connect(host, port).await?;
    if secure {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} is no name of a server"))?;
        let tls = TlsConnector::from(trust().await?);
        let stream = tls.connect(name, stream).await.map_err(|e| format!("TLS: {e}"))?;
        ask(stream, &uri).await
    } else {
        ask(stream, &uri).await
    }
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

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let found = tokio::net::lookup_host((host, port)).await.map_err(|e| format!("{host} cannot be resolved: {e}"))?;
    let mut last = format!("{host} has no address");
    for address in found {
        if let Err(why) = permitted(address) {
            last = why;
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(e) => last = format!("{address}: {e}"),
        }
    }
    Err(last)
}

/// Whether keys may be there.
fn permitted(address: SocketAddr) -> Result<(), String> {
    let ip = address.ip().to_canonical();
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if link_local {
        return Err(format!("{ip} is link-local, where no keys are fetched from"));
    }
    if METADATA_SERVICES.contains(&ip) {
        return Err(format!("{ip} is a cloud's metadata service, where no keys are fetched from"));
    }
    Ok(())
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, uri: &Uri) -> Result<Got, String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    // The connection ends with the sender, at the end of this function.
    let driving = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let authority = uri.authority().map_or("", |a| a.as_str());
    let request = Request::get(path)
        .header(HOST, authority.rsplit('@').next().unwrap_or_default())
        .header(ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status();
    if status.is_redirection() {
        let to = response.headers().get(LOCATION).and_then(|v| v.to_str().ok());
        let to = to.ok_or_else(|| format!("status {status} without a location"))?;
        return Ok(Got::Redirect(absolute(uri, to)));
    }
    if !status.is_success() {
        return Err(format!("status {status}"));
    }
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let body = body.map_err(|e| format!("the answer cannot be read, or is longer than {LARGEST} bytes: {e}"))?;
    drop(driving);
    String::from_utf8(body.to_bytes().into()).map(Got::Text).map_err(|_| "the answer is not UTF-8".to_owned())
}

/// Where a redirect leads: a whole URL, or another path of the same server.
fn absolute(from: &Uri, to: &str) -> String {
    if !to.starts_with('/') || to.starts_with("//") {
        return to.to_owned();
    }
    let (scheme, authority) = (from.scheme_str().unwrap_or("https"), from.authority().map_or("", |a| a.as_str()));
    format!("{scheme}://{authority}{to}")
}
