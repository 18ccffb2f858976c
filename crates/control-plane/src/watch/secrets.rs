//! Only Secrets and ConfigMaps that an Ingress, a Gateway, a Sidecar, a DestinationRule or a policy names are watched: the control
//! plane has no business with any other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use varka_api::RawObject;

use super::ObjectKey;

const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// A Secret or a ConfigMap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Holder {
    Secret,
    ConfigMap,
}

/// One by name; `None`: of that name in every namespace, because a Gateway's Secret stands beside its proxy, wherever that is.
pub(super) type Reference = (Holder, Option<String>, String);

use Holder::{ConfigMap, Secret};

/// Which objects name which Secrets.
#[derive(Debug, Default)]
pub(super) struct References(BTreeMap<(String, String, String), BTreeSet<Reference>>);

impl References {
    /// Notes an object that was created or changed; whether the set of Secrets may have changed.
    pub(super) fn apply(&mut self, object: &RawObject) -> bool {
        let named = match (object.group(), object.kind.as_str()) {
            ("networking.k8s.io", "Ingress") => ingress(object),
            ("networking.istio.io", "Gateway") => servers(object, "/spec/servers"),
            ("networking.istio.io", "Sidecar") => servers(object, "/spec/ingress"),
            ("networking.istio.io", "DestinationRule") => destination_rule(object),
            (GATEWAY_API, "Gateway") => kubernetes_gateway(object),
            (GATEWAY_API, "BackendTLSPolicy") => policy(object),
            _ => return false,
        };
        let key =
            (kind_key(object.group(), &object.kind), object.metadata.namespace.clone(), object.metadata.name.clone());
        if named.is_empty() {
            return self.0.remove(&key).is_some();
        }
        let changed = self.0.get(&key) != Some(&named);
        self.0.insert(key, named);
        changed
    }

    /// Notes an object that is gone; whether the set of Secrets may have changed.
    pub(super) fn delete(&mut self, key: &ObjectKey) -> bool {
        self.0.remove(&(kind_key(key.group, key.kind), key.namespace.clone(), key.name.clone())).is_some()
    }

    /// All that are named.
    pub(super) fn all(&self) -> BTreeSet<Reference> {
        self.0.values().flatten().cloned().collect()
    }
}

/// Kinds of two groups may have one name.
fn kind_key(group: &str, kind: &str) -> String {
    format!("{kind}.{group}")
}

fn ingress(object: &RawObject) -> BTreeSet<Reference> {
    let namespace = &object.metadata.namespace;
    items(&object.value, "/spec/tls")
        .filter_map(|tls| text(tls, "secretName"))
        .map(|name| (Secret, Some(namespace.clone()), name))
        .collect()
}

/// Of the TLS settings of a Gateway's servers or a Sidecar's listeners.
fn servers(object: &RawObject, path: &str) -> BTreeSet<Reference> {
    let mut named = BTreeSet::new();
    for tls in items(&object.value, path).filter_map(|server| server.get("tls")) {
        let many = tls.get("credentialNames").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let one = text(tls, "credentialName").into_iter().chain(text(tls, "caCertCredentialName"));
        for name in one.chain(many.map(str::to_owned)) {
            credential(&name, &mut named);
        }
    }
    named
}

/// Certificates of listeners and trust anchors for their clients, perhaps in other namespaces, and the settings of what is deployed.
fn kubernetes_gateway(object: &RawObject) -> BTreeSet<Reference> {
    let own = object.metadata.namespace.as_str();
    let mut named: BTreeSet<Reference> = items(&object.value, "/spec/listeners")
        .flat_map(|listener| items(listener, "/tls/certificateRefs"))
        .chain(object.value.pointer("/spec/tls/backend/clientCertificateRef"))
        .filter_map(|reference| named(reference, own, Secret))
        .collect();
    let frontend = object.value.pointer("/spec/tls/frontend").unwrap_or(&Value::Null);
    let ports = items(frontend, "/perPort").filter_map(|port| port.get("tls")).chain(frontend.get("default"));
    let anchors = ports.flat_map(|tls| items(tls, "/validation/caCertificateRefs"));
    let settings = object.value.pointer("/spec/infrastructure/parametersRef");
    named.extend(anchors.chain(settings).filter_map(|reference| self::named(reference, own, ConfigMap)));
    named
}

fn policy(object: &RawObject) -> BTreeSet<Reference> {
    let own = object.metadata.namespace.as_str();
    let anchors = items(&object.value, "/spec/validation/caCertificateRefs");
    anchors.filter_map(|reference| named(reference, own, ConfigMap)).collect()
}

/// What a reference of the Gateway API names, if it is a Secret or a ConfigMap; without a kind it is `default`.
fn named(reference: &Value, own: &str, default: Holder) -> Option<Reference> {
    if text(reference, "group").is_some() {
        return None;
    }
    let holder = match text(reference, "kind").as_deref() {
        None => default,
        Some("Secret") => Secret,
        Some("ConfigMap") => ConfigMap,
        Some(_) => return None,
    };
    let namespace = text(reference, "namespace").unwrap_or_else(|| own.to_owned());
    Some((holder, Some(namespace), text(reference, "name")?))
}

/// Of the TLS settings of every policy: the rule's, its ports', its subsets'.
fn destination_rule(object: &RawObject) -> BTreeSet<Reference> {
    let mut named = BTreeSet::new();
    let own = object.value.pointer("/spec/trafficPolicy");
    let subsets = items(&object.value, "/spec/subsets").filter_map(|subset| subset.get("trafficPolicy"));
    for policy in own.into_iter().chain(subsets) {
        for level in std::iter::once(policy).chain(items(policy, "/portLevelSettings")) {
            if let Some(name) = level.get("tls").and_then(|tls| text(tls, "credentialName")) {
                credential(&name, &mut named);
            }
        }
    }
    named
}

/// A Secret, and the one beside it that may hold its trust anchors; or a ConfigMap of such.
fn credential(name: &str, named: &mut BTreeSet<Reference>) {
    let name = name.strip_prefix("sds://").unwrap_or(name);
    if let Some((namespace, name)) = name.strip_prefix("configmap://").and_then(|path| path.split_once('/')) {
        named.insert((ConfigMap, Some(namespace.to_owned()), name.to_owned()));
    }
    let name = name.strip_prefix("kubernetes://").unwrap_or(name);
    if name.contains("://") {
        return;
    }
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, name),
    };
    named.insert((Secret, namespace.clone(), format!("{name}-cacert")));
    named.insert((Secret, namespace, name.to_owned()));
}

fn items<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

fn text(value: &Value, field: &str) -> Option<String> {
    value.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> RawObject {
        RawObject::from_value(value).unwrap()
    }

    #[test]
    fn named_once_is_watched_and_forgotten_with_the_last_that_names_it() {
        let ingress = |name: &str, secret: &str| {
            object(json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name, "namespace": "a"},
                "spec": {"tls": [{"secretName": secret}, {"hosts": ["b.c"]}]},
            }))
        };
        let mut references = References::default();
        assert!(references.apply(&ingress("x", "tls")));
        assert!(references.apply(&ingress("y", "tls")));
        assert!(!references.apply(&ingress("y", "tls")));
        assert_eq!(references.all(), [(Secret, Some("a".to_owned()), "tls".to_owned())].into());
        let key = |name: &str| ObjectKey {
            group: "networking.k8s.io",
            kind: "Ingress",
            namespace: "a".to_owned(),
            name: name.to_owned(),
        };
        assert!(references.delete(&key("x")));
        assert_eq!(references.all().len(), 1);
        assert!(references.delete(&key("y")));
        assert!(references.all().is_empty());
    }

    #[test]
    fn a_gateways_secret_may_be_in_any_namespace() {
        let mut references = References::default();
        references.apply(&object(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "g", "namespace": "a"},
            "spec": {"servers": [{"tls": {"credentialName": "tls"}}, {"tls": {"credentialName": "b/other"}}]},
        })));
        let all = references.all();
        assert!(all.contains(&(Secret, None, "tls".to_owned())));
        assert!(all.contains(&(Secret, Some("b".to_owned()), "other".to_owned())));
    }

    #[test]
    fn gateways_of_two_apis_are_told_apart() {
        let mut references = References::default();
        let kubernetes = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "g", "namespace": "a"},
            "spec": {
                "listeners": [{"tls": {"certificateRefs": [{"name": "cert"}, {"name": "far", "namespace": "b"}]}}],
                "tls": {"frontend": {"default": {"validation": {"caCertificateRefs": [
                    {"group": "", "kind": "ConfigMap", "name": "anchors"}, {"group": "x", "kind": "Other", "name": "o"},
                ]}}}},
            },
        });
        references.apply(&object(kubernetes));
        references.apply(&object(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "g", "namespace": "a"},
            "spec": {"servers": [{"tls": {"credentialName": "a/tls"}}]},
        })));
        let some = |holder, namespace: &str, name: &str| (holder, Some(namespace.to_owned()), name.to_owned());
        let all = references.all();
        assert_eq!(
            all.into_iter().collect::<Vec<_>>(),
            [
                some(Secret, "a", "cert"),
                some(Secret, "a", "tls"),
                some(Secret, "a", "tls-cacert"),
                some(Secret, "b", "far"),
                some(ConfigMap, "a", "anchors"),
            ]
        );
    }

    #[test]
    fn a_destination_rules_secrets_are_those_of_all_its_policies() {
        let tls = |name: &str| json!({"tls": {"mode": "SIMPLE", "credentialName": name}});
        let mut references = References::default();
        references.apply(&object(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "d", "namespace": "a"},
            "spec": {
                "host": "h",
                "trafficPolicy": {"tls": {"credentialName": "own"}, "portLevelSettings": [tls("port")]},
                "subsets": [{"name": "v1", "trafficPolicy": tls("subset")}, {"name": "v2"}],
            },
        })));
        let names: BTreeSet<String> = references.all().into_iter().map(|(_, _, name)| name).collect();
        let want = ["own", "own-cacert", "port", "port-cacert", "subset", "subset-cacert"];
        assert_eq!(names, want.map(str::to_owned).into());
    }

    #[test]
    fn other_kinds_name_nothing() {
        let mut references = References::default();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"tls": [{"secretName": "s"}]}});
        assert!(!references.apply(&object(pod)));
        assert!(references.all().is_empty());
    }
}
