//! Prometheus' own tests of PromQL: each file of its test language is a table, each `eval` a case.
//!
//! The language is read as Prometheus reads it, and every instant query is asked as Prometheus asks it: also in the middle of a
//! range query, and with `@` at other times, where neither may change the result.

mod compare;
mod load;
mod script;
mod series;

use std::path::Path;

use anyhow::{Context, Result};
use varka_promql::annotations::Severity;
use varka_promql::answer::{InstantSample, QueryValue, SampleValue};
use varka_promql::ast::{At, Expr, Kind, When};
use varka_promql::storage::Memory;
use varka_promql::{Options, Times};

use super::Report;
use script::{Command, Eval, Matches};

/// Runs every table of the directory.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn run(dir: &Path, only: Option<&str>) -> Result<Vec<Report>> {
    let directory = dir.join("prometheus");
    let Ok(entries) = std::fs::read_dir(&directory) else { return Ok(Vec::new()) };
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    let mut reports = Vec::new();
    for file in files {
        let table = format!("prometheus/{}", file.file_stem().unwrap_or_default().to_string_lossy());
        if only.is_some_and(|only| !table.contains(only)) {
            continue;
        }
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut report = Report { table, ..Report::default() };
        table_of(&text, &mut report);
        reports.push(report);
    }
    Ok(reports)
}

fn table_of(text: &str, report: &mut Report) {
    let mut storage = Memory::default();
    for (line, command) in script::commands(text) {
        match command {
            Ok(Command::Clear) => storage = Memory::default(),
            Ok(Command::Load(load)) => {
                if let Err(why) = load.apply(&mut storage) {
                    report.count(&format!("line {line}: load"), Err(why));
                }
            }
            Ok(Command::Eval(eval)) => report.count(&format!("line {line}: {}", eval.query), ask(&eval, &storage)),
            Err(why) => report.count(&format!("line {line}"), Err(why)),
        }
    }
}

fn ask(eval: &Eval, storage: &Memory) -> Result<(), String> {
    let Times::Instant(time) = eval.times else { return ask_once(eval, &eval.query, eval.times, storage) };
    ask_instant(eval, &eval.query, time, storage)?;
    let Ok(expr) = varka_promql::parse(&eval.query) else { return Ok(()) };
    let Some(fixed) = at_time(&expr, time) else { return Ok(()) };
    let others = if time == 0 { vec![-1000, 0, 1000] } else { vec![-10 * time, 0, time / 5, time, 10 * time] };
    others.into_iter().try_for_each(|other| {
        ask_instant(eval, &fixed, other, storage).map_err(|why| format!("as {fixed} at {other} ms: {why}"))
    })
}

/// As an instant query, and in the middle of a range query.
fn ask_instant(eval: &Eval, query: &str, time: i64, storage: &Memory) -> Result<(), String> {
    ask_once(eval, query, Times::Instant(time), storage)?;
    let of_query = ["start()", "end()", "range()", "step()"].iter().any(|function| query.contains(function));
    if eval.instant_only || eval.fail.is_some() || eval.ordered || of_query {
        return Ok(());
    }
    let times = Times::Range { start: time - 60_000, end: time + 60_000, step: 60_000 };
    let answer = varka_promql::query(query, times, storage, &Options::default())
        .map_err(|error| format!("in a range query: {error}"))?;
    let QueryValue::Matrix(series) = answer.value else { return Err("a range query gave no matrix".to_owned()) };
    compare::is_sorted(&series)?;
    let at_time = |series: &varka_promql::answer::Series| {
        let (_, value) = series.samples.iter().find(|(sample, _)| *sample == time)?;
        Some(InstantSample { labels: series.labels.clone(), time, value: value.clone() })
    };
    let samples: Vec<InstantSample> = series.iter().filter_map(at_time).collect();
    let value = match (eval.number, samples.first().map(|sample| &sample.value)) {
        (Some(_), Some(SampleValue::Float(value))) => QueryValue::Scalar { time, value: *value },
        _ => QueryValue::Vector(samples),
    };
    compare::value(eval, &value).map_err(|why| format!("in a range query: {why}"))
}

fn ask_once(eval: &Eval, query: &str, times: Times, storage: &Memory) -> Result<(), String> {
    let answer = match (varka_promql::query(query, times, storage, &Options::default()), &eval.fail) {
        (Ok(answer), None) => answer,
        (Ok(_), Some(_)) => return Err("it should have failed".to_owned()),
        (Err(error), None) => return Err(error.to_string()),
        (Err(error), Some(wanted)) if wanted.is_met(&error.to_string()) => return Ok(()),
        (Err(error), Some(wanted)) => {
            return Err(format!("it failed with {:?} instead of {wanted:?}", error.to_string()));
        }
    };
    for (severity, expected, none) in
        [(Severity::Warning, &eval.warnings, eval.no_warnings), (Severity::Info, &eval.infos, eval.no_infos)]
    {
        let found = answer.annotations.texts(severity, query);
        if none && !found.is_empty() {
            return Err(format!("unexpected {severity:?}: {found:?}"));
        }
        if expected.is_empty() {
            continue;
        }
        let all_expected = expected.iter().all(|wanted| found.iter().any(|text| wanted.is_met(text)));
        let all_found = found.iter().all(|text| expected.iter().any(|wanted: &Matches| wanted.is_met(text)));
        if !(all_expected && all_found) {
            return Err(format!("{severity:?} {found:?} instead of {expected:?}"));
        }
    }
    compare::value(eval, &answer.value)
}

/// The query with every selector fixed to a time; nothing if its result may depend on the time of the question nevertheless.
fn at_time(expr: &Expr, time: i64) -> Option<String> {
    const DEPENDING: [&str; 15] = [
        "days_in_month",
        "day_of_month",
        "day_of_week",
        "day_of_year",
        "end",
        "hour",
        "minute",
        "month",
        "year",
        "predict_linear",
        "range",
        "start",
        "step",
        "time",
        "timestamp",
    ];
    fn fix(when: &mut When, time: i64) -> bool {
        if when.at.is_none() {
            when.at = Some(At::Time(time));
            return false;
        }
        true
    }
    fn walk(expr: &mut Expr, time: i64) -> bool {
        match &mut expr.kind {
            Kind::Number(_) | Kind::Text(_) => true,
            Kind::Selector(selector) => {
                fix(&mut selector.when, time);
                true
            }
            Kind::Range(range) => {
                fix(&mut range.selector.when, time);
                true
            }
            // What is within a fixed subquery is evaluated relative to that.
            Kind::Subquery(subquery) => {
                fix(&mut subquery.when, time);
                !depends(&subquery.expr)
            }
            Kind::Unary(_, inner) | Kind::Paren(inner) => walk(inner, time),
            Kind::Binary(binary) => walk(&mut binary.left, time) & walk(&mut binary.right, time),
            Kind::Aggregate(aggregate) => {
                let parameter = aggregate.parameter.as_mut().is_none_or(|parameter| walk(parameter, time));
                parameter & walk(&mut aggregate.expr, time)
            }
            // The labels that info() names have no time of their own.
            Kind::Call(function, args) if function.name == "info" => args.first_mut().is_none_or(|arg| walk(arg, time)),
            Kind::Call(function, args) => {
                args.iter_mut().fold(!DEPENDING.contains(&function.name), |safe, arg| safe & walk(arg, time))
            }
        }
    }
    fn depends(expr: &Expr) -> bool {
        DEPENDING.iter().any(|name| expr.to_string().contains(&format!("{name}(")))
    }
    let mut fixed = expr.clone();
    walk(&mut fixed, time).then(|| fixed.to_string())
}
