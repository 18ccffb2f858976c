//! What a route does with a request that it forwards: destinations, rewrites, time limits, retries, mirrors.

use std::time::Duration;

use varka_engine::ir::{
    HashKey, HashPolicy, Mirror, RetryBackOff, RetryOn, RetryPolicy, Rewrite, RouteAction, Str, Upgrade, WeightedRoute,
};
use varka_proto::envoy::route::{
    self as pb, retry_policy,
    route_action::{
        self, ClusterNotFoundResponseCode, ClusterSpecifier, HostRewriteSpecifier, MaxStreamDuration,
        RequestMirrorPolicy, UpgradeConfig,
        hash_policy::{self, PolicySpecifier},
    },
    weighted_cluster::{self, cluster_weight},
};
use varka_proto::envoy::{matcher, previous_hosts, previous_priorities};

use super::headers;
use super::refusal::{At, Decoded, open};
use super::route::{request, response};
use super::value::{
    bool_or, bool_value, duration, member, non_empty, regex, runtime_millionths, status, text, to_duration, to_regex,
    to_runtime_millionths, u32_or, u32_value,
};
use super::wire::{holds, pack, unpack};

/// Envoy's `timeout` where it is not given.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
const PREVIOUS_HOSTS: &str = "envoy.retry_host_predicates.previous_hosts";
const PREVIOUS_PRIORITIES: &str = "envoy.retry_priorities.previous_priorities";
/// Priorities are weighed anew after so many attempts; the value that Istio sends.
const PRIORITY_UPDATE_FREQUENCY: i32 = 2;

#[expect(
    deprecated,
    reason = "beside the field that replaces max_grpc_timeout, Envoy does not look at timeout any more"
)]
pub(super) fn encode(a: &RouteAction) -> pb::RouteAction {
    let not_found = match a.cluster_not_found_status {
        404 => ClusterNotFoundResponseCode::NotFound,
        500 => ClusterNotFoundResponseCode::InternalServerError,
        _ => ClusterNotFoundResponseCode::ServiceUnavailable,
    };
    let host_rewrite = match &a.rewrite.authority {
        Some(host) => Some(HostRewriteSpecifier::HostRewriteLiteral(host.to_string())),
        None => a.rewrite.auto_authority.then(|| HostRewriteSpecifier::AutoHostRewrite(bool_value(true))),
    };
    let upgrades = a.upgrades.iter().map(|u| UpgradeConfig {
        upgrade_type: u.kind.to_string(),
        enabled: Some(bool_value(u.enabled)),
        connect_config: None,
    });
    pb::RouteAction {
        cluster_specifier: Some(encode_clusters(&a.clusters)),
        cluster_not_found_response_code: not_found.into(),
        prefix_rewrite: text(a.rewrite.prefix.as_ref()),
        regex_rewrite: a.rewrite.regex.as_ref().map(|(pattern, substitution)| matcher::RegexMatchAndSubstitute {
            pattern: Some(regex(pattern)),
            substitution: substitution.to_string(),
        }),
        host_rewrite_specifier: host_rewrite,
        append_x_forwarded_host: a.rewrite.append_x_forwarded_host,
        // Envoy's zero is our "no limit"; Envoy's absence is 15 s.
        timeout: Some(duration(a.timeout.unwrap_or_default())),
        max_grpc_timeout: a.grpc_timeout_max.map(duration),
        idle_timeout: a.idle_timeout.map(duration),
        retry_policy: a.retry.as_ref().map(encode_retry),
        request_mirror_policies: a.mirrors.iter().map(encode_mirror).collect(),
        hash_policy: a.hash_policy.iter().map(encode_hash).collect(),
        upgrade_configs: upgrades.collect(),
        ..Default::default()
    }
}

pub(super) fn decode(at: &At<'_>, a: pb::RouteAction) -> Decoded<RouteAction> {
    open!(at, a => pb::RouteAction { cluster_not_found_response_code, prefix_rewrite, regex_rewrite,
            append_x_forwarded_host, timeout, idle_timeout, retry_policy, request_mirror_policies, hash_policy,
            max_grpc_timeout, upgrade_configs, max_stream_duration, cluster_specifier, host_rewrite_specifier }
        refuse { metadata_match, path_rewrite_policy, path_rewrite, flush_timeout, early_data_policy,
            retry_policy_typed_config, priority, rate_limits, include_vh_rate_limits, cors, grpc_timeout_offset,
            internal_redirect_policy, internal_redirect_action, max_internal_redirects, hedge_policy });
    let cluster_not_found_status =
        match member(&at.field("cluster_not_found_response_code"), cluster_not_found_response_code)? {
            ClusterNotFoundResponseCode::ServiceUnavailable => 503,
            ClusterNotFoundResponseCode::NotFound => 404,
            ClusterNotFoundResponseCode::InternalServerError => 500,
        };
    let (authority, auto_authority) = match host_rewrite_specifier {
        None => (None, false),
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => (non_empty(host), false),
        Some(HostRewriteSpecifier::AutoHostRewrite(auto)) => (None, auto.value),
        Some(_) => {
            return Err(at.not_implemented("a host rewrite other than host_rewrite_literal and auto_host_rewrite"));
        }
    };
    let timeout = match at.maybe("timeout", timeout, to_duration)? {
        None => Some(DEFAULT_TIMEOUT),
        Some(timeout) => Some(timeout).filter(|t| !t.is_zero()),
    };
    let grpc_timeout_max = match max_stream_duration {
        None => at.maybe("max_grpc_timeout", max_grpc_timeout, to_duration)?,
        Some(max) => {
            let at = &at.field("max_stream_duration");
            open!(at, max => MaxStreamDuration { max_stream_duration, grpc_timeout_header_max }
                refuse { grpc_timeout_header_offset });
            let limit = at.maybe("max_stream_duration", max_stream_duration, to_duration)?;
            if timeout.is_some() || limit.is_some_and(|limit| !limit.is_zero()) {
                return Err(at.not_implemented("a limit of a stream's duration, beside which a timeout has no effect"));
            }
            at.maybe("grpc_timeout_header_max", grpc_timeout_header_max, to_duration)?
        }
    };
    Ok(RouteAction {
        clusters: decode_clusters(at, at.need("cluster_specifier", cluster_specifier)?)?,
        rewrite: Rewrite {
            prefix: non_empty(prefix_rewrite),
            regex: at.maybe("regex_rewrite", regex_rewrite, decode_regex_rewrite)?,
            authority,
            auto_authority,
            append_x_forwarded_host,
        },
        timeout,
        grpc_timeout_max,
        idle_timeout: at.maybe("idle_timeout", idle_timeout, to_duration)?,
        retry: at.maybe("retry_policy", retry_policy, decode_retry)?,
        mirrors: at.each("request_mirror_policies", request_mirror_policies, decode_mirror)?,
        hash_policy: at.each("hash_policy", hash_policy, decode_hash)?,
        upgrades: at.each("upgrade_configs", upgrade_configs, |at, u| {
            open!(at, u => UpgradeConfig { upgrade_type, enabled } refuse { connect_config });
            Ok(Upgrade { kind: upgrade_type.into(), enabled: bool_or(enabled, true) })
        })?,
        cluster_not_found_status,
    })
}

fn decode_regex_rewrite(at: &At<'_>, r: matcher::RegexMatchAndSubstitute) -> Decoded<(varka_engine::ir::Regex, Str)> {
    let matcher::RegexMatchAndSubstitute { pattern, substitution } = r;
    Ok((to_regex(&at.field("pattern"), at.need("pattern", pattern)?)?, substitution.into()))
}

// --- destinations

/// A single destination without settings of its own is named alone: its weight has no meaning.
fn encode_clusters(clusters: &[WeightedRoute]) -> ClusterSpecifier {
    match clusters {
        [one] if one.request_headers.is_empty() && one.response_headers.is_empty() && one.host_rewrite.is_none() => {
            ClusterSpecifier::Cluster(one.cluster.to_string())
        }
        several => ClusterSpecifier::WeightedClusters(pb::WeightedCluster {
            clusters: several.iter().map(encode_weighted).collect(),
            ..Default::default()
        }),
    }
}

fn encode_weighted(w: &WeightedRoute) -> weighted_cluster::ClusterWeight {
    let (request_headers_to_add, request_headers_to_remove) = headers::encode(&w.request_headers);
    let (response_headers_to_add, response_headers_to_remove) = headers::encode(&w.response_headers);
    weighted_cluster::ClusterWeight {
        name: w.cluster.to_string(),
        weight: Some(u32_value(w.weight)),
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        host_rewrite_specifier: w
            .host_rewrite
            .as_ref()
            .map(|h| cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(h.to_string())),
        ..Default::default()
    }
}

fn decode_clusters(at: &At<'_>, specifier: ClusterSpecifier) -> Decoded<Vec<WeightedRoute>> {
    match specifier {
        ClusterSpecifier::Cluster(name) => Ok(vec![WeightedRoute {
            cluster: name.into(),
            weight: 1,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            host_rewrite: None,
        }]),
        ClusterSpecifier::WeightedClusters(weighted) => {
            let at = &at.field("weighted_clusters");
            // The sum of the weights is what it is; there is no runtime layer.
            open!(at, weighted => pb::WeightedCluster { clusters } refuse { random_value_specifier }
                harmless { total_weight, runtime_key_prefix });
            at.each("clusters", clusters, decode_weighted)
        }
        ClusterSpecifier::ClusterHeader(_) => Err(at.not_implemented("cluster_header")),
        ClusterSpecifier::ClusterSpecifierPlugin(_) | ClusterSpecifier::InlineClusterSpecifierPlugin(_) => {
            Err(at.not_implemented("cluster_specifier_plugin"))
        }
    }
}

fn decode_weighted(at: &At<'_>, w: weighted_cluster::ClusterWeight) -> Decoded<WeightedRoute> {
    open!(at, w => weighted_cluster::ClusterWeight { name, weight, request_headers_to_add, request_headers_to_remove,
            response_headers_to_add, response_headers_to_remove, host_rewrite_specifier }
        refuse { cluster_header, metadata_match, typed_per_filter_config });
    let host_rewrite = host_rewrite_specifier.map(|h| match h {
        cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(host) => Str::from(host),
    });
    Ok(WeightedRoute {
        cluster: name.into(),
        weight: u32_or(weight, 0),
        request_headers: request(at, request_headers_to_add, request_headers_to_remove)?,
        response_headers: response(at, response_headers_to_add, response_headers_to_remove)?,
        host_rewrite,
    })
}

// --- retries

/// A condition's name, and the flag that stands for it.
type Condition = (&'static str, fn(&mut RetryOn) -> &mut bool);

const CONDITIONS: [Condition; 14] = [
    ("5xx", |on| &mut on.server_error),
    ("gateway-error", |on| &mut on.gateway_error),
    ("reset", |on| &mut on.reset),
    ("reset-before-request", |on| &mut on.reset_before_request),
    ("connect-failure", |on| &mut on.connect_failure),
    ("envoy-ratelimited", |on| &mut on.envoy_rate_limited),
    ("retriable-4xx", |on| &mut on.retriable_4xx),
    ("refused-stream", |on| &mut on.refused_stream),
    ("unavailable", |on| &mut on.unavailable),
    ("cancelled", |on| &mut on.cancelled),
    ("deadline-exceeded", |on| &mut on.deadline_exceeded),
    ("internal", |on| &mut on.internal),
    ("resource-exhausted", |on| &mut on.resource_exhausted),
    ("retriable-status-codes", |on| &mut on.status_codes),
];

fn encode_retry(r: &RetryPolicy) -> pb::RetryPolicy {
    let mut on = r.on;
    let names: Vec<&str> = CONDITIONS.iter().filter(|(_, flag)| *flag(&mut on)).map(|(name, _)| *name).collect();
    let predicate = |name: &str| retry_policy::RetryHostPredicate {
        name: name.to_owned(),
        config_type: Some(retry_policy::retry_host_predicate::ConfigType::TypedConfig(pack(
            &previous_hosts::PreviousHostsPredicate::default(),
        ))),
    };
    let priority = previous_priorities::PreviousPrioritiesConfig { update_frequency: PRIORITY_UPDATE_FREQUENCY };
    pb::RetryPolicy {
        retry_on: names.join(","),
        num_retries: Some(u32_value(r.attempts)),
        per_try_timeout: r.per_try_timeout.map(duration),
        retriable_status_codes: r.status_codes.iter().map(|s| u32::from(*s)).collect(),
        retry_back_off: r.back_off.map(|b| retry_policy::RetryBackOff {
            base_interval: Some(duration(b.base)),
            max_interval: Some(duration(b.max)),
        }),
        retry_host_predicate: r.avoid_previous_hosts.then(|| predicate(PREVIOUS_HOSTS)).into_iter().collect(),
        host_selection_retry_max_attempts: r.host_selection_attempts.into(),
        retry_priority: r.remote_localities.then(|| retry_policy::RetryPriority {
            name: PREVIOUS_PRIORITIES.to_owned(),
            config_type: Some(retry_policy::retry_priority::ConfigType::TypedConfig(pack(&priority))),
        }),
        ..Default::default()
    }
}

fn decode_retry(at: &At<'_>, r: pb::RetryPolicy) -> Decoded<RetryPolicy> {
    open!(at, r => pb::RetryPolicy { retry_on, num_retries, per_try_timeout, retry_priority, retry_host_predicate,
            host_selection_retry_max_attempts, retriable_status_codes, retry_back_off }
        refuse { per_try_idle_timeout, retry_options_predicates, rate_limited_retry_back_off, retriable_headers,
            retriable_request_headers, refresh_cluster_on_retry });
    let mut on = RetryOn::default();
    for name in retry_on.split(',').map(str::trim).filter(|n| !n.is_empty()) {
        match CONDITIONS.iter().find(|(known, _)| *known == name) {
            Some((_, flag)) => *flag(&mut on) = true,
            None => return Err(at.field("retry_on").not_implemented(name)),
        }
    }
    let predicates = at.each("retry_host_predicate", retry_host_predicate, |at, p| match p.config_type {
        Some(retry_policy::retry_host_predicate::ConfigType::TypedConfig(config))
            if holds::<previous_hosts::PreviousHostsPredicate>(&config) =>
        {
            unpack::<previous_hosts::PreviousHostsPredicate>(at, &config).map(|_| ())
        }
        _ => Err(at.not_implemented(p.name)),
    })?;
    let attempts = host_selection_retry_max_attempts;
    Ok(RetryPolicy {
        on,
        attempts: u32_or(num_retries, 1),
        per_try_timeout: at.maybe("per_try_timeout", per_try_timeout, to_duration)?,
        status_codes: at.each("retriable_status_codes", retriable_status_codes, status)?,
        back_off: at.maybe("retry_back_off", retry_back_off, decode_back_off)?,
        avoid_previous_hosts: !predicates.is_empty(),
        host_selection_attempts: u32::try_from(attempts)
            .map_err(|_| at.field("host_selection_retry_max_attempts").invalid(attempts, "a number of attempts"))?,
        remote_localities: at.maybe("retry_priority", retry_priority, decode_priority)?.is_some(),
    })
}

fn decode_priority(at: &At<'_>, p: retry_policy::RetryPriority) -> Decoded<()> {
    match p.config_type {
        Some(retry_policy::retry_priority::ConfigType::TypedConfig(config))
            if holds::<previous_priorities::PreviousPrioritiesConfig>(&config) =>
        {
            match unpack(at, &config)? {
                previous_priorities::PreviousPrioritiesConfig { update_frequency: PRIORITY_UPDATE_FREQUENCY } => Ok(()),
                _ => Err(at.not_implemented("an update_frequency other than 2")),
            }
        }
        _ => Err(at.not_implemented(p.name)),
    }
}

fn decode_back_off(at: &At<'_>, b: retry_policy::RetryBackOff) -> Decoded<RetryBackOff> {
    let retry_policy::RetryBackOff { base_interval, max_interval } = b;
    let base = to_duration(&at.field("base_interval"), at.need("base_interval", base_interval)?)?;
    let max = at.maybe("max_interval", max_interval, to_duration)?;
    Ok(RetryBackOff { base, max: max.unwrap_or_else(|| base.saturating_mul(10)) })
}

// --- mirrors

fn encode_mirror(m: &Mirror) -> RequestMirrorPolicy {
    RequestMirrorPolicy {
        cluster: m.cluster.to_string(),
        runtime_fraction: Some(runtime_millionths(m.parts_per_million)),
        // A copy is no part of the trace.
        trace_sampled: Some(bool_value(false)),
        disable_shadow_host_suffix_append: !m.shadow_host_suffix,
        ..Default::default()
    }
}

fn decode_mirror(at: &At<'_>, m: RequestMirrorPolicy) -> Decoded<Mirror> {
    open!(at, m => RequestMirrorPolicy { cluster, runtime_fraction, trace_sampled, disable_shadow_host_suffix_append }
        refuse { cluster_header, request_headers_mutations, host_rewrite_literal });
    if bool_or(trace_sampled, false) {
        return Err(at.not_implemented("trace_sampled: true"));
    }
    Ok(Mirror {
        cluster: cluster.into(),
        parts_per_million: to_runtime_millionths(&at.field("runtime_fraction"), runtime_fraction)?,
        shadow_host_suffix: !disable_shadow_host_suffix_append,
    })
}

// --- keys for consistent hashing

fn encode_hash(p: &HashPolicy) -> route_action::HashPolicy {
    let specifier = match &p.key {
        HashKey::Header(name) => {
            PolicySpecifier::Header(hash_policy::Header { header_name: name.to_string(), regex_rewrite: None })
        }
        HashKey::Cookie { name, path, ttl, attributes } => PolicySpecifier::Cookie(hash_policy::Cookie {
            name: name.to_string(),
            ttl: ttl.map(duration),
            path: path.to_string(),
            attributes: attributes
                .iter()
                .map(|(name, value)| hash_policy::CookieAttribute { name: name.to_string(), value: value.to_string() })
                .collect(),
        }),
        HashKey::SourceIp => {
            PolicySpecifier::ConnectionProperties(hash_policy::ConnectionProperties { source_ip: true })
        }
        HashKey::Query(name) => PolicySpecifier::QueryParameter(hash_policy::QueryParameter { name: name.to_string() }),
    };
    route_action::HashPolicy { terminal: p.terminal, policy_specifier: Some(specifier) }
}

fn decode_hash(at: &At<'_>, p: route_action::HashPolicy) -> Decoded<HashPolicy> {
    let route_action::HashPolicy { terminal, policy_specifier } = p;
    let key = match at.need("policy_specifier", policy_specifier)? {
        PolicySpecifier::Header(h) => {
            open!(at, h => hash_policy::Header { header_name } refuse { regex_rewrite });
            HashKey::Header(header_name.into())
        }
        PolicySpecifier::Cookie(c) => {
            let hash_policy::Cookie { name, ttl, path, attributes } = c;
            HashKey::Cookie {
                name: name.into(),
                path: path.into(),
                ttl: at.maybe("cookie.ttl", ttl, to_duration)?,
                attributes: attributes.into_iter().map(|a| (a.name.into(), a.value.into())).collect(),
            }
        }
        PolicySpecifier::ConnectionProperties(c) if c.source_ip => HashKey::SourceIp,
        PolicySpecifier::ConnectionProperties(_) => {
            return Err(at.not_implemented("connection_properties without source_ip"));
        }
        PolicySpecifier::QueryParameter(q) => HashKey::Query(q.name.into()),
        PolicySpecifier::FilterState(_) => return Err(at.not_implemented("filter_state")),
    };
    Ok(HashPolicy { key, terminal })
}
