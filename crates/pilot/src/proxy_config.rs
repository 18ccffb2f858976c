//! `ProxyConfig`: which of them say something about a pod's proxy, and in which order.
//!
//! Read when the pod is made, since that is when a proxy gets its environment; a running one keeps what it was started with.

use varka_api::istio::{Labels, ProxyConfig};
use varka_engine::ir::Str;

use crate::key::contains;
use crate::snapshot::{Snapshot, Store, by_age};

/// All ProxyConfigs of a mesh.
#[derive(Debug, Clone, Default)]
pub struct ProxyConfigs {
    store: Store<ProxyConfig>,
    root_namespace: Str,
}

/// Those of one proxy. What a pod's own annotation says stands between the two.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProxyConfigLayers<'a> {
    /// Of the mesh and the namespace, over the mesh's `defaultConfig`; later ones win.
    pub below: Vec<&'a ProxyConfig>,
    /// Of the workload, which wins over everything.
    pub above: Option<&'a ProxyConfig>,
}

impl Snapshot {
    /// All ProxyConfigs.
    pub fn proxy_configs(&self) -> ProxyConfigs {
        let root = self.mesh().root_namespace.as_str();
        let root_namespace = if root.is_empty() { "istio-system" } else { root }.into();
        ProxyConfigs { store: self.stores.proxy_configs.clone(), root_namespace }
    }
}

impl ProxyConfigs {
    /// Those of a pod: of each rank the oldest alone, as in Istio. One whose selector is empty is nobody's.
    pub fn of(&self, namespace: &str, labels: &Labels) -> ProxyConfigLayers<'_> {
        let oldest = |namespace: &str, wanted: &dyn Fn(&ProxyConfig) -> bool| {
            let found = self.store.namespace(namespace).filter(|o| wanted(&o.spec));
            found.min_by(|a, b| by_age(a, b)).map(|o| &o.spec)
        };
        let whole = |c: &ProxyConfig| c.selector.is_none();
        let mut below: Vec<_> = oldest(&self.root_namespace, &whole).into_iter().collect();
        if namespace != &*self.root_namespace {
            below.extend(oldest(namespace, &whole));
        }
        let own = |c: &ProxyConfig| {
            c.selector.as_ref().is_some_and(|s| !s.match_labels.is_empty() && contains(labels, &s.match_labels))
        };
        ProxyConfigLayers { below, above: oldest(namespace, &own) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mesh_the_namespace_and_the_workload_in_this_order() {
        let config = |namespace: &str, name: &str, made: &str, selector: &str, concurrency: i32| {
            format!(
                "apiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '{made}'}}\nspec: {{{selector} concurrency: {concurrency}}}\n---\n"
            )
        };
        let text = [
            config("istio-system", "mesh", "2026-01-01T00:00:00Z", "", 1),
            config("shop", "newer", "2026-01-02T00:00:00Z", "", 9),
            config("shop", "older", "2026-01-01T00:00:00Z", "", 2),
            config("shop", "nobody", "2025-01-01T00:00:00Z", "selector: {},", 8),
            config("shop", "web", "2026-01-01T00:00:00Z", "selector: {matchLabels: {app: web}},", 3),
        ];
        let (objects, problems) = varka_api::read("t.yaml", &text.concat());
        assert!(problems.is_empty(), "{problems:?}");
        let configs = Snapshot::builder().objects(objects).build().proxy_configs();
        let of = |namespace: &str, app: &str| {
            let layers = configs.of(namespace, &Labels::from([("app".to_owned(), app.to_owned())]));
            let below: Vec<_> = layers.below.iter().filter_map(|c| c.concurrency).collect();
            (below, layers.above.and_then(|c| c.concurrency))
        };
        assert_eq!(of("shop", "web"), (vec![1, 2], Some(3)));
        assert_eq!(of("shop", "db"), (vec![1, 2], None));
        assert_eq!(of("other", "web"), (vec![1], None));
        assert_eq!(of("istio-system", "web"), (vec![1], None));
    }
}
