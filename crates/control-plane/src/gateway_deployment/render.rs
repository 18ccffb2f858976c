//! What is deployed for a Gateway.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use varka_api::Object;
use varka_api::kube::KubernetesGateway;
use varka_pilot::{gateway_account, gateway_name};

/// Marks what is managed here.
pub(super) const MANAGED: (&str, &str) = ("gateway.istio.io/managed", "istio.io-gateway-controller");
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
const GATEWAY_CLASS: &str = "gateway.networking.k8s.io/gateway-class-name";
/// Prefix of labels and annotations that are the API's own.
const RESERVED: &str = "gateway.networking.k8s.io/";
/// Annotations of a Gateway that mean the Gateway alone.
const NOT_COPIED: [&str; 5] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "gateway.istio.io/name-override",
    "gateway.istio.io/service-account",
    "gateway.istio.io/controller-version",
    "networking.istio.io/service-type",
];
const STATUS_PORT: u32 = 15021;

/// An object to apply.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Made {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) value: Value,
}

impl Made {
    pub(super) fn key(&self) -> (&'static str, String, String) {
        (self.kind, self.namespace.clone(), self.name.clone())
    }
}

/// Everything that a Gateway needs, in the order in which it is applied.
pub(super) fn objects(gateway: &Object<KubernetesGateway>, service_type: &str) -> Vec<Made> {
    let meta = &gateway.metadata;
    let (name, account) = (gateway_name(gateway), gateway_account(gateway));
    let given = gateway.spec.infrastructure.as_ref();
    let labels = given.map(|i| &i.labels).filter(|l| !l.is_empty()).unwrap_or(&meta.labels);
    let annotations = given.map(|i| &i.annotations).filter(|a| !a.is_empty()).unwrap_or(&meta.annotations);
    let mut labels: BTreeMap<&str, &str> = own(labels);
    labels.extend([
        (GATEWAY_NAME, meta.name.as_str()),
        (GATEWAY_CLASS, gateway.spec.gateway_class_name.as_str()),
        MANAGED,
    ]);
    let mut annotations: BTreeMap<&str, &str> = own(annotations);
    annotations.retain(|name, _| !NOT_COPIED.contains(name));
    let metadata = |name: &str| {
        let owner = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": meta.name, "uid": meta.uid,
        });
        let mut value =
            json!({"name": name, "namespace": meta.namespace, "labels": labels, "ownerReferences": [owner]});
        if let (false, Some(map)) = (annotations.is_empty(), value.as_object_mut()) {
            map.insert("annotations".to_owned(), json!(annotations));
        }
        value
    };
    let made = |api_version, kind, plural, name: &str, mut value: Value| {
        if let Some(map) = value.as_object_mut() {
            map.insert("apiVersion".to_owned(), Value::from(api_version));
            map.insert("kind".to_owned(), Value::from(kind));
            map.insert("metadata".to_owned(), metadata(name));
        }
        Made { api_version, kind, plural, namespace: meta.namespace.clone(), name: name.to_owned(), value }
    };
    let pod = pod(&labels, &annotations, &name, &account);
    let deployment = json!({"spec": {"selector": {"matchLabels": {GATEWAY_NAME: meta.name}}, "template": pod}});
    vec![
        made("v1", "ServiceAccount", "serviceaccounts", &account, json!({})),
        made("apps/v1", "Deployment", "deployments", &name, deployment),
        made("v1", "Service", "services", &name, json!({"spec": service(gateway, service_type)})),
    ]
}

fn own(map: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    map.iter().filter(|(k, _)| !k.starts_with(RESERVED)).map(|(k, v)| (k.as_str(), v.as_str())).collect()
}

/// The proxy itself is what injection makes of `istio-proxy` by the template `gateway`.
fn pod(labels: &BTreeMap<&str, &str>, annotations: &BTreeMap<&str, &str>, name: &str, account: &str) -> Value {
    let mut labels = labels.clone();
    labels.entry("service.istio.io/canonical-name").or_insert(name);
    labels.entry("service.istio.io/canonical-revision").or_insert("latest");
    labels.insert("sidecar.istio.io/inject", "true");
    let mut annotations = annotations.clone();
    annotations.insert("inject.istio.io/templates", "gateway");
    json!({
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": {
            "serviceAccountName": account,
            // Listeners may have ports below 1024, and the proxy is nobody in particular.
            "securityContext": {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]},
            "containers": [{"name": "istio-proxy", "image": "auto"}],
        },
    })
}

fn service(gateway: &Object<KubernetesGateway>, service_type: &str) -> Value {
    let mut ports = vec![json!({"name": "status-port", "port": STATUS_PORT, "protocol": "TCP", "appProtocol": "tcp"})];
    let mut taken = vec![STATUS_PORT];
    for (index, listener) in gateway.spec.listeners.iter().enumerate() {
        // Listeners of one port differ by host, of which a Service knows nothing.
        if taken.contains(&listener.port) {
            continue;
        }
        taken.push(listener.port);
        let protocol = listener.protocol.to_ascii_lowercase();
        let name = port_name(&listener.name).unwrap_or_else(|| format!("{protocol}-{index}"));
        ports.push(json!({"name": name, "port": listener.port, "protocol": "TCP", "appProtocol": protocol}));
    }
    let annotated = gateway.metadata.annotations.get("networking.istio.io/service-type");
    let service_type = annotated.map_or(service_type, String::as_str);
    let mut spec = json!({
        "type": service_type, "ports": ports, "selector": {GATEWAY_NAME: gateway.metadata.name},
    });
    if let (Some(address), Some(spec)) = (gateway.spec.addresses.first(), spec.as_object_mut()) {
        spec.insert("loadBalancerIP".to_owned(), address.value.as_str().into());
    }
    spec
}

/// The name of a listener, where a port may be called so too.
fn port_name(listener: &str) -> Option<String> {
    let name: String = listener.chars().map(|c| if c == '.' { '-' } else { c }).take(63).collect();
    let name = name.trim_matches('-');
    let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    fits.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use varka_api::RawObject;

    use super::*;
    use crate::webhook::register::holds;

    fn gateway(extra: &Value) -> Object<KubernetesGateway> {
        let mut value = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {
                "name": "edge", "namespace": "shop", "uid": "u-1", "labels": {"team": "a"},
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "b"},
            },
            "spec": {"gatewayClassName": "istio", "listeners": [
                {"name": "http", "port": 80, "protocol": "HTTP"},
                {"name": "https.a", "port": 443, "protocol": "HTTPS"},
                {"name": "https.b", "port": 443, "protocol": "HTTPS"},
            ]},
        });
        json_patch::merge(&mut value, extra);
        RawObject::from_value(value).unwrap().decode().unwrap().object
    }

    fn find(made: &[Made], kind: &str) -> Value {
        made.iter().find(|m| m.kind == kind).unwrap().value.clone()
    }

    #[test]
    fn a_gateway_has_an_account_a_deployment_and_a_service_that_go_with_it() {
        let made = objects(&gateway(&json!({})), "LoadBalancer");
        let names: Vec<_> = made.iter().map(|m| (m.kind, m.namespace.as_str(), m.name.as_str())).collect();
        assert_eq!(
            names,
            [
                ("ServiceAccount", "shop", "edge-istio"),
                ("Deployment", "shop", "edge-istio"),
                ("Service", "shop", "edge-istio"),
            ]
        );
        for one in &made {
            assert_eq!(one.value["metadata"]["ownerReferences"][0]["uid"], "u-1", "{}", one.kind);
            assert_eq!(one.value["metadata"]["labels"][GATEWAY_NAME], "edge");
            assert_eq!(one.value["metadata"]["labels"]["team"], "a");
            assert_eq!(one.value["metadata"]["annotations"], json!({"note": "b"}));
        }
        let deployment = find(&made, "Deployment");
        let selector = &deployment["spec"]["selector"]["matchLabels"];
        let template = &deployment["spec"]["template"];
        assert!(holds(&template["metadata"]["labels"], selector));
        assert_eq!(template["metadata"]["annotations"]["inject.istio.io/templates"], "gateway");
        let service = find(&made, "Service");
        let ports: Vec<_> = service["spec"]["ports"].as_array().unwrap().iter().map(|p| &p["port"]).collect();
        assert_eq!(ports, [&json!(15021), &json!(80), &json!(443)]);
        assert_eq!(service["spec"]["ports"][2]["name"], "https-a");
        assert_eq!(service["spec"]["type"], "LoadBalancer");
    }

    #[test]
    fn infrastructure_and_annotations_decide() {
        let given = json!({
            "metadata": {"annotations": {
                "gateway.istio.io/name-override": "front", "networking.istio.io/service-type": "ClusterIP",
            }},
            "spec": {
                "infrastructure": {"labels": {"zone": "x", "gateway.networking.k8s.io/gateway-name": "other"}},
                "addresses": [{"value": "10.0.0.7"}],
            },
        });
        let made = objects(&gateway(&given), "LoadBalancer");
        let service = find(&made, "Service");
        assert_eq!(service["metadata"]["name"], "front");
        assert_eq!(service["metadata"]["labels"]["zone"], "x");
        assert_eq!(service["metadata"]["labels"]["team"], Value::Null);
        assert_eq!(service["metadata"]["labels"][GATEWAY_NAME], "edge");
        assert_eq!(service["spec"]["type"], "ClusterIP");
        assert_eq!(service["spec"]["loadBalancerIP"], "10.0.0.7");
    }

    #[test]
    fn what_the_server_adds_is_no_difference() {
        let wanted = find(&objects(&gateway(&json!({})), "ClusterIP"), "Service");
        let mut found = wanted.clone();
        found["spec"]["clusterIP"] = json!("10.96.0.1");
        found["spec"]["ports"][0]["targetPort"] = json!(15021);
        assert!(holds(&found, &wanted));
        found["spec"]["selector"] = json!({});
        assert!(!holds(&found, &wanted));
    }
}
