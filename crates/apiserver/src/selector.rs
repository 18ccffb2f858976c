//! Label and field selectors, as text and as `LabelSelector` objects.
//!
//! Label selectors: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>. Field selectors compare the
//! text of any path of an object, so that no list of selectable fields has to be kept.

use serde_json::Value;

use crate::admission::validation::{is_label_value, is_qualified};
use crate::object::{at, list_at, str_at};

/// A conjunction of requirements on labels and fields. Empty matches everything.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(Vec<String>, bool, String)>,
}

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    In,
    NotIn,
    Exists,
    Absent,
}

/// A selector that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("unable to parse requirement: {0}")]
pub struct SelectorError(String);

impl Selector {
    /// Reads the `labelSelector` and `fieldSelector` parameters.
    pub fn parse(labels: &str, fields: &str) -> Result<Self, SelectorError> {
        let mut selector =
            Self { labels: split(labels).into_iter().map(requirement).collect::<Result<_, _>>()?, fields: Vec::new() };
        for term in fields.split(',').filter(|t| !t.trim().is_empty()) {
            let (path, negated, value) = if let Some((path, value)) = term.split_once("!=") {
                (path, true, value)
            } else {
                let (path, value) =
                    term.split_once('=').ok_or_else(|| SelectorError(format!("invalid field selector: '{term}'")))?;
                (path, false, value.strip_prefix('=').unwrap_or(value))
            };
            selector.fields.push((path.trim().split('.').map(str::to_owned).collect(), negated, value.to_owned()));
        }
        Ok(selector)
    }

    /// Reads a `LabelSelector` object.
    pub fn from_object(selector: &Value) -> Self {
        let equal = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
        let mut labels: Vec<Requirement> = equal
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::In,
                values: vec![value.as_str().unwrap_or_default().to_owned()],
            })
            .collect();
        for expression in list_at(selector, &["matchExpressions"]) {
            let operator = match str_at(expression, &["operator"]) {
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::Absent,
                _ => Operator::In,
            };
            let values = list_at(expression, &["values"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
            labels.push(Requirement { key: str_at(expression, &["key"]).to_owned(), operator, values });
        }
        Self { labels, fields: Vec::new() }
    }

    /// Whether an object satisfies all requirements.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = at(object, &["metadata", "labels"]);
        self.labels.iter().all(|r| r.holds(labels.and_then(|l| l.get(&r.key)).and_then(Value::as_str)))
            && self.fields.iter().all(|(path, negated, wanted)| (text_at(object, path) == *wanted) != *negated)
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The selector as text, as a Scale's status has it.
    pub fn to_text(&self) -> String {
        let terms: Vec<String> = self.labels.iter().map(Requirement::to_text).collect();
        terms.join(",")
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let listed = || value.is_some_and(|v| self.values.iter().any(|w| w == v));
        match self.operator {
            Operator::In => listed(),
            Operator::NotIn => !listed(),
            Operator::Exists => value.is_some(),
            Operator::Absent => value.is_none(),
        }
    }

    fn to_text(&self) -> String {
        match (self.operator, self.values.as_slice()) {
            (Operator::In, [one]) => format!("{}={one}", self.key),
            (Operator::In, many) => format!("{} in ({})", self.key, many.join(",")),
            (Operator::NotIn, many) => format!("{} notin ({})", self.key, many.join(",")),
            (Operator::Exists, _) => self.key.clone(),
            (Operator::Absent, _) => format!("!{}", self.key),
        }
    }
}

/// The text of a scalar at a path; empty if there is none, as Kubernetes' own field selectors have it.
fn text_at(object: &Value, path: &[String]) -> String {
    match path.iter().try_fold(object, |v, name| v.get(name)) {
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
        _ => String::new(),
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let terms = text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    terms.map(str::trim).filter(|t| !t.is_empty()).collect()
}

fn requirement(term: &str) -> Result<Requirement, SelectorError> {
    let make = |key: &str, operator, values: Vec<&str>| Requirement {
        key: key.trim().to_owned(),
        operator,
        values: values.into_iter().map(|v| v.trim().to_owned()).collect(),
    };
    let set = |rest: &str| -> Result<Vec<String>, SelectorError> {
        let inner = rest.trim().strip_prefix('(').and_then(|r| r.strip_suffix(')'));
        let inner = inner.ok_or_else(|| SelectorError(format!("found '{term}', expected: '(' ... ')'")))?;
        Ok(inner.split(',').map(|v| v.trim().to_owned()).collect())
    };
    let parsed = if let Some((key, value)) = term.split_once("!=") {
        make(key, Operator::NotIn, vec![value])
    } else if let Some((key, value)) = term.split_once('=') {
        make(key, Operator::In, vec![value.strip_prefix('=').unwrap_or(value)])
    } else if let Some((key, rest)) = term.split_once(" notin") {
        Requirement { values: set(rest)?, ..make(key, Operator::NotIn, Vec::new()) }
    } else if let Some((key, rest)) = term.split_once(" in") {
        Requirement { values: set(rest)?, ..make(key, Operator::In, Vec::new()) }
    } else if let Some(key) = term.strip_prefix('!') {
        make(key, Operator::Absent, Vec::new())
    } else {
        make(term, Operator::Exists, Vec::new())
    };
    if !is_qualified(&parsed.key) {
        return Err(SelectorError(format!("'{term}': \"{}\" is not a label key", parsed.key)));
    }
    if let Some(value) = parsed.values.iter().find(|value| !value.is_empty() && !is_label_value(value)) {
        return Err(SelectorError(format!("'{term}': \"{value}\" is not a label value")));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_and_fields() {
        let object = json!({"metadata": {"name": "a", "labels": {"app": "web", "tier": "x"}}, "spec": {"nodeName": "n", "paused": true}});
        let is = |labels: &str, fields: &str| Selector::parse(labels, fields).unwrap().matches(&object);
        assert!(is("app=web,tier in (x, y),!gone,app", "metadata.name=a,spec.paused=true"));
        assert!(is("app!=was,gone!=x,tier notin (z)", "spec.nodeName!=other,status.phase="));
        assert!(!is("app==was", ""));
        assert!(!is("", "spec.nodeName!=n"));
        assert!(Selector::parse("a in b", "").is_err());
        assert!(Selector::parse("", "spec").is_err());
        // What no label can be is refused: it would select nothing, or as text something else.
        for labels in ["a!==b", "a>1", "a in (b=c)", "a=(b", "!a!", "a in ((b,c))", "-a", "a=b c"] {
            assert!(Selector::parse(labels, "").is_err(), "{labels}");
        }
    }

    #[test]
    fn selector_objects() {
        let selector = Selector::from_object(
            &json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}),
        );
        assert!(selector.matches(&json!({"metadata": {"labels": {"app": "web"}}})));
        assert!(!selector.matches(&json!({"metadata": {"labels": {"app": "web", "x": ""}}})));
        assert_eq!(selector.to_text(), "app=web,!x");
    }
}
