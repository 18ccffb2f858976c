//! Access logs, by MeshConfig and Telemetry, and which Telemetry resources apply to a workload.

use std::collections::BTreeMap;
use std::sync::Arc;

use varka_api::Object;
use varka_api::istio::{AccessLogEncoding, AccessLogging, MeshConfig, Telemetry, WorkloadMode};
use varka_engine::expression::Expression;
use varka_engine::ir::{AccessLog, AccessLogFormat, AccessLogSink, ISTIO_JSON, ISTIO_TEXT, Str};

use crate::context::{Ctx, s};
use crate::diagnostic::Severity;
use crate::snapshot::{Kind, by_age};

use super::attach;

/// Which side of a connection is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Outbound, and gateways.
    Client,
    /// Inbound.
    Server,
}

impl Side {
    /// Whether a setting for `mode` is for this side.
    pub(super) fn is_meant(self, mode: WorkloadMode) -> bool {
        match mode {
            WorkloadMode::Undefined | WorkloadMode::ClientAndServer => true,
            WorkloadMode::Client => self == Self::Client,
            WorkloadMode::Server => self == Self::Server,
        }
    }
}

/// Logs of requests and connections.
pub(crate) fn access_logs(ctx: &Ctx<'_>, side: Side) -> Vec<AccessLog> {
    let mesh = ctx.mesh();
    let mut logs = Vec::new();
    for (provider, setting) in providers(ctx, side) {
        let Some(mut log) =
            (if provider.is_empty() { mesh_log(mesh, setting.is_some()) } else { provider_log(mesh, provider) })
        else {
            continue;
        };
        log.filter = setting.and_then(|s| filter(ctx, s));
        if !logs.contains(&log) {
            logs.push(log);
        }
    }
    logs
}

/// A setting, and where it was written.
#[derive(Clone, Copy)]
struct Setting<'a> {
    telemetry: &'a Arc<Object<Telemetry>>,
    index: usize,
    logging: &'a AccessLogging,
}

/// Name of the log that `accessLogFile` says, which is the provider where no other is named.
const OWN: &str = "";

/// Providers by name, each with the setting that turned it on; `None`: the mesh's default.
///
/// A Telemetry that names providers puts them in the place of those above it; one that names none says something of those above it.
fn providers<'a>(ctx: &Ctx<'a>, side: Side) -> BTreeMap<&'a str, Option<Setting<'a>>> {
    let mesh = ctx.mesh();
    let defaults: Vec<&'a str> = match mesh.default_providers.get("accessLogging") {
        Some(names) if !names.is_empty() => names.iter().map(String::as_str).collect(),
        _ => vec![OWN],
    };
    let mut on: BTreeMap<&'a str, Option<Setting<'a>>> = defaults.iter().map(|name| (*name, None)).collect();
    let mut above = defaults;
    for telemetry in applicable(ctx) {
        let logging = telemetry.spec.access_logging.iter().enumerate();
        let fits: Vec<_> = logging.filter(|(_, l)| is_for(l, side)).collect();
        let named = |l: &&'a AccessLogging| l.providers.iter().map(|p| p.name.as_str());
        let names: Vec<&'a str> = fits.iter().flat_map(|(_, l)| named(l)).collect();
        if !names.is_empty() {
            on.retain(|name, _| names.contains(name));
        }
        for (index, logging) in &fits {
            let own: Vec<&'a str> = named(logging).collect();
            let meant = if own.is_empty() { above.clone() } else { own };
            for name in meant {
                if logging.disabled == Some(true) {
                    on.remove(name);
                } else {
                    check_provider(ctx, telemetry, *index, name);
                    on.insert(name, Some(Setting { telemetry, index: *index, logging }));
                }
            }
        }
        if !names.is_empty() {
            above = names;
        }
    }
    on
}

fn check_provider(ctx: &Ctx<'_>, telemetry: &Object<Telemetry>, index: usize, name: &str) {
    if name != OWN && provider_log(ctx.mesh(), name).is_none() {
        ctx.report(
            Severity::Warning,
            "unknown-provider",
            telemetry,
            &format!("spec.accessLogging[{index}].providers"),
            format!("MeshConfig has no file access log provider `{name}`"),
            "nothing is logged for it",
        );
    }
}

/// The filter of a setting, where the proxy can evaluate it; Envoy knows more than ours.
fn filter(ctx: &Ctx<'_>, setting: Setting<'_>) -> Option<Str> {
    let expression = &setting.logging.filter.as_ref()?.expression;
    let error = if ctx.is_envoy() { None } else { Expression::parse(expression).err() };
    if let Some(error) = error {
        ctx.report(
            Severity::Warning,
            "access-log-filter",
            setting.telemetry,
            &format!("spec.accessLogging[{}].filter.expression", setting.index),
            format!("the expression cannot be evaluated: {error}"),
            "every request is logged",
        );
        return None;
    }
    Some(s(expression))
}

/// Logs of connections that no filter chain took.
pub(crate) fn listener_access_logs(ctx: &Ctx<'_>, side: Side) -> Vec<AccessLog> {
    access_logs(ctx, side).into_iter().map(|l| AccessLog { only_not_found: true, ..l }).collect()
}

/// Telemetry resources of the mesh, the namespace and the workload; later ones win.
pub(super) fn applicable<'a>(ctx: &Ctx<'a>) -> Vec<&'a Arc<Object<Telemetry>>> {
    let store = &ctx.snapshot.stores.telemetries;
    let of = |namespace: &str, wanted: &dyn Fn(&Object<Telemetry>) -> bool| {
        let mut found: Vec<_> = ctx.namespace(Kind::Telemetry, store, namespace).filter(|t| wanted(t)).collect();
        found.sort_by(|a, b| by_age(a, b));
        found
    };
    let whole = |t: &Object<Telemetry>| attach::is_of_namespace(&t.spec);
    let (root, own) = (ctx.root_namespace(), &*ctx.proxy.namespace);
    // The oldest alone speaks for a namespace.
    let mut all: Vec<_> = of(root, &whole).into_iter().take(1).collect();
    if root != own {
        all.extend(of(own, &whole).into_iter().take(1));
    }
    all.extend(of(own, &|t| !whole(t) && attach::is_for(ctx.proxy, own, &t.spec)));
    all
}

fn is_for(setting: &AccessLogging, side: Side) -> bool {
    side.is_meant(setting.r#match.as_ref().map_or(WorkloadMode::Undefined, |m| m.mode))
}

/// What `accessLogFile` says; where it says nothing, a Telemetry that turns logs on means standard output.
fn mesh_log(mesh: &MeshConfig, asked: bool) -> Option<AccessLog> {
    let file = mesh.access_log_file.as_deref().unwrap_or("/dev/stdout");
    if file.is_empty() {
        return asked.then(|| log("/dev/stdout", AccessLogFormat::Text(s(ISTIO_TEXT))));
    }
    let own = mesh.access_log_format.as_str();
    let format = match mesh.access_log_encoding {
        AccessLogEncoding::Text => AccessLogFormat::Text(s(if own.is_empty() { ISTIO_TEXT } else { own })),
        AccessLogEncoding::Json => {
            let keys: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(own).ok();
            AccessLogFormat::Json(keys.map_or_else(default_keys, |keys| {
                keys.iter().map(|(k, v)| (s(k), v.as_str().map_or_else(|| s(v.to_string()), s))).collect()
            }))
        }
    };
    Some(log(file, format))
}

fn default_keys() -> Vec<(Str, Str)> {
    ISTIO_JSON.iter().map(|(k, v)| (s(k), s(v))).collect()
}

fn provider_log(mesh: &MeshConfig, name: &str) -> Option<AccessLog> {
    let provider = mesh.extension_providers.iter().find(|p| p.name == name);
    let Some(file) = provider.and_then(|p| p.envoy_file_access_log.as_ref()) else {
        // The provider that every mesh has.
        return (name == "envoy").then(|| log("/dev/stdout", AccessLogFormat::Text(s(ISTIO_TEXT))));
    };
    let format = match &file.log_format {
        Some(f) if f.labels.is_some() => {
            AccessLogFormat::Json(f.labels.iter().flatten().map(|(k, v)| (s(k), s(v))).collect())
        }
        Some(f) => AccessLogFormat::Text(
            f.text
                .as_deref()
                .map_or_else(|| s(ISTIO_TEXT), |t| if t.ends_with('\n') { s(t) } else { s(format!("{t}\n")) }),
        ),
        None => AccessLogFormat::Text(s(ISTIO_TEXT)),
    };
    Some(log(&file.path, format))
}

fn log(path: &str, format: AccessLogFormat) -> AccessLog {
    let sink = if path == "/dev/stdout" { AccessLogSink::Stdout } else { AccessLogSink::File(s(path)) };
    AccessLog { sink, format, only_not_found: false, filter: None }
}

#[cfg(test)]
mod tests;
