//! Only Secrets that an Ingress or a Gateway names are watched: the control plane has no business with any other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use varka_api::RawObject;

use super::ObjectKey;

/// A Secret by name; `None`: of that name in every namespace, because a Gateway's Secret stands beside its proxy, wherever that is.
pub(super) type SecretRef = (Option<String>, String);

/// Which objects name which Secrets.
#[derive(Debug, Default)]
pub(super) struct References(BTreeMap<(String, String, String), BTreeSet<SecretRef>>);

impl References {
    /// Notes an object that was created or changed; whether the set of Secrets may have changed.
    pub(super) fn apply(&mut self, object: &RawObject) -> bool {
        let named = match (object.group(), object.kind.as_str()) {
            ("networking.k8s.io", "Ingress") => ingress(object),
            ("networking.istio.io", "Gateway") => gateway(object),
            _ => return false,
        };
        let key = (object.kind.clone(), object.metadata.namespace.clone(), object.metadata.name.clone());
        if named.is_empty() {
            return self.0.remove(&key).is_some();
        }
        let changed = self.0.get(&key) != Some(&named);
        self.0.insert(key, named);
        changed
    }

    /// Notes an object that is gone; whether the set of Secrets may have changed.
    pub(super) fn delete(&mut self, key: &ObjectKey) -> bool {
        self.0.remove(&(key.kind.to_owned(), key.namespace.clone(), key.name.clone())).is_some()
    }

    /// All Secrets that are named.
    pub(super) fn all(&self) -> BTreeSet<SecretRef> {
        self.0.values().flatten().cloned().collect()
    }
}

fn ingress(object: &RawObject) -> BTreeSet<SecretRef> {
    let namespace = &object.metadata.namespace;
    items(&object.value, "/spec/tls")
        .filter_map(|tls| text(tls, "secretName"))
        .map(|name| (Some(namespace.clone()), name))
        .collect()
}

fn gateway(object: &RawObject) -> BTreeSet<SecretRef> {
    let mut named = BTreeSet::new();
    for tls in items(&object.value, "/spec/servers").filter_map(|server| server.get("tls")) {
        let many = tls.get("credentialNames").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let one = text(tls, "credentialName").into_iter().chain(text(tls, "caCertCredentialName"));
        for name in one.chain(many.map(str::to_owned)) {
            let name = name.strip_prefix("kubernetes://").unwrap_or(&name);
            match name.split_once('/') {
                Some((namespace, name)) => named.insert((Some(namespace.to_owned()), name.to_owned())),
                None => {
                    // For mutual TLS the trust anchors may be in a Secret of their own, beside the certificate's.
                    named.insert((None, format!("{name}-cacert")));
                    named.insert((None, name.to_owned()))
                }
            };
        }
    }
    named
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
        assert_eq!(references.all(), [(Some("a".to_owned()), "tls".to_owned())].into());
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
        assert!(all.contains(&(None, "tls".to_owned())));
        assert!(all.contains(&(Some("b".to_owned()), "other".to_owned())));
    }

    #[test]
    fn other_kinds_name_nothing() {
        let mut references = References::default();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"tls": [{"secretName": "s"}]}});
        assert!(!references.apply(&object(pod)));
        assert!(references.all().is_empty());
    }
}
