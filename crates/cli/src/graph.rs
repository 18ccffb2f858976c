//! `varka graph`: who talks to whom, as a table or as a tree.

mod picture;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::ExitCode;

use crate::args::{Graph as Args, GraphOutput, Seen};
use crate::console_client::{Console, block_on};
use crate::text::{Side, foreign, millis, percent, table};
use crate::when::{now, written};
pub(crate) use picture::{Edge, Picture};

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let answer = block_on(async {
        let console = Console::find(&args.reach).await?;
        let at = args.at.map(|at| at.seconds().to_string());
        let mut query = asked(&args.seen);
        query.extend(at.map(|at| ("at", at)));
        query.push(("includeIdleEdges", args.idle.to_string()));
        let pairs: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        console.get("/console/api/graph", &pairs).await
    })?;
    let mut out = std::io::stdout().lock();
    match args.output {
        GraphOutput::Json => writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?,
        GraphOutput::Text => write!(out, "{}", render(&Picture::whole(&answer)?, args.idle))?,
        GraphOutput::Tree => write!(out, "{}", tree(&Picture::whole(&answer)?))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What is asked for, as the console's parameters.
pub(crate) fn asked(seen: &Seen) -> Vec<(&'static str, String)> {
    vec![
        ("namespaces", seen.namespace.join(",")),
        ("graphType", seen.graph_type.name().to_owned()),
        ("duration", seen.duration.0.as_secs().to_string()),
    ]
}

/// The window, for people.
fn window(picture: &Picture) -> String {
    let end = if picture.timestamp > 0 { picture.timestamp.saturating_mul(1_000_000) } else { micros(now()) };
    format!("means over {} s, until {}\n\n", picture.duration, written(end, 0))
}

fn micros(seconds: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 fit for a long time")]
    let micros = (seconds * 1e6) as i64;
    micros
}

/// A line for each edge; below it, what is to be said of some.
fn render(picture: &Picture, idle: bool) -> String {
    let mut rows =
        vec![["FROM", "TO", "PROTOCOL", "RATE", "ERRORS", "P95", "SECURITY", "HEALTH"].map(str::to_owned).to_vec()];
    for edge in picture.edges.values() {
        let mut row = vec![picture.title(&edge.source), picture.title(&edge.target), foreign(&edge.protocol)];
        row.extend(facts(edge));
        rows.push(row);
    }
    let mut text = window(picture);
    if rows.len() == 1 {
        text.push_str("no traffic in that time\n");
    } else {
        use Side::{Left, Right};
        text.push_str(&table(&[Left, Left, Left, Right, Right, Right, Left, Left], &rows));
    }
    text.push_str(&notes(picture));
    let quiet: Vec<String> = picture
        .nodes
        .values()
        .filter_map(|node| Some((node, node.idle()?)))
        .map(|(node, why)| format!("  {}: {why}\n", node.title()))
        .collect();
    if idle && !quiet.is_empty() {
        text.push_str("\nno traffic:\n");
        text.extend(quiet);
    }
    text
}

/// Rate, errors, latency, security, health.
fn facts(edge: &Edge) -> [String; 5] {
    let errors = edge.errors().map_or("-".to_owned(), percent);
    let p95 = edge.times().map_or("-".to_owned(), |times| millis(times.p95));
    [edge.rate(), errors, p95, edge.security(), edge.health()]
}

/// Why traffic went to no known service.
fn notes(picture: &Picture) -> String {
    let mut text = String::new();
    for edge in picture.edges.values() {
        for message in edge.messages() {
            text.push_str(&format!(
                "\n{} -> {}: {}\n",
                picture.title(&edge.source),
                picture.title(&edge.target),
                foreign(message)
            ));
        }
    }
    text
}

/// From where requests come in to where they end; what is reached on several ways is followed once.
fn tree(picture: &Picture) -> String {
    let mut leaving: BTreeMap<&str, Vec<&Edge>> = BTreeMap::new();
    let mut reached = BTreeSet::new();
    for edge in picture.edges.values() {
        leaving.entry(&edge.source).or_default().push(edge);
        reached.insert(edge.target.as_str());
    }
    let entries = leaving.keys().filter(|key| !reached.contains(**key));
    // What only calls itself in circles begins anywhere.
    let starts: Vec<&str> = entries.chain(leaving.keys()).copied().collect();
    let mut text = window(picture);
    let mut followed = BTreeSet::new();
    for start in starts {
        if !followed.insert(start) {
            continue;
        }
        text.push_str(&format!("{}\n", picture.title(start)));
        let mut left: Vec<(usize, &Edge)> = below(&leaving, start, 1);
        while let Some((depth, edge)) = left.pop() {
            let [rate, errors, p95, security, health] = facts(edge);
            let named =
                [("", rate, ""), ("", errors, " errors"), ("p95 ", p95, ""), ("", security, ""), ("", health, "")];
            let said = named.iter().filter(|(_, fact, _)| fact != "-");
            let said: String = said.map(|(before, fact, after)| format!("   {before}{fact}{after}")).collect();
            let again = leaving.contains_key(edge.target.as_str()) && !followed.insert(&edge.target);
            text.push_str(&format!(
                "{}└─ {}   {}{}{}\n",
                "   ".repeat(depth - 1),
                picture.title(&edge.target),
                foreign(&edge.protocol),
                said,
                if again { "   (followed above)" } else { "" },
            ));
            if !again {
                left.extend(below(&leaving, &edge.target, depth + 1));
            }
        }
    }
    if picture.edges.is_empty() {
        text.push_str("no traffic in that time\n");
    }
    text.push_str(&notes(picture));
    text
}

/// Edges that leave a node, the last first, as a stack wants them.
fn below<'e>(leaving: &BTreeMap<&str, Vec<&'e Edge>>, key: &str, depth: usize) -> Vec<(usize, &'e Edge)> {
    leaving.get(key).into_iter().flatten().rev().map(|edge| (depth, *edge)).collect()
}

#[cfg(test)]
pub(crate) mod tests;
