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
