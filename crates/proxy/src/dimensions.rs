//! Values of labels that a Telemetry resource sets: what its expressions can ask of a request or connection.
//!
//! Names are Envoy's and Istio's attributes. Nothing here runs where the metrics are the standard ones.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderMap;
use varka_engine::cel::{Attributes, Expression, Value};
use varka_engine::outcome::Outcome;
use varka_telemetry::metrics::istio::{Custom, Workload};

use crate::config::PreparedStats;
use crate::http::RequestHead;
use crate::metrics::Who;

/// A request that is over.
pub(crate) struct Request<'a> {
    /// Its head, as it was sent on.
    pub head: &'a RequestHead,
    /// Headers of the answer.
    pub response: &'a HeaderMap,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// How long it took.
    pub duration: Duration,
    /// Payload from and to the client.
    pub bytes: [u64; 2],
    /// `grpc-status`.
    pub grpc_status: Option<u32>,
}

/// What can be asked.
struct Asked<'a> {
    who: &'a Who<'a>,
    request: Option<&'a Request<'a>>,
}

impl PreparedStats {
    /// Values of a connection's labels.
    pub(crate) fn of_connection(&self, who: &Who<'_>) -> Option<Custom> {
        self.evaluate(&Asked { who, request: None })
    }

    /// Values of a request's labels.
    pub(crate) fn of_request(&self, who: &Who<'_>, request: &Request<'_>) -> Option<Custom> {
        self.evaluate(&Asked { who, request: Some(request) })
    }

    fn evaluate(&self, asked: &Asked<'_>) -> Option<Custom> {
        let value = |e: &Option<Expression>| e.as_ref().and_then(|e| e.evaluate(asked).ok()).map(|v| v.print());
        self.custom.as_ref().map(|custom| custom.with(self.expressions.iter().map(value)))
    }
}

fn text(value: &str) -> Option<Value<'_>> {
    Some(Value::Text(Cow::Borrowed(value)))
}

fn some(value: &str) -> Option<Value<'_>> {
    text(value).filter(|_| !value.is_empty())
}

fn whole<'a>(value: impl TryInto<i64>) -> Option<Value<'a>> {
    value.try_into().ok().map(Value::Int)
}

fn owned<'a>(value: impl ToString) -> Option<Value<'a>> {
    Some(Value::Text(Cow::Owned(value.to_string())))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<Value<'a>> {
    text(headers.get(name)?.to_str().ok()?)
}

/// `upstream_peer.workload` and the like.
fn peer<'a>(workload: &'a Workload, field: &str) -> Option<Value<'a>> {
    some(match field {
        "workload" => &workload.name,
        "namespace" => &workload.namespace,
        "cluster" => &workload.cluster,
        "service" => &workload.canonical_service,
        "revision" => &workload.canonical_revision,
        "app" => &workload.app,
        "version" => &workload.version,
        _ => return None,
    })
}

/// A value of the node's metadata.
fn json(value: &serde_json::Value) -> Option<Value<'_>> {
    match value {
        serde_json::Value::String(s) => text(s),
        serde_json::Value::Bool(b) => Some(Value::Bool(*b)),
        serde_json::Value::Number(n) => n.as_i64().map(Value::Int).or_else(|| n.as_f64().map(Value::Double)),
        _ => None,
    }
}

impl Attributes for Asked<'_> {
    fn attribute(&self, path: &[&str]) -> Option<Value<'_>> {
        let (root, rest) = path.split_first()?;
        let who = self.who;
        match (*root, rest) {
            ("request", rest) => self.of_request(rest),
            ("response", rest) => self.of_response(rest),
            ("connection", rest) => self.of_connection(rest),
            ("source", ["address"]) => owned(who.conn.seen.peer),
            ("source", ["port"]) => whole(who.conn.seen.peer.port()),
            ("destination", ["address"]) => owned(who.conn.seen.original_dst),
            ("destination", ["port"]) => whole(who.conn.seen.original_dst.port()),
            ("upstream", ["address"]) => who.upstream.host.and_then(owned),
            ("upstream", ["port"]) => who.upstream.host.and_then(|h| whole(h.port())),
            ("upstream", ["transport_failure_reason"]) => text(&who.upstream.failure),
            ("upstream_peer", [field]) => peer(who.upstream.peer.as_deref()?, field),
            ("downstream_peer", [field]) => peer(who.client.map(|c| &**c)?, field),
            ("xds", ["cluster_name"]) => some(who.upstream.cluster.as_deref()?),
            ("xds", ["route_name"]) => some(who.route?),
            ("node", ["id"]) => owned(who.conn.worker.state.own.node_id().to_owned()),
            ("node", ["metadata", path @ ..]) => {
                let mut value = who.conn.worker.state.bootstrap.metadata.get(*path.first()?)?;
                for step in path.get(1..)? {
                    value = value.get(step)?;
                }
                json(value)
            }
            _ => None,
        }
    }
}

impl Asked<'_> {
    fn of_request(&self, path: &[&str]) -> Option<Value<'_>> {
        let r = self.request?;
        let target = r.head.path.as_str();
        match path {
            ["method"] => text(r.head.method.as_str()),
            ["scheme"] => text(r.head.scheme()),
            ["host"] => text(r.head.authority.as_str()),
            ["path"] => text(target),
            ["url_path"] => text(target.split(['?', '#']).next().unwrap_or(target)),
            ["query"] => text(target.split_once('?').map_or("", |(_, query)| query)),
            ["protocol"] => Some(Value::Text(format!("{:?}", r.head.version).into())),
            ["id"] => header(&r.head.headers, "x-request-id"),
            ["useragent"] => header(&r.head.headers, "user-agent"),
            ["referer"] => header(&r.head.headers, "referer"),
            ["headers", name] => match *name {
                ":method" => text(r.head.method.as_str()),
                ":authority" => text(r.head.authority.as_str()),
                ":path" => text(target),
                ":scheme" => text(r.head.scheme()),
                name => header(&r.head.headers, name),
            },
            ["size"] => whole(r.bytes[0]),
            ["duration"] => whole(r.duration.as_millis()),
            _ => None,
        }
    }

    fn of_response(&self, path: &[&str]) -> Option<Value<'_>> {
        let r = self.request?;
        match path {
            ["code"] => whole(r.outcome.status),
            ["code_details"] => some(&r.outcome.details),
            ["flags"] => owned(r.outcome.flags),
            ["grpc_status"] => r.grpc_status.and_then(whole),
            ["headers", name] => header(r.response, name),
            ["size"] => whole(r.bytes[1]),
            _ => None,
        }
    }

    fn of_connection(&self, path: &[&str]) -> Option<Value<'_>> {
        let conn = self.who.conn;
        let identity = conn.peer_identity.as_ref();
        match path {
            ["mtls"] => Some(Value::Bool(identity.is_some())),
            ["requested_server_name"] => some(conn.seen.hello.as_ref()?.sni.as_deref()?),
            ["subject_peer_certificate"] => some(&identity?.subject),
            ["uri_san_peer_certificate"] => some(identity?.uri_sans.first()?),
            ["dns_san_peer_certificate"] => some(identity?.dns_sans.first()?),
            ["uri_san_local_certificate"] => some(conn.local_identity.as_deref()?),
            _ => None,
        }
    }
}
