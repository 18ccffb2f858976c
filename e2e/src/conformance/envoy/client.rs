//! A client that sends exactly the bytes it is given and keeps exactly the bytes it got, over plain TCP or TLS; or speaks
//! HTTP/2.

mod http2;

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout_at;
use tokio_rustls::TlsConnector;

use super::case::{Message, Protocol};
use super::{from_latin1, latin1};

/// How requests are sent.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Where to.
    pub to: SocketAddr,
    /// From which of the pod's addresses.
    pub from: Option<Ipv4Addr>,
    /// All at once.
    pub parallel: bool,
    /// One after another, but each started that much after the one before.
    pub stagger: Duration,
    /// Over one connection for as long as it lasts.
    pub reuse: bool,
    /// For each of them.
    pub timeout: Duration,
    /// TLS of the client's own.
    pub tls: Option<Tls>,
    /// What is spoken.
    pub protocol: Protocol,
}

/// What a TLS client shows.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    /// Certificate chain and key, PEM.
    pub identity: Option<(String, String)>,
    /// Protocols.
    pub alpn: Vec<String>,
    /// Server name.
    pub sni: Option<String>,
}

/// A request, and the pause before it.
#[derive(Debug, Clone)]
pub(super) struct Send {
    /// Bytes, Latin-1.
    pub raw: String,
    /// The same in parts.
    pub message: Message,
    /// Pause.
    pub pause: Duration,
    /// The client's port; `None`: any.
    pub port: Option<u16>,
}

/// Why there is no (whole) answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing came in time.
    Timeout,
    /// Refused, reset, or TLS was broken off.
    Closed,
    /// There is no way to the address.
    Unreachable,
}

/// What came back.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    /// Bytes of the answer without interim ones, Latin-1.
    pub raw: String,
    /// `done`, `eof`, `eof-short`; `None` with a failure.
    pub end: Option<&'static str>,
    /// Failure.
    pub failure: Option<Failure>,
    /// How a stream of HTTP/2 ended that was not answered in whole.
    pub ended: Option<String>,
    /// Statuses of interim answers.
    pub interim: Vec<u16>,
    /// Trailers in order.
    pub trailers: Vec<(String, String)>,
    /// The protocol that TLS agreed on.
    pub alpn: Option<String>,
    /// From the first byte that was sent.
    pub took: Duration,
}

trait Stream: AsyncRead + AsyncWrite + std::marker::Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + std::marker::Send + Unpin> Stream for T {}
type Connection = Pin<Box<dyn Stream>>;

/// Sends all; one answer for each.
pub(super) async fn send(plan: Plan, requests: Vec<Send>) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    if plan.parallel {
        let plan = Arc::new(plan);
        let mut started = Vec::new();
        for (n, request) in (0u32..).zip(requests) {
            let plan = Arc::clone(&plan);
            started.push(tokio::spawn(async move {
                tokio::time::sleep(plan.stagger * n).await;
                one(&plan, &request, None).await.map(|(answer, _)| answer)
            }));
        }
        for task in started {
            answers.push(task.await??);
        }
        return Ok(answers);
    }
    let mut kept = None;
    for request in requests {
        tokio::time::sleep(request.pause).await;
        let (answer, connection) = one(&plan, &request, kept.take()).await?;
        let lasts = answer.end == Some("done") && !answer.raw.to_ascii_lowercase().contains("connection: close");
        kept = connection.filter(|_| plan.reuse && lasts);
        answers.push(answer);
    }
    Ok(answers)
}

async fn one(plan: &Plan, request: &Send, kept: Option<Connection>) -> Result<(Answer, Option<Connection>)> {
    let bytes = latin1(&request.raw)?;
    let method = request.raw.split(' ').next().unwrap_or_default();
    let started = Instant::now();
    let deadline = tokio::time::Instant::now() + plan.timeout;
    let mut answer = Answer::default();
    let exchange = async {
        let mut connection = match kept {
            Some(connection) => connection,
            None => connect(plan, request.port, &mut answer).await?,
        };
        if plan.protocol == Protocol::Http2 {
            http2::exchange(connection, &request.message, &mut answer).await?;
            return Ok(None);
        }
        connection.write_all(&bytes).await?;
        connection.flush().await?;
        if plan.protocol == Protocol::Tcp {
            // Whoever ends before its protocol is found out is closed by some: a line is enough for the application.
            if !request.raw.ends_with('\n') {
                connection.shutdown().await?;
            }
            let mut all = Vec::new();
            let ended = until_end(&mut connection, &mut all).await;
            answer.raw = from_latin1(&all);
            ended?;
            answer.end = Some("eof");
            return Ok(None);
        }
        let (raw, end) = receive(&mut connection, method, &mut answer).await?;
        answer.raw = from_latin1(&raw);
        answer.end = Some(end);
        anyhow::Ok(Some(connection))
    };
    let result = timeout_at(deadline, exchange).await;
    let connection = match result {
        Ok(Ok(connection)) => connection,
        Ok(Err(e)) => {
            answer.failure = Some(failure(&e)?);
            None
        }
        Err(_) => {
            answer.failure = Some(Failure::Timeout);
            None
        }
    };
    answer.took = started.elapsed();
    Ok((answer, connection))
}

/// What an error means for the comparison; errors of this program stay errors.
fn failure(error: &anyhow::Error) -> Result<Failure> {
    use std::io::ErrorKind;
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    match kind {
        Some(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => Ok(Failure::Unreachable),
        Some(ErrorKind::TimedOut) => Ok(Failure::Timeout),
        Some(
            ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof
            | ErrorKind::InvalidData,
        ) => Ok(Failure::Closed),
        Some(_) | None => Err(anyhow::anyhow!("{error:#}")),
    }
}

async fn connect(plan: &Plan, port: Option<u16>, answer: &mut Answer) -> Result<Connection> {
    let socket = TcpSocket::new_v4()?;
    if plan.from.is_some() || port.is_some() {
        socket.set_reuseaddr(true)?;
        socket.bind((plan.from.unwrap_or(Ipv4Addr::UNSPECIFIED), port.unwrap_or_default()).into())?;
    }
    let stream = socket.connect(plan.to).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = &plan.tls else { return Ok(Box::pin(stream)) };
    let name = match &tls.sni {
        Some(name) => ServerName::try_from(name.clone()).context("the server name of the case")?,
        None => ServerName::IpAddress(plan.to.ip().into()),
    };
    let stream = TlsConnector::from(Arc::new(config(tls)?)).connect(name, stream).await?;
    answer.alpn = stream.get_ref().1.alpn_protocol().map(from_latin1);
    Ok(Box::pin(stream))
}

fn config(tls: &Tls) -> Result<ClientConfig> {
    let trusting = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match &tls.identity {
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>()?;
            trusting.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?
        }
        None => trusting.with_no_client_auth(),
    };
    config.alpn_protocols = tls.alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Ok(config)
}

/// The cases are about what the server does with this client, not the other way round.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// More bytes; `false` at the end. A peer that ends TLS without saying so has ended.
async fn more(stream: &mut Connection, buffer: &mut Vec<u8>) -> Result<bool> {
    match stream.read_buf(buffer).await {
        Ok(n) => Ok(n > 0),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Everything up to the end.
async fn until_end(stream: &mut Connection, all: &mut Vec<u8>) -> Result<()> {
    while more(stream, all).await? {}
    Ok(())
}

/// One answer as far as it came, without interim ones, and how it ended. The body is without its chunks' framing.
async fn receive(stream: &mut Connection, method: &str, answer: &mut Answer) -> Result<(Vec<u8>, &'static str)> {
    let mut buffer = Vec::new();
    let (head, mut rest, status) = loop {
        let Some(at) = find(&buffer, b"\r\n\r\n") else {
            if !more(stream, &mut buffer).await? {
                return Ok((buffer, "eof"));
            }
            continue;
        };
        let rest = buffer.split_off(at + 4);
        let status = from_latin1(&buffer).split(' ').nth(1).and_then(|s| s.parse::<u16>().ok()).unwrap_or_default();
        if (100..200).contains(&status) && status != 101 {
            answer.interim.push(status);
            buffer = rest;
            continue;
        }
        break (buffer, rest, status);
    };
    let header = |name: &str| header(&head, name);
    if method == "HEAD" || matches!(status, 204 | 304) {
        return Ok((head, "done"));
    }
    if let Some(length) = header("content-length").and_then(|l| l.parse::<usize>().ok()) {
        while rest.len() < length {
            if !more(stream, &mut rest).await? {
                return Ok(([head, rest].concat(), "eof-short"));
            }
        }
        rest.truncate(length);
        return Ok(([head, rest].concat(), "done"));
    }
    if header("transfer-encoding").is_some_and(|t| t.contains("chunked")) {
        let (body, end) = chunked(stream, rest, &mut answer.trailers).await?;
        return Ok(([head, body].concat(), end));
    }
    while more(stream, &mut rest).await? {}
    Ok(([head, rest].concat(), "done"))
}

async fn chunked(
    stream: &mut Connection,
    mut rest: Vec<u8>,
    trailers: &mut Vec<(String, String)>,
) -> Result<(Vec<u8>, &'static str)> {
    let mut body = Vec::new();
    loop {
        let Some(size) = line(stream, &mut rest).await? else { return Ok((body, "eof-short")) };
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
        while size > 0 && rest.len() < size + 2 {
            if !more(stream, &mut rest).await? {
                body.append(&mut rest);
                return Ok((body, "eof-short"));
            }
        }
        if size == 0 {
            loop {
                let Some(line) = line(stream, &mut rest).await? else { return Ok((body, "eof-short")) };
                let Some((name, value)) = line.trim_end().split_once(':') else { return Ok((body, "done")) };
                trailers.push((name.to_owned(), value.trim().to_owned()));
            }
        }
        body.extend(rest.drain(..size));
        rest.drain(..2);
    }
}

/// The next line with its end; `None`: it never came.
async fn line(stream: &mut Connection, rest: &mut Vec<u8>) -> Result<Option<String>> {
    loop {
        if let Some(at) = find(rest, b"\r\n") {
            return Ok(Some(from_latin1(&rest.drain(..at + 2).collect::<Vec<_>>())));
        }
        if !more(stream, rest).await? {
            return Ok(None);
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// The last header of a name.
fn header(head: &[u8], name: &str) -> Option<String> {
    from_latin1(head)
        .split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .fold(None, |found, (n, v)| if n.trim().eq_ignore_ascii_case(name) { Some(v.trim().to_owned()) } else { found })
}
