//! One question to a container.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::{HTTPGetAction, Probe};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use super::Target;
use crate::init::protocol::Run;
use crate::streams;

/// As much of an answer as an event shows.
const SHOWN: usize = 1024;
const AGENT: &str = "kube-probe/1.33";

pub(super) async fn once(target: &Target, probe: &Probe) -> Result<(), String> {
    if let Some(action) = &probe.http_get {
        let (status, body) = http(target, action).await?;
        return if (200..400).contains(&status) {
            Ok(())
        } else {
            Err(format!("HTTP probe failed with statuscode: {status}{}", shown(&body)))
        };
    }
    if let Some(action) = &probe.tcp_socket {
        let port = target.port(&action.port)?;
        return connect(target.address, action.host.as_deref(), port).await.map(drop);
    }
    if let Some(action) = &probe.exec {
        let (code, output) = command(target, action.command.as_deref().unwrap_or_default()).await?;
        return if code == 0 { Ok(()) } else { Err(format!("command ended with {code}{}", shown(output.as_bytes()))) };
    }
    if let Some(action) = &probe.grpc {
        let port = u16::try_from(action.port).map_err(|_| format!("port {} is none", action.port))?;
        return grpc(target.address, port, action.service.as_deref().unwrap_or_default()).await;
    }
    Err("the probe has no handler".to_owned())
}

fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..SHOWN.min(body.len())).unwrap_or_default());
    if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) }
}

async fn connect(address: Ipv4Addr, host: Option<&str>, port: u16) -> Result<TcpStream, String> {
    let dialed = match host.filter(|h| !h.is_empty()) {
        Some(host) => TcpStream::connect((host, port)).await,
        None => TcpStream::connect(SocketAddrV4::new(address, port)).await,
    };
    dialed.map_err(|error| {
        format!("dial tcp {}:{port}: {error}", host.map_or_else(|| address.to_string(), ToOwned::to_owned))
    })
}

/// A GET as a probe or a hook describes it: the status and the beginning of the body.
pub(crate) async fn http(target: &Target, action: &HTTPGetAction) -> Result<(u16, Vec<u8>), String> {
    let port = target.port(&action.port)?;
    let stream = connect(target.address, action.host.as_deref(), port).await?;
    let path = action.path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let uri: Uri = path.parse().map_err(|error| format!("path {path}: {error}"))?;
    let mut request = Request::builder().method(Method::GET).uri(uri);
    let listed: Vec<_> = action.http_headers.iter().flatten().collect();
    for header in &listed {
        request = request.header(&header.name, &header.value);
    }
    let has = |name: &str| listed.iter().any(|h| h.name.eq_ignore_ascii_case(name));
    if !has("host") {
        request = request.header(header::HOST, format!("{}:{port}", target.address));
    }
    if !has("user-agent") {
        request = request.header(header::USER_AGENT, AGENT);
    }
    if !has("accept") {
        request = request.header(header::ACCEPT, "*/*");
    }
    let request = request.body(Full::new(Bytes::new())).map_err(|error| format!("request: {error}"))?;
    let response = if action.scheme.as_deref() == Some("HTTPS") {
        exchange(encrypted(stream, target.address).await?, request).await?
    } else {
        exchange(stream, request).await?
    };
    let status = response.status().as_u16();
    Ok((status, beginning(response).await))
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| format!("no answer to the request: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Ends with the sender and the response.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(failed)
}

async fn beginning(response: Response<Incoming>) -> Vec<u8> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while bytes.len() < SHOWN {
        match body.frame().await {
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            _ => break,
        }
    }
    bytes
}

/// TLS without a look at the certificate: a probe asks whether somebody answers, not who.
async fn encrypted(stream: TcpStream, address: Ipv4Addr) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::IpAddress(std::net::IpAddr::V4(address).into());
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|error| format!("TLS: {error}"))
}

#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// `grpc.health.v1.Health/Check`. Its two messages are one field each, so they are written and read here directly.
async fn grpc(address: Ipv4Addr, port: u16, service: &str) -> Result<(), String> {
    const SERVING: &[u8] = &[0x08, 0x01];
    let stream = connect(address, None, port).await?;
    let failed = |error: hyper::Error| format!("no answer to the health check: {error}");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection);
    let uri = format!("http://{address}:{port}/grpc.health.v1.Health/Check");
    let request = Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, AGENT)
        .body(Full::new(health_request(service)))
        .map_err(|error| format!("request: {error}"))?;
    let response = sender.send_request(request).await.map_err(failed)?;
    if response.status() != 200 {
        return Err(format!("the health check is answered with HTTP status {}", response.status().as_u16()));
    }
    let head = response.headers().clone();
    let body = response.into_body().collect().await.map_err(failed)?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let status = trailers
        .get("grpc-status")
        .or_else(|| head.get("grpc-status"))
        .and_then(|v| v.to_str().ok())
        .unwrap_or("0")
        .to_owned();
    if status != "0" {
        return Err(format!("the health check ends with gRPC status {status}"));
    }
    // The frame's head is five bytes long.
    let bytes = body.to_bytes();
    if bytes.get(5..).unwrap_or_default() == SERVING { Ok(()) } else { Err("the service is not SERVING".to_owned()) }
}

fn health_request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        message.put_u8(u8::try_from(length).unwrap_or(0));
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
    frame.freeze()
}

pub(super) async fn command(target: &Target, command: &[String]) -> Result<(i32, String), String> {
    let (theirs, mut ours) = streams::output().map_err(|error| format!("pipe: {error}"))?;
    let run = Run { args: command.to_vec(), terminal: false, streams: [false, true, true], ..target.run.clone() };
    let second = theirs.try_clone().map_err(|error| format!("pipe: {error}"))?;
    let streams = [theirs, second];
    let running = target.container.run(run, &streams).await.map_err(|error| error.to_string())?;
    // Our copies would keep the pipe open.
    drop(streams);
    let stop = Ended { target, id: running.id, armed: true };
    let mut output = Vec::new();
    // Read to the end so that the command never waits for us, but keep only what is shown.
    let mut buffer = [0u8; 4096];
    while let Ok(count @ 1..) = ours.read(&mut buffer).await {
        if output.len() < SHOWN {
            output.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
    }
    let ended = running.ended.await.map_err(|_| "the container has ended".to_owned())?;
    stop.disarm();
    Ok((ended.code(), String::from_utf8_lossy(&output).into_owned()))
}

/// Kills a command that nobody waits for any more, because its time is up.
struct Ended<'a> {
    target: &'a Target,
    id: u64,
    armed: bool,
}

impl Ended<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if self.armed {
            let (container, id) = (Arc::clone(&self.target.container), self.id);
            tokio::spawn(async move { container.signal(id, nix::libc::SIGKILL).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::health_request;

    #[test]
    fn the_health_request_is_grpc_framed() {
        assert_eq!(&health_request("")[..], &[0, 0, 0, 0, 0]);
        assert_eq!(&health_request("ab")[..], &[0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = health_request(&"x".repeat(200));
        assert_eq!(&long[..8], &[0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
    }
}
