//! The webhooks' registration with the API server, written by the control plane itself because only it knows its root certificate.
//!
//! Injection fails closed: a pod without the sidecar that it was meant to have would send and accept plain text, so while the
//! control plane is away such pods wait. Validation fails open: what it would have refused is isolated anyway when it is compiled
//! (one bad resource never changes another's effect), and nobody should be unable to repair a mesh because its control plane is down.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::{StreamExt, pin_mut};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use serde_json::{Value, json};
use tracing::{info, warn};

const INJECTOR: &str = "istio-sidecar-injector";

/// Keeps both configurations as they must be, for ever.
pub(crate) async fn run(client: Client, namespace: String, root_pem: String) {
    let ca_bundle = BASE64_STANDARD.encode(root_pem);
    let validator = format!("istio-validator-{namespace}");
    let mutating = keep(&client, "MutatingWebhookConfiguration", INJECTOR, injector(&namespace, &ca_bundle));
    let validating = keep(&client, "ValidatingWebhookConfiguration", &validator, validating(&namespace, &ca_bundle));
    futures_util::future::join(Box::pin(mutating), Box::pin(validating)).await;
}

/// Writes the object, and writes it again whenever somebody deletes it or changes what is ours.
async fn keep(client: &Client, kind: &str, name: &str, webhooks: Value) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind));
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let own = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events = watch(api.clone(), own).default_backoff();
    pin_mut!(events);
    let mut seen = false;
    while let Some(event) = events.next().await {
        let found = match event {
            Ok(Event::Init) => {
                seen = false;
                continue;
            }
            Ok(Event::InitApply(found) | Event::Apply(found)) => {
                seen = true;
                Some(found)
            }
            Ok(Event::InitDone) if seen => continue,
            Ok(Event::InitDone | Event::Delete(_)) => None,
            Err(error) => {
                warn!(kind, name, %error, "cannot watch the webhook registration");
                continue;
            }
        };
        if found.as_ref().and_then(|found| found.data.get("webhooks")).is_some_and(|found| holds(found, &webhooks)) {
            continue;
        }
        match write(&api, &resource, name, found, &webhooks).await {
            Ok(()) => info!(kind, name, "webhook registered"),
            Err(error) => warn!(kind, name, %error, "cannot register the webhook"),
        }
    }
}

async fn write(
    api: &Api<DynamicObject>,
    resource: &ApiResource,
    name: &str,
    found: Option<DynamicObject>,
    webhooks: &Value,
) -> Result<(), kube::Error> {
    let mut wanted = DynamicObject::new(name, resource).data(json!({"webhooks": webhooks}));
    let labels = [("app", "sidecar-injector"), ("istio.io/rev", "default")];
    wanted.metadata.labels = Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let written = match found {
        Some(found) => {
            wanted.metadata.resource_version = found.metadata.resource_version;
            api.replace(name, &PostParams::default(), &wanted).await
        }
        None => api.create(&PostParams::default(), &wanted).await,
    };
    match written {
        // Another replica was faster: its event follows.
        Err(kube::Error::Api(status)) if status.is_already_exists() || status.is_conflict() => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Whether `found` says all that `wanted` says; what the API server adds by default does not count.
pub(crate) fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| found.get(name).is_some_and(|found| holds(found, wanted)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| holds(found, wanted))
        }
        _ => found == wanted,
    }
}

fn client_config(namespace: &str, path: &str, ca_bundle: &str) -> Value {
    json!({"service": {"name": "istiod", "namespace": namespace, "path": path, "port": 443}, "caBundle": ca_bundle})
}

/// Two selectors, as in Istio: pods of enabled namespaces that do not decline, and pods elsewhere that ask.
fn injector(namespace: &str, ca_bundle: &str) -> Value {
    let webhook = |name: &str, namespaces: Value, objects: Value| {
        json!({
            "name": name,
            "clientConfig": client_config(namespace, "/inject", ca_bundle),
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
            "namespaceSelector": {"matchExpressions": namespaces},
            "objectSelector": {"matchExpressions": objects},
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "sideEffects": "None",
            "timeoutSeconds": 10,
            "admissionReviewVersions": ["v1"],
        })
    };
    json!([
        webhook(
            "namespace.sidecar-injector.istio.io",
            json!([{"key": "istio-injection", "operator": "In", "values": ["enabled"]}]),
            json!([{"key": "sidecar.istio.io/inject", "operator": "NotIn", "values": ["false"]}]),
        ),
        webhook(
            "object.sidecar-injector.istio.io",
            json!([
                {"key": "istio-injection", "operator": "DoesNotExist"},
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "kube-public"]},
            ]),
            json!([{"key": "sidecar.istio.io/inject", "operator": "In", "values": ["true"]}]),
        ),
    ])
}

fn validating(namespace: &str, ca_bundle: &str) -> Value {
    json!([{
        "name": "rev.validation.istio.io",
        "clientConfig": client_config(namespace, "/validate", ca_bundle),
        "rules": [{
            "operations": ["CREATE", "UPDATE"],
            // Of the extensions nothing is implemented, which whoever writes them is told.
            "apiGroups": [
                "security.istio.io", "networking.istio.io", "telemetry.istio.io", "extensions.istio.io", "gateway.networking.k8s.io",
            ],
            "apiVersions": ["*"],
            "resources": ["*"],
        }],
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "timeoutSeconds": 10,
        "admissionReviewVersions": ["v1"],
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_adds_is_no_difference() {
        let wanted = injector("istio-system", "QQ==");
        let mut found = wanted.clone();
        found[0]["matchPolicy"] = json!("Equivalent");
        found[0]["rules"][0]["scope"] = json!("*");
        assert!(holds(&found, &wanted));
        found[1]["failurePolicy"] = json!("Ignore");
        assert!(!holds(&found, &wanted));
        assert!(!holds(&json!([wanted[0]]), &wanted));
    }

    #[test]
    fn injection_fails_closed_and_validation_open() {
        assert!(injector("a", "b").as_array().unwrap().iter().all(|webhook| webhook["failurePolicy"] == "Fail"));
        assert_eq!(validating("a", "b")[0]["failurePolicy"], "Ignore");
    }
}
