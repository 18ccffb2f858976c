//! How much of the cluster is seen. Namespaces are the unit: who may look at one sees what is in it.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The namespaces that somebody sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sight {
    /// Every one, those to come too.
    #[default]
    All,
    /// These.
    Of(Arc<BTreeSet<String>>),
}

/// Labels that name a namespace which a series is about.
const NAMESPACES: [&str; 4] =
    ["namespace", "source_workload_namespace", "destination_workload_namespace", "destination_service_namespace"];

impl Sight {
    /// Nothing at all.
    pub fn nothing() -> Self {
        Self::Of(Arc::default())
    }

    /// Whether everything is seen.
    pub fn is_all(&self) -> bool {
        *self == Self::All
    }

    /// Whether a namespace is seen.
    pub fn sees(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Of(namespaces) => namespaces.contains(namespace),
        }
    }

    /// Whether a series is seen: that of a pod in such a namespace, or of traffic from or to one. `label` answers its labels.
    pub fn sees_series<'s>(&self, label: impl Fn(&str) -> &'s str) -> bool {
        self.is_all() || NAMESPACES.iter().any(|name| self.sees(label(name)))
    }
}
