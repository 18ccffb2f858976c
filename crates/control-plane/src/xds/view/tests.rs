use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use varka_api::RawObject;
use varka_identity::{Authority, SystemRandom};
use varka_pilot::{Change, ProxyKind};

use super::*;
use crate::watch::published;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)
}

fn object(value: Value) -> RawObject {
    RawObject::from_value(value).unwrap()
}

fn service(name: &str) -> RawObject {
    object(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.7", "selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }))
}

fn slice(service: &str, address: &str) -> RawObject {
    object(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{service}-1"), "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}], "ports": [{"name": "http", "port": 8080}],
    }))
}

fn ingress(host: &str) -> RawObject {
    let backend = json!({"service": {"name": "a", "port": {"number": 80}}});
    object(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "front", "namespace": "shop"},
        "spec": {
            "ingressClassName": "nginx", "tls": [{"hosts": [host], "secretName": "missing"}],
            "rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
        },
    }))
}

fn class() -> RawObject {
    object(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "nginx"},
        "spec": {"controller": "k8s.io/ingress-nginx"},
    }))
}

fn view(kind: ProxyKind, current: &Arc<Published>) -> View {
    let authority = Arc::new(Authority::generate("cluster.local", now(), &SystemRandom::new()).unwrap());
    let namespace = if kind == ProxyKind::Router { "ingress-nginx" } else { "clients" };
    let key = ProxyKey::new(kind, "client-1", namespace, [10, 0, 0, 1].into());
    View::new(key, Reader::Istio, Arc::clone(current), Arc::new(Development::new(authority)))
}

fn next(before: &Arc<Published>, changes: Vec<RawObject>) -> Arc<Published> {
    Arc::new(before.next(changes.into_iter().map(Change::Upsert).collect(), Instant::now()))
}

/// Compiles everything that the proxy is given.
fn fill(view: &mut View) -> BTreeSet<ResourceName> {
    let names = view.names().clone();
    for name in &names {
        view.entry(name, now());
    }
    names
}

/// Versions of everything that the proxy is given.
fn versions(view: &mut View) -> Vec<Str> {
    let names = view.names().clone();
    names.iter().map(|name| view.entry(name, now()).version.clone()).collect()
}

fn endpoints(service: &str) -> ResourceName {
    let name = format!("outbound|80||{service}.shop.svc.cluster.local");
    ResourceName { kind: ResourceType::Endpoints, name: name.into() }
}

#[test]
fn one_changed_endpoint_changes_one_resource() {
    let objects = vec![service("a"), service("b"), slice("a", "10.0.0.2"), slice("b", "10.0.0.3")];
    let first = Arc::new(published(objects));
    let mut view = view(ProxyKind::Sidecar, &first);
    assert!(fill(&mut view).contains(&endpoints("a")));
    view.take_findings();
    let before = view.entry(&endpoints("a"), now()).version.clone();
    let second = next(&first, vec![slice("a", "10.0.0.9")]);
    let old: Vec<_> = versions(&mut view);
    assert!(view.advance(Arc::clone(&second), now()));
    assert!(view.take_findings().1 <= 2, "more was compiled than what read the slice");
    assert_ne!(view.entry(&endpoints("a"), now()).version, before);
    let differing = old.iter().zip(versions(&mut view)).filter(|(old, new)| *old != new).count();
    assert_eq!(differing, 1);
    // The same object again is a change that changes nothing.
    let third = next(&second, vec![slice("a", "10.0.0.9")]);
    assert!(!view.advance(third, now()));
}

#[test]
fn what_was_absent_appears() {
    let first = Arc::new(published(vec![service("a")]));
    let mut view = view(ProxyKind::Sidecar, &first);
    let cluster = ResourceName { kind: ResourceType::Cluster, name: "outbound|80||b.shop.svc.cluster.local".into() };
    assert!(view.entry(&cluster, now()).resource.is_none());
    let second = next(&first, vec![service("b")]);
    assert!(view.advance(second, now()));
    assert!(view.entry(&cluster, now()).resource.is_some());
}

#[test]
fn a_reader_that_is_far_behind_looks_at_everything_again() {
    let first = Arc::new(published(vec![service("a"), slice("a", "10.0.0.2")]));
    let mut view = view(ProxyKind::Sidecar, &first);
    fill(&mut view);
    let mut last = Arc::clone(&first);
    for i in 0..200u8 {
        last = next(&last, vec![slice("a", &format!("10.0.1.{i}"))]);
    }
    assert!(view.advance(Arc::clone(&last), now()));
    assert_eq!(view.number(), last.number);
}

#[test]
fn versions_are_equal_for_equal_resources() {
    let first = Arc::new(published(vec![service("a"), slice("a", "10.0.0.2")]));
    let (mut one, mut two) = (view(ProxyKind::Sidecar, &first), view(ProxyKind::Sidecar, &first));
    for name in fill(&mut one) {
        if name.kind != ResourceType::Secret {
            assert_eq!(one.entry(&name, now()).version, two.entry(&name, now()).version, "{name:?}");
        }
    }
}

#[test]
fn a_secret_is_given_only_to_whom_the_configuration_gives_it() {
    let first = Arc::new(published(vec![service("a"), class(), ingress("shop.example.com")]));
    let mut router = view(ProxyKind::Router, &first);
    let given: Vec<_> = router.names().iter().filter(|name| name.kind == ResourceType::Secret).cloned().collect();
    let ours = given.iter().find(|name| &*name.name == "local-ca://shop.example.com").expect("it is given");
    assert!(router.entry(ours, now()).resource.is_some());
    let mut sidecar = view(ProxyKind::Sidecar, &first);
    assert!(sidecar.entry(ours, now()).resource.is_none());
    let other = ResourceName { kind: ResourceType::Secret, name: "local-ca://bank.example.com".into() };
    assert!(router.entry(&other, now()).resource.is_none());
}

#[test]
fn a_development_certificate_is_renewed_in_time() {
    let first = Arc::new(published(vec![service("a"), class(), ingress("shop.example.com")]));
    let mut router = view(ProxyKind::Router, &first);
    let name = router.names().iter().find(|name| name.name.starts_with(PREFIX)).unwrap().clone();
    let version = router.entry(&name, now()).version.clone();
    assert!(!router.advance(Arc::clone(&first), now() + Duration::from_secs(86_400)));
    let later = now() + Duration::from_secs(60 * 86_400);
    assert!(router.advance(Arc::clone(&first), later));
    assert_ne!(router.entry(&name, later).version, version);
}

#[test]
fn a_refusal_is_about_what_it_names() {
    let first = Arc::new(published(vec![service("a"), service("b")]));
    let mut view = view(ProxyKind::Sidecar, &first);
    fill(&mut view);
    let named = |message: &str| -> Vec<_> {
        view.named_in(ResourceType::Cluster, message).into_iter().map(|(name, _)| name.name.to_string()).collect()
    };
    assert_eq!(named("outbound|80||a.shop.svc.cluster.local: no"), ["outbound|80||a.shop.svc.cluster.local"]);
    assert_eq!(named("something is wrong"), ["*"]);
}

#[test]
fn what_is_not_asked_for_any_more_is_forgotten() {
    let first = Arc::new(published(vec![service("a"), slice("a", "10.0.0.2")]));
    let mut view = view(ProxyKind::Sidecar, &first);
    let absent = ResourceName { kind: ResourceType::Cluster, name: "outbound|1||nobody.example.com".into() };
    view.entry(&absent, now());
    let mut last = first;
    for i in 0..10u8 {
        view.entry(&endpoints("a"), now());
        last = next(&last, vec![slice("a", &format!("10.0.1.{i}"))]);
        assert!(view.advance(Arc::clone(&last), now()));
    }
    assert!(!view.entries.contains_key(&absent));
    assert!(view.entries.contains_key(&endpoints("a")));
}

#[test]
fn labels_are_the_api_servers_word() {
    let pod = |app: &str| {
        object(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client-1", "namespace": "clients", "labels": {"app": app}},
            "spec": {"containers": []}, "status": {"podIP": "10.0.0.1"},
        }))
    };
    let policy = object(json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "strict", "namespace": "clients"},
        "spec": {"selector": {"matchLabels": {"app": "bank"}}, "mtls": {"mode": "STRICT"}},
    }));
    let first = Arc::new(published(vec![pod("shop"), policy]));
    let mut view = view(ProxyKind::Sidecar, &first);
    let inbound = ResourceName { kind: ResourceType::Listener, name: "virtualInbound".into() };
    let permissive = view.entry(&inbound, now()).version.clone();
    let second = next(&first, vec![pod("bank")]);
    assert!(view.advance(Arc::clone(&second), now()));
    assert_ne!(view.entry(&inbound, now()).version, permissive);
    let third = next(&second, vec![pod("bank")]);
    assert!(!view.advance(third, now()));
}

#[test]
fn whose_an_address_is_is_told_to_who_asks_and_to_nobody_else() {
    let pod = |ip: &str| {
        object(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"containers": []}, "status": {"podIP": ip, "phase": "Running"},
        }))
    };
    let first = Arc::new(published(vec![service("a"), pod("10.0.0.2")]));
    for kind in [ProxyKind::Sidecar, ProxyKind::Router] {
        let mut view = view(kind, &first);
        assert!(!fill(&mut view).iter().any(|name| name.kind == ResourceType::Workload), "nobody is given all of them");
        let asked = |ip: &str| ResourceName { kind: ResourceType::Workload, name: format!("/{ip}").into() };
        assert!(view.entry(&asked("10.0.0.2"), now()).body.is_some());
        assert!(view.entry(&asked("10.0.0.3"), now()).body.is_none());
        view.take_findings();
        let second = next(&first, vec![pod("10.0.0.3")]);
        assert!(view.advance(Arc::clone(&second), now()));
        assert!(view.take_findings().1 <= 2, "more was compiled than what has the addresses");
        assert!(view.entry(&asked("10.0.0.2"), now()).body.is_none());
        assert!(view.entry(&asked("10.0.0.3"), now()).body.is_some());
        let third = next(&second, vec![pod("10.0.0.3")]);
        assert!(!view.advance(third, now()), "a change that changes nothing is none");
    }
}
