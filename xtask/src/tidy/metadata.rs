//! What cargo knows about the workspace's packages.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

#[derive(Deserialize)]
struct Output {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// Nothing for a normal dependency, else `dev` or `build`.
    kind: Option<String>,
}

/// Packages by name, with the names of their normal dependencies.
pub(super) struct Metadata {
    pub(super) members: BTreeSet<String>,
    dependencies: BTreeMap<String, BTreeSet<String>>,
}

impl Metadata {
    pub(super) fn read(repository: &Path) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--locked"])
            .current_dir(repository)
            .output()
            .context("cannot run cargo")?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        let output: Output =
            serde_json::from_slice(&output.stdout).context("cargo metadata says something unexpected")?;
        Ok(Self::of(output))
    }

    fn of(output: Output) -> Self {
        let names: BTreeMap<&str, &str> =
            output.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
        let name = |id: &String| names.get(id.as_str()).map(|name| (*name).to_owned());
        let members = output.workspace_members.iter().filter_map(name).collect();
        let mut dependencies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in &output.resolve.nodes {
            let normal =
                node.deps.iter().filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            // Two versions of a package count as one: what they need is joined.
            let entry = dependencies.entry(name(&node.id).unwrap_or_default()).or_default();
            entry.extend(normal.filter_map(|dependency| name(&dependency.pkg)));
        }
        Self { members, dependencies }
    }

    /// The normal dependencies of a package.
    pub(super) fn direct(&self, package: &str) -> impl Iterator<Item = &String> {
        self.dependencies.get(package).into_iter().flatten()
    }

    /// A way from a package to another along normal dependencies.
    pub(super) fn path(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut ways = vec![vec![from.to_owned()]];
        let mut seen = BTreeSet::from([from.to_owned()]);
        while let Some(way) = ways.pop() {
            let last = way.last()?;
            if last == to {
                return Some(way);
            }
            for next in self.direct(last).filter(|next| !seen.contains(*next)).cloned().collect::<Vec<_>>() {
                seen.insert(next.clone());
                ways.push(way.iter().cloned().chain([next]).collect());
            }
        }
        None
    }
}
