//! The inputs that are kept: seeds made of our own examples, and whatever once went wrong.

use std::io;
use std::path::{Path, PathBuf};

use crate::Target;

/// Where both lie.
fn directory(kind: &str, target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target.name)
}

/// Where a target's seeds lie.
pub fn seeds_directory(target: &Target) -> PathBuf {
    directory("seeds", target)
}

/// The seeds of a target, in the order of their names.
///
/// # Errors
/// They cannot be read.
pub fn seeds(target: &Target) -> io::Result<Vec<Vec<u8>>> {
    files(&seeds_directory(target))
}

/// What once went wrong; nothing where nothing has.
///
/// # Errors
/// It cannot be read.
pub fn regressions(target: &Target) -> io::Result<Vec<Vec<u8>>> {
    let directory = directory("regressions", target);
    if directory.exists() { files(&directory) } else { Ok(Vec::new()) }
}

fn files(directory: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory)?.map(|entry| entry.map(|e| e.path())).collect::<io::Result<_>>()?;
    paths.sort();
    paths.iter().map(std::fs::read).collect()
}
