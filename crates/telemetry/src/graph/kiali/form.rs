//! The fields of Kiali's answer, in its order; what is empty is left out where Kiali leaves it out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::facts::Replicas;
use super::super::health::ByCode;
use super::super::model::ServiceName;
use super::number::bare;

type Texts = BTreeMap<String, String>;

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// End of the window, in seconds since the epoch.
    pub timestamp: i64,
    /// Length of the window, in seconds.
    pub duration: u64,
    /// `app`, `service`, `versionedApp` or `workload`.
    pub graph_type: &'static str,
    /// Nodes and edges.
    pub elements: Elements,
}

/// Nodes and edges.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Elements {
    /// Nodes; boxes first.
    pub nodes: Vec<Wrapped<NodeData>>,
    /// Edges.
    pub edges: Vec<Wrapped<EdgeData>>,
}

/// `{"data": ...}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wrapped<T> {
    /// What it wraps.
    pub data: T,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn no(value: &bool) -> bool {
    !*value
}

/// A node or a box.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are Kiali's")]
pub struct NodeData {
    pub id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub parent: String,
    pub node_type: &'static str,
    pub cluster: String,
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workload: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub aggregate: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dest_services: Vec<ServiceName>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Texts,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<Traffic>,
    pub health_data: Option<Health>,
    #[serde(rename = "hasCB", skip_serializing_if = "no")]
    pub has_cb: bool,
    #[serde(skip_serializing_if = "no")]
    pub has_fault_injection: bool,
    #[serde(skip_serializing_if = "no")]
    pub has_ingress_waypoint: bool,
    #[serde(skip_serializing_if = "no")]
    pub has_mirroring: bool,
    #[serde(skip_serializing_if = "no")]
    pub has_request_routing: bool,
    #[serde(skip_serializing_if = "no")]
    pub has_request_timeout: bool,
    #[serde(rename = "hasTCPTrafficShifting", skip_serializing_if = "no")]
    pub has_tcp_traffic_shifting: bool,
    #[serde(skip_serializing_if = "no")]
    pub has_traffic_shifting: bool,
    #[serde(rename = "hasVS", skip_serializing_if = "Option::is_none")]
    pub has_vs: Option<Hosts>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub has_workload_entry: Vec<WorkloadEntry>,
    #[serde(skip_serializing_if = "no")]
    pub is_ambient: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_box: Option<&'static str>,
    #[serde(skip_serializing_if = "no")]
    pub is_dead: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_gateway: Option<Gateway>,
    #[serde(skip_serializing_if = "no")]
    pub is_idle: bool,
    #[serde(skip_serializing_if = "no")]
    pub is_inaccessible: bool,
    #[serde(skip_serializing_if = "no")]
    pub is_injected: bool,
    #[serde(rename = "isK8sGatewayAPI", skip_serializing_if = "no")]
    pub is_k8s_gateway_api: bool,
    #[serde(skip_serializing_if = "no")]
    pub is_out_of_mesh: bool,
    #[serde(skip_serializing_if = "no")]
    pub is_outside: bool,
    #[serde(skip_serializing_if = "no")]
    pub is_root: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_service_entry: Option<ServiceEntry>,
    #[serde(skip_serializing_if = "no")]
    pub is_waypoint: bool,
}

/// Hosts of a resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Hosts {
    /// Their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
}

/// The gateway that a node is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are Kiali's")]
pub struct Gateway {
    pub ingress_info: Hosts,
    pub egress_info: Hosts,
    #[serde(rename = "gatewayAPIInfo")]
    pub gateway_api_info: Hosts,
}

/// A WorkloadEntry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WorkloadEntry {
    /// Its name.
    pub name: String,
}

/// A ServiceEntry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are Kiali's")]
pub struct ServiceEntry {
    pub hosts: Vec<String>,
    pub location: &'static str,
    pub namespace: String,
}

/// Rates of one protocol.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Traffic {
    /// Protocol.
    pub protocol: &'static str,
    /// Rates by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rates: BTreeMap<&'static str, String>,
    /// By code.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub responses: BTreeMap<String, Detail>,
}

/// Shares of the whole, in percent.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Detail {
    /// By response flags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub flags: Texts,
    /// By host.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: Texts,
}

/// An edge.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are Kiali's")]
pub struct EdgeData {
    pub id: String,
    pub source: String,
    pub target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dest_principal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_status: Option<&'static str>,
    #[serde(rename = "isMTLS", skip_serializing_if = "Option::is_none")]
    pub is_mtls: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_principal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<String>,
    pub traffic: Traffic,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waypoint: Option<Waypoint>,
}

/// To or from a waypoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waypoint {
    /// `to` or `from`.
    pub direction: &'static str,
    /// The way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_edge: Option<Box<EdgeData>>,
}

/// What a node's health is calculated from, and what it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are Kiali's")]
pub struct Health {
    pub requests: Requests,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Calculated>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_statuses: Option<Vec<WorkloadStatus>>,
    /// The outer option says whether the field is there, the inner whether it is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_status: Option<Option<WorkloadStatus>>,
}

/// Requests by protocol and code.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are Kiali's")]
pub struct Requests {
    pub health_annotations: Texts,
    pub inbound: BTreeMap<String, BTreeMap<String, Number>>,
    pub outbound: BTreeMap<String, BTreeMap<String, Number>>,
}

/// A number, written without a point where it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Number(#[serde(serialize_with = "bare")] pub f64);

/// Rates as numbers of this form.
pub(super) fn numbers(rates: &ByCode) -> BTreeMap<String, BTreeMap<String, Number>> {
    let codes =
        |codes: &BTreeMap<String, f64>| codes.iter().map(|(code, rate)| (code.clone(), Number(*rate))).collect();
    rates.iter().map(|(protocol, of)| (protocol.clone(), codes(of))).collect()
}

fn is_zero(number: &Number) -> bool {
    number.0 == 0.0
}

/// A calculated state.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are Kiali's")]
pub struct Calculated {
    #[serde(skip_serializing_if = "is_zero")]
    pub error_ratio: Number,
    pub status: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    pub total_request_rate: Number,
}

/// Pods of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are Kiali's")]
pub struct WorkloadStatus {
    pub available_replicas: i32,
    pub current_replicas: i32,
    pub desired_replicas: i32,
    pub name: String,
    pub synced_proxies: i32,
}

impl WorkloadStatus {
    pub(super) fn of(name: &str, replicas: &Replicas) -> Self {
        Self {
            available_replicas: replicas.available,
            current_replicas: replicas.current,
            desired_replicas: replicas.desired,
            name: name.to_owned(),
            synced_proxies: replicas.synced_proxies,
        }
    }
}
