use super::*;

fn read(text: &str) -> Vec<RawObject> {
    let (objects, problems) = varka_api::read("t.yaml", text);
    assert!(problems.is_empty(), "{problems:?}");
    objects
}

const SLICE: &str = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a-1, namespace: x, labels: {kubernetes.io/service-name: a}}\naddressType: IPv4\nendpoints: []\n";

#[test]
fn a_slice_is_known_by_its_service_before_and_after() {
    let snapshot = Snapshot::builder().objects(read(SLICE)).build();
    assert_eq!(snapshot.slices_of("x", "a").count(), 1);
    let moved = read(&SLICE.replace("service-name: a", "service-name: b")).into_iter().map(Change::Upsert);
    let (next, keys) = snapshot.apply(moved);
    assert_eq!((next.slices_of("x", "a").count(), next.slices_of("x", "b").count()), (0, 1));
    let mut services: Vec<_> = keys[0].also.clone();
    services.sort();
    assert_eq!(services, [ReadKey::Endpoints("x".into(), "a".into()), ReadKey::Endpoints("x".into(), "b".into())]);
    assert_eq!(snapshot.slices_of("x", "a").count(), 1, "the old snapshot is as it was");
}

#[test]
fn what_cannot_be_decoded_leaves_the_last_good_version() {
    let good = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: d, namespace: x}\nspec: {mtls: {mode: STRICT}}\n";
    let snapshot = Snapshot::builder().objects(read(good)).build();
    let bad = read(&good.replace("STRICT", "LOOSE")).into_iter().map(Change::Upsert);
    let next = snapshot.with(bad);
    assert!(next.stores.peer_authentications.get("x", "d").is_some());
    let problems: Vec<_> = next.problems().collect();
    assert_eq!((problems.len(), problems[0].path.as_str()), (1, "spec.mtls.mode"));
    let mended = next.with(read(good).into_iter().map(Change::Upsert));
    assert_eq!(mended.problems().count(), 0);
}

/// A namespace, a Service and its slice.
fn shop(label: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: x, labels: {{mesh: '{label}'}}}}\n---\napiVersion: v1\nkind: Service\nmetadata: {{name: a, namespace: x}}\nspec: {{clusterIP: 10.0.0.1, ports: [{{name: http, port: 80}}]}}\n---\n{SLICE}"
    )
}

fn selecting(value: &str) -> Change {
    let text = format!("discoverySelectors: [{{matchLabels: {{mesh: '{value}'}}}}]");
    Change::Mesh(Box::new(MeshConfig::from_yaml(&text).unwrap().0))
}

fn known(snapshot: &Snapshot) -> (usize, usize) {
    (snapshot.registry().by_host("a.x.svc.cluster.local").len(), snapshot.slices_of("x", "a").count())
}

#[test]
fn a_namespace_belongs_to_the_mesh_by_its_labels() {
    let all = Snapshot::builder().objects(read(&shop("on"))).build();
    assert_eq!(known(&all), (1, 1));
    let (none, keys) = all.apply([selecting("other")]);
    assert_eq!(known(&none), (0, 0));
    let gone: Vec<_> = keys.iter().map(|k| k.kind).collect();
    assert!(gone.contains(&Kind::Service) && gone.contains(&Kind::EndpointSlice), "{gone:?}");
    let slice = keys.iter().find(|k| k.kind == Kind::EndpointSlice).unwrap();
    assert_eq!(slice.also, [ReadKey::Endpoints("x".into(), "a".into())]);
    // What changes meanwhile is kept, and comes in with the label.
    let changed = read(
        "apiVersion: v1\nkind: Service\nmetadata: {name: b, namespace: x}\nspec: {clusterIP: 10.0.0.2, ports: [{name: http, port: 80}]}\n",
    );
    let later = none.with(changed.into_iter().map(Change::Upsert));
    assert_eq!(later.registry().services().len(), 0);
    let labelled = later.with(read(&shop("other")).into_iter().take(1).map(Change::Upsert));
    assert_eq!((known(&labelled), labelled.registry().services().len()), ((1, 1), 2));
    let deleted = labelled.with([Change::Delete { kind: Kind::Namespace, namespace: "".into(), name: "x".into() }]);
    assert_eq!(known(&deleted), (0, 0));
}

#[test]
fn whatever_the_order_the_same_is_known() {
    let objects: Vec<Change> = read(&shop("on")).into_iter().map(Change::Upsert).collect();
    for value in ["on", "off"] {
        let wanted = if value == "on" { (1, 1) } else { (0, 0) };
        let first = Snapshot::builder().build().with([vec![selecting(value)], objects.clone()].concat());
        let last = Snapshot::builder().build().with([objects.clone(), vec![selecting(value)]].concat());
        let reversed = Snapshot::builder()
            .build()
            .with(objects.iter().cloned().rev().chain([selecting(value)]).collect::<Vec<_>>());
        assert_eq!([known(&first), known(&last), known(&reversed)], [wanted; 3], "{value}");
    }
    let back = Snapshot::builder().build().with([vec![selecting("off")], objects].concat());
    assert_eq!(known(&back.with([Change::Mesh(Box::default())])), (1, 1), "nothing is selected any more: all");
}

#[test]
fn an_address_is_told_of_when_it_comes_goes_or_has_other_ports() {
    let slice = |endpoints: &str, port: u16| {
        let text =
            SLICE.replace("endpoints: []", &format!("endpoints: [{endpoints}]\nports: [{{name: http, port: {port}}}]"));
        read(&text).into_iter().map(Change::Upsert)
    };
    let (one, two) = ("{addresses: [10.0.0.1]}", "{addresses: [10.0.0.2]}");
    let told = |snapshot: &Snapshot, endpoints: &str, port| {
        let (next, keys) = snapshot.apply(slice(endpoints, port));
        let addresses: BTreeSet<_> =
            keys[0].also.iter().filter(|k| matches!(k, ReadKey::Address(_))).cloned().collect();
        (next, addresses)
    };
    let key = |last| ReadKey::Address([10, 0, 0, last].into());
    let (first, news) = told(&Snapshot::builder().build(), one, 80);
    assert_eq!(news, [key(1)].into());
    let (second, news) = told(&first, &format!("{one}, {two}"), 80);
    assert_eq!(news, [key(2)].into(), "the other was there before");
    let (third, news) = told(&second, &format!("{{addresses: [10.0.0.1], conditions: {{ready: false}}}}, {two}"), 80);
    assert_eq!(news, BTreeSet::new());
    let (fourth, news) = told(&third, two, 80);
    assert_eq!(news, [key(1)].into());
    let (_, news) = told(&fourth, two, 81);
    assert_eq!(news, [key(2)].into());
}
