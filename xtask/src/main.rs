//! Checks of the workspace that cargo has no command for.
//!
//! `cargo xtask tidy` holds the sources to the rules of CONTRIBUTING.md; `cargo xtask ci` runs what continuous integration
//! runs, `cargo xtask nightly` what it runs at night; `cargo xtask fuzz` looks for inputs that a parser does not hold against.
//! Nothing here is part of the product.
#![forbid(unsafe_code)]

mod ci;
mod fuzz;
mod tidy;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "usage: cargo xtask tidy | ci | nightly | fuzz [--minutes N] [TARGET...]";

fn run() -> Result<()> {
    let repository = repository()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["tidy"] => tidy::run(&repository),
        ["ci"] => ci::run(&repository),
        ["nightly"] => ci::nightly(&repository),
        ["fuzz", "--minutes", minutes, targets @ ..] => {
            fuzz::run(&repository, minutes.parse().context("--minutes takes a whole number")?, targets)
        }
        ["fuzz", targets @ ..] => fuzz::run(&repository, fuzz::MINUTES, targets),
        _ => bail!(USAGE),
    }
}

fn repository() -> Result<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in no workspace")?;
    Ok(repository.to_path_buf())
}
