//! Which object decided: the same that the compilation decides by.

use std::collections::BTreeMap;

use varka_pilot::{Mode, Placed, ProxyKey, ProxyKind, Snapshot, destination_rule_of, peer_mode, peer_reason};

fn snapshot(yaml: &str) -> Snapshot {
    let (objects, problems) = varka_api::read("in.yaml", yaml);
    assert!(problems.is_empty(), "{problems:?}");
    Snapshot::builder().objects(objects).build()
}

fn peer(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {spec}\n"
    )
}

#[test]
fn the_mode_of_a_port_and_who_says_so() {
    let mesh = peer("mesh", "istio-system", "{mtls: {mode: STRICT}}");
    let space = peer("space", "shop", "{mtls: {mode: PERMISSIVE}}");
    let own = peer(
        "own",
        "shop",
        "{selector: {matchLabels: {app: was}}, mtls: {mode: UNSET}, portLevelMtls: {\"9090\": {mode: DISABLE}}}",
    );
    let labels = BTreeMap::from([("app".to_owned(), "was".to_owned())]);
    let by = |object: &str, path: &str| Some(Placed { object: object.to_owned(), path: path.to_owned() });
    for (yaml, port, mode, reason) in [
        (String::new(), 80, Mode::Permissive, None),
        (mesh.clone(), 80, Mode::Strict, by("PeerAuthentication istio-system/mesh", "spec.mtls")),
        (format!("{mesh}{space}"), 80, Mode::Permissive, by("PeerAuthentication shop/space", "spec.mtls")),
        (format!("{mesh}{own}"), 80, Mode::Strict, by("PeerAuthentication istio-system/mesh", "spec.mtls")),
        (format!("{space}{own}"), 9090, Mode::Disable, by("PeerAuthentication shop/own", "spec.portLevelMtls.9090")),
    ] {
        let snapshot = snapshot(&yaml);
        assert_eq!(peer_reason(&snapshot, "shop", &labels, Some(port)), (mode, reason), "{yaml}");
        assert_eq!(peer_mode(&snapshot, "shop", &labels, Some(port)), mode, "{yaml}");
    }
}

#[test]
fn the_rule_of_a_host_and_the_subset() {
    let snapshot = snapshot(
        "apiVersion: v1\nkind: Service\nmetadata: {name: was, namespace: shop}\nspec: {ports: [{name: http, port: 80}]}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: was, namespace: shop}\nspec:\n  host: was\n  \
         subsets:\n  - {name: v1, labels: {version: v1}}\n  - {name: v2, labels: {version: v2}}\n",
    );
    let proxy = ProxyKey::new(ProxyKind::Sidecar, "web-1", "shop", [10, 0, 0, 1].into());
    let host = "was.shop.svc.cluster.local";
    let rule = destination_rule_of(&snapshot, &proxy, host, "v2").unwrap();
    assert_eq!((rule.rule.object.as_str(), rule.rule.path.as_str()), ("DestinationRule shop/was", "spec.host"));
    let (placed, labels) = rule.subset.unwrap();
    assert_eq!((placed.path.as_str(), labels["version"].as_str()), ("spec.subsets[1]", "v2"));
    assert_eq!(rule.subsets, ["v1", "v2"]);
    assert_eq!(destination_rule_of(&snapshot, &proxy, host, "v3").unwrap().subset, None);
    assert_eq!(destination_rule_of(&snapshot, &proxy, "other.shop.svc.cluster.local", ""), None);
}
