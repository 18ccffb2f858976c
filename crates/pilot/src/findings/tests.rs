use std::sync::Arc;

use varka_api::RawObject;

use crate::{Change, Diagnostic, Snapshot};

fn read(text: &str) -> Vec<RawObject> {
    let (objects, problems) = varka_api::read("t.yaml", text);
    assert!(problems.is_empty(), "{problems:?}");
    objects
}

fn rule(name: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: x}}\n\
         spec: {{host: a, subsets: [{{name: v1, labels: {{v: '1'}}}}, {{name: v2}}]}}\n"
    )
}

fn said(snapshot: &Snapshot) -> Vec<Arc<Diagnostic>> {
    snapshot.problems().collect()
}

#[test]
fn an_object_is_looked_at_once_for_each_of_its_changes() {
    let first = Snapshot::builder().objects(read(&rule("one"))).build();
    let before = said(&first);
    let place: Vec<_> = before.iter().map(|d| (d.code, d.path.as_str())).collect();
    assert_eq!(place, [("subset-without-labels", "spec.subsets[1]")]);
    // Another object of the kind, and objects that it is compiled with, are none of its changes: what was said is the same
    // object still.
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: x}\nspec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}\n";
    let second = first.with(read(&format!("{service}---\n{}", rule("two"))).into_iter().map(Change::Upsert));
    let after = said(&second);
    assert_eq!(after.len(), 2);
    assert!(Arc::ptr_eq(&before[0], &after[0]), "{after:?}");
    // A change of its own is looked at, though it alters nothing of this.
    let third = second.with(read(&rule("one")).into_iter().map(Change::Upsert));
    assert!(said(&third)[0] == before[0] && !Arc::ptr_eq(&said(&third)[0], &before[0]));
}

#[test]
fn a_delegate_is_told_of_where_it_is_used() {
    let root = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: root, namespace: x}\n\
                spec: {hosts: [a], http: [{delegate: {name: part, namespace: other}}]}\n";
    let part = |pattern: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: part, namespace: other}}\n\
             spec: {{http: [{{match: [{{uri: {{regex: '{pattern}'}}}}], route: [{{destination: {{host: a}}}}]}}]}}\n"
        )
    };
    let alone = Snapshot::builder().objects(read(root)).build();
    assert_eq!(said(&alone), []);
    let broken = alone.with(read(&part("(")).into_iter().map(Change::Upsert));
    let found = said(&broken);
    assert_eq!((found.len(), found[0].code, &*found[0].resource), (1, "route-match", "VirtualService x/root"));
    let mended = broken.with(read(&part("/a.*")).into_iter().map(Change::Upsert));
    assert_eq!(said(&mended), []);
}

#[test]
fn rules_that_no_client_reaches_are_not_told_of() {
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: x}\n\
                spec:\n  hosts: [a]\n  http:\n\
                \x20 - {match: [{sourceLabels: {app: b}}], route: [{destination: {host: a}}]}\n\
                \x20 - {match: [{port: 8080, uri: {regex: '('}}], route: [{destination: {host: a}}]}\n\
                \x20 - {route: [{destination: {host: a}}]}\n\
                \x20 - {match: [{uri: {regex: '['}}], route: [{destination: {host: a}}]}\n";
    let snapshot = Snapshot::builder().objects(read(text)).build();
    let places: Vec<_> = snapshot.problems().map(|d| d.path.clone()).collect();
    assert_eq!(places, ["spec.http[1]"]);
}
