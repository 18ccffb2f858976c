//! Runs the same pods with our sidecars and with a real Envoy's, sends both the same requests, and tells every difference.
//!
//! Needs root, for network namespaces. A difference that `docs/CONFORMANCE.md` does not list fails the run; so does a listed
//! one that does not occur.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the differences are this program's output")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use varka_e2e::conformance::differential::{self, Known, Options};

/// Compares our sidecar with a real Envoy.
#[derive(Debug, Parser)]
struct Args {
    /// Envoy's program.
    #[arg(long)]
    envoy: PathBuf,
    /// Only families of cases whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// What is drawn at random follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many VirtualServices are drawn at random, each with a dozen requests.
    #[arg(long, default_value_t = 60)]
    drawn: usize,
    /// Tell listed differences, too.
    #[arg(long)]
    verbose: bool,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if varka_e2e::skipped() {
        println!("left out, since SKIP_NETNS=1");
        return Ok(ExitCode::SUCCESS);
    }
    let repository = varka_e2e::repository();
    let document = repository.join("docs/CONFORMANCE.md");
    let text = std::fs::read_to_string(&document).with_context(|| document.display().to_string())?;
    let known = Known::parse(&text).with_context(|| document.display().to_string())?;
    let directory = repository.join("e2e/differential");
    let outcomes = differential::run(&Options {
        envoy: args.envoy,
        directory,
        only: args.only,
        seed: args.seed,
        drawn: args.drawn,
    })?;
    if args.verbose {
        for outcome in &outcomes {
            outcome.differences.iter().for_each(|d| println!("  {}: {d}", outcome.case));
        }
    }
    let faults = known.faults(&outcomes);
    faults.iter().for_each(|fault| println!("{fault}"));
    for (outcome, smallest) in outcomes.iter().filter_map(|o| Some((o, o.smallest.as_ref()?))) {
        println!("{} at its smallest:\n    {smallest}", outcome.case);
    }
    let equal = outcomes.iter().filter(|o| o.broken.is_none() && o.differences.is_empty()).count();
    println!(
        "seed {}, {} cases: {equal} equal, {} different as listed, {} faults",
        args.seed,
        outcomes.len(),
        known.count(&outcomes),
        faults.len()
    );
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
