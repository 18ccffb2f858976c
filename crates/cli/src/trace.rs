//! `varka trace`: the way of a request as a waterfall, or the traces of a service.
//!
//! What had to be waited for is marked: the critical path, backwards from the end through whatever ended last.

mod model;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use serde_json::Value;

use crate::args::{Output, Trace as Args};
use crate::console_client::{Console, block_on};
use crate::text::{Side, foreign, millis, table};
use crate::when::{now, written};
use model::{Row, Trace};

/// The slowest are looked for among so many of the newest.
const LOOKED_AT: usize = 500;
/// Columns of a bar.
const BAR: usize = 40;
/// Deeper spans are not moved further to the right.
const DEEPEST: usize = 16;

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let answer = block_on(ask(args))?;
    let data = answer.get("data").cloned().unwrap_or_default();
    let mut out = std::io::stdout().lock();
    if args.output == Output::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(&data)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let traces: Vec<Trace> = data.as_array().into_iter().flatten().map(Trace::read).collect::<Result<_, _>>()?;
    match (&args.id, traces.first()) {
        (Some(_), Some(trace)) => write!(out, "{}", waterfall(trace, args.tags))?,
        _ => write!(out, "{}", list(traces, args.slowest, args.limit.get()))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(args: &Args) -> anyhow::Result<Value> {
    let console = Console::find(&args.reach).await?;
    if let Some(id) = &args.id {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            bail!("{id:?} is no trace id: up to 32 hexadecimal digits are; `varka trace --service NAME` lists traces");
        }
        return console.get(&format!("/api/traces/{id}"), &[]).await;
    }
    let service = args.service.as_deref().unwrap_or_default();
    let micros = |seconds: f64| format!("{:.0}", seconds * 1e6);
    let (start, end) = (micros(now() - args.since.0.as_secs_f64()), micros(now()));
    let limit = if args.slowest { LOOKED_AT } else { args.limit.get() }.to_string();
    let mut query = vec![("service", service), ("start", &start), ("end", &end), ("limit", &limit)];
    if args.errors {
        query.push(("tags", "{\"error\":\"true\"}"));
    }
    let answer = console.get("/api/traces", &query).await?;
    let empty = answer.get("data").and_then(Value::as_array).is_none_or(Vec::is_empty);
    if empty {
        let services = console.get("/api/services", &[]).await?;
        let names: Vec<&str> =
            services.get("data").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        if !names.contains(&service) {
            bail!(
                "no traces of a service {} are kept; there are those of: {}",
                foreign(service),
                foreign(&names.join(", "))
            );
        }
    }
    Ok(answer)
}

/// A line for each trace.
fn list(mut traces: Vec<Trace>, slowest: bool, limit: usize) -> String {
    if traces.is_empty() {
        return "no traces in that time; --since looks further back\n".to_owned();
    }
    if slowest {
        traces.sort_by_key(|trace| std::cmp::Reverse(trace.duration()));
    } else {
        traces.sort_by_key(|trace| std::cmp::Reverse(trace.start()));
    }
    let among = traces.len();
    traces.truncate(limit);
    let mut rows = vec![["START", "TOOK", "SPANS", "ERRORS", "ROOT", "TRACE"].map(str::to_owned).to_vec()];
    for trace in &traces {
        let root =
            trace.rows().first().map(|row| format!("{} {}", foreign(&row.span.service), foreign(&row.span.operation)));
        rows.push(vec![
            written(trace.start(), 3),
            took(trace.duration()),
            trace.spans.len().to_string(),
            trace.errors().to_string(),
            root.unwrap_or_default(),
            foreign(&trace.id),
        ]);
    }
    use Side::{Left, Right};
    let mut text = table(&[Left, Right, Right, Right, Left, Left], &rows);
    if slowest && among == LOOKED_AT {
        text.push_str(&format!("\nthe slowest of the newest {LOOKED_AT}\n"));
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn took(micros: i64) -> String {
    millis(micros as f64 / 1000.0)
}

/// Every span at its place in time; full blocks are the critical path.
fn waterfall(trace: &Trace, tags: bool) -> String {
    let rows = trace.rows();
    let services: std::collections::BTreeSet<&str> = trace.spans.iter().map(|span| span.service.as_str()).collect();
    let mut text = format!(
        "trace {}   {}   {}   spans: {}, services: {}, errors: {}\n\n",
        foreign(&trace.id),
        written(trace.start(), 3),
        took(trace.duration()),
        trace.spans.len(),
        services.len(),
        trace.errors(),
    );
    let head = [" ", "AT", "TOOK", "WAITED FOR", "", "SPAN"].map(str::to_owned).to_vec();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().map(|row| line(trace, row))).collect();
    use Side::{Left, Right};
    let shown = table(&[Left, Right, Right, Right, Left, Left], &lines);
    let mut shown = shown.lines();
    text.extend(shown.next().map(|head| format!("{head}\n")));
    for (line, row) in shown.zip(&rows) {
        text.push_str(&format!("{line}\n"));
        let before = line.split('│').next().unwrap_or_default();
        let indent = " ".repeat(before.chars().count());
        for note in notes(row, tags) {
            text.push_str(&format!("{indent}  {note}\n"));
        }
    }
    text.push_str("\n* and █: the critical path, what had to be waited for\n");
    text
}

fn line(trace: &Trace, row: &Row<'_>) -> Vec<String> {
    let waited: i64 = row.critical.iter().map(|(from, to)| to - from).sum();
    let span = row.span;
    vec![
        if waited > 0 { "*" } else { " " }.to_owned(),
        took(span.start - trace.start()),
        took(span.duration),
        if waited > 0 { took(waited) } else { String::new() },
        bar(trace, row),
        format!(
            "{}{} {}{}",
            "  ".repeat(row.depth.min(DEEPEST)),
            foreign(&span.service),
            foreign(&span.operation),
            if span.failed() { "   ERROR" } else { "" }
        ),
    ]
}

fn bar(trace: &Trace, row: &Row<'_>) -> String {
    let (start, whole) = (trace.start(), trace.duration().max(1));
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a small number"
    )]
    let place = |at: i64| ((at - start).max(0) as f64 / whole as f64 * BAR as f64) as usize;
    let mut cells = [' '; BAR];
    let mut fill = |from: i64, to: i64, with: char| {
        let first = place(from).min(BAR - 1);
        // Whatever is too short to be seen has one column.
        let end = place(to).clamp(first + 1, BAR);
        cells.iter_mut().take(end).skip(first).for_each(|cell| *cell = with);
    };
    fill(row.span.start, row.span.end(), '░');
    for (from, to) in &row.critical {
        fill(*from, *to, '█');
    }
    format!("│{}│", cells.iter().collect::<String>())
}

/// What is said below a span: what was asked of a database, and its tags where they are wanted.
fn notes(row: &Row<'_>, tags: bool) -> Vec<String> {
    let span = row.span;
    let mut notes = Vec::new();
    if let Some(statement) = span.tag("db.query.text").or_else(|| span.tag("db.statement")) {
        let system = span.tag("db.system.name").or_else(|| span.tag("db.system")).unwrap_or_default();
        let guessed = span.tag("varka.parent").is_some_and(|said| said == "inferred");
        let guessed = if guessed { "   (of which request: inferred)" } else { "" };
        let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        notes.push(foreign(&format!("{system}: {statement}{guessed}")));
    }
    if tags {
        let both = span.tags.iter().chain(&span.process_tags);
        notes.extend(both.map(|(key, value)| foreign(&format!("{key} = {value}"))));
    }
    notes
}

#[cfg(test)]
mod tests;
