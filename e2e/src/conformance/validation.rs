//! Istio's validation tables. Most rows are whole specifications; a row about a part is put where the part belongs in the least
//! object that is otherwise valid. A row that passes a value of another Go type has no counterpart in an object, and is skipped.

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
    let wrong = case.get("wantErr").and_then(Value::as_bool);
    let valid = match (case.get("valid").and_then(Value::as_bool), error, wrong) {
        (Some(valid), ..) => valid,
        (None, Some(error), _) => error.is_empty(),
        (None, None, Some(wrong)) => !wrong,
        // A function that answers with an error or none.
        (None, None, None) if case.get("expected").is_some_and(Value::is_null) => true,
        (None, None, None) => return Err("the case says neither valid nor not".to_owned()),
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
        ("", test) if message.is_none() && case.get("routes").is_none() => part(case, test)?,
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
        ("", _) => return None,
        (kind, _) => (kind, message?),
    };
    let group = match kind {
        "AuthorizationPolicy" | "PeerAuthentication" | "RequestAuthentication" => "security.istio.io/v1",
        "Telemetry" => "telemetry.istio.io/v1",
        "WasmPlugin" | "TrafficExtension" => "extensions.istio.io/v1alpha1",
        _ => "networking.istio.io/v1",
    };
    let or = |key: &str, default: &'static str| match text(case, key) {
        "" => default.to_owned(),
        given => given.to_owned(),
    };
    let metadata = json!({
        "name": or("configName", "foo"),
        "namespace": or("namespace", "bar"),
        "annotations": case.get("annotations").cloned().unwrap_or_else(|| json!({})),
        "labels": case.get("labels").cloned().unwrap_or_else(|| json!({})),
    });
    Some(json!({"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec}))
}

/// The object of a row that passes no message: a name, a list, or an absent part, where such stands in an object.
fn part(case: &Value, test: &str) -> Option<(&'static str, Value)> {
    let rule = |members: Value| {
        let mut rule = json!({"route": [{"destination": {"host": "foo.bar"}}]});
        rule.as_object_mut()?.extend(members.as_object()?.clone());
        Some(("VirtualService", json!({"hosts": ["foo.bar"], "http": [rule]})))
    };
    let flag = |key: &str| case.get(key).and_then(Value::as_bool).unwrap_or_default();
    let name = text(case, "case");
    match test {
        "TestValidateHTTPHeaderName" => rule(json!({"match": [{"headers": {name: {"exact": "a"}}}]})),
        "TestStrictValidateHTTPHeaderName" => rule(json!({"headers": {"request": {"set": {name: "a"}}}})),
        "TestValidateHTTPHeaderValue" => rule(json!({"headers": {"request": {"set": {"a": text(case, "input")}}}})),
        "TestValidateHTTPFaultInjectionAbort" => {
            rule(json!({"fault": {"abort": null, "delay": {"fixedDelay": "1s", "percentage": {"value": 1}}}}))
        }
        "TestValidateHTTPFaultInjectionDelay" => {
            rule(json!({"fault": {"delay": null, "abort": {"httpStatus": 503, "percentage": {"value": 1}}}}))
        }
        "TestValidateUriRegexRewrite" => rule(json!({"rewrite": {"uri": "/", "uriRegexRewrite": null}})),
        "TestValidateHTTPDirectResponse" => rule(json!({"directResponse": null})),
        "TestValidatePortName" => Some((
            "ServiceEntry",
            json!({"hosts": ["foo.bar"], "ports": [{"number": 80, "name": name, "protocol": "HTTP"}], "resolution": "DNS"}),
        )),
        "Test_validateExportTo" => {
            let export = case.get("exportTo")?;
            Some(if flag("isServiceEntry") {
                let ports = json!([{"number": 80, "name": "http", "protocol": "HTTP"}]);
                ("ServiceEntry", json!({"hosts": ["foo.bar"], "ports": ports, "resolution": "DNS", "exportTo": export}))
            } else if flag("isDestinationRuleWithSelector") {
                let selector = json!({"matchLabels": {"app": "foo"}});
                ("DestinationRule", json!({"host": "foo.bar", "workloadSelector": selector, "exportTo": export}))
            } else {
                ("DestinationRule", json!({"host": "foo.bar", "exportTo": export}))
            })
        }
        _ => None,
    }
}
