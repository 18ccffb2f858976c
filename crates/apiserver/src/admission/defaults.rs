//! Defaults of the built-in kinds, as Kubernetes' `pkg/apis/*/v1/defaults.go` documents them.

use serde_json::{Map, Value, json};

use crate::object::{self, at, default, list_at, str_at};
use crate::registry::Resource;

mod containers;

type Object = Map<String, Value>;

/// Fills in what is absent.
pub(crate) fn apply(resource: &Resource, old: Option<&Value>, new: &mut Value) {
    match &*resource.key {
        "pods" => pod(new),
        "services" => service(new),
        "namespaces" => namespace(old, new),
        "secrets" => secret(new),
        "deployments.apps" => deployment(new),
        "replicasets.apps" => replica_set(new),
        "statefulsets.apps" => stateful_set(new),
        "daemonsets.apps" => daemon_set(new),
        "jobs.batch" => job(new),
        "cronjobs.batch" => cron_job(new),
        "horizontalpodautoscalers.autoscaling" => with(new, &["spec"], |spec| default(spec, "minReplicas", 1)),
        "persistentvolumeclaims" => claim(new),
        "persistentvolumes" => volume(new),
        "storageclasses.storage.k8s.io" => root(new, |class| {
            default(class, "reclaimPolicy", "Delete");
            default(class, "volumeBindingMode", "Immediate");
        }),
        "ingresses.networking.k8s.io" => with(new, &["status"], |status| default(status, "loadBalancer", json!({}))),
        "endpointslices.discovery.k8s.io" => each(new, &["ports"], |port| {
            default(port, "name", "");
            default(port, "protocol", "TCP");
        }),
        "mutatingwebhookconfigurations.admissionregistration.k8s.io" => webhooks(new, true),
        "validatingwebhookconfigurations.admissionregistration.k8s.io" => webhooks(new, false),
        "networkpolicies.networking.k8s.io" => with(new, &["spec"], |spec| {
            let egress = spec.contains_key("egress");
            default(spec, "policyTypes", if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
        }),
        _ => {}
    }
}

fn root(value: &mut Value, change: impl FnOnce(&mut Object)) {
    if let Some(map) = value.as_object_mut() {
        change(map);
    }
}

/// Changes an object, made where it is absent.
fn with(value: &mut Value, path: &[&str], change: impl FnOnce(&mut Object)) {
    if let Some(map) = object::map_at(value, path) {
        change(map);
    }
}

/// Changes each object of a list, if there is one.
fn each(value: &mut Value, path: &[&str], mut change: impl FnMut(&mut Object)) {
    let list = path.iter().try_fold(value, |v, name| v.get_mut(*name)).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut).for_each(&mut change);
}

fn pod(new: &mut Value) {
    if let Some(spec) = new.get_mut("spec") {
        containers::pod_spec(spec, true);
    }
    let class = quality(new);
    with(new, &["status"], |status| {
        default(status, "phase", "Pending");
        default(status, "qosClass", class);
    });
}

/// The quality-of-service class that follows from requests and limits.
/// <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>
fn quality(pod: &Value) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for container in list_at(pod, &["spec", "containers"]).iter().chain(list_at(pod, &["spec", "initContainers"])) {
        for name in ["cpu", "memory"] {
            let request = at(container, &["resources", "requests", name]);
            let limit = at(container, &["resources", "limits", name]);
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|r| Some(r) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn template(new: &mut Value) {
    if let Some(spec) = at_mut(new, &["spec", "template", "spec"]) {
        containers::pod_spec(spec, false);
    }
}

fn at_mut<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |v, name| v.get_mut(*name))
}

fn service(new: &mut Value) {
    with(new, &["spec"], |spec| {
        default(spec, "type", "ClusterIP");
        default(spec, "sessionAffinity", "None");
        let kind = spec.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if kind != "ExternalName" {
            default(spec, "ipFamilies", json!(["IPv4"]));
            default(spec, "ipFamilyPolicy", "SingleStack");
            default(spec, "internalTrafficPolicy", "Cluster");
        }
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            default(spec, "externalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            default(spec, "allocateLoadBalancerNodePorts", true);
        }
        if spec.get("sessionAffinity").and_then(Value::as_str) == Some("ClientIP") {
            default(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10800}}));
        }
    });
    each(new, &["spec", "ports"], |port| {
        default(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or_default();
        if matches!(port.get("targetPort"), None | Some(Value::Null)) || port.get("targetPort") == Some(&json!(0)) {
            port.insert("targetPort".to_owned(), number);
        }
    });
    with(new, &["status"], |status| default(status, "loadBalancer", json!({})));
}

fn namespace(old: Option<&Value>, new: &mut Value) {
    let name = object::name(new).to_owned();
    with(new, &["metadata", "labels"], |labels| {
        drop(labels.insert("kubernetes.io/metadata.name".to_owned(), json!(name)))
    });
    if old.is_none() {
        with(new, &["spec"], |spec| default(spec, "finalizers", json!(["kubernetes"])));
    }
    with(new, &["status"], |status| default(status, "phase", "Active"));
}

fn secret(new: &mut Value) {
    use base64::Engine as _;
    let plain = object::remove(new, "stringData");
    root(new, |secret| default(secret, "type", "Opaque"));
    let Some(Value::Object(plain)) = plain else { return };
    with(new, &["data"], |data| {
        for (name, text) in plain {
            let encoded = base64::engine::general_purpose::STANDARD.encode(text.as_str().unwrap_or_default());
            data.insert(name, json!(encoded));
        }
    });
}

fn deployment(new: &mut Value) {
    with(new, &["spec"], |spec| {
        default(spec, "replicas", 1);
        default(spec, "revisionHistoryLimit", 10);
        default(spec, "progressDeadlineSeconds", 600);
        default(spec, "strategy", json!({}));
    });
    with(new, &["spec", "strategy"], |strategy| {
        default(strategy, "type", "RollingUpdate");
        if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate") {
            default(strategy, "rollingUpdate", json!({}));
            if let Some(rolling) = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut) {
                default(rolling, "maxUnavailable", "25%");
                default(rolling, "maxSurge", "25%");
            }
        }
    });
    template(new);
}

fn replica_set(new: &mut Value) {
    with(new, &["spec"], |spec| default(spec, "replicas", 1));
    template(new);
}

fn stateful_set(new: &mut Value) {
    with(new, &["spec"], |spec| {
        default(spec, "replicas", 1);
        default(spec, "revisionHistoryLimit", 10);
        default(spec, "podManagementPolicy", "OrderedReady");
        default(spec, "persistentVolumeClaimRetentionPolicy", json!({"whenDeleted": "Retain", "whenScaled": "Retain"}));
        default(spec, "updateStrategy", json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
    });
    template(new);
}

fn daemon_set(new: &mut Value) {
    with(new, &["spec"], |spec| {
        default(spec, "revisionHistoryLimit", 10);
        default(
            spec,
            "updateStrategy",
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}),
        );
    });
    template(new);
}

fn job(new: &mut Value) {
    let uid = object::uid(new).to_owned();
    let name = object::name(new).to_owned();
    with(new, &["spec"], |spec| {
        default(spec, "backoffLimit", 6);
        default(spec, "completionMode", "NonIndexed");
        default(spec, "suspend", false);
        default(spec, "podReplacementPolicy", "TerminatingOrFailed");
        let indexed = spec.contains_key("completions") || spec.contains_key("parallelism");
        if !indexed {
            default(spec, "completions", 1);
        }
        default(spec, "parallelism", 1);
    });
    if at(new, &["spec", "manualSelector"]).and_then(Value::as_bool) != Some(true)
        && !uid.is_empty()
        && at(new, &["spec", "selector"]).is_none()
    {
        with(new, &["spec"], |spec| {
            drop(
                spec.insert("selector".to_owned(), json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}})),
            )
        });
        with(new, &["spec", "template", "metadata", "labels"], |labels| {
            for (label, value) in [
                ("batch.kubernetes.io/controller-uid", &uid),
                ("controller-uid", &uid),
                ("batch.kubernetes.io/job-name", &name),
                ("job-name", &name),
            ] {
                labels.insert(label.to_owned(), json!(value));
            }
        });
    }
    template(new);
}

fn cron_job(new: &mut Value) {
    with(new, &["spec"], |spec| {
        default(spec, "concurrencyPolicy", "Allow");
        default(spec, "suspend", false);
        default(spec, "successfulJobsHistoryLimit", 3);
        default(spec, "failedJobsHistoryLimit", 1);
    });
    if let Some(spec) = at_mut(new, &["spec", "jobTemplate", "spec", "template", "spec"]) {
        containers::pod_spec(spec, false);
    }
}

fn claim(new: &mut Value) {
    with(new, &["spec"], |spec| default(spec, "volumeMode", "Filesystem"));
    with(new, &["status"], |status| default(status, "phase", "Pending"));
}

fn volume(new: &mut Value) {
    with(new, &["spec"], |spec| {
        default(spec, "volumeMode", "Filesystem");
        default(spec, "persistentVolumeReclaimPolicy", "Retain");
    });
    with(new, &["status"], |status| default(status, "phase", "Pending"));
}

fn webhooks(new: &mut Value, mutating: bool) {
    each(new, &["webhooks"], |webhook| {
        default(webhook, "failurePolicy", "Fail");
        default(webhook, "matchPolicy", "Equivalent");
        default(webhook, "namespaceSelector", json!({}));
        default(webhook, "objectSelector", json!({}));
        default(webhook, "timeoutSeconds", 10);
        if mutating {
            default(webhook, "reinvocationPolicy", "Never");
        }
        if let Some(service) =
            webhook.get_mut("clientConfig").and_then(|c| c.get_mut("service")).and_then(Value::as_object_mut)
        {
            default(service, "port", 443);
        }
        let rules = webhook.get_mut("rules").and_then(Value::as_array_mut);
        rules.into_iter().flatten().filter_map(Value::as_object_mut).for_each(|rule| default(rule, "scope", "*"));
    });
}

/// Whether a path holds a text.
pub(super) fn has(value: &Value, path: &[&str]) -> bool {
    !str_at(value, path).is_empty()
}
