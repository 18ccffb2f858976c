//! Routes with one of each condition and action.

use std::time::Duration;

use varka_engine::ir::{
    self, Action, HeaderAppend, HeaderMatch, HeaderMatcher, HeaderMutation, PathMatch, StringMatch,
};

use super::listeners::rbac;
use super::resources::exact;

fn mutations() -> Vec<HeaderMutation> {
    let add = |name: &'static str, value: &'static str, action| HeaderMutation::Append {
        name: http::HeaderName::from_static(name),
        value: http::HeaderValue::from_static(value),
        action,
    };
    vec![
        HeaderMutation::Remove(http::HeaderName::from_static("x-gone")),
        add("x-a", "%DOWNSTREAM_REMOTE_ADDRESS%", HeaderAppend::Append),
        add("x-b", "", HeaderAppend::Overwrite),
        add("x-c", "50%%", HeaderAppend::IfAbsent),
    ]
}

fn route(path: PathMatch, action: Action) -> ir::Route {
    let value = |name: &str, matches, invert| HeaderMatcher {
        name: name.into(),
        matches,
        invert,
        treat_missing_as_empty: true,
    };
    ir::Route {
        name: "default".into(),
        matches: ir::RouteMatch {
            path,
            case_sensitive: false,
            headers: vec![
                value(
                    "x-user",
                    HeaderMatch::Value(StringMatch::Contains { value: "a".into(), ignore_case: true }),
                    true,
                ),
                value("x-n", HeaderMatch::Range { start: -1, end: 10 }, false),
                value("x-p", HeaderMatch::Present(true), false),
            ],
            query: vec![
                ir::QueryMatcher { name: "q".into(), matches: ir::QueryMatch::Present },
                ir::QueryMatcher { name: "v".into(), matches: ir::QueryMatch::Value(exact("1")) },
            ],
            metadata: Vec::new(),
            grpc: false,
        },
        action,
        request_headers: mutations(),
        response_headers: mutations(),
        fault: Some(ir::Fault {
            delay: Some(ir::FaultDelay { duration: Duration::from_secs(1), parts_per_million: 1000 }),
            abort: Some(ir::FaultAbort { status: 555, grpc_status: None, parts_per_million: 1_000_000 }),
        }),
        cors: Some(ir::Cors {
            origins: vec![exact("https://a.example.com"), StringMatch::Regex(ir::Regex::new(".*").unwrap())],
            methods: "GET,POST".into(),
            headers: "x-a".into(),
            expose_headers: "x-b".into(),
            max_age: "60".into(),
            credentials: true,
            forward_unmatched_preflights: false,
        }),
        rbac: Some(rbac(ir::PolicyAction::Allow, false)),
        max_request_bytes: Some(1 << 20),
        operation: Some("was-service.blog-system.svc.cluster.local:8080/*".into()),
        origin: Some("VirtualService blog-system/was http[0]".into()),
    }
}

fn forward() -> ir::RouteAction {
    let destination = |cluster: &str, weight| ir::WeightedRoute {
        cluster: cluster.into(),
        weight,
        request_headers: mutations(),
        response_headers: mutations(),
        host_rewrite: Some("was".into()),
    };
    ir::RouteAction {
        clusters: vec![destination("outbound|8080||was", 80), destination("static", 20)],
        rewrite: ir::Rewrite {
            prefix: Some("/new".into()),
            regex: None,
            authority: Some("was".into()),
            auto_authority: false,
            append_x_forwarded_host: true,
        },
        timeout: None,
        grpc_timeout_max: Some(Duration::ZERO),
        idle_timeout: Some(Duration::from_secs(30)),
        retry: Some(ir::RetryPolicy {
            on: ir::RetryOn {
                server_error: true,
                gateway_error: true,
                reset: true,
                reset_before_request: true,
                connect_failure: true,
                envoy_rate_limited: true,
                retriable_4xx: true,
                refused_stream: true,
                status_codes: true,
                cancelled: true,
                deadline_exceeded: true,
                internal: true,
                resource_exhausted: true,
                unavailable: true,
            },
            attempts: 2,
            per_try_timeout: Some(Duration::from_secs(2)),
            status_codes: vec![503],
            back_off: Some(ir::RetryBackOff { base: Duration::from_millis(25), max: Duration::from_millis(250) }),
            avoid_previous_hosts: true,
            host_selection_attempts: 5,
            remote_localities: true,
        }),
        mirrors: vec![ir::Mirror { cluster: "static".into(), parts_per_million: 500_000, shadow_host_suffix: false }],
        hash_policy: vec![
            ir::HashPolicy { key: ir::HashKey::Header("x-user".into()), terminal: true },
            ir::HashPolicy {
                key: ir::HashKey::Cookie {
                    name: "s".into(),
                    path: "/".into(),
                    ttl: Some(Duration::ZERO),
                    attributes: vec![("SameSite".into(), "Lax".into())],
                },
                terminal: false,
            },
            ir::HashPolicy { key: ir::HashKey::SourceIp, terminal: false },
            ir::HashPolicy { key: ir::HashKey::Query("q".into()), terminal: false },
        ],
        upgrades: vec![ir::Upgrade { kind: "websocket".into(), enabled: true }],
        cluster_not_found_status: 503,
    }
}

pub(super) fn routes(name: &str) -> ir::RouteConfiguration {
    let regex_rewrite = ir::Rewrite {
        regex: Some((ir::Regex::new("^/a/(.*)$").unwrap(), r"/b/\1".into())),
        auto_authority: true,
        ..Default::default()
    };
    let forward = |rewrite: Option<ir::Rewrite>| {
        let action = forward();
        Action::Forward(Box::new(ir::RouteAction { rewrite: rewrite.unwrap_or(action.rewrite.clone()), ..action }))
    };
    let redirect = Action::Redirect(ir::Redirect {
        authority: Some("b.example.com".into()),
        port: Some(8443),
        scheme: Some("https".into()),
        path: Some("/there".into()),
        prefix: None,
        status: 308,
        strip_query: true,
    });
    let direct = Action::Direct(ir::DirectResponse { status: 503, body: Some(vec![b'x'; 10_000].into()) });
    let host = |name: &str, domain: &str, routes| ir::VirtualHost {
        name: name.into(),
        domains: vec![domain.into()],
        routes,
        require_tls: false,
        include_attempt_count: true,
        request_headers: mutations(),
        response_headers: mutations(),
    };
    ir::RouteConfiguration {
        name: name.into(),
        virtual_hosts: vec![
            host(
                "was:8080",
                "was",
                vec![
                    route(PathMatch::SeparatedPrefix("/api".into()), forward(None)),
                    route(PathMatch::Exact("/old".into()), redirect),
                    route(PathMatch::Regex(ir::Regex::new("/x/[a-z]+").unwrap()), forward(Some(regex_rewrite))),
                    route(PathMatch::Template("/t/{*}/{**}".into()), forward(Some(ir::Rewrite::default()))),
                    route(PathMatch::Prefix("/".into()), direct),
                ],
            ),
            ir::VirtualHost { require_tls: true, ..host("tls", "tls.example.com", vec![]) },
        ],
        ignore_port_in_host: true,
        on_demand: false,
        request_headers: mutations(),
        response_headers: mutations(),
    }
}
