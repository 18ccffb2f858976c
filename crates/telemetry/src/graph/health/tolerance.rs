//! Kiali's tolerances: which codes are errors, and from which share of them something is degraded or failed.
//!
//! The rules of a configuration are asked in their order, the last one stands for all that none fits. An annotation
//! `health.kiali.io/rate` of the object goes before all of them: `code,degraded,failure,protocol,direction;...`. Patterns are
//! regular expressions of the whole text, in a code an `X` is a digit; one that is no expression matches everything.

use std::fmt;
use std::sync::Arc;

use regex::Regex;
use serde::Serialize;

use super::super::facts::{Map, Replicas};
use super::{ByCode, Requests, Status, of_replicas};

/// The annotation that changes the tolerances of one object.
pub const ANNOTATION: &str = "health.kiali.io/rate";

/// How much of what may fail.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Tolerance {
    /// Pattern of codes that are errors.
    pub code: String,
    /// Pattern of protocols.
    pub protocol: String,
    /// Pattern of directions, `inbound` and `outbound`.
    pub direction: String,
    /// From this share of errors on, in percent, it is degraded; 0: any error.
    pub degraded: f32,
    /// From this share of errors on, in percent, it fails; 0: any error.
    pub failure: f32,
}

/// Tolerances of some objects.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rate {
    /// Pattern of namespaces.
    pub namespace: String,
    /// Pattern of kinds: `app`, `service`, `workload`.
    pub kind: String,
    /// Pattern of names.
    pub name: String,
    /// What they tolerate.
    pub tolerances: Vec<Tolerance>,
}

/// Rules, ready to be asked.
#[derive(Clone)]
pub struct Config(Arc<Vec<CompiledRate>>);

struct CompiledRate {
    rate: Rate,
    namespace: Regex,
    kind: Regex,
    name: Regex,
    tolerances: Arc<[Compiled]>,
}

/// A tolerance, ready to be asked.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// What it was made of.
    pub tolerance: Arc<Tolerance>,
    code: Regex,
    protocol: Regex,
    direction: Regex,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|rate| &rate.rate)).finish()
    }
}

impl Default for Config {
    /// Kiali's own rules.
    fn default() -> Self {
        Self::new(vec![Rate { tolerances: defaults(), ..Rate::default() }])
    }
}

/// What Kiali tolerates where nothing else is said.
fn defaults() -> Vec<Tolerance> {
    let of = |code: &str, protocol: &str, degraded, failure| Tolerance {
        code: code.to_owned(),
        protocol: protocol.to_owned(),
        direction: ".*".to_owned(),
        degraded,
        failure,
    };
    vec![
        of("5XX", "http", 0.0, 10.0),
        of("4XX", "http", 10.0, 20.0),
        of("^[1-9]$|^1[0-6]$", "grpc", 0.0, 10.0),
        of("^-$", "http|grpc", 0.0, 10.0),
    ]
}

impl Config {
    /// Rules in the order in which they are asked, without Kiali's own.
    #[must_use]
    pub fn new(rates: Vec<Rate>) -> Self {
        let compiled = rates.into_iter().map(|rate| CompiledRate {
            namespace: whole(&rate.namespace),
            kind: whole(&rate.kind),
            name: whole(&rate.name),
            tolerances: rate.tolerances.iter().cloned().map(Compiled::new).collect(),
            rate,
        });
        Self(Arc::new(compiled.collect()))
    }

    /// The rule for an object: the first that fits, else the last.
    #[must_use]
    pub fn rate(&self, namespace: &str, name: &str, kind: &str) -> Option<&Rate> {
        self.compiled(namespace, name, kind).map(|compiled| &compiled.rate)
    }

    fn compiled(&self, namespace: &str, name: &str, kind: &str) -> Option<&CompiledRate> {
        let fits =
            |r: &&CompiledRate| r.namespace.is_match(namespace) && r.name.is_match(name) && r.kind.is_match(kind);
        self.0.iter().find(fits).or_else(|| self.0.last())
    }

    /// What an object tolerates: what its annotation says, else what its rule says.
    #[must_use]
    pub fn tolerances(&self, namespace: &str, name: &str, kind: &str, annotations: &Map) -> Arc<[Compiled]> {
        let own = annotations.get(ANNOTATION).map(|text| parse_annotation(text)).unwrap_or_default();
        if own.is_empty() {
            return self.compiled(namespace, name, kind).map(|rate| Arc::clone(&rate.tolerances)).unwrap_or_default();
        }
        own.into_iter().map(Compiled::new).collect()
    }
}

impl Compiled {
    /// Makes the expressions.
    #[must_use]
    pub fn new(tolerance: Tolerance) -> Self {
        Self {
            code: whole(&tolerance.code.replace(['X', 'x'], r"\d")),
            protocol: whole(&tolerance.protocol),
            direction: whole(&tolerance.direction),
            tolerance: Arc::new(tolerance),
        }
    }

    pub(super) fn fits(&self, protocol: &str, direction: Option<&str>) -> bool {
        self.protocol.is_match(protocol) && direction.is_none_or(|direction| self.direction.is_match(direction))
    }

    /// Errors, and all.
    pub(super) fn errors<'c>(&self, codes: impl IntoIterator<Item = (&'c str, f64)>) -> (f64, f64) {
        codes.into_iter().fold((0.0, 0.0), |(errors, all), (code, rate)| {
            (if self.code.is_match(code) { errors + rate } else { errors }, all + rate)
        })
    }

    /// The state at a share of errors, in percent.
    pub(super) fn status(&self, percent: f64) -> Status {
        if percent <= 0.0 {
            Status::Healthy
        } else if percent >= f64::from(self.tolerance.failure) {
            Status::Failure
        } else if percent >= f64::from(self.tolerance.degraded) {
            Status::Degraded
        } else {
            Status::Healthy
        }
    }
}

/// An expression that must fit the whole text, unless it says itself where it begins or ends.
fn whole(pattern: &str) -> Regex {
    let pattern = if pattern.is_empty() { ".*" } else { pattern };
    let begin = if pattern.starts_with('^') { "" } else { "^" };
    let end = if pattern.ends_with('$') { "" } else { "$" };
    let all = || Regex::new("");
    #[expect(clippy::expect_used, reason = "the empty expression is one")]
    Regex::new(&format!("{begin}{pattern}{end}")).or_else(|_| all()).expect("the empty expression")
}

/// Reads an annotation; parts that are not well formed are left out.
#[must_use]
pub fn parse_annotation(text: &str) -> Vec<Tolerance> {
    text.split(';').filter_map(|part| parse_part(part.trim())).collect()
}

fn parse_part(part: &str) -> Option<Tolerance> {
    let fields: Vec<&str> = part.split(',').collect();
    let [code, degraded, failure, protocol, direction] = fields.as_slice() else { return None };
    let (degraded, failure): (f32, f32) = (degraded.trim().parse().ok()?, failure.trim().parse().ok()?);
    let text = |text: &str| text.to_owned();
    (degraded <= failure).then(|| Tolerance {
        code: text(code),
        protocol: text(protocol),
        direction: text(direction),
        degraded,
        failure,
    })
}

/// What Kiali calculates of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Calculated {
    /// Share of errors of the worst tolerance, in percent; -1: no requests.
    pub error_ratio: f64,
    /// State.
    pub status: Status,
    /// Requests a second, in and out.
    pub total_request_rate: f64,
}

/// Kiali's state of something with these requests and pods.
#[must_use]
pub fn calculate<'r>(
    requests: &Requests,
    tolerances: &[Compiled],
    replicas: impl IntoIterator<Item = Option<&'r Replicas>>,
) -> Calculated {
    let (status, error_ratio) = of_requests(requests, tolerances);
    let status = replicas.into_iter().fold(status, |status, replicas| status.worse(of_replicas(replicas)));
    Calculated { error_ratio, status, total_request_rate: requests.total() }
}

fn of_requests(requests: &Requests, tolerances: &[Compiled]) -> (Status, f64) {
    if tolerances.is_empty() {
        return without_tolerances(requests);
    }
    let mut worst = (Status::NotApplicable, -1.0);
    let mut any = false;
    for (direction, traffic) in requests.directions() {
        for (status, percent) in each(traffic, tolerances, direction) {
            any = true;
            if status.priority() > worst.0.priority() {
                worst = (status, percent);
            }
        }
    }
    if any && worst.0 == Status::NotApplicable { (Status::Healthy, 0.0) } else { worst }
}

/// The state by each tolerance that fits, with the share of errors in percent.
fn each<'t>(
    traffic: &'t ByCode,
    tolerances: &'t [Compiled],
    direction: &'t str,
) -> impl Iterator<Item = (Status, f64)> + 't {
    traffic.iter().flat_map(move |(protocol, codes)| {
        tolerances.iter().filter(move |t| t.fits(protocol, Some(direction))).filter_map(move |tolerance| {
            let (errors, all) = tolerance.errors(codes.iter().map(|(code, rate)| (code.as_str(), *rate)));
            let percent = errors / all * 100.0;
            (all != 0.0).then(|| (tolerance.status(percent), percent))
        })
    })
}

/// Where nothing says what is tolerated: HTTP errors from 0.1 % degrade, from 10 % fail.
fn without_tolerances(requests: &Requests) -> (Status, f64) {
    let Some(ratio) = requests.error_ratio() else { return (Status::NotApplicable, -1.0) };
    let percent = ratio * 100.0;
    let status = match percent {
        p if p >= 10.0 => Status::Failure,
        p if p >= 0.1 => Status::Degraded,
        _ => Status::Healthy,
    };
    (status, percent)
}

/// Kiali's state of an edge, by the tolerances of one end for a direction (`None`: all of them); rates by code.
#[must_use]
pub fn of_edge(
    protocol: &str,
    direction: Option<&str>,
    total: f64,
    codes: &[(&str, f64)],
    tolerances: &[Compiled],
) -> Status {
    if total <= 0.0 {
        return Status::NotApplicable;
    }
    let fitting = tolerances.iter().filter(|tolerance| tolerance.fits(protocol, direction));
    let worst = fitting.fold(Status::NotApplicable, |worst, tolerance| {
        let (errors, _) = tolerance.errors(codes.iter().copied());
        worst.worse(tolerance.status(errors / total * 100.0))
    });
    // Traffic that nothing is said of is taken to be well.
    if worst == Status::NotApplicable { Status::Healthy } else { worst }
}
