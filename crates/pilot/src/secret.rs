//! Certificates of gateways, from Secrets. A sidecar makes its own and is sent none.

use std::sync::Arc;

use base64::Engine as _;
use varka_api::Object;
use varka_api::kube::Secret as KubeSecret;
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
pub(crate) fn build(ctx: &Ctx<'_>, name: &Str) -> Option<Arc<Secret>> {
    let path = name.strip_prefix("kubernetes://")?;
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
