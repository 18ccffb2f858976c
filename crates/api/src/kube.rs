//! Minimal views of Kubernetes' own kinds: the members that the mesh reads. Everything else is left alone.

mod core;
mod ingress;

pub use core::{
    ConfigMap, Container, ContainerPort, EndpointConditions, EndpointPort, EndpointSlice, IntOrString, KubeEndpoint,
    Namespace, Node, ObjectReference, Pod, PodCondition, PodIp, PodSpec, PodStatus, Secret, Service, ServicePort,
    TopologyZone,
};
pub use ingress::{
    HttpIngressPath, HttpIngressRule, Ingress, IngressBackend, IngressClass, IngressRule, IngressServiceBackend,
    IngressTls, PathType, ServiceBackendPort,
};
