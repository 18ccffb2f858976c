//! Objects of one kind by namespace and name; a clone shares them.

use std::collections::BTreeMap;
use std::sync::Arc;

use varka_api::Object;
use varka_engine::ir::Str;

type ByName<T> = BTreeMap<Str, Arc<Object<T>>>;

/// Two levels, so that a change copies the names of one namespace only.
#[derive(Debug)]
pub(crate) struct Store<T>(BTreeMap<Str, Arc<ByName<T>>>);

impl<T> Clone for Store<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Store<T> {
    pub(super) fn insert(&mut self, object: Object<T>) {
        let namespace = self.0.entry(object.metadata.namespace.as_str().into()).or_default();
        let mut names = (**namespace).clone();
        names.insert(object.metadata.name.as_str().into(), Arc::new(object));
        *namespace = Arc::new(names);
    }

    pub(super) fn remove(&mut self, namespace: &str, name: &str) {
        let Some(names) = self.0.get_mut(namespace) else { return };
        let mut left = (**names).clone();
        left.remove(name);
        if left.is_empty() {
            self.0.remove(namespace);
        } else {
            *names = Arc::new(left);
        }
    }

    pub(super) fn namespaces(&self) -> impl Iterator<Item = &Str> {
        self.0.keys()
    }

    /// Gives all of a namespace to `to`; the names.
    pub(super) fn move_namespace(&mut self, namespace: &Str, to: &mut Self) -> impl Iterator<Item = Str> + use<T> {
        let taken = self.0.remove(namespace);
        let names: Vec<Str> = taken.iter().flat_map(|names| names.keys().cloned()).collect();
        if let Some(names) = taken {
            to.0.insert(namespace.clone(), names);
        }
        names.into_iter()
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Object<T>>> {
        self.0.get(namespace)?.get(name)
    }

    pub(crate) fn namespace<'a>(&'a self, namespace: &str) -> impl Iterator<Item = &'a Arc<Object<T>>> + use<'a, T> {
        self.0.get(namespace).into_iter().flat_map(|names| names.values())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Object<T>>> {
        self.0.values().flat_map(|names| names.values())
    }
}

/// Oldest first, then by name and namespace: the order in which conflicts are decided.
pub(crate) fn by_age<T>(a: &Object<T>, b: &Object<T>) -> std::cmp::Ordering {
    let key = |o: &Object<T>| {
        (
            o.metadata.creation_timestamp.clone().unwrap_or_default(),
            o.metadata.name.clone(),
            o.metadata.namespace.clone(),
        )
    };
    key(a).cmp(&key(b))
}
