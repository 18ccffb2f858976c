//! Network filters: RBAC, Istio's two, and the terminal ones.

use varka_engine::ir::{HashKey, HashPolicy, NetworkFilter, TcpProxy, TcpTunnel, Terminal, WeightedCluster};
use varka_proto::envoy::listener::{Filter, filter::ConfigType};
use varka_proto::envoy::network_filter::{
    http_connection_manager, rbac as rbac_filter, sni_dynamic_forward_proxy, tcp_proxy as pb,
};
use varka_proto::envoy::types;
use varka_proto::istio::stats::PluginConfig;
use varka_proto::protobuf::Any;
use varka_proto::udpa::TypedStruct;

use super::refusal::{At, Decoded, open};
use super::value::{duration, to_duration};
use super::wire::{holds, pack, unpack};
use super::{Reader, access_log, dynamic_forward_proxy, hcm, istio_filter, rbac};

const RBAC: &str = "envoy.filters.network.rbac";
const TCP_PROXY: &str = "envoy.filters.network.tcp_proxy";
const HTTP: &str = "envoy.filters.network.http_connection_manager";

fn filter(name: &str, config: Any) -> Filter {
    Filter { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(config)) }
}

/// `None`: the reader does not have the filter.
pub(super) fn encode(f: &NetworkFilter, reader: Reader) -> Option<Filter> {
    match (f, reader) {
        (NetworkFilter::Rbac(r), _) => Some(filter(RBAC, pack(&rbac::encode_network(r)))),
        (NetworkFilter::SniDynamicForwardProxy(port), _) => {
            Some(filter(dynamic_forward_proxy::SNI, dynamic_forward_proxy::encode_sni(*port)))
        }
        (NetworkFilter::MetadataExchange | NetworkFilter::Stats(_), Reader::StockEnvoy) => None,
        (NetworkFilter::MetadataExchange, Reader::Istio) => {
            Some(filter(istio_filter::METADATA_EXCHANGE, istio_filter::encode_exchange()))
        }
        (NetworkFilter::Stats(s), Reader::Istio) => Some(filter(istio_filter::STATS, istio_filter::encode_stats(s))),
    }
}

fn config(at: &At<'_>, name: &str, config_type: Option<ConfigType>) -> Decoded<Any> {
    match config_type {
        Some(ConfigType::TypedConfig(config)) => Ok(config),
        _ => Err(at.not_implemented(format!("{name} without typed_config"))),
    }
}

pub(super) fn decode(at: &At<'_>, f: Filter) -> Decoded<NetworkFilter> {
    let Filter { name, config_type } = f;
    let config = config(at, &name, config_type)?;
    let at_config = &at.field("typed_config");
    if holds::<rbac_filter::Rbac>(&config) {
        return Ok(NetworkFilter::Rbac(rbac::decode_network(at_config, unpack(at_config, &config)?)?));
    }
    if holds::<sni_dynamic_forward_proxy::FilterConfig>(&config) {
        let port = dynamic_forward_proxy::decode_sni(at_config, unpack(at_config, &config)?)?;
        return Ok(NetworkFilter::SniDynamicForwardProxy(port));
    }
    if holds::<PluginConfig>(&config) {
        return Ok(NetworkFilter::Stats(istio_filter::decode_stats(at_config, unpack(at_config, &config)?)?));
    }
    if holds::<TypedStruct>(&config) && istio_filter::is_exchange(at_config, &unpack(at_config, &config)?)? {
        return Ok(NetworkFilter::MetadataExchange);
    }
    Err(at.not_implemented(name))
}

pub(super) fn encode_terminal(t: &Terminal, reader: Reader) -> Filter {
    match t {
        Terminal::Http(manager) => filter(HTTP, pack(&hcm::encode(manager, reader))),
        Terminal::Tcp(proxy) => filter(TCP_PROXY, pack(&encode_tcp(proxy))),
    }
}

pub(super) fn decode_terminal(at: &At<'_>, f: Filter) -> Decoded<Terminal> {
    let Filter { name, config_type } = f;
    let config = config(at, &name, config_type)?;
    let at_config = &at.field("typed_config");
    if holds::<http_connection_manager::HttpConnectionManager>(&config) {
        Ok(Terminal::Http(Box::new(hcm::decode(at_config, unpack(at_config, &config)?)?)))
    } else if holds::<pb::TcpProxy>(&config) {
        Ok(Terminal::Tcp(decode_tcp(at_config, unpack(at_config, &config)?)?))
    } else {
        Err(at.not_implemented(format!("{name} as last filter")))
    }
}

fn encode_tcp(t: &TcpProxy) -> pb::TcpProxy {
    let cluster_specifier = match t.clusters.as_slice() {
        [one] => pb::tcp_proxy::ClusterSpecifier::Cluster(one.cluster.to_string()),
        several => {
            let clusters = several
                .iter()
                .map(|c| pb::tcp_proxy::weighted_cluster::ClusterWeight {
                    name: c.cluster.to_string(),
                    weight: c.weight,
                    metadata_match: None,
                })
                .collect();
            pb::tcp_proxy::ClusterSpecifier::WeightedClusters(pb::tcp_proxy::WeightedCluster { clusters })
        }
    };
    let by_source = t.hash_policy.iter().any(|p| p.key == HashKey::SourceIp);
    let policy = types::hash_policy::PolicySpecifier::SourceIp(types::hash_policy::SourceIp::default());
    pb::TcpProxy {
        stat_prefix: t.stat_prefix.to_string(),
        cluster_specifier: Some(cluster_specifier),
        // Envoy's zero is our "never"; Envoy's absence is one hour.
        idle_timeout: Some(duration(t.idle_timeout.unwrap_or_default())),
        max_downstream_connection_duration: t.max_connection_duration.map(duration),
        access_log: t.access_log.iter().map(access_log::encode).collect(),
        tunneling_config: t.tunnel.as_ref().map(|t| pb::tcp_proxy::TunnelingConfig {
            hostname: t.hostname.to_string(),
            use_post: t.post,
            ..Default::default()
        }),
        hash_policy: by_source.then_some(types::HashPolicy { policy_specifier: Some(policy) }).into_iter().collect(),
        ..Default::default()
    }
}

/// Envoy's `idle_timeout` of a TCP proxy where it is not given.
const DEFAULT_IDLE_TIMEOUT: std::time::Duration = std::time::Duration::from_hours(1);

fn decode_tcp(at: &At<'_>, t: pb::TcpProxy) -> Decoded<TcpProxy> {
    open!(at, t => pb::TcpProxy { stat_prefix, cluster_specifier, idle_timeout, max_downstream_connection_duration,
            access_log, hash_policy, max_connect_attempts, check_drain_close, tunneling_config }
        refuse { on_demand, metadata_match, downstream_idle_timeout, upstream_idle_timeout, backoff_options,
            max_downstream_connection_duration_jitter_percentage, access_log_flush_interval,
            flush_access_log_on_connected, access_log_options, proxy_protocol_tlvs,
            proxy_protocol_tlv_merge_policy, upstream_connect_mode, max_early_data_bytes });
    if max_connect_attempts.is_some_and(|n| n.value != 1) {
        return Err(at.not_implemented("max_connect_attempts other than 1"));
    }
    at.off("check_drain_close", check_drain_close)?;
    let clusters = match at.need("cluster", cluster_specifier)? {
        pb::tcp_proxy::ClusterSpecifier::Cluster(name) => vec![WeightedCluster { cluster: name.into(), weight: 1 }],
        pb::tcp_proxy::ClusterSpecifier::WeightedClusters(w) => {
            at.field("weighted_clusters").each("clusters", w.clusters, |at, c| {
                open!(at, c => pb::tcp_proxy::weighted_cluster::ClusterWeight { name, weight } refuse { metadata_match });
                Ok(WeightedCluster { cluster: name.into(), weight })
            })?
        }
    };
    let idle_timeout = match at.maybe("idle_timeout", idle_timeout, to_duration)? {
        None => Some(DEFAULT_IDLE_TIMEOUT),
        Some(timeout) => Some(timeout).filter(|t| !t.is_zero()),
    };
    Ok(TcpProxy {
        stat_prefix: stat_prefix.into(),
        clusters,
        idle_timeout,
        max_connection_duration: at.maybe(
            "max_downstream_connection_duration",
            max_downstream_connection_duration,
            to_duration,
        )?,
        access_log: at.each("access_log", access_log, access_log::decode)?,
        hash_policy: at.each("hash_policy", hash_policy, |at, p| match p.policy_specifier {
            Some(types::hash_policy::PolicySpecifier::SourceIp(_)) => {
                Ok(HashPolicy { key: HashKey::SourceIp, terminal: false })
            }
            _ => Err(at.not_implemented("a key other than source_ip")),
        })?,
        tunnel: at.maybe("tunneling_config", tunneling_config, decode_tunnel)?,
    })
}

fn decode_tunnel(at: &At<'_>, t: pb::tcp_proxy::TunnelingConfig) -> Decoded<TcpTunnel> {
    open!(at, t => pb::tcp_proxy::TunnelingConfig { hostname, use_post }
        refuse { headers_to_add, propagate_response_headers, post_path, propagate_response_trailers,
            request_id_extension, request_id_header, request_id_metadata_key, formatters });
    if hostname.contains('%') {
        return Err(at.not_implemented("a hostname with command operators"));
    }
    Ok(TcpTunnel { hostname: hostname.into(), post: use_post })
}
