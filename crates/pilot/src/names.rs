//! From names to resources and back. Of a proxy that asks on demand the names are those of what it has without asking. Whose an
//! address is, is always asked for: nobody is given all workloads.

use varka_engine::ir::{Resource, ResourceType, Str};

use crate::context::Ctx;
use crate::ingress::nginx;
use crate::{ResourceName, cluster, gateway, listener, route, secret, workload};

/// Every name, in a stable order.
pub(crate) fn all(ctx: &Ctx<'_>) -> Vec<ResourceName> {
    let mut out = Vec::new();
    let mut add =
        |kind: ResourceType, names: Vec<Str>| out.extend(names.into_iter().map(|name| ResourceName { kind, name }));
    let clusters = cluster::names(ctx);
    let endpoints = if nginx::is_outside(ctx) { clusters.clone() } else { cluster::endpoint_names(ctx, &clusters) };
    if nginx::is_nginx(ctx) {
        add(ResourceType::Listener, nginx::listeners(ctx));
        add(ResourceType::Route, nginx::routes(ctx));
    } else if ctx.is_router() {
        add(ResourceType::Listener, gateway::listener_names(ctx));
        add(ResourceType::Route, gateway::route_names(ctx));
    } else {
        add(ResourceType::Listener, listener::names(ctx));
        if !ctx.proxy.on_demand {
            add(ResourceType::Route, route::names(ctx));
        }
    }
    add(ResourceType::Cluster, clusters);
    add(ResourceType::Endpoints, endpoints);
    add(ResourceType::Secret, secret::names(ctx));
    out
}

/// One resource; `None`: there is no such thing for this proxy.
pub(crate) fn one(ctx: &Ctx<'_>, name: &ResourceName) -> Option<Resource> {
    let n = &name.name;
    let nginx = nginx::is_nginx(ctx);
    match name.kind {
        ResourceType::Listener if nginx => nginx::listener(ctx, n).map(Resource::Listener),
        ResourceType::Listener if ctx.is_router() => gateway::listener(ctx, n).map(Resource::Listener),
        ResourceType::Listener => listener::build(ctx, n).map(Resource::Listener),
        ResourceType::Route if nginx => nginx::route(ctx, n).map(Resource::Route),
        ResourceType::Route if ctx.is_router() => gateway::route(ctx, n).map(Resource::Route),
        ResourceType::Route => route::build(ctx, n).map(Resource::Route),
        ResourceType::Cluster => cluster::build(ctx, n).map(Resource::Cluster),
        ResourceType::Endpoints => cluster::endpoints(ctx, n).map(Resource::Endpoints),
        ResourceType::Secret => secret::build(ctx, n).map(Resource::Secret),
        ResourceType::VirtualHost if ctx.proxy.on_demand => {
            route::virtual_host(ctx, n).map(|host| Resource::VirtualHost(n.clone(), host))
        }
        ResourceType::VirtualHost => None,
        ResourceType::Workload => workload::build(ctx, n).map(|whose| Resource::Workload(n.clone(), whose)),
    }
}
