//! Where an observation differs from what Envoy did.
//!
//! What Envoy did not do the same in every recording is not compared. Headers are compared as sets: one that is missing is a
//! difference, and one that nobody expects is too.

use serde_json::Value;

/// Lists whose order is that of the language they were recorded with.
const UNORDERED: [&str; 3] = ["applog", "histogram", "count_by_status_flags"];

/// The differences, each with its place. `unstable`: places that were not the same in every recording.
pub(super) fn differences(expected: &Value, observed: &Value, unstable: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    compare(&normal(expected), &normal(observed), "", unstable, &mut found);
    found
}

/// In an order that depends on the values alone.
pub(super) fn sort(list: &mut [Value]) {
    list.sort_by_cached_key(Value::to_string);
}

/// With lists sorted that have no order of their own.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let of_mirrored = map.contains_key("applog");
            let field = |(name, value): (&String, &Value)| {
                let mut value = normal(value);
                if (UNORDERED.contains(&name.as_str()) || (of_mirrored && name == "in"))
                    && let Value::Array(list) = &mut value
                {
                    sort(list);
                }
                (name.clone(), value)
            };
            Value::Object(map.iter().map(field).collect())
        }
        Value::Array(list) => list.iter().map(normal).collect(),
        other => other.clone(),
    }
}

fn compare(expected: &Value, observed: &Value, path: &str, unstable: &[String], found: &mut Vec<String>) {
    match (expected, observed) {
        (Value::Object(map), _) => {
            for (name, value) in map.iter().filter(|(n, _)| !n.starts_with('_')) {
                let observed = observed.get(name).unwrap_or(&Value::Null);
                compare(value, observed, &format!("{path}.{name}"), unstable, found);
            }
        }
        (Value::Array(wanted), _) if path.ends_with("headers") => {
            headers(wanted, observed.as_array().map_or(&[], Vec::as_slice), path, unstable, found);
        }
        (Value::Array(wanted), Value::Array(got))
            if wanted.len() == got.len() && wanted.iter().any(Value::is_object) =>
        {
            for (n, (wanted, got)) in wanted.iter().zip(got).enumerate() {
                compare(wanted, got, &format!("{path}[{n}]"), unstable, found);
            }
        }
        (Value::String(text), _) if text == "<unstable>" => {}
        _ if expected == observed => {}
        _ => found.push(format!("{path}: wanted {expected}, got {observed}")),
    }
}

fn headers(wanted: &[Value], got: &[Value], path: &str, unstable: &[String], found: &mut Vec<String>) {
    let not_compared = |header: &Value| {
        let name = header.get(0).and_then(Value::as_str).unwrap_or_default();
        let listed = |place: &String| {
            place == path
                || place
                    .strip_prefix(path)
                    .and_then(|p| p.strip_prefix(':'))
                    .is_some_and(|l| l.split(',').any(|n| n == name))
        };
        unstable.iter().any(listed)
    };
    let mut surplus: Vec<&Value> = got.iter().collect();
    for header in wanted {
        match surplus.iter().position(|h| *h == header) {
            Some(at) => drop(surplus.remove(at)),
            None => found.push(format!("{path}: {header} is missing")),
        }
    }
    for header in surplus.into_iter().filter(|h| !not_compared(h)) {
        found.push(format!("{path}: nobody expects {header}"));
    }
}

#[cfg(test)]
mod tests;
