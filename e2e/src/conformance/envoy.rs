//! What a real Envoy did with recorded requests, asked of Varka's own control plane and sidecars.
//!
//! Each set of resources gets a lab of its own: nameless network namespaces, so that nothing is left over and several can
//! stand side by side. Only `cases.json` and `mesh.yaml` (and `certs/jwt.json`, where it is) of the table's directory are read.

mod app;
mod case;
mod client;
mod compare;
pub mod differential;
pub(crate) mod lab;
mod log;
pub(crate) mod mesh;
mod observe;
pub(crate) mod place;
pub(crate) mod plane;
mod summary;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use varka_sys::ns;

use super::Report;
use case::{Case, Tokens};
use lab::{HUB, Lab};
use mesh::Mesh;
use plane::{DISCOVERY, Setting};

/// Labs at a time: most of what they do is to wait.
const SIDE_BY_SIDE: usize = 3;
/// Where state and logs lie, in a file system of this run's own.
pub(crate) const STATE: &str = "/mnt";

/// Names a real Envoy that stands in our data plane's place: then the cases judge what the control plane tells a proxy.
const ENVOY: &str = "VARKA_CONFORMANCE_ENVOY";

/// A directory that gets what was observed of each case, such as a real Envoy's answers to new cases.
const RECORD: &str = "VARKA_CONFORMANCE_RECORD";

/// `cases.json`.
#[derive(Debug, Deserialize)]
struct Table {
    resources: BTreeMap<String, Resources>,
    cases: Vec<Case>,
}

/// A set of resources.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resources {
    yaml: String,
    #[serde(default)]
    mesh_config: Value,
}

/// Runs all cases.
pub(super) fn run(cases: &Value, dir: &Path, report: &mut Report) {
    if crate::skipped() {
        report.skipped = super::count(cases);
        return;
    }
    // A thread of its own, which leaves the mount namespace of the others.
    let ran = std::thread::scope(|scope| scope.spawn(|| run_apart(cases, dir)).join());
    let outcomes = ran.unwrap_or_else(|_| Err(anyhow::anyhow!("the harness panicked")));
    match outcomes {
        Ok(outcomes) => outcomes.into_iter().for_each(|(case, outcome)| report.count(&case, outcome)),
        Err(e) => {
            let why = format!("{e:#} (SKIP_NETNS=1 leaves these cases out)");
            super::cases(cases).iter().for_each(|c| report.count(super::text(c, "id"), Err(why.clone())));
        }
    }
}

type Outcomes = Vec<(String, Result<(), String>)>;

fn run_apart(cases: &Value, dir: &Path) -> Result<Outcomes> {
    // An error means that a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let table = Table::deserialize(cases).context("cases.json")?;
    let mesh: Mesh = serde_saphyr::from_str(&std::fs::read_to_string(dir.join("mesh.yaml")).context("mesh.yaml")?)?;
    let tokens = match std::fs::read(dir.join("certs/jwt.json")) {
        Ok(text) => serde_json::from_slice(&text).context("certs/jwt.json")?,
        Err(_) => cases.pointer("/meta/jwt").map(Tokens::deserialize).transpose()?.unwrap_or_default(),
    };
    let varka = crate::binary()?;
    isolate()?;
    let queue = Mutex::new(table.resources.iter());
    let outcomes = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((name, resources)) = next else { return };
            let cases: Vec<&Case> = table.cases.iter().filter(|c| c.resources == *name).collect();
            let setting = Setting {
                mesh: mesh.clone(),
                resources: tokens.insert(&resources.yaml),
                mesh_config: resources.mesh_config.clone(),
                directory: Path::new(STATE).join(name.replace('/', "_")),
                varka: varka.clone(),
                envoy: std::env::var_os(ENVOY).filter(|p| !p.is_empty()).map(PathBuf::from),
                ..Setting::default()
            };
            let results = set(&setting, &cases, &tokens);
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).extend(results);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(work);
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    let outcome = |case: &Case| {
        let none = || Err(format!("there is no set of resources {}", case.resources));
        (case.id.clone(), outcomes.remove(&case.id).unwrap_or_else(none))
    };
    Ok(table.cases.iter().map(outcome).collect())
}

/// The cases of one set.
fn set(setting: &Setting, cases: &[&Case], tokens: &Tokens) -> Outcomes {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let observed =
        runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(observe_set(setting, cases, tokens)));
    let observed = match observed {
        Ok(observed) => observed,
        Err(e) => return cases.iter().map(|c| (c.id.clone(), Err(format!("{e:#}")))).collect(),
    };
    let judge = |(case, observed): (&&Case, Result<Vec<observe::Observation>>)| {
        let outcome = observed.map_err(|e| format!("{e:#}")).and_then(|all| {
            let text = tokens.remove(&summary::summarise(case, &all).to_string());
            let observed: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            record(&case.id, &observed).map_err(|e| e.to_string())?;
            let found = compare::differences(&case.expect, &observed, &case.unstable);
            if found.is_empty() { Ok(()) } else { Err(found.join("; ")) }
        });
        (case.id.clone(), outcome)
    };
    cases.iter().zip(observed).map(judge).collect()
}

async fn observe_set(
    setting: &Setting,
    cases: &[&Case],
    tokens: &Tokens,
) -> Result<Vec<Result<Vec<observe::Observation>>>> {
    std::fs::create_dir_all(&setting.directory)?;
    let lab = Lab::new().await?;
    let running = match plane::start(&lab, setting).await {
        Ok(running) => running,
        Err(e) => return Err(e.context(logs(setting))),
    };
    let observed = observe::observe(&lab, &running, setting, cases, tokens).await;
    running.stop().await;
    observed
}

/// Keeps what was observed, in the form in which a table says what is wanted.
fn record(case: &str, observed: &Value) -> Result<()> {
    let Some(directory) = std::env::var_os(RECORD).filter(|p| !p.is_empty()) else { return Ok(()) };
    let path = Path::new(&directory).join(format!("{}.json", case.replace('/', "_")));
    std::fs::write(&path, serde_json::to_string_pretty(observed)?).with_context(|| path.display().to_string())
}

/// What the sidecars said, for one who must find out why a set did not come up.
fn logs(setting: &Setting) -> String {
    let said = |name: &&str| std::fs::read_to_string(setting.directory.join(name).join("proxy.log")).ok();
    lab::SIDECARS.iter().filter_map(said).collect::<Vec<_>>().join("\n")
}

/// A mount namespace of this thread and its children: a file system for what the run writes, which ends with it, and the one
/// name that sidecars resolve.
pub(crate) fn isolate() -> Result<()> {
    ns::unshare(ns::MOUNT).context("no mount namespace can be made here (root is needed)")?;
    mount(&["--make-rprivate", "/"])?;
    mount(&["-t", "tmpfs", "-o", "mode=0755", "varka-conformance", STATE])?;
    let hosts = PathBuf::from(STATE).join("hosts");
    std::fs::write(&hosts, format!("127.0.0.1 localhost\n{HUB} {DISCOVERY}\n"))?;
    mount(&["--bind", &hosts.display().to_string(), "/etc/hosts"])
}

fn mount(arguments: &[&str]) -> Result<()> {
    let status = Command::new("mount").args(arguments).status().context("mount (util-linux) is needed")?;
    ensure!(status.success(), "mount {} fails", arguments.join(" "));
    Ok(())
}

/// A value as text.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
}

/// The bytes of a text whose characters are bytes.
fn latin1(text: &str) -> Result<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).with_context(|| format!("{c:?} is no byte"))).collect()
}

fn from_latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
