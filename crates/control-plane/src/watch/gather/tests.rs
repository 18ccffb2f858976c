use std::sync::Mutex;

use serde_json::json;

use super::*;

fn object(kind: &str, name: &str, rest: Value) -> Box<RawObject> {
    let api_version = if kind == "Ingress" { "networking.k8s.io/v1" } else { "v1" };
    let mut value = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "a"}});
    json_patch::merge(&mut value, &rest);
    Box::new(RawObject::from_value(value).unwrap())
}

type Seen = Arc<Mutex<Vec<(String, Map<String, Value>)>>>;

fn gatherer(unsynced: usize) -> (Gatherer, watch::Receiver<Arc<Published>>, Seen) {
    let publish = watch::Sender::new(Arc::new(Published::empty()));
    let reader = publish.subscribe();
    let seen = Seen::default();
    let told = Arc::clone(&seen);
    let source = MeshSource { root_namespace: "istio-system".to_owned(), trust_domain: "cluster.local".to_owned() };
    let gatherer = Gatherer {
        mesh_source: source,
        on_mesh: Box::new(move |mesh, raw| told.lock().unwrap().push((mesh.trust_domain.clone(), raw.clone()))),
        metrics: Arc::default(),
        findings: mpsc::channel(QUEUE).0,
        pending: Vec::new(),
        unsynced: (0..unsynced).collect(),
        references: References::default(),
        secrets: BTreeSet::new(),
        publish,
    };
    (gatherer, reader, seen)
}

#[test]
fn nothing_is_published_before_everything_is_listed() {
    let (mut gatherer, reader, _) = gatherer(2);
    gatherer.take(Update::Apply(object("Service", "x", json!({}))));
    gatherer.take(Update::Synced(0));
    gatherer.publish(Instant::now());
    assert_eq!(reader.borrow().number, 0);
    gatherer.take(Update::Synced(1));
    gatherer.publish(Instant::now());
    assert_eq!(reader.borrow().number, 1);
    gatherer.publish(Instant::now());
    assert_eq!(reader.borrow().number, 1, "nothing was pending");
}

#[test]
fn a_secret_that_nobody_names_any_more_leaves_the_snapshot() {
    let (mut gatherer, _, _) = gatherer(0);
    let ingress = |tls: Value| Update::Apply(object("Ingress", "i", json!({"spec": {"tls": tls}})));
    assert!(gatherer.take(ingress(json!([{"secretName": "tls"}]))));
    gatherer.take(Update::Apply(object("Secret", "tls", json!({}))));
    gatherer.pending.clear();
    gatherer.forget_secrets(&gatherer.references.all());
    assert!(gatherer.pending.is_empty());
    assert!(gatherer.take(ingress(json!([]))));
    gatherer.pending.clear();
    gatherer.forget_secrets(&gatherer.references.all());
    assert!(matches!(&gatherer.pending[..], [Change::Delete { kind: Kind::Secret, name, .. }] if &**name == "tls"));
}

#[test]
fn the_meshs_configuration_with_what_it_does_not_say() {
    let (mut gatherer, _, seen) = gatherer(0);
    let text = "enablePrometheusMerge: false\ntrustDomain: elsewhere\ndefaultConfig: {concurrency: 2}";
    let written = |mesh: &str| {
        let mut config_map = object("ConfigMap", "istio", json!({"data": {"mesh": mesh}}));
        config_map.metadata.namespace = "istio-system".to_owned();
        Update::Apply(config_map)
    };
    gatherer.take(written(text));
    gatherer.take(written("- not a mapping"));
    let namespace = "istio-system".to_owned();
    let key = ObjectKey { group: "", kind: "ConfigMap", namespace, name: "istio".to_owned() };
    gatherer.take(Update::Delete(key));
    let seen = seen.lock().unwrap();
    // The trust domain of certificates that are out there cannot be changed by a file.
    assert!(seen.iter().all(|(trust_domain, _)| trust_domain == "cluster.local"));
    assert_eq!(seen[0].1["enablePrometheusMerge"], false);
    assert!(seen[1].1.is_empty() && seen[2].1.is_empty());
    assert!(
        matches!(&gatherer.pending[..], [Change::Mesh(_), Change::Mesh(_), Change::Mesh(mesh)] if mesh.root_namespace == "istio-system")
    );
}

#[test]
fn what_is_not_implemented_is_told_once_and_from_where_events_are_made() {
    let (mut gatherer, _, _) = gatherer(0);
    let (findings, mut told) = mpsc::channel(1);
    gatherer.findings = findings;
    let mut filter = object("EnvoyFilter", "x", json!({}));
    filter.api_version = "networking.istio.io/v1alpha3".to_owned();
    gatherer.take(Update::Apply(filter.clone()));
    gatherer.publish(Instant::now());
    let finding = told.try_recv().unwrap();
    assert_eq!((finding.code, finding.resource.as_str()), ("not-implemented", "EnvoyFilter a/x"));
    gatherer.take(Update::Apply(filter));
    gatherer.publish(Instant::now());
    assert!(told.try_recv().is_err(), "told again though nothing is new");
}

#[test]
fn how_far_behind_a_reader_may_be() {
    let reads = varka_pilot::ReadSet::default();
    let mut last = Published::empty();
    for _ in 0..RECENT + 10 {
        last = last.next(Vec::new(), Instant::now());
    }
    let number = last.number;
    assert!(!last.touches(&reads, number));
    assert!(!last.touches(&reads, number - 5), "nothing that was read has changed");
    assert!(last.touches(&reads, 1), "too far behind to know");
}
