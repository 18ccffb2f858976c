//! Istio's default access log, read back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

/// The fields that are compared.
const COMPARED: [&str; 10] =
    ["code", "flags", "details", "cluster", "route", "authority", "path", "sni", "tfail", "conn_term"];

#[expect(clippy::expect_used, reason = "a constant that a test reads")]
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    let quoted = |name: &str| format!("\"(?P<{name}>[^\"]*)\"");
    let word = |name: &str| format!("(?P<{name}>\\S+)");
    let parts = [
        r"\[(?P<time>[^\]]*)\]".to_owned(),
        r#""(?P<method>\S*) (?P<path>.*) (?P<protocol>\S*)""#.to_owned(),
        ["code", "flags", "details", "conn_term"].map(word).join(" "),
        quoted("tfail"),
        ["received", "sent", "duration", "upstream_time"].map(word).join(" "),
        ["xff", "user_agent", "id", "authority", "host"].map(quoted).join(" "),
        ["cluster", "local", "downstream_local", "downstream_remote", "sni"].map(word).join(" "),
        "(?P<route>.*)".to_owned(),
    ];
    Regex::new(&format!("^{}$", parts.join(" "))).expect("the pattern of a log line")
});
/// Ports differ from run to run.
#[expect(clippy::expect_used, reason = "a constant that a test reads")]
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\d+\.\d+\.\d+\.\d+:\d+").expect("an address"));

/// A line, by the names of its fields; empty if it is of another form.
#[derive(Debug, Clone, Default)]
pub(super) struct Line(BTreeMap<String, String>);

impl Line {
    fn parse(text: &str) -> Self {
        let Some(found) = LINE.captures(text) else { return Self::default() };
        let field = |name: &str| Some((name.to_owned(), found.name(name)?.as_str().to_owned()));
        Self(LINE.capture_names().flatten().filter_map(field).collect())
    }

    /// A field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// What is compared of it.
    pub(super) fn compared(&self) -> Value {
        if self.0.is_empty() {
            return serde_json::json!({"line": true});
        }
        let field = |name: &str| (name.to_owned(), self.get(name).map(|v| ADDRESS.replace_all(v, "<addr>")).into());
        Value::Object(COMPARED.into_iter().map(field).collect::<Map<_, _>>())
    }
}

/// A log that grows.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    read: usize,
    /// All complete lines so far.
    pub lines: Vec<Line>,
}

impl Log {
    /// The log in a file that may not be there yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read: 0, lines: Vec::new() }
    }

    /// Reads what came since.
    pub(super) fn follow(&mut self) {
        use std::io::{Read, Seek, SeekFrom};
        let mut more = Vec::new();
        let Ok(mut file) = std::fs::File::open(&self.path) else { return };
        let start = SeekFrom::Start(u64::try_from(self.read).unwrap_or(u64::MAX));
        if file.seek(start).and_then(|_| file.read_to_end(&mut more)).is_err() {
            return;
        }
        let complete = more.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        self.read += complete;
        let text = String::from_utf8_lossy(more.get(..complete).unwrap_or_default()).into_owned();
        self.lines.extend(text.lines().map(Line::parse));
    }

    /// The lines of a request.
    pub(super) fn of(&self, id: &str) -> Vec<&Line> {
        self.lines.iter().filter(|l| l.get("id") == Some(id)).collect()
    }
}

#[cfg(test)]
mod tests;
