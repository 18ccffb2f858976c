//! A case of the table: which requests are sent, how, and what is wanted.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use regex::{Captures, Regex};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::plain;

/// The service that most cases speak to.
const SERVICE: &str = "10.96.0.10:8080";

#[expect(clippy::expect_used, reason = "a constant that a test reads")]
static REPEATED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\{\{(\w)\*(\d+)\}\}").expect("a pattern"));

/// A case.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Case {
    /// `SET/NAME`.
    pub id: String,
    /// Name of its set of resources; a case of a set's own file has none.
    #[serde(default)]
    pub resources: String,
    /// What the client speaks.
    #[serde(default)]
    pub protocol: Protocol,
    #[serde(default)]
    req: Map<String, Value>,
    #[serde(default)]
    seq: Vec<Map<String, Value>>,
    #[serde(default = "one")]
    n: usize,
    /// Pod that the requests start in.
    #[serde(default = "web")]
    pub client: String,
    #[serde(default)]
    dst: Option<SocketAddr>,
    /// Source address.
    #[serde(default)]
    pub src: Option<Ipv4Addr>,
    #[serde(default)]
    timeout: Option<f64>,
    #[serde(default)]
    stagger: Option<f64>,
    #[serde(default)]
    settle: Option<f64>,
    /// All requests at once.
    #[serde(default)]
    pub parallel: bool,
    /// One connection for all.
    #[serde(default)]
    pub reuse: bool,
    /// TLS of the client's own.
    #[serde(default)]
    pub tls: Option<TlsCase>,
    /// How the requests are summed up; absent: each of them is compared.
    #[serde(default)]
    pub kind: Option<String>,
    /// Of `rr`.
    #[serde(default)]
    pub hosts: usize,
    /// Of `dist`.
    #[serde(default)]
    pub key: String,
    /// Of `dist`.
    #[serde(default)]
    pub fractions: Map<String, Value>,
    /// Of `mirror-dist`.
    #[serde(default)]
    pub fraction: f64,
    /// Of the distributions.
    #[serde(default)]
    pub tol: f64,
    /// The answer must have taken so long.
    #[serde(default)]
    pub min_ms: Option<f64>,
    /// What the application saw is compared as well.
    #[serde(default)]
    pub applog: bool,
    /// Which endpoint of several answers is chance.
    #[serde(default)]
    pub any_endpoint: bool,
    /// What Envoy did; where one runs beside, it says so itself.
    #[serde(default)]
    pub expect: Value,
    /// What differed between recordings and is not asserted.
    #[serde(default)]
    pub unstable: Vec<String>,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    /// HTTP/1, as exact bytes.
    #[default]
    Http1,
    /// HTTP/2 from the first byte.
    Http2,
    /// Bytes until the other side closes.
    Tcp,
}

/// A TLS client of a case.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct TlsCase {
    /// The workload whose certificate it shows.
    #[serde(default)]
    pub id: Option<String>,
    /// Protocols.
    #[serde(default)]
    pub alpn: Vec<String>,
    /// Server name.
    #[serde(default)]
    pub sni: Option<String>,
}

fn one() -> usize {
    1
}

fn web() -> String {
    "web".to_owned()
}

fn seconds(value: Option<f64>, default: f64) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(value.unwrap_or(default))?)
}

/// Tokens that stand in the cases by name.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Tokens {
    #[serde(default)]
    jwks: Value,
    /// By name.
    #[serde(default)]
    pub tokens: Map<String, Value>,
}

impl Tokens {
    /// A text with the tokens in place of their names.
    pub(super) fn insert(&self, text: &str) -> String {
        let mut text = text.replace("{{jwks}}", &self.jwks.to_string());
        for (name, token) in &self.tokens {
            text = text.replace(&format!("{{{{jwt.{name}}}}}"), token.as_str().unwrap_or_default());
        }
        text
    }

    /// The other way round, so that what is compared does not depend on the tokens.
    pub(super) fn remove(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, token) in &self.tokens {
            let token = token.as_str().unwrap_or_default();
            text = text.replace(token, &format!("{{{{jwt.{name}}}}}"));
            if let (Some(payload), "valid" | "expired") = (token.split('.').nth(1), name.as_str()) {
                text = text.replace(payload, &format!("{{{{payload.{name}}}}}"));
            }
        }
        text
    }
}

/// A request as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// `x-request-id`, by which logs are found.
    pub id: String,
    /// Bytes, Latin-1.
    pub raw: String,
    /// The same for HTTP/2, which has no form of its own as text.
    pub message: Message,
    /// Pause before it.
    pub pause: Duration,
    /// What steers the application, as text.
    pub steering: String,
}

/// A request in parts.
#[derive(Debug, Clone, Default)]
pub(super) struct Message {
    /// Method.
    pub method: String,
    /// Target.
    pub path: String,
    /// `:authority`; `None`: there is none.
    pub authority: Option<String>,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Option<String>,
    /// Trailers in order.
    pub trailers: Vec<(String, String)>,
}

impl Case {
    /// A case with one request.
    pub(super) fn of(id: String, request: Map<String, Value>) -> Self {
        Self {
            id,
            resources: String::new(),
            protocol: Protocol::default(),
            req: request,
            seq: Vec::new(),
            n: one(),
            client: web(),
            dst: None,
            src: None,
            timeout: None,
            stagger: None,
            settle: None,
            parallel: false,
            reuse: false,
            tls: None,
            kind: None,
            hosts: 0,
            key: String::new(),
            fractions: Map::new(),
            fraction: 0.0,
            tol: 0.0,
            min_ms: None,
            applog: false,
            any_endpoint: false,
            expect: Value::Null,
            unstable: Vec::new(),
        }
    }

    /// Its request, where it has one.
    pub(super) fn request_parts(&self) -> &Map<String, Value> {
        &self.req
    }

    /// Sends it from another pod to another address, unless it says itself where.
    pub(super) fn goes_to(&mut self, client: &str, to: SocketAddr) {
        client.clone_into(&mut self.client);
        self.dst.get_or_insert(to);
    }

    /// Where the requests go.
    pub(super) fn to(&self) -> Result<SocketAddr> {
        self.dst.map_or_else(|| SERVICE.parse().context("the service's address"), Ok)
    }

    /// How long one request may take.
    pub(super) fn timeout(&self) -> Result<Duration> {
        seconds(self.timeout, 16.0)
    }

    /// Between the starts of parallel requests.
    pub(super) fn stagger(&self) -> Result<Duration> {
        seconds(self.stagger, 0.0)
    }

    /// How long the logs are waited for at least.
    pub(super) fn settle(&self) -> Result<Duration> {
        seconds(self.settle, 0.0)
    }

    /// The requests in order.
    pub(super) fn requests(&self, tokens: &Tokens) -> Result<Vec<Request>> {
        let listed = if self.seq.is_empty() { std::slice::from_ref(&self.req) } else { &self.seq };
        let repeated = listed.iter().flat_map(|r| std::iter::repeat_n(r, self.n));
        repeated.map(|request| self.request(request, tokens)).collect()
    }

    fn request(&self, request: &Map<String, Value>, tokens: &Tokens) -> Result<Request> {
        let id = request_id();
        let message = message(request, &id, tokens);
        let raw = match request.get("raw").map(plain) {
            Some(raw) => repeated(&tokens.insert(&raw).replace("{{id}}", &id)),
            None => message.to_string(),
        };
        let pause = seconds(request.get("sleep").and_then(Value::as_f64), 0.0)?;
        let steering = Value::Object(self.req.clone()).to_string();
        Ok(Request { id, raw, message, pause, steering })
    }
}

/// `{{x*8000}}` written out.
fn repeated(text: &str) -> String {
    let written_out = |found: &Captures<'_>| {
        let part = |n| found.get(n).map_or("", |m| m.as_str());
        part(1).repeat(part(2).parse().unwrap_or_default())
    };
    REPEATED.replace_all(text, written_out).into_owned()
}

fn message(request: &Map<String, Value>, id: &str, tokens: &Tokens) -> Message {
    let text = |key: &str| request.get(key).filter(|v| !v.is_null()).map(plain);
    let fields = |key: &str| {
        let mut list = Vec::new();
        for (name, value) in request.get(key).and_then(Value::as_object).into_iter().flatten() {
            for value in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
                list.push((name.clone(), tokens.insert(&plain(value)).replace("{{id}}", id)));
            }
        }
        list
    };
    let mut headers = vec![("x-request-id".to_owned(), id.to_owned())];
    headers.extend(fields("headers"));
    Message {
        method: text("method").unwrap_or_else(|| "GET".to_owned()),
        path: tokens.insert(&text("path").unwrap_or_else(|| "/".to_owned())),
        authority: if request.contains_key("host") { text("host") } else { Some("was-service".to_owned()) },
        headers,
        body: text("body"),
        trailers: fields("trailers"),
    }
}

impl fmt::Display for Message {
    /// As HTTP/1.1, without trailers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} HTTP/1.1\r\n", self.method, self.path)?;
        if let Some(host) = &self.authority {
            write!(f, "Host: {host}\r\n")?;
        }
        for (name, value) in &self.headers {
            write!(f, "{name}: {value}\r\n")?;
        }
        if let Some(body) = &self.body {
            write!(f, "content-length: {}\r\n", body.chars().count())?;
        }
        write!(f, "\r\n{}", self.body.as_deref().unwrap_or_default())
    }
}

/// A request id of the usual form that no other request of this process has.
fn request_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{n:08x}-c0de-4000-8000-{:012x}", std::process::id())
}

#[cfg(test)]
mod tests;
