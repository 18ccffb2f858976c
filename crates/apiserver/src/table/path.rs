//! The part of kubectl's JSONPath that printer columns use: fields, `[index]`, `[*]`, and `[?(@.field=="value")]`.

use serde_json::Value;

/// The value at a path; several values are joined with commas.
pub fn find(object: &Value, path: &str) -> Option<Value> {
    let mut here = vec![object];
    let mut rest = path.trim_start_matches(['{', '$']).trim_end_matches('}');
    while !rest.is_empty() {
        let (step, after) = next(rest)?;
        here = here.into_iter().flat_map(|v| take(v, step)).collect();
        rest = after;
    }
    match here.as_slice() {
        [] => None,
        [one] => Some((*one).clone()).filter(|v| !v.is_null()),
        many => Some(Value::String(
            many.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect::<Vec<_>>().join(","),
        )),
    }
}

/// Splits off the first step: a field name or the inside of brackets.
fn next(path: &str) -> Option<(&str, &str)> {
    if let Some(inner) = path.strip_prefix('[') {
        let end = if inner.starts_with('?') { inner.find(")]")? + 1 } else { inner.find(']')? };
        let (step, rest) = inner.split_at_checked(end)?;
        return Some((path.get(..=step.len())?, rest.strip_prefix(']')?));
    }
    let path = path.trim_start_matches('.');
    // A dot inside a name is written `\.`.
    let mut escaped = false;
    let end = path.find(|c| {
        let stop = !escaped && matches!(c, '.' | '[');
        escaped = c == '\\';
        stop
    });
    Some(path.split_at(end.unwrap_or(path.len())))
}

fn take<'a>(value: &'a Value, step: &str) -> Vec<&'a Value> {
    let Some(inside) = step.strip_prefix('[') else {
        return value.get(step.replace('\\', "")).into_iter().collect();
    };
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    if inside == "*" {
        return list.iter().collect();
    }
    if let Some(condition) = inside.strip_prefix("?(@.").and_then(|c| c.strip_suffix(')')) {
        let (field, wanted) = condition.split_once("==").unwrap_or((condition, ""));
        let wanted = wanted.trim().trim_matches(['"', '\'']);
        return list.iter().filter(|v| v.get(field.trim()).and_then(Value::as_str) == Some(wanted)).collect();
    }
    if let Ok(index) = inside.parse::<usize>() {
        return list.get(index).into_iter().collect();
    }
    value.get(inside.trim_matches(['"', '\''])).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths() {
        let object = json!({
            "spec": {"hosts": ["a", "b"], "a.b": 1, "parts": [{"v": 1}, {"v": 2}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        assert_eq!(find(&object, ".spec.hosts"), Some(json!(["a", "b"])));
        assert_eq!(find(&object, ".spec.hosts[1]"), Some(json!("b")));
        assert_eq!(find(&object, ".spec.parts[*].v"), Some(json!("1,2")));
        assert_eq!(find(&object, ".status.conditions[?(@.type==\"Ready\")].status"), Some(json!("True")));
        assert_eq!(find(&object, r".spec.a\.b"), Some(json!(1)));
        assert_eq!(find(&object, ".spec.none.at.all"), None);
    }
}
