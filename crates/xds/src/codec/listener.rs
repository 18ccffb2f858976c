//! Listeners, filter chains and what they match.

use varka_engine::ir::{
    ConnectionFilters, FilterChain, FilterChainMatch, Listener, SourceType, Terminal, TrafficDirection,
    TransportProtocol,
};
use varka_proto::envoy::listener::{
    self as pb,
    filter_chain_match::ConnectionSourceType,
    listener_filter::ConfigType,
    listener_filter_chain_match_predicate::{MatchSet, Rule},
};
use varka_proto::envoy::{core, listener_filter, types};

use super::refusal::{At, Decoded, open};
use super::value::{
    address, bool_or, bool_value, cidr, duration, member, port, strings, strs, to_address, to_cidr, to_duration,
    u32_value,
};
use super::wire::{holds, pack, unpack};
use super::{Reader, access_log, network, tls};

/// Envoy's `listener_filters_timeout` where it is not given.
const DEFAULT_INSPECTION_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);

pub(super) fn encode(l: &Listener, reader: Reader) -> pb::Listener {
    let direction = match l.direction {
        TrafficDirection::Inbound => core::TrafficDirection::Inbound,
        TrafficDirection::Outbound => core::TrafficDirection::Outbound,
        TrafficDirection::Unspecified => core::TrafficDirection::Unspecified,
    };
    pb::Listener {
        name: l.name.to_string(),
        address: Some(address(l.address)),
        filter_chains: l.filter_chains.iter().map(|c| encode_chain(c, reader)).collect(),
        default_filter_chain: l.default_filter_chain.as_ref().map(|c| encode_chain(c, reader)),
        use_original_dst: l.use_original_dst.then(|| bool_value(true)),
        bind_to_port: (!l.bind_to_port).then(|| bool_value(false)),
        listener_filters: encode_filters(&l.inspect),
        // Envoy's zero is our "for ever"; Envoy's absence is 15 s.
        listener_filters_timeout: Some(duration(l.inspect.timeout.unwrap_or_default())),
        continue_on_listener_filters_timeout: l.inspect.continue_on_timeout,
        traffic_direction: direction.into(),
        access_log: l.access_log.iter().map(access_log::encode).collect(),
        ..Default::default()
    }
}

pub(super) fn decode(at: &At<'_>, l: pb::Listener) -> Decoded<Listener> {
    // Harmless: names of statistics and labels for people; how the kernel's queue is filled and emptied; what a change
    // drains; limits that only loosen Envoy's own; sockets are always shared between workers as far as they need it.
    open!(at, l => pb::Listener { name, address, filter_chains, default_filter_chain, use_original_dst, bind_to_port,
            listener_filters, listener_filters_timeout, continue_on_listener_filters_timeout, traffic_direction,
            access_log, transparent, freebind, deprecated_v1 }
        refuse { additional_addresses, fcds_config, filter_chain_matcher, per_connection_buffer_limit_bytes,
            per_connection_buffer_high_watermark_timeout, socket_options, tcp_fast_open_queue_length,
            udp_listener_config, api_listener, enable_mptcp, tcp_keepalive, listener_specifier }
        harmless { stat_prefix, stats_matcher, metadata, drain_type, connection_balance_config, reuse_port,
            enable_reuse_port, tcp_backlog_size, max_connections_to_accept_per_socket_event,
            ignore_global_conn_limit, bypass_overload_manager });
    at.off("transparent", transparent)?;
    at.off("freebind", freebind)?;
    let bind_to_port = match deprecated_v1 {
        Some(v1) => bool_or(bind_to_port.or(v1.bind_to_port), true),
        None => bool_or(bind_to_port, true),
    };
    let mut inspect = decode_filters(at, listener_filters)?;
    inspect.timeout = match at.maybe("listener_filters_timeout", listener_filters_timeout, to_duration)? {
        None => Some(DEFAULT_INSPECTION_TIMEOUT),
        Some(timeout) => Some(timeout).filter(|t| !t.is_zero()),
    };
    inspect.continue_on_timeout = continue_on_listener_filters_timeout;
    let direction = match member(&at.field("traffic_direction"), traffic_direction)? {
        core::TrafficDirection::Inbound => TrafficDirection::Inbound,
        core::TrafficDirection::Outbound => TrafficDirection::Outbound,
        core::TrafficDirection::Unspecified => TrafficDirection::Unspecified,
    };
    Ok(Listener {
        name: name.into(),
        address: to_address(&at.field("address"), at.need("address", address)?)?,
        bind_to_port,
        use_original_dst: bool_or(use_original_dst, false),
        direction,
        inspect,
        filter_chains: at.each("filter_chains", filter_chains, decode_chain)?,
        default_filter_chain: at.maybe("default_filter_chain", default_filter_chain, decode_chain)?,
        access_log: at.each("access_log", access_log, access_log::decode)?,
    })
}

// --- listener filters

fn encode_filters(inspect: &ConnectionFilters) -> Vec<pb::ListenerFilter> {
    let filter = |name: &str, config| pb::ListenerFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
        filter_disabled: None,
    };
    let inspector = |name: &str, config| pb::ListenerFilter {
        filter_disabled: encode_ports(&inspect.disabled_ports),
        ..filter(name, config)
    };
    let mut filters = Vec::new();
    if inspect.original_dst {
        filters.push(filter("envoy.filters.listener.original_dst", pack(&original_dst())));
    }
    if inspect.proxy_protocol {
        let config = listener_filter::proxy_protocol::ProxyProtocol::default();
        filters.push(filter("envoy.filters.listener.proxy_protocol", pack(&config)));
    }
    if inspect.tls {
        let config = listener_filter::tls_inspector::TlsInspector::default();
        filters.push(inspector("envoy.filters.listener.tls_inspector", pack(&config)));
    }
    if inspect.http {
        let config = listener_filter::http_inspector::HttpInspector::default();
        filters.push(inspector("envoy.filters.listener.http_inspector", pack(&config)));
    }
    filters
}

fn original_dst() -> listener_filter::original_dst::OriginalDst {
    listener_filter::original_dst::OriginalDst::default()
}

fn decode_filters(at: &At<'_>, filters: Vec<pb::ListenerFilter>) -> Decoded<ConnectionFilters> {
    use listener_filter::{http_inspector, original_dst, proxy_protocol, tls_inspector};
    let mut inspect = ConnectionFilters::default();
    let mut disabled: Option<Vec<u16>> = None;
    for (i, filter) in filters.into_iter().enumerate() {
        let at = &at.item("listener_filters", i);
        let pb::ListenerFilter { name, filter_disabled, config_type } = filter;
        let Some(ConfigType::TypedConfig(config)) = config_type else {
            return Err(at.not_implemented(format!("{name} without typed_config")));
        };
        let ports = decode_ports(&at.field("filter_disabled"), filter_disabled)?;
        let at_config = &at.field("typed_config");
        if holds::<tls_inspector::TlsInspector>(&config) {
            // How much of a ClientHello is read at a time, and fingerprints that nothing here reads.
            open!(at_config, unpack(at_config, &config)? => tls_inspector::TlsInspector { enable_ja3_fingerprinting,
                    enable_ja4_fingerprinting }
                refuse { close_connection_on_client_hello_parsing_errors, max_client_hello_size }
                harmless { initial_read_buffer_size });
            at_config.off("enable_ja3_fingerprinting", enable_ja3_fingerprinting)?;
            at_config.off("enable_ja4_fingerprinting", enable_ja4_fingerprinting)?;
            inspect.tls = true;
        } else if holds::<http_inspector::HttpInspector>(&config) {
            unpack::<http_inspector::HttpInspector>(at_config, &config)?;
            inspect.http = true;
        } else if !ports.is_empty() {
            return Err(at.not_implemented(format!("filter_disabled of {name}")));
        } else if holds::<original_dst::OriginalDst>(&config) {
            unpack::<original_dst::OriginalDst>(at_config, &config)?;
            inspect.original_dst = true;
            continue;
        } else if holds::<proxy_protocol::ProxyProtocol>(&config) {
            let config: proxy_protocol::ProxyProtocol = unpack(at_config, &config)?;
            open!(at_config, config => proxy_protocol::ProxyProtocol { }
                refuse { rules, allow_requests_without_proxy_protocol, pass_through_tlvs, disallowed_versions,
                    tlv_location } harmless { stat_prefix });
            inspect.proxy_protocol = true;
            continue;
        } else {
            return Err(at.not_implemented(name));
        }
        if disabled.get_or_insert_with(|| ports.clone()) != &ports {
            return Err(at.not_implemented("filter_disabled that differs between inspectors"));
        }
    }
    inspect.disabled_ports = disabled.unwrap_or_default();
    Ok(inspect)
}

/// "On any of these destination ports"; a set needs two rules, so a single port stands alone.
fn encode_ports(ports: &[u16]) -> Option<pb::ListenerFilterChainMatchPredicate> {
    let one = |port: &u16| pb::ListenerFilterChainMatchPredicate {
        rule: Some(Rule::DestinationPortRange(types::Int32Range {
            start: i32::from(*port),
            end: i32::from(*port) + 1,
        })),
    };
    match ports {
        [] => None,
        [port] => Some(one(port)),
        ports => {
            let rules = ports.iter().map(one).collect();
            Some(pb::ListenerFilterChainMatchPredicate { rule: Some(Rule::OrMatch(MatchSet { rules })) })
        }
    }
}

fn decode_ports(at: &At<'_>, predicate: Option<pb::ListenerFilterChainMatchPredicate>) -> Decoded<Vec<u16>> {
    match predicate.and_then(|p| p.rule) {
        None => Ok(Vec::new()),
        Some(Rule::DestinationPortRange(range)) => decode_port_range(at, range),
        Some(Rule::OrMatch(MatchSet { rules })) => {
            let mut ports = Vec::with_capacity(rules.len());
            for rule in rules {
                match rule.rule {
                    Some(Rule::DestinationPortRange(range)) => ports.extend(decode_port_range(at, range)?),
                    _ => return Err(at.not_implemented("a rule other than destination_port_range")),
                }
                if ports.len() > usize::from(u16::MAX) {
                    return Err(at.invalid("a list of more ports than there are", "a list of ports"));
                }
            }
            Ok(ports)
        }
        Some(_) => Err(at.not_implemented("a rule other than destination_port_range")),
    }
}

fn decode_port_range(at: &At<'_>, range: types::Int32Range) -> Decoded<Vec<u16>> {
    match (u16::try_from(range.start), u16::try_from(range.end - 1)) {
        (Ok(first), Ok(last)) if first <= last => Ok((first..=last).collect()),
        _ => Err(at.invalid(format_args!("{}..{}", range.start, range.end), "a range of ports")),
    }
}

// --- filter chains

fn encode_chain(c: &FilterChain, reader: Reader) -> pb::FilterChain {
    let mut filters: Vec<_> = c.filters.iter().filter_map(|f| network::encode(f, reader)).collect();
    filters.push(network::encode_terminal(&c.terminal, reader));
    pb::FilterChain {
        name: c.name.to_string(),
        filter_chain_match: (c.matches != FilterChainMatch::default()).then(|| encode_match(&c.matches)),
        filters,
        transport_socket: c.tls.as_ref().map(tls::encode_downstream),
        transport_socket_connect_timeout: c.handshake_timeout.map(duration),
        ..Default::default()
    }
}

fn decode_chain(at: &At<'_>, c: pb::FilterChain) -> Decoded<FilterChain> {
    // Metadata of a chain is for people.
    open!(at, c => pb::FilterChain { name, filter_chain_match, filters, transport_socket,
            transport_socket_connect_timeout, use_proxy_proto }
        harmless { metadata });
    at.off("use_proxy_proto", use_proxy_proto)?;
    let (filters, terminal) = decode_network_filters(at, filters)?;
    Ok(FilterChain {
        name: name.into(),
        matches: at.maybe("filter_chain_match", filter_chain_match, decode_match)?.unwrap_or_default(),
        tls: at.maybe("transport_socket", transport_socket, tls::decode_downstream)?.flatten(),
        filters,
        terminal,
        handshake_timeout: at.maybe(
            "transport_socket_connect_timeout",
            transport_socket_connect_timeout,
            to_duration,
        )?,
    })
}

/// All but the last filter look at a connection; the last one handles it.
fn decode_network_filters(
    at: &At<'_>,
    mut filters: Vec<pb::Filter>,
) -> Decoded<(Vec<varka_engine::ir::NetworkFilter>, Terminal)> {
    let last = at.need("filters", filters.pop())?;
    let index = filters.len();
    let filters = at.each("filters", filters, network::decode)?;
    Ok((filters, network::decode_terminal(&at.item("filters", index), last)?))
}

fn encode_match(m: &FilterChainMatch) -> pb::FilterChainMatch {
    let source_type = match m.source_type {
        SourceType::Any => ConnectionSourceType::Any,
        SourceType::SameIpOrLoopback => ConnectionSourceType::SameIpOrLoopback,
        SourceType::External => ConnectionSourceType::External,
    };
    let transport_protocol = match m.transport_protocol {
        None => "",
        Some(TransportProtocol::Tls) => "tls",
        Some(TransportProtocol::RawBuffer) => "raw_buffer",
    };
    pb::FilterChainMatch {
        destination_port: m.destination_port.map(|p| u32_value(p.into())),
        prefix_ranges: m.destination_prefixes.iter().map(cidr).collect(),
        server_names: strings(&m.server_names),
        transport_protocol: transport_protocol.to_owned(),
        application_protocols: strings(&m.application_protocols),
        source_prefix_ranges: m.source_prefixes.iter().map(cidr).collect(),
        source_type: source_type.into(),
        ..Default::default()
    }
}

fn decode_match(at: &At<'_>, m: pb::FilterChainMatch) -> Decoded<FilterChainMatch> {
    open!(at, m => pb::FilterChainMatch { destination_port, prefix_ranges, source_type, source_prefix_ranges,
            server_names, transport_protocol, application_protocols }
        refuse { address_suffix, suffix_len, direct_source_prefix_ranges, source_ports });
    let transport_protocol = match transport_protocol.as_str() {
        "" => None,
        "tls" => Some(TransportProtocol::Tls),
        "raw_buffer" => Some(TransportProtocol::RawBuffer),
        other => return Err(at.field("transport_protocol").not_implemented(other)),
    };
    let source_type = match member(&at.field("source_type"), source_type)? {
        ConnectionSourceType::Any => SourceType::Any,
        ConnectionSourceType::SameIpOrLoopback => SourceType::SameIpOrLoopback,
        ConnectionSourceType::External => SourceType::External,
    };
    Ok(FilterChainMatch {
        destination_port: at.maybe("destination_port", destination_port, |at, p| port(at, p.value))?,
        destination_prefixes: at.each("prefix_ranges", prefix_ranges, to_cidr)?,
        server_names: strs(server_names),
        transport_protocol,
        application_protocols: strs(application_protocols),
        source_prefixes: at.each("source_prefix_ranges", source_prefix_ranges, to_cidr)?,
        source_type,
    })
}
