use varka_telemetry::graph::facts::{Pod, Workload};

use super::*;
use crate::requests::tests::span;

fn workload(name: &str, address: &str) -> Workload {
    Workload {
        namespace: "blog-system".to_owned(),
        name: name.to_owned(),
        labels: [("app".to_owned(), name.to_owned())].into(),
        pods: vec![Pod { name: format!("{name}-1-x"), addresses: vec![address.to_owned()] }],
        ..Workload::default()
    }
}

fn calls(spans: &[crate::store::spans::Found]) -> Calls {
    let facts = Facts { workloads: vec![workload("web", "10.0.0.1"), workload("was", "10.0.0.2")], ..Facts::default() };
    Calls::of(spans.iter().filter_map(seen).collect(), &facts, &Parties::of(&facts))
}

fn is(call: &Call, source: &str, target: &str) -> bool {
    let name = |party: &Option<Party>| party.as_ref().map(|p| p.workload.clone()).unwrap_or_default();
    name(&call.source) == source && name(&call.target) == target
}

#[test]
fn a_call_is_told_once_and_the_worst_comes_first() {
    let cluster = ("upstream_cluster", "outbound|8080||was-service.blog-system.svc.cluster.local");
    let (ok, failed) = (("http.status_code", "200"), ("http.status_code", "503"));
    let calls = calls(&[
        span("web-1-x", "sidecar", [1, 1, 0], 3, &[ok, cluster]),
        span("was-1-x", "sidecar", [1, 2, 1], 2, &[ok]),
        span("web-1-x", "sidecar", [2, 3, 0], 3, &[failed, cluster, ("response_flags", "UH")]),
        // Nobody tells of its client but the address.
        span("was-1-x", "sidecar", [3, 5, 4], 2, &[ok, ("peer.address", "10.0.0.1")]),
    ]);
    assert_eq!(calls.all.len(), 3);
    assert_eq!(calls.all.iter().filter(|call| is(call, "web", "was")).count(), 2);
    let worst = &calls.all[0];
    assert!(is(worst, "web", "") && worst.service.as_ref().is_some_and(|(_, name)| name == "was-service"));
    let shown = calls.of_service("blog-system", "was-service");
    assert_eq!(shown.as_array().unwrap().len(), 2, "the third has no client that tells of the service");
    assert_eq!(calls.of_workload(&workload("was", "10.0.0.2")).as_array().unwrap().len(), 2);
    assert_eq!(calls.of_app("blog-system", "was").as_array().unwrap().len(), 2);
    assert_eq!(calls.of_app("elsewhere", "was"), json!([]));
    assert_eq!(
        (&shown[0]["code"], &shown[0]["flags"], &shown[0]["duration"]),
        (&json!("503"), &json!("UH"), &json!(20.0))
    );
    assert_eq!(shown[0]["traceId"], "02".repeat(16));
}

#[test]
fn requests_to_nowhere_are_those_of_their_cluster() {
    let calls = calls(&[span("web-1-x", "sidecar", [1, 1, 0], 3, &[("upstream_cluster", "PassthroughCluster")])]);
    assert_eq!(calls.all[0].egress, Some(Egress::PassthroughCluster));
    assert_eq!(calls.all[0].service, None);
}

#[test]
fn what_has_no_labels_goes_by_the_names_that_istio_gives_it() {
    let bare = Party { namespace: "ingress".to_owned(), workload: "gate".to_owned(), ..Party::default() };
    let node = |app: &str, version: &str| {
        let mut node = Node::default();
        (node.kind, node.namespace) = (NodeKind::App, "ingress".to_owned());
        (node.app, node.version) = (app.to_owned(), version.to_owned());
        node
    };
    assert!(bare.is(&node("gate", "latest")) && bare.is(&node("gate", "")));
    assert!(!bare.is(&node("gate", "v1")) && !bare.is(&node("other", "latest")));
    let named = Party { app: "ingress-nginx".to_owned(), version: "v2".to_owned(), ..bare };
    assert!(named.is(&node("ingress-nginx", "v2")));
    assert!(!named.is(&node("gate", "v2")) && !named.is(&node("ingress-nginx", "latest")));
}

#[test]
fn a_pod_that_is_gone_is_known_by_what_it_was() {
    let facts = Facts { workloads: vec![workload("web", "10.0.0.1"), workload("was", "10.0.0.2")], ..Facts::default() };
    let pod = json!({"metadata": {"namespace": "blog-system", "name": "oddly-named"}, "status": {"podIPs": [{"ip": "10.0.0.7"}]}});
    let departed = [Departed { pod, workload: "web".to_owned() }];
    let ok = ("http.status_code", "200");
    let spans = [
        span("was-1-x", "sidecar", [3, 5, 4], 2, &[ok, ("peer.address", "10.0.0.7")]),
        span("oddly-named", "sidecar", [4, 6, 0], 3, &[ok]),
    ];
    let all = || -> Vec<_> { spans.iter().filter_map(seen).collect() };
    let of = |parties: &Parties<'_>| {
        let calls = Calls::of(all(), &facts, parties);
        calls.all.iter().filter(|call| is(call, "web", "was") || is(call, "web", "")).count()
    };
    let mut parties = Parties::of(&facts);
    assert!(of(&parties) == 0 && all().iter().all(|seen| !parties.know(seen)));
    parties.remember(&departed);
    assert!(of(&parties) == 2 && all().iter().all(|seen| parties.know(seen)));
}
