//! Routes: the VirtualServices that they mean, and what is to be told about each parent.

use std::collections::BTreeMap;

use serde_json::Value;
use varka_api::istio::{HttpMatch, HttpRoute, TcpRoute, TlsRoute, VirtualService};
use varka_api::kube::ParentReference;
use varka_api::{Object, ObjectMeta, Position};
use varka_engine::ir::Str;

use super::attach::{self, Attachment, Parent, Route};
use super::listeners::Served;
use super::{GATEWAY_SEMANTICS, MADE, PARENTS, Problem, World, grpc, http, made, precedence, streams};
use crate::snapshot::by_age;

/// A rule with the place that it was written at.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) route: HttpRoute,
    pub(super) origin: Str,
}

/// Rules of a route, and what is wrong with some of them. A rule that cannot be made takes all of them with it.
#[derive(Debug, Clone, Default)]
pub(super) struct Conversion<R> {
    rules: Vec<R>,
    problem: Option<Problem>,
}

impl<R> Conversion<R> {
    pub(super) fn collect<I>(
        rules: impl Iterator<Item = I>,
        mut convert: impl FnMut(I) -> Result<(Vec<R>, Option<Problem>), Problem>,
    ) -> Self {
        let mut out = Self { rules: Vec::new(), problem: None };
        for rule in rules {
            match convert(rule) {
                Ok((made, problem)) => {
                    out.rules.extend(made);
                    out.problem = problem.or(out.problem);
                }
                Err(problem) => return Self { rules: Vec::new(), problem: Some(problem) },
            }
        }
        out
    }
}

/// What came of a route.
#[derive(Debug)]
pub(super) struct RouteResult {
    pub(super) kind: &'static str,
    pub(super) metadata: ObjectMeta,
    /// As it is.
    pub(super) status: Value,
    pub(super) parents: Vec<ParentResult>,
    /// Listeners that it is attached to: namespace and name of the Gateway, name of the listener.
    pub(super) attached: Vec<(String, String, String)>,
}

/// What came of one reference, to one listener or to the mesh.
#[derive(Debug)]
pub(super) struct ParentResult {
    pub(super) reference: ParentReference,
    pub(super) denied: Option<Problem>,
    pub(super) problem: Option<Problem>,
}

/// What came of all routes.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// With the origin of each HTTP rule.
    pub(super) virtual_services: Vec<(Object<VirtualService>, Vec<Str>)>,
    pub(super) results: Vec<RouteResult>,
}

/// Rules of one route for one host.
struct Part {
    metadata: ObjectMeta,
    position: Position,
    parent: String,
    gateway: String,
    host: String,
    rules: Vec<Rule>,
}

pub(super) fn convert(world: &World<'_>, served: &[Served]) -> Made {
    let mut out = Made::default();
    // Rules of several routes for one host of one listener are one VirtualService.
    let mut parts: BTreeMap<String, Vec<Part>> = BTreeMap::new();
    let stores = world.stores;
    for object in aged(stores.kubernetes_http_routes.iter()) {
        let route = route("HTTPRoute", &object.metadata, &object.spec.parent_refs, &object.spec.hostnames);
        let source = Source { world, served, route, position: &object.position, status: &object.status };
        out.results.push(source.http(|mesh| http::rules(world, object, mesh), &mut parts));
    }
    for object in aged(stores.kubernetes_grpc_routes.iter()) {
        let route = route("GRPCRoute", &object.metadata, &object.spec.parent_refs, &object.spec.hostnames);
        let source = Source { world, served, route, position: &object.position, status: &object.status };
        out.results.push(source.http(|mesh| grpc::rules(world, object, mesh), &mut parts));
    }
    for (key, parts) in parts {
        out.virtual_services.extend(merge(&key, parts));
    }
    for object in aged(stores.kubernetes_tls_routes.iter()) {
        let route = route("TLSRoute", &object.metadata, &object.spec.parent_refs, &object.spec.hostnames);
        let source = Source { world, served, route, position: &object.position, status: &object.status };
        let result = source.tls(|mesh| streams::tls(world, object, mesh), &mut out);
        out.results.push(result);
    }
    for object in aged(stores.kubernetes_tcp_routes.iter()) {
        let route = route("TCPRoute", &object.metadata, &object.spec.parent_refs, &[]);
        let source = Source { world, served, route, position: &object.position, status: &object.status };
        let result = source.tcp(|mesh| streams::tcp(world, object, mesh), &mut out);
        out.results.push(result);
    }
    out
}

fn aged<'a, T: 'a>(objects: impl Iterator<Item = &'a std::sync::Arc<Object<T>>>) -> Vec<&'a Object<T>> {
    let mut all: Vec<&Object<T>> = objects.map(|o| &**o).collect();
    all.sort_by(|a, b| by_age(a, b));
    all
}

fn route<'r>(
    kind: &'static str,
    metadata: &'r ObjectMeta,
    references: &'r [ParentReference],
    hostnames: &'r [String],
) -> Route<'r> {
    Route { kind, metadata, references, hostnames }
}

/// One VirtualService of the rules of several routes, the oldest of which gives it its name space.
fn merge(key: &str, mut parts: Vec<Part>) -> Option<(Object<VirtualService>, Vec<Str>)> {
    let age = |p: &Part| {
        let meta = &p.metadata;
        (meta.creation_timestamp.clone().unwrap_or_default(), meta.namespace.clone(), meta.name.clone())
    };
    parts.sort_by_cached_key(age);
    let parents = parts.iter().map(|p| p.parent.as_str()).collect::<Vec<_>>().join(",");
    let mut rules: Vec<Rule> = parts.iter().flat_map(|p| p.rules.clone()).collect();
    precedence::sort(&mut rules);
    let first = parts.into_iter().next()?;
    let (http, origins) = rules.into_iter().map(|r| (r.route, r.origin)).unzip();
    let spec = VirtualService { hosts: vec![first.host], gateways: vec![first.gateway], http, ..Default::default() };
    Some((virtual_service(key.replace('/', "~"), &first.metadata, first.position, parents, spec), origins))
}

fn virtual_service(
    name: String,
    of: &ObjectMeta,
    position: Position,
    parents: String,
    spec: VirtualService,
) -> Object<VirtualService> {
    let annotations = [(PARENTS, parents), (crate::ingress::SEMANTICS, GATEWAY_SEMANTICS.to_owned())];
    let metadata = made(name, of, &of.namespace, &annotations);
    Object { metadata, spec, status: Value::Null, position }
}

/// A route and what it is converted with.
struct Source<'s> {
    world: &'s World<'s>,
    served: &'s [Served],
    route: Route<'s>,
    position: &'s Position,
    status: &'s Value,
}

impl<'s> Source<'s> {
    /// Its attachments, and its rules for clients in the mesh and for gateways, as far as they are needed.
    fn convert<R>(&self, rules: impl Fn(bool) -> Conversion<R>) -> (Vec<Attachment<'s>>, [Conversion<R>; 2]) {
        let attachments = attach::attachments(self.world, self.served, self.route);
        let made = [true, false].map(|mesh| {
            let needed = attachments.iter().any(|a| a.is_mesh() == mesh);
            if needed { rules(mesh) } else { Conversion { rules: Vec::new(), problem: None } }
        });
        (attachments, made)
    }

    fn result<R>(&self, attachments: Vec<Attachment<'_>>, [mesh, gateway]: &[Conversion<R>; 2]) -> RouteResult {
        let attached = attachments.iter().filter(|a| a.denied.is_none()).filter_map(|a| match &a.to {
            Parent::Listener { gateway: (namespace, name), listener } => {
                Some(((*namespace).to_owned(), (*name).to_owned(), listener.name.clone()))
            }
            _ => None,
        });
        let attached = attached.collect();
        let parents = attachments.into_iter().map(|a| ParentResult {
            problem: if a.is_mesh() { mesh.problem.clone() } else { gateway.problem.clone() },
            reference: a.reference,
            denied: a.denied,
        });
        RouteResult {
            kind: self.route.kind,
            metadata: self.route.metadata.clone(),
            status: self.status.clone(),
            parents: parents.collect(),
            attached,
        }
    }

    /// Attachments that hold, in the order of what they are attached to.
    fn accepted<'a>(attachments: &'a [Attachment<'s>]) -> Vec<&'a Attachment<'s>> {
        let mut out: Vec<_> = attachments.iter().filter(|a| a.denied.is_none()).collect();
        out.sort_by(|a, b| a.internal_name().cmp(b.internal_name()));
        out
    }

    /// Hosts of the Service or ServiceEntry; `None`: it is attached to a listener.
    fn mesh_hosts(&self, attachment: &Attachment<'_>) -> Option<Vec<String>> {
        match &attachment.to {
            Parent::Service { namespace, name } => Some(vec![self.world.fqdn(name, namespace)]),
            Parent::ServiceEntry { namespace, name } => {
                let entry = self.world.stores.service_entries.get(namespace, name);
                Some(entry.map(|e| e.spec.hosts.clone()).unwrap_or_default())
            }
            Parent::Listener { .. } => None,
        }
    }

    fn hostnames(&self) -> Vec<String> {
        let names = self.route.hostnames;
        if names.is_empty() { vec!["*".to_owned()] } else { names.to_vec() }
    }

    fn parent(&self) -> String {
        let meta = self.route.metadata;
        format!("{}/{}.{}", self.route.kind, meta.name, meta.namespace)
    }

    fn http(&self, rules: impl Fn(bool) -> Conversion<Rule>, parts: &mut BTreeMap<String, Vec<Part>>) -> RouteResult {
        let (attachments, made) = self.convert(rules);
        for attachment in Self::accepted(&attachments) {
            let [mesh, gateway] = &made;
            let mut rules = if attachment.is_mesh() { mesh.rules.clone() } else { gateway.rules.clone() };
            let mut key = attachment.internal_name().to_owned();
            if attachment.is_mesh() {
                key.clone_from(&self.route.metadata.namespace);
                if let Some(port) = attachment.reference.port {
                    key = format!("{key}/{port}");
                    rules.iter_mut().for_each(|r| on_port(&mut r.route, port));
                }
            }
            if rules.is_empty() {
                continue;
            }
            for host in self.mesh_hosts(attachment).unwrap_or_else(|| self.hostnames()) {
                if !attachment.serves(&host) {
                    continue;
                }
                parts.entry(format!("{key}/{host}")).or_default().push(Part {
                    metadata: self.route.metadata.clone(),
                    position: self.position.clone(),
                    parent: self.parent(),
                    gateway: attachment.internal_name().to_owned(),
                    host,
                    rules: rules.clone(),
                });
            }
        }
        self.result(attachments, &made)
    }

    fn tls(&self, rules: impl Fn(bool) -> Conversion<TlsRoute>, out: &mut Made) -> RouteResult {
        let (attachments, made) = self.convert(rules);
        let [mesh, gateway] = &made;
        let mut number = 0;
        for attachment in Self::accepted(&attachments) {
            let hosts: Vec<(String, Vec<TlsRoute>)> = match (self.mesh_hosts(attachment), &attachment.to) {
                (Some(names), _) => {
                    let port = attachment.reference.port;
                    let of = |host: &String| streams::tls_in_mesh(mesh.rules.clone(), &names, port, host);
                    names.iter().map(|host| (host.clone(), of(host))).collect()
                }
                (None, Parent::Listener { listener, .. }) if !listener.hostname.is_empty() => {
                    let rules = streams::tls_on_listener(gateway.rules.clone(), &listener.hostname);
                    let names = streams::intersection(&self.hostnames(), &listener.hostname);
                    names.into_iter().map(|host| (host, rules.clone())).collect()
                }
                (None, _) => self.hostnames().into_iter().map(|host| (host, gateway.rules.clone())).collect(),
            };
            for (host, tls) in hosts {
                let spec = VirtualService { tls, ..self.one_host(attachment, host) };
                out.virtual_services.push((self.stream("tls", number, spec), Vec::new()));
                number += 1;
            }
        }
        self.result(attachments, &made)
    }

    fn tcp(&self, rules: impl Fn(bool) -> Conversion<TcpRoute>, out: &mut Made) -> RouteResult {
        let (attachments, made) = self.convert(rules);
        let [mesh, gateway] = &made;
        let mut number = 0;
        for attachment in Self::accepted(&attachments) {
            let names = self.mesh_hosts(attachment);
            let rules = match (&names, attachment.reference.port) {
                (Some(_), Some(port)) => streams::tcp_on_port(mesh.rules.clone(), port),
                (Some(_), None) => mesh.rules.clone(),
                (None, _) => gateway.rules.clone(),
            };
            for host in names.unwrap_or_else(|| vec!["*".to_owned()]) {
                let spec = VirtualService { tcp: rules.clone(), ..self.one_host(attachment, host) };
                out.virtual_services.push((self.stream("tcp", number, spec), Vec::new()));
                number += 1;
            }
        }
        self.result(attachments, &made)
    }

    fn one_host(&self, attachment: &Attachment<'_>, host: String) -> VirtualService {
        let gateways = vec![attachment.internal_name().to_owned()];
        VirtualService { hosts: vec![host], gateways, ..VirtualService::default() }
    }

    fn stream(&self, kind: &str, number: usize, spec: VirtualService) -> Object<VirtualService> {
        let meta = self.route.metadata;
        let name = format!("{}~{kind}~{number}~{MADE}", meta.name);
        virtual_service(name, meta, self.position.clone(), self.parent(), spec)
    }
}

fn on_port(route: &mut HttpRoute, port: u32) {
    if route.r#match.is_empty() {
        route.r#match.push(HttpMatch::default());
    }
    route.r#match.iter_mut().for_each(|m| m.port = port);
}
