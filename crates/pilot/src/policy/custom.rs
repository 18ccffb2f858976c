//! CUSTOM policies: rules that only note which requests they match, and a filter that asks a provider about those.
//!
//! What cannot be asked about is refused: a provider that does not exist or is misconfigured, several providers for one workload,
//! and connections that are no HTTP, about which only gRPC providers could be asked.

use varka_api::istio::{AuthorizationAction, ExtAuthzBody, ExtAuthzProvider};
use varka_engine::ir::{
    AuthzBody, AuthzGrpc, AuthzHttp, AuthzService, ExtAuthz, HttpFilter, MetadataMatch, PolicyAction, Rbac, RbacPolicy,
    Str, StringMatch,
};
use varka_engine::rbac;

use super::authorization::{Layer, Policy, compile, prefix};
use crate::context::{Ctx, s};
use crate::diagnostic::Severity;

/// End of the names of rules that refuse because nobody can be asked.
pub(super) const BAD: &str = "-deny-due-to-bad-CUSTOM-action";

/// Beginning of the names of rules that somebody is asked about.
const MATCHED: &str = "istio-ext-authz";

/// The filters of all CUSTOM policies.
pub(super) fn filters(ctx: &Ctx<'_>, policies: &[Policy], layer: Layer) -> Vec<HttpFilter> {
    let custom: Vec<&Policy> = policies.iter().filter(|p| p.spec.action == AuthorizationAction::Custom).collect();
    let mut providers: Vec<&str> = custom.iter().map(|p| provider_of(p)).collect();
    providers.sort_unstable();
    providers.dedup();
    let single = providers.len() <= 1;
    let mut out = Vec::new();
    for provider in providers {
        let mine: Vec<&Policy> = custom.iter().copied().filter(|p| provider_of(p) == provider).collect();
        let built = if single {
            build(ctx, provider, layer)
        } else {
            Err("the CUSTOM policies of one workload name several providers".to_owned())
        };
        let named = |suffix: &str| -> Vec<RbacPolicy> {
            let rules = mine.iter().flat_map(|p| compile(ctx, p, PolicyAction::Deny, layer));
            let dash = if provider.is_empty() { "" } else { "-" };
            rules
                .map(|r| RbacPolicy { name: s(format!("{MATCHED}-{provider}{dash}{}{suffix}", r.name)), ..r })
                .collect()
        };
        match built {
            Ok(None) => {}
            Ok(Some(service)) => {
                let noted = Rbac {
                    action: PolicyAction::Deny,
                    policies: named(""),
                    shadow: true,
                    stat_prefix: s(rbac::EXT_AUTHZ_PREFIX),
                };
                out.extend([HttpFilter::Rbac(noted), HttpFilter::ExtAuthz(Box::new(service))]);
            }
            Err(reason) => {
                mine.iter().for_each(|p| report(ctx, p, &reason));
                let refused = Rbac {
                    action: PolicyAction::Deny,
                    policies: named(BAD),
                    shadow: false,
                    stat_prefix: prefix(layer),
                };
                out.push(HttpFilter::Rbac(refused));
            }
        }
    }
    out
}

fn provider_of(policy: &Policy) -> &str {
    policy.spec.provider.as_ref().map_or("", |p| &p.name)
}

fn report(ctx: &Ctx<'_>, policy: &Policy, reason: &str) {
    ctx.report(
        Severity::Error,
        "custom-provider",
        policy,
        "spec.provider",
        reason,
        "every request and connection that a rule of this policy matches is refused",
    );
}

/// The filter that asks; `None`: nobody is asked about this kind of traffic.
fn build(ctx: &Ctx<'_>, name: &str, layer: Layer) -> Result<Option<ExtAuthz>, String> {
    let mut found = ctx.mesh().extension_providers.iter().filter(|p| p.name == name);
    let provider = found.next().ok_or_else(|| format!("MeshConfig has no extension provider {name:?}"))?;
    if found.next().is_some() {
        return Err(format!("MeshConfig has several extension providers {name:?}"));
    }
    let (http, settings) = match (&provider.envoy_ext_authz_http, &provider.envoy_ext_authz_grpc) {
        (Some(http), None) => (true, http),
        (None, Some(grpc)) => (false, grpc),
        _ => return Err(format!("the extension provider {name:?} is none for authorization")),
    };
    let service = if http { over_http(ctx, settings)? } else { over_grpc(ctx, settings)? };
    if layer != Layer::Http {
        return if http { Ok(None) } else { Err("connections that are no HTTP cannot be asked about yet".to_owned()) };
    }
    let headers = match (http, settings.include_request_headers_in_check.as_slice()) {
        (false, _) => &[],
        (true, []) => settings.include_headers_in_check.as_slice(),
        (true, headers) => headers,
    };
    Ok(Some(ExtAuthz {
        service,
        allowed_headers: header_names("includeRequestHeadersInCheck", headers)?,
        failure_mode_allow: settings.fail_open,
        status_on_error: status(&settings.status_on_error)?,
        with_request_body: settings.include_request_body_in_check.as_ref().map(body).transpose()?,
        enabled_metadata: Some(MetadataMatch {
            filter: s(rbac::METADATA),
            path: vec![s(format!("{}shadow_effective_policy_id", rbac::EXT_AUTHZ_PREFIX))],
            value: StringMatch::Prefix { value: s(format!("{MATCHED}-{name}")), ignore_case: false },
            invert: false,
        }),
    }))
}

fn body(b: &ExtAuthzBody) -> Result<AuthzBody, String> {
    if b.max_request_bytes == 0 {
        return Err("its includeRequestBodyInCheck has no maxRequestBytes".to_owned());
    }
    Ok(AuthzBody {
        max_request_bytes: b.max_request_bytes,
        allow_partial: b.allow_partial_message,
        as_bytes: b.pack_as_bytes,
    })
}

fn over_http(ctx: &Ctx<'_>, p: &ExtAuthzProvider) -> Result<AuthzService, String> {
    let (host, cluster) = cluster(ctx, p)?;
    if !p.path_prefix.is_empty() && !p.path_prefix.starts_with('/') {
        return Err(format!("its pathPrefix {:?} does not begin with /", p.path_prefix));
    }
    Ok(AuthzService::Http(AuthzHttp {
        uri: s(format!("http://{host}")),
        cluster,
        timeout: timeout(p),
        path_prefix: s(&p.path_prefix),
        headers_to_add: p
            .include_additional_headers_in_check
            .iter()
            .map(|(name, value)| (s(name.to_ascii_lowercase()), s(value)))
            .collect(),
        upstream_headers: header_names("headersToUpstreamOnAllow", &p.headers_to_upstream_on_allow)?,
        client_headers: header_names("headersToDownstreamOnDeny", &p.headers_to_downstream_on_deny)?,
        client_headers_on_success: header_names("headersToDownstreamOnAllow", &p.headers_to_downstream_on_allow)?,
    }))
}

fn over_grpc(ctx: &Ctx<'_>, p: &ExtAuthzProvider) -> Result<AuthzService, String> {
    let (host, cluster) = cluster(ctx, p)?;
    Ok(AuthzService::Grpc(AuthzGrpc { cluster, authority: host, timeout: timeout(p) }))
}

/// Ten minutes where nothing is said, as in Istio.
fn timeout(p: &ExtAuthzProvider) -> std::time::Duration {
    p.timeout.map_or(std::time::Duration::from_secs(600), |t| t.to_std())
}

/// Host and cluster of `[NAMESPACE/]HOST`.
fn cluster(ctx: &Ctx<'_>, p: &ExtAuthzProvider) -> Result<(Str, Str), String> {
    let port = u16::try_from(p.port).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| format!("its port {} is not between 1 and 65535", p.port))?;
    let (namespace, host) = match p.service.split_once('/') {
        Some((namespace, host)) => (Some(namespace), host),
        None => (None, p.service.as_str()),
    };
    let services = ctx.registry().by_host(host).iter();
    let mut mine = services.filter(|service| namespace.is_none_or(|n| *service.namespace == *n));
    let service = mine.next().ok_or_else(|| format!("there is no service {:?}", p.service))?;
    if mine.any(|other| other.namespace != service.namespace) {
        return Err(format!("there is a service {host:?} in several namespaces: write NAMESPACE/{host}"));
    }
    Ok((service.host.clone(), s(format!("outbound|{port}||{}", service.host))))
}

fn status(text: &str) -> Result<u16, String> {
    if text.is_empty() {
        return Ok(403);
    }
    let status = text.parse().ok().filter(|status| (200..600).contains(status));
    status.ok_or_else(|| format!("its statusOnError {text:?} is no HTTP status"))
}

/// `exact`, `prefix*`, `*suffix`, regardless of case.
fn header_names(field: &str, names: &[String]) -> Result<Vec<StringMatch>, String> {
    let one = |name: &String| {
        let ignore_case = true;
        Ok(match (name.strip_prefix('*'), name.strip_suffix('*')) {
            (Some(""), _) => return Err(format!("its {field} has a single `*`: write a prefix or a suffix")),
            (Some(end), _) => StringMatch::Suffix { value: s(end), ignore_case },
            (None, Some(start)) => StringMatch::Prefix { value: s(start), ignore_case },
            (None, None) => StringMatch::Exact { value: s(name), ignore_case },
        })
    };
    names.iter().map(one).collect()
}

#[cfg(test)]
mod tests;
