//! Who controls whom: controller references, and the adoption and release of dependents whose labels changed.

use crate::action::Plan;
use crate::selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::core::discovery::ApiResource;
use serde_json::{Value, json};

/// The reference that says who manages the object.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

/// Whether the object with `uid` manages it.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == uid)
}

/// A controller reference to `owner`, as Kubernetes' own controllers write it.
pub(crate) fn reference(resource: &ApiResource, owner: &ObjectMeta) -> Value {
    json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// An owner that may take in dependents.
pub(crate) struct Owner<'a> {
    pub(crate) resource: ApiResource,
    pub(crate) meta: &'a ObjectMeta,
    pub(crate) selector: &'a LabelSelector,
}

impl Owner<'_> {
    /// Whether `dependent` belongs to this owner and matches it. On the way, takes in a matching one that nobody controls
    /// and lets go of an own one that no longer matches.
    pub(crate) fn claim(&self, plan: &mut Plan, resource: &ApiResource, dependent: &ObjectMeta) -> bool {
        let uid = self.meta.uid.as_deref().unwrap_or_default();
        let matching = selector::matches(self.selector, dependent.labels.as_ref());
        match controller_of(dependent) {
            Some(controller) if controller.uid == uid => {
                if !matching && self.meta.deletion_timestamp.is_none() {
                    let left: Vec<_> =
                        dependent.owner_references.iter().flatten().filter(|owner| owner.uid != uid).collect();
                    plan.patch(resource.clone(), dependent, references(dependent, json!(left)));
                }
                matching
            }
            Some(_) => false,
            None => {
                let free = dependent.deletion_timestamp.is_none() && self.meta.deletion_timestamp.is_none();
                if matching && free && !selector::is_empty(self.selector) {
                    let mut owners = json!(dependent.owner_references.clone().unwrap_or_default());
                    if let Some(list) = owners.as_array_mut() {
                        list.push(reference(&self.resource, self.meta));
                    }
                    plan.patch(resource.clone(), dependent, references(dependent, owners));
                }
                // It counts once the reference is written.
                false
            }
        }
    }
}

/// A patch of the owner references that fails if the object changed meanwhile, because lists are replaced as wholes.
fn references(dependent: &ObjectMeta, owners: Value) -> Value {
    json!({"metadata": {
        "uid": dependent.uid,
        "resourceVersion": dependent.resource_version,
        "ownerReferences": owners,
    }})
}
