//! A case of the table: which requests are sent, how, and what is wanted.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::plain;

/// The service that most cases speak to.
const SERVICE: &str = "10.96.0.10:8080";

/// A case.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Case {
    /// `SET/NAME`.
    pub id: String,
    /// Name of its set of resources.
    pub resources: String,
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
    /// What Envoy did.
    pub expect: Value,
    /// What differed between recordings and is not asserted.
    #[serde(default)]
    pub unstable: Vec<String>,
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
    /// Pause before it.
    pub pause: Duration,
    /// What steers the application, as text.
    pub steering: String,
}

impl Case {
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
        let text = |key: &str| request.get(key).map(plain);
        let raw = match text("raw") {
            Some(raw) => tokens.insert(&raw).replace("{{id}}", &id),
            None => {
                let method = text("method").unwrap_or_else(|| "GET".to_owned());
                let path = tokens.insert(&text("path").unwrap_or_else(|| "/".to_owned()));
                let mut raw = format!("{method} {path} HTTP/1.1\r\n");
                match request.get("host") {
                    None => raw.push_str("Host: was-service\r\n"),
                    Some(Value::Null) => {}
                    Some(host) => raw.push_str(&format!("Host: {}\r\n", plain(host))),
                }
                raw.push_str(&format!("x-request-id: {id}\r\n"));
                for (name, value) in request.get("headers").and_then(Value::as_object).into_iter().flatten() {
                    for value in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
                        raw.push_str(&format!("{name}: {}\r\n", tokens.insert(&plain(value))));
                    }
                }
                let body = request.get("body").filter(|b| !b.is_null()).map(plain);
                if let Some(body) = &body {
                    raw.push_str(&format!("content-length: {}\r\n", body.chars().count()));
                }
                raw.push_str(&format!("\r\n{}", body.unwrap_or_default()));
                raw
            }
        };
        let pause = seconds(request.get("sleep").and_then(Value::as_f64), 0.0)?;
        let steering = Value::Object(self.req.clone()).to_string();
        Ok(Request { id, raw, pause, steering })
    }
}

/// A request id of the usual form that no other request of this process has.
fn request_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{n:08x}-c0de-4000-8000-{:012x}", std::process::id())
}
