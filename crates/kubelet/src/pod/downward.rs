//! The downward API: a pod's own fields and resources as text. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

/// What a pod's object does not know itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) pod_address: Option<Ipv4Addr>,
    pub(crate) node_address: Option<Ipv4Addr>,
    /// The machine's processors and memory, which stand in for limits that are not set.
    pub(crate) processors: u64,
    pub(crate) memory: u64,
}

/// Why a field has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DownwardError {
    #[error("field path \"{0}\" is not one of the downward API")]
    Field(String),
    #[error("resource \"{0}\" is not one of the downward API")]
    Resource(String),
    #[error("container \"{0}\" is not one of the pod's")]
    Container(String),
    #[error("\"{0}\" is not a quantity")]
    Quantity(String),
}

/// A field by its path.
pub(crate) fn field(pod: &Pod, facts: &Facts, path: &str) -> Result<String, DownwardError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let address = |a: Option<Ipv4Addr>| a.map(|a| a.to_string()).unwrap_or_default();
    if let Some((map, key)) = path.strip_suffix("']").and_then(|p| p.split_once("['")) {
        let of = match map {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return Err(DownwardError::Field(path.to_owned())),
        };
        return Ok(of.and_then(|all| all.get(key)).cloned().unwrap_or_default());
    }
    let value = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => Some(lines(meta.labels.as_ref())),
        "metadata.annotations" => Some(lines(meta.annotations.as_ref())),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()),
        "spec.serviceAccountName" => {
            Some(spec.and_then(|s| s.service_account_name.clone()).unwrap_or_else(|| "default".to_owned()))
        }
        "status.podIP" | "status.podIPs" => Some(address(facts.pod_address)),
        "status.hostIP" | "status.hostIPs" => Some(address(facts.node_address)),
        _ => return Err(DownwardError::Field(path.to_owned())),
    };
    Ok(value.unwrap_or_default())
}

/// `key="value"` lines, as downward API files hold labels and annotations.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let list: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
    list.join("\n")
}

/// A resource of a container, divided and rounded up as the selector says.
pub(crate) fn resource(
    pod: &Pod,
    own: Option<&Container>,
    facts: &Facts,
    selector: &ResourceFieldSelector,
) -> Result<String, DownwardError> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let containers = pod.spec.iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    let container = match named {
        Some(name) => {
            containers.into_iter().find(|c| c.name == name).ok_or_else(|| DownwardError::Container(name.to_owned()))?
        }
        None => own.ok_or_else(|| DownwardError::Container(String::new()))?,
    };
    let wrong = || DownwardError::Resource(selector.resource.clone());
    let (list, name) = selector.resource.split_once('.').ok_or_else(wrong)?;
    let resources = container.resources.as_ref();
    let (limit, request) =
        (resources.and_then(|r| r.limits.as_ref()?.get(name)), resources.and_then(|r| r.requests.as_ref()?.get(name)));
    let found = match list {
        "limits" => limit,
        "requests" => request.or(limit),
        _ => return Err(wrong()),
    };
    let milli = match (found, name) {
        (Some(quantity), _) => thousandths(&quantity.0)?,
        (None, "cpu") if list == "limits" => u128::from(facts.processors) * 1000,
        (None, "memory") if list == "limits" => u128::from(facts.memory) * 1000,
        (None, _) => 0,
    };
    let divisor = selector.divisor.as_ref().map_or(Ok(1000), |d| thousandths(&d.0))?;
    let divisor = if divisor == 0 { 1000 } else { divisor };
    Ok(milli.div_ceil(divisor).to_string())
}

/// A quantity of bytes.
pub(crate) fn bytes(text: &str) -> Result<u128, DownwardError> {
    thousandths(text).map(|milli| milli.div_ceil(1000))
}

fn thousandths(text: &str) -> Result<u128, DownwardError> {
    crate::quantity::thousandths(text).ok_or_else(|| DownwardError::Quantity(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_and_divisors_follow_kubernetes() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {"containers": [
            {"name": "c", "resources": {"limits": {"cpu": "500m", "memory": "1.5Gi"}}}]}}))
        .unwrap();
        let ask = |resource: &str, divisor: Option<&str>| {
            let selector: ResourceFieldSelector = serde_json::from_value(
                serde_json::json!({"containerName": "c", "resource": resource, "divisor": divisor}),
            )
            .unwrap();
            super::resource(&pod, None, &Facts::default(), &selector).unwrap()
        };
        assert_eq!(ask("limits.cpu", None), "1");
        assert_eq!(ask("limits.cpu", Some("1m")), "500");
        assert_eq!(ask("limits.memory", Some("1Mi")), "1536");
        assert_eq!(ask("requests.memory", None), (1536u64 << 20).to_string());
    }

    #[test]
    fn fields_by_path() {
        let pod: Pod = serde_json::from_value(
            serde_json::json!({"metadata": {"name": "p", "labels": {"app": "web", "v/x": "1"}}}),
        )
        .unwrap();
        let facts = Facts { pod_address: Some(Ipv4Addr::new(10, 0, 0, 2)), ..Facts::default() };
        let ask = |path: &str| field(&pod, &facts, path);
        assert_eq!(ask("metadata.labels['v/x']").unwrap(), "1");
        assert_eq!(ask("metadata.labels").unwrap(), "app=\"web\"\nv/x=\"1\"");
        assert_eq!(ask("status.podIP").unwrap(), "10.0.0.2");
        assert!(ask("spec.containers").is_err());
    }
}
