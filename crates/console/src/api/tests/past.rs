//! A moment of the past is shown as it was, pods and their state included: a rollout, seen from before, within and after it.

use varka_proto::otlp::{ResourceSpans, ScopeSpans};

use super::*;
use crate::world::Kind;

/// When pods and all else began to be known, when a release came that has no sidecar, and when it was scaled to zero.
const BEGIN: i64 = END - 1_000;
const RELEASE: i64 = END - 50;
const GONE: i64 = END + 100;
/// When the trace began that `requests::tests::span` is of.
const SPAN: i64 = 1;

fn of(api: &str, kind: &str, name: &str, rest: Value) -> Value {
    let mut object = json!({"apiVersion": api, "kind": kind, "metadata": {"namespace": "blog-system", "name": name}});
    for (field, value) in rest.as_object().unwrap() {
        match (field.as_str(), value) {
            ("metadata", Value::Object(more)) => object["metadata"].as_object_mut().unwrap().extend(more.clone()),
            _ => drop(object.as_object_mut().unwrap().insert(field.clone(), value.clone())),
        }
    }
    object
}

fn deployment(replicas: u32, available: u32) -> Value {
    let template = json!({"metadata": {"labels": {"app": "was"}}});
    let status = json!({"replicas": replicas, "availableReplicas": available, "observedGeneration": available});
    of("apps/v1", "Deployment", "was", json!({"spec": {"replicas": replicas, "template": template}, "status": status}))
}

fn replica_set(name: &str) -> Value {
    let owner = json!([{"kind": "Deployment", "name": "was", "controller": true}]);
    of("apps/v1", "ReplicaSet", name, json!({"metadata": {"ownerReferences": owner}, "spec": {"replicas": 2}}))
}

/// Of `was`, as ReplicaSets name them, or a client that belongs to nobody.
fn pod(set: &str, name: &str, ip: &str, (sidecar, ready): (bool, bool)) -> Value {
    let owner = json!([{"kind": "ReplicaSet", "name": set, "controller": true}]);
    let app = if set.is_empty() { "web" } else { "was" };
    let mut labels = json!({"app": app, "version": set});
    if sidecar {
        labels["security.istio.io/tlsMode"] = "istio".into();
    }
    let mut metadata = json!({"labels": labels});
    if !set.is_empty() {
        metadata["ownerReferences"] = owner;
    }
    let init = if sidecar { json!([{"name": "istio-proxy", "args": ["proxy", "sidecar"]}]) } else { json!([]) };
    let ready = if ready { "True" } else { "False" };
    of(
        "v1",
        "Pod",
        name,
        json!({
            "metadata": metadata,
            "spec": {"serviceAccountName": app, "containers": [{"name": app}], "initContainers": init},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": ready}]},
        }),
    )
}

fn slice(pod: &str, ip: &str) -> Value {
    of(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        "was-service-1",
        json!({
            "metadata": {"labels": {"kubernetes.io/service-name": "was-service"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{
                "addresses": [ip], "conditions": {"ready": true},
                "targetRef": {"kind": "Pod", "namespace": "blog-system", "name": pod},
            }],
        }),
    )
}

fn kind_of(object: &Value) -> Kind {
    let group = object["apiVersion"].as_str().unwrap().rsplit_once('/').map_or("", |(group, _)| group);
    KINDS.into_iter().find(|kind| kind.group == group && object["kind"] == kind.kind).unwrap()
}

fn put(source: &Source, at: i64, objects: &[Value]) {
    for object in objects {
        source.world.put_at(kind_of(object), object.clone(), at * 1000);
    }
}

fn remove(source: &Source, at: i64, objects: &[(&str, &str)]) {
    for (name, of) in objects {
        source.world.remove_at(kind(name), &("blog-system".to_owned(), (*of).to_owned()), at * 1000);
    }
}

/// Everything that was there at a time was put.
fn all(source: &Source, at: i64) {
    for kind in KINDS {
        let name = |o: &Arc<Value>, field: &str| o["metadata"][field].as_str().unwrap_or_default().to_owned();
        let named = source.world.of(kind.group, kind.kind);
        let names = named.iter().map(|o| (name(o, "namespace"), name(o, "name"))).collect();
        for only in if kind.kind == "ConfigMap" { vec![Some("istio"), Some("istio-ca-root-cert")] } else { vec![None] }
        {
            source.world.keep(kind, &names, only, at * 1000);
        }
    }
}

/// The blog until, in and after its release; it begins to be known at `begin`.
fn released(directory: &tempfile::TempDir, begin: i64) -> Source {
    let source = source(directory);
    let source = Source { world: World::recording(source.store.clone()), ..source };
    let mut namespace =
        of("v1", "Namespace", "blog-system", json!({"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}}));
    namespace["metadata"].as_object_mut().unwrap().remove("namespace");
    let service = json!({"spec": {"clusterIP": "10.96.0.2", "clusterIPs": ["10.96.0.2"], "selector": {"app": "was"},
                                  "ports": [{"name": "http", "port": 8080, "targetPort": 8080}]}});
    let first = [
        namespace,
        of("v1", "Service", "was-service", service),
        deployment(2, 2),
        replica_set("was-1"),
        pod("was-1", "was-1-a", "10.0.0.1", (true, true)),
        pod("was-1", "was-1-b", "10.0.0.2", (true, true)),
        pod("", "web", "10.0.0.9", (true, true)),
        slice("was-1-a", "10.0.0.1"),
    ];
    put(&source, begin, &first);
    all(&source, begin);
    let second = [
        deployment(2, 1),
        replica_set("was-2"),
        pod("was-2", "was-2-a", "10.0.0.3", (false, true)),
        // An address that was another's.
        pod("was-2", "was-2-b", "10.0.0.1", (false, false)),
        slice("was-2-a", "10.0.0.3"),
    ];
    remove(&source, RELEASE, &[("Pod", "was-1-a"), ("Pod", "was-1-b"), ("ReplicaSet", "was-1")]);
    put(&source, RELEASE, &second);
    remove(&source, GONE, &[("Pod", "was-2-a"), ("Pod", "was-2-b"), ("EndpointSlice", "was-service-1")]);
    put(&source, GONE, &[deployment(0, 0)]);
    source
}

async fn was(source: &Source, at: &str) -> Value {
    let (status, all) = get(source, &format!("/console/api/workloads{at}")).await;
    assert_eq!(status, 200, "{all}");
    let found = all.as_array().unwrap().iter().find(|workload| workload["name"] == "was");
    found.cloned().unwrap_or(Value::Null)
}

fn told(workload: &Value) -> (Value, Value, Value, Value) {
    let field = |path: &str| workload.pointer(path).cloned().unwrap_or_default();
    (field("/sidecar"), field("/replicas/desired"), field("/replicas/available"), field("/health/replicas"))
}

#[tokio::test]
async fn a_workload_is_as_its_pods_were() {
    let directory = tempfile::tempdir().unwrap();
    let mut source = released(&directory, BEGIN);
    for round in 0..2 {
        let before = was(&source, &format!("?at={}", RELEASE - 1)).await;
        assert_eq!(told(&before), (json!(true), json!(2), json!(2), json!("Healthy")), "{round}: {before}");
        let within = was(&source, &format!("?at={RELEASE}")).await;
        assert_eq!(told(&within), (json!(false), json!(2), json!(1), json!("Degraded")), "{round}: {within}");
        let after = was(&source, &format!("?at={GONE}")).await;
        assert_eq!(told(&after), (json!(false), json!(0), json!(0), json!("Not Ready")), "{round}: {after}");
        let (_, info) = get(&source, "/console/api/info").await;
        assert_eq!(info["podsSince"], json!(BEGIN));
        if round == 0 {
            // The process is another one, and watches again.
            let world = source.world.clone();
            drop((world, source));
            let again = source_of(&directory);
            source = again;
        }
    }
}

/// What a process that has just begun knows: what is there now, at a time after everything.
fn source_of(directory: &tempfile::TempDir) -> Source {
    let store = crate::store::Store::open(directory.path(), crate::store::tests::forever()).unwrap();
    let source = Source {
        traces: store.clone().into(),
        world: World::recording(store.clone()),
        store,
        cluster: "Kubernetes".to_owned(),
        domain: "cluster.local".to_owned(),
        drawings: crate::api::Drawings::default(),
        prometheus: None,
    };
    let mut namespace =
        of("v1", "Namespace", "blog-system", json!({"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}}));
    namespace["metadata"].as_object_mut().unwrap().remove("namespace");
    put(&source, GONE + 100, &[namespace, deployment(0, 0), pod("", "web", "10.0.0.9", (true, true))]);
    all(&source, GONE + 100);
    source
}

#[tokio::test]
async fn badges_of_a_graph_are_those_of_its_moment() {
    let directory = tempfile::tempdir().unwrap();
    let source = released(&directory, BEGIN);
    let badges = async |path: String| {
        let (status, graph) = get(&source, &path).await;
        assert_eq!(status, 200, "{graph}");
        let node = graph["nodes"].as_array().unwrap().iter().find(|node| node["workload"] == "was").cloned().unwrap();
        (node["dead"].clone(), node["outOfMesh"].clone())
    };
    let graph = |at: i64| format!("/console/api/graph?graphType=workload&duration=60&includeIdleEdges=true&at={at}");
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(badges(graph(RELEASE - 10)).await, (no.clone(), no.clone()), "as it should be");
    assert_eq!(badges(graph(END)).await, (no, yes.clone()), "the release has no sidecar");
    assert_eq!(badges(graph(GONE)).await.0, yes, "scaled to zero");
    let kiali =
        format!("/kiali/api/namespaces/graph?namespaces=blog-system&queryTime={END}&duration=50s&graphType=workload");
    let routes = crate::graph::routes(source.clone());
    let response = routes.oneshot(Request::get(kiali).body(Body::empty()).unwrap()).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let kiali: Value = serde_json::from_slice(&body).unwrap();
    let nodes = kiali["elements"]["nodes"].as_array().unwrap();
    let was = nodes.iter().find(|node| node["data"]["workload"] == "was").unwrap();
    assert_eq!((&was["data"]["isDead"], &was["data"]["isOutOfMesh"]), (&Value::Null, &json!(true)), "{was}");
}

async fn explained(source: &Source, asked: Value) -> Value {
    let request = Request::post("/console/api/explain").header("content-type", "application/json");
    let request = request.body(Body::from(asked.to_string())).unwrap();
    let response = routes(source.clone()).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let answer = serde_json::from_slice::<Value>(&body).unwrap();
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test]
async fn a_request_of_the_past_goes_to_the_pod_that_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let source = released(&directory, BEGIN);
    let from = json!({"namespace": "blog-system", "workload": "web"});
    let ask = async |at: i64| {
        let asked = json!({"from": from, "to": {"host": "was-service", "port": 8080}, "at": at});
        let answer = explained(&source, asked).await;
        (answer["verdict"].as_str().unwrap().to_owned(), answer["podsOfNow"].clone())
    };
    let (before, known) = ask(RELEASE - 1).await;
    assert!(before.contains("was-1-a") && before.contains("mutual TLS"), "{before}");
    assert_eq!(known, json!(false));
    let (within, _) = ask(RELEASE).await;
    assert!(within.contains("was-2-a") && !within.contains("mutual TLS"), "{within}");
    let (after, _) = ask(GONE).await;
    assert!(!after.contains("was-2-a") && !after.contains("was-1-a"), "{after}");
}

#[tokio::test]
async fn a_stored_trace_is_explained_with_the_pods_of_its_time_or_it_is_said_that_it_is_not() {
    for (begin, of_now) in [(0, false), (BEGIN, true)] {
        let directory = tempfile::tempdir().unwrap();
        let source = released(&directory, begin);
        // The server's span alone: who asked is known by an address that is another's by now.
        let tags = [
            ("http.url", "http://was-service:8080/api/posts"),
            ("http.status_code", "200"),
            ("peer.address", "10.0.0.9"),
        ];
        let mut found = crate::requests::tests::span("was-1-a", "sidecar", [7, 1, 0], 2, &tags);
        found.span.start_time_unix_nano = u64::try_from(SPAN).unwrap() * 1_000_000_000;
        let spans = vec![ScopeSpans { scope: None, spans: vec![found.span] }];
        source.store.spans().append(ResourceSpans { resource: Some(found.resource), scope_spans: spans });
        if of_now {
            // There is no pod of that workload now.
            let request = Request::post("/console/api/explain").header("content-type", "application/json");
            let asked = json!({"traceId": "07".repeat(16)}).to_string();
            let response = routes(source.clone()).oneshot(request.body(Body::from(asked)).unwrap()).await.unwrap();
            assert_eq!(response.status(), 404);
            let asked = json!({"from": {"namespace": "blog-system", "workload": "web"}, "to": {"host": "was-service"}, "at": BEGIN - 1});
            assert_eq!(explained(&source, asked).await["podsOfNow"], json!(true));
            continue;
        }
        let answer = explained(&source, json!({"traceId": "07".repeat(16)})).await;
        assert_eq!(
            (&answer["podsOfNow"], &answer["hops"][0]["proxy"]["workload"]),
            (&json!(false), &json!("was")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn before_pods_are_known_nothing_is_made_up() {
    let directory = tempfile::tempdir().unwrap();
    let source = released(&directory, BEGIN);
    // Configuration is known for longer: it was written down by a console that did not look at pods.
    let older = of("apps/v1", "Deployment", "old", json!({"spec": {"replicas": 3}}));
    let of = crate::world::reference(kind("Deployment"), &older);
    let revision = crate::store::revisions::Revision {
        at: (BEGIN - 500) * 1000,
        verb: crate::store::revisions::Verb::Created,
        of,
        version: String::new(),
        by: String::new(),
        object: Arc::new(older),
    };
    assert!(source.store.revisions().append(revision));
    let (_, all) = get(&source, &format!("/console/api/workloads?at={}", BEGIN - 100)).await;
    let old = all.as_array().unwrap().iter().find(|workload| workload["name"] == "old").unwrap();
    assert_eq!((&old["replicas"], &old["health"]["status"]), (&Value::Null, &json!("NA")), "{old}");
    let names: Vec<&str> = all.as_array().unwrap().iter().map(|w| w["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["old", "web"], "pods are those of now");
}

#[tokio::test]
async fn lines_of_pods_that_are_gone_are_lines_of_their_workload() {
    let directory = tempfile::tempdir().unwrap();
    let source = released(&directory, BEGIN);
    for (pod, after) in [("was-1-a", -10), ("was-2-a", 10), ("web", 10)] {
        let of = Container { namespace: "blog-system".to_owned(), pod: pod.to_owned(), container: "was".to_owned() };
        let at = u64::try_from(RELEASE + after).unwrap() * 1_000_000;
        assert!(source.store.logs().append(Line { at, source: of, text: pod.to_owned() }));
    }
    let path = format!("/console/api/logs?namespace=blog-system&workload=was&to={}", GONE + 200);
    let (_, lines) = get(&source, &path).await;
    let pods: Vec<&str> = lines.as_array().unwrap().iter().map(|line| line["pod"].as_str().unwrap()).collect();
    assert_eq!(pods, ["was-1-a", "was-2-a"]);
}
