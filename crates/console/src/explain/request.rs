//! What is asked: a request that is thought up, and how it looks on its way.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use serde::Deserialize;
use varka_engine::facts::{Connection, DetectedHttp, Metadata, Request as Facts, is_grpc_content_type};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct From {
    /// Namespace.
    pub namespace: String,
    /// Workload.
    pub workload: String,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct To {
    /// Host that is dialled, and named unless `headers` has another `host`.
    pub host: String,
    /// 0: the first port of the service.
    #[serde(default)]
    pub port: u16,
    /// Method; empty: GET.
    #[serde(default)]
    pub method: String,
    /// Path and query; empty: `/`.
    #[serde(default)]
    pub path: String,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// A request that is thought up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thought {
    /// Who asks.
    pub from: From,
    /// For what.
    pub to: To,
}

/// A request on its way: what each proxy makes of it the next one gets.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) scheme: &'static str,
    pub(super) authority: String,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
}

impl Request {
    /// The words are those of a refusal: which part cannot be.
    pub(super) fn new(to: &To, port: u16) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        let mut authority = None;
        for (name, value) in &to.headers {
            if name.eq_ignore_ascii_case("host") || name == ":authority" {
                authority = Some(value.clone());
                continue;
            }
            let name = name.parse::<HeaderName>().map_err(|_| format!("{name:?} is no name of a header"))?;
            let value = value.parse::<HeaderValue>().map_err(|_| format!("{value:?} is no value of a header"))?;
            headers.append(name, value);
        }
        let default = if matches!(port, 80 | 443) { to.host.clone() } else { format!("{}:{port}", to.host) };
        let path = if to.path.is_empty() { "/" } else { to.path.as_str() };
        if !path.starts_with('/') {
            return Err(format!("path cannot be {path:?}; it begins with a slash"));
        }
        let method = if to.method.is_empty() { "GET".to_owned() } else { to.method.to_ascii_uppercase() };
        Ok(Self { method, scheme: "http", authority: authority.unwrap_or(default), path: path.to_owned(), headers })
    }

    fn is_grpc(&self) -> bool {
        self.headers.get(http::header::CONTENT_TYPE).is_some_and(|v| is_grpc_content_type(v.as_bytes()))
    }

    /// What its first bytes show in plain text.
    pub(super) fn first_bytes(&self) -> DetectedHttp {
        if self.is_grpc() { DetectedHttp::H2c } else { DetectedHttp::Http11 }
    }

    /// As the engine looks at it. `client`: its address, as far as headers say.
    pub(super) fn facts<'a>(
        &'a self,
        connection: &'a Connection<'a>,
        client: std::net::SocketAddr,
        metadata: &'a Metadata,
    ) -> Facts<'a> {
        Facts {
            method: &self.method,
            scheme: self.scheme,
            authority: &self.authority,
            path: &self.path,
            headers: &self.headers,
            connection,
            remote_address: client,
            metadata,
            version: if self.is_grpc() { Version::HTTP_2 } else { Version::HTTP_11 },
        }
    }
}
