//! Checks of the workspace that cargo has no command for.
//!
//! `cargo xtask tidy` holds the sources to the rules of CONTRIBUTING.md; `cargo xtask ci` runs what continuous integration
//! runs. Nothing here is part of the product.
#![forbid(unsafe_code)]

mod ci;
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

fn run() -> Result<()> {
    let repository = repository()?;
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("tidy"), None) => tidy::run(&repository),
        (Some("ci"), None) => ci::run(&repository),
        _ => bail!("usage: cargo xtask tidy | ci"),
    }
}

fn repository() -> Result<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in no workspace")?;
    Ok(repository.to_path_buf())
}
