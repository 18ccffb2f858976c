//! Who a proxy says it is, in the `Node` of its first request, and whether it may say so.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;
use varka_api::kube::TopologyZone;
use varka_engine::ir::Str;
use varka_identity::SpiffeId;
use varka_pilot::{Interception, ProxyEngine, ProxyKey, ProxyKind, ProxyPort};
use varka_xds::Node;

/// More labels, addresses or ports than this are no pod's.
const MAX_ENTRIES: usize = 256;

/// Why a proxy gets no configuration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NodeError {
    /// The node's id cannot be read.
    #[error("node id {id:?} is not of the form TYPE~ADDRESS~POD.NAMESPACE~DOMAIN ({reason})")]
    Id {
        /// As given, cut.
        id: String,
        /// Which part is wrong.
        reason: &'static str,
    },
    /// It claims to be somebody else.
    #[error(
        "the proxy says that it is {claimed}, but its credentials are {proved}'s: a proxy gets its own configuration only"
    )]
    Identity {
        /// What the node says.
        claimed: String,
        /// What the credentials prove.
        proved: String,
    },
}

/// The proxy that `node` describes, if `caller` may be it.
///
/// # Errors
/// It cannot be read, or it is somebody else.
pub fn proxy(node: &Node, caller: &SpiffeId) -> Result<ProxyKey, NodeError> {
    let fail = |reason| NodeError::Id { id: node.id.chars().take(200).collect(), reason };
    let mut parts = node.id.split('~');
    let mut next = || parts.next().ok_or_else(|| fail("it has four parts"));
    let (kind, address, name, domain) = (next()?, next()?, next()?, next()?);
    let kind = match kind {
        "sidecar" => ProxyKind::Sidecar,
        "router" => ProxyKind::Router,
        _ => return Err(fail("the type is sidecar or router")),
    };
    let ip: IpAddr = address.parse().map_err(|_| fail("the address is an IP address"))?;
    let (pod, pod_namespace) = name.rsplit_once('.').ok_or_else(|| fail("the name is POD.NAMESPACE"))?;
    let namespace = text(node, "NAMESPACE").unwrap_or(pod_namespace);
    let account = text(node, "SERVICE_ACCOUNT").unwrap_or_else(|| caller.service_account());
    let proved = (caller.namespace(), caller.service_account());
    if (namespace, account) != proved || pod_namespace != namespace {
        return Err(NodeError::Identity {
            claimed: format!("{pod} of namespace {pod_namespace} (metadata: {namespace}/{account})"),
            proved: caller.to_string(),
        });
    }
    let mut key = ProxyKey::new(kind, pod, namespace, ip);
    key.service_account = account.into();
    key.dns_domain = domain.into();
    key.ips = addresses(node, ip);
    key.labels = labels(node);
    key.ports = ports(node);
    key.interception = match text(node, "INTERCEPTION_MODE") {
        Some("TPROXY") => Interception::Tproxy,
        Some("NONE") => Interception::None,
        _ => Interception::Redirect,
    };
    key.engine = if text(node, "ENGINE") == Some("envoy") { ProxyEngine::Envoy } else { ProxyEngine::Varka };
    key.on_demand =
        kind == ProxyKind::Sidecar && key.engine == ProxyEngine::Varka && text(node, "ON_DEMAND") == Some("true");
    if let Some(cluster) = text(node, "CLUSTER_ID") {
        key.cluster_id = cluster.into();
    }
    key.network = Str::from(text(node, "NETWORK").unwrap_or_default());
    key.locality = TopologyZone {
        region: node.locality.region.to_string(),
        zone: node.locality.zone.to_string(),
        sub_zone: node.locality.sub_zone.to_string(),
    };
    Ok(key)
}

fn text<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn addresses(node: &Node, first: IpAddr) -> Vec<IpAddr> {
    let others = text(node, "INSTANCE_IPS").into_iter().flat_map(|list| list.split(','));
    let mut addresses = vec![first];
    for address in others.filter_map(|address| address.trim().parse().ok()).take(MAX_ENTRIES) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn labels(node: &Node) -> BTreeMap<String, String> {
    let labels = node.metadata.get("LABELS").and_then(Value::as_object);
    let pairs = labels.into_iter().flatten().take(MAX_ENTRIES);
    pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// `POD_PORTS` is JSON, as text or as it is.
fn ports(node: &Node) -> Vec<ProxyPort> {
    let parsed = match node.metadata.get("POD_PORTS") {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        Some(other) => other.clone(),
        None => Value::Null,
    };
    let list = parsed.as_array().into_iter().flatten().take(MAX_ENTRIES);
    list.filter_map(|port| {
        // Numbers of a protobuf Struct are doubles; the cast saturates, and what is no port is left out below.
        let number = port.get("containerPort").and_then(Value::as_f64)? as u64;
        let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
        Some(ProxyPort { name: name.into(), port: u16::try_from(number).ok()? })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn web() -> SpiffeId {
        SpiffeId::new("cluster.local", "blog-system", "web").unwrap()
    }

    fn node() -> Node {
        let metadata = json!({
            "NAMESPACE": "blog-system", "SERVICE_ACCOUNT": "web", "LABELS": {"app": "web"},
            "POD_PORTS": "[{\"name\":\"http\",\"containerPort\":80}]", "INSTANCE_IPS": "10.0.0.1,fd00::1",
        });
        Node {
            id: "sidecar~10.0.0.1~web-1.blog-system~blog-system.svc.cluster.local".to_owned(),
            metadata,
            ..Node::default()
        }
    }

    #[test]
    fn what_a_node_says() {
        let key = proxy(&node(), &web()).unwrap();
        assert_eq!(key.kind, ProxyKind::Sidecar);
        assert_eq!((&*key.name, &*key.namespace, &*key.service_account), ("web-1", "blog-system", "web"));
        assert_eq!(key.ips.len(), 2);
        assert_eq!(key.labels["app"], "web");
        assert_eq!(key.ports, [ProxyPort { name: "http".into(), port: 80 }]);
        assert_eq!(key.engine, ProxyEngine::Varka);
    }

    #[test]
    fn nobody_gets_anothers_configuration() {
        let was = SpiffeId::new("cluster.local", "blog-system", "was").unwrap();
        assert!(matches!(proxy(&node(), &was), Err(NodeError::Identity { .. })));
        let elsewhere = SpiffeId::new("cluster.local", "shop", "web").unwrap();
        assert!(matches!(proxy(&node(), &elsewhere), Err(NodeError::Identity { .. })));
        let mut other = node();
        other.metadata["NAMESPACE"] = json!("shop");
        assert!(matches!(proxy(&other, &web()), Err(NodeError::Identity { .. })));
        assert!(matches!(proxy(&other, &elsewhere), Err(NodeError::Identity { .. })));
    }

    proptest! {
        #[test]
        fn no_id_makes_it_panic(id in "\\PC{0,60}", kind in "(sidecar|router|x)", rest in "[~.a-z0-9:]{0,40}") {
            for id in [id, format!("{kind}~{rest}")] {
                let _ = proxy(&Node { id, ..node() }, &web());
            }
        }
    }
}
