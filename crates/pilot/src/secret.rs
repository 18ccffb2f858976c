//! Certificates and trust anchors beside the workload's own: from Secrets, and from files of the proxy.
//!
//! Files travel as their paths: a secret of the name that Istio gives it (`file-cert:CHAIN~KEY`, `file-root:CA`) says where the
//! proxy finds them. A sidecar's own certificate and the mesh's anchors are made by the proxy and never sent.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use varka_api::kube::{ConfigMap, Secret as KubeSecret};
use varka_api::{Object, ObjectMeta};
use varka_engine::ir::{DownstreamTls, Listener, SYSTEM_ROOTS, Secret, SecretKind, Str};

use crate::context::{Ctx, s};
use crate::gateway_api::is_made;
use crate::ingress::nginx;
use crate::scope::{HostRule, destination_rule};
use crate::snapshot::Kind;

/// Bytes of standard base64.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(text.trim()).ok()
}

/// Where system-wide trust anchors are, in Debian and in the images that Envoy is released in.
const SYSTEM_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";
const CERTIFICATE_FILE: &str = "file-cert:";
const ANCHORS_FILE: &str = "file-root:";
const KUBERNETES: &str = "kubernetes://";
/// The workload's own certificate, under a name for `credentialName`.
const BUILT_IN: &str = "builtin://";

/// SDS name of a certificate and its key in files.
pub(crate) fn certificate_file(chain: &str, key: &str) -> Str {
    s(format!("{CERTIFICATE_FILE}{chain}~{key}"))
}

/// SDS name of trust anchors in a file.
pub(crate) fn anchors_file(path: &str) -> Str {
    s(format!("{ANCHORS_FILE}{path}"))
}

/// SDS name of what a `credentialName` names.
pub(crate) fn credential(name: &str) -> Str {
    let name = name.strip_prefix("sds://").unwrap_or(name);
    if name.starts_with(BUILT_IN) {
        return s("default");
    }
    if name.contains("://") { s(name) } else { s(format!("{KUBERNETES}{name}")) }
}

/// SDS name of the trust anchors that belong to a `credentialName`.
pub(crate) fn anchors_beside(name: &str) -> Str {
    if name.starts_with(BUILT_IN) { s("ROOTCA") } else { credential(&format!("{name}{ANCHORS}")) }
}

/// Whether a proxy gets the Secret that a DestinationRule names: one beside it, and for a sidecar by a rule that selects
/// workloads, since others would hand the Secret to every workload.
pub(crate) fn is_given(ctx: &Ctx<'_>, rule: &HostRule, name: &str) -> bool {
    // Trust anchors in a ConfigMap are no secret.
    if !name.contains("://") || name.starts_with(CONFIG_MAP) {
        return true;
    }
    let Some(path) = name.strip_prefix(KUBERNETES) else { return false };
    is_beside(ctx, path) && (ctx.is_router() || rule.object.spec.workload_selector.is_some())
}

/// Whether a proxy may be given what a server of a Gateway names. Whoever writes a Gateway does not thereby get at the Secrets of
/// other namespaces: it has to lie beside the proxy, or a Gateway of the Gateway API has to be allowed to refer to it, which was
/// asked when the name was made.
pub(crate) fn may_name(ctx: &Ctx<'_>, gateway: &ObjectMeta, name: &str) -> bool {
    match name.strip_prefix(KUBERNETES) {
        Some(path) => is_beside(ctx, path),
        None => !name.starts_with(GATEWAY_SECRET) || is_made(gateway),
    }
}

fn is_beside(ctx: &Ctx<'_>, path: &str) -> bool {
    path.split_once('/').is_none_or(|(namespace, _)| namespace == &*ctx.proxy.namespace)
}

/// Whether a Secret of another namespace belongs to what the proxy serves, by a reference that was checked: a Gateway's of the
/// Gateway API, or an Ingress's, which names Secrets beside itself.
fn is_granted(ctx: &Ctx<'_>, name: &str) -> bool {
    if nginx::is_nginx(ctx) {
        return names(ctx).iter().any(|n| **n == *name);
    }
    let mut made = ctx.gateways().ports.values().flatten().filter(|bound| is_made(&bound.gateway.metadata));
    ctx.is_router()
        && made.any(|bound| {
            let tls = bound.server.tls.as_ref();
            tls.is_some_and(|tls| crate::listener::server_tls(ctx, tls, &[]).secrets().any(|n| **n == *name))
        })
}

/// SDS names that the proxy is given. `local-ca://HOST` is made by whoever holds the CA, not here.
pub(crate) fn names(ctx: &Ctx<'_>) -> Vec<Str> {
    let mut found = BTreeSet::new();
    if nginx::is_nginx(ctx) {
        of_listeners(nginx::listeners(ctx).iter().filter_map(|n| nginx::listener(ctx, n)), &mut found);
    } else if ctx.is_router() {
        let names = crate::gateway::listener_names(ctx);
        of_listeners(names.iter().filter_map(|n| crate::gateway::listener(ctx, n)), &mut found);
    } else {
        for tls in crate::listener::inbound_chains(ctx).iter().filter_map(|c| c.tls.as_ref()) {
            found.extend(crate::listener::server_tls(ctx, tls, &[]).secrets().cloned());
        }
    }
    if !nginx::is_outside(ctx) {
        of_rules(ctx, &mut found);
    }
    found.into_iter().filter(|n| n.starts_with("file-") || n.contains("://")).collect()
}

fn of_listeners(listeners: impl Iterator<Item = Arc<Listener>>, found: &mut BTreeSet<Str>) {
    for listener in listeners {
        for chain in listener.filter_chains.iter().chain(&listener.default_filter_chain) {
            found.extend(chain.tls.iter().flat_map(DownstreamTls::secrets).cloned());
        }
    }
}

/// What DestinationRules name, of all that apply to a service that the proxy sees. What is wrong with that is said here, and not
/// with the clusters, which a proxy may never ask for.
fn of_rules(ctx: &Ctx<'_>, found: &mut BTreeSet<Str>) {
    for service in ctx.scope().services() {
        let Some(rule) = destination_rule(ctx, service, true) else { continue };
        let subsets = rule.subsets.iter().filter_map(|x| x.traffic_policy.as_ref());
        for policy in rule.policy.iter().chain(subsets) {
            let ports = policy.port_level_settings.iter().filter_map(|p| p.tls.as_ref());
            for tls in policy.tls.iter().chain(ports) {
                crate::cluster::check_credential(ctx, tls, &rule);
                let names = crate::cluster::secrets(tls);
                found.extend(names.into_iter().flatten().filter(|n| is_given(ctx, &rule, n)));
            }
        }
    }
}

/// A secret by SDS name: `file-cert:CHAIN~KEY`, `file-root:CA`, or `kubernetes://NAMESPACE/NAME[-cacert]`; without a namespace,
/// the proxy's own, and with another one only by a reference that was checked. `kubernetes-gateway://` means the same, of a
/// Gateway that may use it, and `configmap://` trust anchors in a
/// ConfigMap.
pub(crate) fn build(ctx: &Ctx<'_>, name: &Str) -> Option<Arc<Secret>> {
    Some(Arc::new(Secret { name: name.clone(), kind: contents(ctx, name)? }))
}

fn contents(ctx: &Ctx<'_>, name: &str) -> Option<SecretKind> {
    if let Some(paths) = name.strip_prefix(CERTIFICATE_FILE) {
        let (chain, key) = paths.split_once('~')?;
        return Some(SecretKind::CertificateFiles { chain: s(chain), key: s(key) });
    }
    if let Some(path) = name.strip_prefix(ANCHORS_FILE) {
        let path = if name == SYSTEM_ROOTS { SYSTEM_FILE } else { path };
        return Some(SecretKind::ValidationFile { ca: s(path) });
    }
    if let Some(path) = name.strip_prefix(CONFIG_MAP) {
        let (namespace, object) = path.strip_suffix(ANCHORS)?.split_once('/')?;
        let map = ctx.object(Kind::ConfigMap, &ctx.snapshot.stores.config_maps, namespace, object)?;
        return Some(SecretKind::Validation { ca: map_anchors(map)?, crl: map_lists(map) });
    }
    let beside = name.strip_prefix(KUBERNETES).filter(|path| is_beside(ctx, path));
    let path = beside.or_else(|| {
        let path = name.strip_prefix(KUBERNETES).or_else(|| name.strip_prefix(GATEWAY_SECRET))?;
        is_granted(ctx, name).then_some(path)
    })?;
    let (namespace, object) = path.split_once('/').unwrap_or((&ctx.proxy.namespace, path));
    let get = |name: &str| ctx.object(Kind::Secret, &ctx.snapshot.stores.secrets, namespace, name);
    match object.strip_suffix(ANCHORS) {
        Some(beside) => anchors(get(object).or_else(|| get(beside))?),
        None => {
            let secret = get(object)?;
            certificate(secret).or_else(|| anchors(secret))
        }
    }
}

/// Whether a Secret holds a certificate and a key.
pub(crate) fn has_certificate(ctx: &Ctx<'_>, namespace: &str, name: &str) -> bool {
    ctx.object(Kind::Secret, &ctx.snapshot.stores.secrets, namespace, name).is_some_and(|o| certificate(o).is_some())
}

/// Schemes of credential names: a Secret that a Gateway of the Gateway API may use, and a ConfigMap with trust anchors.
pub(crate) const GATEWAY_SECRET: &str = "kubernetes-gateway://";
pub(crate) const CONFIG_MAP: &str = "configmap://";
/// Ends the names of trust anchors.
pub(crate) const ANCHORS: &str = "-cacert";

/// Whether a Secret holds a certificate and a key that look like such.
pub(crate) fn has_key_pair(secret: &Object<KubeSecret>) -> bool {
    certificate(secret).is_some_and(|kind| match kind {
        SecretKind::Certificate { chain, key } => is_pem(&chain, "CERTIFICATE") && is_pem(&key, "PRIVATE KEY"),
        _ => false,
    })
}

/// Trust anchors of a Secret.
pub(crate) fn trust_anchors(secret: &Object<KubeSecret>) -> Option<String> {
    member(secret, &["ca.crt", "cacert"]).filter(|text| is_pem(text, "CERTIFICATE"))
}

/// Trust anchors of a ConfigMap.
pub(crate) fn map_anchors(map: &Object<ConfigMap>) -> Option<String> {
    map.spec.data.get("ca.crt").filter(|text| is_pem(text, "CERTIFICATE")).cloned()
}

/// Revocation lists beside a ConfigMap's trust anchors.
fn map_lists(map: &Object<ConfigMap>) -> Option<String> {
    map.spec.data.get("ca.crl").filter(|text| !text.is_empty()).cloned()
}

/// Whether there is a block of that label, with bytes of ASN.1 in it.
fn is_pem(text: &str, label: &str) -> bool {
    let end = format!("{label}-----");
    text.split("-----BEGIN ").skip(1).any(|block| {
        let Some((head, body)) = block.split_once('\n') else { return false };
        let Some((body, _)) = body.split_once("-----END ") else { return false };
        let packed: String = body.split_whitespace().collect();
        // Every certificate and every key is a SEQUENCE.
        head.trim_end().ends_with(&end) && base64(&packed).is_some_and(|bytes| bytes.first() == Some(&0x30))
    })
}

fn member(secret: &Object<KubeSecret>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| {
        let plain = secret.spec.string_data.get(*key).cloned();
        plain.or_else(|| String::from_utf8(base64(secret.spec.data.get(*key)?)?).ok())
    })
}

fn certificate(secret: &Object<KubeSecret>) -> Option<SecretKind> {
    Some(SecretKind::Certificate {
        chain: member(secret, &["tls.crt", "cert"])?,
        key: member(secret, &["tls.key", "key"])?,
    })
}

fn anchors(secret: &Object<KubeSecret>) -> Option<SecretKind> {
    let lists = |key| member(secret, &[key]).filter(|text| !text.is_empty());
    match member(secret, &["cacert"]) {
        Some(ca) => Some(SecretKind::Validation { ca, crl: lists("crl") }),
        None => Some(SecretKind::Validation { ca: member(secret, &["ca.crt"])?, crl: lists("ca.crl") }),
    }
}

/// SDS name of a Secret.
pub(crate) fn sds_name(namespace: &str, name: &str) -> Str {
    s(format!("{KUBERNETES}{namespace}/{name}"))
}
