//! Listeners and filter chains.

use serde_json::{Value, json};
use varka_engine::ir::{
    ConnectionFilters, FilterChain, FilterChainMatch, HashKey, Listener, NetworkFilter, SourceType, TcpProxy, Terminal,
    TrafficDirection, TransportProtocol,
};

use super::message::{Message, extension, socket_address};
use super::{filter, http, matching, tls};

pub(super) fn listener(l: &Listener) -> Message {
    let message = Message::new()
        .text("name", &l.name)
        .set("address", socket_address(l.address))
        .list("filter_chains", l.filter_chains.iter().map(chain))
        .optional("default_filter_chain", l.default_filter_chain.as_ref().map(chain))
        .set("use_original_dst", if l.use_original_dst { true.into() } else { Value::Null })
        .list("listener_filters", listener_filters(&l.inspect))
        .duration("listener_filters_timeout", l.inspect.timeout)
        .flag("continue_on_listener_filters_timeout", l.inspect.continue_on_timeout)
        .text(
            "traffic_direction",
            match l.direction {
                TrafficDirection::Inbound => "INBOUND",
                TrafficDirection::Outbound => "OUTBOUND",
                TrafficDirection::Unspecified => "",
            },
        )
        .list("access_log", l.access_log.iter().map(http::access_log));
    if l.bind_to_port { message } else { message.always("bind_to_port", false.into()) }
}

fn listener_filters(inspect: &ConnectionFilters) -> Vec<Message> {
    let all = [
        (inspect.original_dst, "original_dst", "original_dst.v3.OriginalDst", false),
        (inspect.proxy_protocol, "proxy_protocol", "proxy_protocol.v3.ProxyProtocol", false),
        (inspect.tls, "tls_inspector", "tls_inspector.v3.TlsInspector", true),
        (inspect.http, "http_inspector", "http_inspector.v3.HttpInspector", true),
    ];
    let disabled = inspect
        .disabled_ports
        .iter()
        .map(|port| json!({"destination_port_range": {"start": port, "end": u32::from(*port) + 1}}));
    let disabled = match disabled.collect::<Vec<_>>().as_slice() {
        [] => Value::Null,
        [one] => one.clone(),
        several => json!({"or_match": {"rules": several}}),
    };
    all.into_iter()
        .filter(|(on, ..)| *on)
        .map(|(_, name, kind, reads)| {
            let kind = format!("envoy.extensions.filters.listener.{kind}");
            let filter = extension(&format!("envoy.filters.listener.{name}"), &kind, Message::new());
            if reads { filter.set("filter_disabled", disabled.clone()) } else { filter }
        })
        .collect()
}

fn chain(c: &FilterChain) -> Message {
    let terminal = match &c.terminal {
        Terminal::Http(manager) => http::manager(manager),
        Terminal::Tcp(proxy) => tcp_proxy(proxy),
    };
    Message::new()
        .set("filter_chain_match", chain_match(&c.matches).value())
        .list("filters", c.filters.iter().map(network_filter).chain([terminal]))
        .optional("transport_socket", c.tls.as_ref().map(tls::downstream))
        .duration("transport_socket_connect_timeout", c.handshake_timeout)
        .text("name", &c.name)
}

fn chain_match(m: &FilterChainMatch) -> Message {
    Message::new()
        .number("destination_port", m.destination_port.unwrap_or(0).into())
        .list("prefix_ranges", m.destination_prefixes.iter().map(matching::cidr))
        .texts("server_names", &m.server_names)
        .text(
            "transport_protocol",
            match m.transport_protocol {
                Some(TransportProtocol::Tls) => "tls",
                Some(TransportProtocol::RawBuffer) => "raw_buffer",
                None => "",
            },
        )
        .texts("application_protocols", &m.application_protocols)
        .list("source_prefix_ranges", m.source_prefixes.iter().map(matching::cidr))
        .text(
            "source_type",
            match m.source_type {
                SourceType::Any => "",
                SourceType::SameIpOrLoopback => "SAME_IP_OR_LOOPBACK",
                SourceType::External => "EXTERNAL",
            },
        )
}

fn network_filter(f: &NetworkFilter) -> Message {
    match f {
        NetworkFilter::Rbac(rbac) => extension(
            "envoy.filters.network.rbac",
            "envoy.extensions.filters.network.rbac.v3.RBAC",
            filter::rbac(rbac).text("stat_prefix", &rbac.stat_prefix),
        ),
        NetworkFilter::MetadataExchange => extension(
            "istio.metadata_exchange",
            "envoy.tcp.metadataexchange.config.MetadataExchange",
            Message::new().text("protocol", "istio-peer-exchange"),
        ),
        NetworkFilter::Stats(s) => extension("istio.stats", "stats.PluginConfig", filter::stats(s)),
        NetworkFilter::SniDynamicForwardProxy(port) => extension(
            "envoy.filters.network.sni_dynamic_forward_proxy",
            "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig",
            Message::new().number("port_value", (*port).into()),
        ),
    }
}

fn tcp_proxy(p: &TcpProxy) -> Message {
    let message = Message::new().text("stat_prefix", &p.stat_prefix);
    let message = match p.clusters.as_slice() {
        [only] => message.text("cluster", &only.cluster),
        several => {
            let weighted =
                several.iter().map(|w| Message::new().text("name", &w.cluster).number("weight", w.weight.into()));
            message.message("weighted_clusters", Message::new().list("clusters", weighted))
        }
    };
    let hashes = p.hash_policy.iter().filter(|h| h.key == HashKey::SourceIp);
    let config = message
        .duration("idle_timeout", p.idle_timeout)
        .duration("max_downstream_connection_duration", p.max_connection_duration)
        .optional(
            "tunneling_config",
            p.tunnel.as_ref().map(|t| Message::new().text("hostname", &t.hostname).flag("use_post", t.post)),
        )
        .list("hash_policy", hashes.map(|_| Message::new().message("source_ip", Message::new())))
        .list("access_log", p.access_log.iter().map(http::access_log));
    extension("envoy.filters.network.tcp_proxy", "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", config)
}
