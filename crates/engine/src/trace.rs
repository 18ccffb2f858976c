//! The reasons of a decision, for people.
//!
//! The sidecar decides with [`Trace::off`], which costs one branch per note and allocates nothing; `explain` and the tests
//! decide with [`Trace::on`] and print what was noted. The decision itself never depends on the trace.

/// Collects the reasons of one decision, or nothing.
#[derive(Debug, Default)]
pub struct Trace(Option<Vec<String>>);

impl Trace {
    /// Notes nothing.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Notes everything.
    pub const fn on() -> Self {
        Self(Some(Vec::new()))
    }

    /// Adds a reason; `text` is only called when somebody listens.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.0 {
            notes.push(text());
        }
    }

    /// What was noted, in order.
    pub fn notes(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }
}
