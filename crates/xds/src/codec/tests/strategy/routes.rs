//! Routes and what they decide by.

use http::{HeaderName, HeaderValue};
use varka_engine::ir::{
    Action, Cors, DirectResponse, Fault, FaultAbort, FaultDelay, HashKey, HashPolicy, HeaderAppend, HeaderMutation,
    MetadataMatch, Mirror, PathMatch, QueryMatch, QueryMatcher, Redirect, RetryBackOff, RetryOn, RetryPolicy, Rewrite,
    Route, RouteAction, RouteConfiguration, RouteMatch, Upgrade, VirtualHost, WeightedRoute,
};

use super::listeners::rbac;
use super::{Gen, header_matcher, string_match, template};

fn path_match(g: &mut Gen) -> PathMatch {
    match g.pick(5) {
        0 => PathMatch::Prefix(g.any_text()),
        1 => PathMatch::SeparatedPrefix(g.text()),
        2 => PathMatch::Exact(g.any_text()),
        3 => PathMatch::Regex(g.regex()),
        _ => PathMatch::Template(template(g)),
    }
}

fn route_match(g: &mut Gen) -> RouteMatch {
    RouteMatch {
        path: path_match(g),
        case_sensitive: g.flag(),
        headers: g.vec(header_matcher),
        query: g.vec(|g| QueryMatcher {
            name: g.text(),
            matches: if g.flag() { QueryMatch::Value(string_match(g)) } else { QueryMatch::Present },
        }),
        metadata: g.vec(metadata_match),
        grpc: g.flag(),
    }
}

pub(super) fn metadata_match(g: &mut Gen) -> MetadataMatch {
    MetadataMatch { filter: g.text(), path: g.vec1(Gen::text), value: string_match(g), invert: g.flag() }
}

// --- routes

/// Removals first: that is the order in which both kinds are applied.
fn mutations(g: &mut Gen) -> Vec<HeaderMutation> {
    fn name(g: &mut Gen) -> HeaderName {
        HeaderName::from_static(g.of(&["x-a", "x-b", "via", "set-cookie"]))
    }
    let mut out = g.vec(|g| HeaderMutation::Remove(name(g)));
    out.extend(g.vec(|g| HeaderMutation::Append {
        name: name(g),
        value: HeaderValue::from_static(g.of(&["1", "", "a b", "%DOWNSTREAM_REMOTE_ADDRESS%"])),
        action: g.of(&[HeaderAppend::Append, HeaderAppend::IfAbsent, HeaderAppend::Overwrite]),
    }));
    out
}

fn hash_policy(g: &mut Gen) -> HashPolicy {
    HashPolicy {
        key: match g.pick(4) {
            0 => HashKey::Header(g.text()),
            1 => HashKey::Cookie {
                name: g.text(),
                path: g.any_text(),
                ttl: g.opt(Gen::duration),
                attributes: g.vec(|g| (g.text(), g.any_text())),
            },
            2 => HashKey::SourceIp,
            _ => HashKey::Query(g.text()),
        },
        terminal: g.flag(),
    }
}

fn retry_on(g: &mut Gen) -> RetryOn {
    RetryOn {
        server_error: g.flag(),
        gateway_error: g.flag(),
        reset: g.flag(),
        reset_before_request: g.flag(),
        connect_failure: g.flag(),
        envoy_rate_limited: g.flag(),
        retriable_4xx: g.flag(),
        refused_stream: g.flag(),
        status_codes: g.flag(),
        cancelled: g.flag(),
        deadline_exceeded: g.flag(),
        internal: g.flag(),
        resource_exhausted: g.flag(),
        unavailable: g.flag(),
    }
}

fn retry(g: &mut Gen) -> RetryPolicy {
    RetryPolicy {
        on: retry_on(g),
        attempts: g.u32(),
        per_try_timeout: g.opt(Gen::duration),
        status_codes: g.vec(|g| 400 + u16::from(g.pick(200))),
        back_off: g.opt(|g| RetryBackOff { base: g.span(), max: g.span() }),
        avoid_previous_hosts: g.flag(),
        host_selection_attempts: g.u32(),
        remote_localities: g.flag(),
    }
}

fn weighted_route(g: &mut Gen) -> WeightedRoute {
    WeightedRoute {
        cluster: g.text(),
        weight: g.u32() % 1000,
        request_headers: mutations(g),
        response_headers: mutations(g),
        host_rewrite: g.opt(Gen::host),
    }
}

fn route_action(g: &mut Gen) -> RouteAction {
    let mut clusters = g.vec1(weighted_route);
    if let [one] = clusters.as_mut_slice()
        && one.request_headers.is_empty()
        && one.response_headers.is_empty()
        && one.host_rewrite.is_none()
    {
        one.weight = 1;
    }
    let authority = g.opt(Gen::host);
    RouteAction {
        clusters,
        rewrite: Rewrite {
            prefix: g.opt(Gen::text),
            regex: g.opt(|g| (g.regex(), g.any_text())),
            auto_authority: authority.is_none() && g.flag(),
            authority,
            append_x_forwarded_host: g.flag(),
        },
        timeout: g.opt(Gen::span),
        grpc_timeout_max: g.opt(Gen::duration),
        idle_timeout: g.opt(Gen::duration),
        retry: g.opt(retry),
        mirrors: g.vec(|g| Mirror {
            cluster: g.text(),
            parts_per_million: g.millionths(),
            shadow_host_suffix: g.flag(),
        }),
        hash_policy: g.vec(hash_policy),
        upgrades: g.vec(|g| Upgrade { kind: g.text(), enabled: g.flag() }),
        cluster_not_found_status: g.of(&[503, 404, 500]),
    }
}

fn redirect(g: &mut Gen) -> Redirect {
    let path = g.opt(Gen::text);
    Redirect {
        authority: g.opt(Gen::host),
        port: g.opt(|g| g.u16().max(1)),
        scheme: g.opt(Gen::text),
        prefix: if path.is_none() { g.opt(Gen::text) } else { None },
        path,
        status: g.of(&[301, 302, 303, 307, 308]),
        strip_query: g.flag(),
    }
}

fn fault(g: &mut Gen) -> Fault {
    Fault {
        delay: g.opt(|g| FaultDelay { duration: g.duration(), parts_per_million: g.millionths() }),
        abort: g.opt(|g| {
            let grpc_status = g.opt(|g| u32::from(g.pick(17)));
            let status = if grpc_status.is_some() { 200 } else { 200 + u16::from(g.byte()) };
            FaultAbort { status, grpc_status, parts_per_million: g.millionths() }
        }),
    }
}

fn cors(g: &mut Gen) -> Cors {
    Cors {
        origins: g.vec(string_match),
        methods: g.any_text(),
        headers: g.any_text(),
        expose_headers: g.any_text(),
        max_age: g.any_text(),
        credentials: g.flag(),
        forward_unmatched_preflights: g.flag(),
    }
}

fn route(g: &mut Gen) -> Route {
    Route {
        name: g.any_text(),
        matches: route_match(g),
        action: match g.pick(4) {
            0 => Action::Redirect(redirect(g)),
            1 => Action::Direct(DirectResponse {
                status: 200 + u16::from(g.byte()),
                body: g.opt(|g| g.of(&[&b""[..], b"gone", b"\xff\x00", &[b'x'; 5000]]).into()),
            }),
            _ => Action::Forward(Box::new(route_action(g))),
        },
        request_headers: mutations(g),
        response_headers: mutations(g),
        fault: g.opt(fault),
        cors: g.opt(cors),
        rbac: g.opt(rbac),
        max_request_bytes: g.opt(|g| g.u32().into()),
        operation: g.opt(Gen::text),
        origin: g.opt(Gen::text),
    }
}

/// A route configuration.
pub(super) fn routes(g: &mut Gen) -> RouteConfiguration {
    RouteConfiguration {
        name: g.text(),
        virtual_hosts: g.vec1(|g| VirtualHost {
            name: g.text(),
            domains: g.vec1(Gen::host),
            routes: g.vec1(route),
            require_tls: g.flag(),
            include_attempt_count: g.flag(),
            request_headers: mutations(g),
            response_headers: mutations(g),
        }),
        ignore_port_in_host: g.flag(),
        on_demand: g.flag(),
        request_headers: mutations(g),
        response_headers: mutations(g),
    }
}

// --- RBAC
