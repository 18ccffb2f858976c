//! Clusters: discovery, balancing, limits, and the transport to endpoints.

use std::time::Duration;

use varka_engine::ir::{
    Cluster, ClusterLoadAssignment, Discovery, LbPolicy, SlowStart, Str, TcpKeepalive, TransportSocketMatch,
    UpstreamTls,
};
use varka_proto::envoy::cluster::{
    self as pb, UpstreamConnectionOptions,
    cluster::{
        self as parts, ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig, LbConfig,
        LbPolicy as PbLbPolicy, common_lb_config::LocalityConfigSpecifier,
    },
};
use varka_proto::envoy::{core, types};
use varka_proto::protobuf::Struct;
use varka_proto::udpa::TypedStruct;

use super::endpoint::TLS_MODE;
use super::refusal::{At, Decoded, open};
use super::route::ISTIO;
use super::tls::ByHost;
use super::value::{
    ads, as_list, as_object, as_text, duration, ip, is_ads, list_value, member, metadata, namespace, object,
    object_value, port, socket_address, string_value, to_duration, u32_or, u32_value, u64_value,
};
use super::wire::{holds, unpack};
use super::{Reader, cluster_limits, dynamic_forward_proxy, endpoint, istio_filter, tls, upstream_http};

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Percent.
const DEFAULT_PANIC_THRESHOLD: u8 = 50;
const DEFAULT_MIN_RING_SIZE: u64 = 1024;
const DEFAULT_MAGLEV_TABLE: u64 = 65_537;
const DEFAULT_CHOICES: u32 = 2;
/// Envoy wants a name for what the runtime could override.
const AGGRESSION_KEY: &str = "slow_start.aggression";
const SERVICES: &str = "services";
const ALPN_OVERRIDE: &str = "alpn_override";
/// Trust anchors of the mesh.
const MESH_ROOTS: &str = "ROOTCA";

#[expect(deprecated, reason = "the successor of the DNS refresh rate needs a cluster type of its own")]
pub(super) fn encode(c: &Cluster, reader: Reader) -> pb::Cluster {
    let mut out = pb::Cluster {
        name: c.name.to_string(),
        connect_timeout: Some(duration(c.connect_timeout)),
        circuit_breakers: Some(cluster_limits::encode_breakers(c.circuit_breakers, c.retry_budget)),
        outlier_detection: c.outlier.as_ref().map(cluster_limits::encode_outlier),
        transport_socket_matches: c.transport_matches.iter().map(|m| encode_match(m, c.proxy_protocol)).collect(),
        transport_socket: tls::encode_upstream(c.tls.as_ref(), c.proxy_protocol),
        typed_extension_protocol_options: upstream_http::encode(&c.http, by_host(c)),
        upstream_bind_config: c.bind_source.map(|ip| core::BindConfig {
            source_address: Some(core::SocketAddress {
                address: ip.to_string(),
                port_specifier: Some(core::socket_address::PortSpecifier::PortValue(0)),
                ..Default::default()
            }),
            ..Default::default()
        }),
        upstream_connection_options: c
            .tcp_keepalive
            .map(|k| UpstreamConnectionOptions { tcp_keepalive: Some(encode_keepalive(k)), ..Default::default() }),
        common_lb_config: Some(CommonLbConfig {
            healthy_panic_threshold: Some(types::Percent { value: c.panic_threshold.into() }),
            locality_config_specifier: c
                .locality_weighted
                .then(|| LocalityConfigSpecifier::LocalityWeightedLbConfig(Default::default())),
            ..Default::default()
        }),
        metadata: encode_metadata(c),
        dns_refresh_rate: c.dns_refresh.map(duration),
        filters: (c.metadata_exchange && reader == Reader::Istio).then(exchange_filter).into_iter().collect(),
        ..Default::default()
    };
    encode_lb(c, &mut out);
    encode_discovery(c, &mut out);
    out
}

pub(super) fn decode(at: &At<'_>, c: pb::Cluster) -> Decoded<Cluster> {
    // Harmless: names of statistics; what of DNS the resolver here decides itself (addresses of both families are used);
    // when an unused connection pool or a changed cluster is tidied up.
    open!(at, c => pb::Cluster { name, transport_socket_matches, eds_cluster_config, connect_timeout, lb_policy,
            load_assignment, circuit_breakers, typed_extension_protocol_options, dns_refresh_rate, outlier_detection,
            upstream_bind_config, common_lb_config, transport_socket, metadata, upstream_connection_options,
            cluster_discovery_type, lb_config, filters }
        refuse { transport_socket_matcher, per_connection_buffer_limit_bytes,
            per_connection_buffer_high_watermark_timeout, health_checks, max_requests_per_connection,
            upstream_http_protocol_options, common_http_protocol_options, http_protocol_options,
            http2_protocol_options, dns_resolvers, use_tcp_for_dns_lookups, dns_resolution_config,
            typed_dns_resolver_config, lb_subset_config, protocol_selection,
            close_connections_on_host_health_failure, load_balancing_policy, upstream_config,
            preconnect_policy, connection_pool_per_downstream_connection, queuing_policies }
        harmless { alt_stat_name, stats_matcher, dns_jitter, dns_failure_refresh_rate, respect_dns_ttl,
            dns_lookup_family, wait_for_warm_on_init, cleanup_interval, ignore_health_on_host_removal, lrs_server,
            lrs_report_endpoint_metrics, track_timeout_budgets, track_cluster_stats });
    let http = upstream_http::decode(at, typed_extension_protocol_options)?;
    let mut transport = Transport { by_host: http.by_host, proxy_protocol: None };
    let transport_matches =
        at.each("transport_socket_matches", transport_socket_matches, |at, m| transport.decode_match(at, m))?;
    let tls = match transport_socket {
        None => transport.plain(at)?,
        Some(socket) => transport.decode(&at.field("transport_socket"), socket)?,
    };
    let breakers = at.maybe("circuit_breakers", circuit_breakers, cluster_limits::decode_breakers)?;
    let (circuit_breakers, retry_budget) = breakers.unwrap_or(cluster_limits::ENVOY_DEFAULT);
    let lb = decode_lb(at, lb_policy, lb_config.as_ref())?;
    let slow_start = decode_slow_start(at, lb_config.as_ref())?;
    let discovery = decode_discovery(
        at,
        &name,
        cluster_discovery_type,
        Sources { eds: eds_cluster_config, assignment: load_assignment, lb: lb_config },
    )?;
    let common = at.maybe("common_lb_config", common_lb_config, decode_common_lb)?;
    let (panic_threshold, locality_weighted) = common.unwrap_or((DEFAULT_PANIC_THRESHOLD, false));
    let services = decode_metadata(at, metadata.as_ref(), tls.as_ref())?;
    Ok(Cluster {
        name: name.into(),
        discovery,
        lb,
        connect_timeout: at.maybe("connect_timeout", connect_timeout, to_duration)?.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
        circuit_breakers,
        outlier: at.maybe("outlier_detection", outlier_detection, cluster_limits::decode_outlier)?,
        transport_matches,
        tls,
        http: http.options,
        bind_source: at.maybe("upstream_bind_config", upstream_bind_config, decode_bind)?,
        tcp_keepalive: at
            .maybe("upstream_connection_options", upstream_connection_options, decode_connection)?
            .flatten(),
        panic_threshold,
        locality_weighted,
        slow_start,
        proxy_protocol: transport.proxy_protocol,
        retry_budget,
        services,
        dns_refresh: at.maybe("dns_refresh_rate", dns_refresh_rate, to_duration)?,
        metadata_exchange: !at.each("filters", filters, decode_filter)?.is_empty(),
    })
}

fn exchange_filter() -> pb::Filter {
    pb::Filter {
        name: istio_filter::METADATA_EXCHANGE.to_owned(),
        typed_config: Some(istio_filter::encode_exchange()),
        ..Default::default()
    }
}

/// The one filter of upstream connections that is known.
fn decode_filter(at: &At<'_>, f: pb::Filter) -> Decoded<()> {
    open!(at, f => pb::Filter { name, typed_config } refuse { config_discovery });
    let config = at.need("typed_config", typed_config)?;
    let at_config = &at.field("typed_config");
    if holds::<TypedStruct>(&config) && istio_filter::is_exchange(at_config, &unpack(at_config, &config)?)? {
        return Ok(());
    }
    Err(at.not_implemented(name))
}

// --- discovery

fn encode_discovery(c: &Cluster, out: &mut pb::Cluster) {
    let kind = match &c.discovery {
        Discovery::Eds { service_name } => {
            out.eds_cluster_config =
                Some(EdsClusterConfig { eds_config: Some(ads()), service_name: service_name.to_string() });
            DiscoveryType::Eds
        }
        Discovery::Static(assignment) => {
            out.load_assignment = Some(endpoint::encode(assignment));
            DiscoveryType::Static
        }
        Discovery::Dns { assignment, logical } => {
            out.load_assignment = Some(endpoint::encode(assignment));
            out.dns_lookup_family = parts::DnsLookupFamily::V4Preferred.into();
            if *logical { DiscoveryType::LogicalDns } else { DiscoveryType::StrictDns }
        }
        Discovery::DynamicForwardProxy => {
            let custom = dynamic_forward_proxy::encode_cluster(by_host(c));
            out.cluster_discovery_type = Some(ClusterDiscoveryType::ClusterType(custom));
            return;
        }
        Discovery::OriginalDst { use_http_header, port } => {
            let config = parts::OriginalDstLbConfig {
                use_http_header: *use_http_header,
                upstream_port_override: port.map(|p| u32_value(p.into())),
                ..Default::default()
            };
            if config != parts::OriginalDstLbConfig::default() {
                out.lb_config = Some(LbConfig::OriginalDstLbConfig(config));
            }
            DiscoveryType::OriginalDst
        }
    };
    out.cluster_discovery_type = Some(ClusterDiscoveryType::Type(kind.into()));
}

/// Where endpoints can come from.
struct Sources {
    eds: Option<EdsClusterConfig>,
    assignment: Option<varka_proto::envoy::endpoint::ClusterLoadAssignment>,
    lb: Option<LbConfig>,
}

fn decode_discovery(
    at: &At<'_>,
    name: &str,
    kind: Option<ClusterDiscoveryType>,
    sources: Sources,
) -> Decoded<Discovery> {
    let kind = match kind {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(kind)) => member(&at.field("type"), kind)?,
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            return dynamic_forward_proxy::decode_cluster(&at.field("cluster_type"), custom)
                .map(|()| Discovery::DynamicForwardProxy);
        }
    };
    let Sources { eds, assignment, lb } = sources;
    let assignment = at.maybe("load_assignment", assignment, endpoint::decode)?;
    if assignment.is_some() && matches!(kind, DiscoveryType::Eds | DiscoveryType::OriginalDst) {
        return Err(at.invalid("load_assignment", "a field of a cluster of this type"));
    }
    let given = || assignment.unwrap_or(ClusterLoadAssignment { cluster_name: name.into(), localities: Vec::new() });
    Ok(match kind {
        DiscoveryType::Static => Discovery::Static(given()),
        DiscoveryType::StrictDns => Discovery::Dns { assignment: given(), logical: false },
        DiscoveryType::LogicalDns => Discovery::Dns { assignment: given(), logical: true },
        DiscoveryType::Eds => {
            let at = &at.field("eds_cluster_config");
            let EdsClusterConfig { eds_config, service_name } = at.need("eds_cluster_config", eds)?;
            is_ads(&at.field("eds_config"), eds_config)?;
            let service_name = if service_name.is_empty() { name.into() } else { service_name.into() };
            Discovery::Eds { service_name }
        }
        DiscoveryType::OriginalDst => match lb {
            Some(LbConfig::OriginalDstLbConfig(config)) => {
                let at = &at.field("original_dst_lb_config");
                open!(at, config => parts::OriginalDstLbConfig { use_http_header, upstream_port_override }
                    refuse { http_header_name, metadata_key });
                let port = at.maybe("upstream_port_override", upstream_port_override, |at, p| port(at, p.value))?;
                Discovery::OriginalDst { use_http_header, port }
            }
            _ => Discovery::OriginalDst { use_http_header: false, port: None },
        },
    })
}

// --- balancing

fn encode_lb(c: &Cluster, out: &mut pb::Cluster) {
    let slow_start = c.slow_start.as_ref().map(encode_slow_start);
    let (policy, config) = match c.lb {
        LbPolicy::RoundRobin => {
            let config = parts::RoundRobinLbConfig { slow_start_config: slow_start };
            (
                PbLbPolicy::RoundRobin,
                Some(config).filter(|c| c.slow_start_config.is_some()).map(LbConfig::RoundRobinLbConfig),
            )
        }
        LbPolicy::LeastRequest { choices } => {
            let config = parts::LeastRequestLbConfig {
                choice_count: Some(u32_value(choices)),
                slow_start_config: slow_start,
                ..Default::default()
            };
            (PbLbPolicy::LeastRequest, Some(LbConfig::LeastRequestLbConfig(config)))
        }
        LbPolicy::Random => (PbLbPolicy::Random, None),
        LbPolicy::RingHash { min_size } => {
            let config = parts::RingHashLbConfig { minimum_ring_size: Some(u64_value(min_size)), ..Default::default() };
            (PbLbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(config)))
        }
        LbPolicy::Maglev { table_size } => {
            let config = parts::MaglevLbConfig { table_size: Some(u64_value(table_size)) };
            (PbLbPolicy::Maglev, Some(LbConfig::MaglevLbConfig(config)))
        }
        LbPolicy::ClusterProvided => (PbLbPolicy::ClusterProvided, None),
    };
    out.lb_policy = policy.into();
    out.lb_config = config;
}

fn decode_lb(at: &At<'_>, policy: i32, config: Option<&LbConfig>) -> Decoded<LbPolicy> {
    let policy = member(&at.field("lb_policy"), policy)?;
    let is_own = match config {
        None => true,
        Some(LbConfig::RoundRobinLbConfig(_)) => policy == PbLbPolicy::RoundRobin,
        Some(LbConfig::LeastRequestLbConfig(_)) => policy == PbLbPolicy::LeastRequest,
        Some(LbConfig::RingHashLbConfig(_)) => policy == PbLbPolicy::RingHash,
        Some(LbConfig::MaglevLbConfig(_)) => policy == PbLbPolicy::Maglev,
        Some(LbConfig::OriginalDstLbConfig(_)) => policy == PbLbPolicy::ClusterProvided,
    };
    if !is_own {
        return Err(at.invalid("lb_config", "that of the lb_policy"));
    }
    Ok(match policy {
        PbLbPolicy::RoundRobin => LbPolicy::RoundRobin,
        PbLbPolicy::LeastRequest => {
            let choices = match config {
                Some(LbConfig::LeastRequestLbConfig(config)) => {
                    let at = &at.field("least_request_lb_config");
                    open!(at, config.clone() => parts::LeastRequestLbConfig { choice_count }
                        refuse { active_request_bias } harmless { slow_start_config });
                    u32_or(choice_count, DEFAULT_CHOICES)
                }
                _ => DEFAULT_CHOICES,
            };
            LbPolicy::LeastRequest { choices }
        }
        PbLbPolicy::Random => LbPolicy::Random,
        PbLbPolicy::RingHash => {
            let min_size = match config {
                Some(LbConfig::RingHashLbConfig(config)) => {
                    let at = &at.field("ring_hash_lb_config");
                    open!(at, *config => parts::RingHashLbConfig { minimum_ring_size }
                        refuse { hash_function, maximum_ring_size });
                    minimum_ring_size.map_or(DEFAULT_MIN_RING_SIZE, |v| v.value)
                }
                _ => DEFAULT_MIN_RING_SIZE,
            };
            LbPolicy::RingHash { min_size }
        }
        PbLbPolicy::Maglev => {
            let table_size = match config {
                Some(LbConfig::MaglevLbConfig(config)) => config.table_size.map_or(DEFAULT_MAGLEV_TABLE, |v| v.value),
                _ => DEFAULT_MAGLEV_TABLE,
            };
            LbPolicy::Maglev { table_size }
        }
        PbLbPolicy::ClusterProvided => LbPolicy::ClusterProvided,
        PbLbPolicy::LoadBalancingPolicyConfig => {
            return Err(at.not_implemented("lb_policy LOAD_BALANCING_POLICY_CONFIG"));
        }
    })
}

fn encode_slow_start(s: &SlowStart) -> parts::SlowStartConfig {
    parts::SlowStartConfig {
        slow_start_window: Some(duration(s.window)),
        aggression: Some(core::RuntimeDouble { default_value: s.aggression, runtime_key: AGGRESSION_KEY.to_owned() }),
        min_weight_percent: Some(types::Percent { value: s.min_weight_percent }),
    }
}

fn decode_slow_start(at: &At<'_>, config: Option<&LbConfig>) -> Decoded<Option<SlowStart>> {
    let config = match config {
        Some(LbConfig::RoundRobinLbConfig(config)) => config.slow_start_config.clone(),
        Some(LbConfig::LeastRequestLbConfig(config)) => config.slow_start_config.clone(),
        _ => None,
    };
    at.maybe("slow_start_config", config, |at, s| {
        let parts::SlowStartConfig { slow_start_window, aggression, min_weight_percent } = s;
        let window = at.maybe("slow_start_window", slow_start_window, to_duration)?.unwrap_or_default();
        Ok(SlowStart {
            window,
            aggression: aggression.map_or(1.0, |a| a.default_value),
            min_weight_percent: min_weight_percent.map_or(10.0, |p| p.value),
        })
    })
}

/// Panic threshold, and whether localities are weighted.
fn decode_common_lb(at: &At<'_>, c: CommonLbConfig) -> Decoded<(u8, bool)> {
    // How long Envoy gathers changes of endpoints before it applies them.
    open!(at, c => CommonLbConfig { healthy_panic_threshold, locality_config_specifier }
        refuse { ignore_new_hosts_until_first_hc, close_connections_on_host_set_change,
            consistent_hashing_lb_config, override_host_status }
        harmless { update_merge_window });
    let threshold = at.maybe("healthy_panic_threshold", healthy_panic_threshold, whole_percent)?;
    let weighted = match locality_config_specifier {
        None => false,
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => true,
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(_)) => {
            return Err(at.not_implemented("zone_aware_lb_config"));
        }
    };
    Ok((threshold.unwrap_or(DEFAULT_PANIC_THRESHOLD), weighted))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and within 0 and 100")]
fn whole_percent(at: &At<'_>, percent: types::Percent) -> Decoded<u8> {
    if (0.0..=100.0).contains(&percent.value) && percent.value.fract() == 0.0 {
        Ok(percent.value as u8)
    } else {
        Err(at.invalid(percent.value, "a whole percentage"))
    }
}

// --- transport

fn by_host(c: &Cluster) -> ByHost {
    let mut all = c.transport_matches.iter().filter_map(|m| m.tls.as_ref()).chain(&c.tls);
    let sni = all.clone().any(|tls| tls.auto_sni);
    ByHost { sni, san: all.any(|tls| tls.auto_san) }
}

fn encode_match(m: &TransportSocketMatch, proxy_protocol: Option<u8>) -> parts::TransportSocketMatch {
    let asked = m.tls_mode.as_ref().map(|mode| object([(TLS_MODE, string_value(mode))]));
    parts::TransportSocketMatch {
        name: m.name.to_string(),
        r#match: Some(asked.unwrap_or_default()),
        transport_socket: Some(tls::encode_upstream(m.tls.as_ref(), proxy_protocol).unwrap_or_else(tls::raw_buffer)),
    }
}

/// The sockets of a cluster, which must agree on the PROXY header.
struct Transport {
    by_host: ByHost,
    proxy_protocol: Option<u8>,
}

impl Transport {
    fn decode(&mut self, at: &At<'_>, socket: core::TransportSocket) -> Decoded<Option<UpstreamTls>> {
        let (tls, version) = tls::decode_upstream(at, socket, self.by_host)?;
        self.proxy_protocol = self.proxy_protocol.or(version);
        if self.proxy_protocol == version {
            Ok(tls)
        } else {
            Err(at.not_implemented("a PROXY header on some sockets only"))
        }
    }

    /// No socket at all: plain text and no header.
    fn plain(&self, at: &At<'_>) -> Decoded<Option<UpstreamTls>> {
        match self.proxy_protocol {
            None => Ok(None),
            Some(_) => Err(at.not_implemented("a PROXY header on some sockets only")),
        }
    }

    fn decode_match(&mut self, at: &At<'_>, m: parts::TransportSocketMatch) -> Decoded<TransportSocketMatch> {
        let parts::TransportSocketMatch { name, r#match, transport_socket } = m;
        let Struct { fields } = r#match.unwrap_or_default();
        let tls_mode = match fields.iter().find(|(key, _)| *key != TLS_MODE) {
            Some((key, _)) => return Err(at.field("match").not_implemented(key.as_str())),
            None => as_text(fields.get(TLS_MODE)).map(Str::from),
        };
        if tls_mode.is_none() && !fields.is_empty() {
            return Err(at.field("match").invalid(TLS_MODE, "text"));
        }
        let tls = match transport_socket {
            None => self.plain(at)?,
            Some(socket) => self.decode(&at.field("transport_socket"), socket)?,
        };
        Ok(TransportSocketMatch { name: name.into(), tls_mode, tls })
    }
}

fn encode_keepalive(k: TcpKeepalive) -> core::TcpKeepalive {
    let seconds = |d: Duration| u32_value(u32::try_from(d.as_secs()).unwrap_or(u32::MAX));
    core::TcpKeepalive {
        keepalive_probes: k.probes.map(u32_value),
        keepalive_time: k.time.map(seconds),
        keepalive_interval: k.interval.map(seconds),
    }
}

fn decode_connection(at: &At<'_>, o: UpstreamConnectionOptions) -> Decoded<Option<TcpKeepalive>> {
    open!(at, o => UpstreamConnectionOptions { tcp_keepalive }
        refuse { set_local_interface_name_on_upstream_connections, happy_eyeballs_config });
    Ok(tcp_keepalive.map(|k| TcpKeepalive {
        probes: k.keepalive_probes.map(|v| v.value),
        time: k.keepalive_time.map(|v| Duration::from_secs(v.value.into())),
        interval: k.keepalive_interval.map(|v| Duration::from_secs(v.value.into())),
    }))
}

fn decode_bind(at: &At<'_>, b: core::BindConfig) -> Decoded<std::net::IpAddr> {
    // Istio adds the address of the other family; a connection of that family binds nothing here.
    open!(at, b => core::BindConfig { source_address, freebind }
        refuse { socket_options, additional_source_addresses, local_address_selector, extra_source_addresses }
        harmless { validate_network_namespaces });
    at.off("freebind", freebind)?;
    let at = &at.field("source_address");
    let (host, port) = socket_address(at, at.need("source_address", source_address)?)?;
    if port != 0 {
        return Err(at.not_implemented("a source port"));
    }
    ip(at, &host)
}

// --- metadata

/// What it is called, and whether the ALPN of the mesh is offered: only with the mesh's TLS.
fn encode_metadata(c: &Cluster) -> Option<core::Metadata> {
    let service = |(host, name, namespace): &(Str, Str, Str)| {
        object_value(object([
            ("host", string_value(host)),
            ("name", string_value(name)),
            ("namespace", string_value(namespace)),
        ]))
    };
    let services = (!c.services.is_empty()).then(|| (SERVICES, list_value(c.services.iter().map(service).collect())));
    let alpn = is_own_tls(c.tls.as_ref()).then(|| (ALPN_OVERRIDE, string_value("false")));
    let mut fields = services.into_iter().chain(alpn).peekable();
    fields.peek().is_some().then(|| metadata(ISTIO, object(fields)))
}

/// TLS that is not the mesh's.
fn is_own_tls(tls: Option<&UpstreamTls>) -> bool {
    tls.is_some_and(|tls| tls.validation.as_deref() != Some(MESH_ROOTS))
}

fn decode_metadata(
    at: &At<'_>,
    metadata: Option<&core::Metadata>,
    tls: Option<&UpstreamTls>,
) -> Decoded<Vec<(Str, Str, Str)>> {
    let Some(istio) = namespace(metadata, ISTIO) else { return Ok(Vec::new()) };
    if istio.contains_key(ALPN_OVERRIDE) && !(is_own_tls(tls) && as_text(istio.get(ALPN_OVERRIDE)) == Some("false")) {
        return Err(at.field("metadata").not_implemented("istio.alpn_override"));
    }
    let at = &at.field("metadata");
    as_list(istio.get(SERVICES))
        .unwrap_or_default()
        .iter()
        .map(|service| {
            let service = as_object(service);
            let field = |key| as_text(service.and_then(|s| s.get(key))).map(Str::from);
            match (field("host"), field("name"), field("namespace")) {
                (Some(host), Some(name), Some(namespace)) => Ok((host, name, namespace)),
                _ => Err(at.invalid("istio.services", "a list of host, name and namespace")),
            }
        })
        .collect()
}
