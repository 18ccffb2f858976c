//! WorkloadEntries behind workloads: those with the same app and version.

use super::super::draft::Draft;
use super::super::facts::{app_label, version_label};
use super::super::model::NodeKind;
use super::Known;

/// Names the entries of each workload and app.
pub(super) fn apply(draft: &mut Draft<'_>, known: &Known<'_>) {
    let (facts, options) = (draft.facts, draft.options);
    if facts.workload_entries.is_empty() {
        return;
    }
    for node in draft.live_nodes() {
        let kind = matches!(node.kind, NodeKind::App | NodeKind::Workload);
        if !kind || !options.asks_for(&node.namespace) || !known.may_see(node) {
            continue;
        }
        let entries = facts.workload_entries.iter().filter(|entry| {
            let is = |label: Option<(&'static str, &str)>, value: &str| label.is_some_and(|(_, v)| v == value);
            entry.cluster == node.cluster
                && entry.namespace == node.namespace
                && is(app_label(&entry.labels), &node.app)
                && is(version_label(&entry.labels), &node.version)
        });
        node.badges.workload_entries = entries.map(|entry| entry.name.clone()).collect();
    }
}
