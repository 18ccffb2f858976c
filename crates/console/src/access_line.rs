//! Lines of a proxy's access log, in Istio's default forms: text and JSON.
//!
//! What is not known is `-` in text and `null` in JSON. A line of another form is a line like any other, and no error.

use std::net::SocketAddr;

use serde_json::Value;

use crate::explain::Direction;

/// What a line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessLine {
    /// Empty, as everything below: not known.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Status.
    pub code: String,
    /// Response flags; `-`: none.
    pub flags: String,
    /// Response code details.
    pub details: String,
    /// Milliseconds.
    pub duration: u64,
    /// Host header.
    pub host: String,
    /// Cluster.
    pub cluster: String,
    /// Endpoint.
    pub upstream: String,
    /// What was dialled, before interception.
    pub dialled: Option<SocketAddr>,
    /// What the request is called by.
    pub request_id: String,
}

impl AccessLine {
    /// Which side of the proxy wrote it.
    pub fn direction(&self) -> Direction {
        let inbound = self.cluster.starts_with("inbound|") || self.cluster.starts_with("Inbound");
        if inbound { Direction::Inbound } else { Direction::Outbound }
    }
}

/// Reads a line; `None`: it is none of an access log.
pub fn read(line: &str) -> Option<AccessLine> {
    if line.starts_with('{') { json(line) } else { text(line) }
}

/// Of Istio's text format by place: `[START] "METHOD PATH PROTOCOL" CODE FLAGS DETAILS TERMINATION "FAILURE" RECEIVED SENT DURATION
/// SERVICE_TIME "XFF" "AGENT" "ID" "AUTHORITY" "HOST" CLUSTER LOCAL DOWNSTREAM_LOCAL DOWNSTREAM_REMOTE SNI ROUTE`.
fn text(line: &str) -> Option<AccessLine> {
    let rest = line.strip_prefix('[')?;
    let (_, rest) = rest.split_once("] ")?;
    let fields = fields(rest);
    // A format with fewer fields is somebody's own.
    if fields.len() < 20 {
        return None;
    }
    let field = |at: usize| fields.get(at).copied().map(known).unwrap_or_default();
    let mut first = fields.first()?.splitn(3, ' ');
    let (method, path) = (first.next()?, first.next().unwrap_or_default());
    let code = field(1);
    code.parse::<u16>().ok()?;
    Some(AccessLine {
        method: known(method),
        path: known(path),
        code,
        flags: fields.get(2).copied().unwrap_or_default().to_owned(),
        details: field(3),
        duration: field(8).parse().unwrap_or(0),
        request_id: field(12),
        host: field(13),
        upstream: field(14),
        cluster: field(15),
        dialled: field(17).parse().ok(),
    })
}

/// Fields with a space between; what is in quotes is one.
fn fields(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        found.push(field);
        rest = after.trim_start();
    }
    found
}

fn json(line: &str) -> Option<AccessLine> {
    let object: Value = serde_json::from_str(line).ok()?;
    // Every form of it has these; a line of an application may be JSON, too.
    object.get("response_code")?;
    object.get("start_time")?;
    let field = |name: &str| match object.get(name) {
        Some(Value::String(text)) => known(text),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let flags = field("response_flags");
    Some(AccessLine {
        method: field("method"),
        path: field("path"),
        code: field("response_code"),
        flags: if flags.is_empty() { "-".to_owned() } else { flags },
        details: field("response_code_details"),
        duration: field("duration").parse().unwrap_or(0),
        request_id: field("request_id"),
        host: field("authority"),
        upstream: field("upstream_host"),
        cluster: field("upstream_cluster"),
        dialled: field("downstream_local_address").parse().ok(),
    })
}

fn known(text: &str) -> String {
    if text == "-" { String::new() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const LINE: &str = "[2026-01-01T00:00:00.000Z] \"GET /api/posts HTTP/1.1\" 403 - rbac_access_denied_matched_policy[none] - \"-\" \
                        0 19 3 - \"10.0.0.1\" \"curl/8\" \"abc-1\" \"was-service:8080\" \"-\" inbound|8080|| - 10.0.0.2:8080 \
                        10.0.0.1:5 outbound_.8080_._.was default";

    #[test]
    fn both_forms_say_the_same() {
        let text = read(LINE).unwrap();
        assert_eq!((text.method.as_str(), text.path.as_str(), text.code.as_str()), ("GET", "/api/posts", "403"));
        assert_eq!((text.duration, text.host.as_str(), text.request_id.as_str()), (3, "was-service:8080", "abc-1"));
        assert_eq!((text.direction(), text.dialled), (Direction::Inbound, "10.0.0.2:8080".parse().ok()));
        let line = json!({
            "start_time": "2026-01-01T00:00:00.000Z", "method": "GET", "path": "/api/posts", "response_code": 403,
            "response_flags": null, "response_code_details": "rbac_access_denied_matched_policy[none]", "duration": 3,
            "request_id": "abc-1", "authority": "was-service:8080", "upstream_host": null, "upstream_cluster": "inbound|8080||",
            "downstream_local_address": "10.0.0.2:8080",
        });
        assert_eq!(read(&line.to_string()).unwrap(), text);
    }

    #[test]
    fn what_is_another_line_is_none() {
        for line in ["", "started", "{\"level\":\"info\"}", "[x] \"GET / HTTP/1.1\" 200", "[2026] - - -"] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(start in "[\\[{]?", rest in "\\PC{0,200}") {
            let _ = read(&format!("{start}{rest}"));
            let _ = read(&format!("{LINE}{rest}"));
        }
    }
}
