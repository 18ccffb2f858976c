//! One request over HTTP/2. The answer is told in the form of HTTP/1.1, so that it is read and compared in the same way; a
//! stream that was reset and a connection that was given up are told by their codes.

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri, Version};

use super::{Answer, Connection};
use crate::conformance::envoy::case::Message;
use crate::conformance::envoy::{from_latin1, latin1};

/// Sends it on a connection of its own.
pub(super) async fn exchange(connection: Connection, message: &Message, answer: &mut Answer) -> Result<()> {
    let (client, driver) = h2::client::handshake(connection).await?;
    let driver = tokio::spawn(driver);
    let told = send(client, message, answer).await;
    driver.abort();
    match told {
        Ok(()) => Ok(()),
        Err(e) => match e.downcast::<h2::Error>() {
            Ok(e) if e.is_io() => Err(e.into_io().map_or_else(|| anyhow::anyhow!("the connection broke"), Into::into)),
            Ok(e) => {
                let of = if e.is_go_away() { "goaway" } else { "reset" };
                answer.ended = Some(format!("{of} {:?}", e.reason().map(u32::from)));
                Ok(())
            }
            Err(e) => Err(e),
        },
    }
}

async fn send(client: h2::client::SendRequest<Bytes>, message: &Message, answer: &mut Answer) -> Result<()> {
    let mut client = client.ready().await?;
    let empty = message.body.is_none() && message.trailers.is_empty();
    let (response, mut stream) = client.send_request(head(message)?, empty)?;
    if let Some(body) = &message.body {
        stream.send_data(latin1(body)?.into(), message.trailers.is_empty())?;
    }
    if !message.trailers.is_empty() {
        stream.send_trailers(map(&message.trailers)?)?;
    }
    let (head, mut stream) = response.await?.into_parts();
    let mut raw = format!("HTTP/2 {}\r\n", head.status.as_u16());
    for (name, value) in &head.headers {
        raw.push_str(&format!("{name}: {}\r\n", from_latin1(value.as_bytes())));
    }
    raw.push_str("\r\n");
    answer.raw = raw;
    answer.end = Some("eof-short");
    while let Some(part) = stream.data().await {
        let part = part?;
        stream.flow_control().release_capacity(part.len())?;
        answer.raw.push_str(&from_latin1(&part));
    }
    let trailers = stream.trailers().await?.unwrap_or_default();
    answer.trailers = trailers.iter().map(|(n, v)| (n.to_string(), from_latin1(v.as_bytes()))).collect();
    answer.end = Some("done");
    Ok(())
}

fn head(message: &Message) -> Result<Request<()>> {
    let uri = match &message.authority {
        Some(authority) => Uri::builder().scheme("http").authority(authority.as_str()).path_and_query(&message.path),
        None => Uri::builder().path_and_query(&message.path),
    };
    let mut request = Request::builder()
        .version(Version::HTTP_2)
        .method(Method::from_bytes(message.method.as_bytes())?)
        .uri(uri.build()?)
        .body(())?;
    *request.headers_mut() = map(&message.headers)?;
    Ok(request)
}

fn map(fields: &[(String, String)]) -> Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = http::HeaderName::from_bytes(name.as_bytes())?;
        map.append(name, http::HeaderValue::from_bytes(&latin1(value)?)?);
    }
    Ok(map)
}
