//! Builds the programs that a `LocalRuntime` maps images to, before anything starts, when an input is newer than the program.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::manifests::Manifest;

/// Runs every build whose inputs changed.
pub(super) fn run(dir: &Path, manifests: &[Manifest]) -> anyhow::Result<()> {
    for runtime in manifests.iter().filter(|m| m.kind() == "LocalRuntime") {
        let images = runtime.object.pointer("/spec/images").and_then(Value::as_array);
        for image in images.into_iter().flatten().filter(|i| i.get("build").is_some()) {
            let name = image.get("image").and_then(Value::as_str).unwrap_or_default();
            one(dir, name, image).with_context(|| format!("{}: the build of image {name:?}", runtime.place))?;
        }
    }
    Ok(())
}

fn one(dir: &Path, name: &str, image: &Value) -> anyhow::Result<()> {
    let command = strings(image, "/build/command");
    let (program, arguments) = command.split_first().context("has no command")?;
    let built =
        strings(image, "/entrypoint").first().and_then(|e| std::fs::metadata(dir.join(e)).ok()?.modified().ok());
    let changed = strings(image, "/build/inputs").iter().filter_map(|i| newest(&dir.join(i))).max();
    if built.zip(changed).is_some_and(|(built, changed)| changed <= built) {
        return Ok(());
    }
    eprintln!("building {name}: {}", command.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .status()
        .with_context(|| format!("{program} cannot be started"))?;
    if !status.success() {
        bail!("failed ({status}): {}", command.join(" "));
    }
    Ok(())
}

fn strings<'v>(value: &'v Value, pointer: &str) -> Vec<&'v str> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Newest modification of a file or of anything below a directory.
fn newest(path: &Path) -> Option<SystemTime> {
    let meta = std::fs::metadata(path).ok()?;
    let own = meta.modified().ok()?;
    if !meta.is_dir() {
        return Some(own);
    }
    let below = std::fs::read_dir(path).ok()?.filter_map(Result::ok).filter_map(|e| newest(&e.path())).max();
    Some(below.map_or(own, |b| b.max(own)))
}
