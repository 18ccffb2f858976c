//! The built-in kinds.

use crate::schema::Types;

use super::{Resource, Scale, Subresource, Version};

const GET: &[&str] = &["get"];
const CREATE: &[&str] = &["create"];
const GET_CREATE: &[&str] = &["create", "get"];
const UPDATE: &[&str] = &["get", "patch", "update"];

const POD: &[Subresource] = &[
    Subresource { name: "attach", group: "", version: "v1", kind: "PodAttachOptions", verbs: GET_CREATE },
    Subresource { name: "ephemeralcontainers", group: "", version: "v1", kind: "Pod", verbs: UPDATE },
    Subresource { name: "eviction", group: "policy", version: "v1", kind: "Eviction", verbs: CREATE },
    Subresource { name: "exec", group: "", version: "v1", kind: "PodExecOptions", verbs: GET_CREATE },
    Subresource { name: "log", group: "", version: "v1", kind: "Pod", verbs: GET },
    Subresource { name: "portforward", group: "", version: "v1", kind: "PodPortForwardOptions", verbs: GET_CREATE },
];
const SERVICE_ACCOUNT: &[Subresource] = &[Subresource {
    name: "token",
    group: "authentication.k8s.io",
    version: "v1",
    kind: "TokenRequest",
    verbs: CREATE,
}];
const NAMESPACE: &[Subresource] =
    &[Subresource { name: "finalize", group: "", version: "v1", kind: "Namespace", verbs: &["update"] }];

/// What a kind is besides a plain namespaced one.
struct Row {
    /// Package in the table of types, group, version.
    api: (&'static str, &'static str, &'static str),
    plural: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
    flags: u16,
    extra: &'static [Subresource],
}

const CLUSTER: u16 = 1;
const ALL: u16 = 2;
const STATUS: u16 = 4;
const SCALE: u16 = 8;
const GENERATION: u16 = 16;
const INERT: u16 = 32;

const CORE: (&str, &str, &str) = ("core", "", "v1");
const APPS: (&str, &str, &str) = ("apps", "apps", "v1");
const BATCH: (&str, &str, &str) = ("batch", "batch", "v1");
const NETWORKING: (&str, &str, &str) = ("networking", "networking.k8s.io", "v1");
const RBAC: (&str, &str, &str) = ("rbac", "rbac.authorization.k8s.io", "v1");
const ADMISSION: (&str, &str, &str) = ("admissionregistration", "admissionregistration.k8s.io", "v1");
const AUTOSCALING: (&str, &str, &str) = ("autoscaling", "autoscaling", "v2");
const POLICY: (&str, &str, &str) = ("policy", "policy", "v1");
const STORAGE: (&str, &str, &str) = ("storage", "storage.k8s.io", "v1");
const DISCOVERY: (&str, &str, &str) = ("discovery", "discovery.k8s.io", "v1");
const COORDINATION: (&str, &str, &str) = ("coordination", "coordination.k8s.io", "v1");
const SCHEDULING: (&str, &str, &str) = ("scheduling", "scheduling.k8s.io", "v1");
const EXTENSIONS: (&str, &str, &str) = ("apiextensions", "apiextensions.k8s.io", "v1");
const EVENTS: (&str, &str, &str) = ("events", "events.k8s.io", "v1");

const fn row(api: (&'static str, &'static str, &'static str), plural: &'static str, kind: &'static str) -> Row {
    Row { api, plural, kind, short: &[], flags: 0, extra: &[] }
}

impl Row {
    const fn short(mut self, short: &'static [&'static str]) -> Self {
        self.short = short;
        self
    }
    const fn is(mut self, flags: u16) -> Self {
        self.flags = flags;
        self
    }
    const fn with(mut self, extra: &'static [Subresource]) -> Self {
        self.extra = extra;
        self
    }
}

const ROWS: &[Row] = &[
    row(CORE, "namespaces", "Namespace").short(&["ns"]).is(CLUSTER | STATUS).with(NAMESPACE),
    row(CORE, "nodes", "Node").short(&["no"]).is(CLUSTER | STATUS),
    row(CORE, "pods", "Pod").short(&["po"]).is(ALL | STATUS | GENERATION).with(POD),
    row(CORE, "services", "Service").short(&["svc"]).is(ALL | STATUS),
    row(CORE, "endpoints", "Endpoints").short(&["ep"]),
    row(CORE, "configmaps", "ConfigMap").short(&["cm"]),
    row(CORE, "secrets", "Secret"),
    row(CORE, "serviceaccounts", "ServiceAccount").short(&["sa"]).with(SERVICE_ACCOUNT),
    row(CORE, "events", "Event").short(&["ev"]),
    row(CORE, "persistentvolumes", "PersistentVolume").short(&["pv"]).is(CLUSTER | STATUS),
    row(CORE, "persistentvolumeclaims", "PersistentVolumeClaim").short(&["pvc"]).is(STATUS),
    row(CORE, "replicationcontrollers", "ReplicationController").short(&["rc"]).is(ALL
        | STATUS
        | SCALE
        | GENERATION
        | INERT),
    row(CORE, "limitranges", "LimitRange").short(&["limits"]).is(INERT),
    row(CORE, "resourcequotas", "ResourceQuota").short(&["quota"]).is(STATUS | INERT),
    row(CORE, "podtemplates", "PodTemplate").is(GENERATION | INERT),
    row(EVENTS, "events", "Event").short(&["ev"]),
    row(APPS, "deployments", "Deployment").short(&["deploy"]).is(ALL | STATUS | SCALE | GENERATION),
    row(APPS, "replicasets", "ReplicaSet").short(&["rs"]).is(ALL | STATUS | SCALE | GENERATION),
    row(APPS, "statefulsets", "StatefulSet").short(&["sts"]).is(ALL | STATUS | SCALE | GENERATION),
    row(APPS, "daemonsets", "DaemonSet").short(&["ds"]).is(ALL | STATUS | GENERATION),
    row(APPS, "controllerrevisions", "ControllerRevision").is(INERT),
    row(BATCH, "jobs", "Job").is(ALL | STATUS | GENERATION),
    row(BATCH, "cronjobs", "CronJob").short(&["cj"]).is(ALL | STATUS | GENERATION | INERT),
    row(AUTOSCALING, "horizontalpodautoscalers", "HorizontalPodAutoscaler").short(&["hpa"]).is(ALL | STATUS | INERT),
    row(NETWORKING, "ingresses", "Ingress").short(&["ing"]).is(STATUS | GENERATION),
    row(NETWORKING, "ingressclasses", "IngressClass").is(CLUSTER | GENERATION),
    row(NETWORKING, "networkpolicies", "NetworkPolicy").short(&["netpol"]).is(GENERATION | INERT),
    row(POLICY, "poddisruptionbudgets", "PodDisruptionBudget").short(&["pdb"]).is(STATUS | GENERATION | INERT),
    row(RBAC, "roles", "Role"),
    row(RBAC, "rolebindings", "RoleBinding"),
    row(RBAC, "clusterroles", "ClusterRole").is(CLUSTER),
    row(RBAC, "clusterrolebindings", "ClusterRoleBinding").is(CLUSTER),
    row(STORAGE, "storageclasses", "StorageClass").short(&["sc"]).is(CLUSTER),
    row(DISCOVERY, "endpointslices", "EndpointSlice").is(GENERATION),
    row(COORDINATION, "leases", "Lease"),
    row(SCHEDULING, "priorityclasses", "PriorityClass").short(&["pc"]).is(CLUSTER | GENERATION | INERT),
    row(ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration").is(CLUSTER | GENERATION),
    row(ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration").is(CLUSTER | GENERATION),
    row(EXTENSIONS, "customresourcedefinitions", "CustomResourceDefinition")
        .short(&["crd", "crds"])
        .is(CLUSTER | STATUS | GENERATION),
];

/// The rows of the built-in kinds.
pub(super) fn resources() -> Vec<Resource> {
    ROWS.iter().map(Row::resource).collect()
}

impl Row {
    fn resource(&self) -> Resource {
        let (package, group, version) = self.api;
        let has = |flag| self.flags & flag != 0;
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        let scale = has(SCALE).then(|| Scale {
            spec: path("spec.replicas"),
            status: path("status.replicas"),
            selector: Some(path("spec.selector")),
        });
        let renamed_event = group == "events.k8s.io";
        let key = match group {
            "" | "events.k8s.io" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        };
        let version =
            Version { name: version.to_owned(), served: true, status: has(STATUS), scale, ..Version::default() };
        Resource {
            group: group.to_owned(),
            stored_as: if renamed_event { "v1".to_owned() } else { super::group_version(group, &version.name) },
            fields: Types::builtin().find(&format!("{package}.{}.{}", version.name, self.kind)),
            versions: vec![version],
            plural: self.plural.to_owned(),
            singular: self.kind.to_lowercase(),
            kind: self.kind.to_owned(),
            list_kind: format!("{}List", self.kind),
            namespaced: !has(CLUSTER),
            short_names: self.short.iter().map(|&s| s.to_owned()).collect(),
            categories: if has(ALL) { vec!["all".to_owned()] } else { Vec::new() },
            key: key.into(),
            generation: has(GENERATION),
            extra: self.extra,
            inert: has(INERT),
            renamed_event,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_builtin_kind_has_its_fields() {
        for resource in resources() {
            assert!(resource.fields.is_some(), "{}", resource.qualified());
        }
    }
}
