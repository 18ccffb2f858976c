//! `varka down`: stops a running system and waits until nothing of it is left.

use std::process::ExitCode;

use anyhow::Context;

use crate::args::Down;
use crate::control;
use crate::state::State;

/// Runs the command.
pub(crate) fn run(args: &Down) -> anyhow::Result<ExitCode> {
    let state = target(args)?;
    if state.is_locked()? {
        control::stop(&state)?;
        state.wait_unlocked()?;
        eprintln!("stopped; its state is kept in {}", state.root().display());
    }
    if args.purge {
        std::fs::remove_dir_all(state.root()).with_context(|| format!("cannot remove {}", state.root().display()))?;
        eprintln!("removed {}", state.root().display());
    }
    Ok(ExitCode::SUCCESS)
}

/// With `--purge` a system that no longer runs can be meant as well.
fn target(args: &Down) -> anyhow::Result<State> {
    let given = args.instance.state.as_deref();
    match State::running(given) {
        Ok(state) => Ok(state),
        Err(e) if !args.purge => Err(e),
        Err(e) => match given {
            Some(root) => State::for_manifests(Some(root), root),
            None => {
                let mut all = State::all()?.into_iter();
                match (all.next(), all.next()) {
                    (Some(one), None) => Ok(one),
                    _ => Err(e.context("no system runs whose state could be removed: say which with --state DIR")),
                }
            }
        },
    }
}
