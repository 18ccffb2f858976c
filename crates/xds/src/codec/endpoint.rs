//! Endpoints: where a cluster's connections go.

use std::net::{IpAddr, SocketAddr};

use varka_engine::ir::{ClusterLoadAssignment, Endpoint, HealthStatus, Locality, LocalityEndpoints, Str};
use varka_proto::envoy::core;
use varka_proto::envoy::endpoint::{self as pb, cluster_load_assignment::Policy, lb_endpoint::HostIdentifier};

use super::refusal::{At, Decoded, open};
use super::route::ISTIO;
use super::value::{
    address, as_text, host_address, member, namespace, non_empty, object, string_value, text, to_host_port, u32_or,
    u32_value,
};

/// Namespace of what `Cluster.transport_socket_matches` asks for.
const TRANSPORT_SOCKET_MATCH: &str = "envoy.transport_socket_match";
pub(super) const TLS_MODE: &str = "tlsMode";
const WORKLOAD: &str = "workload";

pub(super) fn encode(a: &ClusterLoadAssignment) -> pb::ClusterLoadAssignment {
    pb::ClusterLoadAssignment {
        cluster_name: a.cluster_name.to_string(),
        endpoints: a.localities.iter().map(encode_locality).collect(),
        ..Default::default()
    }
}

pub(super) fn decode(at: &At<'_>, a: pb::ClusterLoadAssignment) -> Decoded<ClusterLoadAssignment> {
    open!(at, a => pb::ClusterLoadAssignment { cluster_name, endpoints, policy } refuse { named_endpoints });
    if let Some(policy) = policy {
        // Istio sends the over-provisioning factor that is the default.
        let at = &at.field("policy");
        open!(at, policy => Policy { overprovisioning_factor }
            refuse { drop_overloads, endpoint_stale_after, weighted_priority_health });
        if u32_or(overprovisioning_factor, DEFAULT_OVERPROVISIONING) != DEFAULT_OVERPROVISIONING {
            return Err(at.not_implemented("an overprovisioning_factor other than 140"));
        }
    }
    Ok(ClusterLoadAssignment {
        cluster_name: cluster_name.into(),
        localities: at.each("endpoints", endpoints, decode_locality)?,
    })
}

/// Percent; a priority is full while its healthy endpoints times this reach 100.
const DEFAULT_OVERPROVISIONING: u32 = 140;

fn encode_locality(l: &LocalityEndpoints) -> pb::LocalityLbEndpoints {
    pb::LocalityLbEndpoints {
        locality: (l.locality != Locality::default()).then(|| core::Locality {
            region: l.locality.region.to_string(),
            zone: l.locality.zone.to_string(),
            sub_zone: l.locality.sub_zone.to_string(),
        }),
        priority: l.priority,
        load_balancing_weight: l.weight.map(u32_value),
        lb_endpoints: l.endpoints.iter().filter_map(encode_endpoint).collect(),
        ..Default::default()
    }
}

fn decode_locality(at: &At<'_>, l: pb::LocalityLbEndpoints) -> Decoded<LocalityEndpoints> {
    open!(at, l => pb::LocalityLbEndpoints { locality, lb_endpoints, load_balancing_weight, priority }
        refuse { proximity, lb_config } harmless { metadata });
    let locality =
        locality.map(|l| Locality { region: l.region.into(), zone: l.zone.into(), sub_zone: l.sub_zone.into() });
    Ok(LocalityEndpoints {
        locality: locality.unwrap_or_default(),
        priority,
        weight: load_balancing_weight.map(|w| w.value),
        endpoints: at.each("lb_endpoints", lb_endpoints, decode_endpoint)?,
    })
}

/// `None`: there is neither an address nor a name to dial.
fn encode_endpoint(e: &Endpoint) -> Option<pb::LbEndpoint> {
    let (socket, hostname) = match (e.address, &e.host) {
        (Some(socket), host) => (address(socket), text(host.as_ref().map(|(name, _)| name))),
        (None, Some((name, port))) => (host_address(name.to_string(), *port), String::new()),
        (None, None) => return None,
    };
    let health = match e.health {
        HealthStatus::Unknown => core::HealthStatus::Unknown,
        HealthStatus::Healthy => core::HealthStatus::Healthy,
        HealthStatus::Unhealthy => core::HealthStatus::Unhealthy,
        HealthStatus::Draining => core::HealthStatus::Draining,
    };
    let entry = |space: &str, key: &str, value: &Str| (space.to_owned(), object([(key, string_value(value))]));
    let metadata: std::collections::HashMap<_, _> = [
        e.tls_mode.as_ref().map(|mode| entry(TRANSPORT_SOCKET_MATCH, TLS_MODE, mode)),
        e.workload.as_ref().map(|workload| entry(ISTIO, WORKLOAD, workload)),
    ]
    .into_iter()
    .flatten()
    .collect();
    Some(pb::LbEndpoint {
        health_status: health.into(),
        metadata: (!metadata.is_empty()).then(|| core::Metadata { filter_metadata: metadata, ..Default::default() }),
        load_balancing_weight: (e.weight != 1).then(|| u32_value(e.weight)),
        host_identifier: Some(HostIdentifier::Endpoint(pb::Endpoint {
            address: Some(socket),
            hostname,
            ..Default::default()
        })),
    })
}

fn decode_endpoint(at: &At<'_>, e: pb::LbEndpoint) -> Decoded<Endpoint> {
    open!(at, e => pb::LbEndpoint { health_status, metadata, load_balancing_weight, host_identifier });
    let health = match member(&at.field("health_status"), health_status)? {
        core::HealthStatus::Unknown => HealthStatus::Unknown,
        core::HealthStatus::Healthy => HealthStatus::Healthy,
        core::HealthStatus::Unhealthy | core::HealthStatus::Timeout => HealthStatus::Unhealthy,
        core::HealthStatus::Draining => HealthStatus::Draining,
        core::HealthStatus::Degraded => return Err(at.not_implemented("health_status DEGRADED")),
    };
    let endpoint = match at.need("endpoint", host_identifier)? {
        HostIdentifier::Endpoint(endpoint) => endpoint,
        HostIdentifier::EndpointName(_) => return Err(at.not_implemented("endpoint_name")),
    };
    let at_endpoint = &at.field("endpoint");
    // Where Envoy's health checker asks (there are none here), and a name for statistics.
    open!(at_endpoint, endpoint => pb::Endpoint { address, hostname }
        refuse { additional_addresses } harmless { health_check_config, observability_name });
    let (name, port) = to_host_port(&at_endpoint.field("address"), at_endpoint.need("address", address)?)?;
    let (address, host) = match name.parse::<IpAddr>() {
        Ok(ip) => (Some(SocketAddr::new(ip, port)), non_empty(hostname).map(|name| (name, port))),
        Err(_) if hostname.is_empty() || hostname == name => (None, Some((name.into(), port))),
        Err(_) => return Err(at_endpoint.not_implemented("a hostname beside a host name as address")),
    };
    Ok(Endpoint {
        address,
        host,
        weight: u32_or(load_balancing_weight, 1),
        health,
        tls_mode: metadata_text(metadata.as_ref(), TRANSPORT_SOCKET_MATCH, TLS_MODE),
        workload: metadata_text(metadata.as_ref(), ISTIO, WORKLOAD),
    })
}

fn metadata_text(metadata: Option<&core::Metadata>, space: &str, key: &str) -> Option<Str> {
    namespace(metadata, space).and_then(|m| as_text(m.get(key)).map(Str::from))
}
