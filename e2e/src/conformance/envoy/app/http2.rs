//! The application over HTTP/2: the same answers as over HTTP/1.1, and gRPC's.

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::TcpStream;

use super::{Application, Seen, echo, version};
use crate::conformance::envoy::from_latin1;

/// How a connection of HTTP/2 begins.
const PREFACE: &[u8] = b"PRI";

/// Whether the client speaks HTTP/2.
pub(super) async fn is_next(stream: &TcpStream) -> Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let n = stream.peek(&mut first).await?;
        let so_far = first.get(..n).unwrap_or_default();
        if n == 0 || n == first.len() || !PREFACE.starts_with(so_far) {
            return Ok(so_far == PREFACE);
        }
        tokio::task::yield_now().await;
    }
}

/// Serves a connection.
pub(super) async fn serve(application: &Application, stream: TcpStream) -> Result<()> {
    let instance = stream.local_addr()?.ip().to_string();
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(next) = connection.accept().await {
        let (request, answer) = next?;
        let (application, instance) = (application.clone(), instance.clone());
        // A stream that is reset is part of the cases.
        tokio::spawn(async move { drop(answer_one(&application, instance, request, answer).await) });
    }
    Ok(())
}

async fn answer_one(
    application: &Application,
    instance: String,
    request: Request<RecvStream>,
    mut answer: SendResponse<Bytes>,
) -> Result<()> {
    let seen = receive(instance, request).await?;
    let plan = application.plan(&seen)?;
    application.memory().seen.push(seen.clone());
    tokio::time::sleep(plan.pause).await;
    if plan.reset {
        answer.send_reset(Reason::INTERNAL_ERROR);
        return Ok(());
    }
    let of_grpc = seen.header("content-type").is_some_and(|t| t.starts_with("application/grpc"));
    let kind = if of_grpc { "application/grpc" } else { "application/json" };
    let mut response = Response::builder().status(plan.status).header("server", "app").header("content-type", kind);
    let headers = response.headers_mut().context("a response without headers")?;
    headers.insert("x-app-instance", HeaderValue::from_str(&seen.instance)?);
    append(headers, &seen.fields("x-app-resp")?)?;
    let trailers = trailers(&seen, of_grpc)?;
    if seen.header("x-app-trailers-only").is_some() {
        headers.extend(trailers);
        answer.send_response(response.body(())?, true)?;
        return Ok(());
    }
    let empty = seen.method == "HEAD" || matches!(plan.status, 204 | 304);
    let mut body = answer.send_response(response.body(())?, empty)?;
    if empty {
        return Ok(());
    }
    if seen.header("x-app-partial").is_some() {
        body.send_data(Bytes::from_static(b"0123456789"), false)?;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        body.send_reset(Reason::INTERNAL_ERROR);
        return Ok(());
    }
    let text = echo(&seen);
    let framed = if of_grpc { frame(&text)? } else { text.into_bytes() };
    body.send_data(framed.into(), trailers.is_empty())?;
    if !trailers.is_empty() {
        body.send_trailers(trailers)?;
    }
    Ok(())
}

async fn receive(instance: String, request: Request<RecvStream>) -> Result<Seen> {
    let (head, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(part) = stream.data().await {
        let part = part?;
        stream.flow_control().release_capacity(part.len())?;
        body.extend_from_slice(&part);
    }
    let trailers = stream.trailers().await?.unwrap_or_default();
    let mut headers = Vec::new();
    if let Some(scheme) = head.uri.scheme_str() {
        headers.push((":scheme".to_owned(), scheme.to_owned()));
    }
    if let Some(authority) = head.uri.authority() {
        headers.push((":authority".to_owned(), authority.to_string()));
    }
    headers.extend(fields(&head.headers));
    Ok(Seen {
        version: version(&instance),
        instance,
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers,
        body: from_latin1(&body),
        trailers: fields(&trailers),
    })
}

fn fields(map: &HeaderMap) -> Vec<(String, String)> {
    map.iter().map(|(n, v)| (n.to_string(), from_latin1(v.as_bytes()))).collect()
}

fn append(map: &mut HeaderMap, fields: &[(String, String)]) -> Result<()> {
    for (name, value) in fields {
        map.append(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
    }
    Ok(())
}

fn trailers(seen: &Seen, of_grpc: bool) -> Result<HeaderMap> {
    let mut trailers = HeaderMap::new();
    append(&mut trailers, &seen.fields("x-app-trailers")?)?;
    if of_grpc {
        trailers.entry("grpc-status").or_insert(HeaderValue::from_static("0"));
    }
    Ok(trailers)
}

/// A message as gRPC frames it.
fn frame(text: &str) -> Result<Vec<u8>> {
    let mut framed = vec![0];
    framed.extend(u32::try_from(text.len())?.to_be_bytes());
    framed.extend_from_slice(text.as_bytes());
    Ok(framed)
}
