//! Route configurations, virtual hosts and routes.

use varka_engine::ir::{Action, DirectResponse, Redirect, Route, RouteConfiguration, Str, VirtualHost};
use varka_proto::envoy::core::{self, data_source::Specifier};
use varka_proto::envoy::route::{
    self as pb,
    redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
    virtual_host::TlsRequirementType,
};

use super::refusal::{At, Decoded, open};
use super::value::{
    ads, as_text, bool_or, bool_value, is_ads, member, metadata, namespace, non_empty, object, status, string_value,
    strings, text, to_inline, u32_value,
};
use super::{headers, http_filter, route_action, route_match};

/// Envoy refuses longer bodies of direct responses unless it is told.
const DIRECT_RESPONSE_LIMIT: usize = 4096;
/// Namespace of Istio's metadata.
pub(super) const ISTIO: &str = "istio";
/// Which resource a route comes from.
const ORIGIN: &str = "config";

pub(super) fn encode(r: &RouteConfiguration) -> pb::RouteConfiguration {
    let (request_headers_to_add, request_headers_to_remove) = headers::encode(&r.request_headers);
    let (response_headers_to_add, response_headers_to_remove) = headers::encode(&r.response_headers);
    let longest = r.virtual_hosts.iter().flat_map(|h| &h.routes).filter_map(|r| match &r.action {
        Action::Direct(d) => d.body.as_ref().map(bytes::Bytes::len),
        _ => None,
    });
    let longest = longest.max().filter(|n| *n > DIRECT_RESPONSE_LIMIT).and_then(|n| u32::try_from(n).ok());
    pb::RouteConfiguration {
        name: r.name.to_string(),
        virtual_hosts: r.virtual_hosts.iter().map(encode_host).collect(),
        ignore_port_in_host_matching: r.ignore_port_in_host,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        // A route to a cluster that is not there answers 503; it does not make the table invalid.
        validate_clusters: Some(bool_value(false)),
        max_direct_response_body_size_bytes: longest.map(u32_value),
        vhds: r.on_demand.then(|| pb::Vhds { config_source: Some(ads()) }),
        ..Default::default()
    }
}

pub(super) fn decode(at: &At<'_>, r: pb::RouteConfiguration) -> Decoded<RouteConfiguration> {
    // Bodies of any length are answered; clusters may come later than routes to them; metadata is for people.
    open!(at, r => pb::RouteConfiguration { name, virtual_hosts, response_headers_to_add, response_headers_to_remove,
            request_headers_to_add, request_headers_to_remove, ignore_port_in_host_matching, vhds }
        refuse { internal_only_headers, most_specific_header_mutations_wins, cluster_specifier_plugins,
            request_mirror_policies, vhost_header, ignore_path_parameters_in_path_matching, typed_per_filter_config,
            route_specifiers }
        harmless { validate_clusters, max_direct_response_body_size_bytes, metadata });
    let on_demand = at.maybe("vhds", vhds, |at, vhds| {
        open!(at, vhds => pb::Vhds { config_source });
        is_ads(at, config_source)
    })?;
    let on_demand = on_demand.is_some();
    Ok(RouteConfiguration {
        name: name.into(),
        virtual_hosts: at.each("virtual_hosts", virtual_hosts, decode_host)?,
        ignore_port_in_host: ignore_port_in_host_matching,
        on_demand,
        request_headers: request(at, request_headers_to_add, request_headers_to_remove)?,
        response_headers: response(at, response_headers_to_add, response_headers_to_remove)?,
    })
}

pub(super) fn request(
    at: &At<'_>,
    add: Vec<core::HeaderValueOption>,
    remove: Vec<String>,
) -> Decoded<Vec<varka_engine::ir::HeaderMutation>> {
    headers::decode(at, ("request_headers_to_add", add), ("request_headers_to_remove", remove))
}

pub(super) fn response(
    at: &At<'_>,
    add: Vec<core::HeaderValueOption>,
    remove: Vec<String>,
) -> Decoded<Vec<varka_engine::ir::HeaderMutation>> {
    headers::decode(at, ("response_headers_to_add", add), ("response_headers_to_remove", remove))
}

// --- virtual hosts

pub(super) fn encode_host(h: &VirtualHost) -> pb::VirtualHost {
    let (request_headers_to_add, request_headers_to_remove) = headers::encode(&h.request_headers);
    let (response_headers_to_add, response_headers_to_remove) = headers::encode(&h.response_headers);
    let require_tls = if h.require_tls { TlsRequirementType::All } else { TlsRequirementType::None };
    pb::VirtualHost {
        name: h.name.to_string(),
        domains: strings(&h.domains),
        routes: h.routes.iter().map(encode_route).collect(),
        require_tls: require_tls.into(),
        include_request_attempt_count: h.include_attempt_count,
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        ..Default::default()
    }
}

pub(super) fn decode_host(at: &At<'_>, h: pb::VirtualHost) -> Decoded<VirtualHost> {
    // Statistics of groups of requests, and labels.
    open!(at, h => pb::VirtualHost { name, domains, routes, require_tls, request_headers_to_add,
            request_headers_to_remove, response_headers_to_add, response_headers_to_remove,
            include_request_attempt_count }
        refuse { matcher, rate_limits, cors, typed_per_filter_config, include_attempt_count_in_response, retry_policy,
            retry_policy_typed_config, hedge_policy, include_is_timeout_retry_header,
            per_request_buffer_limit_bytes, request_body_buffer_limit, request_mirror_policies, route_specifiers }
        harmless { virtual_clusters, metadata });
    let require_tls = match member(&at.field("require_tls"), require_tls)? {
        TlsRequirementType::None => false,
        TlsRequirementType::All => true,
        TlsRequirementType::ExternalOnly => return Err(at.not_implemented("require_tls EXTERNAL_ONLY")),
    };
    Ok(VirtualHost {
        name: name.into(),
        domains: domains.into_iter().map(|d| d.to_ascii_lowercase().into()).collect(),
        routes: at.each("routes", routes, decode_route)?,
        require_tls,
        include_attempt_count: include_request_attempt_count,
        request_headers: request(at, request_headers_to_add, request_headers_to_remove)?,
        response_headers: response(at, response_headers_to_add, response_headers_to_remove)?,
    })
}

// --- routes

fn encode_route(r: &Route) -> pb::Route {
    let (request_headers_to_add, request_headers_to_remove) = headers::encode(&r.request_headers);
    let (response_headers_to_add, response_headers_to_remove) = headers::encode(&r.response_headers);
    let action = match &r.action {
        Action::Forward(action) => pb::route::Action::Route(route_action::encode(action)),
        Action::Redirect(redirect) => pb::route::Action::Redirect(encode_redirect(redirect)),
        Action::Direct(direct) => pb::route::Action::DirectResponse(encode_direct(direct)),
    };
    let origin = r.origin.as_ref().map(|o| metadata(ISTIO, object([(ORIGIN, string_value(o))])));
    pb::Route {
        name: r.name.to_string(),
        r#match: Some(route_match::encode(&r.matches)),
        action: Some(action),
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        typed_per_filter_config: http_filter::encode_per_route(
            r.fault.as_ref(),
            r.cors.as_ref(),
            r.rbac.as_ref(),
            r.max_request_bytes,
        ),
        decorator: r.operation.as_ref().map(|o| pb::Decorator { operation: o.to_string(), propagate: None }),
        metadata: origin,
        ..Default::default()
    }
}

fn decode_route(at: &At<'_>, r: pb::Route) -> Decoded<Route> {
    // Names of statistics.
    open!(at, r => pb::Route { name, r#match, metadata, decorator, typed_per_filter_config, request_headers_to_add,
            request_headers_to_remove, response_headers_to_add, response_headers_to_remove, action }
        refuse { tracing, per_request_buffer_limit_bytes, request_body_buffer_limit, route_specifiers }
        harmless { stat_prefix });
    let action = match at.need("action", action)? {
        pb::route::Action::Route(a) => Action::Forward(Box::new(route_action::decode(&at.field("route"), a)?)),
        pb::route::Action::Redirect(r) => Action::Redirect(decode_redirect(&at.field("redirect"), r)?),
        pb::route::Action::DirectResponse(d) => Action::Direct(decode_direct(&at.field("direct_response"), d)?),
        pb::route::Action::FilterAction(_) => return Err(at.not_implemented("filter_action")),
        pb::route::Action::NonForwardingAction(_) => return Err(at.not_implemented("non_forwarding_action")),
    };
    let operation = at.maybe("decorator", decorator, |at, d| {
        open!(at, d => pb::Decorator { operation, propagate });
        if !bool_or(propagate, true) {
            return Err(at.not_implemented("propagate: false"));
        }
        Ok(Str::from(operation))
    })?;
    let per_route = http_filter::decode_per_route(at, typed_per_filter_config)?;
    let origin = namespace(metadata.as_ref(), ISTIO).and_then(|m| as_text(m.get(ORIGIN)).map(Str::from));
    Ok(Route {
        name: name.into(),
        matches: route_match::decode(&at.field("match"), at.need("match", r#match)?)?,
        action,
        request_headers: request(at, request_headers_to_add, request_headers_to_remove)?,
        response_headers: response(at, response_headers_to_add, response_headers_to_remove)?,
        fault: per_route.fault,
        cors: per_route.cors,
        rbac: per_route.rbac,
        max_request_bytes: per_route.max_request_bytes,
        operation,
        origin,
    })
}

// --- redirects

fn encode_redirect(r: &Redirect) -> pb::RedirectAction {
    let code = match r.status {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    let path = match (&r.path, &r.prefix) {
        (Some(path), _) => Some(PathRewriteSpecifier::PathRedirect(path.to_string())),
        (None, Some(prefix)) => Some(PathRewriteSpecifier::PrefixRewrite(prefix.to_string())),
        (None, None) => None,
    };
    pb::RedirectAction {
        host_redirect: text(r.authority.as_ref()),
        port_redirect: r.port.map_or(0, u32::from),
        response_code: code.into(),
        strip_query: r.strip_query,
        scheme_rewrite_specifier: r.scheme.as_ref().map(|s| SchemeRewriteSpecifier::SchemeRedirect(s.to_string())),
        path_rewrite_specifier: path,
    }
}

fn decode_redirect(at: &At<'_>, r: pb::RedirectAction) -> Decoded<Redirect> {
    open!(at, r => pb::RedirectAction { host_redirect, port_redirect, response_code, strip_query,
        scheme_rewrite_specifier, path_rewrite_specifier });
    let scheme = match scheme_rewrite_specifier {
        None | Some(SchemeRewriteSpecifier::HttpsRedirect(false)) => None,
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".into()),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => non_empty(scheme),
    };
    let (path, prefix) = match path_rewrite_specifier {
        None => (None, None),
        Some(PathRewriteSpecifier::PathRedirect(path)) => (non_empty(path), None),
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => (None, non_empty(prefix)),
        Some(PathRewriteSpecifier::RegexRewrite(_)) => return Err(at.not_implemented("regex_rewrite")),
        Some(PathRewriteSpecifier::PathRewrite(_)) => return Err(at.not_implemented("path_rewrite")),
    };
    let port = super::value::port(&at.field("port_redirect"), port_redirect)?;
    let status = match member(&at.field("response_code"), response_code)? {
        RedirectResponseCode::MovedPermanently => 301,
        RedirectResponseCode::Found => 302,
        RedirectResponseCode::SeeOther => 303,
        RedirectResponseCode::TemporaryRedirect => 307,
        RedirectResponseCode::PermanentRedirect => 308,
    };
    Ok(Redirect {
        authority: non_empty(host_redirect),
        port: Some(port).filter(|p| *p != 0),
        scheme,
        path,
        prefix,
        status,
        strip_query,
    })
}

// --- direct responses

fn encode_direct(d: &DirectResponse) -> pb::DirectResponseAction {
    let body = d.body.as_ref().map(|body| match std::str::from_utf8(body) {
        Ok(text) => Specifier::InlineString(text.to_owned()),
        Err(_) => Specifier::InlineBytes(body.to_vec()),
    });
    pb::DirectResponseAction {
        status: d.status.into(),
        body: body.map(|specifier| core::DataSource { specifier: Some(specifier), ..Default::default() }),
        body_format: None,
    }
}

fn decode_direct(at: &At<'_>, d: pb::DirectResponseAction) -> Decoded<DirectResponse> {
    open!(at, d => pb::DirectResponseAction { status, body } refuse { body_format });
    Ok(DirectResponse {
        status: self::status(&at.field("status"), status)?,
        body: at.maybe("body", body, to_inline)?.map(Into::into),
    })
}
