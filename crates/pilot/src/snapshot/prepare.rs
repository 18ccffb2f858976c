//! VirtualServices with full names and their delegates, DestinationRules by host: what every compilation starts from.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use varka_api::Object;
use varka_api::istio::{Destination, DestinationRule, HttpMatch, HttpRoute, MeshConfig, StringMatch, VirtualService};
use varka_engine::ir::Str;

use super::{Store, by_age};
use crate::hosts;

/// A VirtualService whose names are resolved and whose delegates are merged into it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// As it was written.
    pub object: Arc<Object<VirtualService>>,
    /// Resolved.
    pub spec: VirtualService,
    /// Where each of `spec.http` was written: label and field path.
    pub origins: Vec<Str>,
    /// Who sees it.
    pub(crate) export: Export,
}

impl Prepared {
    /// Namespace.
    pub fn namespace(&self) -> &str {
        &self.object.metadata.namespace
    }

    /// Name.
    pub fn name(&self) -> &str {
        &self.object.metadata.name
    }
}

/// Namespaces that see an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Export {
    /// All.
    All,
    /// These.
    Some(Vec<Str>),
}

impl Export {
    /// From `exportTo` of an object in `namespace`, or the mesh's default.
    pub(crate) fn of(export_to: &[String], default: &[String], namespace: &str) -> Self {
        let list = if export_to.is_empty() { default } else { export_to };
        if list.is_empty() || list.iter().any(|e| e == "*") {
            return Self::All;
        }
        let mut namespaces = Vec::new();
        for entry in list {
            match entry.as_str() {
                "~" => {}
                "." => namespaces.push(namespace.into()),
                name => namespaces.push(name.into()),
            }
        }
        Self::Some(namespaces)
    }

    /// Whether `namespace` sees the object.
    pub(crate) fn reaches(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(list) => list.iter().any(|n| &**n == namespace),
        }
    }
}

/// Every VirtualService that is not a mere delegate, oldest first.
pub(crate) fn prepare_virtual_services(
    store: &Store<VirtualService>,
    mesh: &MeshConfig,
    domain: &str,
) -> Vec<Arc<Prepared>> {
    let mut objects: Vec<_> = store.iter().filter(|o| !o.spec.hosts.is_empty()).collect();
    objects.sort_by(|a, b| by_age(a, b));
    objects.into_iter().map(|object| Arc::new(prepare(object, store, mesh, domain))).collect()
}

fn prepare(
    object: &Arc<Object<VirtualService>>,
    store: &Store<VirtualService>,
    mesh: &MeshConfig,
    domain: &str,
) -> Prepared {
    let namespace = object.metadata.namespace.as_str();
    let mut spec = object.spec.clone();
    for host in &mut spec.hosts {
        *host = hosts::resolve(host, namespace, domain).to_ascii_lowercase();
    }
    for gateway in &mut spec.gateways {
        *gateway = resolve_gateway(gateway, namespace);
    }
    for tls in &mut spec.tls {
        for m in &mut tls.r#match {
            m.gateways.iter_mut().for_each(|g| *g = resolve_gateway(g, namespace));
        }
        tls.route.iter_mut().for_each(|r| resolve_destination(r.destination.as_mut(), namespace, domain));
    }
    for tcp in &mut spec.tcp {
        for m in &mut tcp.r#match {
            m.gateways.iter_mut().for_each(|g| *g = resolve_gateway(g, namespace));
        }
        tcp.route.iter_mut().for_each(|r| resolve_destination(r.destination.as_mut(), namespace, domain));
    }
    let mut http = Vec::new();
    let mut origins = Vec::new();
    for (i, route) in spec.http.drain(..).enumerate() {
        let origin: Str = format!("{} http[{i}]", object.label()).into();
        match &route.delegate {
            None => {
                http.push(resolve_http(route, namespace, domain));
                origins.push(origin);
            }
            Some(delegate) => {
                let at = if delegate.namespace.is_empty() { namespace } else { &delegate.namespace };
                let Some(target) = store.get(at, &delegate.name).filter(|t| t.spec.hosts.is_empty()) else { continue };
                for (j, part) in target.spec.http.iter().enumerate() {
                    if let Some(merged) = merge_delegate(&route, resolve_http(part.clone(), at, domain), namespace) {
                        http.push(merged);
                        origins.push(format!("{} http[{j}]", target.label()).into());
                    }
                }
            }
        }
    }
    spec.http = http;
    let export = Export::of(&object.spec.export_to, &mesh.default_virtual_service_export_to, namespace);
    Prepared { object: object.clone(), spec, origins, export }
}

fn resolve_gateway(gateway: &str, namespace: &str) -> String {
    if gateway == "mesh" || gateway.contains('/') { gateway.to_owned() } else { format!("{namespace}/{gateway}") }
}

fn resolve_destination(destination: Option<&mut Destination>, namespace: &str, domain: &str) {
    if let Some(d) = destination {
        d.host = hosts::resolve(&d.host, namespace, domain);
    }
}

fn resolve_http(mut route: HttpRoute, namespace: &str, domain: &str) -> HttpRoute {
    for m in &mut route.r#match {
        m.gateways.iter_mut().for_each(|g| *g = resolve_gateway(g, namespace));
    }
    route.route.iter_mut().for_each(|r| resolve_destination(r.destination.as_mut(), namespace, domain));
    resolve_destination(route.mirror.as_mut(), namespace, domain);
    route.mirrors.iter_mut().for_each(|m| resolve_destination(m.destination.as_mut(), namespace, domain));
    route
}

/// A delegate's rule below the root's: conditions are joined, settings of the root win where both have them.
/// `None` when the conditions contradict, so that the rule can never apply.
fn merge_delegate(root: &HttpRoute, mut rule: HttpRoute, root_namespace: &str) -> Option<HttpRoute> {
    let root_matches: Vec<HttpMatch> = root
        .r#match
        .iter()
        .cloned()
        .map(|mut m| {
            m.gateways.iter_mut().for_each(|g| *g = resolve_gateway(g, root_namespace));
            m
        })
        .collect();
    rule.r#match = match (root_matches.is_empty(), rule.r#match.is_empty()) {
        (true, _) => rule.r#match,
        (false, true) => root_matches,
        (false, false) => {
            let joined: Vec<HttpMatch> =
                root_matches.iter().flat_map(|r| rule.r#match.iter().filter_map(|d| join(r, d))).collect();
            if joined.is_empty() {
                return None;
            }
            joined
        }
    };
    if !root.name.is_empty() {
        rule.name = if rule.name.is_empty() { root.name.clone() } else { format!("{}-{}", root.name, rule.name) };
    }
    macro_rules! root_wins {
        ($($field:ident),*) => { $(if root.$field.is_some() { rule.$field = root.$field.clone(); })* };
    }
    root_wins!(rewrite, timeout, retries, fault, mirror, mirror_percentage, mirror_percent, cors_policy);
    if let Some(headers) = &root.headers {
        let own = rule.headers.get_or_insert_default();
        merge_operations(&mut own.request, headers.request.as_ref());
        merge_operations(&mut own.response, headers.response.as_ref());
    }
    Some(rule)
}

fn merge_operations(
    own: &mut Option<varka_api::istio::HeaderOperations>,
    root: Option<&varka_api::istio::HeaderOperations>,
) {
    let Some(root) = root else { return };
    let own = own.get_or_insert_default();
    own.set.extend(root.set.clone());
    own.add.extend(root.add.clone());
    own.remove.extend(root.remove.iter().cloned());
}

/// Both conditions at once; `None` when they can never hold together.
fn join(root: &HttpMatch, delegate: &HttpMatch) -> Option<HttpMatch> {
    let mut both = delegate.clone();
    both.uri = join_uri(root.uri.as_ref(), delegate.uri.as_ref())?;
    macro_rules! either {
        ($($field:ident),*) => { $(if both.$field.is_none() { both.$field = root.$field.clone(); })* };
    }
    either!(scheme, method, authority);
    fn add<V: Clone + PartialEq>(into: &mut BTreeMap<String, V>, from: &BTreeMap<String, V>) -> Option<()> {
        for (k, v) in from {
            if into.get(k).is_some_and(|own| own != v) {
                return None;
            }
            into.insert(k.clone(), v.clone());
        }
        Some(())
    }
    add(&mut both.headers, &root.headers)?;
    add(&mut both.without_headers, &root.without_headers)?;
    add(&mut both.query_params, &root.query_params)?;
    add(&mut both.source_labels, &root.source_labels)?;
    match (root.port, both.port) {
        (0, _) => {}
        (port, 0) => both.port = port,
        (a, b) if a != b => return None,
        _ => {}
    }
    if both.source_namespace.is_empty() {
        both.source_namespace = root.source_namespace.clone();
    }
    if both.gateways.is_empty() {
        both.gateways = root.gateways.clone();
    }
    both.ignore_uri_case |= root.ignore_uri_case;
    if !root.name.is_empty() {
        both.name = if both.name.is_empty() { root.name.clone() } else { format!("{}-{}", root.name, both.name) };
    }
    Some(both)
}

/// A delegate's path lies within the root's, or the two contradict.
#[expect(clippy::option_option, reason = "outer: whether they can hold together; inner: whether there is a condition")]
fn join_uri(root: Option<&StringMatch>, delegate: Option<&StringMatch>) -> Option<Option<StringMatch>> {
    let (Some(root), Some(delegate)) = (root, delegate) else {
        return Some(root.or(delegate).cloned());
    };
    let within = match (root.prefix.as_deref(), root.exact.as_deref()) {
        (Some(prefix), _) => match (delegate.prefix.as_deref(), delegate.exact.as_deref()) {
            (Some(text), _) | (None, Some(text)) => text.starts_with(prefix),
            (None, None) => delegate.regex == root.regex,
        },
        (None, Some(exact)) => delegate.exact.as_deref() == Some(exact),
        (None, None) => delegate == root,
    };
    within.then(|| Some(delegate.clone()))
}

/// DestinationRules by namespace and host.
#[derive(Debug, Default)]
pub(crate) struct DestinationRules(HashMap<Str, OfNamespace>);

#[derive(Debug, Default)]
struct OfNamespace {
    exact: HashMap<Str, Vec<RuleOf>>,
    wildcard: BTreeMap<Str, Vec<RuleOf>>,
}

/// A rule and who sees it.
#[derive(Debug, Clone)]
pub(crate) struct RuleOf {
    pub(crate) object: Arc<Object<DestinationRule>>,
    pub(crate) export: Export,
}

impl DestinationRules {
    pub(crate) fn of<'a>(
        rules: impl Iterator<Item = &'a Arc<Object<DestinationRule>>>,
        mesh: &MeshConfig,
        domain: &str,
    ) -> Self {
        let mut all: Vec<_> = rules.collect();
        all.sort_by(|a, b| by_age(a, b));
        let mut found = Self::default();
        for object in all {
            let namespace = object.metadata.namespace.as_str();
            let host: Str = hosts::resolve(&object.spec.host, namespace, domain).to_ascii_lowercase().into();
            let export = Export::of(&object.spec.export_to, &mesh.default_destination_rule_export_to, namespace);
            let of = found.0.entry(namespace.into()).or_default();
            let rule = RuleOf { object: object.clone(), export };
            if hosts::is_wildcard(&host) {
                of.wildcard.entry(host).or_default().push(rule);
            } else {
                of.exact.entry(host).or_default().push(rule);
            }
        }
        found
    }

    /// Rules of `namespace` for the most specific host that means `host`, oldest first; only those that `keep` keeps count.
    pub(crate) fn of_host(&self, namespace: &str, host: &str, keep: impl Fn(&RuleOf) -> bool) -> Vec<&RuleOf> {
        let Some(of) = self.0.get(namespace) else { return Vec::new() };
        let kept = |rules: &'_ Vec<RuleOf>| rules.iter().any(&keep);
        let rules = of.exact.get(host).filter(|r| kept(r)).or_else(|| {
            hosts::most_specific(host, of.wildcard.iter().filter(|(_, r)| kept(r)).map(|(h, r)| (&**h, r)))
                .map(|(_, rules)| rules)
        });
        rules.into_iter().flatten().filter(|r| keep(r)).collect()
    }
}
