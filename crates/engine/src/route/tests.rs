//! Routes, redirects and rewrites as a real Envoy answered them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Version};
use proptest::prelude::*;

use super::*;
use crate::facts::{Connection, Metadata};
use crate::ir::{
    HeaderMatch, HeaderMatcher, PathMatch, QueryMatch, QueryMatcher, Redirect, Regex, RetryOn, RetryPolicy, Rewrite,
    StringMatch,
};

fn ask<T>(authority: &str, path: &str, headers: &HeaderMap, f: impl FnOnce(&Request<'_>) -> T) -> T {
    let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
    let connection = Connection::plain(address, address);
    f(&Request {
        method: "GET",
        scheme: "http",
        authority,
        path,
        headers,
        connection: &connection,
        remote_address: address,
        metadata: Metadata::EMPTY,
        version: Version::HTTP_11,
    })
}

fn get<T>(path: &str, f: impl FnOnce(&Request<'_>) -> T) -> T {
    ask("was-service:8080", path, &HeaderMap::new(), f)
}

fn matching(path: PathMatch) -> RouteMatch {
    RouteMatch { path, case_sensitive: true, headers: vec![], query: vec![], metadata: vec![], grpc: false }
}

fn to(cluster: &str, weight: u32) -> WeightedRoute {
    WeightedRoute {
        cluster: cluster.into(),
        weight,
        request_headers: vec![],
        response_headers: vec![],
        host_rewrite: None,
    }
}

fn forward(clusters: Vec<WeightedRoute>) -> RouteAction {
    RouteAction {
        clusters,
        rewrite: Rewrite::default(),
        timeout: None,
        grpc_timeout_max: None,
        idle_timeout: None,
        retry: None,
        mirrors: vec![],
        hash_policy: vec![],
        upgrades: vec![],
        cluster_not_found_status: 503,
    }
}

fn route(name: &str, matches: RouteMatch, action: Action) -> Route {
    Route {
        name: name.into(),
        matches,
        action,
        request_headers: vec![],
        response_headers: vec![],
        fault: None,
        cors: None,
        rbac: None,
        max_request_bytes: None,
        operation: None,
        origin: None,
    }
}

fn prefix(text: &str) -> PathMatch {
    PathMatch::Prefix(text.into())
}

fn host(routes: Vec<Route>) -> VirtualHost {
    VirtualHost {
        name: "was-service:8080".into(),
        domains: vec!["was-service".into()],
        routes,
        require_tls: false,
        include_attempt_count: true,
        request_headers: vec![],
        response_headers: vec![],
    }
}

fn index(virtual_host: VirtualHost) -> RouteIndex {
    RouteIndex::new(Arc::new(RouteConfiguration {
        name: "8080".into(),
        virtual_hosts: vec![virtual_host],
        ignore_port_in_host: true,
        on_demand: false,
        request_headers: vec![],
        response_headers: vec![],
    }))
}

fn simple(name: &str, m: RouteMatch) -> Route {
    route(name, m, Action::Forward(Box::new(forward(vec![to(name, 1)]))))
}

#[test]
fn the_first_route_that_matches_wins_and_the_trace_says_why() {
    let mut asks_header = matching(prefix("/"));
    asks_header.headers.push(HeaderMatcher {
        name: "x-user".into(),
        matches: HeaderMatch::Value(StringMatch::Exact { value: "alice".into(), ignore_case: false }),
        invert: false,
        treat_missing_as_empty: false,
    });
    let mut asks_query = matching(prefix("/"));
    asks_query.query.push(QueryMatcher { name: "dbg".into(), matches: QueryMatch::Present });
    let grpc = RouteMatch { grpc: true, ..matching(prefix("/")) };
    let table = index(host(vec![
        simple("api", matching(prefix("/api"))),
        simple("alice", asks_header),
        simple("debug", asks_query),
        simple("grpc", grpc),
        simple("fallback", matching(prefix("/"))),
    ]));
    let name = |path: &str, headers: &HeaderMap| {
        ask("was-service", path, headers, |r| decide(&table, r, 0, &mut Trace::off()).unwrap().route_name().to_owned())
    };
    let none = HeaderMap::new();
    assert_eq!(name("/api/posts?x", &none), "api");
    assert_eq!(name("/x?dbg", &none), "debug");
    assert_eq!(name("/x", &none), "fallback");
    let line = |name: &'static str, value: &'static str| {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static(value))])
    };
    assert_eq!(name("/x", &line("x-user", "alice")), "alice");
    assert_eq!(name("/x", &line("content-type", "application/grpc+proto")), "grpc");
    assert_eq!(name("/x", &line("content-type", "application/grpc-web")), "fallback");
    let mut trace = Trace::on();
    get("/x", |r| decide(&table, r, 0, &mut trace).map(|_| ()).unwrap());
    assert_eq!(
        trace.notes(),
        [
            "Host was-service:8080: virtual host was-service:8080 of route table 8080",
            "route \"api\": not matched, the path is another",
            "route \"alice\": not matched, header x-user is not as asked",
            "route \"debug\": not matched, query parameter dbg is not as asked",
            "route \"grpc\": not matched, the request is not gRPC",
            "route \"fallback\": matched",
            "cluster fallback",
        ]
    );
}

#[test]
fn nothing_matches() {
    let table = index(host(vec![simple("api", matching(prefix("/api")))]));
    assert_eq!(get("/x", |r| decide(&table, r, 0, &mut Trace::off()).map(|_| ()).unwrap_err()), NoRoute::Route);
    let other = ask("other", "/api", &HeaderMap::new(), |r| decide(&table, r, 0, &mut Trace::off()).map(|_| ()));
    assert_eq!(other.unwrap_err(), NoRoute::VirtualHost);
}

#[test]
fn letter_case_counts_unless_told() {
    let mut m = matching(PathMatch::Exact("/One".into()));
    assert!(!get("/one", |r| matches(&m, r)));
    m.case_sensitive = false;
    assert!(get("/one?q", |r| matches(&m, r)));
}

fn rewritten(matches: PathMatch, how: Rewrite, path: &str) -> Option<String> {
    let mut action = forward(vec![to("c", 1)]);
    action.rewrite = how;
    let r = route("r", matching(matches), Action::Redirect(Redirect::default()));
    get(path, |request| rewrite(&r, &action, &to("c", 1), request).path)
}

#[test]
fn rewrites() {
    let new = |p: &str| Rewrite { prefix: Some(p.into()), ..Default::default() };
    for (matched, with, path, want) in [
        (prefix("/api"), "", "/api/v1/posts", "/v1/posts"),
        (prefix("/api/v1"), "/v1", "/api/v12?a=1&b=%20", "/v12?a=1&b=%20"),
        (prefix("/root"), "/", "/root", "/"),
        (prefix("/root"), "/", "/root/x", "//x"),
        (prefix("/rs/"), "/", "/rs/x", "/x"),
        (PathMatch::Exact("/one".into()), "/two", "/one?q=1", "/two?q=1"),
        (PathMatch::Regex(Regex::new("/rm/.*").unwrap()), "/zz", "/rm/a/b?q=1", "/zz?q=1"),
        (prefix("/icp"), "/low", "/ICP/x", "/low/x"),
    ] {
        assert_eq!(rewritten(matched, new(with), path).as_deref(), Some(want), "{path}");
    }
    let regex = || Rewrite {
        regex: Some((Regex::new("^/u/([^/]+)/p/([0-9]+)").unwrap(), r"/posts/\2/by/\1".into())),
        ..Default::default()
    };
    assert_eq!(rewritten(prefix("/u"), regex(), "/u/bob/p/12/edit?x=1").as_deref(), Some("/posts/12/by/bob/edit?x=1"));
    assert_eq!(rewritten(prefix("/u"), regex(), "/u/zzz").as_deref(), Some("/u/zzz"));
    assert_eq!(rewritten(prefix("/"), Rewrite::default(), "/x"), None);
}

#[test]
fn redirects() {
    let at = |redirect: &Redirect, authority: &str, path: &str| {
        ask(authority, path, &HeaderMap::new(), |r| location(redirect, &matching(prefix("/old")), r))
    };
    let path = Redirect { path: Some("/new".into()), status: 301, ..Default::default() };
    assert_eq!(at(&path, "was-service:8080", "/old?q=1"), "http://was-service:8080/new?q=1");
    let own = Redirect { path: Some("/new?mine".into()), ..path.clone() };
    assert_eq!(at(&own, "was-service", "/old?q=1"), "http://was-service/new?mine");
    let https = Redirect { scheme: Some("https".into()), ..Default::default() };
    assert_eq!(at(&https, "was-service:8080", "/old"), "https://was-service:8080/old");
    assert_eq!(at(&https, "was-service:80", "/old"), "https://was-service/old");
    assert_eq!(at(&https, "[::1]:80", "/old"), "https://[::1]/old");
    let port = Redirect { port: Some(9090), ..Default::default() };
    assert_eq!(at(&port, "was-service:8080", "/old"), "http://was-service:9090/old");
    let authority = Redirect { authority: Some("example.com".into()), ..Default::default() };
    assert_eq!(at(&authority, "was-service:8080", "/old?a"), "http://example.com/old?a");
    let new_prefix = Redirect { prefix: Some("/new".into()), strip_query: true, ..Default::default() };
    assert_eq!(at(&new_prefix, "h", "/old/x?a"), "http://h/new/x");
}

#[test]
fn a_virtual_host_can_ask_for_tls() {
    let mut v = host(vec![]);
    v.require_tls = true;
    let table = index(v);
    get("/a?b", |r| match decide(&table, r, 0, &mut Trace::off()).unwrap().action {
        Decided::Redirect { status, location } => {
            assert_eq!((status, &*location), (301, "https://was-service:8080/a?b"))
        }
        other => panic!("{other:?}"),
    });
}

#[test]
fn timeouts() {
    let mut action = forward(vec![to("c", 1)]);
    let none = HeaderMap::new();
    let of = |action: &RouteAction, headers: &HeaderMap| ask("h", "/", headers, |r| route_timeouts(action, r));
    assert_eq!(of(&action, &none), Timeouts::default());
    action.timeout = Some(Duration::from_secs(10));
    action.retry = Some(RetryPolicy {
        on: RetryOn::default(),
        attempts: 3,
        per_try_timeout: Some(Duration::from_secs(2)),
        status_codes: vec![],
        back_off: None,
        avoid_previous_hosts: true,
        host_selection_attempts: 5,
        remote_localities: false,
    });
    assert_eq!(of(&action, &none).per_try, Some(Duration::from_secs(2)));
    action.timeout = Some(Duration::from_secs(2));
    assert_eq!(of(&action, &none), Timeouts { global: Some(Duration::from_secs(2)), per_try: None, idle: None });
    action.grpc_timeout_max = Some(Duration::from_secs(2));
    let grpc = |value: &'static str| {
        HeaderMap::from_iter([
            (http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
            (http::HeaderName::from_static("grpc-timeout"), HeaderValue::from_static(value)),
        ])
    };
    assert_eq!(of(&action, &grpc("100m")).global, Some(Duration::from_millis(100)));
    assert_eq!(of(&action, &grpc("1H")).global, Some(Duration::from_secs(2)));
    assert_eq!(of(&action, &grpc("bad")).global, Some(Duration::from_secs(2)));
    action.grpc_timeout_max = Some(Duration::ZERO);
    assert_eq!(of(&action, &grpc("1H")).global, Some(Duration::from_secs(3600)));
    assert_eq!(of(&action, &grpc("bad")).global, None);
    assert_eq!(grpc_timeout(b"123456789S"), None);
}

#[test]
fn an_attempt_is_told_what_is_left() {
    let ms = Duration::from_millis;
    let of = |global, per_try, elapsed| {
        expected(&Timeouts { global, per_try, idle: None }, ms(elapsed)).map(|d| d.as_millis())
    };
    assert_eq!(of(None, None, 0), None);
    assert_eq!(of(Some(ms(300)), None, 0), Some(300));
    assert_eq!(of(Some(ms(300)), Some(ms(100)), 0), Some(100));
    assert_eq!(of(Some(ms(300)), Some(ms(100)), 250), Some(50));
    assert_eq!(of(Some(ms(300)), Some(ms(100)), 900), Some(1));
    assert_eq!(of(None, Some(ms(100)), 900), Some(100));
    for (seconds, text) in [(1, "1000m"), (200_000, "200000S"), (200_000_000, "3333333M"), (9_000_000_000, "2500000H")]
    {
        let limit = Duration::from_secs(seconds);
        assert_eq!(grpc_timeout_text(limit), text);
        assert!(grpc_timeout(text.as_bytes()).is_some_and(|told| told <= limit), "{text}");
    }
}

proptest! {
    #[test]
    fn every_number_finds_a_destination_in_proportion(weights in prop::collection::vec(0u32..5, 1..5)) {
        let all: Vec<_> = weights.iter().enumerate().map(|(i, w)| to(&i.to_string(), *w)).collect();
        let total: u32 = weights.iter().sum();
        if all.len() == 1 {
            prop_assert!(weighted(&all, 7).is_some());
        } else if total == 0 {
            prop_assert!(weighted(&all, 7).is_none());
        } else {
            let mut hits = vec![0u32; all.len()];
            for random in 0..u64::from(total) {
                let at: usize = weighted(&all, random).unwrap().cluster.parse().unwrap();
                hits[at] += 1;
            }
            prop_assert_eq!(hits, weights);
        }
    }
}

#[test]
fn why_a_route_does_not_match_is_said_and_what_headers_hold_is_not() {
    let header = |name: &str, value: &str| HeaderMatcher {
        name: name.into(),
        matches: HeaderMatch::Value(StringMatch::Exact { value: value.into(), ignore_case: false }),
        invert: false,
        treat_missing_as_empty: false,
    };
    let path = |matcher| get("/api/posts?page=2", |r| why_not(&matching(matcher), r));
    assert_eq!(path(PathMatch::Prefix("/api".into())), None);
    assert_eq!(
        path(PathMatch::Exact("/api".into())).unwrap(),
        "the path is \"/api/posts\", asked for is exactly \"/api\""
    );
    let mut wanted = matching(PathMatch::Prefix("/".into()));
    wanted.headers = vec![header("x-b", "2"), header("x-a", "1")];
    let mut headers = HeaderMap::new();
    headers.insert("x-b", HeaderValue::from_static("2"));
    let why = |headers: &HeaderMap, wanted: &RouteMatch| ask("was", "/", headers, |r| why_not(wanted, r));
    assert_eq!(why(&headers, &wanted).unwrap(), "there is no header x-a, asked for is exactly \"1\"");
    headers.insert("x-a", HeaderValue::from_static("secret"));
    assert_eq!(why(&headers, &wanted).unwrap(), "header x-a is another, asked for is exactly \"1\"");
    headers.insert("x-a", HeaderValue::from_static("1"));
    assert_eq!(why(&headers, &wanted), None);
    let mut wanted = matching(PathMatch::Prefix("/".into()));
    wanted.headers = vec![header(":method", "POST")];
    assert_eq!(why(&headers, &wanted).unwrap(), "the method is GET, asked for is exactly \"POST\"");
}
