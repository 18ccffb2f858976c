//! `info`: adds the labels of info metrics (`target_info`) to the series of the same instance and job.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::select::Wanted;
use super::values::{Collector, Row, Steps};
use super::{Evaluator, Reference};
use crate::ast::{Expr, Kind};
use crate::error::Error;
use crate::labels::{Label, Labels, METRIC_NAME};
use crate::matcher::{MatchOp, Matcher};

/// What tells whose an info metric is.
const IDENTIFYING: [&str; 2] = ["instance", "job"];
const TARGET_INFO: &str = "target_info";

/// The conditions of the second argument.
struct Wish {
    /// On the info metric's name.
    names: Vec<Matcher>,
    /// On its labels, of which only these are added, if any are named.
    labels: Vec<Matcher>,
}

impl Evaluator<'_> {
    pub(super) fn info(&self, args: &[Expr], steps: &Steps) -> Result<Vec<Row>, Error> {
        let rows = self.vector_arg(args, 0, steps)?;
        let wish = wish(args.get(1))?;
        let is_info = |row: &Row| wish.names.iter().all(|matcher| matcher.matches(row.labels.metric_name()));
        let ignored: HashSet<Labels> = rows.iter().filter(|row| is_info(row)).map(|row| row.labels.clone()).collect();
        let reference = args.first().map_or(Ok(Reference { at: None, offset: 0 }), |arg| self.info_reference(arg))?;
        let infos = self.info_series(&rows, &ignored, &wish, reference, steps)?;

        let mut by_owner: HashMap<Labels, Vec<&Row>> = HashMap::new();
        for info in &infos {
            by_owner.entry(info.labels.only(&IDENTIFYING)).or_default().push(info);
        }
        let mut collector = Collector::new(steps.count, &self.budget);
        for row in &rows {
            let own = if ignored.contains(&row.labels) { None } else { by_owner.get(&row.labels.only(&IDENTIFYING)) };
            self.budget.work(steps.count.saturating_mul(own.map_or(1, |infos| infos.len() + 1)))?;
            for step in 0..steps.count {
                let Some(cell) = row.values.get(step) else { continue };
                let labels = if ignored.contains(&row.labels) {
                    Some(row.labels.clone())
                } else {
                    let infos = own.map(Vec::as_slice).unwrap_or_default();
                    enriched(&row.labels, &latest(infos, step)?, &wish)?
                };
                if let Some(labels) = labels {
                    let place = collector.place(&labels, row.drop_name)?;
                    collector.set(place, step, cell)?;
                }
            }
        }
        Ok(collector.finish())
    }

    /// The info series of those that are to be enriched; as values, the times of their samples.
    fn info_series(
        &self,
        rows: &[Row],
        ignored: &HashSet<Labels>,
        wish: &Wish,
        reference: Reference,
        steps: &Steps,
    ) -> Result<Vec<Row>, Error> {
        let mut matchers = Vec::new();
        for name in IDENTIFYING {
            let wanted = rows.iter().filter(|row| !ignored.contains(&row.labels));
            let values: BTreeSet<&str> =
                wanted.map(|row| row.labels.get(name)).filter(|value| !value.is_empty()).collect();
            if !values.is_empty() {
                let pattern = values.iter().map(|value| regex::escape(value)).collect::<Vec<_>>().join("|");
                // So many instances that no expression holds them: then all are read, and compared afterwards.
                matchers.extend(Matcher::new(name, MatchOp::Regex, pattern).ok());
            }
        }
        if matchers.is_empty() {
            return Ok(Vec::new());
        }
        matchers.extend(wish.names.iter().chain(&wish.labels).cloned());
        let rows = self.select_at(&matchers, reference, steps, Wanted::Value)?;
        if let Some(histogram) = rows.iter().find(|row| row.values.has_histograms()) {
            let text = format!("this should be an info metric, with float samples: {}", histogram.labels);
            return Err(Error::evaluation(text));
        }
        self.select_at(&matchers, reference, steps, Wanted::Time)
    }

    /// The time that info metrics are looked at: that of the first selector within.
    fn info_reference(&self, expr: &Expr) -> Result<Reference, Error> {
        Ok(self.first_reference(expr)?.unwrap_or(Reference { at: None, offset: 0 }))
    }

    fn first_reference(&self, expr: &Expr) -> Result<Option<Reference>, Error> {
        match &expr.kind {
            Kind::Selector(selector) => self.reference(&selector.when).map(Some),
            Kind::Range(range) => self.reference(&range.selector.when).map(Some),
            Kind::Subquery(subquery) => {
                let Some(mut inner) = self.first_reference(&subquery.expr)? else { return Ok(None) };
                if inner.at.is_none() {
                    let outer = self.reference(&subquery.when)?;
                    inner = Reference { at: outer.at, offset: inner.offset.saturating_add(outer.offset) };
                }
                Ok(Some(inner))
            }
            _ => {
                for child in expr.children() {
                    if let Some(found) = self.first_reference(child)? {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
        }
    }
}

fn wish(arg: Option<&Expr>) -> Result<Wish, Error> {
    let matchers: &[Matcher] = match arg.map(|arg| &arg.bare().kind) {
        None => &[],
        Some(Kind::Selector(selector)) => &selector.matchers,
        Some(_) => return Err(super::mistyped()),
    };
    let (mut names, labels): (Vec<Matcher>, Vec<Matcher>) =
        matchers.iter().cloned().partition(|matcher| matcher.name() == METRIC_NAME);
    let positive = |matcher: &Matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex);
    if names.is_empty() {
        names.push(Matcher::equal(METRIC_NAME, TARGET_INFO));
    } else if !names.iter().any(positive) {
        names.extend(Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info").ok());
    }
    Ok(Wish { names, labels })
}

/// Of each info metric the series with the latest sample at a step.
fn latest<'a>(infos: &[&'a Row], step: usize) -> Result<Vec<&'a Row>, Error> {
    let mut latest: BTreeMap<&str, (f64, &Row)> = BTreeMap::new();
    for info in infos {
        let Some(time) = info.values.float(step) else { continue };
        match latest.get(info.labels.metric_name()) {
            Some((before, _)) if *before > time => {}
            Some((before, same)) if *before == time => {
                let at = (time * 1000.0) as i64;
                let (a, b) = (&same.labels, &info.labels);
                let text = format!("found duplicate series for info metric: existing {a} @ {at}, new {b} @ {at}");
                return Err(Error::evaluation(text));
            }
            _ => {
                latest.insert(info.labels.metric_name(), (time, info));
            }
        }
    }
    Ok(latest.into_values().map(|(_, row)| row).collect())
}

/// A series' labels with those of its info metrics; nothing if labels were asked for and there are none.
fn enriched(own: &Labels, infos: &[&Row], wish: &Wish) -> Result<Option<Labels>, Error> {
    if infos.is_empty() && wish.labels.iter().any(|matcher| !matcher.matches("")) {
        return Ok(None);
    }
    let mut added: BTreeMap<&str, &Label> = BTreeMap::new();
    for label in infos.iter().flat_map(|info| info.labels.iter()) {
        let wanted = wish.labels.is_empty() || wish.labels.iter().any(|matcher| matcher.name() == &*label.name);
        if &*label.name == METRIC_NAME || !wanted || !own.get(&label.name).is_empty() {
            continue;
        }
        if added.insert(&label.name, label).is_some_and(|before| before.value != label.value) {
            return Err(Error::evaluation(format!("conflicting label: {}", label.name)));
        }
    }
    Ok(Some(Labels::from_labels(own.iter().chain(added.into_values()).cloned().collect())))
}
