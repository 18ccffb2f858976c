//! TLS of listeners: from references to Secrets and ConfigMaps to Istio's settings.

use varka_api::Object;
use varka_api::istio::{GatewayTlsMode, ServerTls};
use varka_api::kube::{
    FrontendTlsConfig, GatewayListener, GatewayObjectReference, KubernetesGateway, ListenerTls, SecretReference,
};

use super::grants::{self, Target};
use super::{Problem, World};
use crate::secret;

/// Names Istio's own TLS modes, beyond those of the Gateway API.
const MODE: &str = "gateway.istio.io/tls-terminate-mode";
const CIPHERS: &str = "gateway.istio.io/tls-cipher-suites";
/// `auto-passthrough`: SNI names the cluster, for traffic between networks.
const LISTENER: &str = "gateway.istio.io/listener-protocol";

/// Suites that a listener can be told to have; other names in the list say nothing.
const SUITES: [&str; 15] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

/// Settings of a listener, as far as they can be had, and what is wrong with them. `None`: it has no TLS.
pub(super) fn settings(
    world: &World<'_>,
    gateway: &Object<KubernetesGateway>,
    listener: &GatewayListener,
) -> (Option<ServerTls>, Option<Problem>) {
    let Some(tls) = &listener.tls else { return (None, None) };
    let mut out = ServerTls::default();
    let problem = if tls.mode.as_deref() == Some("Passthrough") {
        out.mode = if is_auto_passthrough(gateway, listener, tls) {
            GatewayTlsMode::AutoPassthrough
        } else {
            GatewayTlsMode::Passthrough
        };
        None
    } else {
        out.mode = GatewayTlsMode::Simple;
        terminate(world, gateway, listener, tls, &mut out).err()
    };
    if let Some(list) = tls.options.get(CIPHERS) {
        let known = list.split(',').map(str::trim).filter(|name| SUITES.contains(name));
        out.cipher_suites = known.map(str::to_owned).collect();
    }
    (Some(out), problem)
}

/// By option, or on the port for traffic between networks of a gateway that says which network it is in.
fn is_auto_passthrough(gateway: &Object<KubernetesGateway>, listener: &GatewayListener, tls: &ListenerTls) -> bool {
    if tls.options.get(LISTENER).is_some_and(|v| v == "auto-passthrough") {
        return true;
    }
    let labels = &gateway.metadata.labels;
    let port = labels.get("networking.istio.io/gatewayPort").map_or("15443", String::as_str);
    labels.contains_key("topology.istio.io/network") && listener.port.to_string() == port
}

fn terminate(
    world: &World<'_>,
    gateway: &Object<KubernetesGateway>,
    listener: &GatewayListener,
    tls: &ListenerTls,
    out: &mut ServerTls,
) -> Result<(), Problem> {
    match tls.options.get(MODE).map(String::as_str) {
        Some("MUTUAL") => out.mode = GatewayTlsMode::Mutual,
        Some("OPTIONAL_MUTUAL") => out.mode = GatewayTlsMode::OptionalMutual,
        Some("ISTIO_MUTUAL") => {
            out.mode = GatewayTlsMode::IstioMutual;
            return Ok(());
        }
        Some("ISTIO_SIMPLE") => {
            return Err(Problem::new(
                "InvalidCertificateRef",
                format!("option {MODE}: ISTIO_SIMPLE is not supported; name a Secret in certificateRefs"),
            ));
        }
        _ => {}
    }
    if tls.certificate_refs.len() > 2 {
        let message = "certificateRefs: a listener can have at most two certificates";
        return Err(Problem::new("InvalidCertificateRef", message));
    }
    let mut names = Vec::new();
    let mut problem = None;
    for reference in &tls.certificate_refs {
        match certificate(world, gateway, reference) {
            Ok(name) => names.push(name),
            Err(found) => problem = Problem::join(problem, Some(found)),
        }
    }
    match names.len() {
        0 => {
            let none = || Problem::new("InvalidCertificateRef", "certificateRefs names no certificate");
            return Err(problem.unwrap_or_else(none));
        }
        1 => out.credential_name = names.remove(0),
        _ => out.credential_names = names,
    }
    let frontend = frontend(gateway, listener.port).and_then(|f| f.validation.as_ref());
    let Some(validation) = frontend.filter(|v| !v.ca_certificate_refs.is_empty()) else { return Ok(()) };
    let [reference] = validation.ca_certificate_refs.as_slice() else {
        let message = "caCertificateRefs: only one reference is supported";
        return Err(Problem::new("InvalidCACertificateRef", message));
    };
    out.ca_cert_credential_name = trust_anchors(world, gateway, reference)?;
    let insecure = validation.mode.as_deref() == Some("AllowInsecureFallback");
    out.mode = match tls.options.get(MODE).map(String::as_str) {
        Some("MUTUAL") => GatewayTlsMode::Mutual,
        Some("OPTIONAL_MUTUAL") => GatewayTlsMode::OptionalMutual,
        _ if insecure => GatewayTlsMode::OptionalMutual,
        _ => GatewayTlsMode::Mutual,
    };
    Ok(())
}

fn frontend(gateway: &Object<KubernetesGateway>, port: u32) -> Option<&FrontendTlsConfig> {
    let frontend = gateway.spec.tls.as_ref()?.frontend.as_ref()?;
    Some(frontend.per_port.iter().find(|p| p.port == port).map_or(&frontend.default, |p| &p.tls))
}

/// Whether clients without a valid certificate are let in somewhere.
pub(super) fn has_insecure_fallback(gateway: &Object<KubernetesGateway>) -> bool {
    let Some(frontend) = gateway.spec.tls.as_ref().and_then(|t| t.frontend.as_ref()) else { return false };
    std::iter::once(&frontend.default)
        .chain(frontend.per_port.iter().map(|p| &p.tls))
        .any(|c| c.validation.as_ref().is_some_and(|v| v.mode.as_deref() == Some("AllowInsecureFallback")))
}

/// `credentialName` of a reference. Whether an object is there is only told to who may refer to it.
fn certificate(
    world: &World<'_>,
    gateway: &Object<KubernetesGateway>,
    reference: &SecretReference,
) -> Result<String, Problem> {
    let own = gateway.metadata.namespace.as_str();
    let namespace = reference.namespace.as_deref().unwrap_or(own);
    let name = reference.name.as_str();
    let target = Target { group: "", kind: "Secret", namespace, name };
    if !grants::allows(world.stores, "Gateway", own, target) {
        return Err(not_permitted("certificateRefs", "Secret", namespace, name, own));
    }
    let invalid = |message: String| Problem::new("InvalidCertificateRef", message);
    if !is_kind(reference, "Secret") {
        return Err(invalid(format!("certificateRefs: {name} is no Secret, and nothing else can hold a certificate")));
    }
    let Some(object) = world.stores.secrets.get(namespace, name) else {
        return Err(invalid(format!("certificateRefs: there is no Secret {namespace}/{name}")));
    };
    if !secret::has_key_pair(object) {
        return Err(invalid(format!(
            "certificateRefs: Secret {namespace}/{name} has no certificate and key in PEM under tls.crt and tls.key"
        )));
    }
    Ok(format!("{}{namespace}/{name}", secret::GATEWAY_SECRET))
}

/// Of `spec.tls.backend.clientCertificateRef`: what is wrong with it.
pub(super) fn client_certificate(world: &World<'_>, gateway: &Object<KubernetesGateway>) -> Option<Problem> {
    let reference = gateway.spec.tls.as_ref()?.backend.as_ref()?.client_certificate_ref.as_ref()?;
    match certificate(world, gateway, reference) {
        Ok(_) => None,
        Err(problem) if problem.reason == "RefNotPermitted" => Some(problem),
        Err(problem) => Some(Problem { reason: "InvalidClientCertificateRef", ..problem }),
    }
}

fn trust_anchors(
    world: &World<'_>,
    gateway: &Object<KubernetesGateway>,
    reference: &GatewayObjectReference,
) -> Result<String, Problem> {
    let own = gateway.metadata.namespace.as_str();
    let namespace = reference.namespace.as_deref().unwrap_or(own);
    let name = reference.name.as_str();
    // What is no Secret counts as a ConfigMap until it is known to be neither.
    let is_secret = reference.group.is_empty() && reference.kind == "Secret";
    let kind = if is_secret { "Secret" } else { "ConfigMap" };
    if !grants::allows(world.stores, "Gateway", own, Target { group: "", kind, namespace, name }) {
        return Err(not_permitted("caCertificateRefs", kind, namespace, name, own));
    }
    if !reference.group.is_empty() || !["Secret", "ConfigMap"].contains(&reference.kind.as_str()) {
        let message = format!("caCertificateRefs: {name} is neither a ConfigMap nor a Secret");
        return Err(Problem::new("InvalidCACertificateKind", message));
    }
    let invalid = |message: String| Problem::new("InvalidCACertificateRef", message);
    let found = if is_secret {
        world.stores.secrets.get(namespace, name).map(|o| secret::trust_anchors(o))
    } else {
        world.stores.config_maps.get(namespace, name).map(|o| secret::map_anchors(o))
    };
    match found {
        None => Err(invalid(format!("caCertificateRefs: there is no {kind} {namespace}/{name}"))),
        Some(None) => Err(invalid(format!(
            "caCertificateRefs: {kind} {namespace}/{name} has no certificates in PEM under ca.crt"
        ))),
        Some(Some(_)) if is_secret => Ok(format!("{}{namespace}/{name}{}", secret::GATEWAY_SECRET, secret::ANCHORS)),
        Some(Some(_)) => Ok(format!("{}{namespace}/{name}{}", secret::CONFIG_MAP, secret::ANCHORS)),
    }
}

fn is_kind(reference: &SecretReference, kind: &str) -> bool {
    reference.group.as_deref().unwrap_or_default().is_empty() && reference.kind.as_deref().unwrap_or(kind) == kind
}

fn not_permitted(field: &str, kind: &str, namespace: &str, name: &str, own: &str) -> Problem {
    Problem::new(
        "RefNotPermitted",
        format!(
            "{field}: {kind} {namespace}/{name} may not be used from namespace {own}: a ReferenceGrant in {namespace} must allow it"
        ),
    )
}
