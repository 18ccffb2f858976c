use super::*;
use crate::{Change, ReadKey, ReadSet, touched};

const EDGE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: istio
  listeners:
  - {name: all, port: 80, protocol: HTTP}
  - {name: api, port: 80, protocol: HTTP, hostname: api.example}
  - {name: again, port: 80, protocol: HTTP, hostname: api.example}
  - {name: stream, port: 80, protocol: TCP}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}]}
";

fn route(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n{spec}\n"
    )
}

fn snapshot(text: &str) -> Snapshot {
    let (objects, problems) = varka_api::read("t.yaml", text);
    assert!(problems.is_empty(), "{problems:?}");
    Snapshot::builder().objects(objects).build()
}

fn status(snapshot: &Snapshot, kind: &str, name: &str) -> Value {
    statuses(snapshot).into_iter().find(|s| s.kind == kind && s.name == name).map(|s| s.wanted).unwrap_or_default()
}

/// Reason of a condition.
fn reason(of: &Value, kind: &str) -> String {
    let list = of["conditions"].as_array().cloned().unwrap_or_default();
    let found = list.iter().find(|c| c["type"] == kind).map(|c| c["reason"].as_str().unwrap_or_default().to_owned());
    found.unwrap_or_default()
}

#[test]
fn of_listeners_that_cannot_stand_beside_each_other_the_first_is_served() {
    let told = status(&snapshot(EDGE), "Gateway", "edge");
    let conflicts: Vec<String> =
        told["listeners"].as_array().unwrap().iter().map(|l| reason(l, "Conflicted")).collect();
    assert_eq!(conflicts, ["NoConflicts", "NoConflicts", "HostnameConflict", "ProtocolConflict"]);
    assert_eq!(reason(&told, "Accepted"), "ListenersNotValid");
    let names: Vec<_> = snapshot(EDGE).gateway_api().gateways.iter().map(|g| g.metadata.name.clone()).collect();
    assert_eq!(names, [format!("edge~{MADE}~all"), format!("edge~{MADE}~api")]);
}

#[test]
fn a_route_is_told_why_it_is_refused() {
    for (parent, hostnames, wanted) in [
        ("{name: edge}", "", "Accepted"),
        ("{name: edge, sectionName: api}", "[api.example]", "Accepted"),
        ("{name: edge, sectionName: api}", "[other.example]", "NoMatchingListenerHostname"),
        ("{name: edge, sectionName: none}", "", "NoMatchingParent"),
        ("{name: edge, port: 81}", "", "NoMatchingParent"),
        ("{group: '', kind: Service, name: web}", "", "Accepted"),
        ("{group: '', kind: Service, name: gone}", "", "NoMatchingParent"),
    ] {
        let hostnames = if hostnames.is_empty() { String::new() } else { format!("  hostnames: {hostnames}\n") };
        let spec =
            format!("  parentRefs: [{parent}]\n{hostnames}  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]");
        let told = status(&snapshot(&format!("{EDGE}{}", route("r", &spec))), "HTTPRoute", "r");
        assert_eq!(reason(&told["parents"][0], "Accepted"), wanted, "{parent}");
    }
    // Another controller's Gateway, or none at all: nothing of it is ours to tell.
    let elsewhere = route("r", "  parentRefs: [{name: unknown}]\n  rules: [{}]");
    assert_eq!(status(&snapshot(&format!("{EDGE}{elsewhere}")), "HTTPRoute", "r"), json!({"parents": []}));
}

#[test]
fn what_other_controllers_say_stays_in_its_place() {
    let spec = "  parentRefs: [{name: edge}]\n  rules: [{backendRefs: [{name: web, port: 80}]}]
status:
  parents:
  - {controllerName: istio.io/gateway-controller, parentRef: {name: gone}}
  - {controllerName: example.com/other, parentRef: {name: edge}}
  - {controllerName: istio.io/gateway-controller, parentRef: {name: edge}}";
    let told = status(&snapshot(&format!("{EDGE}{}", route("r", spec))), "HTTPRoute", "r");
    let controllers: Vec<_> = told["parents"].as_array().unwrap().iter().map(|p| &p["controllerName"]).collect();
    assert_eq!(controllers, ["example.com/other", CONTROLLER]);
}

#[test]
fn conditions_of_others_stay_and_ours_that_no_longer_hold_go() {
    let told = EDGE.replacen(
        "---",
        "status:
  conditions:
  - {type: example.com/Checked, status: 'True'}
  - {type: InsecureFrontendValidationMode, status: 'True'}
  - {type: Programmed, status: 'True'}
---",
        1,
    );
    let told = status(&snapshot(&told), "Gateway", "edge");
    let kinds: Vec<_> = told["conditions"].as_array().unwrap().iter().map(|c| &c["type"]).collect();
    assert_eq!(kinds, ["example.com/Checked", "Programmed", "Accepted", "ResolvedRefs"]);
}

#[test]
fn more_exact_conditions_come_first_whatever_route_has_them() {
    let rule = |m: &str| format!("  - {{matches: [{m}], backendRefs: [{{name: web, port: 80}}]}}");
    let spec = |rules: &[&str]| {
        let rules: Vec<String> = rules.iter().map(|m| rule(m)).collect();
        format!("  parentRefs: [{{name: edge, sectionName: all}}]\n  rules:\n{}", rules.join("\n"))
    };
    let first = spec(&[
        "{path: {type: RegularExpression, value: '/a.*'}}",
        "{path: {value: /}}",
        "{path: {value: /a}}",
        "{path: {value: /a}, headers: [{name: x-team, value: blue}]}",
    ]);
    let second =
        spec(&["{path: {type: Exact, value: /a}}", "{path: {value: /a}, method: GET}", "{path: {value: /a/b}}"]);
    let snapshot = snapshot(&format!("{EDGE}{}{}", route("first", &first), route("second", &second)));
    let made = &snapshot.gateway_api().virtual_services;
    assert_eq!(made.len(), 1, "two routes for one host of one listener are one VirtualService");
    let order: Vec<&str> = made[0].origins.iter().map(|o| &**o).collect();
    assert_eq!(
        order,
        [
            "HTTPRoute shop/second rules[0]",
            "HTTPRoute shop/second rules[2]",
            "HTTPRoute shop/second rules[1]",
            "HTTPRoute shop/first rules[3]",
            "HTTPRoute shop/first rules[2]",
            "HTTPRoute shop/first rules[1]",
            "HTTPRoute shop/first rules[0]",
        ]
    );
}

#[test]
fn a_change_is_told_of_as_one_of_what_is_made() {
    let spec = "  parentRefs: [{name: edge}]\n  rules: [{backendRefs: [{name: web, port: 80}]}]";
    let before = snapshot(&format!("{EDGE}{}", route("r", spec)));
    let changed = |text: &str| {
        let (objects, _) = varka_api::read("t.yaml", text);
        before.apply(objects.into_iter().map(Change::Upsert)).1
    };
    let mut reads = ReadSet::default();
    reads.insert(ReadKey::Kind(Kind::VirtualService));
    reads.insert(ReadKey::Kind(Kind::Gateway));
    let told = route("r", &format!("{spec}\nstatus: {{parents: []}}"));
    assert!(!touched(&reads, &changed(&told)), "a status alters no traffic");
    let routed = route("r", &spec.replace("port: 80", "port: 81"));
    assert!(touched(&reads, &changed(&routed)));
}

#[test]
fn findings_name_what_was_written() {
    let made = |parents: &str| ObjectMeta {
        annotations: [(PARENTS.to_owned(), parents.to_owned())].into(),
        ..ObjectMeta::default()
    };
    let named = |parents: &str| written_as(&made(parents)).unwrap_or_default();
    assert_eq!(named("HTTPRoute/a.b.shop,GRPCRoute/c.shop"), "HTTPRoute shop/a.b");
    assert_eq!(named("Gateway/edge/http.shop"), "Gateway.gateway.networking.k8s.io shop/edge");
    assert_eq!(named("BackendTLSPolicy/shop.a.b"), "BackendTLSPolicy shop/a.b");
    assert_eq!(written_as(&ObjectMeta::default()), None);
}
