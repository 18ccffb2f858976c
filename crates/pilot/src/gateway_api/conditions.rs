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

/// In the order of their types, so that the same conditions are always the same text.
pub(super) fn list(mut conditions: Vec<Condition>, generation: i64) -> Value {
    conditions.sort_by_key(|c| c.kind);
    conditions.iter().map(|c| c.json(generation)).collect()
}
