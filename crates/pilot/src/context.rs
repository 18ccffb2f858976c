//! One compilation: what it is for, what it has looked at, what it has to say.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;

use varka_api::istio::{MeshConfig, Sidecar};
use varka_api::{Object, Resource};
use varka_engine::ir::Str;

use crate::diagnostic::{Diagnostic, Severity};
use crate::reads::{ReadKey, ReadSet};
use crate::registry::{Registry, Service, Target};
use crate::scope::{Scope, Seen};
use crate::snapshot::{KeySource, Kind, Snapshot, Store};
use crate::{ProxyEngine, ProxyKey, ProxyKind};

/// What compilations for one proxy from one snapshot have in common: made when the first of them needs it.
#[derive(Default)]
pub struct Common {
    scope: OnceCell<(Arc<Seen>, ReadSet)>,
    targets: OnceCell<(Vec<Target>, ReadSet)>,
}

impl std::fmt::Debug for Common {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Common").finish_non_exhaustive()
    }
}

/// A compilation's own, or that of several.
enum Shared<'a> {
    Own(Common),
    Of(&'a Common),
}

/// Everything a compilation needs. Lookups go through it, so that they are recorded.
pub(crate) struct Ctx<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) proxy: &'a ProxyKey,
    common: Shared<'a>,
    reads: RefCell<ReadSet>,
    diagnostics: RefCell<Vec<Diagnostic>>,
    /// Whether what the scope read is among the reads, and the same of the targets.
    noted: [Cell<bool>; 2],
    gateways: OnceCell<crate::gateway::Merged>,
}

impl<'a> Ctx<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, proxy: &'a ProxyKey) -> Self {
        Self::with(snapshot, proxy, Shared::Own(Common::default()))
    }

    /// One of several for the same proxy, from the same snapshot.
    pub(crate) fn one_of(common: &'a Common, snapshot: &'a Snapshot, proxy: &'a ProxyKey) -> Self {
        Self::with(snapshot, proxy, Shared::Of(common))
    }

    /// One that sees no service: for what is said of an object by itself.
    pub(crate) fn apart(snapshot: &'a Snapshot, proxy: &'a ProxyKey) -> Self {
        let common =
            Common { scope: OnceCell::from((Arc::<Seen>::default(), ReadSet::default())), ..Common::default() };
        Self::with(snapshot, proxy, Shared::Own(common))
    }

    fn with(snapshot: &'a Snapshot, proxy: &'a ProxyKey, common: Shared<'a>) -> Self {
        Self {
            snapshot,
            proxy,
            common,
            reads: RefCell::default(),
            diagnostics: RefCell::default(),
            noted: [Cell::new(false), Cell::new(false)],
            gateways: OnceCell::new(),
        }
    }

    fn common(&self) -> &Common {
        match &self.common {
            Shared::Own(common) => common,
            Shared::Of(common) => common,
        }
    }

    /// Takes over what something in common has read.
    fn note(&self, which: usize, reads: &ReadSet) {
        if self.noted.get(which).is_some_and(|noted| !noted.replace(true)) {
            self.reads.borrow_mut().merge(reads);
        }
    }

    /// What was looked at, and what there is to say.
    pub(crate) fn finish(self) -> (ReadSet, Vec<Diagnostic>) {
        let mut diagnostics = self.diagnostics.into_inner();
        diagnostics.sort();
        diagnostics.dedup();
        (self.reads.into_inner(), diagnostics)
    }

    pub(crate) fn read(&self, key: ReadKey) {
        self.reads.borrow_mut().insert(key);
    }

    /// Mesh configuration.
    pub(crate) fn mesh(&self) -> &'a MeshConfig {
        self.read(ReadKey::Kind(Kind::MeshConfig));
        self.snapshot.mesh()
    }

    /// All services.
    pub(crate) fn registry(&self) -> &'a Registry {
        self.read(ReadKey::Kind(Kind::Service));
        self.read(ReadKey::Kind(Kind::ServiceEntry));
        self.snapshot.registry()
    }

    /// All objects of a kind.
    pub(crate) fn all<T>(
        &self,
        kind: Kind,
        store: &'a Store<T>,
    ) -> impl Iterator<Item = &'a Arc<Object<T>>> + use<'a, T> {
        self.read(ReadKey::Kind(kind));
        store.iter()
    }

    /// All objects of a kind in a namespace.
    pub(crate) fn namespace<T>(
        &self,
        kind: Kind,
        store: &'a Store<T>,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Arc<Object<T>>> + use<'a, T> {
        self.read(ReadKey::Namespace(kind, namespace.into()));
        store.namespace(namespace)
    }

    /// One object.
    pub(crate) fn object<T>(
        &self,
        kind: Kind,
        store: &'a Store<T>,
        namespace: &str,
        name: &str,
    ) -> Option<&'a Arc<Object<T>>> {
        self.read(ReadKey::Object(kind, namespace.into(), name.into()));
        store.get(namespace, name)
    }

    /// Keys of an issuer of tokens; `None`: nobody has fetched them yet.
    pub(crate) fn key_set(&self, source: &KeySource) -> Option<&'a Result<Str, Str>> {
        self.read(ReadKey::Object(Kind::KeySet, source.issuer.clone(), source.uri.clone()));
        self.snapshot.key_set(source)
    }

    /// What this proxy sees.
    pub(crate) fn scope(&self) -> &Scope {
        let (seen, reads) = self.common().scope.get_or_init(|| {
            let ctx = Ctx::new(self.snapshot, self.proxy);
            let sidecar = crate::scope::select_sidecar(&ctx);
            let name = |o: &Arc<Object<Sidecar>>| (s(&o.metadata.namespace), s(&o.metadata.name));
            let seen = self.snapshot.seen_by((self.proxy.namespace.clone(), sidecar.as_ref().map(name)), || {
                let ctx = Ctx::new(self.snapshot, self.proxy);
                let scope = Scope::of(&ctx, sidecar);
                (scope, ctx.finish().0)
            });
            let mut reads = ctx.finish().0;
            reads.merge(&seen.1);
            (seen, reads)
        });
        self.note(0, reads);
        &seen.0
    }

    /// Merged servers of the gateways that select this proxy.
    pub(crate) fn gateways(&self) -> &crate::gateway::Merged {
        self.gateways.get_or_init(|| crate::gateway::merge(self))
    }

    /// Services whose endpoints this proxy stands in front of, with the ports.
    pub(crate) fn targets(&self) -> &[Target] {
        let (targets, reads) = self.common().targets.get_or_init(|| {
            let ctx = Ctx::new(self.snapshot, self.proxy);
            let targets = crate::registry::targets(&ctx);
            (targets, ctx.finish().0)
        });
        self.note(1, reads);
        targets
    }

    /// A service that this proxy sees, by its host name.
    pub(crate) fn service(&self, host: &str) -> Option<&Arc<Service>> {
        self.scope().service(host)
    }

    pub(crate) fn root_namespace(&self) -> &'a str {
        let root = self.mesh().root_namespace.as_str();
        if root.is_empty() { "istio-system" } else { root }
    }

    pub(crate) fn trust_domain(&self) -> &'a str {
        let domain = self.mesh().trust_domain.as_str();
        if domain.is_empty() { "cluster.local" } else { domain }
    }

    pub(crate) fn is_router(&self) -> bool {
        self.proxy.kind == ProxyKind::Router
    }

    pub(crate) fn is_envoy(&self) -> bool {
        self.proxy.engine == ProxyEngine::Envoy
    }

    /// Notes a finding about a field of MeshConfig.
    pub(crate) fn report_mesh(&self, code: &'static str, path: &str, message: impl Into<String>, effect: &str) {
        self.diagnostics.borrow_mut().push(Diagnostic {
            severity: Severity::Warning,
            code,
            resource: format!("ConfigMap {}/istio", self.root_namespace()),
            path: path.to_owned(),
            position: None,
            message: message.into(),
            effect: effect.to_owned(),
        });
    }

    /// Notes a finding about a field of `object`.
    pub(crate) fn report<T: Resource>(
        &self,
        severity: Severity,
        code: &'static str,
        object: &Object<T>,
        path: &str,
        message: impl Into<String>,
        effect: impl Into<String>,
    ) {
        // What was made of another object has no fields that anybody wrote.
        let written = crate::gateway_api::written_as(&object.metadata);
        let path = if written.is_some() { String::new() } else { path.to_owned() };
        let position = object.position.at(&path);
        self.diagnostics.borrow_mut().push(Diagnostic {
            severity,
            code,
            resource: written.unwrap_or_else(|| object.label()),
            position,
            path,
            message: message.into(),
            effect: effect.into(),
        });
    }
}

/// `Str` of a text.
pub(crate) fn s(text: impl AsRef<str>) -> Str {
    Str::from(text.as_ref())
}
