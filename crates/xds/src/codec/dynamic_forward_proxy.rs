//! Clusters and filters that resolve the host which a request or a connection names. All share one cache of addresses, whose
//! settings must be the same wherever it is named.

use varka_proto::envoy::cluster::cluster::{CustomClusterType, DnsLookupFamily};
use varka_proto::envoy::dynamic_forward_proxy::{ClusterConfig, cluster_config::ClusterImplementationSpecifier};
use varka_proto::envoy::dynamic_forward_proxy_cache::DnsCacheConfig;
use varka_proto::envoy::http_filter::dynamic_forward_proxy as http;
use varka_proto::envoy::network_filter::sni_dynamic_forward_proxy as sni;
use varka_proto::protobuf::Any;

use super::refusal::{At, Decoded, open};
use super::tls::ByHost;
use super::value::port;
use super::wire::{holds, pack, unpack};

pub(super) const HTTP: &str = "envoy.filters.http.dynamic_forward_proxy";
pub(super) const SNI: &str = "envoy.filters.network.sni_dynamic_forward_proxy";
const CLUSTER: &str = "envoy.clusters.dynamic_forward_proxy";

fn cache() -> DnsCacheConfig {
    DnsCacheConfig {
        name: "dynamic_dns".to_owned(),
        dns_lookup_family: DnsLookupFamily::V4Preferred.into(),
        ..Default::default()
    }
}

/// How many hosts are kept, for how long, and addresses of which family come first is decided by the resolver here.
fn decode_cache(at: &At<'_>, c: DnsCacheConfig) -> Decoded<()> {
    open!(at, c => DnsCacheConfig { }
        refuse { use_tcp_for_dns_lookups, dns_resolution_config, typed_dns_resolver_config, preresolve_hostnames,
            key_value_config, resolved_address_filter }
        harmless { name, dns_lookup_family, dns_refresh_rate, dns_min_refresh_rate, host_ttl, max_hosts,
            disable_dns_refresh_on_failure, dns_failure_refresh_rate, dns_cache_circuit_breaker, dns_query_timeout });
    Ok(())
}

/// The type of a cluster.
pub(super) fn encode_cluster(by_host: ByHost) -> CustomClusterType {
    let config = ClusterConfig {
        // Envoy wants a reason for TLS that does not follow the host, and for none.
        allow_insecure_cluster_options: !(by_host.sni && by_host.san),
        cluster_implementation_specifier: Some(ClusterImplementationSpecifier::DnsCacheConfig(cache())),
        ..Default::default()
    };
    CustomClusterType { name: CLUSTER.to_owned(), typed_config: Some(pack(&config)) }
}

pub(super) fn decode_cluster(at: &At<'_>, custom: CustomClusterType) -> Decoded<()> {
    let CustomClusterType { name, typed_config } = custom;
    let Some(config) = typed_config.filter(holds::<ClusterConfig>) else { return Err(at.not_implemented(name)) };
    let at = &at.field("typed_config");
    open!(at, unpack(at, &config)? => ClusterConfig { cluster_implementation_specifier }
        refuse { allow_coalesced_connections } harmless { allow_insecure_cluster_options });
    match cluster_implementation_specifier {
        Some(ClusterImplementationSpecifier::DnsCacheConfig(c)) => decode_cache(&at.field("dns_cache_config"), c),
        _ => Err(at.not_implemented("anything but dns_cache_config")),
    }
}

/// The HTTP filter.
pub(super) fn encode_http() -> Any {
    pack(&http::FilterConfig {
        implementation_specifier: Some(http::filter_config::ImplementationSpecifier::DnsCacheConfig(cache())),
        ..Default::default()
    })
}

pub(super) fn decode_http(at: &At<'_>, config: http::FilterConfig) -> Decoded<()> {
    open!(at, config => http::FilterConfig { implementation_specifier }
        refuse { save_upstream_address, allow_dynamic_host_from_filter_state });
    match implementation_specifier {
        Some(http::filter_config::ImplementationSpecifier::DnsCacheConfig(c)) => {
            decode_cache(&at.field("dns_cache_config"), c)
        }
        _ => Err(at.not_implemented("anything but dns_cache_config")),
    }
}

/// The network filter.
pub(super) fn encode_sni(port: u16) -> Any {
    pack(&sni::FilterConfig {
        dns_cache_config: Some(cache()),
        port_specifier: Some(sni::filter_config::PortSpecifier::PortValue(port.into())),
        ..Default::default()
    })
}

/// The port to dial.
pub(super) fn decode_sni(at: &At<'_>, config: sni::FilterConfig) -> Decoded<u16> {
    open!(at, config => sni::FilterConfig { dns_cache_config, port_specifier } refuse { save_upstream_address });
    let cache = at.need("dns_cache_config", dns_cache_config)?;
    decode_cache(&at.field("dns_cache_config"), cache)?;
    let sni::filter_config::PortSpecifier::PortValue(value) = at.need("port_value", port_specifier)?;
    port(&at.field("port_value"), value)
}
