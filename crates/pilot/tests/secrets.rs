//! Which Secrets a gateway's proxy is given, by whoever's word.
#![expect(clippy::unwrap_used, reason = "tests fail where they stand")]

use varka_engine::ir::ResourceType;
use varka_pilot::{ProxyKey, ProxyKind, ResourceName, Snapshot, compile, compile_all};

const CERTIFICATE: &str = "{tls.crt: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUIKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=, \
    tls.key: LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1JSUIKLS0tLS1FTkQgUFJJVkFURSBLRVktLS0tLQo=}";

fn snapshot(more: &str) -> Snapshot {
    let text = format!(
        "apiVersion: v1
kind: Service
metadata: {{name: edge, namespace: edge}}
spec: {{clusterIP: 10.96.0.9, selector: {{app: edge}}, ports: [{{name: https, port: 443}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: edge-1, namespace: edge, labels: {{app: edge}}}}
spec: {{containers: [{{name: istio-proxy}}]}}
status: {{podIP: 10.0.0.9, phase: Running}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: edge-1, namespace: edge, labels: {{kubernetes.io/service-name: edge}}}}
addressType: IPv4
ports: [{{name: https, port: 443}}]
endpoints: [{{addresses: [10.0.0.9], conditions: {{ready: true}}, targetRef: {{kind: Pod, name: edge-1, namespace: edge}}}}]
---
apiVersion: v1
kind: Secret
metadata: {{name: own, namespace: edge}}
data: {CERTIFICATE}
---
apiVersion: v1
kind: Secret
metadata: {{name: theirs, namespace: bank}}
data: {CERTIFICATE}
---
{more}"
    );
    let (objects, problems) = varka_api::read("secrets.yaml", &text);
    assert!(problems.is_empty(), "{problems:?}");
    Snapshot::builder().objects(objects).build()
}

fn proxy() -> ProxyKey {
    let mut key = ProxyKey::new(ProxyKind::Router, "edge-1", "edge", "10.0.0.9".parse().unwrap());
    key.labels.insert("app".to_owned(), "edge".to_owned());
    key
}

fn gateway(credential: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: g, namespace: anybody}}
spec:
  selector: {{app: edge}}
  servers:
  - port: {{number: 443, name: https, protocol: HTTPS}}
    hosts: ['*']
    tls: {{mode: SIMPLE, credentialName: '{credential}'}}
"
    )
}

/// Whether the proxy gets a secret of that name, and the findings.
fn given(snapshot: &Snapshot, sds_name: &str) -> (bool, Vec<String>) {
    let (configuration, diagnostics) = compile_all(snapshot, &proxy());
    let name = ResourceName { kind: ResourceType::Secret, name: sds_name.into() };
    // A proxy that asks for a name by itself learns no more.
    let asked = compile(snapshot, &proxy(), &name).resource.is_some();
    let pushed = configuration.secrets.contains_key(sds_name);
    let codes = diagnostics.iter().map(|d| d.code.to_owned()).collect();
    assert_eq!(asked, pushed, "{sds_name}: asked for and pushed differ");
    (pushed, codes)
}

#[test]
fn a_secret_beside_the_proxy_is_given() {
    for (credential, name) in [
        ("own", "kubernetes://edge/own"),
        ("kubernetes://edge/own", "kubernetes://edge/own"),
        ("kubernetes://own", "kubernetes://own"),
    ] {
        let (given, codes) = given(&snapshot(&gateway(credential)), name);
        assert!(given && !codes.iter().any(|c| c == "credential-not-given"), "{credential}: {codes:?}");
    }
}

#[test]
fn a_secret_of_another_namespace_is_given_to_nobody_who_only_names_it() {
    for name in ["kubernetes://bank/theirs", "kubernetes-gateway://bank/theirs", "kubernetes-gateway://edge/own"] {
        let (given, codes) = given(&snapshot(&gateway(name)), name);
        assert!(!given, "{name} is given");
        assert!(codes.iter().any(|c| c == "credential-not-given"), "{name}: {codes:?}");
    }
}

#[test]
fn a_gateway_of_the_gateway_api_needs_a_grant() {
    let of = |grant: &str| {
        snapshot(&format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: istio}}
spec: {{controllerName: istio.io/gateway-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: g, namespace: edge}}
spec:
  gatewayClassName: istio
  addresses: [{{type: Hostname, value: edge.edge.svc.cluster.local}}]
  listeners:
  - name: https
    port: 443
    protocol: HTTPS
    tls: {{certificateRefs: [{{name: theirs, namespace: bank}}]}}
{grant}"
        ))
    };
    let grant = "---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, namespace: bank}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: edge}]
  to: [{group: '', kind: Secret}]
";
    let name = "kubernetes-gateway://bank/theirs";
    assert!(given(&of(grant), name).0, "the grant has no effect");
    assert!(!given(&of(""), name).0, "it is given without a grant");
}
