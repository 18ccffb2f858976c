//! What is different between two objects, in a line for a person.

use serde_json::{Value, json};

/// Differences that a line names.
const NAMED: usize = 3;
/// What every change changes, or a controller notes down after it, says nothing.
const SILENT: [&str; 3] =
    ["metadata.resourceVersion", "metadata.generation", "metadata.annotations.deployment.kubernetes.io/revision"];

/// `spec.http[0].route[1].weight 0 -> 10`; the first few differences, and how many more there are.
pub(super) fn summary(before: &Value, after: &Value) -> String {
    let mut found = Vec::new();
    compare("", before, after, &mut found);
    let more = found.len().saturating_sub(NAMED);
    let mut line = found.into_iter().take(NAMED).collect::<Vec<_>>().join("; ");
    if more > 0 {
        line.push_str(&format!("; and {more} more"));
    }
    line
}

fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                if SILENT.contains(&at.as_str()) {
                    continue;
                }
                compare(&at, old.get(name).unwrap_or(&Value::Null), new.get(name).unwrap_or(&Value::Null), found);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for at in 0..old.len().max(new.len()) {
                let of = |list: &[Value]| list.get(at).cloned().unwrap_or(Value::Null);
                compare(&format!("{path}[{at}]"), &of(old), &of(new), found);
            }
        }
        // Of many annotations that one of them is there says more than the beginning of all.
        (Value::Null, Value::Object(_)) if is_map(path) => compare(path, &json!({}), after, found),
        (Value::Object(_), Value::Null) if is_map(path) => compare(path, before, &json!({}), found),
        _ if before == after => {}
        _ => found.push(format!("{path} {} -> {}", short(before), short(after))),
    }
}

fn is_map(path: &str) -> bool {
    path.ends_with("metadata.annotations") || path.ends_with("metadata.labels")
}

fn short(value: &Value) -> String {
    const LONGEST: usize = 40;
    let text = match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.len() <= LONGEST {
        return text;
    }
    format!("{}…", text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::summary;

    #[test]
    fn the_first_differences_are_named() {
        let of = |weight: i32, hosts: serde_json::Value| json!({"metadata": {"resourceVersion": weight.to_string()}, "spec": {"http": [{"route": [{"weight": weight}]}], "hosts": hosts}});
        assert_eq!(summary(&of(0, json!([])), &of(10, json!([]))), "spec.http[0].route[0].weight 0 -> 10");
        assert_eq!(summary(&of(1, json!([])), &of(1, json!(["a"]))), "spec.hosts[0] none -> a");
        assert_eq!(
            summary(&json!({"a": 1, "b": 1, "c": 1, "d": 1}), &json!({})),
            "a 1 -> none; b 1 -> none; c 1 -> none; and 1 more"
        );
        assert_eq!(summary(&json!({}), &json!({})), "");
    }

    #[test]
    fn what_a_controller_notes_down_is_no_difference() {
        let of = |annotations: serde_json::Value| json!({"metadata": {"annotations": annotations}});
        let noted = of(json!({"deployment.kubernetes.io/revision": "1"}));
        assert_eq!(summary(&json!({"metadata": {}}), &noted), "");
        assert_eq!(summary(&json!({"metadata": {}}), &of(json!({}))), "");
        let restarted =
            of(json!({"deployment.kubernetes.io/revision": "2", "kubectl.kubernetes.io/restartedAt": "now"}));
        assert_eq!(summary(&noted, &restarted), "metadata.annotations.kubectl.kubernetes.io/restartedAt none -> now");
    }
}
