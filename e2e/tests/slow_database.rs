//! A database that has become slow: the trace of a request shows the hop and the statement that took the time, whether the application
//! says whose statement it is or not.

#![expect(clippy::indexing_slicing, reason = "what is missing in an answer fails the test")]

use std::time::Duration;

use anyhow::{Result, ensure};
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
    let all = |told: &[Told]| told.iter().all(|one| !one.said.is_empty());
    for told in statements(&system, ask(&system, "c0ffee", CONCURRENCY)?, all)? {
        ensure!(
            told.said.iter().all(|said| said.is_slow(told.statement) && !said.inferred),
            "{} {:?}",
            told.trace,
            told.said
        );
    }
    commented(&system, false)?;
    // A statement that begins while the kubelet asks whether the application is well may be the probe's, and so is nobody's. Few are.
    let each = |told: &[Told]| {
        ASKED.iter().all(|(_, statement)| told.iter().any(|one| one.statement == *statement && !one.said.is_empty()))
    };
    for told in statements(&system, ask(&system, "decade", 1)?, each)? {
        ensure!(
            told.said.iter().all(|said| said.is_slow(told.statement) && said.inferred),
            "{} {:?}",
            told.trace,
            told.said
        );
    }
    // Among many that say nothing, a statement is nobody's sooner than another's.
    for told in statements(&system, ask(&system, "facade", CONCURRENCY)?, |_| true)? {
        ensure!(told.said.iter().all(|said| said.text.contains(told.statement)), "{} {:?}", told.trace, told.said);
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
    let kinds = ASKED.iter().cycle().take(concurrency.max(4) * 2);
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

impl Said {
    fn is_slow(&self, statement: &str) -> bool {
        self.text.contains(statement) && self.duration >= SLOW
    }
}

/// What a trace tells.
#[derive(Debug)]
struct Told {
    trace: String,
    /// What was asked there.
    statement: &'static str,
    said: Vec<Said>,
}

/// The statements of traces that read posts, below the hop that sent them, once the traces are whole and told as they are waited for.
fn statements(
    system: &System,
    asked: Vec<(String, &'static str)>,
    complete: impl Fn(&[Told]) -> bool,
) -> Result<Vec<Told>> {
    let address = system.sh("kubectl get pod -n istio-system -l app=console -o jsonpath='{.items[0].status.podIP}'")?;
    let urls: Vec<String> =
        asked.iter().map(|(trace, _)| format!("http://{address}:20001/api/traces/{trace}")).collect();
    // What is not there yet is told so, as an error in JSON.
    let line = format!("curl -sS {}", urls.join(" "));
    let mut found = Vec::new();
    system.until(&line, LIMIT, |text| {
        let answers = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let told = |(answer, (trace, statement)): (serde_json::Result<Value>, &(String, &'static str))| {
            let whole = &answer.ok()?["data"][0];
            let is_whole = whole["processes"].as_object().is_some_and(|of| of.len() == 3);
            let said = read(whole).filter(|_| is_whole)?;
            Some(Told { trace: trace.clone(), statement, said })
        };
        found = answers.zip(&asked).filter_map(told).collect();
        found.len() == asked.len() && complete(&found)
    })?;
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
