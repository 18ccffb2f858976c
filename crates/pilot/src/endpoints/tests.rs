use super::*;
use crate::{ProxyKey, ProxyKind, Snapshot};

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.96.0.9, selector: {app: db}, ports: [{name: tcp, port: 3306}, {name: admin, port: 80, targetPort: web}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop, labels: {app: db}}
spec: {address: 192.0.2.7, ports: {web: 8080}, labels: {version: v2}, weight: 3, locality: r/z, serviceAccount: db}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: bare, namespace: shop, labels: {app: db}}
spec: {address: 192.0.2.8, ports: {tcp: 13306}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: named, namespace: shop, labels: {app: db}}
spec: {address: db.example.com}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: elsewhere, namespace: other, labels: {app: db}}
spec: {address: 192.0.2.9}
";

/// Endpoints of a port of `db`, and what was told.
fn found(objects: &str, port: u16) -> (Vec<Instance>, Vec<&'static str>) {
    let (objects, problems) = varka_api::read("t.yaml", objects);
    assert!(problems.is_empty(), "{problems:?}");
    let snapshot = Snapshot::builder().objects(objects).build();
    let proxy = ProxyKey::new(ProxyKind::Sidecar, "web", "shop", [10, 0, 0, 1].into());
    let ctx = Ctx::new(&snapshot, &proxy);
    let service = ctx.registry().by_host("db.shop.svc.cluster.local")[0].clone();
    let found = instances(&ctx, &service, service.port(port).unwrap());
    (found, snapshot.problems().map(|d| d.code).collect())
}

#[test]
fn a_service_selects_workload_entries_of_its_namespace() {
    let (tcp, told) = found(SERVICE, 3306);
    let at: Vec<_> = tcp.iter().map(|i| (i.address.unwrap().to_string(), i.port)).collect();
    // The port's name in `ports` wins over the number.
    assert_eq!(at, [("192.0.2.8".to_owned(), 13306), ("192.0.2.7".to_owned(), 3306)]);
    assert_eq!(told, ["workload-without-address"]);
    let vm = &tcp[1];
    assert_eq!((vm.weight, &*vm.workload, vm.meshed, vm.locality.zone.as_str()), (3, "vm", true, "z"));
    assert_eq!(vm.labels.get("version").map(String::as_str), Some("v2"));
    // A target port by name is one that the entry has.
    let (admin, _) = found(SERVICE, 80);
    let at: Vec<_> = admin.iter().map(|i| (&*i.workload, i.port)).collect();
    assert_eq!(at, [("vm", 8080)]);
}

#[test]
fn a_headless_service_does_not() {
    let (tcp, _) = found(&SERVICE.replace("clusterIP: 10.96.0.9", "clusterIP: None"), 3306);
    assert!(tcp.is_empty(), "{tcp:?}");
}

#[test]
fn a_proxy_is_where_its_node_is() {
    let objects = "
apiVersion: v1
kind: Node
metadata: {name: near, labels: {topology.kubernetes.io/region: east, topology.kubernetes.io/zone: a}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {nodeName: near, containers: [{name: web, image: web}]}
";
    let (objects, problems) = varka_api::read("t.yaml", objects);
    assert!(problems.is_empty(), "{problems:?}");
    let snapshot = Snapshot::builder().objects(objects).build();
    let mut proxy = ProxyKey::new(ProxyKind::Sidecar, "web", "shop", [10, 0, 0, 1].into());
    let place = |proxy: &ProxyKey| own_locality(&Ctx::new(&snapshot, proxy));
    let found = place(&proxy);
    assert_eq!((found.region.as_str(), found.zone.as_str()), ("east", "a"));
    // What it says itself holds.
    proxy.locality.region = "west".to_owned();
    assert_eq!(place(&proxy).region, "west");
    let stranger = ProxyKey::new(ProxyKind::Sidecar, "db", "shop", [10, 0, 0, 2].into());
    assert_eq!(place(&stranger), TopologyZone::default());
}
