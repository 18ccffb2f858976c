//! Jaeger's own tests of trace stores: all fixtures are stored, and each query must find its traces and no others.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use varka_console::store::spans::Search;
use varka_console::store::{Limits, Store};
use varka_proto::otlp::ExportTraceServiceRequest;

use super::{Report, cases, text};

/// Runs the table.
pub(super) fn run(table: &Value, directory: &Path, report: &mut Report) {
    let store = match stored(&directory.join("files/traces")) {
        Ok(store) => store,
        Err(why) => return report.count("fixtures", Err(why)),
    };
    for case in cases(table) {
        report.count(text(case, "Caption"), judge(case, directory, &store.1));
    }
}

/// A store with every fixture, and the directory that it is in.
fn stored(traces: &Path) -> Result<(tempfile::TempDir, Store), String> {
    let directory = tempfile::tempdir().map_err(|e| e.to_string())?;
    // The fixtures are years old.
    let limits = Limits { age: Duration::from_secs(1 << 40), ..Limits::default() };
    let store = Store::open(directory.path(), limits).map_err(|e| e.to_string())?;
    for entry in std::fs::read_dir(traces).map_err(|e| format!("{}: {e}", traces.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        for from in fixture(&path)?.resource_spans {
            if store.spans().append(from) > 0 {
                return Err(format!("{}: not every span was taken", path.display()));
            }
        }
    }
    Ok((directory, store))
}

fn fixture(path: &Path) -> Result<ExportTraceServiceRequest, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

fn judge(case: &Value, directory: &Path, store: &Store) -> Result<(), String> {
    let query = case.get("Query").ok_or("there is no query")?;
    let found: BTreeSet<u128> = store.spans().search(&search(query)?).map_err(|e| e.to_string())?.into_iter().collect();
    let mut wanted = BTreeSet::new();
    for name in case.get("ExpectedFixtures").and_then(Value::as_array).into_iter().flatten() {
        let name = name.as_str().ok_or("a fixture has no name")?;
        let fixture = fixture(&directory.join(format!("files/traces/{name}.json")))?;
        let spans = fixture.resource_spans.iter().flat_map(|of| &of.scope_spans).flat_map(|of| &of.spans);
        let ids: BTreeSet<u128> = spans
            .clone()
            .filter_map(|span| Some(u128::from_be_bytes(span.trace_id.as_slice().try_into().ok()?)))
            .collect();
        for id in &ids {
            let stored = store.spans().trace(*id).map_err(|e| e.to_string())?;
            let count = spans.clone().filter(|span| span.trace_id == id.to_be_bytes()).count();
            if stored.len() != count {
                return Err(format!("{name}: {} spans of {count} are there", stored.len()));
            }
        }
        wanted.extend(ids);
    }
    if found == wanted { Ok(()) } else { Err(format!("want {wanted:x?}, got {found:x?}")) }
}

fn search(query: &Value) -> Result<Search, String> {
    let micros = |name: &str| {
        let text = text(query, name);
        let at: jiff::Timestamp = text.parse().map_err(|e| format!("{name} {text:?}: {e}"))?;
        u64::try_from(at.as_microsecond()).map_err(|e| e.to_string())
    };
    // Go's durations are nanoseconds; zero: no bound.
    let duration =
        |name: &str| query.get(name).and_then(Value::as_u64).filter(|nanos| *nanos > 0).map(|nanos| nanos / 1000);
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let tags = query.get("Tags").and_then(Value::as_object).into_iter().flatten();
    Ok(Search {
        service: text(query, "ServiceName").to_owned(),
        operation: text(query, "OperationName").to_owned(),
        tags: tags.map(|(key, value)| (key.clone(), plain(value))).collect(),
        start: micros("StartTimeMin")?,
        end: micros("StartTimeMax")?,
        duration_min: duration("DurationMin"),
        duration_max: duration("DurationMax"),
        limit: query
            .get("NumTraces")
            .and_then(Value::as_u64)
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(usize::MAX),
    })
}
