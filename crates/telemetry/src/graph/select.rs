//! Which reports a graph shows: those of its namespaces, or those of its node and the node's neighbours.
//!
//! What arrives is taken from the server's report, what is sent from the client's; requests that reached no server are known
//! from the client alone. Reports are matched as labelled, before anything is made of them.

use std::collections::HashSet;

use super::facts::Waypoint;
use super::input::Labels;
use super::key::{UNKNOWN, known};
use super::model::Unit;
use super::options::{NodeName, NodeOfInterest, Options};
use super::row::Side;

/// What is asked for, ready to be compared.
#[derive(Debug)]
pub(super) struct Selector<'o> {
    namespaces: HashSet<&'o str>,
    ambient: HashSet<&'o str>,
    node: Option<&'o NodeOfInterest>,
    node_is_waypoint: bool,
    node_is_ambient: bool,
    /// Beginning of the hosts of the service that is asked for.
    host: String,
}

impl<'o> Selector<'o> {
    pub(super) fn new(options: &'o Options, waypoints: &[Waypoint]) -> Self {
        let node = options.node.as_ref();
        let is_node = |w: &Waypoint| {
            node.is_some_and(|n| {
                let name = matches!(&n.what, NodeName::Workload(name) if *name == w.name);
                name && n.namespace == w.namespace && (!known(&n.cluster) || n.cluster == w.cluster)
            })
        };
        let ambient: HashSet<&str> = options.namespaces.iter().filter(|n| n.ambient).map(|n| n.name.as_str()).collect();
        Self {
            namespaces: options.namespaces.iter().map(|n| n.name.as_str()).collect(),
            node,
            node_is_waypoint: waypoints.iter().any(is_node),
            node_is_ambient: node.is_some_and(|n| ambient.contains(n.namespace.as_str())),
            ambient,
            host: match node {
                Some(NodeOfInterest { namespace, what: NodeName::Service(service), .. }) => {
                    format!("{service}.{namespace}.")
                }
                _ => String::new(),
            },
        }
    }

    /// Whether whole namespaces are asked for.
    pub(super) fn is_of_namespaces(&self) -> bool {
        self.node.is_none()
    }

    /// Whether requests of one class are asked for: then others count for nothing, though they have the same ends.
    pub(super) fn is_of_class(&self) -> bool {
        matches!(self.node, Some(NodeOfInterest { what: NodeName::Aggregate(..), .. }))
    }

    /// Whether a report is shown.
    pub(super) fn takes(&self, labels: &Labels<'_>, unit: Unit, side: Side) -> bool {
        match self.node {
            None => self.of_namespaces(labels, unit, side),
            Some(node) => self.of_node(node, labels, unit, side),
        }
    }

    fn of_namespaces(&self, labels: &Labels<'_>, unit: Unit, side: Side) -> bool {
        let arrives = side.receives() && self.namespaces.contains(labels.destination_workload_namespace);
        let sent = side.sends() && self.namespaces.contains(labels.source_workload_namespace);
        let lost = side.sends()
            && labels.destination_workload == UNKNOWN
            && labels.destination_workload_namespace == UNKNOWN
            && self.within(labels.destination_service);
        // What a gateway sends into an ambient namespace is reported by the gateway alone.
        let from_gateway =
            side == Side::Source && unit != Unit::Bytes && self.ambient.contains(labels.destination_workload_namespace);
        arrives || sent || lost || from_gateway
    }

    /// Whether a host lies in one of the namespaces: it is a label of the host, neither the first nor the last.
    fn within(&self, host: &str) -> bool {
        let Some((_, rest)) = host.split_once('.') else { return false };
        let Some((inner, last)) = rest.rsplit_once('.') else { return false };
        !last.is_empty() && !host.starts_with('.') && inner.split('.').any(|label| self.namespaces.contains(label))
    }

    fn of_node(&self, node: &NodeOfInterest, labels: &Labels<'_>, unit: Unit, side: Side) -> bool {
        let (receives, sends) = self.sides(unit, side);
        let here = |cluster: &str| !known(&node.cluster) || cluster == node.cluster;
        let (from_here, to_here) = (here(labels.source_cluster), here(labels.destination_cluster));
        let namespace = node.namespace.as_str();
        let source = labels.source_workload_namespace == namespace && from_here;
        let service = labels.destination_service_namespace == namespace && to_here;
        let (source_app, target_app) = (labels.source_canonical_service, labels.destination_canonical_service);
        match &node.what {
            NodeName::Workload(name) => {
                let target = labels.destination_workload_namespace == namespace && to_here;
                (receives && target && labels.destination_workload == name)
                    || (sends && source && labels.source_workload == name)
            }
            NodeName::App(app) => (receives && service && target_app == app) || (sends && source && source_app == app),
            NodeName::Version(app, version) => {
                let v = |label: &str| !known(version) || label == version;
                (receives && service && target_app == app && v(labels.destination_canonical_revision))
                    || (sends && source && source_app == app && v(labels.source_canonical_revision))
            }
            NodeName::Service(_) => {
                let asked = to_here && labels.destination_service.starts_with(&self.host);
                let served = receives && service;
                let lost = unit == Unit::Requests && side.sends() && labels.destination_workload == UNKNOWN;
                asked && (served || lost)
            }
            NodeName::Aggregate(_, value, of) => {
                unit == Unit::Requests
                    && side.receives()
                    && labels.destination_service_namespace == namespace
                    && labels.aggregate == value
                    && of.as_ref().is_none_or(|of| labels.destination_service_name == of)
            }
        }
    }

    /// Whether a side tells of what arrives at the node, and of what it sends.
    fn sides(&self, unit: Unit, side: Side) -> (bool, bool) {
        let (receives, sends) = (side.receives(), side.sends());
        match unit {
            // Connections of a waypoint are reported by the ztunnels at their other ends.
            Unit::Bytes if self.node_is_waypoint => (sends, receives),
            Unit::Bytes => (receives && side != Side::Waypoint, sends && side != Side::Waypoint),
            Unit::Requests if self.node_is_ambient => (true, sends),
            Unit::Requests | Unit::Messages => (receives, sends),
        }
    }
}
