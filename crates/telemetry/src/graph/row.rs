//! One series as a report: who tells it, of whom, to whom, with what outcome.
//!
//! Proxies report things that cannot be true while pods come and go; such series are left out and counted. Which reports a
//! graph shows is decided in [`super::select`].

use super::input::{Labels, Series};
use super::key::{Identity, UNKNOWN, known};
use super::model::{LeftOut, Protocol, Unit};
use super::options::{GrpcRate, Rates};

/// Whose report it is, in the order in which they are believed where all say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Destination,
    Waypoint,
    Source,
    ZtunnelDestination,
    ZtunnelSource,
}

impl Side {
    /// How many there are.
    pub(super) const COUNT: usize = 5;
    pub(super) const ALL: [Self; Self::COUNT] =
        [Self::Destination, Self::Waypoint, Self::Source, Self::ZtunnelDestination, Self::ZtunnelSource];

    /// Tells what arrives.
    pub(super) const fn receives(self) -> bool {
        matches!(self, Self::Destination | Self::Waypoint | Self::ZtunnelDestination)
    }

    /// Tells what is sent.
    pub(super) const fn sends(self) -> bool {
        matches!(self, Self::Source | Self::Waypoint | Self::ZtunnelSource)
    }
}

/// A report.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) side: Side,
    pub(super) protocol: Protocol,
    pub(super) source: Identity<'a>,
    pub(super) target: Identity<'a>,
    /// `-`: no answer. Empty: answers have no code.
    pub(super) code: &'a str,
    pub(super) flags: &'a str,
    /// Host that was asked for.
    pub(super) host: &'a str,
    pub(super) rate: f64,
}

/// Reads a series of a metric that counts `unit`; `None`: not asked for, or cannot be used.
pub(super) fn read<'a>(series: &Series<'a>, unit: Unit, rates: &Rates, left_out: &mut LeftOut) -> Option<Row<'a>> {
    let labels = &series.labels;
    let protocol = match unit {
        Unit::Messages => Some(Protocol::Grpc),
        Unit::Bytes => Some(Protocol::Tcp),
        Unit::Requests => Protocol::named(labels.request_protocol).filter(|p| *p != Protocol::Tcp),
    };
    let (Some(protocol), Some(side)) = (protocol, side(labels, unit)) else {
        left_out.unusable += 1;
        return None;
    };
    if !series.rate.is_finite() || series.rate < 0.0 {
        left_out.unusable += 1;
        return None;
    }
    let asked_for = match side {
        Side::Waypoint => rates.ambient.waypoints(),
        Side::ZtunnelDestination | Side::ZtunnelSource => rates.ambient.ztunnels(),
        Side::Destination | Side::Source => true,
    } && match (unit, protocol) {
        (Unit::Requests, Protocol::Http) => rates.http,
        (Unit::Requests, Protocol::Grpc) => rates.grpc == GrpcRate::Requests,
        _ => true,
    };
    if !asked_for {
        return None;
    }
    let Some((source, target)) = ends(labels) else {
        left_out.contradictory += 1;
        return None;
    };
    Some(Row {
        side,
        protocol,
        source,
        target,
        code: code(labels, unit, protocol),
        // Messages are counted before it is known how the call ends.
        flags: if unit == Unit::Messages { "" } else { labels.response_flags },
        host: labels.destination_service,
        rate: series.rate,
    })
}

/// Whose report it is. A ztunnel reports connections beside the sidecar or waypoint that it serves.
fn side(labels: &Labels<'_>, unit: Unit) -> Option<Side> {
    let ztunnel = unit == Unit::Bytes && labels.app == "ztunnel";
    Some(match (labels.reporter, ztunnel) {
        ("destination", false) => Side::Destination,
        ("destination", true) => Side::ZtunnelDestination,
        ("source", false) => Side::Source,
        ("source", true) => Side::ZtunnelSource,
        ("waypoint", _) => Side::Waypoint,
        _ => return None,
    })
}

/// Client and server; `None`: the labels contradict themselves.
pub(super) fn ends<'a>(labels: &Labels<'a>) -> Option<(Identity<'a>, Identity<'a>)> {
    let cluster = |cluster: &'a str| if cluster.is_empty() { UNKNOWN } else { cluster };
    let source = Identity {
        cluster: cluster(labels.source_cluster),
        service_namespace: labels.source_workload_namespace,
        service: "",
        workload_namespace: labels.source_workload_namespace,
        workload: labels.source_workload,
        app: labels.source_canonical_service,
        version: labels.source_canonical_revision,
    };
    let nameless = !known(source.workload) && !known(source.app);
    let nowhere = labels.source_cluster == UNKNOWN;
    if known(source.workload_namespace) && (nameless || nowhere) {
        return None;
    }
    let mut target = Identity {
        cluster: cluster(labels.destination_cluster),
        service_namespace: labels.destination_service_namespace,
        service: labels.destination_service_name,
        workload_namespace: labels.destination_workload_namespace,
        workload: labels.destination_workload,
        app: labels.destination_canonical_service,
        version: labels.destination_canonical_revision,
    };
    if is_egress_gateway(labels) {
        let istio = "istio-system";
        let gateway = "istio-egressgateway";
        target = Identity {
            cluster: source.cluster,
            service_namespace: istio,
            service: gateway,
            workload_namespace: istio,
            workload: gateway,
            app: gateway,
            version: "latest",
        };
    } else if !known(target.cluster) && known(source.cluster) && known(target.service_namespace) {
        // A service whose endpoints say no cluster is taken to be in the client's.
        target.cluster = source.cluster;
    }
    let host = labels.destination_service;
    let bare_address = !known(target.workload) && host == target.service && is_address(host);
    let nowhere = known(target.service_namespace) && !labels.destination_cluster.is_empty() && !known(target.cluster);
    (!bare_address && !nowhere).then_some((source, target))
}

/// Where the gateway's host stands for its name too, the other labels are missing.
fn is_egress_gateway(labels: &Labels<'_>) -> bool {
    labels.destination_service == "istio-egressgateway.istio-system.svc.cluster.local"
        && labels.destination_service_name == labels.destination_service
}

/// An IPv4 address, with or without port: what stands for a service while its pods come and go.
fn is_address(host: &str) -> bool {
    let address = match host.rsplit_once(':') {
        Some((address, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => address,
        _ => host,
    };
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    address.split('.').count() == 4 && address.split('.').all(number)
}

/// The outcome: the gRPC status of a gRPC call that HTTP carried, else the HTTP status.
fn code<'a>(labels: &Labels<'a>, unit: Unit, protocol: Protocol) -> &'a str {
    match unit {
        Unit::Bytes => "-",
        Unit::Messages => "",
        Unit::Requests if labels.response_code == "0" => "-",
        Unit::Requests => match labels.grpc_response_status {
            Some(status) if protocol == Protocol::Grpc && !labels.response_code.starts_with(['4', '5']) => status,
            _ => labels.response_code,
        },
    }
}
