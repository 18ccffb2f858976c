//! `varka metrics`: a question in PromQL, answered as a table.
//!
//! Over a length of time each series is one line: its last, least and greatest value, and a curve.

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::Value;

use crate::args::{Metrics as Args, Output};
use crate::console_client::{Console, block_on};
use crate::text::{Side, foreign, table};
use crate::when::{now, written};

/// So many values make a curve.
const POINTS: u32 = 60;

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let answer = block_on(ask(args))?;
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?,
        Output::Text => write!(out, "{}", render(&answer))?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(args: &Args) -> anyhow::Result<Value> {
    let end = args.at.map_or_else(now, |at| at.seconds());
    let console = Console::find(&args.reach).await?;
    let query = ("query", args.query.as_str());
    let Some(since) = args.since else {
        return console.get("/api/v1/query", &[query, ("time", &end.to_string())]).await;
    };
    let step = args.step.map_or(since.0 / POINTS, |step| step.0).as_secs_f64().max(1.0);
    let (start, end, step) = ((end - since.0.as_secs_f64()).to_string(), end.to_string(), step.to_string());
    console.get("/api/v1/query_range", &[query, ("start", &start), ("end", &end), ("step", &step)]).await
}

/// Prometheus' answer for people.
fn render(answer: &Value) -> String {
    let empty = Value::Null;
    let result = answer.pointer("/data/result").unwrap_or(&empty);
    let kind = answer.pointer("/data/resultType").and_then(Value::as_str).unwrap_or_default();
    let mut text = match kind {
        "vector" => vector(result),
        "matrix" => matrix(result),
        _ => format!("{}\n", foreign(value(result))),
    };
    for level in ["warnings", "infos"] {
        for note in answer.get(level).and_then(Value::as_array).into_iter().flatten() {
            text.push_str(&format!(
                "\n{}: {}\n",
                level.trim_end_matches('s'),
                foreign(note.as_str().unwrap_or_default())
            ));
        }
    }
    text
}

fn series(result: &Value) -> impl Iterator<Item = &Value> {
    result.as_array().into_iter().flatten()
}

/// The value of a pair of time and value.
fn value(pair: &Value) -> &str {
    pair.get(1).and_then(Value::as_str).unwrap_or("-")
}

fn vector(result: &Value) -> String {
    let mut rows = vec![vec!["VALUE".to_owned(), "SERIES".to_owned()]];
    for of in series(result) {
        let shown = of.get("value").map_or("(histogram)", value);
        rows.push(vec![foreign(shown), name(of)]);
    }
    if rows.len() == 1 {
        return "nothing has a value there; `varka metrics` with --at or --since looks elsewhere\n".to_owned();
    }
    table(&[Side::Right, Side::Left], &rows)
}

fn matrix(result: &Value) -> String {
    let mut rows = vec![["LAST", "LEAST", "MOST", "CURVE", "SERIES"].map(str::to_owned).to_vec()];
    let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
    let all: Vec<(&Value, Vec<(f64, f64)>)> = series(result).map(|of| (of, points(of))).collect();
    for (time, _) in all.iter().flat_map(|(_, points)| points) {
        (from, to) = (from.min(*time), to.max(*time));
    }
    for (of, points) in &all {
        let numbers = points.iter().map(|(_, value)| *value).filter(|value| !value.is_nan());
        let (least, most) = numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        let number = |of: f64| if of.is_finite() { format!("{of:.4}") } else { "-".to_owned() };
        let last = points.last().map_or("-".to_owned(), |(_, value)| number(*value));
        rows.push(vec![last, number(least), number(most), curve(points, (from, to), (least, most)), name(of)]);
    }
    if rows.len() == 1 {
        return "nothing has a value in that time\n".to_owned();
    }
    let micros = |seconds: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "what is no time is written as none")]
        let micros = (seconds * 1e6) as i64;
        written(micros, 0)
    };
    let sides = [Side::Right, Side::Right, Side::Right, Side::Left, Side::Left];
    format!("{} to {}\n\n{}", micros(from), micros(to), table(&sides, &rows))
}

fn points(of: &Value) -> Vec<(f64, f64)> {
    let pairs = of.get("values").and_then(Value::as_array).into_iter().flatten();
    pairs.filter_map(|pair| Some((pair.get(0)?.as_f64()?, value(pair).parse().ok()?))).collect()
}

/// Values from least to most as columns from low to high, at their places in time; empty where there is none.
fn curve(points: &[(f64, f64)], (from, to): (f64, f64), (least, most): (f64, f64)) -> String {
    const COLUMNS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const WIDTH: usize = 30;
    let mut curve = [' '; WIDTH];
    for (time, value) in points.iter().filter(|(_, value)| value.is_finite()) {
        let share = |of: f64, low: f64, high: f64| if high > low { (of - low) / (high - low) } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small number")]
        let place = |share: f64, of: usize| (share * (of - 1) as f64).round() as usize;
        let column = COLUMNS.get(place(share(*value, least, most), COLUMNS.len())).copied().unwrap_or(' ');
        if let Some(cell) = curve.get_mut(place(share(*time, from, to), WIDTH)) {
            *cell = column;
        }
    }
    curve.iter().collect()
}

/// As PromQL writes it.
fn name(of: &Value) -> String {
    let labels = of.get("metric").and_then(Value::as_object);
    let (mut name, mut pairs) = (String::new(), Vec::new());
    for (label, value) in labels.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        if label == "__name__" {
            name.push_str(value);
        } else {
            pairs.push(format!("{label}={value:?}"));
        }
    }
    foreign(&format!("{name}{{{}}}", pairs.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::golden::golden;

    #[test]
    fn values_at_one_time_are_a_table() {
        let answer = json!({"status": "success", "data": {"resultType": "vector", "result": [
            {"metric": {"__name__": "istio_requests_total", "response_code": "200"}, "value": [600, "120.5"]},
            {"metric": {}, "value": [600, "NaN"]},
        ]}, "warnings": ["something \u{1b}[31mred"]});
        golden("metrics/vector", &render(&answer));
        let scalar = json!({"status": "success", "data": {"resultType": "scalar", "result": [600, "3"]}});
        assert_eq!(render(&scalar), "3\n");
        let none = json!({"status": "success", "data": {"resultType": "vector", "result": []}});
        assert!(render(&none).starts_with("nothing"));
    }

    #[test]
    fn values_over_time_are_curves() {
        let rising: Vec<_> = (0..30).map(|i| json!([1_769_860_800 + i * 60, i.to_string()])).collect();
        let answer = json!({"status": "success", "data": {"resultType": "matrix", "result": [
            {"metric": {"code": "200"}, "values": rising},
            {"metric": {"code": "503"}, "values": [[1_769_861_700, "2"], [1_769_861_760, "NaN"]]},
        ]}});
        golden("metrics/matrix", &render(&answer));
    }
}
