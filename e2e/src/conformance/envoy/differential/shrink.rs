//! The smallest rule and request that still tell a difference, for whoever must understand it.
//!
//! Parts are left out one at a time, all such candidates at once and each under a host of its own; the smallest that still
//! differs is taken further, until nothing can be left out any more.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::super::case::Case;
use super::bench::Bench;
use super::generate::{Subject, virtual_service};
use super::{Outcome, both};

/// Times that something is left out.
const MOST: usize = 40;
/// Of a rule and of a request, what is there in any case.
const KEPT: [&str; 5] = ["name", "route", "redirect", "directResponse", "delegate"];

/// Rules and a request.
#[derive(Debug, Clone)]
struct Candidate {
    rules: Vec<Value>,
    request: Map<String, Value>,
}

/// Makes candidates known to both sides.
pub(super) struct Shrinker<'b> {
    pub(super) ours: &'b mut Bench,
    pub(super) envoys: &'b mut Bench,
    hosts: usize,
}

impl<'b> Shrinker<'b> {
    pub(super) fn new(ours: &'b mut Bench, envoys: &'b mut Bench) -> Self {
        Self { ours, envoys, hosts: 0 }
    }

    /// What is left of a subject and a case that differs, and how that differs.
    pub(super) async fn shrink(&mut self, subject: &Subject, case: &Case) -> Result<String> {
        let rules = subject.objects.last().and_then(|o| o.pointer("/spec/http")).and_then(Value::as_array);
        let mut smallest =
            Candidate { rules: rules.cloned().unwrap_or_default(), request: case.request_parts().clone() };
        let mut differences = Vec::new();
        for _ in 0..MOST {
            let mut candidates = smallest.smaller();
            candidates.sort_by_key(Candidate::size);
            let outcomes = self.differing(&candidates).await?;
            let found = candidates.into_iter().zip(outcomes).find(|(_, o)| !o.differences.is_empty());
            let Some((candidate, outcome)) = found else { break };
            (smallest, differences) = (candidate, outcome.differences);
        }
        Ok(format!(
            "rules: {}\n    request: {}\n    {}",
            Value::from(smallest.rules),
            Value::Object(smallest.request),
            differences.join("\n    ")
        ))
    }

    async fn differing(&mut self, candidates: &[Candidate]) -> Result<Vec<Outcome>> {
        let mut cases = Vec::new();
        let mut objects = Vec::new();
        for candidate in candidates {
            self.hosts += 1;
            let (name, host) = (format!("k{}", self.hosts), format!("k{}.test", self.hosts));
            objects.push(virtual_service(&name, &[host.clone(), format!("*.{host}")], candidate.rules.clone()));
            let mut request = candidate.request.clone();
            let prefix = request.get("host").and_then(Value::as_str).filter(|h| h.starts_with("sub."));
            let host = if prefix.is_some() { format!("sub.{host}") } else { host };
            request.insert("host".to_owned(), host.into());
            let mut case = Case::of(name, request);
            case.any_endpoint = true;
            cases.push(case);
        }
        // Both sides have the configuration when they have what came with it.
        self.hosts += 1;
        let marker = format!("k{}", self.hosts);
        let answer = json!({"directResponse": {"status": 200, "body": {"string": marker}}});
        objects.push(virtual_service("marker", &["marker.test".to_owned()], vec![answer]));
        tokio::try_join!(self.ours.learn(&objects, &marker), self.envoys.learn(&objects, &marker))?;
        both(&cases, self.ours, self.envoys).await
    }
}

impl Candidate {
    fn size(&self) -> usize {
        Value::from(self.rules.clone()).to_string().len() + Value::Object(self.request.clone()).to_string().len()
    }

    /// All that have one part less.
    fn smaller(&self) -> Vec<Self> {
        let with_rules = |rules: Value| Self { rules: rules.as_array().cloned().unwrap_or_default(), ..self.clone() };
        let with_request =
            |request: Value| Self { request: request.as_object().cloned().unwrap_or_default(), ..self.clone() };
        let rules = without_a_part(&Value::from(self.rules.clone()));
        let requests = without_a_part(&Value::Object(self.request.clone()));
        rules.into_iter().map(with_rules).chain(requests.into_iter().map(with_request)).collect()
    }
}

/// All values that have one member or element less; a list keeps its last element.
fn without_a_part(value: &Value) -> Vec<Value> {
    let mut smaller = Vec::new();
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                if !KEPT.contains(&name.as_str()) {
                    let mut less = map.clone();
                    less.remove(name);
                    smaller.push(Value::Object(less));
                }
                for inner in without_a_part(inner) {
                    let mut changed = map.clone();
                    changed.insert(name.clone(), inner);
                    smaller.push(Value::Object(changed));
                }
            }
        }
        Value::Array(list) => {
            for (n, inner) in list.iter().enumerate() {
                let replaced = |with: Option<Value>| {
                    let (before, after) = list.split_at(n);
                    before.iter().cloned().chain(with).chain(after.iter().skip(1).cloned()).collect::<Vec<_>>()
                };
                if list.len() > 1 {
                    smaller.push(Value::from(replaced(None)));
                }
                smaller.extend(without_a_part(inner).into_iter().map(|inner| Value::from(replaced(Some(inner)))));
            }
        }
        _ => {}
    }
    smaller
}

#[cfg(test)]
mod tests;
