//! Our sidecars beside a real Envoy's: the same pods twice, fed by the same control plane with the same resources, sent the
//! same requests; what came of each is compared.
//!
//! A family of cases is a file of `e2e/differential`: resources, and requests. What differs fails, unless the list in
//! `docs/CONFORMANCE.md` says so with a reason; what is listed and does not differ fails as well.

mod bench;
mod family;
mod generate;
mod known;
mod shrink;
mod tell;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::Value;

use super::case::{Case, Tokens};
use super::mesh::Mesh;
use super::observe::Observation;
use super::plane::Setting;
use super::{STATE, compare, isolate};
use bench::Bench;
use family::Family;
use generate::Subject;
pub use known::Known;
use shrink::Shrinker;

/// Families at a time: each has two labs.
const SIDE_BY_SIDE: usize = 2;

/// The family that is drawn at random.
const DRAWN: &str = "generated";
/// Requests for each VirtualService of it.
const REQUESTS: usize = 12;
/// Differences of it that are made smaller: each takes its time.
const SHRUNK: usize = 4;

/// What is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Envoy's program.
    pub envoy: PathBuf,
    /// Where the families and the registry are.
    pub directory: PathBuf,
    /// Only families whose name contains this.
    pub only: Option<String>,
    /// Of what is drawn at random.
    pub seed: u64,
    /// VirtualServices that are drawn.
    pub drawn: usize,
}

/// What came of one case.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// `FAMILY/CASE`.
    pub case: String,
    /// Where we differ from Envoy, and how; empty: nowhere.
    pub differences: Vec<String>,
    /// The case could not be compared.
    pub broken: Option<String>,
    /// The smallest rules and request that differ, of what was drawn at random.
    pub smallest: Option<String>,
}

/// Runs all families.
///
/// # Errors
/// When a family cannot be read, or no namespaces can be made here.
pub fn run(options: &Options) -> Result<Vec<Outcome>> {
    // A thread of its own, which leaves the mount namespace of the others.
    let ran = std::thread::scope(|scope| scope.spawn(|| run_apart(options)).join());
    ran.unwrap_or_else(|_| Err(anyhow::anyhow!("the harness panicked")))
}

fn run_apart(options: &Options) -> Result<Vec<Outcome>> {
    // An error means that a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mesh = std::fs::read_to_string(options.directory.join("mesh.yaml")).context("mesh.yaml")?;
    let mesh: Mesh = serde_saphyr::from_str(&mesh).context("mesh.yaml")?;
    let varka = crate::binary()?;
    let mut families = family::read(&options.directory, options.only.as_deref())?;
    if options.drawn > 0 && options.only.as_deref().is_none_or(|o| DRAWN.contains(o)) {
        let subjects = generate::subjects(options.seed, options.drawn, REQUESTS);
        families.insert(0, Family::drawn(DRAWN, subjects));
    }
    isolate()?;
    let queue = Mutex::new(families.into_iter());
    let outcomes = Mutex::new(Vec::new());
    let work = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(family) = next else { return };
            let setting = |engine: &str, envoy: Option<PathBuf>| Setting {
                mesh: mesh.clone(),
                resources: family.resources.clone(),
                mesh_config: family.mesh_config.clone(),
                directory: Path::new(STATE).join(&family.name).join(engine),
                varka: varka.clone(),
                envoy,
                single: true,
                ..Setting::default()
            };
            let pair = (setting("varka", None), setting("envoy", Some(options.envoy.clone())));
            let found = compared(&family, &pair.0, &pair.1);
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(work);
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by(|a, b| a.case.cmp(&b.case));
    Ok(outcomes)
}

/// The outcomes of a family.
fn compared(family: &Family, ours: &Setting, envoys: &Setting) -> Vec<Outcome> {
    let run = || -> Result<Vec<Outcome>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (mut ours, mut envoys) = tokio::try_join!(Bench::start(ours), Bench::start(envoys))?;
            let outcomes = both(&family.cases, &mut ours, &mut envoys).await;
            let mut outcomes = outcomes.unwrap_or_else(|e| vec![broken(&family.name, &e)]);
            shrink(family, &mut outcomes, &mut ours, &mut envoys).await;
            outcomes.push(refusals(family, &ours, &envoys));
            tokio::join!(ours.stop(), envoys.stop());
            Ok(outcomes)
        })
    };
    run().unwrap_or_else(|e| vec![broken(&family.name, &e)])
}

/// Adds, to the first differences of what was drawn, the smallest rules and requests that tell them.
async fn shrink(family: &Family, outcomes: &mut [Outcome], ours: &mut Bench, envoys: &mut Bench) {
    let mut shrinker = Shrinker::new(ours, envoys);
    let mut subjects = Vec::new();
    for outcome in outcomes.iter_mut().filter(|o| !o.differences.is_empty()) {
        let of_case = |s: &&Subject| s.cases.iter().any(|c| c.id == outcome.case);
        let Some(subject) = family.subjects.iter().find(of_case) else { continue };
        let Some(case) = subject.cases.iter().find(|c| c.id == outcome.case) else { continue };
        let host = subject.objects.last();
        if subjects.contains(&host) || subjects.len() >= SHRUNK {
            continue;
        }
        subjects.push(host);
        outcome.smallest = Some(shrinker.shrink(subject, case).await.unwrap_or_else(|e| format!("{e:#}")));
    }
}

/// Runs cases on both sides.
async fn both(cases: &[Case], ours: &mut Bench, envoys: &mut Bench) -> Result<Vec<Outcome>> {
    let tokens = Tokens::default();
    let requests: Vec<_> = cases.iter().map(|c| c.requests(&tokens)).collect::<Result<_>>()?;
    let (ours, envoys) = tokio::try_join!(ours.observe(cases, &requests), envoys.observe(cases, &requests))?;
    let pairs = cases.iter().zip(ours.into_iter().zip(envoys));
    Ok(pairs.map(|(case, (ours, envoys))| judge(case, ours, envoys)).collect())
}

fn judge(case: &Case, ours: Result<Vec<Observation>>, envoys: Result<Vec<Observation>>) -> Outcome {
    let told = |side: &str, all: Result<Vec<Observation>>| -> Result<Value> {
        let all = all.with_context(|| format!("{side} could not be asked"))?;
        Ok(tell::tell(case, &all))
    };
    match told("our sidecar", ours).and_then(|ours| Ok((ours, told("Envoy", envoys)?))) {
        Ok((ours, envoys)) => Outcome {
            case: case.id.clone(),
            differences: differences(case, &envoys, &ours),
            broken: None,
            smallest: None,
        },
        Err(e) => broken(&case.id, &e),
    }
}

/// Where our side differs, but for what a matter of time decides.
fn differences(case: &Case, envoys: &Value, ours: &Value) -> Vec<String> {
    let mut found = compare::differences(envoys, ours, &[]);
    found.retain(|d| !case.unstable.contains(&known::place(d)));
    found.extend(unexpected(envoys));
    found
}

/// A distribution that is not the one that the case says: both sides may err alike where the control plane does.
fn unexpected(envoys: &Value) -> Vec<String> {
    let is_false = |name: &str| envoys.get(name) == Some(&Value::Bool(false));
    let names = ["within", "strict_round_robin"].into_iter().filter(|name| is_false(name));
    names.map(|name| format!(".{name}: of Envoy it is not so, either: {envoys}")).collect()
}

fn broken(case: &str, error: &anyhow::Error) -> Outcome {
    Outcome { case: case.to_owned(), differences: Vec::new(), broken: Some(format!("{error:#}")), smallest: None }
}

/// What one proxy refused of the configuration and the other did not.
fn refusals(family: &Family, ours: &Bench, envoys: &Bench) -> Outcome {
    let refused =
        |name: &str, bench: &Bench| bench.refused().iter().map(|r| format!(".{name}: {r}")).collect::<Vec<_>>();
    let differences = [refused("refused_by_us", ours), refused("refused_by_envoy", envoys)].concat();
    Outcome { case: format!("{}/configuration", family.name), differences, broken: None, smallest: None }
}
