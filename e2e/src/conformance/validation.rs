//! Istio's validation tables. Most rows are whole specifications; a row about a part is put where the part belongs in the least
//! object that is otherwise valid. Rows without a message test Go functions that have no counterpart, and are not counted.

use std::path::Path;

use serde_json::{Value, json};
use varka_api::RawObject;
use varka_api::validate::validate;

use super::{Report, cases, text};

/// Runs the table.
pub(super) fn run(table: &Value, _: &Path, report: &mut Report) {
    for case in cases(table) {
        let Some(object) = object(case) else {
            report.skipped += 1;
            continue;
        };
        let name = format!("{} / {}", text(case, "test"), text(case, "case"));
        report.count(&name, judge(case, object));
    }
}

fn judge(case: &Value, object: Value) -> Result<(), String> {
    let raw = RawObject::from_value(object).ok_or("the object cannot be built")?;
    let found = validate(&raw);
    let error = ["out", "err"].iter().find_map(|k| case.get(*k)).and_then(Value::as_str);
    let valid = match (case.get("valid").and_then(Value::as_bool), error) {
        (Some(valid), _) => valid,
        (None, Some(error)) => error.is_empty(),
        (None, None) => return Err("the case says neither valid nor not".to_owned()),
    };
    if found.is_ok() == valid {
        return Ok(());
    }
    let said: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    Err(format!(
        "{} instead of {}: {said:?}; {}",
        if valid { "refused" } else { "accepted" },
        if valid { "accepted" } else { "refused" },
        raw.value
    ))
}

/// The row's message within a whole object.
fn object(case: &Value) -> Option<Value> {
    let message = case.get("message").filter(|m| !m.is_null()).cloned();
    // A row that passes something of another type is about Go.
    if text(case, "out") == "cannot cast" {
        return None;
    }
    let destination = json!([{"destination": {"host": "foo.bar"}}]);
    let http = |route: Value| json!({"hosts": ["foo.bar"], "http": [route]});
    let rule = |policy: Value| json!({"host": "reviews", "trafficPolicy": policy});
    let (kind, spec) = match (text(case, "messageType"), text(case, "test")) {
        (_, "TestValidateRouteDestination") => ("VirtualService", http(json!({"route": case.get("routes")?}))),
        (_, "TestValidateHTTPFaultInjectionAbort") => {
            ("VirtualService", http(json!({"route": destination, "fault": {"abort": message?}})))
        }
        (_, "TestValidateHTTPFaultInjectionDelay") => {
            ("VirtualService", http(json!({"route": destination, "fault": {"delay": message?}})))
        }
        (_, "TestValidateUriRegexRewrite") => {
            ("VirtualService", http(json!({"route": destination, "rewrite": {"uriRegexRewrite": message?}})))
        }
        (_, "TestValidateDelegateHTTPRoute") => ("VirtualService", json!({"http": [message?]})),
        ("HTTPRoute", _) => ("VirtualService", http(message?)),
        ("CorsPolicy", _) => ("VirtualService", http(json!({"route": destination, "corsPolicy": message?}))),
        ("HTTPRetry", _) => ("VirtualService", http(json!({"route": destination, "retries": message?}))),
        ("HTTPRewrite", _) => ("VirtualService", http(json!({"route": destination, "rewrite": message?}))),
        ("HTTPRedirect", _) => ("VirtualService", http(json!({"redirect": message?}))),
        ("HTTPDirectResponse", _) => ("VirtualService", http(json!({"directResponse": message?}))),
        ("Destination", _) => ("VirtualService", http(json!({"route": [{"destination": message?}]}))),
        ("TrafficPolicy", _) => ("DestinationRule", rule(message?)),
        ("ConnectionPoolSettings", _) => ("DestinationRule", rule(json!({"connectionPool": message?}))),
        ("LoadBalancerSettings", _) => ("DestinationRule", rule(json!({"loadBalancer": message?}))),
        ("OutlierDetection", _) => ("DestinationRule", rule(json!({"outlierDetection": message?}))),
        ("Server", _) => ("Gateway", json!({"servers": [message?]})),
        ("Port", _) => {
            ("Gateway", json!({"servers": [{"hosts": ["foo.bar"], "port": message?, "bind": text(case, "bind")}]}))
        }
        ("ServerTLSSettings", _) => {
            let port = json!({"number": 443, "name": "https", "protocol": "HTTPS"});
            ("Gateway", json!({"servers": [{"hosts": ["foo.bar"], "port": port, "tls": message?}]}))
        }
        ("WorkloadGroup" | "WasmPlugin" | "TrafficExtension" | "EnvoyFilter", _) => return None,
        ("", _) => return None,
        (kind, _) => (kind, message?),
    };
    let group = match kind {
        "AuthorizationPolicy" | "PeerAuthentication" | "RequestAuthentication" => "security.istio.io/v1",
        "Telemetry" => "telemetry.istio.io/v1",
        _ => "networking.istio.io/v1",
    };
    let name = if text(case, "configName").is_empty() { "foo" } else { text(case, "configName") };
    let metadata = json!({
        "name": name,
        "namespace": "bar",
        "annotations": case.get("annotations").cloned().unwrap_or_else(|| json!({})),
        "labels": case.get("labels").cloned().unwrap_or_else(|| json!({})),
    });
    Some(json!({"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec}))
}
