//! Routes that nobody wrote: to a service without a VirtualService, into the workload, and to whatever is not known.

use std::time::Duration;

use varka_api::istio::OutboundTrafficPolicyMode;
use varka_engine::ir::{
    Action, DirectResponse, PathMatch, RetryOn, RetryPolicy, Rewrite, Route, RouteAction, RouteMatch, Str, VirtualHost,
    WeightedRoute,
};

use super::{default_policy, destination_cluster};
use crate::context::{Ctx, s};
use crate::listener::{DYNAMIC_DNS, PASSTHROUGH};
use crate::registry::Protocol;

/// A route without anything but its action.
pub(crate) fn plain_route(name: &str, path: PathMatch, action: Action) -> Route {
    Route {
        name: s(name),
        matches: RouteMatch {
            path,
            case_sensitive: true,
            headers: Vec::new(),
            query: Vec::new(),
            metadata: Vec::new(),
            grpc: false,
        },
        action,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        fault: None,
        cors: None,
        rbac: None,
        max_request_bytes: None,
        operation: None,
        origin: None,
    }
}

/// To one cluster, without a limit of time.
fn forward(cluster: &Str, retry: Option<RetryPolicy>) -> Action {
    Action::Forward(Box::new(RouteAction {
        clusters: vec![WeightedRoute {
            cluster: cluster.clone(),
            weight: 1,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            host_rewrite: None,
        }],
        rewrite: Rewrite::default(),
        timeout: None,
        grpc_timeout_max: Some(Duration::ZERO),
        idle_timeout: None,
        retry,
        mirrors: Vec::new(),
        hash_policy: Vec::new(),
        upgrades: Vec::new(),
        cluster_not_found_status: 503,
    }))
}

/// To a service that has no VirtualService.
pub(crate) fn default_outbound_route(ctx: &Ctx<'_>, cluster: &Str, host: &str, port: u16) -> Route {
    let retry = default_policy(ctx.mesh(), false);
    let mut route = plain_route("default", PathMatch::Prefix(s("/")), forward(cluster, retry));
    route.operation = Some(s(format!("{host}:{port}/*")));
    route
}

/// Into the workload: a request that never reached it is tried again, unless it is gRPC, which retries by itself.
pub(crate) fn default_inbound_route(cluster: &Str, host: &str, port: u16, protocol: Protocol) -> Route {
    let retry = (!protocol.is_grpc()).then(|| RetryPolicy {
        on: RetryOn { reset_before_request: true, ..RetryOn::default() },
        attempts: 2,
        per_try_timeout: None,
        status_codes: Vec::new(),
        back_off: None,
        avoid_previous_hosts: false,
        host_selection_attempts: 1,
        remote_localities: false,
    });
    let mut route = plain_route("default", PathMatch::Prefix(s("/")), forward(cluster, retry));
    route.operation = Some(s(format!("{host}:{port}/*")));
    route
}

/// For every host that no service has: the original destination, or a refusal.
pub(crate) fn catch_all_virtual_host(ctx: &Ctx<'_>) -> VirtualHost {
    let scope = ctx.scope();
    let (name, action) = match scope.outbound {
        OutboundTrafficPolicyMode::AllowAnyDynamicDns => ("allow_any_dynamic_dns", forward(&s(DYNAMIC_DNS), None)),
        OutboundTrafficPolicyMode::AllowAny => {
            let cluster =
                scope.egress_proxy.as_ref().map_or_else(|| s(PASSTHROUGH), |p| destination_cluster(p, None, 0));
            ("allow_any", forward(&cluster, None))
        }
        OutboundTrafficPolicyMode::RegistryOnly => {
            ("block_all", Action::Direct(DirectResponse { status: 502, body: None }))
        }
    };
    VirtualHost {
        name: s(name),
        domains: vec![s("*")],
        routes: vec![plain_route(name, PathMatch::Prefix(s("/")), action)],
        require_tls: false,
        include_attempt_count: true,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
    }
}
