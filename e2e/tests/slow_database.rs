//! A database that has become slow: the trace of a request shows the hop and the statement that took the time, whether the application
//! says whose statement it is or not.

#![expect(clippy::indexing_slicing, reason = "what is missing in an answer fails the test")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use varka_e2e::{System, skipped};

const HOST: &str = "https://blog.jiminhome.shop";
/// Under load it takes longer than what is told.
const LIMIT: Duration = Duration::from_secs(30);
/// What reading a post takes now, in microseconds.
const SLOW: u64 = 300_000;
/// At the same time.
const CONCURRENCY: usize = 8;

/// What is asked, and what only its statement says.
const ASKED: [(&str, &str); 2] = [("/api/posts", "ORDER BY id DESC"), ("/api/posts/1", "WHERE id = ?")];

#[test]
fn the_statement_that_took_the_time_is_in_the_trace() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let system = System::blog()?;
    // Each row that is read waits, as if the disk were slow.
    database(
        &system,
        "RENAME TABLE posts TO rows_of_posts; CREATE VIEW posts AS SELECT * FROM rows_of_posts WHERE SLEEP(0.3) = 0",
    )?;
    commented(&system, true)?;
    let commented_traces = ask(&system, "c0ffee", CONCURRENCY)?;
    for (trace, statement) in &commented_traces {
        let found = statements(&system, trace, |found| !found.is_empty())?;
        ensure!(
            found.iter().all(|said| said.text.contains(statement) && !said.inferred && said.duration >= SLOW),
            "{trace} {found:?}"
        );
    }
    commented(&system, false)?;
    let alone = ask(&system, "decade", 1)?;
    for (trace, statement) in &alone {
        let found = statements(&system, trace, |found| !found.is_empty())?;
        ensure!(
            found.iter().all(|said| said.text.contains(statement) && said.inferred && said.duration >= SLOW),
            "{trace} {found:?}"
        );
    }
    // Among many that say nothing, a statement is nobody's sooner than another's.
    for (trace, statement) in &ask(&system, "facade", CONCURRENCY)? {
        let found = statements(&system, trace, |_| true)?;
        ensure!(found.iter().all(|said| said.text.contains(statement)), "{trace} {found:?}");
    }
    Ok(())
}

/// Whether the application says in its statements whose they are; afterwards nobody is there any more who does otherwise.
fn commented(system: &System, says: bool) -> Result<()> {
    let before = system.sh("kubectl get pod -n blog-system -l app=was -o name")?;
    system.sh(&format!(
        "kubectl set env -n blog-system deployment/was SQLCOMMENTER={says} && \
         kubectl rollout status -n blog-system deployment/was --timeout=60s && \
         kubectl wait -n blog-system --for=delete {} --timeout=60s",
        before.replace('\n', " ")
    ))?;
    Ok(())
}

fn database(system: &System, sql: &str) -> Result<String> {
    system.sh(&format!(
        "kubectl exec -n blog-system deploy/mysql -- sh -c 'exec mariadb -h 127.0.0.1 -u \"$MARIADB_USER\" -p\"$MARIADB_PASSWORD\" blog -e \"{sql}\"'"
    ))
}

/// Asks, so many at a time, each in a trace of its own; the traces with what their statement says.
fn ask(system: &System, name: &str, concurrency: usize) -> Result<Vec<(String, &'static str)>> {
    let kinds = ASKED.iter().cycle().take(concurrency.max(ASKED.len()) * 2);
    let (lines, traces): (Vec<_>, Vec<_>) = kinds
        .enumerate()
        .map(|(number, (path, statement))| {
            let trace = format!("{name:0<24}{:08x}", number + 1);
            (format!("{trace} {path}"), (trace, *statement))
        })
        .unzip();
    system.sh(&format!(
        "printf '%s\\n' '{}' | xargs -P {concurrency} -L 1 bash -c 'curl -sSf -o /dev/null -H \"traceparent: 00-$0-00000000000000ab-01\" {HOST}$1'",
        lines.join("' '"),
    ))?;
    Ok(traces)
}

/// A statement in a trace.
#[derive(Debug)]
struct Said {
    text: String,
    /// Microseconds.
    duration: u64,
    inferred: bool,
}

/// The statements of a trace that read posts, below the hop that sent them, once the trace is whole and they are as they are waited for.
fn statements(system: &System, trace: &str, complete: impl Fn(&[Said]) -> bool) -> Result<Vec<Said>> {
    let address = system.sh("kubectl get pod -n istio-system -l app=console -o jsonpath='{.items[0].status.podIP}'")?;
    let line = format!("curl -sS 'http://{address}:20001/api/traces/{trace}'");
    let mut found = Vec::new();
    system
        .until(&line, LIMIT, |text| {
            let answer: Value = serde_json::from_str(text).unwrap_or_default();
            let whole = &answer["data"][0];
            if whole["processes"].as_object().is_none_or(|of| of.len() != 3) {
                return false;
            }
            found = read(whole).unwrap_or_default();
            complete(&found)
        })
        .with_context(|| trace.to_owned())?;
    Ok(found)
}

/// `None`: a statement's parent is not there, or is not the request that `was` got.
fn read(trace: &Value) -> Option<Vec<Said>> {
    let spans = trace["spans"].as_array()?;
    let tag = |span: &Value, name: &str| {
        let mut tags = span["tags"].as_array().into_iter().flatten();
        tags.find(|tag| tag["key"] == name).and_then(|tag| tag["value"].as_str()).map(ToOwned::to_owned)
    };
    let mut said = Vec::new();
    for span in spans.iter().filter(|span| tag(span, "db.operation.name").is_some_and(|name| name == "SELECT")) {
        let parent = spans.iter().find(|parent| parent["spanID"] == span["references"][0]["spanID"])?;
        let service = &trace["processes"][parent["processID"].as_str()?]["serviceName"];
        if service != "was.blog-system" || tag(parent, "upstream_cluster")?.split('|').next() != Some("inbound") {
            return None;
        }
        let duration = span["duration"].as_u64()?;
        let inferred = tag(span, "varka.parent").is_some_and(|how| how == "inferred");
        said.push(Said { text: tag(span, "db.query.text")?, duration, inferred });
    }
    Some(said)
}
