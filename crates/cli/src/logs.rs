//! `varka logs`: the lines of a workload's containers and of their sidecars, on one axis of time.

use std::collections::HashSet;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::args::{Logs as Args, Output};
use crate::console_client::{Console, block_on};
use crate::text::foreign;
use crate::when::{now, written};

/// A line, as the console tells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Line {
    /// Microseconds since 1970.
    at: i64,
    pod: String,
    container: String,
    text: String,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    block_on(async {
        let console = Console::find(&args.reach).await?;
        let (namespace, workload) = find(&console, &args.workload).await?;
        let containers = args.container.join(",");
        let of = [("namespace", namespace.as_str()), ("workload", &workload), ("containers", &containers)];
        // Before what there is already, so that nothing falls in between.
        let stream =
            if args.follow { Some(console.stream(&[&of[..], &[("topics", "logs")]].concat()).await?) } else { None };
        let mut query = of.to_vec();
        let limit = args.tail.to_string();
        query.push(("limit", &limit));
        let from = args.since.map(|since| (now() - since.0.as_secs_f64()).to_string());
        query.extend(from.as_ref().map(|from| ("from", from.as_str())));
        let lines = lines(&console.get("/console/api/logs", &query).await?)?;
        let mut printer = Printer { output: args.output, width: 0 };
        if lines.is_empty() && !args.follow {
            eprintln!(
                "no lines of {workload} in {namespace}; the console keeps those of pods in the mesh and of istio-system"
            );
        }
        printer.print(&lines)?;
        let Some(mut stream) = stream else { return Ok(()) };
        let known: HashSet<Line> = lines.into_iter().collect();
        while let Some((topic, data)) = stream.next().await? {
            if topic == "logs" {
                let line = Line::deserialize(&data).context("a line of the console cannot be read")?;
                if !known.contains(&line) {
                    printer.print(&[line])?;
                }
            }
        }
        bail!("the console ended the stream of lines: it may have been restarted; run the command again")
    })?;
    Ok(ExitCode::SUCCESS)
}

fn lines(answer: &Value) -> anyhow::Result<Vec<Line>> {
    Vec::deserialize(answer).context("lines of the console cannot be read: is it of another version?")
}

/// Namespace and name of the workload that is meant.
async fn find(console: &Console, text: &str) -> anyhow::Result<(String, String)> {
    let all = console.get("/console/api/workloads", &[]).await?;
    let name = |of: &Value, field: &str| of.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let known: Vec<(String, String)> =
        all.as_array().into_iter().flatten().map(|of| (name(of, "namespace"), name(of, "name"))).collect();
    choose(&known, text)
}

/// `NAME`, `NAME.NAMESPACE`; names of workloads may hold dots.
fn choose(known: &[(String, String)], text: &str) -> anyhow::Result<(String, String)> {
    let matching: Vec<&(String, String)> =
        known.iter().filter(|(namespace, name)| name == text || format!("{name}.{namespace}") == text).collect();
    match matching.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let names: Vec<String> = known.iter().map(|(namespace, name)| format!("{name}.{namespace}")).collect();
            bail!(
                "there is no workload {text}; there are: {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            )
        }
        several => {
            let names: Vec<String> = several.iter().map(|(namespace, name)| format!("{name}.{namespace}")).collect();
            bail!("{text} is the name of several workloads; say which: {}", names.join(", "))
        }
    }
}

struct Printer {
    output: Output,
    /// Of the column that says whose a line is: as wide as the widest until now.
    width: usize,
}

impl Printer {
    fn print(&mut self, lines: &[Line]) -> anyhow::Result<()> {
        let text = self.render(lines)?;
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    fn render(&mut self, lines: &[Line]) -> anyhow::Result<String> {
        let of = |line: &Line| foreign(&format!("{}/{}", line.pod, line.container));
        let widest = lines.iter().map(|line| of(line).chars().count()).max().unwrap_or(0);
        self.width = self.width.max(widest);
        let mut text = String::new();
        for line in lines {
            match self.output {
                Output::Json => text.push_str(&serde_json::to_string(line)?),
                Output::Text => {
                    let width = self.width;
                    text.push_str(&format!("{}  {:width$}  {}", written(line.at, 3), of(line), foreign(&line.text)));
                }
            }
            text.push('\n');
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::golden;

    fn line(at: i64, container: &str, text: &str) -> Line {
        Line { at, pod: "was-7d9f".to_owned(), container: container.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn lines_of_an_application_and_its_sidecar_stand_in_one_order() {
        let lines = [
            line(1_769_860_800_000_250, "was", "listening"),
            line(1_769_860_801_000_000, "istio-proxy", "\"GET /api/posts HTTP/1.1\" 200"),
            line(1_769_860_802_000_000, "was", "\u{1b}[32mgreen\u{1b}[0m"),
        ];
        golden("logs/text", &Printer { output: Output::Text, width: 0 }.render(&lines).unwrap());
        golden("logs/json", &Printer { output: Output::Json, width: 0 }.render(&lines).unwrap());
    }

    #[test]
    fn a_workload_is_found_by_its_name() {
        let known = [("a", "web"), ("b", "web"), ("a", "was.v1")].map(|(n, w)| (n.to_owned(), w.to_owned()));
        let found = |text: &str| choose(&known, text).map_err(|e| e.to_string());
        assert_eq!(found("web.b"), Ok(("b".to_owned(), "web".to_owned())));
        assert_eq!(found("was.v1"), Ok(("a".to_owned(), "was.v1".to_owned())));
        assert_eq!(found("was.v1.a"), Ok(("a".to_owned(), "was.v1".to_owned())));
        assert!(found("web").unwrap_err().ends_with("say which: web.a, web.b"));
        assert!(found("db").unwrap_err().contains("there are: web.a, web.b, was.v1.a"));
    }
}
