//! Asks an HTTP server by its URL, within limits of time and size: a store that lies elsewhere, or a console.
//!
//! Connections are HTTP/1.1, one for each question. Servers are trusted as the system trusts them (`SSL_CERT_FILE`,
//! `SSL_CERT_DIR`). No redirect is followed: whoever is asked is who was named.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper::{Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection takes at most so long to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It names nobody.
    #[error("{0:?} is no URL of a server, such as http://prometheus.monitoring:9090: {1}")]
    Url(String, &'static str),
    /// Nobody is there.
    #[error("{0} cannot be reached: {1}")]
    Connect(String, String),
    /// Something else than HTTP, or half of it.
    #[error("{0} does not answer in HTTP: {1}")]
    Http(String, hyper::Error),
    /// What is asked for cannot be written as a request.
    #[error("{0} cannot be asked for {1:?}")]
    Request(String, String),
    /// More than is taken.
    #[error("the answer of {0} is longer than {1} bytes")]
    TooLong(String, usize),
    /// Nothing in time.
    #[error("{0} does not answer within {1:?}")]
    Late(String, Duration),
}

/// Where a server is: `http[s]://HOST[:PORT][/PATH]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    host: String,
    port: u16,
    /// What every path begins with; without a slash at its end.
    base: String,
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |why| Error::Url(text.to_owned(), why);
        let uri: Uri = text.parse().map_err(|_| refuse("it cannot be read"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(refuse("it begins with neither http:// nor https://")),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| refuse("there is no host in it"))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(refuse("names and passwords are not sent"));
        }
        if uri.query().is_some() {
            return Err(refuse("what is asked for is not part of it"));
        }
        Ok(Self {
            secure,
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            base: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.base)
    }
}

/// Bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Question<'q> {
    /// Path and query.
    pub path: &'q str,
    /// A form, sent as POST; none: GET.
    pub form: Option<String>,
    /// An answer takes at most so long,
    pub within: Duration,
    /// and is at most so big.
    pub largest: usize,
}

/// What is answered.
#[derive(Debug)]
pub struct Answer {
    /// How it went.
    pub status: StatusCode,
    /// What it says.
    pub body: Bytes,
}

impl Url {
    /// A connection to it.
    ///
    /// # Errors
    /// Nobody is there, or it is somebody else.
    pub async fn open(&self) -> Result<Box<dyn Stream>, Error> {
        match tokio::time::timeout(CONNECT, self.connect()).await {
            Ok(opened) => opened.map_err(|why| Error::Connect(self.to_string(), why)),
            Err(_) => Err(Error::Late(self.to_string(), CONNECT)),
        }
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, String> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, self.port)).await.map_err(|e| e.to_string())?;
        if !self.secure {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} is no name of a server"))?;
        let stream = TlsConnector::from(trust().await?).connect(name, stream).await;
        Ok(Box::new(stream.map_err(|e| format!("TLS: {e}"))?))
    }

    /// Asks it.
    ///
    /// # Errors
    /// There is no whole answer within the limits.
    pub async fn ask(&self, question: &Question<'_>) -> Result<Answer, Error> {
        let asking = async {
            let response = self.begin(self.open().await?, question).await?;
            let status = response.status();
            let body = whole(response, question.largest, || self.to_string()).await?;
            Ok(Answer { status, body })
        };
        match tokio::time::timeout(question.within, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Late(self.to_string(), question.within)),
        }
    }

    /// Asks over a connection; the answer's head is there, its body comes.
    ///
    /// # Errors
    /// Nothing like an answer comes.
    pub async fn begin(&self, stream: Box<dyn Stream>, question: &Question<'_>) -> Result<Response<Incoming>, Error> {
        let authority = format!("{}:{}", self.host, self.port);
        let question = Question { path: &format!("{}{}", self.base, question.path), ..question.clone() };
        begin(stream, &authority, &question).await
    }
}

/// Asks over a connection, whatever it leads to.
///
/// # Errors
/// Nothing like an answer comes.
pub async fn begin(
    stream: Box<dyn Stream>,
    authority: &str,
    question: &Question<'_>,
) -> Result<Response<Incoming>, Error> {
    let http = |problem| Error::Http(authority.to_owned(), problem);
    let (mut sender, driver) = handshake(TokioIo::new(stream)).await.map_err(http)?;
    // It ends when the answer has been read, or is no longer wanted.
    tokio::spawn(driver);
    let request = Request::builder()
        .uri(question.path)
        .header(header::HOST, authority)
        .header(header::USER_AGENT, concat!("varka/", env!("CARGO_PKG_VERSION")));
    let request = match &question.form {
        None => request.body(Full::new(Bytes::new())),
        Some(form) => request
            .method("POST")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form.clone()))),
    };
    let request = request.map_err(|_| Error::Request(authority.to_owned(), question.path.to_owned()))?;
    sender.send_request(request).await.map_err(http)
}

/// The whole body of an answer, if it is no longer than `largest`.
///
/// # Errors
/// It is longer, or breaks off.
pub async fn whole(response: Response<Incoming>, largest: usize, of: impl Fn() -> String) -> Result<Bytes, Error> {
    let body = Limited::new(response.into_body(), largest).collect().await;
    let body = body.map_err(|problem| match problem.downcast::<hyper::Error>() {
        Ok(problem) => Error::Http(of(), *problem),
        Err(other) => {
            debug_assert!(other.is::<LengthLimitError>(), "{other}");
            Error::TooLong(of(), largest)
        }
    })?;
    Ok(body.to_bytes())
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

/// Names and values as a query or a form.
pub fn encode<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(&escape(name));
        text.push('=');
        text.push_str(&escape(value));
    }
    text
}

/// A text as one segment of a path, or one side of a pair.
pub fn escape(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(byte.into());
        } else {
            // Writing to a text does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

#[cfg(test)]
mod tests;
