//! The rules that no compiler checks: how crates may depend on each other, which of them stay pure, how a file is made.
//!
//! Each rule is a module; it returns what it found, one line for each finding, which says the place and what to do.

mod arrows;
mod documents;
mod metadata;
mod purity;
mod sources;
mod words;

use anyhow::{Context, Result, bail, ensure};
use metadata::Metadata;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A text file under version control.
pub(crate) struct File {
    /// From the repository's root.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl File {
    fn has_extension(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|found| found == extension)
    }

    /// Whether it holds tests and nothing else.
    fn is_test(&self) -> bool {
        let part = |part: std::path::Component<'_>| {
            matches!(part.as_os_str().to_str(), Some("tests" | "benches" | "tests.rs"))
        };
        self.path.components().any(part)
    }
}

/// Checks everything and fails with the list of findings.
pub(crate) fn run(repository: &Path) -> Result<()> {
    let findings = findings(repository)?;
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    if findings.is_empty() { Ok(()) } else { bail!("tidy found {} things to mend", findings.len()) }
}

fn findings(repository: &Path) -> Result<Vec<String>> {
    let files = files(repository)?;
    let metadata = Metadata::read(repository)?;
    let mut findings = sources::check(&files);
    findings.extend(arrows::check(&metadata));
    findings.extend(purity::check(&metadata, &files));
    findings.extend(documents::check(repository, &files));
    findings.extend(words::check(&files));
    Ok(findings)
}

/// Every text file that git knows or would take in.
fn files(repository: &Path) -> Result<Vec<File>> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(repository)
        .output()
        .context("cannot run git")?;
    ensure!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).context("a file name is not UTF-8")?;
    let paths = listed.split('\0').filter(|path| !path.is_empty());
    // What is deleted but not yet committed cannot be read, and what is not UTF-8 is not text.
    let read =
        |path: &str| Some(File { path: path.into(), text: std::fs::read_to_string(repository.join(path)).ok()? });
    Ok(paths.filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workspace_is_tidy() {
        let findings = super::findings(&crate::repository().unwrap()).unwrap();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }
}
