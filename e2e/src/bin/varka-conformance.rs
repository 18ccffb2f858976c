//! Runs the tables of other projects' tests that lie in a directory, and counts what passes.
//!
//! Prints a line for each table and a total; writes every failure, with what was wanted and what came, and every
//! case that is skipped by name, to a file.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the counts are this program's output")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use varka_e2e::conformance;

/// Runs the tables that lie in a directory.
///
/// VARKA_CONFORMANCE_ENVOY=PROGRAM puts a real Envoy, with our control plane, in the place of our data plane in `envoy/cases`.
/// VARKA_CONFORMANCE_RECORD=DIR keeps there what was observed of each of these cases.
#[derive(Debug, Parser)]
struct Args {
    /// Directory of tables (`istio/simulation.json`, `kubernetes/json-patch.json`, ...).
    dir: PathBuf,
    /// Where failures are written.
    #[arg(long, default_value = "target/conformance-failures.txt")]
    failures: PathBuf,
    /// Fail when a table passes less often than this file says (`TABLE PASSED` on each line).
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// Run only tables whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let reports = conformance::run(&args.dir, args.only.as_deref())?;
    let mut failures = String::new();
    for report in &reports {
        println!("{report}");
        for failure in &report.failures {
            failures.push_str(&format!("{} {failure}\n", report.table));
        }
        for skip in &report.skips {
            failures.push_str(&format!("skipped: {} {skip}\n", report.table));
        }
    }
    if let Some(parent) = args.failures.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&args.failures, failures)?;
    let mut regressions = Vec::new();
    if let Some(baseline) = &args.baseline {
        regressions = conformance::regressions(&reports, &std::fs::read_to_string(baseline)?);
    }
    for regression in &regressions {
        println!("regression: {regression}");
    }
    let sum = |f: fn(&conformance::Report) -> usize| reports.iter().map(f).sum::<usize>();
    println!(
        "total: {} passed, {} failed, {} skipped",
        sum(|r| r.passed),
        sum(|r| r.failures.len()),
        sum(|r| r.skipped)
    );
    Ok(if regressions.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
