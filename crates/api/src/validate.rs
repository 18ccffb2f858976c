//! Istio's validation of each kind: errors refuse an object, warnings let it in and say what will surprise.
//!
//! Each finding names the field, what is wrong with it, and what would be right. Objects of kinds that have no rules here pass.

mod common;
mod destination_rule;
mod edge;
mod empty;
mod extensions;
mod http_route;
mod registry;
mod security;
mod sidecar;
mod telemetry;
mod virtual_service;

use serde::de::DeserializeOwned;

use crate::{ObjectMeta, RawObject, Resource, kube};

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Field, from the object's root (`spec.http[0].timeout`); empty: the object.
    pub path: String,
    /// What is wrong, and what it means for traffic.
    pub message: String,
    /// What would be right, where that can be said.
    pub fix: Option<String>,
}

/// Findings about an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validation {
    /// Any of these refuses the object.
    pub errors: Vec<FieldError>,
    /// These do not.
    pub warnings: Vec<FieldError>,
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.fix {
            Some(fix) => write!(f, ". {fix}"),
            None => Ok(()),
        }
    }
}

impl Validation {
    /// Whether the object may be stored.
    pub fn is_ok(&self) -> bool {
        self.errors.is_empty()
    }

    pub(crate) fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError { path: path.into(), message: message.into(), fix: None });
    }

    pub(crate) fn error_with_fix(
        &mut self,
        path: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.errors.push(FieldError { path: path.into(), message: message.into(), fix: Some(fix.into()) });
    }

    pub(crate) fn warn(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(FieldError { path: path.into(), message: message.into(), fix: None });
    }
}

/// Validates any object. Members that no type knows are warnings: nothing reads them.
pub fn validate(object: &RawObject) -> Validation {
    let mut v = of_kind(object);
    if object.group().ends_with(".istio.io") {
        empty::nulls(object, &mut v);
    }
    v
}

fn of_kind(object: &RawObject) -> Validation {
    match (object.group(), object.kind.as_str()) {
        ("security.istio.io", "PeerAuthentication") => check(object, security::peer_authentication),
        ("security.istio.io", "AuthorizationPolicy") => {
            let mut v = check(object, security::authorization_policy);
            empty::rules(object, &mut v);
            v
        }
        ("security.istio.io", "RequestAuthentication") => check(object, security::request_authentication),
        ("networking.istio.io", "VirtualService") => check(object, virtual_service::check),
        ("networking.istio.io", "DestinationRule") => check(object, destination_rule::check),
        ("networking.istio.io", "Gateway") => check(object, edge::gateway),
        ("networking.istio.io", "ServiceEntry") => check(object, registry::service_entry),
        ("networking.istio.io", "WorkloadEntry") => check(object, registry::workload_entry),
        ("networking.istio.io", "Sidecar") => check(object, sidecar::check),
        ("networking.istio.io", "WorkloadGroup") => check(object, registry::workload_group),
        ("networking.istio.io", "ProxyConfig") => check(object, registry::proxy_config),
        ("networking.istio.io", "EnvoyFilter") => check(object, extensions::envoy_filter),
        ("extensions.istio.io", "WasmPlugin") => check(object, extensions::wasm_plugin),
        ("extensions.istio.io", "TrafficExtension") => check(object, extensions::traffic_extension),
        ("telemetry.istio.io", "Telemetry") => check(object, telemetry::check),
        (kube::GATEWAY_API, kind) => gateway_api(object, kind),
        _ => Validation::default(),
    }
}

/// The Gateway API's own schemas and rules are the API server's to check; here only what could not be read is refused.
fn gateway_api(object: &RawObject, kind: &str) -> Validation {
    match kind {
        "GatewayClass" => check::<kube::GatewayClass>(object, |_, _, _| {}),
        "Gateway" => check::<kube::KubernetesGateway>(object, |_, _, _| {}),
        "HTTPRoute" => check::<kube::KubernetesHttpRoute>(object, |_, _, _| {}),
        "GRPCRoute" => check::<kube::KubernetesGrpcRoute>(object, |_, _, _| {}),
        "TLSRoute" => check::<kube::KubernetesTlsRoute>(object, |_, _, _| {}),
        "TCPRoute" => check::<kube::KubernetesTcpRoute>(object, |_, _, _| {}),
        "ReferenceGrant" => check::<kube::ReferenceGrant>(object, |_, _, _| {}),
        "BackendTLSPolicy" => check::<kube::BackendTlsPolicy>(object, |_, _, _| {}),
        _ => Validation::default(),
    }
}

/// Decodes, reports what nobody reads, and runs the rules of the kind.
fn check<T: Resource + DeserializeOwned>(
    object: &RawObject,
    rules: impl FnOnce(&ObjectMeta, &T, &mut Validation),
) -> Validation {
    let mut v = Validation::default();
    match object.decode::<T>() {
        Err(error) => {
            let (path, message) = match error {
                crate::DecodeError::Field { path, message } => (path, message),
                other @ crate::DecodeError::Kind { .. } => (String::new(), other.to_string()),
            };
            v.error(path, message);
        }
        Ok(decoded) => {
            for path in decoded.unknown {
                v.warn(path, "unknown field: nothing reads it, so it has no effect on traffic");
            }
            rules(&decoded.object.metadata, &decoded.object.spec, &mut v);
        }
    }
    v
}

#[cfg(test)]
mod tests;
