//! What people are told does not depend on what proxies ask for, nor on the order in which objects come.

use std::collections::BTreeSet;

use proptest::prelude::*;
use varka_api::RawObject;
use varka_pilot::{Change, Diagnostic, Kind, ProxyKey, ProxyKind, Snapshot, compile_all};

/// Objects with something to say of each, and what they need for it.
const OBJECTS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: a, namespace: x}
spec: {clusterIP: 10.96.0.1, selector: {app: a}, ports: [{name: http, port: 80}, {name: tcp, port: 90}]}
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: "y"}
spec: {clusterIP: 10.96.0.2, selector: {app: b}, ports: [{name: http, port: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: w, namespace: x}
spec: {address: w.example.com, labels: {app: a}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: subsets, namespace: x}
spec: {host: a, subsets: [{name: stable}, {name: canary, labels: {v: canary}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: credential, namespace: "y"}
spec:
  host: b
  trafficPolicy: {tls: {mode: SIMPLE, credentialName: c, caCrl: /etc/crl.pem}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes, namespace: x}
spec:
  hosts: [a]
  http:
  - {match: [{uri: {regex: "("}}], route: [{destination: {host: a}}]}
  - {match: [{headers: {"@request.auth.claims.group": {exact: admin}}}], route: [{destination: {host: a}}]}
  - {match: [{uri: {prefix: /1}}], headers: {request: {set: {"no name": x}}}, route: [{destination: {host: a}}]}
  - {match: [{uri: {prefix: /2}}], redirect: {redirectCode: 200}}
  - {match: [{uri: {prefix: /3}}], corsPolicy: {allowOrigins: [{regex: "("}]}, route: [{destination: {host: a}}]}
  - {match: [{sourceLabels: {app: nobody}, uri: {regex: "["}}], route: [{destination: {host: a}}]}
  - {delegate: {name: part, namespace: "y"}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part, namespace: "y"}
spec:
  http:
  - {match: [{uri: {regex: "(?"}}], route: [{destination: {host: b.y.svc.cluster.local}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: of-nobody, namespace: "y"}
spec:
  hosts: [nobody.example.com]
  http:
  - {match: [{uri: {regex: "*"}}], route: [{destination: {host: b}}]}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: all, namespace: x}
spec:
  tracing: [{match: {mode: CLIENT}, providers: [{name: none}]}]
  accessLogging: [{match: {mode: CLIENT}, filter: {expression: "("}}]
  metrics:
  - providers: [{name: prometheus}]
    overrides: [{match: {mode: CLIENT}, tagOverrides: {l: {value: "("}}}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: server, namespace: "y"}
spec: {tracing: [{match: {mode: SERVER}, useRequestIdForTraceSampling: false}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: "y"}
spec: {egress: [{hosts: ["./*"]}]}
"#;

fn objects() -> Vec<RawObject> {
    let (objects, problems) = varka_api::read("t.yaml", OBJECTS);
    assert!(problems.is_empty(), "{problems:?}");
    objects
}

/// Everything that is told where a proxy in each namespace is connected.
fn told(snapshot: &Snapshot, on_demand: bool) -> BTreeSet<Diagnostic> {
    let compiled = ["x", "y"].into_iter().flat_map(|namespace| {
        let mut key = ProxyKey::new(ProxyKind::Sidecar, "p-1", namespace, [10, 244, 0, 9].into());
        key.on_demand = on_demand;
        compile_all(snapshot, &key).1
    });
    compiled.collect()
}

fn build(objects: &[RawObject]) -> Snapshot {
    Snapshot::builder().objects(objects.iter().cloned()).build()
}

#[test]
fn everything_is_told_without_anybody_asking() {
    let told = told(&build(&objects()), true);
    let codes: BTreeSet<_> = told.iter().map(|d| (d.code, d.resource.as_str())).collect();
    for wanted in [
        ("workload-without-address", "WorkloadEntry x/w"),
        ("subset-without-labels", "DestinationRule x/subsets"),
        ("credential-not-given", "DestinationRule y/credential"),
        ("crl-beside-credential", "DestinationRule y/credential"),
        ("route-match", "VirtualService x/routes"),
        ("claims-in-mesh", "VirtualService x/routes"),
        ("header-name", "VirtualService x/routes"),
        ("route-action", "VirtualService x/routes"),
        ("cors", "VirtualService x/routes"),
        ("route-match", "VirtualService y/of-nobody"),
        ("unusable-provider", "Telemetry x/all"),
        ("access-log-filter", "Telemetry x/all"),
        ("metric-expression", "Telemetry x/all"),
        ("not-implemented", "Telemetry y/server"),
    ] {
        assert!(codes.contains(&wanted), "{wanted:?} is not among {codes:#?}");
    }
    // Of rules for clients that nobody is yet, too, and of delegates.
    let places: BTreeSet<_> =
        told.iter().filter(|d| d.resource.ends_with("x/routes")).map(|d| d.path.as_str()).collect();
    assert!(places.contains("spec.http[5]") && places.contains("spec.http[6]"), "{places:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn it_is_the_same_whether_proxies_ask_or_are_told(chosen in prop::sample::subsequence(objects(), 0..=objects().len())) {
        let snapshot = build(&chosen);
        prop_assert_eq!(told(&snapshot, false), told(&snapshot, true));
    }

    #[test]
    fn it_is_the_same_in_whatever_order_objects_come_and_go(
        order in Just(objects()).prop_shuffle(),
        left in prop::sample::subsequence((0..objects().len()).collect::<Vec<_>>(), 0..=objects().len()),
    ) {
        let mut snapshot = build(&[]);
        for object in &order {
            snapshot = snapshot.with([Change::Upsert(object.clone())]);
        }
        prop_assert_eq!(told(&snapshot, true), told(&build(&order), true));
        let kept: Vec<RawObject> = order.iter().enumerate().filter(|(i, _)| left.contains(i)).map(|(_, o)| o.clone()).collect();
        for gone in order.iter().enumerate().filter(|(i, _)| !left.contains(i)).map(|(_, o)| o) {
            snapshot = snapshot.with([Change::Delete {
                kind: Kind::of(gone.group(), &gone.kind).unwrap(),
                namespace: gone.metadata.namespace.as_str().into(),
                name: gone.metadata.name.as_str().into(),
            }]);
        }
        prop_assert_eq!(told(&snapshot, true), told(&build(&kept), true));
    }
}
