use super::*;
use crate::{Change, Kind, Snapshot};

const DOCUMENT: &str = include_str!("../../../../docs/COMPATIBILITY.md");
const MARKS: (&str, &str) = ("<!-- not implemented: begin -->", "<!-- not implemented: end -->");

fn read(text: &str) -> Vec<RawObject> {
    let (objects, problems) = varka_api::read("t.yaml", text);
    assert!(problems.is_empty(), "{problems:?}");
    objects
}

fn one(text: &str) -> Vec<(String, String)> {
    let object = read(text).pop().unwrap();
    not_implemented(&object).into_iter().map(|d| (d.path, d.message)).collect()
}

fn row(entry: &NotImplemented) -> String {
    let field = if entry.is_whole_kind() { "the kind".to_owned() } else { format!("`{}`", entry.field()) };
    let kind = match entry.group {
        "" => entry.kind.to_owned(),
        group => format!("{} ({group})", entry.kind),
    };
    format!("| {kind} | {field} | {} |", entry.effect)
}

#[test]
fn the_document_has_the_same_list() {
    let table = DOCUMENT.split_once(MARKS.0).and_then(|(_, rest)| rest.split_once(MARKS.1)).unwrap().0;
    let written: Vec<&str> = table.lines().filter(|l| l.starts_with("| ")).skip(1).collect();
    let listed: Vec<String> = NOT_IMPLEMENTED.iter().map(row).collect();
    assert_eq!(written, listed, "the rows should be:\n{}", listed.join("\n"));
}

#[test]
fn a_kind_is_told_of_as_a_whole() {
    let text = "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: x, namespace: blog-system}\nspec: {}\n";
    let said = not_implemented(&read(text).pop().unwrap()).pop().unwrap().to_string();
    assert_eq!(
        said,
        "warning[not-implemented] EnvoyFilter blog-system/x spec (t.yaml:4): EnvoyFilter is not implemented; the proxies behave as if it were absent"
    );
}

#[test]
fn policies_are_looked_at_wherever_they_stand() {
    let found = one("
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d, namespace: x}
spec:
  host: a
  trafficPolicy:
    loadBalancer: {zoneAwareLbSetting: {enabled: true}}
    portLevelSettings: [{port: {number: 80}}, {port: {number: 81}, loadBalancer: {zoneAwareLbSetting: {enabled: true}}}]
  subsets:
  - {name: a, labels: {zoneAwareLbSetting: deep}}
  - {name: b, trafficPolicy: {loadBalancer: {zoneAwareLbSetting: {enabled: true}}}}
");
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting",
            "spec.trafficPolicy.portLevelSettings[1].loadBalancer.zoneAwareLbSetting",
            "spec.subsets[1].trafficPolicy.loadBalancer.zoneAwareLbSetting",
        ]
    );
}

#[test]
fn what_is_not_set_is_not_told_of() {
    let text = "
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: t, namespace: x}
spec:
  metrics: [{providers: [{name: prometheus}], overrides: []}]
  accessLogging: [{disabled: true}]
";
    assert_eq!(one(text), []);
}

#[test]
fn values_count_where_only_some_are_meant() {
    let text = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: x}
spec:
  rules:
  - from: [{source: {namespaces: [a]}}, {source: {requestPrincipals: ['*']}}]
    when: [{key: source.ip, values: [10.0.0.0/8]}, {key: 'request.auth.claims[a]', values: [b]}, {key: 'experimental.envoy.filters.a[b]', values: [c]}]
";
    let paths: Vec<String> = one(text).into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["spec.rules[0].when[2].key"]);
}

#[test]
fn gateways_of_two_apis_are_told_apart() {
    let text = |api: &str| {
        format!("apiVersion: {api}\nkind: Gateway\nmetadata: {{name: g, namespace: x}}\nspec: {{defaultScope: All}}\n")
    };
    assert_eq!(one(&text("networking.istio.io/v1")), []);
    let object = read(&text("gateway.networking.k8s.io/v1")).pop().unwrap();
    assert_eq!(not_implemented(&object).pop().unwrap().resource, "Gateway.gateway.networking.k8s.io x/g");
}

#[test]
fn a_snapshot_tells_for_as_long_as_the_object_is_there() {
    let text = "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: w, namespace: x}\nspec: {url: u}\n";
    let with = Snapshot::builder().objects(read(text)).build();
    assert_eq!(with.problems().map(|p| p.resource.clone()).collect::<Vec<_>>(), ["WasmPlugin x/w"]);
    let kind = Kind::of("extensions.istio.io", "WasmPlugin").unwrap();
    let without = with.with([Change::Delete { kind, namespace: "x".into(), name: "w".into() }]);
    assert_eq!(without.problems().count(), 0);
}

#[test]
fn what_compiling_tells_is_not_told_twice() {
    let text = "
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: t, namespace: x}
spec: {accessLogging: [{filter: {expression: 'response.code >='}}]}
";
    assert_eq!(Snapshot::builder().objects(read(text)).build().problems().count(), 0);
    assert_eq!(one(text).len(), 1);
}

#[test]
fn the_meshs_settings_count_too() {
    let text = "ingressService: other\n";
    let (mesh, _) = MeshConfig::from_yaml(text).unwrap();
    let snapshot = Snapshot::builder().mesh(mesh).build();
    let said: Vec<_> = snapshot.problems().map(|p| (p.resource.clone(), p.path.clone())).collect();
    let place = "ConfigMap istio-system/istio".to_owned();
    assert_eq!(said, [(place, "mesh.ingressService".to_owned())]);
    assert_eq!(snapshot.with([Change::Mesh(Box::default())]).problems().count(), 0);
}
