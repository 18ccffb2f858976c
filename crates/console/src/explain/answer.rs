//! What is answered: hops, and the steps of each, in the words of the pages' contract (`ui/src/api/types.ts`).

use std::collections::BTreeSet;

use serde::Serialize;

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What was asked.
    pub request: Asked,
    /// What came of it, in one sentence.
    pub verdict: String,
    /// The same for programs.
    pub outcome: Outcome,
    /// Proxies on its way.
    pub hops: Vec<Hop>,
    /// What pods and endpoints were then is not known, and it was decided with those of now.
    #[serde(rename = "podsOfNow")]
    pub pods_of_now: bool,
    /// Namespaces that it is about: of pods that it came by, and of objects that were looked at.
    #[serde(skip)]
    pub touched: BTreeSet<String>,
}

/// A request's first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// Method.
    pub method: String,
    /// Host header.
    pub host: String,
    /// Path and query.
    pub path: String,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It gets where it was to go.
    Ok,
    /// A policy refuses it.
    Denied,
    /// It does not get there.
    Failed,
    /// No service was found: it goes on to where it was dialled, outside the mesh's rules.
    Passthrough,
    /// No service was found, and what is not known goes nowhere.
    Blackhole,
}

/// A proxy, and what it decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// Whose.
    pub proxy: Who,
    /// In order.
    pub steps: Vec<Step>,
}

/// Whose proxy, and which side of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Who {
    /// Namespace.
    pub namespace: String,
    /// Workload.
    pub workload: String,
    /// Side.
    pub direction: Direction,
}

/// A side of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Towards the workload.
    Inbound,
    /// From it, or through a gateway.
    Outbound,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name.
    pub step: &'static str,
    /// What was chosen.
    pub chosen: String,
    /// Why.
    pub because: String,
    /// The object that said so.
    pub by: Option<By>,
    /// What else there was.
    pub rejected: Vec<Rejected>,
    /// Whether the request goes on.
    pub ok: bool,
}

impl Step {
    /// A decision that lets the request go on.
    pub(super) fn new(step: &'static str, chosen: impl Into<String>, because: impl Into<String>) -> Self {
        Self { step, chosen: chosen.into(), because: because.into(), by: None, rejected: Vec::new(), ok: true }
    }

    /// The same, by an object.
    pub(super) fn by(mut self, by: Option<By>) -> Self {
        self.by = by;
        self
    }

    /// The same, instead of these.
    pub(super) fn instead_of(mut self, rejected: Vec<Rejected>) -> Self {
        self.rejected = rejected;
        self
    }

    /// The same, and it ends the request.
    pub(super) fn fails(mut self) -> Self {
        self.ok = false;
        self
    }
}

/// An object and a line of it, as its YAML is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct By {
    /// Empty: the core group.
    pub group: String,
    /// Version that it is asked for in.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Empty: none.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// From 1; 0: not known.
    pub line: u32,
    /// The field that says so, `spec.rules[0]`; empty: the whole object.
    pub field: String,
}

/// What was not chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// It.
    pub what: String,
    /// Why not.
    pub why: String,
}
