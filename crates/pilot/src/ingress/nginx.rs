//! Ingresses of class `nginx`, with the meaning that ingress-nginx gives them and their annotations.
//!
//! Outside the mesh the proxy has no certificate of the mesh and dials endpoints in plain text. In the mesh (label
//! `sidecar.istio.io/inject: "true"`) it is a client like any other, to which VirtualServices and DestinationRules apply.

mod annotations;
mod listeners;
mod mesh;
mod paths;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use varka_api::Object;
use varka_api::kube::{Ingress, IngressBackend};
use varka_engine::ir::{Cluster, ClusterProtocol, LbPolicy, Listener, RouteConfiguration, Str};

use crate::ProxyKind;
use crate::context::{Ctx, s};
use crate::registry::{Port, Service};
use crate::snapshot::{Kind, by_age};

pub(super) use annotations::Settings;

const HTTP: &str = "nginx.80";
const HTTPS: &str = "nginx.443";

/// Whether the proxy is the ingress of class `nginx`.
pub(crate) fn is_nginx(ctx: &Ctx<'_>) -> bool {
    let labelled = ctx.proxy.labels.get("app.kubernetes.io/name").is_some_and(|n| n == "ingress-nginx");
    ctx.proxy.kind == ProxyKind::Router && (labelled || &*ctx.proxy.namespace == "ingress-nginx")
}

/// Whether it is, without a certificate of the mesh.
pub(crate) fn is_outside(ctx: &Ctx<'_>) -> bool {
    is_nginx(ctx) && ctx.proxy.labels.get("sidecar.istio.io/inject").is_none_or(|v| v != "true")
}

/// Ingresses of the class, oldest first. Without a class an Ingress is ours, unless another class is the default.
pub(super) fn ours(ctx: &Ctx<'_>) -> Vec<Arc<Object<Ingress>>> {
    let stores = &ctx.snapshot.stores;
    let controller = "k8s.io/ingress-nginx";
    let classes: Vec<_> = ctx.all(Kind::IngressClass, &stores.ingress_classes).collect();
    let is_class = |name: &str| {
        name == "nginx" || classes.iter().any(|c| c.metadata.name == name && c.spec.controller == controller)
    };
    let default = classes.iter().find(|c| {
        c.metadata.annotations.get("ingressclass.kubernetes.io/is-default-class").is_some_and(|v| v == "true")
    });
    let mut found: Vec<_> = ctx
        .all(Kind::Ingress, &stores.ingresses)
        .filter(|i| {
            let annotation = i.metadata.annotations.get("kubernetes.io/ingress.class");
            match (i.spec.ingress_class_name.as_deref(), annotation) {
                (Some(class), _) => is_class(class),
                (None, Some(class)) => is_class(class),
                (None, None) => default.is_none_or(|c| c.spec.controller == controller),
            }
        })
        .cloned()
        .collect();
    found.sort_by(|a, b| by_age(a, b));
    found
}

/// The service and port of a backend.
pub(super) fn backend<'c>(
    ctx: &'c Ctx<'_>,
    ingress: &Object<Ingress>,
    backend: &IngressBackend,
) -> Option<(&'c Arc<Service>, u16)> {
    let wanted = backend.service.as_ref()?;
    let host = format!("{}.{}.svc.{}", wanted.name, ingress.metadata.namespace, ctx.snapshot.domain());
    let service = ctx.service(&host)?;
    let number = if wanted.port.number > 0 {
        u16::try_from(wanted.port.number).ok()?
    } else {
        service.ports.iter().find(|p| *p.name == wanted.port.name)?.number
    };
    service.port(number).map(|_| (service, number))
}

fn backends(ingress: &Object<Ingress>) -> impl Iterator<Item = &IngressBackend> {
    let rules = ingress.spec.rules.iter().filter_map(|r| r.http.as_ref());
    rules.flat_map(|h| h.paths.iter().map(|p| &p.backend)).chain(&ingress.spec.default_backend)
}

/// Clusters of all backends; in the mesh, those that VirtualServices add too.
pub(crate) fn clusters(ctx: &Ctx<'_>) -> Vec<Str> {
    let mut names = BTreeSet::new();
    for ingress in ours(ctx) {
        for wanted in backends(&ingress) {
            if let Some((service, port)) = backend(ctx, &ingress, wanted) {
                names.insert(s(format!("outbound|{port}||{}", service.host)));
            }
        }
    }
    if !is_outside(ctx) {
        for name in routes(ctx) {
            names.extend(route(ctx, &name).iter().flat_map(|r| paths::clusters_of(r)));
        }
    }
    names.extend(crate::policy::tracing(ctx, crate::policy::Side::Client).map(|t| t.provider.cluster().clone()));
    names.into_iter().collect()
}

/// A backend dialled in plain text, in turn, as nginx does.
pub(crate) fn cluster(ctx: &Ctx<'_>, base: Cluster, service: &Service, port: &Port) -> Cluster {
    let mut cluster = base;
    cluster.lb = LbPolicy::RoundRobin;
    cluster.connect_timeout = Duration::from_secs(5);
    cluster.services = vec![(service.host.clone(), service.name.clone(), service.namespace.clone())];
    for ingress in ours(ctx) {
        let leads_here = backends(&ingress)
            .any(|b| backend(ctx, &ingress, b).is_some_and(|(v, p)| v.host == service.host && p == port.number));
        if leads_here {
            let settings = Settings::of(ctx, &ingress);
            cluster.connect_timeout = settings.connect_timeout;
            if settings.grpc {
                cluster.http.protocol = ClusterProtocol::Http2;
            }
            break;
        }
    }
    cluster
}

/// Names of the two listeners.
pub(crate) fn listeners(ctx: &Ctx<'_>) -> Vec<Str> {
    listeners::names(ctx)
}

/// One of the two listeners.
pub(crate) fn listener(ctx: &Ctx<'_>, name: &str) -> Option<Arc<Listener>> {
    listeners::build(ctx, name).map(Arc::new)
}

/// Names of the two route tables.
pub(crate) fn routes(_: &Ctx<'_>) -> Vec<Str> {
    vec![s(HTTPS), s(HTTP)]
}

/// One of the two route tables.
pub(crate) fn route(ctx: &Ctx<'_>, name: &str) -> Option<Arc<RouteConfiguration>> {
    let port = match name {
        HTTP => 80,
        HTTPS => 443,
        _ => return None,
    };
    Some(Arc::new(paths::build(ctx, name, port)))
}
