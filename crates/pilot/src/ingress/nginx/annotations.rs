//! Annotations `nginx.ingress.kubernetes.io/...`, with ingress-nginx' defaults. One that is not known is reported.

use std::time::Duration;

use varka_api::Object;
use varka_api::kube::Ingress;
use varka_engine::ir::{Cors, StringMatch};

use crate::context::{Ctx, s};
use crate::diagnostic::Severity;

const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// Settings of one Ingress.
#[derive(Debug, Clone)]
pub(in crate::ingress) struct Settings {
    pub(super) rewrite_target: Option<String>,
    pub(super) use_regex: bool,
    /// Between two reads from, or writes to, the backend.
    pub(super) idle_timeout: Duration,
    pub(super) connect_timeout: Duration,
    /// Largest body, bytes; `None`: no limit.
    pub(super) body_size: Option<u64>,
    pub(super) ssl_redirect: bool,
    pub(super) force_ssl_redirect: bool,
    pub(super) cors: Option<Cors>,
    /// `backend-protocol: GRPC`.
    pub(super) grpc: bool,
}

impl Settings {
    pub(super) fn of(ctx: &Ctx<'_>, ingress: &Object<Ingress>) -> Self {
        let get = |name: &str| ingress.metadata.annotations.get(&format!("{PREFIX}{name}")).map(String::as_str);
        let report = |name: &str, message: String, effect: &str| {
            let path = format!("metadata.annotations.{PREFIX}{name}");
            ctx.report(Severity::Warning, "ingress-annotation", ingress, &path, message, effect);
        };
        let flag = |name: &str, default: bool| match get(name) {
            Some("true") => true,
            Some("false") => false,
            None => default,
            Some(other) => {
                report(name, format!("`{other}` is neither true nor false"), "the default is used");
                default
            }
        };
        let seconds = |name: &str, default: u64| match get(name) {
            None => default,
            Some(text) => text.trim_end_matches('s').parse().unwrap_or_else(|_| {
                report(name, format!("`{text}` is not a number of seconds"), "the default is used");
                default
            }),
        };
        let body_size = match get("proxy-body-size") {
            None => Some(1 << 20),
            Some(text) => match size(text) {
                Some(0) => None,
                Some(bytes) => Some(bytes),
                None => {
                    report(
                        "proxy-body-size",
                        format!("`{text}` is not a size such as 8m"),
                        "the default of 1m is used",
                    );
                    Some(1 << 20)
                }
            },
        };
        let grpc = match get("backend-protocol") {
            None | Some("HTTP" | "AUTO_HTTP") => false,
            Some("GRPC") => true,
            Some(other) => {
                report("backend-protocol", format!("`{other}` is not supported; HTTP and GRPC are"), "HTTP is spoken");
                false
            }
        };
        for key in ingress.metadata.annotations.keys() {
            if let Some(name) = key.strip_prefix(PREFIX).filter(|n| !KNOWN.contains(n)) {
                report(name, "this annotation is not supported".to_owned(), "it has no effect");
            }
        }
        Self {
            rewrite_target: get("rewrite-target").filter(|t| !t.is_empty()).map(str::to_owned),
            use_regex: flag("use-regex", false),
            idle_timeout: Duration::from_secs(seconds("proxy-read-timeout", 60).min(seconds("proxy-send-timeout", 60))),
            connect_timeout: Duration::from_secs(seconds("proxy-connect-timeout", 5)),
            body_size,
            ssl_redirect: flag("ssl-redirect", true),
            force_ssl_redirect: flag("force-ssl-redirect", false),
            cors: flag("enable-cors", false).then(|| cors(&get)),
            grpc,
        }
    }
}

const KNOWN: &[&str] = &[
    "rewrite-target",
    "use-regex",
    "proxy-read-timeout",
    "proxy-send-timeout",
    "proxy-connect-timeout",
    "proxy-body-size",
    "ssl-redirect",
    "force-ssl-redirect",
    "enable-cors",
    "cors-allow-origin",
    "cors-allow-methods",
    "cors-allow-headers",
    "cors-expose-headers",
    "cors-allow-credentials",
    "cors-max-age",
    "backend-protocol",
];

/// nginx' sizes: bytes, or with `k`, `m`, `g`.
fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let (number, scale) = match text.chars().last()? {
        'k' => (text.get(..text.len() - 1)?, 1u64 << 10),
        'm' => (text.get(..text.len() - 1)?, 1 << 20),
        'g' => (text.get(..text.len() - 1)?, 1 << 30),
        _ => (text.as_str(), 1),
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

fn cors<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Cors {
    let or = |name: &str, default: &str| s(get(name).unwrap_or(default));
    let origins = get("cors-allow-origin").unwrap_or("*");
    let origins = origins.split(',').map(str::trim).filter(|o| !o.is_empty()).filter_map(|origin| {
        if !origin.contains('*') {
            return Some(StringMatch::Exact { value: s(origin), ignore_case: false });
        }
        let pattern = origin.split('*').map(regex::escape).collect::<Vec<_>>().join(".*");
        varka_engine::ir::Regex::new(&pattern).ok().map(StringMatch::Regex)
    });
    Cors {
        origins: origins.collect(),
        methods: or("cors-allow-methods", "GET, PUT, POST, DELETE, PATCH, OPTIONS"),
        headers: or(
            "cors-allow-headers",
            "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization",
        ),
        expose_headers: or("cors-expose-headers", ""),
        max_age: or("cors-max-age", "1728000"),
        credentials: get("cors-allow-credentials").is_none_or(|v| v != "false"),
        forward_unmatched_preflights: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("8m", Some(8 << 20)), ("0", Some(0)), ("10K", Some(10 << 10)), ("x", None), ("", None)] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }
}
