//! From resources to the configuration of one proxy: a pure function of a [`Snapshot`] and a [`ProxyKey`].
//!
//! [`names`] says what a proxy is given, [`compile`] makes one of it, [`compile_all`] is the fold over the names. Each says in a
//! [`ReadSet`] what it looked at, so that the control plane knows what to make again when something changes. Bad configuration
//! never fails: it becomes a [`Diagnostic`] that names the resource, the place and the effect on traffic. Nothing here performs
//! IO or reads a clock, and nothing is remembered between calls.
#![forbid(unsafe_code)]

mod cluster;
mod context;
mod diagnostic;
mod endpoints;
mod findings;
mod gateway;
mod gateway_api;
mod hosts;
mod ingress;
mod key;
mod listener;
mod names;
mod policy;
mod proxy_config;
mod reads;
mod reasons;
mod registry;
mod route;
mod scope;
mod secret;
mod snapshot;
mod unsupported;
mod workload;

use std::sync::Arc;

use varka_engine::ir;

pub use context::Common;
pub use diagnostic::{Diagnostic, Severity};
pub use gateway_api::{
    CONTROLLER as GATEWAY_CONTROLLER, Status as GatewayApiStatus, account as gateway_account,
    all_made as gateway_api_made, default_name as gateway_name, managed as managed_gateways,
    statuses as gateway_api_statuses,
};
pub use hosts::resolve as resolve_host;
pub use ingress::{Converted as ConvertedIngress, convert as convert_ingress};
pub use key::{Interception, ProxyEngine, ProxyKey, ProxyKind, ProxyPort, ResourceName};
pub use policy::{Mode, Rules, authorization_rules, peer_mode, peer_reason};
pub use proxy_config::{ProxyConfigLayers, ProxyConfigs};
pub use reads::{ChangeKey, ReadKey, ReadSet, touched};
pub use reasons::{Placed, TrafficRule, addresses_of, destination_rule_of, service_of};
pub use registry::{Port, Protocol, Registry, Resolution, Service};
pub use snapshot::{Change, KeySource, Kind, Prepared, Snapshot, SnapshotBuilder};
pub use unsupported::{NOT_IMPLEMENTED, NotImplemented, not_implemented};

use context::Ctx;

/// What came of compiling one name.
#[derive(Debug, Clone, Default)]
pub struct Compiled {
    /// The resource; `None`: there is no such thing for this proxy.
    pub resource: Option<ir::Resource>,
    /// What was looked at.
    pub reads: ReadSet,
    /// What people should know.
    pub diagnostics: Vec<Diagnostic>,
}

/// The names of everything that a proxy is given.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// In a stable order: listeners, routes, clusters, endpoints, secrets.
    pub names: Vec<ResourceName>,
    /// What was looked at.
    pub reads: ReadSet,
    /// What people should know.
    pub diagnostics: Vec<Diagnostic>,
}

/// Every resource that `proxy` is given.
pub fn names(snapshot: &Snapshot, proxy: &ProxyKey) -> Named {
    let ctx = Ctx::new(snapshot, proxy);
    let names = names::all(&ctx);
    let (reads, diagnostics) = ctx.finish();
    Named { names, reads, diagnostics }
}

/// Compiles one resource.
pub fn compile(snapshot: &Snapshot, proxy: &ProxyKey, name: &ResourceName) -> Compiled {
    compile_one_of(&Common::default(), snapshot, proxy, name)
}

/// Compiles one of several resources of a proxy. `common` begins empty and is of this snapshot and this proxy alone.
pub fn compile_one_of(common: &Common, snapshot: &Snapshot, proxy: &ProxyKey, name: &ResourceName) -> Compiled {
    let ctx = Ctx::one_of(common, snapshot, proxy);
    let resource = names::one(&ctx, name);
    let (reads, diagnostics) = ctx.finish();
    Compiled { resource, reads, diagnostics }
}

/// Compiles the whole configuration of a proxy.
pub fn compile_all(snapshot: &Snapshot, proxy: &ProxyKey) -> (ir::Proxy, Vec<Diagnostic>) {
    let ctx = Ctx::new(snapshot, proxy);
    let mut all = ir::Proxy::default();
    for name in names::all(&ctx) {
        match names::one(&ctx, &name) {
            Some(ir::Resource::Listener(r)) => drop(all.listeners.insert(name.name, r)),
            Some(ir::Resource::Route(r)) => drop(all.routes.insert(name.name, r)),
            Some(ir::Resource::Cluster(r)) => drop(all.clusters.insert(name.name, r)),
            Some(ir::Resource::Endpoints(r)) => drop(all.endpoints.insert(name.name, r)),
            Some(ir::Resource::Secret(r)) => drop(all.secrets.insert(name.name, r)),
            Some(ir::Resource::VirtualHost(asked, r)) => drop(all.virtual_hosts.insert(asked, r)),
            // Whose an address is, is no part of a configuration.
            Some(ir::Resource::Workload(..)) | None => {}
        }
    }
    let mut diagnostics = ctx.finish().1;
    diagnostics.extend(snapshot.problems().map(Arc::unwrap_or_clone));
    // What compiling says may have been told when the object came.
    diagnostics.sort();
    diagnostics.dedup();
    (all, diagnostics)
}
