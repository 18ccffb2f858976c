//! What becomes of requests of the blog: web in front of was, mysql without a sidecar, and the ingress outside the mesh.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::world::{KINDS, World};

/// A pod with its EndpointSlice's part to play.
pub(crate) fn pod(name: &str, ip: &str, sidecar: bool) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": "blog", "name": format!("{name}-abc"), "labels": {"app": name, "version": "v1"},
            "ownerReferences": [{"kind": "DaemonSet", "name": name, "controller": true}],
        },
        "spec": {"serviceAccountName": name, "containers": [{"name": name, "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    if sidecar {
        pod["metadata"]["labels"]["security.istio.io/tlsMode"] = "istio".into();
        pod["spec"]["initContainers"] = json!([{"name": "istio-proxy", "args": ["proxy", "sidecar"]}]);
    }
    pod
}

fn service(name: &str, cluster_ip: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "blog", "name": name},
        "spec": {
            "clusterIP": cluster_ip, "clusterIPs": [cluster_ip], "selector": {"app": name},
            "ports": [{"name": "http", "port": port, "targetPort": 8080}],
        },
    })
}

pub(crate) fn slice(name: &str, ip: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": "blog", "name": format!("{name}-1"), "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{
            "addresses": [ip], "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "namespace": "blog", "name": format!("{name}-abc")},
        }],
    })
}

fn put(world: &World, object: Value) {
    let api = object["apiVersion"].as_str().unwrap();
    let group = api.rsplit_once('/').map_or("", |(group, _)| group);
    let kind = KINDS.iter().find(|k| k.group == group && object["kind"] == k.kind).unwrap();
    world.put(*kind, object);
}

/// Of the cluster that has the blog.
pub(crate) fn objects() -> Vec<Value> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "blog"}});
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"namespace": "blog", "name": "blog"},
        "spec": {"rules": [{"host": "blog.example.com", "http": {"paths": [{
            "path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}},
        }]}}]},
    });
    let mut edge = pod("edge", "10.0.0.9", false);
    edge["metadata"]["namespace"] = "ingress-nginx".into();
    edge["spec"]["containers"][0]["args"] = json!(["proxy", "router"]);
    vec![
        namespace,
        ingress,
        edge,
        pod("web", "10.0.0.1", true),
        pod("was", "10.0.0.2", true),
        pod("mysql", "10.0.0.3", false),
        service("web", "10.96.0.1", 80),
        service("was", "10.96.0.2", 8080),
        slice("web", "10.0.0.1"),
        slice("was", "10.0.0.2"),
    ]
}

pub(crate) fn blog(more: impl IntoIterator<Item = Value>) -> Mesh {
    let world = World::default();
    for object in objects().into_iter().chain(more) {
        put(&world, object);
    }
    Mesh::of(&world, "Kubernetes", "cluster.local")
}

fn ask(mesh: &Mesh, from: &str, host: &str, port: u16, headers: &[(&str, &str)]) -> Explanation {
    let namespace = if from == "edge" { "ingress-nginx" } else { "blog" };
    let headers: BTreeMap<String, String> = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let to = To { host: host.to_owned(), port, method: String::new(), path: "/api/posts".to_owned(), headers };
    let from = From { namespace: namespace.to_owned(), workload: from.to_owned() };
    thought(mesh, &Thought { from, to }, 1_700_000_000).unwrap()
}

fn step<'e>(explanation: &'e Explanation, hop: usize, step: &str) -> &'e Step {
    let steps = &explanation.hops[hop].steps;
    steps.iter().rev().find(|found| found.step == step).unwrap_or_else(|| panic!("no {step}: {}", render(explanation)))
}

pub(crate) fn istio(kind: &str, name: &str, spec: Value) -> Value {
    let group = if kind.ends_with("Policy") || kind.ends_with("Authentication") { "security" } else { "networking" };
    json!({
        "apiVersion": format!("{group}.istio.io/v1"), "kind": kind, "metadata": {"namespace": "blog", "name": name},
        "spec": spec,
    })
}

#[test]
fn a_good_request_goes_over_mutual_tls_to_a_pod() {
    let told = ask(&blog([]), "web", "was", 0, &[]);
    assert_eq!(told.outcome, Outcome::Ok, "{}", render(&told));
    assert_eq!(told.request.host, "was:8080");
    assert_eq!(told.hops.len(), 2);
    assert_eq!(step(&told, 0, "address").chosen, "10.96.0.2:8080");
    assert_eq!(step(&told, 0, "route").chosen, "outbound|8080||was.blog.svc.cluster.local");
    assert_eq!(step(&told, 0, "tls").chosen, "mutual TLS of the mesh");
    assert_eq!(step(&told, 1, "peerAuthentication").chosen, "PERMISSIVE");
    assert_eq!(step(&told, 1, "tls").chosen, "spiffe://cluster.local/ns/blog/sa/web");
    assert!(told.verdict.contains("was-abc"), "{}", told.verdict);
}

#[test]
fn a_wrong_host_is_passed_on_and_the_service_that_was_meant_is_told() {
    let told = ask(&blog([]), "web", "was", 8080, &[("Host", "blog.example.com")]);
    assert_eq!(told.outcome, Outcome::Passthrough, "{}", render(&told));
    let passed = step(&told, 0, "passthrough");
    assert!(passed.because.contains("Ingress blog/blog"), "{}", passed.because);
    assert!(passed.because.contains("proxy_set_header Host was.blog.svc.cluster.local;"), "{}", passed.because);
    assert_eq!(told.hops[1].proxy.workload, "was", "it arrives all the same");
    assert_eq!(step(&told, 1, "tls").chosen, "no identity");
    let strict = istio("PeerAuthentication", "default", json!({"mtls": {"mode": "STRICT"}}));
    let told = ask(&blog([strict]), "web", "was", 8080, &[("Host", "blog.example.com")]);
    assert_eq!(told.outcome, Outcome::Failed, "{}", render(&told));
    assert!(told.verdict.contains("503 (UC)"), "{}", told.verdict);
}

#[test]
fn what_nobody_registered_comes_with_its_registration() {
    let told = ask(&blog([]), "web", "api.example.org", 8080, &[]);
    assert_eq!(told.outcome, Outcome::Passthrough, "{}", render(&told));
    assert!(told.verdict.contains("kind: ServiceEntry"), "{}", told.verdict);
    let sidecar = istio("Sidecar", "default", json!({"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}));
    let told = ask(&blog([sidecar]), "web", "api.example.org", 8080, &[]);
    assert_eq!(told.outcome, Outcome::Blackhole, "{}", render(&told));
    assert_eq!(step(&told, 0, "blackhole").by.as_ref().unwrap().kind, "Sidecar");
}

#[test]
fn a_denial_names_the_policy_and_the_rule() {
    let rules = json!({"selector": {"matchLabels": {"app": "was"}}, "action": "ALLOW", "rules": [
        {"from": [{"source": {"principals": ["cluster.local/ns/blog/sa/default"]}}], "to": [{"operation": {"ports": ["8080"]}}]},
    ]});
    let told = ask(&blog([istio("AuthorizationPolicy", "was-authz", rules)]), "web", "was", 8080, &[]);
    assert_eq!(told.outcome, Outcome::Denied, "{}", render(&told));
    let denied = step(&told, 1, "authorization");
    let by = denied.by.as_ref().unwrap();
    assert_eq!((by.kind.as_str(), by.name.as_str(), denied.ok), ("AuthorizationPolicy", "was-authz", false));
    assert!(by.line > 1, "the rule has a line: {by:?}");
    assert!(denied.rejected[0].why.contains("sa/web"), "{:?}", denied.rejected);
    assert!(told.verdict.contains("403"), "{}", told.verdict);
    let deny = json!({"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/api/*"]}}]}]});
    let told = ask(&blog([istio("AuthorizationPolicy", "no-api", deny)]), "web", "was", 8080, &[]);
    assert_eq!((told.outcome, step(&told, 1, "authorization").chosen.as_str()), (Outcome::Denied, "denied (DENY)"));
}

#[test]
fn strict_towards_the_ingress_is_a_502_that_names_who_is_outside() {
    let strict = istio("PeerAuthentication", "default", json!({"mtls": {"mode": "STRICT"}}));
    let told = ask(&blog([strict]), "edge", "blog.example.com", 443, &[]);
    assert_eq!(told.outcome, Outcome::Failed, "{}", render(&told));
    assert!(
        told.verdict.contains("502") && told.verdict.contains("PeerAuthentication blog/default"),
        "{}",
        told.verdict
    );
    assert_eq!(step(&told, 0, "route").by.as_ref().unwrap().kind, "Ingress");
    assert_eq!(step(&told, 1, "peerAuthentication").by.as_ref().unwrap().name, "default");
    let told = ask(&blog([]), "edge", "blog.example.com", 443, &[]);
    assert_eq!(told.outcome, Outcome::Ok, "{}", render(&told));
}

#[test]
fn rules_that_lost_are_told_with_why() {
    let rules = json!({"hosts": ["was"], "http": [
        {"match": [{"headers": {"x-canary": {"exact": "yes"}}}], "route": [{"destination": {"host": "was", "subset": "v2"}}]},
        {"match": [{"uri": {"prefix": "/admin"}}], "route": [{"destination": {"host": "was"}}]},
        {"timeout": "3s", "retries": {"attempts": 2, "perTryTimeout": "1s"}, "route": [
            {"destination": {"host": "was", "subset": "v1"}, "weight": 90},
            {"destination": {"host": "was", "subset": "v2"}, "weight": 10},
        ]},
    ]});
    let subsets = json!({"host": "was", "subsets": [
        {"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}},
    ]});
    let mesh = blog([istio("VirtualService", "was", rules), istio("DestinationRule", "was", subsets)]);
    let told = ask(&mesh, "web", "was", 8080, &[]);
    assert_eq!(told.outcome, Outcome::Ok, "{}", render(&told));
    let route = step(&told, 0, "route");
    assert_eq!(route.chosen, "outbound|8080|v1|was.blog.svc.cluster.local");
    let why: Vec<&str> = route.rejected.iter().map(|r| r.why.as_str()).collect();
    assert_eq!(why.len(), 3, "{why:?}");
    assert!(why[0].contains("there is no header x-canary"), "{why:?}");
    assert!(why[1].contains("\"/api/posts\"") && why[1].contains("prefix \"/admin\""), "{why:?}");
    assert_eq!(why[2], "gets 10 of 100 requests");
    let cluster = step(&told, 0, "cluster");
    assert!(cluster.because.contains("version=v1"), "{}", cluster.because);
    assert!(step(&told, 0, "retry").chosen.contains("timeout 3s, up to 2 retries"));
    let (route, cluster) = (route.by.as_ref().unwrap(), cluster.by.as_ref().unwrap());
    assert_eq!((route.kind.as_str(), cluster.kind.as_str()), ("VirtualService", "DestinationRule"));
    assert!(route.line > 1 && cluster.line > 1);
    // The other side of the split has no pod.
    let told = ask(&mesh, "web", "was", 8080, &[("x-canary", "yes")]);
    assert_eq!(told.outcome, Outcome::Failed, "{}", render(&told));
    assert!(told.verdict.contains("503 (UH)") && told.verdict.contains("subset v2"), "{}", told.verdict);
}

#[test]
fn what_is_not_there_is_said() {
    let mesh = blog([]);
    let told = ask(&mesh, "web", "waz", 8080, &[]);
    assert_eq!(told.outcome, Outcome::Failed);
    assert!(told.verdict.contains("no Service is called waz"), "{}", told.verdict);
    let told = ask(&mesh, "mysql", "was", 8080, &[]);
    assert_eq!((told.outcome, told.hops.len()), (Outcome::Ok, 2), "{}", render(&told));
    assert!(step(&told, 0, "interception").because.contains("no sidecar"));
    let from = From { namespace: "blog".to_owned(), workload: "nobody".to_owned() };
    let to =
        To { host: "was".to_owned(), port: 0, method: String::new(), path: String::new(), headers: BTreeMap::new() };
    assert!(matches!(thought(&mesh, &Thought { from, to }, 0), Err(Refusal::NotFound(_))));
}

#[test]
fn a_fault_that_meets_everybody_ends_the_request() {
    let rules = json!({"hosts": ["was"], "http": [{
        "fault": {"abort": {"httpStatus": 418, "percentage": {"value": 100}}}, "route": [{"destination": {"host": "was"}}],
    }]});
    let told = ask(&blog([istio("VirtualService", "was", rules)]), "web", "was", 8080, &[]);
    assert_eq!(told.outcome, Outcome::Failed);
    assert!(told.verdict.contains("418 (FI)"), "{}", told.verdict);
    assert!(step(&told, 0, "fault").by.as_ref().unwrap().line > 1);
}

#[test]
fn what_was_recorded_is_put_beside_what_is_decided() {
    let hop = |pod: &str, direction, ids: [u8; 2], status, cluster: &str| RecordedHop {
        id: vec![ids[0]],
        parent: vec![ids[1]],
        namespace: "blog".to_owned(),
        pod: pod.to_owned(),
        direction,
        method: "GET".to_owned(),
        scheme: "http".to_owned(),
        authority: "was:8080".to_owned(),
        path: "/api/posts".to_owned(),
        grpc: false,
        user_agent: String::new(),
        cluster: cluster.to_owned(),
        status,
        flags: "-".to_owned(),
        peer: None,
        dialled: None,
        details: String::new(),
        upstream: String::new(),
        server_name: String::new(),
    };
    let was = "outbound|8080||was.blog.svc.cluster.local";
    let hops = vec![
        hop("web-abc", Direction::Outbound, [1, 0], 200, was),
        hop("was-abc", Direction::Inbound, [2, 1], 200, "inbound|8080||"),
    ];
    let told = trace(&blog([]), &Recorded { hops }, 0).unwrap();
    assert_eq!((told.outcome, told.hops.len()), (Outcome::Ok, 2), "{}", render(&told));
    assert!(step(&told, 0, "recorded").ok && step(&told, 1, "recorded").ok, "{}", render(&told));
    assert!(told.verdict.starts_with("The client got 200."), "{}", told.verdict);
    // It went elsewhere than is decided now, and came back well though it is denied now.
    let deny = istio("AuthorizationPolicy", "no", json!({"action": "DENY", "rules": [{}]}));
    let hops = vec![hop("web-abc", Direction::Outbound, [1, 0], 200, "PassthroughCluster")];
    let told = trace(&blog([deny]), &Recorded { hops }, 0).unwrap();
    let beside = step(&told, 0, "recorded");
    assert!(!beside.ok && beside.because.contains("it went to PassthroughCluster"), "{}", beside.because);
    assert!(beside.because.contains("not let through"), "{}", beside.because);
    // What happened on the way is no riddle of the configuration: it is told by the flags.
    let mut full = hop("web-abc", Direction::Outbound, [1, 0], 503, was);
    full.flags = "UO".to_owned();
    let told = trace(&blog([]), &Recorded { hops: vec![full] }, 0).unwrap();
    let beside = step(&told, 0, "recorded");
    assert!(!beside.ok && beside.because.starts_with("the connection pool was full"), "{}", beside.because);
    assert_eq!(told.outcome, Outcome::Failed);
    let begins = "The client got 503. Configuration lets it through, and then the connection pool was full";
    assert!(told.verdict.starts_with(begins) && told.verdict.ends_with("(at web, UO)."), "{}", told.verdict);
    let mut made_up_for = vec![
        hop("web-abc", Direction::Outbound, [1, 0], 200, was),
        hop("web-abc", Direction::Outbound, [2, 1], 503, was),
    ];
    made_up_for[1].flags = "UO".to_owned();
    let told = trace(&blog([]), &Recorded { hops: made_up_for }, 0).unwrap();
    assert_eq!(told.outcome, Outcome::Ok, "{}", told.verdict);
    // Nor is what the application answers.
    let hops = vec![
        hop("web-abc", Direction::Outbound, [1, 0], 500, was),
        hop("was-abc", Direction::Inbound, [2, 1], 500, "inbound|8080||"),
    ];
    let told = trace(&blog([]), &Recorded { hops }, 0).unwrap();
    let own =
        "The client got 500. It reaches was-abc of blog over mutual TLS. What is answered is the application's own.";
    assert_eq!(told.verdict, own);
    // Of a client that leaves no spans the log says that it came over the mesh's TLS.
    let strict = || istio("PeerAuthentication", "default", json!({"mtls": {"mode": "STRICT"}}));
    let mut alone = hop("was-abc", Direction::Inbound, [2, 9], 200, "inbound|8080||");
    alone.peer = "10.0.0.1".parse().ok();
    let told = trace(&blog([strict()]), &Recorded { hops: vec![alone.clone()] }, 0).unwrap();
    assert_eq!(told.outcome, Outcome::Failed, "{}", render(&told));
    alone.server_name = "outbound_.8080_._.was.blog.svc.cluster.local".to_owned();
    let told = trace(&blog([strict()]), &Recorded { hops: vec![alone] }, 0).unwrap();
    assert_eq!(told.outcome, Outcome::Ok, "{}", render(&told));
    assert_eq!(step(&told, 0, "tls").chosen, "spiffe://cluster.local/ns/blog/sa/web");
    // A pod that is gone is taken for another one of its workload.
    let hops = vec![hop("web-7c9f-xyz", Direction::Outbound, [1, 0], 200, was)];
    assert_eq!(trace(&blog([]), &Recorded { hops }, 0).unwrap().hops[0].proxy.workload, "web");
    assert!(matches!(trace(&blog([]), &Recorded::default(), 0), Err(Refusal::Bad(_))));
}

mod decides_as_the_data_plane {
    use std::net::SocketAddr;

    use proptest::prelude::*;
    use varka_engine::facts::{Connection, Metadata, Request};
    use varka_engine::host::RouteIndex;
    use varka_engine::ir::{HttpFilter, Terminal};
    use varka_engine::rbac::{self, Subject};
    use varka_engine::route::decide;
    use varka_engine::trace::Trace;

    use super::*;

    #[derive(Debug, Clone)]
    struct Rule {
        prefix: Option<&'static str>,
        canary: bool,
        subset: &'static str,
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let prefix = prop::option::of(prop::sample::select(vec!["/a", "/a/b", "/c"]));
        (prefix, any::<bool>(), prop::sample::select(vec!["v1", "v2", "v3"]))
            .prop_map(|(prefix, canary, subset)| Rule { prefix, canary, subset })
    }

    fn written(rules: &[Rule]) -> Value {
        let one = |rule: &Rule| {
            let mut found = json!({});
            if let Some(prefix) = rule.prefix {
                found["uri"] = json!({"prefix": prefix});
            }
            if rule.canary {
                found["headers"] = json!({"x-canary": {"exact": "yes"}});
            }
            let route = json!([{"destination": {"host": "was", "subset": rule.subset}}]);
            if found == json!({}) { json!({"route": route}) } else { json!({"match": [found], "route": route}) }
        };
        json!({"hosts": ["was"], "http": rules.iter().map(one).collect::<Vec<_>>()})
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// The route by the whole configuration, as a proxy has it that is pushed everything.
        #[test]
        fn about_routes(rules in prop::collection::vec(rule(), 1..5), path in "/(a|a/b|c|d)(/x)?", canary in any::<bool>()) {
            let subsets: Vec<Value> =
                ["v1", "v2"].iter().map(|name| json!({"name": name, "labels": {"version": name}})).collect();
            let mesh = blog([
                istio("VirtualService", "was", written(&rules)),
                istio("DestinationRule", "was", json!({"host": "was", "subsets": subsets})),
            ]);
            let headers = if canary { vec![("x-canary", "yes")] } else { Vec::new() };
            let mut to = BTreeMap::new();
            to.extend(headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
            let to = To { host: "was".to_owned(), port: 8080, method: String::new(), path: path.clone(), headers: to };
            let from = From { namespace: "blog".to_owned(), workload: "web".to_owned() };
            let told = thought(&mesh, &Thought { from, to }, 0).unwrap();

            let pod = mesh.pod_of("blog", "web").unwrap();
            let (proxy, _) = varka_pilot::compile_all(mesh.snapshot(), &pod.key);
            let index = RouteIndex::new(std::sync::Arc::clone(&proxy.routes["8080"]));
            let connection = Connection::plain("10.96.0.2:8080".parse().unwrap(), "10.0.0.1:40000".parse().unwrap());
            let map = headers.iter().map(|(k, v)| (k.parse::<::http::HeaderName>().unwrap(), v.parse().unwrap())).collect();
            let request = Request {
                method: "GET", scheme: "http", authority: "was:8080", path: &path, headers: &map, connection: &connection,
                remote_address: connection.peer, metadata: Metadata::EMPTY, version: ::http::Version::HTTP_11,
            };
            let decided = decide(&index, &request, 0, &mut Trace::off());
            let shown = step(&told, 0, "route");
            match decided {
                Ok(decision) => {
                    prop_assert_eq!(&shown.chosen, &decision.cluster().unwrap().to_string());
                    let exists = proxy.clusters.contains_key(decision.cluster().unwrap());
                    prop_assert_eq!(told.outcome == Outcome::Ok, exists && !shown.chosen.contains("|v2|"));
                }
                Err(_) => prop_assert_eq!((shown.chosen.as_str(), told.outcome), ("none", Outcome::Failed)),
            }
        }

        /// Policies by the chain of the whole configuration.
        #[test]
        fn about_policies(
            allow in prop::option::of(prop::sample::select(vec!["web", "was", "*"])),
            denied in prop::option::of(prop::sample::select(vec!["/a*", "/b", "*"])),
            path in "/(a|b)",
        ) {
            let mut more = Vec::new();
            if let Some(account) = allow {
                let source = if account == "*" { json!({}) } else {
                    json!({"from": [{"source": {"principals": [format!("cluster.local/ns/blog/sa/{account}")]}}]})
                };
                more.push(istio("AuthorizationPolicy", "allow", json!({"rules": [source]})));
            }
            if let Some(paths) = denied {
                let rule = json!({"to": [{"operation": {"paths": [paths]}}]});
                more.push(istio("AuthorizationPolicy", "deny", json!({"action": "DENY", "rules": [rule]})));
            }
            let mesh = blog(more);
            let to = To { host: "was".to_owned(), port: 8080, method: String::new(), path: path.clone(), headers: BTreeMap::new() };
            let from = From { namespace: "blog".to_owned(), workload: "web".to_owned() };
            let told = thought(&mesh, &Thought { from, to }, 0).unwrap();

            let (web, was) = (mesh.pod_of("blog", "web").unwrap(), mesh.pod_of("blog", "was").unwrap());
            let (proxy, _) = varka_pilot::compile_all(mesh.snapshot(), &was.key);
            let identity = varka_engine::facts::PeerIdentity::of_uri(&web.identity("cluster.local"));
            let mut connection = Connection::plain(SocketAddr::new(was.ip, 8080), SocketAddr::new(web.ip, 40000));
            connection.peer_identity = Some(&identity);
            let map = ::http::HeaderMap::new();
            let request = Request {
                method: "GET", scheme: "http", authority: "was:8080", path: &path, headers: &map, connection: &connection,
                remote_address: connection.peer, metadata: Metadata::EMPTY, version: ::http::Version::HTTP_11,
            };
            let chains = &proxy.listeners["virtualInbound"].filter_chains;
            let manager = chains.iter().filter(|c| c.matches.destination_port == Some(8080) && c.tls.is_some());
            let manager = manager.filter_map(|c| match &c.terminal { Terminal::Http(m) => Some(m), Terminal::Tcp(_) => None });
            let filters: Vec<&HttpFilter> = manager.flat_map(|m| &m.filters).collect();
            let allowed = filters.iter().all(|filter| match filter {
                HttpFilter::Rbac(rules) => rbac::evaluate(rules, &Subject::request(&request)).allowed,
                _ => true,
            });
            prop_assert_eq!(told.outcome, if allowed { Outcome::Ok } else { Outcome::Denied }, "{}", render(&told));
        }
    }
}
