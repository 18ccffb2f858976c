//! Spans: which requests have them, what they say, where they are sent, by MeshConfig and Telemetry.
//!
//! A provider of Telemetry or `defaultProviders` comes first; without any, `enableTracing` with the collector of
//! `defaultConfig.tracing`. The random share is Telemetry's, else that of `defaultConfig.tracing`, else 1 %.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use varka_api::Object;
use varka_api::istio::{
    CustomTag as TagSpec, ExtensionProvider, HttpHeaderSpec, OpenTelemetryProvider, Telemetry, TracingConfig,
    WorkloadMode, ZipkinProvider,
};
use varka_engine::ir::{CustomTag, CustomTagValue, HttpCollector, OtlpExporter, Str, Tracing, TracingProvider};

use super::telemetry::{Side, applicable};
use crate::context::{Ctx, s};
use crate::diagnostic::Severity;
use crate::route::parts_per_million;

/// Percent of requests that start a trace where nobody says otherwise.
const SAMPLING: f64 = 1.0;
/// Of everything that was chosen.
const ALL: u32 = 1_000_000;
/// What happens without a collector.
const NO_SPANS: &str = "no spans are made; trace headers of applications pass unchanged";
/// Where Zipkin takes spans.
const ZIPKIN_PATH: &str = "/api/v2/spans";
/// Limit of a report over HTTP where none is given.
const REPORT: Duration = Duration::from_secs(3);

/// A field of a Telemetry resource.
type Place = (Arc<Object<Telemetry>>, String);

/// What Telemetry resources say, the last word of each.
#[derive(Default)]
struct Spec {
    /// Its name, and where that is written; `None`: in MeshConfig.
    provider: Option<(String, Option<Place>)>,
    percent: Option<f64>,
    disabled: bool,
    tags: Option<BTreeMap<String, TagSpec>>,
    istio_tags: Option<bool>,
    any: bool,
}

/// Spans of one side; `None`: none.
pub(crate) fn tracing(ctx: &Ctx<'_>, side: Side) -> Option<Tracing> {
    let mesh = ctx.mesh();
    let own = mesh.default_config.as_ref().and_then(|c| c.tracing.as_ref());
    let spec = gather(ctx, side);
    if spec.disabled {
        return None;
    }
    let (provider, length) = match &spec.provider {
        Some((name, place)) => by_provider(ctx, name, place.as_ref())?,
        // Telemetry without a provider asks for nothing.
        None if spec.any => return None,
        None if mesh.enable_tracing => (legacy(ctx, own)?, 0),
        None => return None,
    };
    let percent = spec.percent.unwrap_or_else(|| sampling(own));
    let length = Some(length).filter(|n| *n > 0).or(own.map(|t| t.max_path_tag_length));
    Some(Tracing {
        client_sampling: ALL,
        random_sampling: parts_per_million(percent),
        overall_sampling: ALL,
        provider,
        custom_tags: tags(ctx, &spec, own),
        max_path_tag_length: length.filter(|n| *n > 0),
    })
}

fn sampling(own: Option<&TracingConfig>) -> f64 {
    match own.map_or(0.0, |t| t.sampling) {
        percent if percent > 100.0 => SAMPLING,
        percent if percent > 0.0 => percent,
        _ => SAMPLING,
    }
}

fn gather(ctx: &Ctx<'_>, side: Side) -> Spec {
    let default = ctx.mesh().default_providers.get("tracing").and_then(|p| p.first());
    let mut spec = Spec { provider: default.map(|name| (name.clone(), None)), ..Spec::default() };
    for telemetry in applicable(ctx) {
        for (i, t) in telemetry.spec.tracing.iter().enumerate() {
            spec.any = true;
            if !side.is_meant(t.r#match.as_ref().map_or(WorkloadMode::Undefined, |m| m.mode)) {
                continue;
            }
            if let Some(p) = t.providers.first() {
                spec.provider = Some((p.name.clone(), Some((Arc::clone(telemetry), format!("spec.tracing[{i}]")))));
            }
            if t.use_request_id_for_trace_sampling == Some(false) {
                let path = format!("spec.tracing[{i}].useRequestIdForTraceSampling");
                let what = "sampling without regard to the request's identifier is not implemented";
                let effect = "requests with an identifier are sampled by it, alike on every proxy";
                ctx.report(Severity::Warning, "not-implemented", telemetry, &path, what, effect);
            }
            spec.disabled = t.disable_span_reporting.unwrap_or(spec.disabled);
            spec.percent = t.random_sampling_percentage.or(spec.percent);
            spec.istio_tags = t.enable_istio_tags.or(spec.istio_tags);
            if !t.custom_tags.is_empty() {
                spec.tags = Some(t.custom_tags.clone());
            }
        }
    }
    spec
}

// --- providers

fn by_provider(ctx: &Ctx<'_>, name: &str, place: Option<&Place>) -> Option<(TracingProvider, u32)> {
    let provider = ctx.mesh().extension_providers.iter().find(|p| p.name.eq_ignore_ascii_case(name));
    let found = match provider {
        Some(ExtensionProvider { zipkin: Some(z), .. }) => zipkin(ctx, z).map(|p| (p, z.max_tag_length)),
        Some(ExtensionProvider { opentelemetry: Some(o), .. }) => open_telemetry(ctx, o).map(|p| (p, o.max_tag_length)),
        _ => Err(format!("MeshConfig has no provider `{name}` that takes spans")),
    };
    found.map_err(|why| report(ctx, place, why)).ok()
}

fn report(ctx: &Ctx<'_>, place: Option<&Place>, why: String) {
    const CODE: &str = "unusable-provider";
    match place {
        Some((telemetry, path)) => {
            ctx.report(Severity::Warning, CODE, telemetry, &format!("{path}.providers"), why, NO_SPANS);
        }
        None => ctx.report_mesh(CODE, "mesh.defaultProviders.tracing", why, NO_SPANS),
    }
}

fn zipkin(ctx: &Ctx<'_>, z: &ZipkinProvider) -> Result<TracingProvider, String> {
    let (hostname, cluster) = collector(ctx, &z.service, z.port)?;
    Ok(TracingProvider::Zipkin {
        cluster,
        hostname,
        path: s(if z.path.is_empty() { ZIPKIN_PATH } else { &z.path }),
        trace_id_128bit: !z.enable_64bit_trace_id,
        w3c: z.trace_context_option == "USE_B3_WITH_W3C_PROPAGATION",
    })
}

fn open_telemetry(ctx: &Ctx<'_>, o: &OpenTelemetryProvider) -> Result<TracingProvider, String> {
    let (hostname, cluster) = collector(ctx, &o.service, o.port)?;
    let exporter = match (&o.http, &o.grpc) {
        (Some(http), _) => OtlpExporter::Http(HttpCollector {
            cluster,
            uri: s(format!("{hostname}/{}", http.path.trim_start_matches('/'))),
            timeout: http.timeout.map_or(REPORT, |d| d.to_std()),
            headers: headers(&http.headers),
        }),
        (None, grpc) => OtlpExporter::Grpc {
            cluster,
            authority: hostname,
            timeout: grpc.as_ref().and_then(|g| g.timeout).map(|d| d.to_std()),
            initial_metadata: grpc.as_ref().map_or_else(Vec::new, |g| headers(&g.initial_metadata)),
        },
    };
    Ok(TracingProvider::OpenTelemetry { service_name: service_name(ctx), exporter })
}

fn headers(list: &[HttpHeaderSpec]) -> Vec<(Str, Str)> {
    list.iter().map(|h| (s(&h.name), s(&h.value))).collect()
}

/// `was.blog-system`, as the node's cluster is called.
fn service_name(ctx: &Ctx<'_>) -> Str {
    let labels = &ctx.proxy.labels;
    let name = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"].iter().find_map(|l| labels.get(*l));
    s(format!("{}.{}", name.map_or(&*ctx.proxy.name, String::as_str), ctx.proxy.namespace))
}

/// `[NAMESPACE/]HOST` and the name of its cluster.
fn collector(ctx: &Ctx<'_>, service: &str, port: u32) -> Result<(Str, Str), String> {
    let (namespace, host) = service.split_once('/').map_or((None, service), |(n, h)| (Some(n), h));
    let candidates = [host.to_owned(), format!("{host}.svc.cluster.local")];
    let mut known = candidates.iter().filter_map(|host| ctx.service(host));
    let Some(found) = known.find(|v| namespace.is_none_or(|n| *v.namespace == *n)) else {
        return Err(format!("this proxy sees no service `{service}`"));
    };
    match u16::try_from(port).ok().and_then(|number| found.port(number)) {
        Some(port) => Ok((found.host.clone(), s(format!("outbound|{}||{}", port.number, found.host)))),
        None => Err(format!("service `{}` has no port {port}", found.host)),
    }
}

/// The collector that a proxy's own bootstrap would name.
fn legacy(ctx: &Ctx<'_>, own: Option<&TracingConfig>) -> Option<TracingProvider> {
    let named = match own.and_then(|t| t.zipkin.as_ref()) {
        None => Err("no collector is named in defaultConfig.tracing.zipkin.address".to_owned()),
        Some(zipkin) => {
            let (host, port) = zipkin.address.rsplit_once(':').unwrap_or((&zipkin.address, "9411"));
            collector(ctx, host, port.parse().unwrap_or(0))
        }
    };
    match named {
        Ok((hostname, cluster)) => {
            let path = s(ZIPKIN_PATH);
            Some(TracingProvider::Zipkin { cluster, hostname, path, trace_id_128bit: true, w3c: false })
        }
        Err(why) => {
            ctx.report_mesh("unusable-provider", "mesh.enableTracing", why, NO_SPANS);
            None
        }
    }
}

// --- tags

fn tags(ctx: &Ctx<'_>, spec: &Spec, own: Option<&TracingConfig>) -> Vec<CustomTag> {
    let mut tags = Vec::new();
    if spec.istio_tags.or(own.and_then(|t| t.enable_istio_tags)).unwrap_or(true) {
        tags.extend(istio_tags(ctx));
    }
    let custom = spec.tags.as_ref().or(own.map(|t| &t.custom_tags));
    tags.extend(custom.into_iter().flatten().filter_map(|(name, tag)| custom_tag(name, tag)));
    tags.sort_by(|a, b| a.name.cmp(&b.name));
    tags
}

fn istio_tags(ctx: &Ctx<'_>) -> [CustomTag; 5] {
    let label = |name: &str| ctx.proxy.labels.get(name).map(String::as_str).filter(|v| !v.is_empty());
    let or = |value: Option<&str>, default: &str| s(value.unwrap_or(default));
    let some = |value: &Str| Some(value.to_string()).filter(|v| !v.is_empty());
    let tag = |name: &str, value: Str| CustomTag { name: s(name), value: CustomTagValue::Literal(value) };
    [
        tag("istio.canonical_revision", or(label("service.istio.io/canonical-revision"), "latest")),
        tag("istio.canonical_service", or(label("service.istio.io/canonical-name"), "unknown")),
        tag("istio.mesh_id", s(ctx.trust_domain())),
        tag("istio.namespace", or(some(&ctx.proxy.namespace).as_deref(), "default")),
        tag("istio.cluster_id", or(some(&ctx.proxy.cluster_id).as_deref(), "unknown")),
    ]
}

/// `None`: it says nothing of where its value comes from.
fn custom_tag(name: &str, tag: &TagSpec) -> Option<CustomTag> {
    let value = match tag {
        TagSpec { literal: Some(l), .. } => CustomTagValue::Literal(s(&l.value)),
        TagSpec { environment: Some(e), .. } => {
            CustomTagValue::Environment { name: s(&e.name), default: s(&e.default_value) }
        }
        TagSpec { header: Some(h), .. } => CustomTagValue::Header { name: s(&h.name), default: s(&h.default_value) },
        _ => return None,
    };
    Some(CustomTag { name: s(name), value })
}
