//! Kubernetes Ingresses of class `istio`: the Gateways and VirtualServices that they mean. Class `nginx` is in [`nginx`].

pub(crate) mod nginx;

use std::collections::BTreeMap;
use std::sync::Arc;

use varka_api::istio::{
    Destination, Gateway, GatewayTlsMode, HttpMatch, HttpRoute, PortSelector, RouteDestination, Server, ServerPort,
    ServerTls, StringMatch, VirtualService,
};
use varka_api::kube::{HttpIngressPath, Ingress, PathType};
use varka_api::{Object, ObjectMeta};

use crate::context::{Ctx, s};
use crate::snapshot::{Export, Kind, Prepared, by_age};

/// What Ingresses mean.
#[derive(Debug, Default)]
pub struct Converted {
    /// One for each Ingress.
    pub gateways: Vec<Object<Gateway>>,
    /// One for each namespace and host.
    pub virtual_services: Vec<Object<VirtualService>>,
}

pub(crate) struct Made {
    pub(crate) gateways: Vec<Arc<Object<Gateway>>>,
    pub(crate) virtual_services: Vec<Arc<Prepared>>,
}

/// Marks VirtualServices whose prefixes are compared by path elements.
pub(crate) const SEMANTICS: &str = "internal.istio.io/route-semantics";

/// Those of the snapshot, where the mesh serves the class.
pub(crate) fn istio_class(ctx: &Ctx<'_>) -> Made {
    let mesh = ctx.mesh();
    let class = if mesh.ingress_class.is_empty() { "istio" } else { &mesh.ingress_class };
    let mut ours: Vec<_> = ctx
        .all(Kind::Ingress, &ctx.snapshot.stores.ingresses)
        .filter(|_| mesh.ingress_controller_mode != "OFF")
        .filter(|i| {
            let annotation = i.metadata.annotations.get("kubernetes.io/ingress.class");
            annotation.is_some_and(|a| a == class)
                || i.spec.ingress_class_name.as_deref().is_some_and(|n| n == class || is_istio(ctx, n))
        })
        .map(|i| &**i)
        .collect();
    ours.sort_by(|a, b| by_age(a, b));
    let selector = if mesh.ingress_selector.is_empty() { "ingressgateway" } else { &mesh.ingress_selector };
    let converted = convert(&ours, ctx.snapshot.domain(), ctx.root_namespace(), selector, |i, name| {
        crate::registry::port_by_name(ctx.registry(), &i.metadata.namespace, name)
    });
    let prepared = converted.virtual_services.into_iter().map(|object| {
        let object = Arc::new(object);
        let origins = (0..object.spec.http.len()).map(|i| s(format!("{} http[{i}]", object.label()))).collect();
        Arc::new(Prepared { spec: object.spec.clone(), origins, export: Export::All, object })
    });
    Made { virtual_services: prepared.collect(), gateways: converted.gateways.into_iter().map(Arc::new).collect() }
}

fn is_istio(ctx: &Ctx<'_>, class: &str) -> bool {
    let found = ctx.object(Kind::IngressClass, &ctx.snapshot.stores.ingress_classes, "", class);
    found.is_some_and(|c| c.spec.controller == "istio.io/ingress-controller")
}

/// Gateways and VirtualServices of `ingresses`, oldest first. `named_port` finds a Service's port: `(name of the Service, name of the port)`.
pub fn convert(
    ingresses: &[&Object<Ingress>],
    domain: &str,
    root_namespace: &str,
    selector: &str,
    named_port: impl Fn(&Object<Ingress>, (&str, &str)) -> Option<u16>,
) -> Converted {
    let mut out = Converted::default();
    let mut by_host: BTreeMap<(String, String), usize> = BTreeMap::new();
    for ingress in ingresses {
        out.gateways.push(gateway(ingress, root_namespace, selector));
        let gateway_name = format!("{root_namespace}/{}", gateway_name(ingress));
        for rule in &ingress.spec.rules {
            let host = if rule.host.is_empty() { "*" } else { rule.host.as_str() };
            let Some(http) = &rule.http else { continue };
            let routes: Vec<HttpRoute> =
                http.paths.iter().filter_map(|p| route(ingress, p, domain, &named_port)).collect();
            let key = (ingress.metadata.namespace.clone(), host.to_owned());
            let existing = by_host.get(&key).and_then(|i| out.virtual_services.get_mut(*i));
            let object = match existing {
                Some(object) => object,
                None => {
                    by_host.insert(key, out.virtual_services.len());
                    out.virtual_services.push(virtual_service(ingress, host));
                    let Some(last) = out.virtual_services.last_mut() else { continue };
                    last.spec.gateways.push(gateway_name.clone());
                    last
                }
            };
            object.spec.http.extend(routes);
            object.spec.http.sort_by_key(precedence);
        }
        if let Some(backend) = &ingress.spec.default_backend {
            let path = HttpIngressPath { backend: backend.clone(), ..HttpIngressPath::default() };
            let mut object = virtual_service(ingress, "*");
            object.spec.gateways.push(gateway_name);
            object.spec.http.extend(route(ingress, &path, domain, &named_port));
            out.virtual_services.push(object);
        }
    }
    out
}

fn gateway_name(ingress: &Object<Ingress>) -> String {
    format!("{}-istio-autogenerated-k8s-ingress-{}", ingress.metadata.name, ingress.metadata.namespace)
}

fn gateway(ingress: &Object<Ingress>, root_namespace: &str, selector: &str) -> Object<Gateway> {
    let (name, namespace) = (&ingress.metadata.name, &ingress.metadata.namespace);
    let mut servers = Vec::new();
    for (i, tls) in ingress.spec.tls.iter().enumerate() {
        // Without a Secret there is nothing to serve with.
        if tls.secret_name.is_empty() {
            continue;
        }
        let hosts = if tls.hosts.is_empty() { vec!["*".to_owned()] } else { tls.hosts.clone() };
        servers.push(Server {
            port: Some(ServerPort {
                number: 443,
                protocol: "HTTPS".to_owned(),
                name: format!("https-443-ingress-{name}-{namespace}-{i}"),
                target_port: 0,
            }),
            hosts,
            tls: Some(ServerTls {
                mode: GatewayTlsMode::Simple,
                credential_name: tls.secret_name.clone(),
                ..ServerTls::default()
            }),
            ..Server::default()
        });
    }
    servers.push(Server {
        port: Some(ServerPort {
            number: 80,
            protocol: "HTTP".to_owned(),
            name: format!("http-80-ingress-{name}-{namespace}"),
            target_port: 0,
        }),
        hosts: vec!["*".to_owned()],
        ..Server::default()
    });
    let metadata = ObjectMeta {
        name: gateway_name(ingress),
        namespace: root_namespace.to_owned(),
        creation_timestamp: ingress.metadata.creation_timestamp.clone(),
        ..ObjectMeta::default()
    };
    let spec = Gateway { servers, selector: BTreeMap::from([("istio".to_owned(), selector.to_owned())]) };
    Object { metadata, spec, status: serde_json::Value::Null, position: ingress.position.clone() }
}

fn virtual_service(ingress: &Object<Ingress>, host: &str) -> Object<VirtualService> {
    let prefix = host.replace(['.', '*'], "-");
    let metadata = ObjectMeta {
        name: format!("{prefix}-{}-istio-autogenerated-k8s-ingress", ingress.metadata.name),
        namespace: ingress.metadata.namespace.clone(),
        annotations: BTreeMap::from([(SEMANTICS.to_owned(), "ingress".to_owned())]),
        creation_timestamp: ingress.metadata.creation_timestamp.clone(),
        ..ObjectMeta::default()
    };
    let spec = VirtualService { hosts: vec![host.to_owned()], ..VirtualService::default() };
    Object { metadata, spec, status: serde_json::Value::Null, position: ingress.position.clone() }
}

fn route(
    ingress: &Object<Ingress>,
    path: &HttpIngressPath,
    domain: &str,
    named_port: &impl Fn(&Object<Ingress>, (&str, &str)) -> Option<u16>,
) -> Option<HttpRoute> {
    let service = path.backend.service.as_ref()?;
    let number = if service.port.number > 0 {
        service.port.number
    } else {
        u32::from(named_port(ingress, (&service.name, &service.port.name))?)
    };
    let destination = Destination {
        host: format!("{}.{}.svc.{domain}", service.name, ingress.metadata.namespace),
        port: Some(PortSelector { number }),
        ..Destination::default()
    };
    let uri = match path.path_type {
        PathType::Exact => Some(StringMatch { exact: Some(path.path.clone()), ..StringMatch::default() }),
        PathType::Prefix => Some(prefix(&path.path)),
        PathType::ImplementationSpecific => glob(&path.path),
    };
    let matches = uri.map(|uri| HttpMatch { uri: Some(uri), ..HttpMatch::default() });
    Some(HttpRoute {
        r#match: matches.into_iter().collect(),
        route: vec![RouteDestination { destination: Some(destination), weight: 100, headers: None }],
        ..HttpRoute::default()
    })
}

fn prefix(path: &str) -> StringMatch {
    StringMatch { prefix: Some(path.to_owned()), ..StringMatch::default() }
}

/// Istio's reading of a path without a type: `/x*` and `/x.*` are prefixes, `` and `/*` are everything, else it is exact.
fn glob(path: &str) -> Option<StringMatch> {
    if path.is_empty() || path == "/*" {
        return None;
    }
    let start = path.strip_suffix(".*").or_else(|| path.strip_suffix('*'));
    Some(match start {
        Some(start) => prefix(start),
        None => StringMatch { exact: Some(path.to_owned()), ..StringMatch::default() },
    })
}

/// Exact before prefix, longer before shorter, what takes everything last.
fn precedence(route: &HttpRoute) -> (u8, std::cmp::Reverse<usize>) {
    let uri = route.r#match.first().and_then(|m| m.uri.as_ref());
    match uri.map(|u| (&u.exact, &u.prefix)) {
        Some((Some(exact), _)) => (0, std::cmp::Reverse(exact.len())),
        Some((None, Some(prefix))) => (1, std::cmp::Reverse(prefix.len())),
        _ => (2, std::cmp::Reverse(0)),
    }
}
