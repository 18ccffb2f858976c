//! Requests near the conditions of rules: what they ask for, and what is almost that.

use serde_json::{Map, Value, json};

use super::chance::Chance;
use super::{NAMES, PARAMETERS, PATHS, TEXTS};

/// What fits a pattern of the rules, or nearly.
const NEAR_PATTERNS: [&str; 8] = ["/a/", "/num/7", "/num/x", "/pic.png", "/pic.pngx", "/api/v1/users", "/API/v3", "/b"];

/// A request to a host, near one of its rules.
pub(super) fn near(chance: &mut Chance, rules: &[Value], host: &str) -> Map<String, Value> {
    let conditions: Vec<&Value> =
        rules.iter().flat_map(|r| r.get("match").and_then(Value::as_array).into_iter().flatten()).collect();
    let wanted = if conditions.is_empty() { &Value::Null } else { *chance.one(&conditions) };
    let mut request = Map::new();
    request.insert("method".to_owned(), method(chance, wanted).into());
    request.insert("path".to_owned(), format!("{}{}", path(chance, wanted), query(chance, wanted)).into());
    request.insert("host".to_owned(), authority(chance, host).into());
    let mut headers = headers(chance, wanted);
    steer(chance, &mut headers);
    request.insert("headers".to_owned(), headers.into());
    if chance.percent(10) {
        request.insert("body".to_owned(), "hello".into());
    }
    request
}

/// A text that a condition asks for; sometimes any other.
fn asked(chance: &mut Chance, condition: Option<&Value>, others: &[&str]) -> String {
    let text = |key: &str| condition.and_then(|c| c.get(key)).and_then(Value::as_str);
    match (text("exact").or_else(|| text("prefix")), chance.percent(75)) {
        (Some(text), true) => text.to_owned(),
        _ => (*chance.one(others)).to_owned(),
    }
}

fn method(chance: &mut Chance, wanted: &Value) -> String {
    if chance.percent(5) {
        return "OPTIONS".to_owned();
    }
    match wanted.get("method") {
        Some(_) => (*chance.one(&["GET", "POST", "PUT", "PATCH", "DELETE"])).to_owned(),
        None => (*chance.one(&["GET", "GET", "GET", "POST", "HEAD"])).to_owned(),
    }
}

fn path(chance: &mut Chance, wanted: &Value) -> String {
    let others = [&PATHS[..], &NEAR_PATTERNS[..]].concat();
    let path = asked(chance, wanted.get("uri"), &others);
    match chance.below(14) {
        0 => format!("{path}/"),
        1 => format!("{path}x"),
        2 => path.to_uppercase(),
        3 => path.to_lowercase(),
        4 => format!("{path}/more"),
        5 => format!("/.{path}"),
        6 => format!("/x/..{path}"),
        7 => format!("/{path}"),
        8 => path.replace('a', "%61"),
        9 => path.trim_end_matches('/').to_owned() + "/..%2f",
        _ => path,
    }
}

fn query(chance: &mut Chance, wanted: &Value) -> String {
    let of_rule = wanted.get("queryParams").and_then(Value::as_object).and_then(|m| m.iter().next());
    let pair = |chance: &mut Chance| {
        let name = match of_rule {
            Some((name, _)) if chance.percent(80) => name.clone(),
            _ => (*chance.one(&PARAMETERS)).to_owned(),
        };
        let value = asked(chance, of_rule.map(|(_, c)| c), &TEXTS);
        // A space would end the target.
        format!("{name}={}", value.replace(' ', "%20"))
    };
    if of_rule.is_none() && !chance.percent(15) {
        return String::new();
    }
    match chance.below(8) {
        0 => String::new(),
        1 => "?".to_owned(),
        2 => format!("?z=1&{}", pair(chance)),
        3 => format!("?{}&{}", pair(chance), pair(chance)),
        4 => format!("?{}", pair(chance).replace('a', "%61")),
        5 => format!("?{}", pair(chance).split('=').next().unwrap_or_default()),
        _ => format!("?{}", pair(chance)),
    }
}

fn authority(chance: &mut Chance, host: &str) -> String {
    match chance.below(10) {
        0 => format!("{host}:8080"),
        1 => host.to_uppercase(),
        2 => format!("sub.{host}"),
        3 => format!("{host}:9999"),
        _ => host.to_owned(),
    }
}

fn headers(chance: &mut Chance, wanted: &Value) -> Map<String, Value> {
    let mut headers = Map::new();
    for member in ["headers", "withoutHeaders"] {
        for (name, condition) in wanted.get(member).and_then(Value::as_object).into_iter().flatten() {
            if chance.percent(85) {
                let value = asked(chance, Some(condition), &TEXTS);
                let value = match chance.below(6) {
                    0 => json!(format!("{value}x")),
                    1 => json!([value, "other"]),
                    2 => json!(["other", value]),
                    _ => json!(value),
                };
                headers.insert(name.clone(), value);
            }
        }
    }
    if chance.percent(20) {
        headers.insert((*chance.one(&NAMES)).to_owned(), json!(chance.one(&TEXTS)));
    }
    if chance.percent(10) {
        headers.insert("origin".to_owned(), json!(chance.one(&["http://a.test", "https://b.test", "null"])));
        headers.insert("access-control-request-method".to_owned(), json!(chance.one(&["GET", "DELETE"])));
    }
    if chance.percent(5) {
        headers.insert("x-forwarded-proto".to_owned(), "https".into());
    }
    headers
}

/// What the application does.
fn steer(chance: &mut Chance, headers: &mut Map<String, Value>) {
    let mut put = |name: &str, value: &str| drop(headers.insert(name.to_owned(), value.into()));
    match chance.below(12) {
        0 => put("x-app-status", chance.one::<&str>(&["404", "409", "500", "503", "204", "304"])),
        1 => put("x-app-fail", "{{id}}:1:503"),
        2 => put("x-app-fail", "{{id}}:9:reset"),
        3 => put("x-app-resp", r#"{"x-version": "1", "x-add": ["1", "2"], "access-control-allow-origin": "x"}"#),
        _ => {}
    }
}
