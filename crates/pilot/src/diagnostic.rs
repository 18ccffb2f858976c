//! What people should know about their configuration: never an error of the program.

use std::fmt;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// Stable, machine-readable (`unknown-subset`).
    pub code: &'static str,
    /// `Kind namespace/name`.
    pub resource: String,
    /// Field path; empty: the object.
    pub path: String,
    /// `file:line`, for objects that came from files.
    pub position: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What it means for traffic.
    pub effect: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Traffic is refused or goes elsewhere.
    Error,
    /// Something has no effect, or another than it seems.
    Warning,
    /// Good to know.
    Info,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        write!(f, "{severity}[{}] {}", self.code, self.resource)?;
        if !self.path.is_empty() {
            write!(f, " {}", self.path)?;
        }
        if let Some(position) = &self.position {
            write!(f, " ({position})")?;
        }
        write!(f, ": {}; {}", self.message, self.effect)
    }
}
