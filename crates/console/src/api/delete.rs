//! Deleting one of Istio's objects, with the rights of who asks for it.
//!
//! It is tried first without anything being deleted: then is told what the API server says to it, and what else to know, such as who would make
//! the object anew. Whose proxies it changes is said by what shows the object ([`super::config`]), which also keeps what it said, so that
//! it can be applied again.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use kube::api::{DeleteParams, Preconditions};
use serde::Deserialize;
use serde_json::{Value, json};
use varka_api::RawObject;

use super::apply::refused::{Doing, explained};
use super::apply::{Changer, Changing, Foretell, Plan, Who, locate, misplaced, text};
use super::config::managed_by;
use super::findings::finding;
use crate::access::{Refusal, is_deliberate};
use crate::world::written;

/// The routes; `read_only`: nothing is deleted, but what would be can be asked for.
pub fn routes(who: Who, read_only: bool, foretell: Foretell) -> Router {
    Router::new().route("/console/api/delete", post(delete)).with_state(Changing { who, read_only, foretell })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    r#ref: Named,
    dry_run: bool,
    /// Of the object that was looked at; `None`: whichever is stored.
    #[serde(default)]
    resource_version: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Named {
    group: String,
    version: String,
    kind: String,
    /// Empty: of the whole cluster.
    #[serde(default)]
    namespace: String,
    name: String,
}

impl Named {
    fn object(&self) -> Option<RawObject> {
        let mut metadata = json!({"name": self.name});
        if let Some(fields) = metadata.as_object_mut().filter(|_| !self.namespace.is_empty()) {
            fields.insert("namespace".to_owned(), self.namespace.as_str().into());
        }
        let api_version = format!("{}/{}", self.group, self.version);
        RawObject::from_value(json!({"apiVersion": api_version, "kind": self.kind, "metadata": metadata}))
    }
}

async fn delete(State(shared): State<Changing>, headers: HeaderMap, body: String) -> Result<Json<Value>, Refusal> {
    is_deliberate(&headers)?;
    let asked: Result<Asked, _> = serde_json::from_str(&body);
    let asked = asked.map_err(|problem| {
        let takes =
            r#"{"ref": {"group", "version", "kind", "namespace", "name"}, "dryRun": true, "resourceVersion": null}"#;
        let message = format!("Deleting takes {takes}: {problem}");
        Refusal::new(StatusCode::BAD_REQUEST, "badRequest", message, "")
    })?;
    shared.may_write(asked.dry_run, "Delete the object with kubectl instead.")?;
    let changer = (shared.who)(headers).await?;
    let result = remove(&shared, &changer, &asked).await;
    audit(&changer.user, &asked, &result);
    result.map(Json)
}

/// One line for each: who, what, and what came of it.
fn audit(user: &str, asked: &Asked, result: &Result<Value, Refusal>) {
    let object = asked.r#ref.object().map(|object| object.label()).unwrap_or_default();
    let dry_run = asked.dry_run;
    match result {
        Ok(answer) => {
            let result = if answer.get("deleted") == Some(&Value::Bool(true)) { "deleted" } else { "marked" };
            let result = if dry_run { "possible" } else { result };
            tracing::info!(target: "audit", %user, ?object, dry_run, %result, "delete");
        }
        Err(refusal) => {
            let result = refusal.status.as_u16();
            tracing::info!(target: "audit", %user, ?object, dry_run, result, why = ?refusal.message, "delete");
        }
    }
}

async fn remove(shared: &Changing, changer: &Changer, asked: &Asked) -> Result<Value, Refusal> {
    let bad = || Refusal::new(StatusCode::BAD_REQUEST, "badRequest", "The object to delete is not named.", "");
    let object = asked.r#ref.object().ok_or_else(bad)?;
    if let Some(place) = misplaced(&object) {
        let message = place.get("message").and_then(Value::as_str).unwrap_or_default();
        let refusal = Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message, "Delete it with kubectl.");
        return Err(Refusal { findings: vec![place], ..refusal });
    }
    let document = locate(changer, object, asked.resource_version.as_deref()).await?;
    let Some(before) = &document.before else {
        let message = format!("There is no {}.", document.object.label());
        return Err(Refusal::new(StatusCode::NOT_FOUND, "notFound", message, "It may have been deleted already."));
    };
    // What is looked at is what is deleted: nothing that was changed or made anew in between.
    let known = |path| Some(text(before, path).to_owned()).filter(|found| !found.is_empty());
    let preconditions =
        Preconditions { resource_version: known("/metadata/resourceVersion"), uid: known("/metadata/uid") };
    let params = DeleteParams { dry_run: asked.dry_run, preconditions: Some(preconditions), ..DeleteParams::default() };
    let doing = Doing { changer, object: &document.object, resource: &document.resource, verb: "delete" };
    let deleted = document.api.delete(&document.object.metadata.name, &params).await;
    deleted.map_err(|problem| explained(&problem, doing))?;
    let waits = waits_for(before);
    let findings: Vec<Value> = remade(before).into_iter().chain(waits.iter().map(|who| lets_go(who))).collect();
    let plan = Plan { removed: vec![document.object.value.clone()], ..Plan::default() };
    let effect = match asked.dry_run {
        true => (shared.foretell)(changer.sight.clone(), plan).await,
        false => Value::Null,
    };
    let Named { group, kind, namespace, name, .. } = &asked.r#ref;
    Ok(json!({
        "effect": effect,
        "deleted": !asked.dry_run && waits.is_empty(), "yaml": written(before), "findings": findings,
        "ref": {
            "group": group, "version": document.resource.version, "kind": kind, "namespace": namespace, "name": name,
        },
    }))
}

/// Who has to let go of an object before it is gone.
fn waits_for(object: &Value) -> Vec<&str> {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array).into_iter().flatten();
    finalizers.filter_map(Value::as_str).collect()
}

fn lets_go(finalizer: &str) -> Value {
    let message = format!("It stays, and holds, until {finalizer} has let go of it.");
    let hint = "Whoever set that finalizer takes it away once it has tidied up; if nobody does, the object stays.";
    finding("warning", "finalizer", &message, hint, "metadata.finalizers", 0)
}

/// Who keeps an object, and may make it anew.
fn remade(object: &Value) -> Option<Value> {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten();
    let named = |owner: &Value| format!("{} {}", text(owner, "/kind"), text(owner, "/name"));
    let owner = owners.into_iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true))).map(named);
    let who = owner.unwrap_or_else(|| managed_by(object));
    if who.is_empty() {
        return None;
    }
    let message = format!("{who} keeps this object, and may make it anew.");
    let hint = "Delete it where it comes from, if it is to stay away.";
    Some(finding("warning", "managed", &message, hint, "metadata", 0))
}

#[cfg(test)]
mod tests;
