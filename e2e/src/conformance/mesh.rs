//! From a case's YAML to the configuration of its proxy, under the assumptions of Istio's fake discovery server: the proxy is
//! 1.1.1.1 in namespace `default`, short hosts in configurations get no cluster domain, Kubernetes objects do.

use std::net::IpAddr;

use serde_json::Value;
use varka_api::istio::MeshConfig;
use varka_engine::ir::Proxy;
use varka_pilot::{ProxyKey, ProxyKind, Snapshot, compile_all};

use super::text;

/// Compiles everything that the case's proxy is given.
pub(super) fn compile(case: &Value) -> Proxy {
    let (mut config, _) = varka_api::read("config", text(case, "config"));
    let (kubernetes, _) = varka_api::read("kubeConfig", text(case, "kubeConfig"));
    // What names no namespace is in `default`.
    for object in config.iter_mut().filter(|o| o.metadata.namespace.is_empty()) {
        "default".clone_into(&mut object.metadata.namespace);
    }
    let mesh = case.get("mesh").cloned().unwrap_or_default();
    let mut builder = Snapshot::builder().config_domain("").objects(kubernetes).objects(config);
    if let Ok((mesh, _)) = MeshConfig::from_value(mesh) {
        builder = builder.mesh(mesh);
    }
    compile_all(&builder.build(), &key(case)).0
}

fn key(case: &Value) -> ProxyKey {
    let proxy = case.get("proxy").cloned().unwrap_or_default();
    let kind = if text(&proxy, "type") == "router" { ProxyKind::Router } else { ProxyKind::Sidecar };
    let namespace =
        [text(&proxy, "namespace"), text(case, "proxyNamespace"), "default"].into_iter().find(|n| !n.is_empty());
    let ips: Vec<IpAddr> = proxy
        .get("ipAddresses")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|i| i.as_str()?.parse().ok())
        .collect();
    let ip = ips.first().copied().unwrap_or(IpAddr::from([1, 1, 1, 1]));
    let mut key = ProxyKey::new(kind, "app", namespace.unwrap_or_default(), ip);
    key.dns_domain = format!("{}.svc.cluster.local", key.namespace).into();
    if !ips.is_empty() {
        key.ips = ips;
    }
    let labels = proxy.get("labels").and_then(Value::as_object).into_iter().flatten();
    key.labels = labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect();
    key
}
