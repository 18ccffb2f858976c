//! What becomes of requests of the blog of [`crate::explain::tests`].

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::explain::tests::{blog, istio, pod, slice};

const NOW: u64 = 1_700_000_000;

fn hop(from: &str, authority: &str, path: &str, cluster: &str) -> RecordedHop {
    RecordedHop {
        id: vec![1],
        parent: Vec::new(),
        namespace: if from == "edge" { "ingress-nginx" } else { "blog" }.to_owned(),
        pod: format!("{from}-abc"),
        direction: Direction::Outbound,
        method: "GET".to_owned(),
        scheme: if from == "edge" { "https" } else { "http" }.to_owned(),
        authority: authority.to_owned(),
        path: path.to_owned(),
        grpc: false,
        user_agent: "curl".to_owned(),
        cluster: cluster.to_owned(),
        status: 200,
        flags: "-".to_owned(),
        peer: None,
        dialled: None,
        details: String::new(),
        upstream: String::new(),
        server_name: String::new(),
    }
}

const WAS: &str = "outbound|8080||was.blog.svc.cluster.local";

fn shape(hop: RecordedHop, requests: u32, code: u16) -> Shape {
    let example =
        Example { at: 1, method: hop.method.clone(), path: hop.path.clone(), code, trace_id: "01".repeat(16) };
    let (codes, examples) = ([(code, u64::from(requests))].into(), vec![example]);
    Shape { hop, requests: requests.into(), recorded: requests.into(), codes, examples }
}

/// From web to was, and from the ingress to web.
fn usual() -> [Shape; 2] {
    let web = "outbound|80||web.blog.svc.cluster.local";
    [
        shape(hop("web", "was:8080", "/api/posts", WAS), 38, 200),
        shape(hop("edge", "blog.example.com", "/", web), 600, 200),
    ]
}

fn predicted(shapes: &[Shape], before: Vec<Value>, after: Vec<Value>) -> Effect {
    predict(shapes, (&blog(before), &blog(after)), NOW, &|_| true, &mut || true)
}

fn only(effect: &Effect) -> &Group {
    assert_eq!(effect.groups.len(), 1, "{effect:#?}");
    &effect.groups[0]
}

fn total(effect: &Effect) -> u64 {
    effect.same + effect.groups.iter().map(|group| group.requests).sum::<u64>()
}

#[test]
fn a_policy_refuses_those_whom_it_does_not_name() {
    let rules = json!({"selector": {"matchLabels": {"app": "was"}}, "rules": [
        {"from": [{"source": {"principals": ["cluster.local/ns/blog/sa/default"]}}]},
    ]});
    let policy = istio("AuthorizationPolicy", "was-allow", rules);
    let effect = predicted(&usual(), vec![], vec![policy.clone()]);
    let group = only(&effect);
    assert_eq!((group.kind, group.requests, group.share), (Kind::Denied, 38, 1.0), "{effect:#?}");
    assert_eq!((effect.requests, effect.same, effect.recorded), (638, 600, 638));
    assert_eq!((group.from.workload.as_str(), group.to.as_str()), ("web", "was.blog.svc.cluster.local"));
    assert_eq!((group.before.outcome, group.before.status), (Outcome::Ok, None));
    assert_eq!((group.after.outcome, group.after.status), (Outcome::Denied, Some(403)));
    let by = group.by.as_ref().unwrap();
    assert_eq!(
        (by.kind.as_str(), by.name.as_str(), by.field.as_str()),
        ("AuthorizationPolicy", "was-allow", "spec.rules[0]")
    );
    assert!(by.line > 1, "{by:?}");
    assert_eq!(group.codes, [(200, 38)].into());
    assert_eq!(group.examples[0].path, "/api/posts");
    // Taken away, they are let through; the rule is told as it is now.
    let shapes = [shape(hop("web", "was:8080", "/api/posts", WAS), 38, 403)];
    let effect = predicted(&shapes, vec![policy.clone()], vec![]);
    let group = only(&effect);
    assert_eq!((group.kind, group.by.as_ref().unwrap().name.as_str()), (Kind::Allowed, "was-allow"));
    // One that is refused for another reason is refused as before.
    let deny = istio("AuthorizationPolicy", "no", json!({"action": "DENY", "rules": [{}]}));
    let effect = predicted(&shapes, vec![policy], vec![deny]);
    assert_eq!((effect.groups.len(), effect.same), (0, 38), "{effect:#?}");
}

#[test]
fn only_the_paths_that_a_policy_names_are_refused() {
    let shapes = [
        shape(hop("web", "was:8080", "/api/posts", WAS), 10, 200),
        shape(hop("web", "was:8080", "/admin/users", WAS), 5, 200),
        shape(hop("web", "was:8080", "/admin/keys", WAS), 2, 200),
    ];
    let deny = json!({"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/admin/*"]}}]}]});
    let effect = predicted(&shapes, vec![], vec![istio("AuthorizationPolicy", "no-admin", deny)]);
    let group = only(&effect);
    assert_eq!((group.kind, group.requests, effect.same), (Kind::Denied, 7, 10), "{effect:#?}");
    assert_eq!((group.share * 17.0).round(), 7.0);
    assert_eq!(group.examples.len(), 2, "of both paths");
}

/// A second version of was behind the same Service.
fn canary() -> Vec<Value> {
    let mut second = pod("was2", "10.0.0.4", true);
    second["metadata"]["labels"] = json!({"app": "was", "version": "v2", "security.istio.io/tlsMode": "istio"});
    let mut endpoints = slice("was", "10.0.0.2");
    endpoints["endpoints"].as_array_mut().unwrap().push(json!({
        "addresses": ["10.0.0.4"], "conditions": {"ready": true},
        "targetRef": {"kind": "Pod", "namespace": "blog", "name": "was2-abc"},
    }));
    let subsets = json!([{"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}}]);
    vec![second, endpoints, istio("DestinationRule", "was", json!({"host": "was", "subsets": subsets}))]
}

fn split(v1: u32, v2: u32) -> Value {
    let route = |subset: &str, weight: u32| json!({"destination": {"host": "was", "subset": subset}, "weight": weight});
    istio("VirtualService", "was", json!({"hosts": ["was"], "http": [{"route": [route("v1", v1), route("v2", v2)]}]}))
}

fn with(mut objects: Vec<Value>, more: Value) -> Vec<Value> {
    objects.push(more);
    objects
}

#[test]
fn of_a_split_as_few_as_possible_move() {
    let v1 = "outbound|8080|v1|was.blog.svc.cluster.local";
    let shapes = [shape(hop("web", "was:8080", "/api/posts", v1), 1000, 200)];
    let effect = predicted(&shapes, with(canary(), split(90, 10)), with(canary(), split(50, 50)));
    let group = only(&effect);
    assert_eq!((group.kind, group.requests, effect.same), (Kind::Rerouted, 400, 600), "{effect:#?}");
    assert_eq!((group.before.cluster.as_str(), group.after.workload.as_str()), (v1, "blog/was2"));
    assert_eq!((group.share * 100.0).round(), 40.0);
    let by = group.by.as_ref().unwrap();
    assert_eq!((by.kind.as_str(), by.field.as_str()), ("VirtualService", "spec.http[0]"));
    // Without a rule either pod of the Service gets half, more or less.
    let shapes = [shape(hop("web", "was:8080", "/api/posts", WAS), 1000, 200)];
    let effect = predicted(&shapes, canary(), with(canary(), split(100, 0)));
    let to_first = effect.groups.iter().filter(|g| g.kind == Kind::Rerouted && g.before.workload == "blog/was2");
    let moved: u64 = to_first.map(|group| group.requests).sum();
    assert!((350..650).contains(&moved), "{effect:#?}");
    assert_eq!(total(&effect), 1000);
}

#[test]
fn a_subset_without_pods_fails() {
    let shapes = [shape(hop("web", "was:8080", "/api/posts", WAS), 10, 200)];
    let mut rules = canary();
    rules.drain(..2);
    let effect = predicted(&shapes, rules.clone(), with(rules, split(70, 30)));
    let failed: Vec<_> = effect.groups.iter().filter(|group| group.kind == Kind::Failed).collect();
    assert_eq!((failed.len(), failed[0].requests, failed[0].after.status), (1, 3, Some(503)), "{effect:#?}");
    assert!(failed[0].because.contains("subset v2"), "{effect:#?}");
}

#[test]
fn a_fault_for_a_share_meets_a_share() {
    let abort = json!({"abort": {"httpStatus": 418, "percentage": {"value": 30}}});
    let rules = json!({"hosts": ["was"], "http": [{"fault": abort, "route": [{"destination": {"host": "was"}}]}]});
    let shapes = [shape(hop("web", "was:8080", "/", WAS), 100, 200)];
    // A VirtualService that says nothing of its own leaves time limits and retries as they are.
    let plain = json!({"hosts": ["was"], "http": [{"route": [{"destination": {"host": "was"}}]}]});
    let (plain, faulty) = (istio("VirtualService", "was", plain), istio("VirtualService", "was", rules));
    let effect = predicted(&shapes, vec![plain.clone()], vec![faulty]);
    let group = only(&effect);
    assert_eq!((group.kind, group.requests, group.after.status), (Kind::Failed, 30, Some(418)), "{effect:#?}");
    assert_eq!(effect.same, 70);
    let delay = json!({"delay": {"fixedDelay": "2s", "percentage": {"value": 30}}});
    let slow = json!({"hosts": ["was"], "http": [{"fault": delay, "route": [{"destination": {"host": "was"}}]}]});
    let effect = predicted(&shapes, vec![plain], vec![istio("VirtualService", "was", slow)]);
    let group = only(&effect);
    assert_eq!((group.kind, group.changes[0].after.as_str()), (Kind::Altered, "2s of delay for 30 % of requests"));
}

#[test]
fn time_limits_and_settings_of_clusters_alter() {
    let shapes = [shape(hop("web", "was:8080", "/", WAS), 10, 200)];
    let rule = |timeout: &str| {
        let route = json!([{"destination": {"host": "was"}}]);
        istio("VirtualService", "was", json!({"hosts": ["was"], "http": [{"timeout": timeout, "route": route}]}))
    };
    let effect = predicted(&shapes, vec![rule("3s")], vec![rule("5s")]);
    let group = only(&effect);
    assert_eq!((group.kind, group.changes[0].step), (Kind::Altered, "retry"), "{effect:#?}");
    assert!(group.changes[0].before.contains("3s") && group.changes[0].after.contains("5s"), "{effect:#?}");
    let pool = json!({"host": "was", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 1}}}});
    let effect = predicted(&shapes, vec![], vec![istio("DestinationRule", "was", pool)]);
    let group = only(&effect);
    assert_eq!((group.kind, group.changes[0].step), (Kind::Altered, "cluster"), "{effect:#?}");
    assert_eq!(group.by.as_ref().unwrap().kind, "DestinationRule");
}

#[test]
fn strict_refuses_who_is_outside_the_mesh() {
    let strict = istio("PeerAuthentication", "default", json!({"mtls": {"mode": "STRICT"}}));
    let effect = predicted(&usual(), vec![], vec![strict]);
    let group = only(&effect);
    assert_eq!((group.kind, group.requests, group.after.status), (Kind::Failed, 600, Some(502)), "{effect:#?}");
    assert_eq!(group.by.as_ref().unwrap().kind, "PeerAuthentication");
    assert_eq!(effect.same, 38, "those over mutual TLS go on");
}

#[test]
fn what_hangs_on_a_header_is_not_known() {
    let conditions = json!([{"key": "request.headers[x-token]", "values": ["secret"]}]);
    let deny = istio("AuthorizationPolicy", "no", json!({"action": "DENY", "rules": [{"when": conditions}]}));
    let shapes = [shape(hop("web", "was:8080", "/api/posts", WAS), 38, 200)];
    let effect = predicted(&shapes, vec![], vec![deny.clone()]);
    let group = only(&effect);
    assert_eq!((group.kind, group.requests), (Kind::Unknown, 38), "{effect:#?}");
    assert!(group.because.contains("header x-token") && group.because.contains("policy[no]"), "{}", group.because);
    // It was there before, and another rule is added that does not ask for it.
    let more = istio(
        "AuthorizationPolicy",
        "more",
        json!({"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/x"]}}]}]}),
    );
    let effect = predicted(&shapes, vec![deny.clone()], vec![deny, more]);
    assert_eq!((effect.groups.len(), effect.same), (0, 38), "{effect:#?}");

    let rule = |header_to: &str| {
        let found = json!([{"headers": {"x-canary": {"exact": "yes"}}}]);
        istio(
            "VirtualService",
            "was",
            json!({"hosts": ["was"], "http": [
                {"match": found, "route": [{"destination": {"host": "was", "subset": header_to}}]},
                {"route": [{"destination": {"host": "was", "subset": "v1"}}]},
            ]}),
        )
    };
    let effect = predicted(&shapes, canary(), with(canary(), rule("v2")));
    let group = only(&effect);
    assert_eq!(group.kind, Kind::Unknown, "{effect:#?}");
    assert!(group.because.contains("header x-canary"), "{}", group.because);
    let effect = predicted(&shapes, with(canary(), rule("v2")), with(canary(), rule("v1")));
    assert_eq!(only(&effect).kind, Kind::Unknown, "where the header leads is another place");
    // A path that the rule does not take hangs on nothing.
    let elsewhere = istio(
        "VirtualService",
        "was",
        json!({"hosts": ["was"], "http": [
            {"match": [{"uri": {"prefix": "/other"}, "headers": {"x-canary": {"exact": "yes"}}}],
             "route": [{"destination": {"host": "was", "subset": "v2"}}]},
            {"route": [{"destination": {"host": "was"}}]},
        ]}),
    );
    let effect = predicted(&shapes, canary(), with(canary(), elsewhere));
    assert!(effect.groups.iter().all(|group| group.kind != Kind::Unknown), "{effect:#?}");
}

#[test]
fn tokens_are_not_recorded() {
    let rules = json!({"jwtRules": [{"issuer": "https://issuer.example", "jwks": "{\"keys\": []}"}]});
    let shapes = [shape(hop("web", "was:8080", "/api/posts", WAS), 5, 200)];
    let effect = predicted(&shapes, vec![], vec![istio("RequestAuthentication", "jwt", rules)]);
    let group = only(&effect);
    assert_eq!(
        (group.kind, group.because.as_str()),
        (Kind::Unknown, "a token (of https://issuer.example)"),
        "{effect:#?}"
    );
}

#[test]
fn what_is_not_to_be_seen_is_counted_and_not_told() {
    let deny = || vec![istio("AuthorizationPolicy", "no", json!({"action": "DENY", "rules": [{}]}))];
    let meshes = (&blog([]), &blog(deny()));
    let effect = predict(&usual(), meshes, NOW, &|namespace| namespace == "blog", &mut || true);
    assert_eq!((effect.hidden, effect.requests), (600, 38), "what comes from ingress-nginx: {effect:#?}");
    let effect = predict(&usual(), meshes, NOW, &|_| false, &mut || true);
    assert_eq!((effect.hidden, effect.requests, effect.groups.len()), (638, 0, 0));
}

#[test]
fn what_there_is_no_time_for_is_counted() {
    let deny = istio("AuthorizationPolicy", "no", json!({"action": "DENY", "rules": [{}]}));
    let mut left = 1;
    let mut go_on = || {
        left -= 1;
        left >= 0
    };
    let effect = predict(&usual(), (&blog([]), &blog([deny])), NOW, &|_| true, &mut go_on);
    assert_eq!((effect.unexamined, effect.requests), (38, 600), "the most first: {effect:#?}");
    let gone = [shape(RecordedHop { pod: "gone-x".to_owned(), ..hop("web", "was:8080", "/", WAS) }, 4, 200)];
    assert_eq!(predicted(&gone, vec![], vec![]).unread, 4);
    // A server's record alone does not say how it came.
    let mut half = hop("was", "was:8080", "/", "inbound|8080||");
    (half.direction, half.peer) = (Direction::Inbound, "10.0.0.1".parse().ok());
    assert_eq!(predicted(&[shape(half.clone(), 3, 200)], vec![], vec![]).unread, 3);
    half.dialled = "10.0.0.2:8080".parse().ok();
    assert_eq!(predicted(&[shape(half, 3, 200)], vec![], vec![]).same, 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is in force, what does not change changes nothing; and whatever changes, each request is told of once.
    #[test]
    fn each_request_is_told_of_once(
        first in (0_u32..4, 0_u32..4), then in (0_u32..4, 0_u32..4), denied in prop::option::of("/(a|b|\\*)"), count in 1_u32..500,
    ) {
        let rules = |(v1, v2): (u32, u32), denied: Option<&str>| {
            let mut objects = with(canary(), split(v1, v2));
            let deny = |path: &str| json!({"action": "DENY", "rules": [{"to": [{"operation": {"paths": [path]}}]}]});
            objects.extend(denied.map(|path| istio("AuthorizationPolicy", "no", deny(path))));
            objects
        };
        let shapes = ["/a", "/b", "/c"].map(|path| shape(hop("web", "was:8080", path, WAS), count, 200));
        let as_is = predicted(&shapes, rules(first, denied.as_deref()), rules(first, denied.as_deref()));
        prop_assert_eq!((as_is.groups.len(), as_is.same), (0, u64::from(count) * 3));
        let effect = predicted(&shapes, rules(first, None), rules(then, denied.as_deref()));
        // Each group is rounded by itself.
        let groups = u64::try_from(effect.groups.len()).unwrap();
        prop_assert!(total(&effect).abs_diff(effect.requests) <= groups, "{:#?}", effect);
        prop_assert_eq!(effect.requests, u64::from(count) * 3);
    }
}
