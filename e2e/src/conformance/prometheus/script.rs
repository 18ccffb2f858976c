//! The commands of Prometheus' test language: `clear`, `load`, `eval`.

use regex::Regex;
use varka_promql::duration::parse_duration;
use varka_promql::{Labels, Times};

use super::load::Load;
use super::series::{self, Item};

pub(super) enum Command {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

/// A text or a pattern that an error or annotation has.
#[derive(Debug)]
pub(super) enum Matches {
    Text(String),
    Pattern(Regex),
}

impl Matches {
    pub(super) fn is_met(&self, text: &str) -> bool {
        match self {
            Self::Text(wanted) => wanted == text,
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

/// A query and what it should result in.
pub(super) struct Eval {
    pub(super) query: String,
    pub(super) times: Times,
    /// The time of the first expected value, and between two of them.
    pub(super) first: i64,
    pub(super) step: i64,
    pub(super) series: Vec<(Labels, Vec<Item>)>,
    pub(super) number: Option<f64>,
    pub(super) text: Option<String>,
    pub(super) ordered: bool,
    pub(super) fail: Option<Matches>,
    pub(super) warnings: Vec<Matches>,
    pub(super) infos: Vec<Matches>,
    pub(super) no_warnings: bool,
    pub(super) no_infos: bool,
    /// It results in no instant vector.
    pub(super) instant_only: bool,
}

/// The commands with the lines that they stand in.
pub(super) fn commands(text: &str) -> Vec<(usize, Result<Command, String>)> {
    let strip = |line| {
        let line: &str = str::trim(line);
        if line.starts_with('#') { "" } else { line }
    };
    let lines: Vec<&str> = text.lines().map(strip).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        // A block ends at an empty line.
        let length = lines.iter().skip(at + 1).take_while(|line| !line.is_empty()).count();
        let block = lines.get(at + 1..=at + length).unwrap_or_default();
        let word = line.split_whitespace().next().unwrap_or_default();
        let (command, taken) = match word {
            "" => {
                at += 1;
                continue;
            }
            "clear" => (Ok(Command::Clear), 0),
            word if word.starts_with("load") => (Load::read(line, block).map(Command::Load), length),
            word if word.starts_with("eval") => match eval(line, block) {
                Ok((eval, taken)) => (Ok(Command::Eval(Box::new(eval))), taken),
                Err(why) => (Err(why), length),
            },
            word => (Err(format!("unknown command {word:?}")), 0),
        };
        commands.push((at + 1, command));
        at += taken + 1;
    }
    commands
}

fn duration(text: &str) -> Result<i64, String> {
    parse_duration(text).ok_or_else(|| format!("{text:?} is no duration"))
}

/// `eval instant at 5m QUERY` or `eval range from 0 to 5m step 1m QUERY`, and what follows.
fn eval(line: &str, block: &[&str]) -> Result<(Eval, usize), String> {
    let pattern = |text: &str| Regex::new(text).map_err(|error| error.to_string());
    let instant = pattern(r"^eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(.+?))?\s+(.+)$")?;
    let range = pattern(r"^eval(?:_(fail|warn|info))?\s+range\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+?)\s+(.+)$")?;
    let (mode, times, query) = if let Some(found) = instant.captures(line) {
        let part = |index: usize| found.get(index).map_or("", |part| part.as_str());
        (part(1).to_owned(), Times::Instant(duration(part(2))?), part(3).to_owned())
    } else if let Some(found) = range.captures(line) {
        let part = |index: usize| found.get(index).map_or("", |part| part.as_str());
        let times = Times::Range { start: duration(part(2))?, end: duration(part(3))?, step: duration(part(4))? };
        (part(1).to_owned(), times, part(5).to_owned())
    } else {
        return Err("this is no eval".to_owned());
    };
    let anything = || pattern("^.*$").map(Matches::Pattern);
    let (first, step) = match times {
        Times::Instant(time) => (time, 0),
        Times::Range { start, step, .. } => (start, step),
    };
    let mut eval = Eval {
        query,
        times,
        first,
        step,
        series: Vec::new(),
        number: None,
        text: None,
        ordered: mode == "ordered",
        fail: if mode == "fail" { Some(anything()?) } else { None },
        warnings: if mode == "warn" { vec![anything()?] } else { Vec::new() },
        infos: if mode == "info" { vec![anything()?] } else { Vec::new() },
        no_warnings: false,
        no_infos: false,
        instant_only: false,
    };
    for (index, line) in block.iter().enumerate() {
        if expect(&mut eval, line)? {
            continue;
        }
        if let Some(number) = series::number(line) {
            eval.number = Some(number);
            return Ok((eval, index + 1));
        }
        eval.series.push(series::series(line)?);
    }
    Ok((eval, block.len()))
}

/// A line that begins with `expect`.
fn expect(eval: &mut Eval, line: &str) -> Result<bool, String> {
    if let Some(message) = line.strip_prefix("expected_fail_message") {
        eval.fail = Some(Matches::Text(message.trim().to_owned()));
        return Ok(true);
    }
    if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
        eval.fail = Some(Matches::Pattern(Regex::new(pattern.trim()).map_err(|error| error.to_string())?));
        return Ok(true);
    }
    if let Some(times) = line.strip_prefix("expect range vector from ") {
        let words: Vec<&str> = times.split_whitespace().collect();
        let [start, "to", _, "step", step] = words.as_slice() else { return Err(format!("{line:?} is no range")) };
        (eval.first, eval.step, eval.instant_only) = (duration(start)?, duration(step)?, true);
        return Ok(true);
    }
    if let Some(text) = line.strip_prefix("expect string ") {
        match varka_promql::parse(text.trim()).map(|expr| expr.kind) {
            Ok(varka_promql::ast::Kind::Text(text)) => {
                eval.text = Some(String::from_utf8(text).map_err(|error| error.to_string())?);
            }
            _ => return Err(format!("{text:?} is no text")),
        }
        eval.instant_only = true;
        return Ok(true);
    }
    let Some(rest) = line.strip_prefix("expect ") else { return Ok(false) };
    let (what, rest) = rest.trim().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
    let rest = rest.trim();
    let matches = if let Some(text) = rest.strip_prefix("msg:") {
        Matches::Text(text.trim().to_owned())
    } else {
        let pattern = rest.strip_prefix("regex:").map_or("^.*$", str::trim);
        Matches::Pattern(Regex::new(pattern).map_err(|error| error.to_string())?)
    };
    match what {
        "ordered" => eval.ordered = true,
        "fail" => eval.fail = Some(matches),
        "warn" => eval.warnings.push(matches),
        "info" => eval.infos.push(matches),
        "no_warn" => eval.no_warnings = true,
        "no_info" => eval.no_infos = true,
        other => return Err(format!("nobody knows how to expect {other:?}")),
    }
    Ok(true)
}
