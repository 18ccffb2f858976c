//! The Gateway API: the Gateways, VirtualServices and DestinationRules that Istio makes of it, and the statuses that it writes.
//!
//! Texts for people (messages) and times are not compared: both are each project's own.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use varka_api::RawObject;
use varka_pilot::{Snapshot, gateway_api_made, gateway_api_statuses};

use super::{Report, bare, cases, text};

const DOMAIN: &str = "domain.suffix";
/// Cases of kinds that are no part of what is implemented.
const LEFT_OUT: [(&str, &str); 4] = [
    ("listenerset", "ListenerSet"),
    ("ambient", "ambient mode"),
    ("waypoint", "ambient mode"),
    ("inferencepool", "InferencePool"),
];
/// Kinds that are told about here.
const KINDS: [&str; 7] =
    ["GatewayClass", "Gateway", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "BackendTLSPolicy"];

/// Services that Istio's test has beside each case, by namespace; names with a dot are hosts outside.
const SERVICES: &[(&str, &[&str])] = &[
    ("allowed-1", &["a-example", "b-example", "svc2", "svc1", "cross.example.net"]),
    ("allowed-2", &["a-example", "svc2", "svc3"]),
    ("apple", &["httpbin-apple"]),
    ("banana", &["httpbin-banana"]),
    ("cert", &["httpbin"]),
    (
        "default",
        &[
            "httpbin",
            "httpbin-second",
            "httpbin-wildcard",
            "foo-svc",
            "httpbin-other",
            "example",
            "echo",
            "google.com",
            "svc4",
            "httpbin-zero",
            "httpbin-mirror",
            "httpbin-foo",
            "httpbin-alt",
            "secure.example.net",
            "plaintext.example.net",
            "tcp.example.net",
            "httpbin-bad",
            "echo-1",
            "echo-2",
            "echo-port",
            "not-found",
        ],
    ),
    ("group-namespace1", &["httpbin"]),
    ("group-namespace2", &["httpbin"]),
    ("istio-system", &["istio-ingressgateway", "example.com", "httpbin", "istiod", "echo"]),
    ("service", &["my-svc"]),
];

/// Runs the table.
pub(super) fn run(table: &Value, dir: &Path, report: &mut Report) {
    for case in cases(table) {
        let name = text(case, "name");
        let uses = |file: &str| std::fs::read_to_string(dir.join("files").join(file)).unwrap_or_default();
        let foreign = uses(text(case, "input")).contains("gateway.networking.x-k8s.io");
        if foreign || LEFT_OUT.iter().any(|(part, _)| name.contains(part)) {
            report.skipped += 1;
            continue;
        }
        report.count(name, one(case, &dir.join("files")));
    }
}

fn objects(dir: &Path, file: &str) -> Result<Vec<RawObject>, String> {
    let text = std::fs::read_to_string(dir.join(file)).map_err(|e| format!("{file}: {e}"))?;
    Ok(varka_api::read(file, &text).0)
}

fn one(case: &Value, dir: &Path) -> Result<(), String> {
    let input = objects(dir, text(case, "input"))?;
    let snapshot = snapshot(input);
    let mut got = BTreeMap::new();
    for made in gateway_api_made(&snapshot) {
        got.insert(key(&made), made_meaning(&made));
    }
    let want = objects(dir, text(case, "golden"))?.into_iter().map(|o| (key(&o.value), made_meaning(&o.value)));
    compare("made", &got, &want.collect())?;
    let statuses = gateway_api_statuses(&snapshot);
    let got = statuses.iter().map(|s| (format!("{} {}/{}", s.kind, s.namespace, s.name), status_meaning(&s.wanted)));
    let want = objects(dir, text(case, "statusGolden"))?.into_iter().filter(|o| KINDS.contains(&o.kind.as_str()));
    let want = want.map(|o| (key(&o.value), status_meaning(o.value.get("status").unwrap_or(&Value::Null))));
    compare("status", &got.collect(), &want.collect())
}

fn compare(what: &str, got: &BTreeMap<String, Value>, want: &BTreeMap<String, Value>) -> Result<(), String> {
    for (name, wanted) in want {
        match got.get(name) {
            None => return Err(format!("{what}: {name} is missing")),
            Some(found) if found != wanted => {
                return Err(format!("{what}: {name} is {found} instead of {wanted}"));
            }
            Some(_) => {}
        }
    }
    match got.keys().find(|name| !want.contains_key(*name)) {
        Some(extra) => Err(format!("{what}: {extra} is too much")),
        None => Ok(()),
    }
}

fn key(object: &Value) -> String {
    let at = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    format!("{} {}/{}", at("/kind"), at("/metadata/namespace"), at("/metadata/name"))
}

/// The specification and the annotations, without what says nothing.
fn made_meaning(object: &Value) -> Value {
    let none = Value::Null;
    let annotations = object.pointer("/metadata/annotations").unwrap_or(&none);
    bare(&json!({"annotations": annotations, "spec": object.get("spec").unwrap_or(&none)}))
}

/// Conditions by type with status and reason; the rest as it is.
fn status_meaning(status: &Value) -> Value {
    match status {
        Value::Object(map) => {
            let kept = map
                .iter()
                .filter(|(k, _)| !["lastTransitionTime", "message", "observedGeneration"].contains(&k.as_str()));
            Value::Object(kept.map(|(k, v)| (k.clone(), status_meaning(v))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(status_meaning).collect()),
        other => other.clone(),
    }
}

fn snapshot(input: Vec<RawObject>) -> Snapshot {
    let mut all: Vec<Value> = Vec::new();
    let mut namespaces: Vec<String> = input.iter().map(|o| o.metadata.namespace.clone()).collect();
    namespaces.sort();
    namespaces.dedup();
    for name in namespaces.iter().filter(|n| !n.is_empty()) {
        let part = name.split('-').next().unwrap_or_default();
        all.push(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"istio.io/test-name-part": part}},
        }));
    }
    for (namespace, names) in SERVICES {
        all.extend(names.iter().flat_map(|name| service(name, namespace)));
    }
    all.extend(secrets());
    let made = all.into_iter().filter_map(RawObject::from_value);
    // Of two objects with one name, that of the case counts.
    Snapshot::builder().domain(DOMAIN).config_domain(DOMAIN).objects(made).objects(input).build()
}

/// A Service with endpoints; a ServiceEntry for a host outside.
fn service(name: &str, namespace: &str) -> Vec<Value> {
    let edge = name == "istio-ingressgateway";
    let ports: &[(&str, u16)] = if edge {
        &[("http", 80), ("https", 443), ("tcp", 34000), ("tcp-other", 34001)]
    } else {
        &[("http", 80), ("tcp", 34000), ("tcp-other", 34001)]
    };
    if name.contains('.') {
        let ports: Vec<Value> =
            ports.iter().map(|(name, number)| json!({"name": name, "number": number, "protocol": "HTTP"})).collect();
        return vec![json!({
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": {"name": format!("beside-{name}"), "namespace": namespace},
            "spec": {"hosts": [name], "ports": ports, "resolution": "DNS"},
        })];
    }
    let target = |number: u16| if number == 80 { 8080 } else { number + 20_000 };
    let declared = ports.iter().map(|(n, p)| json!({"name": n, "port": p, "targetPort": target(*p)}));
    let slice = ports.iter().map(|(n, p)| json!({"name": n, "port": target(*p)}));
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
        "spec": {"ports": declared.collect::<Vec<_>>()},
    });
    if let Some(map) = service.as_object_mut().filter(|_| edge) {
        map.insert("status".to_owned(), json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}));
    }
    let labels = json!({"kubernetes.io/service-name": name});
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": slice.collect::<Vec<_>>(),
    });
    vec![service, slice]
}

/// Secrets and ConfigMaps that Istio's test has beside each case. Their bytes only need to look like what they are.
fn secrets() -> Vec<Value> {
    let pem = |label: &str| format!("-----BEGIN {label}-----\nMIIB\n-----END {label}-----\n");
    let pairs = [
        ("my-cert-http", "istio-system"),
        ("ns2-cert", "ns2"),
        ("ns3-cert", "ns3"),
        ("ns4-cert", "ns4"),
        ("my-cert", "istio-system"),
        ("my-cert-http2", "istio-system"),
        ("cert", "cert"),
        ("bookinfo-secret", "bookinfo"),
        ("another-secret", "bookinfo"),
    ];
    let mut out: Vec<Value> = Vec::new();
    for (name, namespace) in pairs {
        out.push(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
            "stringData": {"tls.crt": pem("CERTIFICATE"), "tls.key": pem("RSA PRIVATE KEY")},
        }));
    }
    out.push(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "malformed", "namespace": "istio-system"},
        "stringData": {"tls.crt": "SGVsbG8gd29ybGQK", "tls.key": "SGVsbG8gd29ybGQK"},
    }));
    for (name, namespace, key, value) in [
        ("malformed", "istio-system", "not-ca.crt", "hello".to_owned()),
        ("malformed-trustbundle", "istio-system", "ca.crt", "hello".to_owned()),
        ("my-cert-http", "istio-system", "ca.crt", pem("CERTIFICATE")),
        ("malformed", "default", "not-ca.crt", "hello".to_owned()),
        ("auth-cert", "default", "ca.crt", pem("CERTIFICATE")),
    ] {
        out.push(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace},
            "data": {key: value},
        }));
    }
    out
}
