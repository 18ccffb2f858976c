//! Health as Kiali writes it: of a node, and of the app that a node is a version of.

use super::super::health::{Calculated, NodeHealth};
use super::super::key::known;
use super::super::model::{Node, NodeKind};
use super::form::{self, Number, WorkloadStatus, numbers};

/// Health of a node; `None`: it was not asked for, or the node has none.
pub(super) fn of_node(node: &Node) -> Option<form::Health> {
    let health = node.health.as_deref()?;
    let statuses = statuses(health);
    let is_version = super::is_app(node) && known(&node.workload);
    Some(match node.kind {
        NodeKind::Service => form(health, health.kiali, None, None),
        NodeKind::Workload => form(health, health.kiali, None, Some(statuses.into_iter().next())),
        // The pods are the app's.
        NodeKind::App => form(health, health.kiali, Some(if is_version { Vec::new() } else { statuses }), None),
        NodeKind::Unknown | NodeKind::Aggregate => return None,
    })
}

/// Health of the app of a node, for its box.
pub(super) fn of_app(node: &Node) -> Option<form::Health> {
    let health = node.health.as_deref().filter(|_| super::is_app(node))?;
    Some(form(health, health.kiali_app.or(health.kiali), Some(statuses(health)), None))
}

fn statuses(health: &NodeHealth) -> Vec<WorkloadStatus> {
    health.workloads.iter().map(|w| WorkloadStatus::of(&w.name, &w.replicas)).collect()
}

fn form(
    health: &NodeHealth,
    calculated: Option<Calculated>,
    workload_statuses: Option<Vec<WorkloadStatus>>,
    workload_status: Option<Option<WorkloadStatus>>,
) -> form::Health {
    form::Health {
        requests: form::Requests {
            health_annotations: health.annotations.clone(),
            inbound: numbers(&health.requests.inbound),
            outbound: numbers(&health.requests.outbound),
        },
        status: calculated.map(|calculated| form::Calculated {
            error_ratio: Number(calculated.error_ratio),
            status: calculated.status.name(),
            total_request_rate: Number(calculated.total_request_rate),
        }),
        workload_statuses,
        workload_status,
    }
}
