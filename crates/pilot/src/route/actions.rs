//! What an HTTP rule does: redirect, direct response, fault, cross-origin policy, rewrite, mirror.

use varka_api::istio::{
    CorsPolicy, Fault as ApiFault, HttpRedirect, HttpRewrite, HttpRoute, Percent, RedirectPort, UnmatchedPreflights,
};
use varka_engine::ir::{
    Cors, DirectResponse, Fault, FaultAbort, FaultDelay, Mirror, PathMatch, Redirect, Rewrite, Str, StringMatch,
};

use super::matches::pattern;
use crate::context::s;

/// Percent as millionths.
pub(crate) fn parts_per_million(percent: f64) -> u32 {
    // Clamped to the range and without a sign, so that nothing is lost but fractions of a millionth.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000,000")]
    let parts = (percent.clamp(0.0, 100.0) * 10_000.0).round() as u32;
    parts
}

fn share(percentage: Option<&Percent>) -> u32 {
    percentage.map_or(1_000_000, |p| parts_per_million(p.value))
}

/// `None`: the status is none that a redirect has.
pub(super) fn redirect(r: &HttpRedirect, port: u16, tls: bool) -> Option<Redirect> {
    let status = match r.redirect_code {
        0 => 301,
        code @ (301 | 302 | 303 | 307 | 308) => u16::try_from(code).ok()?,
        _ => return None,
    };
    let text = |t: &str| (!t.is_empty()).then(|| s(t));
    let wanted = match (r.port, r.derive_port) {
        (Some(p), _) => u16::try_from(p).ok(),
        (None, Some(RedirectPort::FromRequestPort)) => Some(port),
        _ => None,
    };
    let scheme = if r.scheme.is_empty() { if tls { "https" } else { "http" } } else { r.scheme.as_str() };
    let is_default = matches!((wanted, scheme), (Some(80), "http") | (Some(443), "https"));
    Some(Redirect {
        authority: text(&r.authority),
        port: wanted.filter(|_| !is_default),
        scheme: text(&r.scheme),
        path: if r.prefix_rewrite.is_empty() { text(&r.uri) } else { None },
        prefix: text(&r.prefix_rewrite),
        status,
        strip_query: false,
    })
}

/// `Err`: the body is not base64.
pub(super) fn direct_response(d: &varka_api::istio::DirectResponse) -> Result<DirectResponse, String> {
    let body = match d.body.as_ref().map(|b| (&b.string, &b.bytes)) {
        Some((Some(text), _)) => Some(text.clone().into_bytes().into()),
        Some((None, Some(encoded))) => Some(crate::secret::base64(encoded).ok_or("body.bytes is not base64")?.into()),
        _ => None,
    };
    Ok(DirectResponse { status: u16::try_from(d.status).unwrap_or(500), body })
}

pub(super) fn fault(f: &ApiFault) -> Fault {
    let whole = |percent: i32, p: Option<&Percent>| {
        if p.is_none() && percent > 0 { parts_per_million(f64::from(percent)) } else { share(p) }
    };
    Fault {
        delay: f.delay.as_ref().and_then(|d| {
            let duration = d.fixed_delay?.to_std();
            Some(FaultDelay { duration, parts_per_million: whole(d.percent, d.percentage.as_ref()) })
        }),
        // Of HTTP/2 errors Istio makes no fault either.
        abort: f.abort.as_ref().filter(|a| a.http_status.is_some() || a.grpc_status.is_some()).map(|a| FaultAbort {
            status: a.http_status.and_then(|c| u16::try_from(c).ok()).unwrap_or(200),
            grpc_status: a.grpc_status.as_deref().and_then(grpc_status),
            parts_per_million: share(a.percentage.as_ref()),
        }),
    }
}

/// gRPC status codes by name or number.
fn grpc_status(name: &str) -> Option<u32> {
    let by_name =
        varka_api::istio::GRPC_STATUS_NAMES.iter().position(|n| *n == name).and_then(|i| u32::try_from(i).ok());
    by_name.or_else(|| name.parse().ok())
}

/// Cross-origin policy; the error names a pattern that is none.
pub(super) fn cors_policy(c: &CorsPolicy) -> Result<Cors, String> {
    let mut origins = Vec::new();
    for origin in &c.allow_origins {
        origins.push(match (&origin.exact, &origin.prefix, &origin.regex) {
            (Some(t), _, _) => StringMatch::Exact { value: s(t), ignore_case: false },
            (_, Some(t), _) => StringMatch::Prefix { value: s(t), ignore_case: false },
            (_, _, Some(t)) => StringMatch::Regex(pattern(t)?),
            (None, None, None) => continue,
        });
    }
    for origin in &c.allow_origin {
        origins.push(match origin.as_str() {
            "*" => StringMatch::Regex(pattern(".*")?),
            exact => StringMatch::Exact { value: s(exact), ignore_case: false },
        });
    }
    Ok(Cors {
        origins,
        methods: s(c.allow_methods.join(",")),
        headers: s(c.allow_headers.join(",")),
        expose_headers: s(c.expose_headers.join(",")),
        max_age: c.max_age.map_or_else(|| s(""), |d| s(d.to_std().as_secs().to_string())),
        credentials: c.allow_credentials == Some(true),
        forward_unmatched_preflights: c.unmatched_preflights != UnmatchedPreflights::Ignore,
    })
}

/// Path and authority changes; the error names a pattern that is none.
pub(super) fn rewrite(r: Option<&HttpRewrite>, authority: Option<Str>) -> Result<Rewrite, String> {
    let mut out = Rewrite { authority, ..Rewrite::default() };
    let Some(r) = r else { return Ok(out) };
    if let Some(regex) = &r.uri_regex_rewrite {
        out.regex = Some((search_pattern(&regex.r#match)?, s(&regex.rewrite)));
    } else if !r.uri.is_empty() {
        out.prefix = Some(s(&r.uri));
    }
    if !r.authority.is_empty() {
        out.authority = Some(s(&r.authority));
    }
    Ok(out)
}

/// Takes a matched prefix away, and leaves a slash.
pub(super) fn without_prefix(matched: &PathMatch) -> Result<(varka_engine::ir::Regex, Str), String> {
    let prefix = match matched {
        PathMatch::SeparatedPrefix(prefix) => &**prefix,
        _ => "",
    };
    Ok((pattern(&format!("^{}(/?)(.*)", regex::escape(prefix)))?, s(r"/\2")))
}

fn search_pattern(source: &str) -> Result<varka_engine::ir::Regex, String> {
    pattern(source)
}

/// Shadow copies of a rule; a share of zero means none. `cluster` names a destination's cluster.
pub(super) fn mirrors(route: &HttpRoute, cluster: impl Fn(&varka_api::istio::Destination) -> Str) -> Vec<Mirror> {
    let mut out = Vec::new();
    if let Some(destination) = &route.mirror {
        let parts = match (&route.mirror_percentage, route.mirror_percent) {
            (Some(p), _) => parts_per_million(p.value),
            (None, Some(percent)) => parts_per_million(f64::from(percent)),
            (None, None) => 1_000_000,
        };
        out.push((destination, parts));
    }
    for mirror in &route.mirrors {
        if let Some(destination) = &mirror.destination {
            out.push((destination, share(mirror.percentage.as_ref())));
        }
    }
    out.into_iter()
        .filter(|(_, parts)| *parts > 0)
        .map(|(d, parts_per_million)| Mirror { cluster: cluster(d), parts_per_million, shadow_host_suffix: false })
        .collect()
}
