use super::*;
use crate::snapshot::Change;
use crate::{ProxyKey, ProxyKind, ReadSet, Snapshot, touched};

/// A pod with its owner's kind and name, its labels, and what else is in its specification and state.
fn pod(name: &str, owner: (&str, &str), labels: &str, spec: &str, status: &str) -> String {
    let (kind, owner) = owner;
    let owner = if kind.is_empty() {
        String::new()
    } else {
        format!(", ownerReferences: [{{kind: {kind}, apiVersion: apps/v1, name: {owner}, controller: true}}]")
    };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {labels}{owner}}}\nspec: {spec}\nstatus: {status}\n---\n"
    )
}

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.96.0.9, selector: {app: db}, ports: [{name: tcp, port: 3306}]}
---
apiVersion: v1
kind: Service
metadata: {name: everything, namespace: shop}
spec: {clusterIP: 10.96.0.10, ports: [{name: tcp, port: 3306}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: elsewhere}
spec: {clusterIP: 10.96.0.11, selector: {app: db}, ports: [{name: tcp, port: 3306}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: old, namespace: shop}
spec: {hosts: [db.example.com], ports: [{number: 3306, name: tcp, protocol: TCP}], resolution: STATIC, workloadSelector: {labels: {app: db}}}
---
";
const DB: &str = "{app: db, version: '8', pod-template-hash: 6d4b9}";

fn objects(text: &str) -> Vec<varka_api::RawObject> {
    let (objects, problems) = varka_api::read("t.yaml", text);
    assert!(problems.is_empty(), "{problems:?}");
    objects
}

fn snapshot(text: &str) -> Snapshot {
    Snapshot::builder().objects(objects(text)).build()
}

/// Whose a name is, as a sidecar of another namespace is told, and what was read for it.
fn told(snapshot: &Snapshot, name: &str) -> (Option<Arc<Workload>>, ReadSet) {
    let proxy = ProxyKey::new(ProxyKind::Sidecar, "web", "front", [10, 0, 0, 1].into());
    let ctx = Ctx::new(snapshot, &proxy);
    (build(&ctx, name), ctx.finish().0)
}

fn whose(snapshot: &Snapshot, name: &str) -> Option<String> {
    told(snapshot, name).0.map(|w| w.name.to_string())
}

#[test]
fn a_pod_without_a_sidecar_is_known_by_its_address() {
    let spec = "{serviceAccountName: mysql, nodeName: n1, containers: []}";
    let status = "{phase: Running, podIP: 10.244.0.9, podIPs: [{ip: 10.244.0.9}, {ip: 'fd00::9'}]}";
    let snapshot = snapshot(&format!("{SERVICES}{}", pod("db-6d4b9-x", ("ReplicaSet", "db-6d4b9"), DB, spec, status)));
    for name in ["/10.244.0.9", "/fd00::9"] {
        let found = told(&snapshot, name).0.unwrap_or_else(|| panic!("nobody has {name}"));
        let expected = Workload {
            uid: "Kubernetes//Pod/shop/db-6d4b9-x".into(),
            name: "db-6d4b9-x".into(),
            namespace: "shop".into(),
            addresses: vec!["10.244.0.9".parse().unwrap(), "fd00::9".parse().unwrap()],
            network: "".into(),
            node: "n1".into(),
            trust_domain: "cluster.local".into(),
            service_account: "mysql".into(),
            canonical_name: "db".into(),
            canonical_revision: "8".into(),
            workload_type: WorkloadType::Deployment,
            workload_name: "db".into(),
            cluster_id: "Kubernetes".into(),
            services: vec!["shop/db.example.com".into(), "shop/db.shop.svc.cluster.local".into()],
            app: "db".into(),
            version: "8".into(),
        };
        assert_eq!(*found, expected);
    }
    for nobody in ["/10.244.0.8", "other/10.244.0.9", "10.244.0.9", "/", "/10.96.0.9", ""] {
        assert_eq!(whose(&snapshot, nobody), None, "{nobody}");
    }
}

#[test]
fn an_address_that_several_have_is_nobodys() {
    let at = |name: &str, spec: &str, phase: &str| {
        pod(name, ("", ""), "{}", spec, &format!("{{phase: {phase}, podIP: 10.244.0.9}}"))
    };
    let (own, host) = ("{containers: []}", "{hostNetwork: true, containers: []}");
    let entry = |name: &str, network: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{address: 10.244.0.9, network: '{network}'}}\n---\n"
        )
    };
    for (who, found) in [
        (at("a", own, "Running"), Some("a")),
        (at("a", own, "Running") + &at("b", own, "Pending"), None),
        // What has ended has no address any more.
        (at("a", own, "Succeeded") + &at("b", own, "Running"), Some("b")),
        (at("a", own, "Failed"), None),
        (at("a", host, "Running"), None),
        (at("a", host, "Running") + &entry("vm", ""), None),
        (at("a", own, "Running") + &entry("vm", ""), None),
        (entry("vm", ""), Some("vm")),
        (entry("vm", "") + &entry("vm-admin", ""), None),
        (entry("vm", "another"), None),
    ] {
        assert_eq!(whose(&snapshot(&who), "/10.244.0.9").as_deref(), found, "{who}");
    }
}

#[test]
fn an_address_of_every_machine_is_nobodys() {
    for address in ["127.0.0.1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "::1", "fe80::1"] {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: vm, namespace: shop}}\nspec: {{address: '{address}'}}\n"
        );
        assert_eq!(whose(&snapshot(&text), &format!("/{address}")), None, "{address}");
    }
}

#[test]
fn a_workload_entry_is_known_by_its_name_and_labels() {
    let text = format!(
        "{SERVICES}apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: vm, namespace: shop, labels: {{app: db, version: v1}}}}\nspec: {{address: 192.0.2.7, serviceAccount: db, labels: {{version: v2}}}}\n"
    );
    let found = told(&snapshot(&text), "/192.0.2.7").0.unwrap();
    assert_eq!((&*found.workload_name, &*found.canonical_name, &*found.canonical_revision), ("vm", "db", "v2"));
    assert_eq!((found.workload_type, &*found.app, &*found.version), (WorkloadType::Pod, "db", "v2"));
    assert_eq!(found.principal().unwrap(), "spiffe://cluster.local/ns/shop/sa/db");
    assert_eq!(found.services.len(), 2);
}

#[test]
fn what_people_know_a_pod_by() {
    let named = |kind: &str, name: &str, labels: &str| {
        let raw = objects(&pod("p", (kind, name), labels, "{containers: []}", "{}"));
        let meta = raw[0].metadata.clone();
        let (name, kind) = owner(&meta);
        (name.to_owned(), kind)
    };
    for (kind, name, labels, expected) in [
        ("ReplicaSet", "web-6d4b9", "{pod-template-hash: 6d4b9}", ("web", WorkloadType::Deployment)),
        ("ReplicaSet", "web-77", "{rollouts-pod-template-hash: '77'}", ("web", WorkloadType::Pod)),
        ("ReplicaSet", "web", "{}", ("web", WorkloadType::Pod)),
        ("Job", "backup-28391045", "{}", ("backup", WorkloadType::CronJob)),
        ("Job", "migrate-2", "{}", ("migrate-2", WorkloadType::Job)),
        ("StatefulSet", "db", "{}", ("db", WorkloadType::Pod)),
        ("", "", "{}", ("p", WorkloadType::Pod)),
    ] {
        assert_eq!(named(kind, name, labels), (expected.0.to_owned(), expected.1), "{kind} {name}");
    }
}

#[test]
fn a_change_touches_only_those_who_asked_for_its_address() {
    let at = |ip: &str| pod("a", ("", ""), "{}", "{containers: []}", &format!("{{phase: Running, podIP: {ip}}}"));
    let first = snapshot(&at("10.244.0.9"));
    let (nine, ten) = (told(&first, "/10.244.0.9"), told(&first, "/10.244.0.10"));
    assert!(nine.0.is_some() && ten.0.is_none());
    let (next, changes) = first.apply(objects(&at("10.244.0.10")).into_iter().map(Change::Upsert));
    assert!(touched(&nine.1, &changes) && touched(&ten.1, &changes), "it is gone from one and came to the other");
    assert_eq!((whose(&next, "/10.244.0.9"), whose(&next, "/10.244.0.10").as_deref()), (None, Some("a")));
    assert_eq!(whose(&first, "/10.244.0.9").as_deref(), Some("a"), "the old snapshot is as it was");
    let others = told(&first, "/10.244.0.11").1;
    assert!(!touched(&others, &changes));
    let gone = Change::Delete { kind: Kind::Pod, namespace: "shop".into(), name: "a".into() };
    let (last, changes) = next.apply([gone]);
    assert!(touched(&told(&next, "/10.244.0.10").1, &changes));
    assert_eq!(whose(&last, "/10.244.0.10"), None);
}

#[test]
fn what_the_mesh_does_not_discover_is_unknown() {
    let mesh = |label: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata: {{mesh: 'discoverySelectors: [{{matchLabels: {{mesh: \"{label}\"}}}}]'}}\n---\n"
        )
    };
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {mesh: 'yes'}}\n---\n";
    let one = pod("a", ("", ""), "{}", "{containers: []}", "{phase: Running, podIP: 10.244.0.9}");
    let first = snapshot(&format!("{}{namespace}{one}", mesh("yes")));
    let (found, reads) = told(&first, "/10.244.0.9");
    assert!(found.is_some());
    let (hidden, changes) = first.apply(objects(&mesh("no")).into_iter().map(Change::Upsert));
    assert!(touched(&reads, &changes));
    let (found, reads) = told(&hidden, "/10.244.0.9");
    assert!(found.is_none());
    let (back, changes) = hidden.apply(objects(&mesh("yes")).into_iter().map(Change::Upsert));
    assert!(touched(&reads, &changes));
    assert!(told(&back, "/10.244.0.9").0.is_some());
}
