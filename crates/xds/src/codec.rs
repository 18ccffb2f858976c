//! Between `engine::ir` and Envoy's v3 messages, in both directions.
//!
//! What is encoded is valid for a stock Envoy; what is decoded means for our data plane what it means for Envoy, or is
//! refused by the name of the field: nothing is dropped silently. A round trip gives back what went in, up to what a
//! proxy can not tell apart: the weight of a single destination, the order of removals among header mutations, the order
//! of RBAC policies and of the keys of a JSON log. Three things can only be said for a cluster as a whole, so they are
//! said if any part of it asks for them: SNI that follows the request, and for policies other than round robin and least
//! request no slow start, for HTTP/1 no limit of streams. A body limit of a route is sent as Envoy's buffer filter knows
//! it, up to 4 GiB. No resource is fetched, and none is checked against another.

mod access_log;
mod cluster;
mod cluster_limits;
mod dynamic_forward_proxy;
mod endpoint;
mod ext_authz;
mod hcm;
mod headers;
mod http_filter;
mod istio_filter;
mod jwt;
mod listener;
mod metadata;
mod network;
mod rbac;
mod refusal;
mod route;
mod route_action;
mod route_match;
mod tls;
mod tracing;
mod upstream_http;
mod value;
mod wire;
mod workload;

#[cfg(test)]
mod tests;

use std::hash::Hasher;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
pub use value::OWN_SECRETS_CLUSTER;
use varka_engine::ir::{self, Resource, ResourceType, Str};
use varka_proto::envoy::{cluster as pb_cluster, endpoint as pb_endpoint, listener as pb_listener};
use varka_proto::envoy::{route as pb_route, tls as pb_tls};
use varka_proto::istio::workload as pb_workload;
pub use varka_proto::protobuf::Any;

use refusal::{At, Refusal};
pub use refusal::{Reason, Rejection};

/// Who reads what is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reader {
    /// A proxy that has Istio's filters: ours, or Istio's build of Envoy.
    Istio,
    /// Envoy as it is released: `istio.alpn`, `istio.stats`, `istio.metadata_exchange` and peer metadata are left out.
    StockEnvoy,
}

/// Every resource type, in the order in which changes must reach a proxy so that nothing points at what is not there yet.
pub const TYPES: [ResourceType; 7] = [
    ResourceType::Cluster,
    ResourceType::Endpoints,
    ResourceType::Listener,
    ResourceType::Route,
    ResourceType::VirtualHost,
    ResourceType::Secret,
    ResourceType::Workload,
];

/// The type URL of a resource type.
pub const fn type_url(kind: ResourceType) -> &'static str {
    match kind {
        ResourceType::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
        ResourceType::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        ResourceType::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        ResourceType::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        ResourceType::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        ResourceType::VirtualHost => "type.googleapis.com/envoy.config.route.v3.VirtualHost",
        ResourceType::Workload => "type.googleapis.com/istio.workload.Address",
    }
}

/// The resource type of a type URL; `None`: none that is carried here.
pub fn resource_type(url: &str) -> Option<ResourceType> {
    TYPES.into_iter().find(|kind| wire::type_name(type_url(*kind)) == wire::type_name(url))
}

/// The bytes of the message that stands for `resource`. Two runs can order the entries of a map differently: compare
/// resources or their [`version`], not bytes.
pub fn encode_bytes(resource: &Resource, reader: Reader) -> Bytes {
    match resource {
        Resource::Listener(l) => listener::encode(l, reader).encode_to_vec(),
        Resource::Route(r) => route::encode(r).encode_to_vec(),
        Resource::Cluster(c) => cluster::encode(c, reader).encode_to_vec(),
        Resource::Endpoints(e) => endpoint::encode(e).encode_to_vec(),
        Resource::Secret(s) => tls::encode_secret(s).encode_to_vec(),
        Resource::VirtualHost(_, h) => route::encode_host(h).encode_to_vec(),
        Resource::Workload(_, w) => workload::encode(w).encode_to_vec(),
    }
    .into()
}

/// The message that stands for `resource`, packed.
pub fn encode(resource: &Resource, reader: Reader) -> Any {
    Any { type_url: type_url(resource.kind()).to_owned(), value: encode_bytes(resource, reader).into() }
}

/// What a message says. A virtual host goes by its own name, and a workload by its first address: the name that one was asked
/// for by is not in the message.
///
/// # Errors
/// The field that is malformed or that asks for something which is not implemented.
pub fn decode(any: &Any) -> Result<Resource, Rejection> {
    let Some(kind) = resource_type(&any.type_url) else {
        let reason = Reason::Type(any.type_url.clone());
        return Err(Rejection { kind: None, name: "".into(), field: String::new(), reason });
    };
    let mut name = Str::default();
    decode_kind(kind, &any.value, &mut name).map_err(|Refusal(refusal)| {
        let (field, reason) = *refusal;
        Rejection { kind: Some(kind), name, field, reason }
    })
}

/// Decodes, and says the name as soon as it is known.
fn decode_kind(kind: ResourceType, bytes: &[u8], name: &mut Str) -> refusal::Decoded<Resource> {
    let at = &At::TOP;
    let mut note = |text: &str| *name = text.into();
    Ok(match kind {
        ResourceType::Listener => {
            let message = wire::read_named(at, bytes, |m: &pb_listener::Listener| note(&m.name))?;
            Resource::Listener(Arc::new(listener::decode(at, message)?))
        }
        ResourceType::Route => {
            let message = wire::read_named(at, bytes, |m: &pb_route::RouteConfiguration| note(&m.name))?;
            Resource::Route(Arc::new(route::decode(at, message)?))
        }
        ResourceType::Cluster => {
            let message = wire::read_named(at, bytes, |m: &pb_cluster::Cluster| note(&m.name))?;
            Resource::Cluster(Arc::new(cluster::decode(at, message)?))
        }
        ResourceType::Endpoints => {
            let note = |m: &pb_endpoint::ClusterLoadAssignment| note(&m.cluster_name);
            Resource::Endpoints(Arc::new(endpoint::decode(at, wire::read_named(at, bytes, note)?)?))
        }
        ResourceType::Secret => {
            let message = wire::read_named(at, bytes, |m: &pb_tls::Secret| note(&m.name))?;
            Resource::Secret(Arc::new(tls::decode_secret(at, message)?))
        }
        ResourceType::VirtualHost => {
            let host = wire::read_named(at, bytes, |m: &pb_route::VirtualHost| note(&m.name))?;
            let host = route::decode_host(at, host)?;
            Resource::VirtualHost(Str::clone(&host.name), Arc::new(host))
        }
        ResourceType::Workload => {
            let message = wire::read_named(at, bytes, |m: &pb_workload::Address| note(&workload::name(m)))?;
            let workload = workload::decode(at, message)?;
            let name = workload.addresses.first().map(|a| ir::Workload::name_of(&workload.network, *a));
            Resource::Workload(name.unwrap_or_default(), Arc::new(workload))
        }
    })
}

/// An address as Envoy writes it.
pub(crate) fn socket(address: std::net::SocketAddr) -> varka_proto::envoy::core::Address {
    value::address(address)
}

/// A version that is equal for equal resources and, but for one in 2^64, differs for different ones: the same in every
/// replica of one build of the control plane.
pub fn version(resource: &Resource) -> Str {
    let mut hash = Hash(std::hash::DefaultHasher::new());
    // A writer that never fails, and values that all have a JSON form.
    let _ = serde_json::to_writer(&mut hash, resource);
    format!("{:016x}", hash.0.finish()).into()
}

struct Hash(std::hash::DefaultHasher);

impl std::io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
