//! Envoy's admin interface: what people, `istioctl` and scripts ask a sidecar on `localhost:15000`.
//!
//! Paths, parameters, forms and texts are Envoy's, so that what parses Envoy's answers parses ours; `/workloads` is our own. A request is answered from
//! [`State`] at once; the server around it only moves bytes. What changes something must be a POST.

mod certs;
mod clusters;
mod dump;
mod listeners;
mod logging;
pub(crate) mod query;
mod server;
mod stats;
#[cfg(test)]
mod tests;
mod workloads;

pub use logging::{LogControl, set_log_control};

use serde::Serialize as _;
use serde_json::Value;

use crate::state::State;
use query::Query;

/// Content type of text.
const TEXT: &str = "text/plain; charset=UTF-8";
/// Content type of JSON.
const JSON: &str = "application/json";

/// One answer, without the headers that all answers have (`cache-control: no-cache, max-age=0`,
/// `x-content-type-options: nosniff`).
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
}

impl Answer {
    fn text(body: impl Into<String>) -> Self {
        Self { status: 200, content_type: TEXT, body: body.into() }
    }

    fn error(status: u16, body: impl Into<String>) -> Self {
        Self { status, content_type: TEXT, body: body.into() }
    }

    /// JSON with one space of indentation and a newline at the end, as Envoy prints it.
    fn json(value: &Value) -> Self {
        let mut out = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
        match value.serialize(&mut serializer) {
            Ok(()) => {
                out.push(b'\n');
                Self { status: 200, content_type: JSON, body: String::from_utf8_lossy(&out).into_owned() }
            }
            Err(e) => Self::error(500, format!("the answer cannot be written as JSON: {e}\n")),
        }
    }
}

/// Answers a request: status, content type, body.
pub fn handle(state: &State, method: &str, path_and_query: &str, _body: &[u8]) -> (u16, &'static str, Vec<u8>) {
    let answer = answer(state, method, path_and_query);
    (answer.status, answer.content_type, answer.body.into_bytes())
}

/// One thing that can be asked.
struct Command {
    path: &'static str,
    help: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    changes_state: bool,
    answer: fn(&State, &Query<'_>) -> Answer,
}

const fn command(path: &'static str, help: &'static str, answer: fn(&State, &Query<'_>) -> Answer) -> Command {
    Command { path, help, parameters: &[], changes_state: false, answer }
}

/// Everything that can be asked, by path.
const COMMANDS: &[Command] = &[
    command("/certs", "print certs on machine", certs::certs),
    Command {
        parameters: &[
            ("filter", "Regular expression (Google re2) for filtering clusters by name"),
            ("format", "The output format; One of (text, json)"),
        ],
        ..command("/clusters", "upstream cluster status", clusters::clusters)
    },
    Command {
        parameters: &[
            ("resource", "The resource to dump"),
            ("mask", "The fields to dump, as a field mask; with a resource, of each of its elements"),
            ("name_regex", "Dump only the currently loaded configurations whose names match the specified regex"),
            ("include_eds", "Dump currently loaded configuration including EDS"),
        ],
        ..command("/config_dump", "dump current Envoy configs", dump::config_dump)
    },
    command("/contention", "dump current Envoy mutex contention stats (if enabled)", server::contention),
    Command {
        changes_state: true,
        parameters: &[("graceful", "Accepted; connections are always drained gracefully")],
        ..command("/drain_listeners", "drain listeners", server::drain_listeners)
    },
    Command {
        changes_state: true,
        ..command("/healthcheck/fail", "cause the server to fail health checks", server::fail)
    },
    Command { changes_state: true, ..command("/healthcheck/ok", "cause the server to pass health checks", server::ok) },
    command("/help", "print out list of admin commands", |_, _| Answer::text(help())),
    command("/hot_restart_version", "print the hot restart compatibility version", |_, _| Answer::text("disabled")),
    command("/init_dump", "dump current Envoy init manager information", |_, _| {
        Answer::json(&Value::Object(Default::default()))
    }),
    Command {
        parameters: &[("format", "File format to use; One of (text, json)")],
        ..command("/listeners", "print listener info", listeners::listeners)
    },
    Command {
        changes_state: true,
        parameters: &[("level", "Change multiple logging levels; One of (, trace, debug, info, warning, error, off)")],
        ..command("/logging", "query/change logging levels", logging::logging)
    },
    command("/memory", "print current allocation/heap usage", server::memory),
    Command { changes_state: true, ..command("/quitquitquit", "exit the server", server::quit) },
    command("/ready", "print server state, return 200 if LIVE, otherwise return 503", server::ready),
    command("/runtime", "print runtime values", server::runtime),
    command("/server_info", "print server version/status information", server::info),
    Command {
        parameters: &[
            ("usedonly", "Only include stats that have been written by system since restart"),
            ("filter", "Regular expression (Google re2) for filtering stats"),
            ("format", "Format to use; One of (text, json, prometheus)"),
            ("type", "Stat types to include.; One of (All, Counters, Histograms, Gauges)"),
        ],
        ..command("/stats", "print server stats", stats::stats)
    },
    Command {
        parameters: &[
            ("usedonly", "Only include stats that have been written by system since restart"),
            ("filter", "Regular expression (Google re2) for filtering stats"),
        ],
        ..command("/stats/prometheus", "print server stats in prometheus format", stats::prometheus)
    },
    command("/workloads", "print workloads that were looked up by their addresses", workloads::workloads),
];

fn answer(state: &State, method: &str, path_and_query: &str) -> Answer {
    let (path, query) = Query::split(path_and_query);
    if path == "/" {
        return Answer::text(help());
    }
    let Some(command) = COMMANDS.iter().find(|command| command.path == path) else {
        return Answer::error(404, format!("invalid path. {}", help()));
    };
    // Asking for the log levels changes nothing, and Envoy's own documentation asks by GET.
    let asks_only = command.path == "/logging" && query.is_empty();
    if command.changes_state && method != "POST" && !asks_only {
        return Answer::error(405, format!("Method {method} not allowed, POST required."));
    }
    (command.answer)(state, &query)
}

fn help() -> String {
    let mut out = "admin commands are:\n  /: Admin home page\n".to_owned();
    for command in COMMANDS {
        let post = if command.changes_state && command.path != "/logging" { " (POST)" } else { "" };
        out.push_str(&format!("  {}{post}: {}\n", command.path, command.help));
        for (name, text) in command.parameters {
            out.push_str(&format!("      {name}: {text}\n"));
        }
    }
    out
}
