//! The traffic graph: who talks to whom, how much, and how well it goes, from Istio's metrics and facts about the environment.
//!
//! Pure: rates and facts go in ([`Input`]), a [`Graph`] comes out, and from it Kiali's form of one ([`kiali::render`]). Nothing is
//! looked up, stored or served here.
//!
//! A request is reported by its client and by its server. It counts once ([`reconcile`]), where one side alone reports it is
//! counted by that, and a client that its server does not know is not shown a second time as nobody.

mod arena;
mod collect;
mod decorate;
mod draft;
pub mod facts;
pub mod health;
mod input;
mod key;
pub mod kiali;
mod model;
mod options;
mod reconcile;
mod row;
mod select;
#[cfg(test)]
mod tests;
pub mod unmatched;

pub use arena::{Id, List};
pub use facts::Facts;
pub use input::{Durations, Input, Labels, Metrics, Series};
pub use model::{
    Badges, Bytes, Edge, Egress, GatewayKind, Graph, Idle, InOut, LeftOut, Node, NodeKind, NodeTraffic, Protocol,
    Response, ResponseTimes, Security, ServiceEntryNode, ServiceName, Tally, Unit, WaypointEdge,
};
pub use options::{
    Ambient, Appender, Appenders, BoxBy, DEFAULT_AGGREGATE, GraphType, GrpcRate, NodeName, NodeOfInterest, Options,
    Rates, RequestedNamespace, ResponseTime, TcpRate, Throughput, safe_duration,
};

/// Makes the graph that is asked for.
#[must_use]
pub fn build(input: &Input<'_>, options: &Options) -> Graph {
    let mut draft = draft::Draft::new(options, input.facts);
    collect::collect(&mut draft, input.metrics);
    decorate::decorate(&mut draft, input.metrics);
    draft.finish()
}
