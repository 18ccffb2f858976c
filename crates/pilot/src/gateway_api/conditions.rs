//! Conditions of a status: a type, whether it holds, and why.

use serde_json::{Value, json};

use super::Problem;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Condition {
    /// It holds, for a reason.
    pub(super) fn holds(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: true, reason, message: message.into() }
    }

    /// It does not, and that is as it should be.
    pub(super) fn absent(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: false, reason, message: message.into() }
    }

    /// It holds for `reason`, unless there is a problem.
    pub(super) fn unless(
        problem: Option<&Problem>,
        kind: &'static str,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        match problem {
            Some(problem) => Self { kind, holds: false, reason: problem.reason, message: problem.message.clone() },
            None => Self::holds(kind, reason, message),
        }
    }

    /// `metav1.Condition`, without the time.
    fn json(&self, generation: i64) -> Value {
        let status = if self.holds { "True" } else { "False" };
        json!({
            "type": self.kind, "status": status, "reason": self.reason, "message": self.message,
            "observedGeneration": generation,
        })
    }
}

/// Types of conditions that are told about here; others beside them are somebody else's and stay.
const OWN: [&str; 5] = ["Accepted", "Programmed", "ResolvedRefs", "Conflicted", "InsecureFrontendValidationMode"];

/// The conditions of `entry` as they are to be: each in the place that it has, new ones in the order of their types.
pub(super) fn list(mut conditions: Vec<Condition>, generation: i64, entry: &Value) -> Value {
    conditions.sort_by_key(|c| c.kind);
    let mut out: Vec<Value> = Vec::new();
    for known in entry.get("conditions").and_then(Value::as_array).into_iter().flatten() {
        let kind = known.get("type").and_then(Value::as_str).unwrap_or_default();
        if let Some(at) = conditions.iter().position(|c| c.kind == kind) {
            out.push(conditions.remove(at).json(generation));
        } else if !OWN.contains(&kind) {
            out.push(known.clone());
        }
    }
    out.extend(conditions.iter().map(|c| c.json(generation)));
    Value::Array(out)
}
