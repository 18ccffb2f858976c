//! HTTP filters, and what a route says to them: fault injection, cross-origin policy, RBAC, body limit.
//!
//! A filter is told by the type of its configuration, as Envoy does, not by its name. Istio's own filters come as
//! [`TypedStruct`]; a stock Envoy does not have them, so they are left out for it.

use std::collections::HashMap;

use varka_engine::ir::{AlpnOverride, Cors, Fault, FaultAbort, FaultDelay, HttpFilter, Rbac};
use varka_proto::envoy::http_filter::{
    buffer, common_fault, cors, dynamic_forward_proxy as pb_dynamic, ext_authz as authz_filter, fault, grpc_stats,
    jwt_authn, rbac as rbac_filter,
};
use varka_proto::envoy::network_filter::http_connection_manager::{self as pb, http_filter::ConfigType};
use varka_proto::istio::{alpn, stats};
use varka_proto::protobuf::Any;
use varka_proto::udpa::TypedStruct;

use super::refusal::{At, Decoded, open};
use super::value::{
    bool_or, bool_value, duration, millionths, runtime_millionths, status, string_matcher, strings, strs, to_duration,
    to_millionths, to_runtime_millionths, to_string_match, u32_value,
};
use super::wire::{holds, pack, type_name, unpack};
use super::{Reader, dynamic_forward_proxy, ext_authz, istio_filter, jwt, rbac};

const RBAC: &str = "envoy.filters.http.rbac";
const EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";
const JWT: &str = "envoy.filters.http.jwt_authn";
const FAULT: &str = "envoy.filters.http.fault";
const CORS: &str = "envoy.filters.http.cors";
const GRPC_STATS: &str = "envoy.filters.http.grpc_stats";
const BUFFER: &str = "envoy.filters.http.buffer";
const ALPN: &str = "istio.alpn";

pub(super) fn filter(name: &str, config: Any) -> pb::HttpFilter {
    pb::HttpFilter { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(config)), ..Default::default() }
}

/// `None`: the reader does not have the filter.
pub(super) fn encode(f: &HttpFilter, reader: Reader) -> Option<pb::HttpFilter> {
    Some(match (f, reader) {
        (HttpFilter::Alpn(_) | HttpFilter::PeerMetadata(_) | HttpFilter::Stats(_), Reader::StockEnvoy) => return None,
        (HttpFilter::Rbac(r), _) => filter(RBAC, pack(&rbac::encode_http(r))),
        (HttpFilter::ExtAuthz(a), _) => filter(EXT_AUTHZ, pack(&ext_authz::encode(a))),
        (HttpFilter::Jwt(j), _) => filter(JWT, pack(&jwt::encode(j))),
        (HttpFilter::Fault, _) => filter(FAULT, pack(&fault::HttpFault::default())),
        (HttpFilter::Cors, _) => filter(CORS, pack(&cors::Cors::default())),
        (HttpFilter::GrpcStats, _) => {
            let config = grpc_stats::FilterConfig { emit_filter_state: true, ..Default::default() };
            filter(GRPC_STATS, pack(&config))
        }
        (HttpFilter::Alpn(a), Reader::Istio) => filter(ALPN, pack(&encode_alpn(a))),
        (HttpFilter::PeerMetadata(p), Reader::Istio) => {
            filter(istio_filter::PEER_METADATA, istio_filter::encode_peer_metadata(*p))
        }
        (HttpFilter::Stats(s), Reader::Istio) => filter(istio_filter::STATS, istio_filter::encode_stats(s)),
        (HttpFilter::DynamicForwardProxy, _) => {
            filter(dynamic_forward_proxy::HTTP, dynamic_forward_proxy::encode_http())
        }
    })
}

pub(super) fn decode(at: &At<'_>, f: pb::HttpFilter) -> Decoded<HttpFilter> {
    // What is not known is refused even if the sender could do without it: it would not be told otherwise.
    open!(at, f => pb::HttpFilter { name, config_type } refuse { disabled } harmless { is_optional });
    let Some(ConfigType::TypedConfig(config)) = config_type else {
        return Err(at.not_implemented(format!("{name} without typed_config")));
    };
    let at_config = &at.field("typed_config");
    if holds::<rbac_filter::Rbac>(&config) {
        Ok(HttpFilter::Rbac(rbac::decode_http(at_config, unpack(at_config, &config)?)?))
    } else if holds::<authz_filter::ExtAuthz>(&config) {
        Ok(HttpFilter::ExtAuthz(Box::new(ext_authz::decode(at_config, unpack(at_config, &config)?)?)))
    } else if holds::<jwt_authn::JwtAuthentication>(&config) {
        Ok(HttpFilter::Jwt(Box::new(jwt::decode(at_config, unpack(at_config, &config)?)?)))
    } else if holds::<fault::HttpFault>(&config) {
        at.unset("a fault for all routes", &unpack::<fault::HttpFault>(at_config, &config)?)?;
        Ok(HttpFilter::Fault)
    } else if holds::<cors::Cors>(&config) {
        unpack::<cors::Cors>(at_config, &config)?;
        Ok(HttpFilter::Cors)
    } else if holds::<grpc_stats::FilterConfig>(&config) {
        // Names of Envoy's own statistics; what is counted here does not depend on it.
        open!(at_config, unpack(at_config, &config)? => grpc_stats::FilterConfig { }
            refuse { enable_upstream_stats }
            harmless { emit_filter_state, replace_dots_in_grpc_service_name, per_method_stat_specifier });
        Ok(HttpFilter::GrpcStats)
    } else if holds::<pb_dynamic::FilterConfig>(&config) {
        dynamic_forward_proxy::decode_http(at_config, unpack(at_config, &config)?)?;
        Ok(HttpFilter::DynamicForwardProxy)
    } else if holds::<alpn::FilterConfig>(&config) {
        Ok(HttpFilter::Alpn(decode_alpn(at_config, unpack(at_config, &config)?)?))
    } else if holds::<stats::PluginConfig>(&config) {
        Ok(HttpFilter::Stats(istio_filter::decode_stats(at_config, unpack(at_config, &config)?)?))
    } else if holds::<TypedStruct>(&config) {
        let peer = istio_filter::decode_peer_metadata(at_config, &unpack(at_config, &config)?)?;
        peer.map(HttpFilter::PeerMetadata).ok_or_else(|| at.not_implemented(name))
    } else {
        Err(at.not_implemented(name))
    }
}

// --- Istio's ALPN

fn encode_alpn(a: &AlpnOverride) -> alpn::FilterConfig {
    let entry = |protocol: alpn::Protocol, names: &[_]| alpn::AlpnOverride {
        upstream_protocol: protocol.into(),
        alpn_override: strings(names),
    };
    alpn::FilterConfig {
        alpn_override: vec![entry(alpn::Protocol::Http11, &a.http11), entry(alpn::Protocol::Http2, &a.http2)],
    }
}

fn decode_alpn(at: &At<'_>, config: alpn::FilterConfig) -> Decoded<AlpnOverride> {
    let mut out = AlpnOverride { http11: Vec::new(), http2: Vec::new() };
    for (i, entry) in config.alpn_override.into_iter().enumerate() {
        let names = strs(entry.alpn_override);
        match super::value::member(&at.item("alpn_override", i), entry.upstream_protocol)? {
            // HTTP/1.0 is never spoken to an upstream.
            alpn::Protocol::Http10 => {}
            alpn::Protocol::Http11 => out.http11 = names,
            alpn::Protocol::Http2 => out.http2 = names,
        }
    }
    Ok(out)
}

// --- what a route says to filters

/// What `typed_per_filter_config` of a route can hold.
#[derive(Default)]
pub(super) struct PerRoute {
    pub(super) fault: Option<Fault>,
    pub(super) cors: Option<Cors>,
    pub(super) rbac: Option<Rbac>,
    pub(super) max_request_bytes: Option<u64>,
}

pub(super) fn encode_per_route(
    fault: Option<&Fault>,
    cors: Option<&Cors>,
    rbac: Option<&Rbac>,
    max_request_bytes: Option<u64>,
) -> HashMap<String, Any> {
    let mut out = HashMap::new();
    if let Some(f) = fault {
        out.insert(FAULT.to_owned(), pack(&encode_fault(f)));
    }
    if let Some(c) = cors {
        out.insert(CORS.to_owned(), pack(&encode_cors(c)));
    }
    if let Some(r) = rbac {
        let config = rbac_filter::RbacPerRoute { rbac: Some(rbac::encode_http(r)) };
        out.insert(RBAC.to_owned(), pack(&config));
    }
    if let Some(bytes) = max_request_bytes {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let limit = buffer::Buffer { max_request_bytes: Some(u32_value(bytes)) };
        let config = buffer::BufferPerRoute { r#override: Some(buffer::buffer_per_route::Override::Buffer(limit)) };
        out.insert(BUFFER.to_owned(), pack(&config));
    }
    out
}

pub(super) fn decode_per_route(at: &At<'_>, config: HashMap<String, Any>) -> Decoded<PerRoute> {
    let mut out = PerRoute::default();
    for (name, any) in config {
        let at = &at.key("typed_per_filter_config", &name);
        if holds::<fault::HttpFault>(&any) {
            out.fault = Some(decode_fault(at, unpack(at, &any)?)?);
        } else if holds::<cors::CorsPolicy>(&any) {
            out.cors = Some(decode_cors(at, unpack(at, &any)?)?);
        } else if holds::<rbac_filter::RbacPerRoute>(&any) {
            let rbac_filter::RbacPerRoute { rbac } = unpack(at, &any)?;
            out.rbac = Some(rbac::decode_http(&at.field("rbac"), at.need("rbac", rbac)?)?);
        } else if holds::<buffer::BufferPerRoute>(&any) {
            let buffer::BufferPerRoute { r#override } = unpack(at, &any)?;
            out.max_request_bytes = match at.need("override", r#override)? {
                buffer::buffer_per_route::Override::Buffer(limit) => limit.max_request_bytes.map(|v| v.value.into()),
                buffer::buffer_per_route::Override::Disabled(_) => None,
            };
        } else {
            return Err(at.not_implemented(type_name(&any.type_url)));
        }
    }
    Ok(out)
}

fn encode_fault(f: &Fault) -> fault::HttpFault {
    let delay = f.delay.map(|d| common_fault::FaultDelay {
        percentage: Some(millionths(d.parts_per_million)),
        fault_delay_secifier: Some(common_fault::fault_delay::FaultDelaySecifier::FixedDelay(duration(d.duration))),
    });
    let abort = f.abort.map(|a| fault::FaultAbort {
        percentage: Some(millionths(a.parts_per_million)),
        error_type: Some(match a.grpc_status {
            Some(status) => fault::fault_abort::ErrorType::GrpcStatus(status),
            None => fault::fault_abort::ErrorType::HttpStatus(a.status.into()),
        }),
        ..Default::default()
    });
    fault::HttpFault { delay, abort, ..Default::default() }
}

/// A gRPC status is sent with this HTTP status.
const GRPC_HTTP_STATUS: u16 = 200;

fn decode_fault(at: &At<'_>, f: fault::HttpFault) -> Decoded<Fault> {
    // Runtime keys have no effect without a runtime layer.
    open!(at, f => fault::HttpFault { delay, abort }
        refuse { upstream_cluster, headers, downstream_nodes, max_active_faults, response_rate_limit }
        harmless { delay_percent_runtime, abort_percent_runtime, delay_duration_runtime, abort_http_status_runtime,
            max_active_faults_runtime, response_rate_limit_percent_runtime, abort_grpc_status_runtime,
            disable_downstream_cluster_stats, filter_metadata });
    let delay = at.maybe("delay", delay, |at, d| {
        let common_fault::FaultDelay { percentage, fault_delay_secifier } = d;
        match at.need("fixed_delay", fault_delay_secifier)? {
            common_fault::fault_delay::FaultDelaySecifier::FixedDelay(d) => Ok(FaultDelay {
                duration: to_duration(&at.field("fixed_delay"), d)?,
                parts_per_million: share(&at.field("percentage"), percentage)?,
            }),
            common_fault::fault_delay::FaultDelaySecifier::HeaderDelay(_) => Err(at.not_implemented("header_delay")),
        }
    })?;
    let abort = at.maybe("abort", abort, |at, a| {
        open!(at, a => fault::FaultAbort { percentage, error_type } refuse { response_body });
        let parts_per_million = share(&at.field("percentage"), percentage)?;
        match at.need("http_status", error_type)? {
            fault::fault_abort::ErrorType::HttpStatus(s) => {
                let status = status(&at.field("http_status"), s)?;
                Ok(FaultAbort { status, grpc_status: None, parts_per_million })
            }
            fault::fault_abort::ErrorType::GrpcStatus(s) => {
                Ok(FaultAbort { status: GRPC_HTTP_STATUS, grpc_status: Some(s), parts_per_million })
            }
            fault::fault_abort::ErrorType::HeaderAbort(_) => Err(at.not_implemented("header_abort")),
        }
    })?;
    Ok(Fault { delay, abort })
}

/// An absent share is none.
fn share(at: &At<'_>, value: Option<varka_proto::envoy::types::FractionalPercent>) -> Decoded<u32> {
    value.map_or(Ok(0), |v| to_millionths(at, v))
}

fn encode_cors(c: &Cors) -> cors::CorsPolicy {
    cors::CorsPolicy {
        allow_origin_string_match: c.origins.iter().map(string_matcher).collect(),
        allow_methods: c.methods.to_string(),
        allow_headers: c.headers.to_string(),
        expose_headers: c.expose_headers.to_string(),
        max_age: c.max_age.to_string(),
        allow_credentials: c.credentials.then(|| bool_value(true)),
        filter_enabled: Some(runtime_millionths(1_000_000)),
        forward_not_matching_preflights: Some(bool_value(c.forward_unmatched_preflights)),
        ..Default::default()
    }
}

fn decode_cors(at: &At<'_>, c: cors::CorsPolicy) -> Decoded<Cors> {
    open!(at, c => cors::CorsPolicy { allow_origin_string_match, allow_methods, allow_headers, expose_headers, max_age,
            allow_credentials, filter_enabled, allow_private_network_access, forward_not_matching_preflights }
        refuse { shadow_enabled });
    at.off("allow_private_network_access", allow_private_network_access)?;
    if to_runtime_millionths(&at.field("filter_enabled"), filter_enabled)? != 1_000_000 {
        return Err(at.not_implemented("filter_enabled other than always"));
    }
    Ok(Cors {
        origins: at.each("allow_origin_string_match", allow_origin_string_match, to_string_match)?,
        methods: allow_methods.into(),
        headers: allow_headers.into(),
        expose_headers: expose_headers.into(),
        max_age: max_age.into(),
        credentials: bool_or(allow_credentials, false),
        forward_unmatched_preflights: bool_or(forward_not_matching_preflights, true),
    })
}
