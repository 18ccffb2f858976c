//! One GET of a text over HTTP/1.1, on a connection that stays open for the next.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// An answer takes at most so long,
const LIMIT: Duration = Duration::from_secs(5);
/// and is at most so big.
const LARGEST: usize = 64 << 20;

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody there.
    #[error("no connection to {0}: {1}")]
    Connect(SocketAddr, std::io::Error),
    /// Something else than HTTP, or half of it.
    #[error("{0} does not answer in HTTP: {1}")]
    Http(SocketAddr, hyper::Error),
    /// A refusal.
    #[error("{0} answers {1}")]
    Status(SocketAddr, StatusCode),
    /// No text, or too much.
    #[error("{0} answers with something else than a text of at most {LARGEST} bytes")]
    Text(SocketAddr),
    /// Nothing.
    #[error("{0} does not answer within {LIMIT:?}")]
    Late(SocketAddr),
}

/// An open connection, and where it leads.
#[derive(Debug)]
pub(crate) struct Connection {
    to: SocketAddr,
    sender: SendRequest<Empty<Bytes>>,
}

pub(crate) async fn get(open: &mut Option<Connection>, to: SocketAddr, path: &str) -> Result<String, Error> {
    match tokio::time::timeout(LIMIT, ask(open.take(), to, path)).await {
        Ok(Ok((connection, text))) => {
            *open = Some(connection);
            Ok(text)
        }
        Ok(Err(problem)) => Err(problem),
        Err(_) => Err(Error::Late(to)),
    }
}

async fn ask(open: Option<Connection>, to: SocketAddr, path: &str) -> Result<(Connection, String), Error> {
    let kept = open.filter(|connection| connection.to == to && !connection.sender.is_closed());
    let mut connection = match kept {
        Some(connection) => connection,
        None => connect(to).await?,
    };
    let answer = match send(&mut connection, path).await {
        // What was open had just been closed by the other side.
        Err(Error::Http(_, problem)) if problem.is_canceled() || problem.is_closed() => {
            connection = connect(to).await?;
            send(&mut connection, path).await?
        }
        other => other?,
    };
    if answer.status() != StatusCode::OK {
        return Err(Error::Status(to, answer.status()));
    }
    let body = Limited::new(answer.into_body(), LARGEST).collect().await;
    let body = body.map_err(|problem| match problem.downcast::<hyper::Error>() {
        Ok(problem) => Error::Http(to, *problem),
        Err(other) => {
            debug_assert!(other.is::<LengthLimitError>(), "{other}");
            Error::Text(to)
        }
    })?;
    let text = String::from_utf8(body.to_bytes().to_vec()).map_err(|_| Error::Text(to))?;
    Ok((connection, text))
}

async fn send(connection: &mut Connection, path: &str) -> Result<hyper::Response<hyper::body::Incoming>, Error> {
    let to = connection.to;
    connection.sender.ready().await.map_err(|e| Error::Http(to, e))?;
    let request = Request::get(path)
        .header(header::HOST, to.to_string())
        .header(header::ACCEPT, "text/plain;version=0.0.4")
        .header(header::USER_AGENT, concat!("varka/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new());
    // Only a path that is none can be refused here.
    let request = request.map_err(|_| Error::Status(to, StatusCode::BAD_REQUEST))?;
    connection.sender.send_request(request).await.map_err(|e| Error::Http(to, e))
}

async fn connect(to: SocketAddr) -> Result<Connection, Error> {
    let stream = TcpStream::connect(to).await.map_err(|e| Error::Connect(to, e))?;
    let (sender, driver) = handshake(TokioIo::new(stream)).await.map_err(|e| Error::Http(to, e))?;
    // It ends when the sender goes.
    tokio::spawn(async move {
        if let Err(problem) = driver.await {
            tracing::debug!(%problem, %to, "a connection ended");
        }
    });
    Ok(Connection { to, sender })
}
