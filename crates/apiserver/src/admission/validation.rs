//! Rules of the built-in kinds that controllers and the pod runtime rely on, and names.
//!
//! Not every rule of Kubernetes is here: those are whose breach would otherwise surface later, in a place where nobody looks.

use std::collections::HashSet;

use serde_json::Value;

use crate::object::{self, at, list_at, str_at};
use crate::registry::{Resource, crd};
use crate::selector::Selector;
use crate::status::{Fault, FieldError};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
/// Annotations together may have so many bytes.
const MAX_ANNOTATIONS: usize = 256 << 10;

fn is_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !name.is_empty()
        && name.len() <= 63
        && name.starts_with(inner)
        && name.ends_with(inner)
        && name.chars().all(|c| inner(c) || c == '-')
}

fn is_subdomain(name: &str) -> bool {
    name.len() <= 253
        && name
            .split('.')
            .all(|part| is_label(part) || (part.len() > 63 && is_label(part.get(..63).unwrap_or_default())))
}

/// Kinds whose names become DNS labels.
fn has_label_name(key: &str) -> bool {
    matches!(key, "namespaces" | "services")
}

/// Kinds whose names only have to fit into a path.
fn has_path_name(resource: &Resource) -> bool {
    resource.group == "rbac.authorization.k8s.io"
}

/// Name, labels and annotations.
pub(super) fn metadata(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = object::name(object);
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else if has_path_name(resource) {
        if name.contains(['/', '%']) || matches!(name, "." | "..") {
            errors.push(FieldError::invalid("metadata.name", name, "may not be '.' or '..', nor contain '/' or '%'"));
        }
    } else if has_label_name(&resource.key) {
        if !is_label(name) {
            errors.push(FieldError::invalid("metadata.name", name, LABEL));
        }
    } else if !is_subdomain(name) {
        errors.push(FieldError::invalid("metadata.name", name, SUBDOMAIN));
    }
    let labels = at(object, &["metadata", "labels"]).and_then(Value::as_object).into_iter().flatten();
    for (key, value) in labels {
        if !is_qualified(key) {
            errors.push(FieldError::invalid(
                "metadata.labels",
                key.as_str(),
                "a name of at most 63 letters, digits, '-', '_' or '.', optionally after a DNS name and '/'",
            ));
        }
        let text = value.as_str().unwrap_or_default();
        if !text.is_empty() && !is_label_value(text) {
            errors.push(FieldError::invalid("metadata.labels", text, "a valid label must be an empty string or consist of at most 63 alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"));
        }
    }
    let annotations = at(object, &["metadata", "annotations"]).and_then(Value::as_object).into_iter().flatten();
    let size: usize = annotations.map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError::invalid(
            "metadata.annotations",
            size,
            format!("must have at most {MAX_ANNOTATIONS} bytes"),
        ));
    }
    errors
}

/// A label value that is not empty, or the name of a label key.
pub(crate) fn is_label_value(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && text.starts_with(edge)
        && text.ends_with(edge)
        && text.chars().all(|c| edge(c) || matches!(c, '-' | '_' | '.'))
}

/// A label key.
pub(crate) fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_label_value(name),
        None => is_label_value(key),
    }
}

/// The rules of a built-in kind.
pub(super) fn builtin(resource: &Resource, old: Option<&Value>, new: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    match &*resource.key {
        "pods" => pod(old, new, &mut errors),
        "deployments.apps" | "replicasets.apps" | "statefulsets.apps" | "daemonsets.apps" => {
            workload(old, new, &mut errors)
        }
        "jobs.batch" => job(old, new, &mut errors),
        "services" => service(new, &mut errors),
        "configmaps" | "secrets" => data(old, new, &mut errors),
        "ingresses.networking.k8s.io" => ingress(new, &mut errors),
        "persistentvolumeclaims" => claim(new, &mut errors),
        "customresourcedefinitions.apiextensions.k8s.io" => errors.extend(crd::validate(new)),
        "mutatingwebhookconfigurations.admissionregistration.k8s.io"
        | "validatingwebhookconfigurations.admissionregistration.k8s.io" => {
            webhooks(new, &mut errors);
        }
        _ => {}
    }
    errors
}

fn pod(old: Option<&Value>, new: &Value, errors: &mut Vec<FieldError>) {
    pod_spec(new.get("spec").unwrap_or(&Value::Null), "spec", errors);
    let Some(old) = old else { return };
    // As in Kubernetes, of a pod's spec only images, deadlines, tolerations and gates change.
    let fixed = |pod: &Value| {
        let mut spec = pod.get("spec").cloned().unwrap_or_default();
        for name in [
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
            "schedulingGates",
            "ephemeralContainers",
            "nodeName",
        ] {
            object::remove(&mut spec, name);
        }
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                object::remove(container, "image");
            }
        }
        spec
    };
    let node = |pod: &Value| str_at(pod, &["spec", "nodeName"]).to_owned();
    if fixed(old) != fixed(new) || (!node(old).is_empty() && node(old) != node(new)) {
        errors.push(FieldError::forbidden("spec", "pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to existing tolerations), `spec.terminationGracePeriodSeconds`"));
    }
}

fn pod_spec(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let containers = list_at(spec, &["containers"]);
    if containers.is_empty() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let policy = str_at(spec, &["restartPolicy"]);
    if !matches!(policy, "Always" | "OnFailure" | "Never" | "") {
        errors.push(FieldError::not_supported(
            format!("{path}.restartPolicy"),
            policy,
            &["Always", "OnFailure", "Never"],
        ));
    }
    let mut volumes = HashSet::new();
    for (index, volume) in list_at(spec, &["volumes"]).iter().enumerate() {
        let name = str_at(volume, &["name"]);
        let at = format!("{path}.volumes[{index}]");
        if !is_label(name) {
            errors.push(FieldError::invalid(format!("{at}.name"), name, LABEL));
        }
        if !volumes.insert(name) {
            errors.push(FieldError {
                field: format!("{at}.name"),
                fault: Fault::Duplicate(name.into()),
                detail: String::new(),
            });
        }
        if volume.as_object().is_some_and(|v| v.len() > 2) {
            errors.push(FieldError::forbidden(at, "may not specify more than 1 volume type"));
        }
    }
    let mut names = HashSet::new();
    for list in ["initContainers", "containers"] {
        for (index, container) in list_at(spec, &[list]).iter().enumerate() {
            let at = format!("{path}.{list}[{index}]");
            let name = str_at(container, &["name"]);
            if !names.insert(name) {
                errors.push(FieldError {
                    field: format!("{at}.name"),
                    fault: Fault::Duplicate(name.into()),
                    detail: String::new(),
                });
            }
            self::container(container, &at, &volumes, errors);
        }
    }
}

fn container(container: &Value, path: &str, volumes: &HashSet<&str>, errors: &mut Vec<FieldError>) {
    let name = str_at(container, &["name"]);
    if name.is_empty() {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    } else if !is_label(name) {
        errors.push(FieldError::invalid(format!("{path}.name"), name, LABEL));
    }
    if str_at(container, &["image"]).is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    }
    for (index, mount) in list_at(container, &["volumeMounts"]).iter().enumerate() {
        let (volume, mount_path) = (str_at(mount, &["name"]), str_at(mount, &["mountPath"]));
        if !volumes.contains(volume) {
            let fault = Fault::Invalid(volume.into());
            errors.push(FieldError {
                field: format!("{path}.volumeMounts[{index}].name"),
                fault,
                detail: "Not found: no volume of this name".to_owned(),
            });
        }
        if mount_path.is_empty() {
            errors.push(FieldError::required(format!("{path}.volumeMounts[{index}].mountPath"), ""));
        }
    }
    for (index, port) in list_at(container, &["ports"]).iter().enumerate() {
        port_number(port.get("containerPort"), &format!("{path}.ports[{index}].containerPort"), errors);
    }
    for (index, variable) in list_at(container, &["env"]).iter().enumerate() {
        if str_at(variable, &["name"]).is_empty() {
            errors.push(FieldError::required(format!("{path}.env[{index}].name"), ""));
        }
    }
    for list in ["requests", "limits"] {
        for (name, quantity) in at(container, &["resources", list]).and_then(Value::as_object).into_iter().flatten() {
            if !is_quantity(quantity) {
                let field = format!("{path}.resources.{list}[{name}]");
                errors.push(FieldError::invalid(
                    field,
                    quantity.clone(),
                    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
                ));
            }
        }
    }
}

fn is_quantity(value: &Value) -> bool {
    let Some(text) = value.as_str() else { return value.is_number() };
    let digits = text.trim_start_matches(['+', '-']);
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(end);
    let exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|e| e.parse::<i32>().is_ok());
    number.parse::<f64>().is_ok()
        && (exponent
            || matches!(
                suffix,
                "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei"
            ))
}

fn port_number(port: Option<&Value>, field: &str, errors: &mut Vec<FieldError>) {
    match port.and_then(Value::as_i64) {
        None => errors.push(FieldError::required(field, "")),
        Some(1..=65535) => {}
        Some(other) => errors.push(FieldError::invalid(field, other, "must be between 1 and 65535, inclusive")),
    }
}

fn workload(old: Option<&Value>, new: &Value, errors: &mut Vec<FieldError>) {
    let spec = new.get("spec").unwrap_or(&Value::Null);
    match spec.get("selector") {
        None => errors.push(FieldError::required("spec.selector", "")),
        Some(selector) if Selector::from_object(selector).is_empty() => {
            errors.push(FieldError::invalid(
                "spec.selector",
                selector.clone(),
                "empty selector is invalid for workloads",
            ));
        }
        Some(selector) => {
            let template = at(spec, &["template"]).cloned().unwrap_or_default();
            let labels = at(&template, &["metadata", "labels"])
                .cloned()
                .unwrap_or_else(|| Value::Object(serde_json::Map::new()));
            if !Selector::from_object(selector).matches(&template) {
                errors.push(FieldError::invalid(
                    "spec.template.metadata.labels",
                    labels,
                    "`selector` does not match template `labels`",
                ));
            }
            if let Some(before) = old.and_then(|o| at(o, &["spec", "selector"]))
                && before != selector
            {
                errors.push(FieldError::invalid("spec.selector", selector.clone(), "field is immutable"));
            }
        }
    }
    if let Some(replicas) = spec.get("replicas").and_then(Value::as_i64)
        && replicas < 0
    {
        errors.push(FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0"));
    }
    pod_spec(at(spec, &["template", "spec"]).unwrap_or(&Value::Null), "spec.template.spec", errors);
    let policy = str_at(spec, &["template", "spec", "restartPolicy"]);
    if !matches!(policy, "Always" | "") {
        errors.push(FieldError::not_supported("spec.template.spec.restartPolicy", policy, &["Always"]));
    }
    let strategy = str_at(spec, &["strategy", "type"]);
    if strategy == "Recreate" && at(spec, &["strategy", "rollingUpdate"]).is_some() {
        errors.push(FieldError::forbidden(
            "spec.strategy.rollingUpdate",
            "may not be specified when strategy `type` is 'Recreate'",
        ));
    }
}

fn job(old: Option<&Value>, new: &Value, errors: &mut Vec<FieldError>) {
    pod_spec(at(new, &["spec", "template", "spec"]).unwrap_or(&Value::Null), "spec.template.spec", errors);
    let policy = str_at(new, &["spec", "template", "spec", "restartPolicy"]);
    if !matches!(policy, "OnFailure" | "Never") {
        errors.push(FieldError::not_supported("spec.template.spec.restartPolicy", policy, &["OnFailure", "Never"]));
    }
    if let Some(old) = old
        && at(old, &["spec", "template"]) != at(new, &["spec", "template"])
    {
        errors.push(FieldError::invalid("spec.template", "object", "field is immutable"));
    }
}

fn service(new: &Value, errors: &mut Vec<FieldError>) {
    let kind = str_at(new, &["spec", "type"]);
    if !matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName") {
        errors.push(FieldError::not_supported(
            "spec.type",
            kind,
            &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        ));
    }
    let ports = list_at(new, &["spec", "ports"]);
    let headless = str_at(new, &["spec", "clusterIP"]) == "None";
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    if kind == "ExternalName" && str_at(new, &["spec", "externalName"]).is_empty() {
        errors.push(FieldError::required("spec.externalName", ""));
    }
    let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
    for (index, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        port_number(port.get("port"), &format!("{field}.port"), errors);
        if let Some(target) = port.get("targetPort").and_then(Value::as_i64)
            && !(1..=65535).contains(&target)
        {
            errors.push(FieldError::invalid(
                format!("{field}.targetPort"),
                target,
                "must be between 1 and 65535, inclusive",
            ));
        }
        let (name, protocol) = (str_at(port, &["name"]), str_at(port, &["protocol"]));
        if ports.len() > 1 && name.is_empty() {
            errors.push(FieldError::required(format!("{field}.name"), ""));
        }
        if !matches!(protocol, "TCP" | "UDP" | "SCTP") {
            errors.push(FieldError::not_supported(format!("{field}.protocol"), protocol, &["SCTP", "TCP", "UDP"]));
        }
        if !name.is_empty() && !names.insert(name) {
            errors.push(FieldError {
                field: format!("{field}.name"),
                fault: Fault::Duplicate(name.into()),
                detail: String::new(),
            });
        }
        if !numbers.insert((port.get("port").and_then(Value::as_i64), protocol)) {
            errors.push(FieldError { field, fault: Fault::Duplicate(port.clone()), detail: String::new() });
        }
    }
}

/// Keys of ConfigMaps and Secrets, and what `immutable` forbids.
fn data(old: Option<&Value>, new: &Value, errors: &mut Vec<FieldError>) {
    for member in ["data", "binaryData"] {
        for key in new.get(member).and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key) {
            let good =
                key.len() <= 253 && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
            if !good || key.is_empty() || matches!(key.as_str(), "." | "..") {
                errors.push(FieldError::invalid(
                    format!("{member}[{key}]"),
                    key.as_str(),
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
                ));
            }
        }
        let frozen = old.is_some_and(|o| o.get("immutable") == Some(&Value::Bool(true)));
        if frozen && old.and_then(|o| o.get(member)) != new.get(member) {
            errors.push(FieldError::forbidden(member, "field is immutable when `immutable` is set"));
        }
    }
    if let Some(old) = old
        && let (Some(before), Some(after)) = (old.get("type"), new.get("type"))
        && before != after
    {
        errors.push(FieldError::invalid("type", after.clone(), "field is immutable"));
    }
}

fn ingress(new: &Value, errors: &mut Vec<FieldError>) {
    let (rules, backend) = (list_at(new, &["spec", "rules"]), at(new, &["spec", "defaultBackend"]));
    if rules.is_empty() && backend.is_none() {
        errors.push(FieldError::invalid("spec", Value::Null, "either `defaultBackend` or `rules` must be specified"));
    }
    for (index, rule) in rules.iter().enumerate() {
        for (number, path) in list_at(rule, &["http", "paths"]).iter().enumerate() {
            let field = format!("spec.rules[{index}].http.paths[{number}]");
            let (kind, text) = (str_at(path, &["pathType"]), str_at(path, &["path"]));
            match kind {
                "" => errors.push(FieldError::required(format!("{field}.pathType"), "pathType must be specified")),
                "Exact" | "Prefix" if !text.starts_with('/') => {
                    errors.push(FieldError::invalid(format!("{field}.path"), text, "must be an absolute path"));
                }
                "Exact" | "Prefix" | "ImplementationSpecific" => {}
                other => errors.push(FieldError::not_supported(
                    format!("{field}.pathType"),
                    other,
                    &["Exact", "ImplementationSpecific", "Prefix"],
                )),
            }
            if str_at(path, &["backend", "service", "name"]).is_empty() && at(path, &["backend", "resource"]).is_none()
            {
                errors.push(FieldError::required(format!("{field}.backend.service.name"), ""));
            }
        }
    }
}

fn claim(new: &Value, errors: &mut Vec<FieldError>) {
    if list_at(new, &["spec", "accessModes"]).is_empty() {
        errors.push(FieldError::required("spec.accessModes", "at least 1 access mode is required"));
    }
    if at(new, &["spec", "resources", "requests", "storage"]).is_none() {
        errors.push(FieldError::required("spec.resources[storage]", ""));
    }
}

fn webhooks(new: &Value, errors: &mut Vec<FieldError>) {
    for (index, webhook) in list_at(new, &["webhooks"]).iter().enumerate() {
        let field = format!("webhooks[{index}]");
        if str_at(webhook, &["name"]).split('.').count() < 3 {
            errors.push(FieldError::invalid(
                format!("{field}.name"),
                str_at(webhook, &["name"]),
                "should be a domain with at least three segments separated by dots",
            ));
        }
        if !list_at(webhook, &["admissionReviewVersions"]).iter().any(|v| v == "v1") {
            errors.push(FieldError::invalid(
                format!("{field}.admissionReviewVersions"),
                Value::Null,
                "must include at least one of v1",
            ));
        }
        let (url, service) = (at(webhook, &["clientConfig", "url"]), at(webhook, &["clientConfig", "service"]));
        if url.is_some() == service.is_some() {
            errors.push(FieldError::required(
                format!("{field}.clientConfig"),
                "exactly one of url or service is required",
            ));
        }
        if let Some(seconds) = webhook.get("timeoutSeconds").and_then(Value::as_i64)
            && !(1..=30).contains(&seconds)
        {
            errors.push(FieldError::invalid(
                format!("{field}.timeoutSeconds"),
                seconds,
                "the timeout value must be between 1 and 30 seconds",
            ));
        }
    }
}

/// The rules of Istio's kinds. On a cluster a part of them stands in the definitions, as schema and CEL, and holds whether the control plane
/// runs or not; here all of them do. What was stored before a rule came about can still be changed elsewhere than in `spec`.
pub(super) fn istio(resource: &Resource, old: Option<&Value>, new: &Value) -> Vec<FieldError> {
    if !resource.group.ends_with(".istio.io") || old.is_some_and(|old| old.get("spec") == new.get("spec")) {
        return Vec::new();
    }
    let Some(object) = varka_api::RawObject::from_value(new.clone()) else { return Vec::new() };
    let refused = varka_api::validate::validate(&object).errors.into_iter();
    refused
        .map(|error| {
            let value = value_at(new, &error.path).cloned().unwrap_or_default();
            let detail = match error.fix {
                Some(fix) => format!("{}. {fix}", error.message),
                None => error.message,
            };
            let field = if error.path.is_empty() { "spec".to_owned() } else { error.path };
            FieldError::invalid(field, value, detail)
        })
        .collect()
}

/// What stands at a path such as `spec.http[0].route`.
fn value_at<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(object, |value, part| {
        let (name, indexes) = part.split_once('[').map_or((part, ""), |(name, rest)| (name, rest));
        let indexes = indexes.split(['[', ']']).filter(|i| !i.is_empty());
        indexes.into_iter().try_fold(value.get(name)?, |value, i| value.get(i.parse::<usize>().ok()?))
    })
}
