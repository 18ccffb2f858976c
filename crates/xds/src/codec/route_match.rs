//! What a route asks of a request: path, headers, query.

use varka_engine::ir::{HeaderMatch, HeaderMatcher, PathMatch, QueryMatch, QueryMatcher, RouteMatch, Str, StringMatch};
use varka_proto::envoy::route::{
    self as pb,
    header_matcher::HeaderMatchSpecifier,
    query_parameter_matcher::QueryParameterMatchSpecifier,
    route_match::{GrpcRouteMatchOptions, PathSpecifier},
};
use varka_proto::envoy::{core, types, uri_template};

use super::metadata;
use super::refusal::{At, Decoded, open};
use super::value::{bool_or, bool_value, regex, string_matcher, to_regex, to_string_match};
use super::wire::{holds, pack, unpack};

const URI_TEMPLATE: &str = "envoy.path.match.uri_template.uri_template_matcher";

pub(super) fn encode(m: &RouteMatch) -> pb::RouteMatch {
    let path = match &m.path {
        PathMatch::Prefix(p) => PathSpecifier::Prefix(p.to_string()),
        PathMatch::SeparatedPrefix(p) => PathSpecifier::PathSeparatedPrefix(p.to_string()),
        PathMatch::Exact(p) => PathSpecifier::Path(p.to_string()),
        PathMatch::Regex(r) => PathSpecifier::SafeRegex(regex(r)),
        PathMatch::Template(t) => PathSpecifier::PathMatchPolicy(encode_template(t)),
    };
    pb::RouteMatch {
        path_specifier: Some(path),
        case_sensitive: (!m.case_sensitive).then(|| bool_value(false)),
        headers: m.headers.iter().map(encode_header).collect(),
        query_parameters: m.query.iter().map(encode_query).collect(),
        dynamic_metadata: m.metadata.iter().map(metadata::encode).collect(),
        grpc: m.grpc.then(GrpcRouteMatchOptions::default),
        ..Default::default()
    }
}

pub(super) fn decode(at: &At<'_>, m: pb::RouteMatch) -> Decoded<RouteMatch> {
    open!(at, m => pb::RouteMatch { case_sensitive, headers, query_parameters, grpc, dynamic_metadata, path_specifier }
        refuse { runtime_fraction, cookies, tls_context, filter_state });
    let path = match at.need("path_specifier", path_specifier)? {
        PathSpecifier::Prefix(p) => PathMatch::Prefix(p.into()),
        PathSpecifier::PathSeparatedPrefix(p) => PathMatch::SeparatedPrefix(p.into()),
        PathSpecifier::Path(p) => PathMatch::Exact(p.into()),
        PathSpecifier::SafeRegex(r) => PathMatch::Regex(to_regex(&at.field("safe_regex"), r)?),
        PathSpecifier::ConnectMatcher(_) => return Err(at.not_implemented("connect_matcher")),
        PathSpecifier::PathMatchPolicy(policy) => {
            PathMatch::Template(decode_template(&at.field("path_match_policy"), policy)?)
        }
    };
    Ok(RouteMatch {
        path,
        case_sensitive: bool_or(case_sensitive, true),
        headers: at.each("headers", headers, decode_header)?,
        query: at.each("query_parameters", query_parameters, decode_query)?,
        metadata: at.each("dynamic_metadata", dynamic_metadata, metadata::decode)?,
        grpc: grpc.is_some(),
    })
}

/// Istio's `{*}` and `{**}` are Envoy's `*` and `**`.
pub(super) fn encode_template(template: &str) -> core::TypedExtensionConfig {
    let segments: Vec<&str> = template
        .split('/')
        .map(|segment| match segment {
            "{*}" => "*",
            "{**}" => "**",
            literal => literal,
        })
        .collect();
    let config = uri_template::UriTemplateMatchConfig { path_template: segments.join("/") };
    core::TypedExtensionConfig { name: URI_TEMPLATE.to_owned(), typed_config: Some(pack(&config)) }
}

pub(super) fn decode_template(at: &At<'_>, policy: core::TypedExtensionConfig) -> Decoded<Str> {
    let core::TypedExtensionConfig { name, typed_config } = policy;
    let config = at.need("typed_config", typed_config)?;
    if !holds::<uri_template::UriTemplateMatchConfig>(&config) {
        return Err(at.not_implemented(name));
    }
    let uri_template::UriTemplateMatchConfig { path_template } = unpack(at, &config)?;
    let segment = |segment| match segment {
        "*" => Ok("{*}"),
        "**" => Ok("{**}"),
        // Variables, and wildcards within a segment.
        other if other.contains(['*', '{', '}']) => Err(at.not_implemented(format!("path_template with {other}"))),
        literal => Ok(literal),
    };
    Ok(path_template.split('/').map(segment).collect::<Decoded<Vec<&str>>>()?.join("/").into())
}

pub(super) fn encode_header(h: &HeaderMatcher) -> pb::HeaderMatcher {
    let specifier = match &h.matches {
        HeaderMatch::Present(present) => HeaderMatchSpecifier::PresentMatch(*present),
        HeaderMatch::Value(value) => HeaderMatchSpecifier::StringMatch(string_matcher(value)),
        HeaderMatch::Range { start, end } => {
            HeaderMatchSpecifier::RangeMatch(types::Int64Range { start: *start, end: *end })
        }
    };
    pb::HeaderMatcher {
        name: h.name.to_string(),
        header_match_specifier: Some(specifier),
        invert_match: h.invert,
        treat_missing_header_as_empty: h.treat_missing_as_empty,
    }
}

/// The obsolete specifiers mean the same as a string matcher that respects case.
#[expect(deprecated, reason = "senders still use them")]
pub(super) fn decode_header(at: &At<'_>, h: pb::HeaderMatcher) -> Decoded<HeaderMatcher> {
    open!(at, h => pb::HeaderMatcher { name, header_match_specifier, invert_match, treat_missing_header_as_empty });
    let plain = |value: String| -> Str { value.into() };
    let matches = match header_match_specifier {
        // "If no specifier is given, presence is asked for."
        None => HeaderMatch::Present(true),
        Some(HeaderMatchSpecifier::PresentMatch(present)) => HeaderMatch::Present(present),
        Some(HeaderMatchSpecifier::StringMatch(m)) => {
            HeaderMatch::Value(to_string_match(&at.field("string_match"), m)?)
        }
        Some(HeaderMatchSpecifier::RangeMatch(r)) => HeaderMatch::Range { start: r.start, end: r.end },
        Some(HeaderMatchSpecifier::ExactMatch(v)) => {
            HeaderMatch::Value(StringMatch::Exact { value: plain(v), ignore_case: false })
        }
        Some(HeaderMatchSpecifier::PrefixMatch(v)) => {
            HeaderMatch::Value(StringMatch::Prefix { value: plain(v), ignore_case: false })
        }
        Some(HeaderMatchSpecifier::SuffixMatch(v)) => {
            HeaderMatch::Value(StringMatch::Suffix { value: plain(v), ignore_case: false })
        }
        Some(HeaderMatchSpecifier::ContainsMatch(v)) => {
            HeaderMatch::Value(StringMatch::Contains { value: plain(v), ignore_case: false })
        }
        Some(HeaderMatchSpecifier::SafeRegexMatch(r)) => {
            HeaderMatch::Value(StringMatch::Regex(to_regex(&at.field("safe_regex_match"), r)?))
        }
    };
    Ok(HeaderMatcher {
        name: name.to_ascii_lowercase().into(),
        matches,
        invert: invert_match,
        treat_missing_as_empty: treat_missing_header_as_empty,
    })
}

fn encode_query(q: &QueryMatcher) -> pb::QueryParameterMatcher {
    let specifier = match &q.matches {
        QueryMatch::Present => QueryParameterMatchSpecifier::PresentMatch(true),
        QueryMatch::Value(value) => QueryParameterMatchSpecifier::StringMatch(string_matcher(value)),
    };
    pb::QueryParameterMatcher { name: q.name.to_string(), query_parameter_match_specifier: Some(specifier) }
}

fn decode_query(at: &At<'_>, q: pb::QueryParameterMatcher) -> Decoded<QueryMatcher> {
    open!(at, q => pb::QueryParameterMatcher { name, query_parameter_match_specifier });
    let matches = match query_parameter_match_specifier {
        None | Some(QueryParameterMatchSpecifier::PresentMatch(true)) => QueryMatch::Present,
        Some(QueryParameterMatchSpecifier::PresentMatch(false)) => {
            return Err(at.not_implemented("present_match: false"));
        }
        Some(QueryParameterMatchSpecifier::StringMatch(m)) => {
            QueryMatch::Value(to_string_match(&at.field("string_match"), m)?)
        }
    };
    Ok(QueryMatcher { name: name.into(), matches })
}
