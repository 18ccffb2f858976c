//! Differences that stay, each with its reason: a table in `docs/CONFORMANCE.md`.

use anyhow::{Context, Result, ensure};
use regex::Regex;

use super::Outcome;

/// Around the table.
const BEGIN: &str = "<!-- differences: begin -->";
const END: &str = "<!-- differences: end -->";

/// A place that stands for all: the request met another fate.
const EVERYWHERE: &str = "*";

/// Behind a place where the two may differ, as the bytes happen to come, and need not.
const PERHAPS: char = '?';

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    cases: Vec<String>,
    places: Vec<String>,
}

/// The table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known(Vec<Row>);

impl Known {
    /// Reads the table in a document: cases (`family/case`, separated by commas), places, and the reason.
    ///
    /// # Errors
    /// When it has no such table, or a row has no reason.
    pub fn parse(document: &str) -> Result<Self> {
        let (_, rest) = document.split_once(BEGIN).with_context(|| format!("there is no {BEGIN}"))?;
        let (table, _) = rest.split_once(END).with_context(|| format!("there is no {END}"))?;
        let code = Regex::new("`([^`]+)`")?;
        let mut rows = Vec::new();
        for line in table.lines().filter(|l| l.starts_with("| `")) {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            ensure!(cells.len() == 3 && cells.iter().all(|c| !c.is_empty()), "cases, places and a reason: {line}");
            let named = |n: usize| -> Vec<String> {
                let cell = cells.get(n).copied().unwrap_or_default();
                code.captures_iter(cell).filter_map(|c| Some(c.get(1)?.as_str().to_owned())).collect()
            };
            rows.push(Row { cases: named(0), places: named(1) });
        }
        Ok(Self(rows))
    }

    /// What is wrong with the outcomes: differences that are not listed, and listed ones that did not occur.
    pub fn faults(&self, outcomes: &[Outcome]) -> Vec<String> {
        let mut faults = Vec::new();
        for outcome in outcomes {
            if let Some(why) = &outcome.broken {
                faults.push(format!("{}: {why}", outcome.case));
                continue;
            }
            let places: Vec<&String> =
                self.0.iter().filter(|r| r.cases.contains(&outcome.case)).flat_map(|r| &r.places).collect();
            let is_at = |difference: &String, known: &str| {
                let (place, known) = (place(difference), known.trim_end_matches(PERHAPS));
                known == EVERYWHERE
                    || place == known
                    || place.strip_prefix(known).is_some_and(|rest| rest.starts_with('.'))
            };
            let unlisted = outcome.differences.iter().filter(|d| !places.iter().any(|p| is_at(d, p)));
            faults.extend(unlisted.map(|d| format!("{}: {d}", outcome.case)));
            let certain = places.iter().filter(|p| !p.ends_with(PERHAPS));
            let gone = certain.filter(|p| !outcome.differences.iter().any(|d| is_at(d, p)));
            faults.extend(gone.map(|p| format!("{}: {p} is listed as different and is not", outcome.case)));
        }
        faults
    }

    /// How many cases differ as listed.
    pub fn count(&self, outcomes: &[Outcome]) -> usize {
        let is_listed = |o: &&Outcome| self.0.iter().any(|r| r.cases.contains(&o.case));
        // Of what is different only at times, nothing may be different now.
        outcomes.iter().filter(|o| !o.differences.is_empty()).filter(is_listed).count()
    }
}

/// Where a difference is: `out.details` of `.out[0].details: wanted ..`.
pub(super) fn place(difference: &str) -> String {
    let mut place = String::new();
    let mut in_index = false;
    for c in difference.trim_start_matches('.').chars() {
        match c {
            ':' if !in_index => break,
            '[' => in_index = true,
            ']' => in_index = false,
            c if !in_index => place.push(c),
            _ => {}
        }
    }
    place
}

#[cfg(test)]
mod tests;
