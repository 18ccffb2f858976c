//! The kinds that controllers know by name.

use kube::core::discovery::ApiResource;

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

macro_rules! resources {
    ($($name:ident: $group:literal $version:literal $kind:literal $plural:literal;)*) => {
        $(pub(crate) fn $name() -> ApiResource { resource($group, $version, $kind, $plural) })*
    };
}

resources! {
    pods: "" "v1" "Pod" "pods";
    services: "" "v1" "Service" "services";
    endpoints: "" "v1" "Endpoints" "endpoints";
    namespaces: "" "v1" "Namespace" "namespaces";
    service_accounts: "" "v1" "ServiceAccount" "serviceaccounts";
    config_maps: "" "v1" "ConfigMap" "configmaps";
    events: "" "v1" "Event" "events";
    deployments: "apps" "v1" "Deployment" "deployments";
    replica_sets: "apps" "v1" "ReplicaSet" "replicasets";
    jobs: "batch" "v1" "Job" "jobs";
    endpoint_slices: "discovery.k8s.io" "v1" "EndpointSlice" "endpointslices";
    custom_resource_definitions: "apiextensions.k8s.io" "v1" "CustomResourceDefinition" "customresourcedefinitions";
}

/// The kinds without which no plan can be made.
pub(crate) fn required() -> [ApiResource; 9] {
    [
        pods(),
        services(),
        endpoints(),
        namespaces(),
        service_accounts(),
        deployments(),
        replica_sets(),
        jobs(),
        endpoint_slices(),
    ]
}
