//! Runs the fuzz targets under libFuzzer, guided by coverage, with the stable toolchain: instrumentation is a pass of LLVM's.
//!
//! No sanitizer: outside of one crate there is no `unsafe`, and what is looked for is panics, overflows, claims that do not hold,
//! memory and time. Corpora grow below `target/fuzz/corpus`; what does not hold is left below `target/fuzz/artifacts`.

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// For how long each target is run where nothing else is said.
pub(crate) const MINUTES: u64 = 5;
/// Most memory that one input may take, in MiB.
const MEMORY: u32 = 2048;
/// Longest that one input may take, in seconds: instrumented, on a machine that does something else.
const SECONDS: u32 = 20;

const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Runs the targets of these names, or all; every one of them, whatever becomes of the others.
pub(crate) fn run(repository: &Path, minutes: u64, targets: &[&str]) -> Result<()> {
    let all = all_targets(repository)?;
    if let Some(unknown) = targets.iter().find(|name| !all.iter().any(|target| target == *name)) {
        bail!("there is no target {unknown}; there are {}", all.join(", "));
    }
    let chosen = all.iter().filter(|name| targets.is_empty() || targets.contains(&name.as_str()));
    let program = build(repository)?;
    let mut failed = Vec::new();
    for name in chosen {
        eprintln!("==> fuzz: {name} for {minutes} minutes");
        if !one(repository, &program, name, minutes)? {
            failed.push(name.as_str());
        }
    }
    ensure!(failed.is_empty(), "something does not hold in {}; see target/fuzz/artifacts", failed.join(", "));
    Ok(())
}

/// The targets are what has seeds; a test of theirs sees to it that each has.
fn all_targets(repository: &Path) -> Result<Vec<String>> {
    let seeds = repository.join("fuzz/seeds");
    let entries = std::fs::read_dir(&seeds).with_context(|| format!("cannot read {}", seeds.display()))?;
    let names = entries.map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>, _>>()?;
    names.sort();
    Ok(names)
}

/// Builds the driver, and says where it is.
fn build(repository: &Path) -> Result<PathBuf> {
    let host = Command::new("rustc").args(["--print", "host-tuple"]).output().context("cannot run rustc")?;
    let host = String::from_utf8(host.stdout)?.trim().to_owned();
    // A target of its own keeps the instrumentation away from build scripts and macros.
    let arguments = ["build", "--profile", "fuzz", "--target", &host, "--target-dir", "target/fuzz"];
    let status = Command::new("cargo")
        .args(arguments)
        .args(["--package", "varka-fuzz", "--bin", "varka-fuzz", "--features", "libfuzzer"])
        .env("RUSTFLAGS", INSTRUMENTATION)
        .env("CARGO_INCREMENTAL", "0")
        .current_dir(repository)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the fuzz targets do not build");
    Ok(repository.join("target/fuzz").join(host).join("fuzz/varka-fuzz"))
}

/// Runs one target; whether everything held.
fn one(repository: &Path, program: &Path, name: &str, minutes: u64) -> Result<bool> {
    let place = repository.join("target/fuzz");
    let (corpus, artifacts) = (place.join("corpus").join(name), place.join("artifacts").join(name));
    for directory in [&corpus, &artifacts] {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let kept = ["seeds", "regressions"].map(|kind| repository.join("fuzz").join(kind).join(name));
    let status = Command::new(program)
        .arg(format!("-max_total_time={}", minutes * 60))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-timeout={SECONDS}"))
        .args(["-print_final_stats=1", "-verbosity=0", "-close_fd_mask=1", "-max_len=8192"])
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(&corpus)
        .args(kept.iter().filter(|directory| directory.exists()))
        .env("VARKA_FUZZ_TARGET", name)
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    Ok(status.success())
}
