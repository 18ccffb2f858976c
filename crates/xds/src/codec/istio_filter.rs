//! Istio's own filters: peer metadata, metadata exchange over TCP, statistics. A stock Envoy does not have them.
//!
//! Configurations come as Istio's control plane sends them: `stats.PluginConfig` as a message, the others as [`TypedStruct`].

use varka_engine::ir::{MetricOverride, PeerMetadata, Stats, Str};
use varka_proto::istio::stats::{MetricConfig, PluginConfig};
use varka_proto::protobuf::{Any, Struct, Value};
use varka_proto::udpa::TypedStruct;

use super::refusal::{At, Decoded, open};
use super::value::{
    as_list, bool_field, duration, list_value, object, object_value, string_value, strings, strs, to_duration,
};
use super::wire::{pack, type_name};

pub(super) const STATS: &str = "istio.stats";
pub(super) const PEER_METADATA: &str = "envoy.filters.http.peer_metadata";
pub(super) const METADATA_EXCHANGE: &str = "istio.metadata_exchange";
const PEER_METADATA_TYPE: &str = "type.googleapis.com/io.istio.http.peer_metadata.Config";
const METADATA_EXCHANGE_TYPE: &str = "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange";
/// ALPN on which peers exchange metadata over TCP.
const PEER_EXCHANGE: &str = "istio-peer-exchange";

const DOWNSTREAM: [&str; 2] = ["downstream_discovery", "downstream_propagation"];
const UPSTREAM: [&str; 2] = ["upstream_discovery", "upstream_propagation"];

// --- statistics

pub(super) fn encode_stats(s: &Stats) -> Any {
    let metric = |m: &MetricOverride| MetricConfig {
        dimensions: m.dimensions.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        name: m.name.to_string(),
        tags_to_remove: strings(&m.tags_to_remove),
        r#match: String::new(),
        drop: m.drop,
    };
    pack(&PluginConfig {
        disable_host_header_fallback: s.disable_host_header_fallback,
        tcp_reporting_duration: s.tcp_reporting_interval.map(duration),
        metrics: s.metrics.iter().map(metric).collect(),
        ..Default::default()
    })
}

pub(super) fn decode_stats(at: &At<'_>, config: PluginConfig) -> Decoded<Stats> {
    open!(at, config => PluginConfig { disable_host_header_fallback, tcp_reporting_duration, metrics, reporter }
        refuse { definitions, rotation_interval, graceful_deletion_interval });
    if reporter != 0 {
        return Err(at.not_implemented("reporter SERVER_GATEWAY"));
    }
    Ok(Stats {
        disable_host_header_fallback,
        tcp_reporting_interval: at.maybe("tcp_reporting_duration", tcp_reporting_duration, to_duration)?,
        metrics: at.each("metrics", metrics, |at, m| {
            open!(at, m => MetricConfig { dimensions, name, tags_to_remove, drop } refuse { r#match });
            let mut dimensions: Vec<(Str, Str)> =
                dimensions.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            dimensions.sort();
            Ok(MetricOverride { name: name.into(), drop, dimensions, tags_to_remove: strs(tags_to_remove) })
        })?,
    })
}

// --- metadata over TCP

pub(super) fn encode_exchange() -> Any {
    let value = object([("protocol", string_value(PEER_EXCHANGE)), ("enable_discovery", bool_field(true))]);
    pack(&TypedStruct { type_url: METADATA_EXCHANGE_TYPE.to_owned(), value: Some(value) })
}

/// Whether it is metadata exchange, on the one ALPN that is known.
pub(super) fn is_exchange(at: &At<'_>, typed: &TypedStruct) -> Decoded<bool> {
    if type_name(&typed.type_url) != type_name(METADATA_EXCHANGE_TYPE) {
        return Ok(false);
    }
    only_keys(at, typed.value.as_ref(), &["protocol", "enable_discovery"])?;
    let protocol = typed.value.as_ref().and_then(|v| super::value::as_text(v.fields.get("protocol")));
    if protocol != Some(PEER_EXCHANGE) {
        return Err(at.not_implemented("a protocol other than istio-peer-exchange"));
    }
    Ok(true)
}

// --- metadata in HTTP headers

pub(super) fn encode_peer_metadata(p: PeerMetadata) -> Any {
    let headers = || object_value(object([("istio_headers", object_value(Struct::default()))]));
    let lookup = || object_value(object([("workload_discovery", object_value(Struct::default()))]));
    let side = |names: [&'static str; 2]| {
        let [discovery, propagation] = names;
        [(discovery, list_value(vec![headers(), lookup()])), (propagation, list_value(vec![headers()]))]
    };
    let sides = [(p.downstream, DOWNSTREAM), (p.upstream, UPSTREAM)];
    let value = object(sides.into_iter().filter(|(on, _)| *on).flat_map(|(_, names)| side(names)));
    pack(&TypedStruct { type_url: PEER_METADATA_TYPE.to_owned(), value: Some(value) })
}

/// `None`: it is another filter.
pub(super) fn decode_peer_metadata(at: &At<'_>, typed: &TypedStruct) -> Decoded<Option<PeerMetadata>> {
    if type_name(&typed.type_url) != type_name(PEER_METADATA_TYPE) {
        return Ok(None);
    }
    let [down, down_too] = DOWNSTREAM;
    let [up, up_too] = UPSTREAM;
    only_keys(at, typed.value.as_ref(), &[down, down_too, up, up_too])?;
    let methods = |key: &str| as_list(typed.value.as_ref().and_then(|v| v.fields.get(key))).map_or(0, <[Value]>::len);
    Ok(Some(PeerMetadata { downstream: methods(down) > 0, upstream: methods(up) > 0 }))
}

/// Refuses members of an object that are not among `keys`.
fn only_keys(at: &At<'_>, value: Option<&Struct>, keys: &[&str]) -> Decoded<()> {
    match value.and_then(|v| v.fields.keys().find(|k| !keys.contains(&k.as_str()))) {
        Some(key) => Err(at.not_implemented(key)),
        None => Ok(()),
    }
}
