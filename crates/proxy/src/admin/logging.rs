//! `/logging`: the log level, shown and changed.
//!
//! The logger belongs to the process, so whoever installs it says once how its level is changed ([`set_log_control`]).

use std::sync::OnceLock;

use super::{Answer, Query};
use crate::state::State;

/// How the process's log level is changed.
pub struct LogControl {
    /// Takes `trace`, `debug`, `info`, `warn`, `error` or `off`.
    pub set: Box<dyn Fn(&str) + Send + Sync>,
}

impl std::fmt::Debug for LogControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogControl")
    }
}

static CONTROL: OnceLock<LogControl> = OnceLock::new();

/// Says how the log level is changed. Only the first call counts.
pub fn set_log_control(control: LogControl) {
    let _ = CONTROL.set(control);
}

/// Envoy's loggers that have a counterpart here; they share one level.
const LOGGERS: [&str; 14] = [
    "admin",
    "client",
    "config",
    "conn_handler",
    "connection",
    "dns",
    "filter",
    "http",
    "http2",
    "main",
    "pool",
    "rbac",
    "router",
    "upstream",
];

pub(super) fn logging(_: &State, query: &Query<'_>) -> Answer {
    let mut wanted = None;
    for (name, value) in query.pairs() {
        let known = matches!(&*name, "level" | "paths") || LOGGERS.contains(&&*name);
        let level = value.rsplit(':').next().unwrap_or_default();
        match (known, own_level(level)) {
            (true, Some(level)) => wanted = Some(level),
            _ => {
                return Answer::error(
                    400,
                    format!(
                        "unknown logger or level {name}={value}; level is one of trace, debug, info, warning, error, off\n"
                    ),
                );
            }
        }
    }
    if let Some(level) = wanted {
        match CONTROL.get() {
            Some(control) => (control.set)(level),
            None => return Answer::error(503, "this process's log level cannot be changed while it runs\n"),
        }
    }
    let current = tracing::level_filters::LevelFilter::current().to_string().to_lowercase();
    let current = if current == "warn" { "warning" } else { &current };
    let mut out = "active loggers:\n".to_owned();
    for logger in LOGGERS {
        out.push_str(&format!("  {logger}: {current}\n"));
    }
    Answer::text(out + "\n")
}

/// Envoy's level names in those of the logger.
fn own_level(level: &str) -> Option<&'static str> {
    Some(match level {
        "trace" => "trace",
        "debug" => "debug",
        "info" => "info",
        "warning" | "warn" => "warn",
        "error" | "critical" => "error",
        "off" => "off",
        _ => return None,
    })
}
