//! `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`: which HTTP is spoken to a cluster, and for how long on a connection.

use std::collections::HashMap;

use varka_engine::ir::{ClusterProtocol, HttpProtocolOptions};
use varka_proto::envoy::core;
use varka_proto::envoy::upstream_http::{
    self as pb,
    http_protocol_options::{
        ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig, explicit_http_config::ProtocolConfig,
    },
};
use varka_proto::protobuf::Any;

use super::hcm::{Http2, decode_http2};
use super::refusal::{At, Decoded, open};
use super::tls::ByHost;
use super::value::{duration, to_duration, u32_value};
use super::wire::{pack, unpack};

const KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// What the options say of a cluster.
#[derive(Default)]
pub(super) struct Decode {
    pub(super) options: HttpProtocolOptions,
    /// What of its TLS follows each request's Host.
    pub(super) by_host: ByHost,
}

pub(super) fn encode(o: &HttpProtocolOptions, by_host: ByHost) -> HashMap<String, Any> {
    if *o == HttpProtocolOptions::default() && by_host == ByHost::default() {
        return HashMap::new();
    }
    let http2 = core::Http2ProtocolOptions {
        max_concurrent_streams: o.max_concurrent_streams.map(u32_value),
        connection_keepalive: o.keepalive.map(|k| core::KeepaliveSettings {
            interval: Some(duration(k.interval)),
            timeout: Some(duration(k.timeout)),
            ..Default::default()
        }),
        ..Default::default()
    };
    let explicit =
        |config| UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(config) });
    let protocol = match o.protocol {
        ClusterProtocol::Http1 => explicit(ProtocolConfig::HttpProtocolOptions(Default::default())),
        ClusterProtocol::Http2 => explicit(ProtocolConfig::Http2ProtocolOptions(http2)),
        ClusterProtocol::Downstream => UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
            http_protocol_options: Some(Default::default()),
            http2_protocol_options: Some(http2),
            ..Default::default()
        }),
    };
    let common = core::HttpProtocolOptions {
        idle_timeout: o.idle_timeout.map(duration),
        max_connection_duration: o.max_connection_duration.map(duration),
        max_requests_per_connection: o.max_requests_per_connection.map(u32_value),
        ..Default::default()
    };
    let options = pb::HttpProtocolOptions {
        common_http_protocol_options: Some(common).filter(|c| *c != core::HttpProtocolOptions::default()),
        upstream_http_protocol_options: (by_host != ByHost::default()).then(|| core::UpstreamHttpProtocolOptions {
            auto_sni: by_host.sni,
            auto_san_validation: by_host.san,
            ..Default::default()
        }),
        upstream_protocol_options: Some(protocol),
        ..Default::default()
    };
    HashMap::from([(KEY.to_owned(), pack(&options))])
}

pub(super) fn decode(at: &At<'_>, options: HashMap<String, Any>) -> Decoded<Decode> {
    let mut out = Decode::default();
    for (key, any) in options {
        out = decode_options(&at.key("typed_extension_protocol_options", &key), &any)?;
    }
    Ok(out)
}

fn decode_options(at: &At<'_>, any: &Any) -> Decoded<Decode> {
    open!(at, unpack(at, any)? => pb::HttpProtocolOptions { common_http_protocol_options,
            upstream_http_protocol_options, upstream_protocol_options }
        refuse { http_filters, header_validation_config, outlier_detection, request_mirror_policies, hash_policy,
            retry_policy });
    let (protocol, http2) = decode_protocol(at, at.need("upstream_protocol_options", upstream_protocol_options)?)?;
    let mut options = HttpProtocolOptions {
        protocol,
        max_concurrent_streams: http2.streams,
        keepalive: http2.keepalive,
        ..Default::default()
    };
    if let Some(common) = common_http_protocol_options {
        let at = &at.field("common_http_protocol_options");
        open!(at, common => core::HttpProtocolOptions { idle_timeout, max_connection_duration,
                max_requests_per_connection }
            refuse { max_connection_duration_jitter, max_headers_count, max_response_headers_kb, max_stream_duration,
                headers_with_underscores_action });
        options.idle_timeout = at.maybe("idle_timeout", idle_timeout, to_duration)?;
        options.max_connection_duration = at.maybe("max_connection_duration", max_connection_duration, to_duration)?;
        options.max_requests_per_connection = max_requests_per_connection.map(|v| v.value);
    }
    let mut by_host = ByHost::default();
    if let Some(upstream) = upstream_http_protocol_options {
        let at = &at.field("upstream_http_protocol_options");
        open!(at, upstream => core::UpstreamHttpProtocolOptions { auto_sni, auto_san_validation }
            refuse { override_auto_sni_header });
        if auto_san_validation && !auto_sni {
            return Err(at.not_implemented("auto_san_validation without auto_sni"));
        }
        by_host = ByHost { sni: auto_sni, san: auto_san_validation };
    }
    Ok(Decode { options, by_host })
}

fn decode_protocol(at: &At<'_>, protocol: UpstreamProtocolOptions) -> Decoded<(ClusterProtocol, Http2)> {
    match protocol {
        UpstreamProtocolOptions::ExplicitHttpConfig(explicit) => {
            let at = &at.field("explicit_http_config");
            match at.need("protocol_config", explicit.protocol_config)? {
                ProtocolConfig::HttpProtocolOptions(options) => {
                    decode_http1(&at.field("http_protocol_options"), options)?;
                    Ok((ClusterProtocol::Http1, Http2::default()))
                }
                ProtocolConfig::Http2ProtocolOptions(options) => {
                    Ok((ClusterProtocol::Http2, decode_http2(&at.field("http2_protocol_options"), options)?))
                }
                ProtocolConfig::Http3ProtocolOptions(_) => Err(at.not_implemented("http3_protocol_options")),
            }
        }
        UpstreamProtocolOptions::UseDownstreamProtocolConfig(config) => {
            let at = &at.field("use_downstream_protocol_config");
            open!(at, config => UseDownstreamHttpConfig { http_protocol_options, http2_protocol_options }
                refuse { http3_protocol_options });
            at.maybe("http_protocol_options", http_protocol_options, decode_http1)?;
            let http2 = at.maybe("http2_protocol_options", http2_protocol_options, decode_http2)?;
            Ok((ClusterProtocol::Downstream, http2.unwrap_or_default()))
        }
        UpstreamProtocolOptions::AutoConfig(_) => Err(at.not_implemented("auto_config")),
    }
}

/// Nothing of HTTP/1 can be set towards a cluster.
fn decode_http1(at: &At<'_>, o: core::Http1ProtocolOptions) -> Decoded<()> {
    at.unset("http_protocol_options", &o)
}
