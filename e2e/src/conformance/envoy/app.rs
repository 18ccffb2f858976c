//! The application of the cases: HTTP/1.1 with keep-alive, or HTTP/2, echoing what it received, steered by request headers;
//! on two ports, bytes that are no HTTP.
//!
//! One listener plays several pods: the instance is the address that a connection was made to. What it understands:
//! `x-app-status: N`; `x-app-fail: KEY:COUNT:STATUS` (the first COUNT requests with KEY; `reset` closes without an answer);
//! `x-app-bad: IP:STATUS[,..]`; `x-app-delay: SECONDS`; `x-app-delay-fail: KEY:COUNT:SECONDS`; `x-app-partial` (100 bytes
//! promised, 10 sent); `x-app-resp: {"name": "value"}` (further headers; a value may be a list); over HTTP/2
//! `x-app-trailers`, of the same form, and `x-app-trailers-only`.

mod http2;
mod stream;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::lab::{ECHO, GREETING};
use super::{from_latin1, latin1};

/// Longest line that is read.
const MAX_LINE: u64 = 65536;

/// A request that the application received.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Address that it came to.
    pub instance: String,
    /// Version that this address stands for.
    pub version: &'static str,
    /// Method.
    pub method: String,
    /// Target as it was sent.
    pub path: String,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
    /// Trailers in order.
    pub trailers: Vec<(String, String)>,
}

impl Seen {
    /// The last header of a name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().rev().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Fields that a header lists as JSON.
    fn fields(&self, header: &str) -> Result<Vec<(String, String)>> {
        let listed: Value = self.header(header).map_or(Ok(Value::Null), serde_json::from_str)?;
        let mut fields = Vec::new();
        for (name, value) in listed.as_object().into_iter().flatten() {
            for value in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
                fields.push((name.clone(), super::plain(value)));
            }
        }
        Ok(fields)
    }
}

/// What became of requests so far.
#[derive(Debug, Default)]
struct Memory {
    seen: Vec<Seen>,
    counts: HashMap<String, u64>,
}

/// The application, in all pods.
#[derive(Debug, Clone, Default)]
pub(crate) struct Application(Arc<Mutex<Memory>>);

/// What is answered.
struct Plan {
    status: u16,
    reset: bool,
    pause: Duration,
}

impl Application {
    /// Serves a port of the calling task's namespace for as long as its runtime lives.
    pub(super) async fn listen(&self, port: u16) -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
        let application = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let application = application.clone();
                // A peer that goes away is part of the cases.
                tokio::spawn(async move { drop(application.serve(stream, port).await) });
            }
        });
        Ok(())
    }

    /// The requests with this `x-request-id`.
    pub(super) fn seen(&self, id: &str) -> Vec<Seen> {
        self.memory().seen.iter().filter(|s| s.header("x-request-id") == Some(id)).cloned().collect()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, stream: TcpStream, port: u16) -> Result<()> {
        stream.set_nodelay(true)?;
        match port {
            GREETING => stream::greet(stream).await,
            ECHO => stream::echo(stream).await,
            _ if http2::is_next(&stream).await? => http2::serve(self, stream).await,
            _ => self.connection(stream).await,
        }
    }

    async fn connection(&self, stream: TcpStream) -> Result<()> {
        let local = stream.local_addr()?;
        let mut stream = BufReader::new(stream);
        while let Some(seen) = request(&mut stream, local).await? {
            if !self.answer(stream.get_mut(), seen).await? {
                break;
            }
        }
        Ok(())
    }

    /// Whether the connection stays open.
    async fn answer(&self, stream: &mut TcpStream, seen: Seen) -> Result<bool> {
        let plan = self.plan(&seen)?;
        self.memory().seen.push(seen.clone());
        tokio::time::sleep(plan.pause).await;
        if plan.reset {
            varka_sys::socket::reset_on_close(stream)?;
            return Ok(false);
        }
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nserver: app\r\ncontent-type: application/json\r\nx-app-instance: {}\r\n",
            plan.status,
            reason(plan.status),
            seen.instance
        );
        for (name, value) in seen.fields("x-app-resp")? {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if seen.header("x-app-partial").is_some() {
            head.push_str("content-length: 100\r\n\r\n0123456789");
            stream.write_all(&latin1(&head)?).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
            varka_sys::socket::reset_on_close(stream)?;
            return Ok(false);
        }
        let empty = seen.method == "HEAD" || matches!(plan.status, 204 | 304);
        let body = if empty { String::new() } else { echo(&seen) };
        head.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(&latin1(&head)?).await?;
        Ok(!seen.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("close")))
    }

    fn plan(&self, seen: &Seen) -> Result<Plan> {
        let mut plan = Plan { status: 200, reset: false, pause: Duration::ZERO };
        let outcome = |plan: &mut Plan, status: &str| -> Result<()> {
            match status {
                "reset" => plan.reset = true,
                status => plan.status = status.parse()?,
            }
            Ok(())
        };
        if let Some(status) = seen.header("x-app-status") {
            plan.status = status.parse()?;
        }
        if let Some(fail) = seen.header("x-app-fail")
            && let Some(status) = self.among_the_first(fail)?
        {
            outcome(&mut plan, status)?;
        }
        for bad in seen.header("x-app-bad").into_iter().flat_map(|b| b.split(',')) {
            let (instance, status) = bad.split_once(':').context("x-app-bad: IP:STATUS")?;
            if instance == seen.instance {
                outcome(&mut plan, status)?;
            }
        }
        if let Some(delay) = seen.header("x-app-delay") {
            plan.pause += Duration::try_from_secs_f64(delay.parse()?)?;
        }
        if let Some(delay) = seen.header("x-app-delay-fail")
            && let Some(seconds) = self.among_the_first(delay)?
        {
            plan.pause += Duration::try_from_secs_f64(seconds.parse()?)?;
        }
        Ok(plan)
    }

    /// `KEY:COUNT:WHAT`: `WHAT`, for the first COUNT requests with KEY.
    fn among_the_first<'t>(&self, text: &'t str) -> Result<Option<&'t str>> {
        let mut parts = text.splitn(3, ':');
        let (Some(key), Some(limit), Some(what)) = (parts.next(), parts.next(), parts.next()) else {
            anyhow::bail!("{text}: KEY:COUNT:WHAT");
        };
        let mut memory = self.memory();
        let count = memory.counts.entry(key.to_owned()).or_default();
        *count += 1;
        Ok((*count <= limit.parse()?).then_some(what))
    }
}

/// `None`: the peer has closed, or what it sent is no request line.
async fn request(stream: &mut BufReader<TcpStream>, local: SocketAddr) -> Result<Option<Seen>> {
    let first = line(stream).await?;
    let (Some((method, rest)), true) = (first.split_once(' '), first.ends_with('\n')) else { return Ok(None) };
    let Some((path, _)) = rest.rsplit_once(' ') else { return Ok(None) };
    // TLS, for instance: what follows would be waited for in vain.
    if !method.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(None);
    }
    let mut headers = Vec::new();
    loop {
        let line = line(stream).await?;
        let text = line.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':').unwrap_or((text, ""));
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let instance = local.ip().to_string();
    let version = version(&instance);
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut seen = Seen { instance, version, method, path, headers, body: String::new(), trailers: Vec::new() };
    let mut body = Vec::new();
    if let Some(length) = seen.header("content-length") {
        body.resize(length.parse()?, 0);
        stream.read_exact(&mut body).await?;
    } else if seen.header("transfer-encoding").is_some_and(|t| t.contains("chunked")) {
        body = chunks(stream, &mut seen.trailers).await?;
    }
    seen.body = from_latin1(&body);
    Ok(Some(seen))
}

async fn line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut bytes = Vec::new();
    stream.take(MAX_LINE).read_until(b'\n', &mut bytes).await?;
    Ok(from_latin1(&bytes))
}

async fn chunks(stream: &mut BufReader<TcpStream>, trailers: &mut Vec<(String, String)>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(stream).await?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
        if size == 0 {
            loop {
                let line = line(stream).await?;
                let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(body) };
                trailers.push((name.to_owned(), value.trim().to_owned()));
            }
        }
        let mut chunk = vec![0; size];
        stream.read_exact(&mut chunk).await?;
        body.append(&mut chunk);
        line(stream).await?;
    }
}

/// The request as JSON in ASCII.
fn echo(seen: &Seen) -> String {
    let value = json!({
        "instance": seen.instance, "version": seen.version, "method": seen.method, "path": seen.path,
        "headers": seen.headers, "body": seen.body, "trailers": seen.trailers,
    });
    let mut text = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        }
    }
    text
}

fn version(instance: &str) -> &'static str {
    match instance {
        "10.77.0.21" | "10.77.0.22" => "v1",
        "10.77.0.23" => "v2",
        "10.77.0.24" => "v3",
        "10.77.0.11" => "web",
        "10.77.0.31" => "other",
        "10.77.0.50" => "ext",
        "10.77.0.51" => "ext2",
        _ => "?",
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        302 => "Found",
        400 => "Bad Request",
        404 => "Not Found",
        409 => "Conflict",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}
