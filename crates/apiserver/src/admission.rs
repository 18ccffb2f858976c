//! What happens to an object between decoding and storing: defaults, built-in mutation, webhooks, validation.

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::object;
use crate::registry::crd;
use crate::schema::structural;
use crate::status::{FieldError, Status};
use crate::store::{Key, Object};
use crate::verbs::Call;

pub(crate) mod defaults;
pub(crate) mod pods;
pub(crate) mod services;
pub(crate) mod validation;
pub(crate) mod webhook;

/// What is being done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// Makes an object fit to be stored, or says why it is not.
pub(crate) async fn admit(
    call: &Call,
    operation: Operation,
    old: Option<&Value>,
    mut new: Value,
) -> Result<Value, Status> {
    complete(call, old, &mut new);
    if call.path.subresource.is_empty() {
        if &*call.resource.key == "pods" && operation == Operation::Create {
            pods::add_account(call, &mut new)?;
        }
        let mutated = boxed(webhook::mutate(call, operation, old, new)).await?;
        new = mutated;
        complete(call, old, &mut new);
        if &*call.resource.key == "services" {
            services::allocate(call, old, &mut new)?;
        }
    }
    let errors = validate(call, old, &new);
    if !errors.is_empty() {
        undo_if_created(call, operation, &new);
        return Err(Status::invalid(&call.resource.group, &call.resource.kind, object::name(&new), &errors));
    }
    if call.path.subresource.is_empty()
        && let Err(status) = boxed(webhook::validate(call, operation, old, Some(&new))).await
    {
        undo_if_created(call, operation, &new);
        return Err(status);
    }
    Ok(new)
}

fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T> {
    Box::pin(future)
}

/// Asks the validating webhooks about a deletion.
pub(crate) async fn admit_deletion(call: &Call, operation: Operation, old: &Value) -> Result<(), Status> {
    boxed(webhook::validate(call, operation, Some(old), None)).await
}

/// Fills in defaults.
pub(crate) fn complete(call: &Call, old: Option<&Value>, new: &mut Value) {
    let resource = &*call.resource;
    if !resource.is_custom() {
        defaults::apply(resource, old, new);
        if is_definition(call) {
            crd::establish(new);
        }
    } else if let Some(schema) = resource.version(&call.path.version).and_then(|v| v.schema.as_ref()) {
        structural::fill_defaults(schema, new);
    }
}

fn validate(call: &Call, old: Option<&Value>, new: &Value) -> Vec<FieldError> {
    let resource = &*call.resource;
    let mut errors = validation::metadata(resource, new);
    if !resource.is_custom() {
        errors.extend(validation::builtin(resource, old, new));
        if is_definition(call) && errors.is_empty() {
            crd::rules(new).into_iter().for_each(|warning| call.warn(warning));
        }
        return errors;
    }
    if let Some(schema) = resource.version(&call.path.version).and_then(|v| v.schema.as_ref()) {
        errors.extend(structural::validate(schema, new));
    }
    if !errors.is_empty() || !call.path.subresource.is_empty() {
        return errors;
    }
    errors.extend(validation::istio(resource, old, new));
    if errors.is_empty() && resource.has_unevaluated_rules(&call.path.version) {
        call.warn(format!(
            "{}: the rules (x-kubernetes-validations) of its CustomResourceDefinition are not evaluated; the object was checked against types alone",
            resource.kind
        ));
    }
    errors
}

fn undo_if_created(call: &Call, operation: Operation, new: &Value) {
    if operation == Operation::Create {
        undo(call, new);
    }
}

/// Gives back what admission reserved for an object that is not stored after all.
pub(crate) fn undo(call: &Call, value: &Value) {
    if &*call.resource.key == "services" {
        services::release(call, value);
    }
}

/// What follows from a creation.
pub(crate) fn stored(call: &Call, _object: &Object) {
    if is_definition(call) {
        call.server.refresh_registry();
    }
}

/// What follows from a change.
pub(crate) fn replaced(call: &Call, old: &Value, object: &Object) {
    if is_definition(call) {
        call.server.refresh_registry();
    }
    if &*call.resource.key == "services" {
        services::replaced(call, old, &object.value);
    }
}

/// What follows from a deletion.
pub(crate) async fn removed(call: &Call, value: &Value) {
    if &*call.resource.key == "services" {
        services::release(call, value);
    }
    if is_definition(call) {
        // The objects of a kind go with its definition.
        let (_, objects) = call.server.store.list(object::name(value), None);
        for object in objects {
            let key = Key::new(object::name(value), object::namespace(&object.value), object::name(&object.value));
            if let Err(error) = call.server.store.delete(key, object.version).await {
                tracing::warn!(%error, kind = object::name(value), "an object of a deleted kind is left in the store");
            }
        }
        call.server.refresh_registry();
    }
}

fn is_definition(call: &Call) -> bool {
    &*call.resource.key == "customresourcedefinitions.apiextensions.k8s.io"
}
