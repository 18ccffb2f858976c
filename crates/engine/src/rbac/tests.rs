//! Policies as Istio writes them, and agreement with truth tables.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue, Version};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::facts::{Metadata, PeerIdentity};
use crate::ir::{HeaderMatch, HeaderMatcher, PathMatch, Regex};

fn exact(value: &str) -> StringMatch {
    StringMatch::Exact { value: value.into(), ignore_case: false }
}

fn policy(name: &str, permissions: Vec<Permission>, principals: Vec<Principal>) -> RbacPolicy {
    RbacPolicy { name: name.into(), permissions, principals }
}

fn rules(action: PolicyAction, policies: Vec<RbacPolicy>) -> Rbac {
    Rbac { action, policies, shadow: false, stat_prefix: "".into() }
}

const WEB: &str = "spiffe://cluster.local/ns/blog-system/sa/default";

fn ask<T>(peer: Option<&PeerIdentity>, path: &str, metadata: &Metadata, f: impl FnOnce(&Request<'_>) -> T) -> T {
    let plain = Connection::plain("10.77.0.21:8080".parse().unwrap(), "10.77.0.11:4".parse::<SocketAddr>().unwrap());
    let connection = Connection { peer_identity: peer, ..plain };
    let mut headers = HeaderMap::new();
    headers.insert("x-tok", HeaderValue::from_static("abc"));
    f(&Request {
        method: "GET",
        scheme: "http",
        authority: "was-service:8080",
        path,
        headers: &headers,
        connection: &connection,
        remote_address: "203.0.113.9:0".parse().unwrap(),
        metadata,
        version: Version::HTTP_11,
    })
}

fn allowed(rbac: &Rbac, peer: Option<&PeerIdentity>, path: &str) -> bool {
    ask(peer, path, Metadata::EMPTY, |r| evaluate(rbac, &Subject::request(r)).allowed)
}

#[test]
fn allow_needs_a_match_and_deny_needs_none() {
    let admin = || policy("ns[b]-policy[p]-rule[0]", vec![Permission::Path(exact("/admin"))], vec![Principal::Any]);
    let allow = rules(PolicyAction::Allow, vec![admin()]);
    assert!(allowed(&allow, None, "/admin?x=1") && !allowed(&allow, None, "/"));
    let deny = rules(PolicyAction::Deny, vec![admin()]);
    assert!(!allowed(&deny, None, "/admin") && allowed(&deny, None, "/"));
    let details = |rbac: &Rbac, path| {
        ask(None, path, Metadata::EMPTY, |r| evaluate(rbac, &Subject::request(r)).details().into_owned())
    };
    assert_eq!(details(&deny, "/admin"), "rbac_access_denied_matched_policy[ns[b]-policy[p]-rule[0]]");
    assert_eq!(details(&allow, "/"), "rbac_access_denied_matched_policy[none]");
    assert!(!allowed(&rules(PolicyAction::Allow, vec![]), None, "/"));
    assert!(allowed(&rules(PolicyAction::Deny, vec![]), None, "/"));
    assert!(allowed(&rules(PolicyAction::Log, vec![admin()]), None, "/admin"));
}

#[test]
fn shadow_rules_never_deny_but_say_what_they_would() {
    let mut deny = rules(PolicyAction::Deny, vec![policy("p", vec![Permission::Any], vec![Principal::Any])]);
    deny.shadow = true;
    let decision = ask(None, "/", Metadata::EMPTY, |r| evaluate(&deny, &Subject::request(r)).would_allow);
    assert!(!decision);
    assert!(allowed(&deny, None, "/"));
}

#[test]
fn identity_needs_a_certificate_and_its_negation_does_not() {
    let web = PeerIdentity::of_uri(WEB);
    let one = |p| rules(PolicyAction::Allow, vec![policy("p", vec![Permission::Any], vec![p])]);
    let is_web = one(Principal::Authenticated(Some(exact(WEB))));
    assert!(allowed(&is_web, Some(&web), "/") && !allowed(&is_web, None, "/"));
    let namespace =
        one(Principal::Authenticated(Some(StringMatch::Regex(Regex::new(".*/ns/blog-system/.*").unwrap()))));
    assert!(allowed(&namespace, Some(&web), "/") && !allowed(&namespace, None, "/"));
    let not_web = one(Principal::Not(Box::new(Principal::Authenticated(Some(exact(WEB))))));
    assert!(!allowed(&not_web, Some(&web), "/") && allowed(&not_web, None, "/"));
    let anybody = one(Principal::Authenticated(None));
    assert!(allowed(&anybody, Some(&web), "/") && !allowed(&anybody, None, "/"));
}

#[test]
fn addresses_ports_headers_and_templates() {
    let check = |permission| {
        allowed(&rules(PolicyAction::Allow, vec![policy("p", vec![permission], vec![Principal::Any])]), None, "/files/")
    };
    assert!(check(Permission::DestinationPort(8080)) && !check(Permission::DestinationPort(80)));
    assert!(check(Permission::DestinationIp("10.77.0.0/24".parse().unwrap())));
    assert!(check(Permission::Template(PathMatch::Template("/files/{**}".into()))));
    assert!(!check(Permission::Template(PathMatch::Template("/files/{*}".into()))));
    let header = |name: &str, value: &str| {
        Permission::Header(HeaderMatcher {
            name: name.into(),
            matches: HeaderMatch::Value(exact(value)),
            invert: false,
            treat_missing_as_empty: false,
        })
    };
    assert!(
        check(header("x-tok", "abc")) && check(header(":method", "GET")) && !check(header(":authority", "was-service"))
    );
    let source = |principal| {
        allowed(&rules(PolicyAction::Allow, vec![policy("p", vec![Permission::Any], vec![principal])]), None, "/")
    };
    assert!(source(Principal::DirectRemoteIp("10.77.0.0/16".parse().unwrap())));
    assert!(!source(Principal::DirectRemoteIp("203.0.113.0/24".parse().unwrap())));
    assert!(source(Principal::RemoteIp("203.0.113.0/24".parse().unwrap())));
}

#[test]
fn claims_are_strings_or_lists_of_strings() {
    let mut metadata = Metadata::default();
    metadata.set("jwt".into(), json!({"claims": {"groups": ["admin", "dev"], "sub": "alice", "n": 1}}));
    let asks = |key: &str, value: &str| {
        let claim =
            Principal::Metadata { filter: "jwt".into(), path: vec!["claims".into(), key.into()], value: exact(value) };
        let rbac = rules(PolicyAction::Allow, vec![policy("p", vec![Permission::Any], vec![claim])]);
        ask(None, "/", &metadata, |r| evaluate(&rbac, &Subject::request(r)).allowed)
    };
    assert!(asks("groups", "dev") && asks("sub", "alice"));
    assert!(!asks("groups", "ops") && !asks("sub", "bob") && !asks("n", "1") && !asks("none", ""));
}

#[test]
fn a_connection_has_no_headers() {
    let connection = Connection::plain("10.0.0.1:3306".parse().unwrap(), "10.0.0.2:4".parse().unwrap());
    let get = Permission::Header(HeaderMatcher {
        name: ":method".into(),
        matches: HeaderMatch::Value(exact("GET")),
        invert: false,
        treat_missing_as_empty: false,
    });
    let subject = Subject::connection(&connection);
    let allow =
        |p| evaluate(&rules(PolicyAction::Allow, vec![policy("p", vec![p], vec![Principal::Any])]), &subject).allowed;
    assert!(!allow(get.clone()) && allow(Permission::Not(Box::new(get))) && allow(Permission::DestinationPort(3306)));
}

#[test]
fn a_denied_request_learns_what_it_lacked() {
    let asks = rules(
        PolicyAction::Allow,
        vec![
            policy(
                "ns[b]-policy[web]-rule[0]",
                vec![Permission::Any],
                vec![Principal::And(vec![Principal::Or(vec![Principal::Authenticated(Some(exact(WEB)))])])],
            ),
            policy(
                "ns[b]-policy[get]-rule[0]",
                vec![Permission::And(vec![Permission::Path(exact("/api"))])],
                vec![Principal::Any],
            ),
        ],
    );
    let lines = ask(None, "/x?y", Metadata::EMPTY, |r| missing(&asks, &Subject::request(r)));
    assert_eq!(
        lines,
        [
            format!(
                "ns[b]-policy[web]-rule[0]: the caller showed no certificate (plain text, or TLS without one) and so has no identity, asked for is {WEB:?}"
            ),
            "ns[b]-policy[get]-rule[0]: the path is \"/x\", asked for is \"/api\"".to_owned(),
        ]
    );
}

#[test]
fn what_may_be_a_credential_is_not_told() {
    let key = Principal::Header(HeaderMatcher {
        name: "x-tok".into(),
        matches: HeaderMatch::Value(exact("the right one")),
        invert: false,
        treat_missing_as_empty: false,
    });
    let path = vec!["payload".into(), "email".into()];
    let claim = Principal::Metadata { filter: "jwt".into(), path, value: exact("staff") };
    let mut metadata = Metadata::default();
    metadata.set("jwt".into(), json!({"payload": {"email": "alice@example"}}));
    let by = |principal| rules(PolicyAction::Allow, vec![policy("p", vec![Permission::Any], vec![principal])]);
    let told = |rules: &Rbac| ask(None, "/", &metadata, |r| missing(rules, &Subject::request(r)).join(""));
    assert_eq!(told(&by(key)), "p: header x-tok is another, asked for is what the policy says");
    assert_eq!(told(&by(claim)), "p: payload.email of jwt is another, asked for is \"staff\"");
}

proptest! {
    #[test]
    fn and_or_not_are_what_they_say(bits in prop::collection::vec(any::<bool>(), 1..5), negate: bool) {
        let leaf = |b: &bool| if *b { Permission::Any } else { Permission::Not(Box::new(Permission::Any)) };
        let wrap = |p: Permission| if negate { Permission::Not(Box::new(p)) } else { p };
        let all = wrap(Permission::And(bits.iter().map(leaf).collect()));
        let any = wrap(Permission::Or(bits.iter().map(leaf).collect()));
        let holds = |p| allowed(&rules(PolicyAction::Allow, vec![policy("p", vec![p], vec![Principal::Any])]), None, "/");
        prop_assert_eq!(holds(all), bits.iter().all(|b| *b) != negate);
        prop_assert_eq!(holds(any), bits.iter().any(|b| *b) != negate);
    }
}
