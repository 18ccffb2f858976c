//! The small types that Envoy's messages share: durations, addresses, string matchers, percentages, JSON-like objects.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use varka_engine::ir::{self, Str, StringMatch};
use varka_proto::envoy::types::fractional_percent::DenominatorType;
use varka_proto::envoy::{core, matcher, types};
use varka_proto::protobuf::{self, BoolValue, Struct, UInt32Value, UInt64Value, Value, value::Kind};

use super::refusal::{At, Decoded, Reason, open};

// --- numbers and flags

pub(super) fn u32_value(value: u32) -> UInt32Value {
    UInt32Value { value }
}

pub(super) fn u64_value(value: u64) -> UInt64Value {
    UInt64Value { value }
}

pub(super) fn bool_value(value: bool) -> BoolValue {
    BoolValue { value }
}

/// The number in a wrapper, or its default.
pub(super) fn u32_or(value: Option<UInt32Value>, default: u32) -> u32 {
    value.map_or(default, |v| v.value)
}

/// The flag in a wrapper, or its default.
pub(super) fn bool_or(value: Option<BoolValue>, default: bool) -> bool {
    value.map_or(default, |v| v.value)
}

pub(super) fn port(at: &At<'_>, value: u32) -> Decoded<u16> {
    u16::try_from(value).map_err(|_| at.invalid(value, "a port"))
}

pub(super) fn status(at: &At<'_>, value: u32) -> Decoded<u16> {
    match u16::try_from(value) {
        Ok(status) if (100..1000).contains(&status) => Ok(status),
        _ => Err(at.invalid(value, "an HTTP status")),
    }
}

/// The member of an enumeration with this number.
pub(super) fn member<E: TryFrom<i32>>(at: &At<'_>, value: i32) -> Decoded<E> {
    E::try_from(value).map_err(|_| at.invalid(value, "a member of the enumeration"))
}

/// An empty string stands for absence.
pub(super) fn non_empty(text: String) -> Option<Str> {
    if text.is_empty() { None } else { Some(text.into()) }
}

pub(super) fn text(value: Option<&Str>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

pub(super) fn strings(values: &[Str]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

pub(super) fn strs(values: Vec<String>) -> Vec<Str> {
    values.into_iter().map(Into::into).collect()
}

// --- durations

/// Longest duration that protobuf can say, about 10,000 years.
const MAX_SECONDS: u64 = 315_576_000_000;

pub(super) fn duration(value: Duration) -> protobuf::Duration {
    protobuf::Duration {
        seconds: i64::try_from(value.as_secs().min(MAX_SECONDS)).unwrap_or_default(),
        nanos: i32::try_from(value.subsec_nanos()).unwrap_or_default(),
    }
}

pub(super) fn to_duration(at: &At<'_>, value: protobuf::Duration) -> Decoded<Duration> {
    match (u64::try_from(value.seconds), u32::try_from(value.nanos)) {
        (Ok(seconds @ 0..=MAX_SECONDS), Ok(nanos @ 0..=999_999_999)) => Ok(Duration::new(seconds, nanos)),
        _ => Err(at.invalid(format_args!("{}s {}ns", value.seconds, value.nanos), "a duration of zero or more")),
    }
}

// --- shares

/// A share in millionths.
pub(super) fn millionths(value: u32) -> types::FractionalPercent {
    types::FractionalPercent { numerator: value, denominator: DenominatorType::Million.into() }
}

pub(super) fn to_millionths(at: &At<'_>, value: types::FractionalPercent) -> Decoded<u32> {
    let factor = match member(at, value.denominator)? {
        DenominatorType::Hundred => 10_000,
        DenominatorType::TenThousand => 100,
        DenominatorType::Million => 1,
    };
    Ok(value.numerator.saturating_mul(factor).min(1_000_000))
}

/// A share in millionths, as percent.
pub(super) fn percent(millionths: u32) -> types::Percent {
    types::Percent { value: f64::from(millionths) / 10_000.0 }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie within 0 and 100")]
pub(super) fn percent_to_millionths(at: &At<'_>, percent: types::Percent) -> Decoded<u32> {
    if (0.0..=100.0).contains(&percent.value) {
        Ok((percent.value * 10_000.0).round() as u32)
    } else {
        Err(at.invalid(percent.value, "a percentage"))
    }
}

/// A share that the runtime could override in Envoy; here its default is its value.
pub(super) fn runtime_millionths(value: u32) -> core::RuntimeFractionalPercent {
    core::RuntimeFractionalPercent { default_value: Some(millionths(value)), runtime_key: String::new() }
}

/// `None`: always.
pub(super) fn to_runtime_millionths(at: &At<'_>, value: Option<core::RuntimeFractionalPercent>) -> Decoded<u32> {
    let Some(value) = value else { return Ok(1_000_000) };
    // There is no runtime layer that could override the default, so its key has no effect.
    open!(at, value => core::RuntimeFractionalPercent { default_value } harmless { runtime_key });
    match default_value {
        Some(value) => to_millionths(at, value),
        None => Ok(0),
    }
}

// --- addresses

pub(super) fn address(value: SocketAddr) -> core::Address {
    host_address(value.ip().to_string(), value.port())
}

/// An address whose host may be a name.
pub(super) fn host_address(host: String, port: u16) -> core::Address {
    let socket = core::SocketAddress {
        address: host,
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.into())),
        ..Default::default()
    };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}

/// Host, as text, and port.
pub(super) fn to_host_port(at: &At<'_>, value: core::Address) -> Decoded<(String, u16)> {
    match at.need("address", value.address)? {
        core::address::Address::SocketAddress(socket) => socket_address(&at.field("socket_address"), socket),
        core::address::Address::Pipe(_) => Err(at.not_implemented("pipe")),
        core::address::Address::EnvoyInternalAddress(_) => Err(at.not_implemented("envoy_internal_address")),
    }
}

pub(super) fn socket_address(at: &At<'_>, value: core::SocketAddress) -> Decoded<(String, u16)> {
    // `ipv4_compat` is how every dual-stack socket behaves here.
    open!(at, value => core::SocketAddress { address, port_specifier }
        refuse { protocol, resolver_name, network_namespace_filepath } harmless { ipv4_compat });
    match port_specifier {
        Some(core::socket_address::PortSpecifier::PortValue(p)) => Ok((address, port(&at.field("port_value"), p)?)),
        Some(core::socket_address::PortSpecifier::NamedPort(_)) => Err(at.not_implemented("named_port")),
        None => Ok((address, 0)),
    }
}

pub(super) fn to_address(at: &At<'_>, value: core::Address) -> Decoded<SocketAddr> {
    let (host, port) = to_host_port(at, value)?;
    Ok(SocketAddr::new(ip(at, &host)?, port))
}

pub(super) fn ip(at: &At<'_>, text: &str) -> Decoded<IpAddr> {
    text.parse().map_err(|_| at.invalid(text, "an IP address"))
}

pub(super) fn cidr(value: &IpNet) -> core::CidrRange {
    core::CidrRange { address_prefix: value.addr().to_string(), prefix_len: Some(u32_value(value.prefix_len().into())) }
}

pub(super) fn to_cidr(at: &At<'_>, value: core::CidrRange) -> Decoded<IpNet> {
    let address = ip(at, &value.address_prefix)?;
    let length = u32_or(value.prefix_len, 0);
    u8::try_from(length)
        .ok()
        .and_then(|length| IpNet::new(address, length).ok())
        .ok_or_else(|| at.invalid(length, "a prefix length of the address"))
}

// --- matchers

pub(super) fn regex(value: &ir::Regex) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: value.source().to_owned(), engine_type: None }
}

pub(super) fn to_regex(at: &At<'_>, value: matcher::RegexMatcher) -> Decoded<ir::Regex> {
    // The engine's type and size limit are obsolete in Envoy; the limit here is fixed.
    open!(at, value => matcher::RegexMatcher { regex } harmless { engine_type });
    ir::Regex::new(&regex).map_err(|e| {
        let error = e.to_string();
        let error = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        at.refuse(Reason::Regex { pattern: regex, error })
    })
}

pub(super) fn string_matcher(value: &StringMatch) -> matcher::StringMatcher {
    use matcher::string_matcher::MatchPattern;
    let (pattern, ignore_case) = match value {
        StringMatch::Exact { value, ignore_case } => (MatchPattern::Exact(value.to_string()), *ignore_case),
        StringMatch::Prefix { value, ignore_case } => (MatchPattern::Prefix(value.to_string()), *ignore_case),
        StringMatch::Suffix { value, ignore_case } => (MatchPattern::Suffix(value.to_string()), *ignore_case),
        StringMatch::Contains { value, ignore_case } => (MatchPattern::Contains(value.to_string()), *ignore_case),
        StringMatch::Regex(r) => (MatchPattern::SafeRegex(regex(r)), false),
    };
    matcher::StringMatcher { ignore_case, match_pattern: Some(pattern) }
}

pub(super) fn to_string_match(at: &At<'_>, value: matcher::StringMatcher) -> Decoded<StringMatch> {
    use matcher::string_matcher::MatchPattern;
    let matcher::StringMatcher { ignore_case, match_pattern } = value;
    Ok(match at.need("match_pattern", match_pattern)? {
        MatchPattern::Exact(v) => StringMatch::Exact { value: v.into(), ignore_case },
        MatchPattern::Prefix(v) => StringMatch::Prefix { value: v.into(), ignore_case },
        MatchPattern::Suffix(v) => StringMatch::Suffix { value: v.into(), ignore_case },
        MatchPattern::Contains(v) => StringMatch::Contains { value: v.into(), ignore_case },
        // Envoy ignores `ignore_case` for regular expressions.
        MatchPattern::SafeRegex(r) => StringMatch::Regex(to_regex(&at.field("safe_regex"), r)?),
        MatchPattern::Custom(c) => return Err(at.not_implemented(format!("custom matcher {}", c.name))),
    })
}

// --- configuration sources

/// "From this very stream".
pub(super) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource::default(),
        )),
        ..Default::default()
    }
}

/// Cluster by which a real Envoy reaches the process beside it that holds its workload's key.
pub const OWN_SECRETS_CLUSTER: &str = "sds-grpc";

/// Where a real Envoy gets its workload's own certificate and trust anchors. Our proxy has them itself.
pub(super) fn beside() -> core::ConfigSource {
    let service = core::GrpcService {
        target_specifier: Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(core::grpc_service::EnvoyGrpc {
            cluster_name: OWN_SECRETS_CLUSTER.to_owned(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let source = core::ApiConfigSource {
        api_type: core::api_config_source::ApiType::Grpc.into(),
        transport_api_version: core::ApiVersion::V3.into(),
        grpc_services: vec![service],
        set_node_on_first_message_only: true,
        ..Default::default()
    };
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        // Without a certificate there is nothing to serve: it is waited for.
        initial_fetch_timeout: Some(varka_proto::protobuf::Duration::default()),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::ApiConfigSource(source)),
        ..Default::default()
    }
}

/// Refuses every source but this stream.
pub(super) fn is_ads(at: &At<'_>, value: Option<core::ConfigSource>) -> Decoded<()> {
    use core::config_source::ConfigSourceSpecifier as Source;
    // How long Envoy waits for the first answer; here traffic waits with a limit of its own. Version 3 is all there is.
    open!(at, at.need("config_source", value)? => core::ConfigSource { config_source_specifier }
        refuse { authorities } harmless { initial_fetch_timeout, resource_api_version });
    match config_source_specifier {
        Some(Source::Ads(_) | Source::Self_(_)) => Ok(()),
        _ => Err(at.not_implemented("a source other than ads")),
    }
}

// --- data

/// Text or bytes that are part of the message.
pub(super) fn to_inline(at: &At<'_>, value: core::DataSource) -> Decoded<Vec<u8>> {
    use core::data_source::Specifier;
    open!(at, value => core::DataSource { specifier } refuse { watched_directory });
    match at.need("specifier", specifier)? {
        Specifier::InlineBytes(bytes) => Ok(bytes),
        Specifier::InlineString(text) => Ok(text.into_bytes()),
        Specifier::Filename(_) => Err(at.not_implemented("filename")),
        Specifier::EnvironmentVariable(_) => Err(at.not_implemented("environment_variable")),
    }
}

pub(super) fn to_inline_text(at: &At<'_>, value: core::DataSource) -> Decoded<String> {
    String::from_utf8(to_inline(at, value)?).map_err(|_| at.invalid("the value", "UTF-8 text"))
}

// --- JSON-like objects

pub(super) fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Struct {
    Struct { fields: fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect() }
}

pub(super) fn string_value(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

/// A truth value.
pub(super) fn bool_field(value: bool) -> Value {
    Value { kind: Some(protobuf::value::Kind::BoolValue(value)) }
}

pub(super) fn object_value(value: Struct) -> Value {
    Value { kind: Some(Kind::StructValue(value)) }
}

pub(super) fn list_value(values: Vec<Value>) -> Value {
    Value { kind: Some(Kind::ListValue(protobuf::ListValue { values })) }
}

/// The text in a value, if it is text.
pub(super) fn as_text(value: Option<&Value>) -> Option<&str> {
    match value?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

/// The elements of a list, if it is one.
pub(super) fn as_list(value: Option<&Value>) -> Option<&[Value]> {
    match value?.kind.as_ref()? {
        Kind::ListValue(list) => Some(&list.values),
        _ => None,
    }
}

/// The members of an object, if it is one.
pub(super) fn as_object(value: &Value) -> Option<&HashMap<String, Value>> {
    match value.kind.as_ref()? {
        Kind::StructValue(object) => Some(&object.fields),
        _ => None,
    }
}

/// Metadata under one namespace.
pub(super) fn metadata(namespace: &str, value: Struct) -> core::Metadata {
    core::Metadata { filter_metadata: HashMap::from([(namespace.to_owned(), value)]), ..Default::default() }
}

/// The object under a namespace of metadata. What lies under other namespaces are labels for people and other proxies.
pub(super) fn namespace(value: Option<&core::Metadata>, name: &str) -> Option<HashMap<String, Value>> {
    value?.filter_metadata.get(name).map(|s| s.fields.clone())
}
