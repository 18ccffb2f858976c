//! Which requests a rule within a location takes.

use std::net::SocketAddr;

use http::HeaderMap;
use varka_engine::facts::{Connection, Metadata, Request};
use varka_engine::ir::{Redirect, TransportProtocol};
use varka_engine::route::matches;

use super::*;
use crate::route::plain_route;

fn answer() -> Action {
    Action::Direct(DirectResponse { status: 200, body: None })
}

fn takes(route: &Route, path: &str) -> bool {
    let (headers, metadata) = (HeaderMap::new(), Metadata::default());
    let address = SocketAddr::from(([10, 0, 0, 1], 80));
    let connection = Connection {
        original_dst: address,
        local: address,
        peer: address,
        transport: TransportProtocol::RawBuffer,
        sni: None,
        alpn: &[],
        detected_http: None,
        peer_identity: None,
        local_identity: None,
    };
    let request = Request {
        method: "GET",
        scheme: "http",
        authority: "blog",
        path,
        headers: &headers,
        connection: &connection,
        remote_address: address,
        metadata: &metadata,
        version: http::Version::HTTP_11,
    };
    matches(&route.matches, &request)
}

fn combined(location: PathMatch, rule: PathMatch) -> Route {
    within(&plain_route("", location, answer()), plain_route("", rule, answer()))
}

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(s(path))
}

#[test]
fn both_paths_must_match() {
    let api = || PathMatch::SeparatedPrefix(s("/api"));
    for (location, rule, yes, no) in [
        (api(), prefix("/"), vec!["/api", "/api/posts", "/api?x"], vec!["/", "/apis"]),
        (prefix("/"), prefix("/v1"), vec!["/v1", "/v1x"], vec!["/", "/v2"]),
        (api(), prefix("/api/v1"), vec!["/api/v1", "/api/v1/x?y=z"], vec!["/api", "/api/v2", "/v1"]),
        (api(), prefix("/ap"), vec!["/api", "/api/x", "/api?y"], vec!["/ap", "/apis"]),
        (api(), PathMatch::Exact(s("/api")), vec!["/api", "/api?x"], vec!["/api/", "/"]),
        (PathMatch::Exact(s("/a")), prefix("/a"), vec!["/a", "/a?b"], vec!["/a/b", "/ab"]),
        (
            PathMatch::Regex(Regex::new("(?i)/x/[0-9]+.*").unwrap()),
            prefix("/X"),
            vec!["/X/1", "/X/12/y?z"],
            vec!["/x/1", "/X/a"],
        ),
    ] {
        let route = combined(location.clone(), rule.clone());
        for path in yes {
            assert!(takes(&route, path), "{location:?} and {rule:?} take {path}");
        }
        for path in no {
            assert!(!takes(&route, path), "{location:?} and {rule:?} do not take {path}");
        }
    }
}

#[test]
fn a_rewrite_stays_relative_to_the_rule() {
    let rule = plain_route("", prefix("/"), Action::Redirect(Redirect::default()));
    let route = within(&plain_route("", PathMatch::SeparatedPrefix(s("/api")), answer()), rule);
    assert_eq!(route.matches.path, prefix("/"));
    assert!(takes(&route, "/api/x") && !takes(&route, "/x"));
}
