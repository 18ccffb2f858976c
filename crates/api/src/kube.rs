//! Minimal views of Kubernetes' own kinds: the members that the mesh reads. Everything else is left alone.

mod core;
mod gateway;
mod gateway_routes;
mod ingress;

pub use core::{
    ConfigMap, Container, ContainerPort, EndpointConditions, EndpointPort, EndpointSlice, IntOrString, KubeEndpoint,
    Namespace, Node, ObjectReference, Pod, PodCondition, PodIp, PodSpec, PodStatus, Secret, Service, ServicePort,
    TopologyZone,
};
pub use gateway::{
    AllowedListeners, AllowedRoutes, BackendName, BackendTls, BackendTlsPolicy, BackendValidation, FrontendTls,
    FrontendTlsConfig, FrontendTlsPort, FrontendValidation, GATEWAY_API, GatewayAddress, GatewayClass,
    GatewayInfrastructure, GatewayListener, GatewayObjectReference, GatewayTls, GrantFrom, GrantTo, KubernetesGateway,
    ListenerTls, LocalReference, ParametersReference, PolicyTarget, ReferenceGrant, RouteGroupKind, RouteNamespaces,
    SecretReference,
};
pub use gateway_routes::{
    BackendReference, CorsFilter, Fraction, GrpcMethodMatch, GrpcRouteMatch, GrpcRouteRule, HeaderFilter, HeaderValue,
    HttpRouteMatch, HttpRouteRetry, HttpRouteRule, HttpRouteTimeouts, KubernetesGrpcRoute, KubernetesHttpRoute,
    KubernetesTcpRoute, KubernetesTlsRoute, MirrorFilter, NamedMatch, ParentReference, PathMatch, PathModifier,
    RedirectFilter, RewriteFilter, RouteFilter, StreamRouteRule,
};
pub use ingress::{
    HttpIngressPath, HttpIngressRule, Ingress, IngressBackend, IngressClass, IngressRule, IngressServiceBackend,
    IngressTls, PathType, ServiceBackendPort,
};
