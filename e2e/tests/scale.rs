//! A sidecar's memory follows what it uses, not the size of the mesh.
//!
//! `make scale` prints what was measured; with a real Envoy that `ENVOY` names, also what that takes.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use varka_e2e::scale::{Memory, Way, memory};
use varka_e2e::skipped;

/// Services of a small mesh.
const SMALL: usize = 10;
/// Services of a large one.
const LARGE: usize = 5_000;
/// Services that are used in either.
const USED: usize = 10;
/// By so much the size of the mesh may show.
const BAR: u64 = 2 * 1024 * 1024;

fn tell(what: &str, memory: Memory) {
    let kib = |bytes: u64| bytes / 1024;
    eprintln!("{what}: {} KiB anonymous, {} KiB resident", kib(memory.anonymous), kib(memory.resident));
}

#[test]
fn memory_follows_what_is_used() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let small = memory(SMALL, USED, &Way::Asks)?;
    tell(&format!("{USED} services used of {SMALL}"), small);
    let large = memory(LARGE, USED, &Way::Asks)?;
    tell(&format!("{USED} services used of {LARGE}"), large);
    ensure!(
        large.anonymous <= small.anonymous + BAR,
        "anonymous: {large:?} in the large mesh, {small:?} in the small one"
    );
    ensure!(
        large.resident <= small.resident + BAR,
        "resident: {large:?} in the large mesh, {small:?} in the small one"
    );
    let told = memory(LARGE, USED, &Way::Told)?;
    tell(&format!("all {LARGE} services pushed"), told);
    ensure!(told.anonymous > small.anonymous + BAR, "the measurement does not see what is pushed: {told:?}");
    match std::env::var_os("ENVOY").filter(|program| !program.is_empty()) {
        None => eprintln!("a real Envoy: not measured; ENVOY names none"),
        Some(program) => {
            let envoy = memory(LARGE, USED, &Way::Envoy(PathBuf::from(program)))?;
            tell(&format!("a real Envoy with the same {LARGE} services"), envoy);
        }
    }
    Ok(())
}
