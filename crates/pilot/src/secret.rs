//! Certificates of gateways, from Secrets. A sidecar makes its own and is sent none.

use std::sync::Arc;

use base64::Engine as _;
use varka_api::Object;
use varka_api::kube::{ConfigMap, Secret as KubeSecret};
use varka_engine::ir::{Secret, SecretKind, Str, Terminal};

use crate::context::{Ctx, s};
use crate::ingress::nginx;
use crate::snapshot::Kind;

/// Bytes of standard base64.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(text.trim()).ok()
}

/// SDS names that the listeners of a router refer to. `local-ca://HOST` is made by whoever holds the CA, not here.
pub(crate) fn names(ctx: &Ctx<'_>) -> Vec<Str> {
    if !ctx.is_router() {
        return Vec::new();
    }
    let listeners: Vec<_> = if nginx::is_nginx(ctx) {
        nginx::listeners(ctx).iter().filter_map(|n| nginx::listener(ctx, n)).collect()
    } else {
        crate::gateway::listener_names(ctx).iter().filter_map(|n| crate::gateway::listener(ctx, n)).collect()
    };
    let mut found: Vec<Str> = Vec::new();
    for listener in listeners {
        for chain in listener.filter_chains.iter().chain(&listener.default_filter_chain) {
            let own = matches!(chain.terminal, Terminal::Http(_) | Terminal::Tcp(_));
            for tls in chain.tls.iter().filter(|_| own) {
                let all = tls.certificates.iter().chain(&tls.validation);
                found.extend(all.filter(|n| n.contains("://")).cloned());
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// A certificate or trust anchors by SDS name `kubernetes://NAMESPACE/NAME[-cacert]`; without a namespace, the proxy's own.
/// `kubernetes-gateway://` means the same, of a Gateway that may use it, and `configmap://` trust anchors in a ConfigMap.
pub(crate) fn build(ctx: &Ctx<'_>, name: &Str) -> Option<Arc<Secret>> {
    if let Some(path) = name.strip_prefix(CONFIG_MAP) {
        let (namespace, object) = path.strip_suffix(ANCHORS)?.split_once('/')?;
        let map = ctx.object(Kind::ConfigMap, &ctx.snapshot.stores.config_maps, namespace, object)?;
        return Some(Arc::new(Secret { name: name.clone(), kind: SecretKind::Validation { ca: map_anchors(map)? } }));
    }
    let path = name.strip_prefix("kubernetes://").or_else(|| name.strip_prefix(GATEWAY_SECRET))?;
    let (namespace, object) = path.split_once('/').unwrap_or((&ctx.proxy.namespace, path));
    let store = &ctx.snapshot.stores.secrets;
    if let Some(secret) = ctx.object(Kind::Secret, store, namespace, object) {
        let kind = certificate(secret).or_else(|| anchors(secret))?;
        return Some(Arc::new(Secret { name: name.clone(), kind }));
    }
    let plain = object.strip_suffix("-cacert")?;
    let secret = ctx.object(Kind::Secret, store, namespace, plain)?;
    Some(Arc::new(Secret { name: name.clone(), kind: anchors(secret)? }))
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
        SecretKind::Validation { .. } => false,
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
    Some(SecretKind::Validation { ca: member(secret, &["ca.crt", "cacert"])? })
}

/// SDS name of a Secret.
pub(crate) fn sds_name(namespace: &str, name: &str) -> Str {
    s(format!("kubernetes://{namespace}/{name}"))
}
