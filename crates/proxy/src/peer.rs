//! Who the other side is in its own words: Istio's exchange of metadata between proxies.
//!
//! Over HTTP each side sends two headers, which never reach an application; over TCP each side sends a prelude before its first
//! byte, where both agreed on ALPN `istio-peer-exchange`. What is told is believed only of a peer that the mesh's mutual TLS has
//! verified, fills labels of metrics, and never stands in for an identity. Everything that a peer can send is bounded.

mod prelude;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64_BARE;
use bytes::Bytes;
use foldhash::quality::RandomState;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;
use varka_engine::ir::Str;
use varka_proto::protobuf::value::Kind;
use varka_proto::protobuf::{Struct, Value};
use varka_telemetry::metrics::istio::{Workload, bounded};

use crate::bootstrap::Bootstrap;

pub use prelude::{Prelude, Taken};

/// Metadata of the sender: base64 of a `google.protobuf.Struct`.
pub(crate) const METADATA: HeaderName = HeaderName::from_static("x-envoy-peer-metadata");
/// Node id of the sender.
pub(crate) const METADATA_ID: HeaderName = HeaderName::from_static("x-envoy-peer-metadata-id");
/// ALPN on which both sides of a TCP connection say who they are.
pub(crate) const ALPN: &[u8] = b"istio-peer-exchange";

/// Longest metadata that is looked at, in bytes of the header.
const LONGEST: usize = 4 * 1024;
/// Peers whose metadata a worker keeps decoded.
const KEPT: usize = 512;

/// Label that names the service, and others that may stand in for it.
const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";
/// Where Kubernetes keeps Deployments and the like.
const OWNER: &str = "kubernetes://apis/apps/v1/namespaces/";

/// A workload, shared by all that count for it.
pub(crate) type Peer = Arc<Workload>;

/// Who was verified at the other end of a connection that we made, and who we were.
#[derive(Debug)]
pub(crate) struct Secured {
    /// First URI SAN of the endpoint's certificate; empty: it has none.
    pub peer: Str,
    /// Of ours; empty: we showed none.
    pub own: Str,
    /// Whether the mesh's anchors vouch for it.
    pub mesh: bool,
}

/// What this proxy says of itself; made once.
#[derive(Debug)]
pub(crate) struct Own {
    /// The workload that it stands for.
    pub workload: Peer,
    node_id: String,
    id: Option<HeaderValue>,
    metadata: Option<HeaderValue>,
    prelude: Bytes,
}

impl Own {
    /// As the bootstrap says.
    pub(crate) fn new(bootstrap: &Bootstrap) -> Self {
        let (metadata, name) = (&bootstrap.metadata, &bootstrap.pod_name);
        let workload = Workload::from_node(metadata, name, &bootstrap.namespace, &bootstrap.cluster_id);
        let metadata = to_struct(&workload, bootstrap);
        let id = bootstrap.node_id();
        Self {
            id: HeaderValue::from_str(&id).ok(),
            metadata: HeaderValue::from_str(&BASE64.encode(metadata.encode_to_vec())).ok(),
            prelude: prelude::encode(metadata, &id),
            workload: Arc::new(workload),
            node_id: id,
        }
    }

    /// `sidecar~10.0.0.1~web-1.blog-system~blog-system.svc.cluster.local`.
    pub(crate) fn node_id(&self) -> &str {
        &self.node_id
    }

    /// Says it in headers.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        for (name, value) in [(METADATA_ID, &self.id), (METADATA, &self.metadata)] {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
    }

    /// What is sent before the first byte of a TCP connection.
    pub(crate) fn prelude(&self) -> Bytes {
        self.prelude.clone()
    }
}

/// Takes the exchange's headers out of a message; the metadata, if there was some.
pub(crate) fn take(headers: &mut HeaderMap) -> Option<HeaderValue> {
    headers.remove(METADATA_ID);
    headers.remove(METADATA)
}

/// Peers whose metadata a worker has decoded, by what they sent.
#[derive(Debug, Default)]
pub(crate) struct Known(RefCell<HashMap<HeaderValue, Option<Peer>, RandomState>>);

impl Known {
    /// The peer that sent this. What cannot be read counts as nothing said.
    pub(crate) fn peer(&self, sent: HeaderValue) -> Option<Peer> {
        if sent.len() > LONGEST {
            return None;
        }
        let mut known = self.0.borrow_mut();
        if let Some(peer) = known.get(&sent) {
            return peer.clone();
        }
        let peer = decode(sent.as_bytes()).map(Arc::new);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(sent, peer.clone());
        peer
    }
}

/// The metadata of a header, of any length.
pub fn decode(value: &[u8]) -> Option<Workload> {
    let bare = value.strip_suffix(b"==").or_else(|| value.strip_suffix(b"=")).unwrap_or(value);
    let bytes = BASE64_BARE.decode(bare).ok()?;
    Some(from_struct(&Struct::decode(bytes.as_slice()).ok()?))
}

fn text(value: Option<&Value>) -> Option<&str> {
    match value?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

fn fields(value: Option<&Value>) -> Option<&Struct> {
    match value?.kind.as_ref()? {
        Kind::StructValue(fields) => Some(fields),
        _ => None,
    }
}

/// What a peer says, each value bounded.
fn from_struct(said: &Struct) -> Workload {
    let labels = fields(said.fields.get("LABELS"));
    let field = |name: &str| text(said.fields.get(name)).map(bounded).unwrap_or_default();
    let label = |names: &[&str]| {
        let found = names.iter().find_map(|name| text(labels?.fields.get(*name)).filter(|t| !t.is_empty()));
        found.map(bounded).unwrap_or_default()
    };
    Workload {
        name: field("WORKLOAD_NAME"),
        namespace: field("NAMESPACE"),
        app: label(&["app", "app.kubernetes.io/name"]),
        version: label(&["version", "app.kubernetes.io/version"]),
        canonical_service: label(&[CANONICAL_NAME]),
        canonical_revision: label(&[CANONICAL_REVISION]),
        cluster: field("CLUSTER_ID"),
    }
}

fn string(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

/// What we say, in Istio's fields.
fn to_struct(w: &Workload, bootstrap: &Bootstrap) -> Struct {
    let put = |pairs: &[(&str, &str)]| Struct {
        fields: pairs.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| ((*k).to_owned(), string(v))).collect(),
    };
    let labels = put(&[
        (CANONICAL_NAME, &w.canonical_service),
        (CANONICAL_REVISION, &w.canonical_revision),
        ("app", &w.app),
        ("version", &w.version),
    ]);
    let owner = bootstrap.metadata.get("OWNER").and_then(serde_json::Value::as_str).map(str::to_owned);
    let owner = owner.unwrap_or_else(|| format!("{OWNER}{}/deployments/{}", w.namespace, w.name));
    let mut said = put(&[
        ("NAME", &bootstrap.pod_name),
        ("NAMESPACE", &w.namespace),
        ("WORKLOAD_NAME", &w.name),
        ("CLUSTER_ID", &w.cluster),
        ("OWNER", &owner),
    ]);
    said.fields.insert("LABELS".to_owned(), Value { kind: Some(Kind::StructValue(labels)) });
    said
}
