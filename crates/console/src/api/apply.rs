//! Changing Istio's configuration, with the rights of who asks for it.
//!
//! By server-side apply, which says whose each field is: what somebody else owns is not overwritten unless that is asked for, and what is
//! left out stays as it is where it is somebody else's. Everything is tried first without being written, so that of several documents none is written when one is
//! refused.

pub(super) mod refused;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::future::BoxFuture;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use varka_api::RawObject;

use super::difference::summary;
use super::findings;
use crate::access::sight::Sight;
use crate::access::{Refusal, STARTED, is_deliberate};
use refused::{Doing, explained};

/// Who owns what is changed here, in `metadata.managedFields`.
pub const MANAGER: &str = "varka-console";
/// A text is at most so long, and has at most so many documents.
const LARGEST: usize = 1 << 20;
const DOCUMENTS: usize = 100;

/// Somebody who changes something.
#[derive(Clone)]
pub struct Changer {
    /// As the API server calls them.
    pub user: String,
    /// Does what they may do.
    pub client: Client,
    /// What they may see.
    pub sight: Sight,
}

/// Finds out from its headers who a request is from.
pub type Who = Arc<dyn Fn(HeaderMap) -> BoxFuture<'static, Result<Changer, Refusal>> + Send + Sync>;

/// Says what a plan would do to requests, to somebody with that sight: `Effect` of the pages, or null where it cannot be said.
pub type Foretell = Arc<dyn Fn(Sight, Plan) -> BoxFuture<'static, Value> + Send + Sync>;

/// What is meant to be done.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Objects as they would be stored.
    #[serde(default)]
    pub objects: Vec<Value>,
    /// Objects that would be there no more; their kind, namespace and name are enough.
    #[serde(default)]
    pub removed: Vec<Value>,
}

/// What changing something needs.
#[derive(Clone)]
pub(super) struct Changing {
    pub(super) who: Who,
    pub(super) read_only: bool,
    pub(super) foretell: Foretell,
}

impl Changing {
    /// Refuses what writes where nothing may be written; `hint`: how it is done instead.
    pub(super) fn may_write(&self, dry_run: bool, hint: &'static str) -> Result<(), Refusal> {
        if !self.read_only || dry_run {
            return Ok(());
        }
        let message = "This console was started with --read-only: it changes nothing.";
        Err(Refusal::new(StatusCode::FORBIDDEN, STARTED, message, hint))
    }
}

/// The routes; `read_only`: nothing is written, but what would be can be asked for.
pub fn routes(who: Who, read_only: bool, foretell: Foretell) -> Router {
    Router::new().route("/console/api/apply", post(apply)).with_state(Changing { who, read_only, foretell })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    yaml: String,
    dry_run: bool,
    #[serde(default)]
    resource_version: Option<String>,
    /// Somebody has said that fields of others are to be taken over.
    #[serde(default)]
    force: bool,
}

async fn apply(State(shared): State<Changing>, headers: HeaderMap, body: String) -> Result<Json<Value>, Refusal> {
    is_deliberate(&headers)?;
    let asked: Asked = serde_json::from_str(&body).map_err(|problem| {
        let message =
            format!("Applying takes {{\"yaml\": \"…\", \"dryRun\": true, \"resourceVersion\": null}}: {problem}");
        Refusal::new(StatusCode::BAD_REQUEST, "badRequest", message, "")
    })?;
    shared.may_write(asked.dry_run, "Apply the YAML with kubectl instead.")?;
    let changer = (shared.who)(headers).await?;
    let result = change(&shared, &changer, &asked).await;
    audit(&changer.user, &asked, &result);
    result.map(Json)
}

/// One line for each: who, what, and what came of it.
fn audit(user: &str, asked: &Asked, result: &Result<Value, Refusal>) {
    let objects = named(&asked.yaml);
    let Asked { dry_run, force, .. } = *asked;
    match result {
        Ok(answer) => {
            let verbs = answer.get("objects").and_then(Value::as_array).into_iter().flatten();
            let verbs: Vec<&str> = verbs.filter_map(|object| object.get("verb")?.as_str()).collect();
            let result = verbs.join(",");
            tracing::info!(target: "audit", %user, ?objects, dry_run, force, %result, "apply");
        }
        Err(refusal) => {
            let result = refusal.status.as_u16();
            tracing::info!(target: "audit", %user, ?objects, dry_run, force, result, why = ?refusal.message, "apply");
        }
    }
}

/// The objects of a text, `KIND NAMESPACE/NAME`, the first few of them.
fn named(yaml: &str) -> String {
    const NAMED: usize = 10;
    if yaml.len() > LARGEST {
        return "too much".to_owned();
    }
    let (objects, _) = varka_api::read("", yaml);
    let more = objects.len().saturating_sub(NAMED);
    let mut names: Vec<String> = objects.iter().take(NAMED).map(RawObject::label).collect();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

/// A document, and where it belongs.
pub(super) struct Document {
    pub(super) object: RawObject,
    pub(super) api: Api<DynamicObject>,
    pub(super) resource: ApiResource,
    pub(super) before: Option<Value>,
}

async fn change(shared: &Changing, changer: &Changer, asked: &Asked) -> Result<Value, Refusal> {
    let (objects, findings) = read(&asked.yaml)?;
    let mut documents = Vec::with_capacity(objects.len());
    for (place, object) in objects.into_iter().enumerate() {
        let wanted = asked.resource_version.as_deref().filter(|_| place == 0);
        documents.push(locate(changer, object, wanted).await?);
    }
    let mut tried = Vec::with_capacity(documents.len());
    let (mut kept, mut plan) = (Vec::new(), Plan::default());
    for document in &documents {
        let after = write(changer, document, Writing { dry_run: true, force: asked.force }).await?;
        kept.extend(left(document, &after));
        let told = told(document, &after);
        if told.get("verb").is_some_and(|verb| verb != "unchanged") {
            plan.objects.push(after);
        }
        tried.push(told);
    }
    let findings: Vec<Value> = findings.into_iter().chain(kept).collect();
    if asked.dry_run {
        let effect = match plan.objects.is_empty() {
            true => Value::Null,
            false => (shared.foretell)(changer.sight.clone(), plan).await,
        };
        return Ok(json!({"applied": false, "objects": tried, "findings": findings, "effect": effect}));
    }
    let mut done = Vec::with_capacity(documents.len());
    for document in &documents {
        match write(changer, document, Writing { dry_run: false, force: asked.force }).await {
            Ok(after) => done.push(told(document, &after)),
            Err(refusal) if done.is_empty() => return Err(refusal),
            // Something was written, and whoever asked has to know both.
            Err(refusal) => {
                let line = document.object.position.line_of("");
                let stopped = findings::finding("error", refusal.code, &refusal.message, &refusal.hint, "", line);
                let findings: Vec<Value> = std::iter::once(stopped).chain(refusal.findings).chain(findings).collect();
                return Ok(json!({"applied": true, "objects": done, "findings": findings, "effect": null}));
            }
        }
    }
    let applied = done.iter().any(|object| object.get("verb").is_none_or(|verb| verb != "unchanged"));
    Ok(json!({"applied": applied, "objects": done, "findings": findings, "effect": null}))
}

/// The objects of a text, if none of them is wrong, and what else there is to say of them.
fn read(yaml: &str) -> Result<(Vec<RawObject>, Vec<Value>), Refusal> {
    let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, "badRequest", message, "");
    if yaml.len() > LARGEST {
        return Err(bad(format!("The text is larger than {LARGEST} bytes.")));
    }
    let mut findings = findings::of_text(yaml);
    let (objects, _) = varka_api::read("", yaml);
    for object in &objects {
        findings.extend(misplaced(object));
    }
    if findings.iter().any(|finding| finding.get("severity").is_some_and(|severity| severity == "error")) {
        let message = "Nothing was changed: what is marked is wrong.";
        let refusal = Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message, "Mend it, then try again.");
        return Err(Refusal { findings, ..refusal });
    }
    match objects.len() {
        0 => Err(bad("There is no object in the text.".to_owned())),
        1..=DOCUMENTS => Ok((objects, findings)),
        many => Err(bad(format!("{many} objects at once are too many: at most {DOCUMENTS}."))),
    }
}

/// What is no matter of the console's, and what nobody could be changed by.
pub(super) fn misplaced(object: &RawObject) -> Option<Value> {
    let group = object.group();
    let line = |path: &str| object.position.line_of(path);
    if !(group.ends_with(".istio.io") || group == "gateway.networking.k8s.io") {
        let message =
            format!("{} of {:?} is not changed here: only Istio's kinds and the Gateway API's.", object.kind, group);
        return Some(findings::finding("error", "kind", &message, "Apply it with kubectl.", "kind", line("kind")));
    }
    if object.metadata.name.is_empty() {
        let message = "The object has no name.";
        return Some(findings::finding("error", "invalid", message, "", "metadata.name", line("metadata")));
    }
    None
}

/// Where an object belongs, and what is there.
pub(super) async fn locate(changer: &Changer, object: RawObject, wanted: Option<&str>) -> Result<Document, Refusal> {
    let version = object.api_version.rsplit('/').next().unwrap_or_default().to_owned();
    let kind = GroupVersionKind::gvk(object.group(), &version, &object.kind);
    let found = pinned_kind(&changer.client, &kind).await;
    let (resource, capabilities) = found.map_err(|problem| {
        // Without the kind there is no resource to speak of.
        let resource = ApiResource::from_gvk(&kind);
        explained(&problem, Doing { changer, object: &object, resource: &resource, verb: "find" })
    })?;
    let namespace = object.metadata.namespace.clone();
    let api = match (&capabilities.scope, namespace.as_str()) {
        (Scope::Cluster, _) => Api::all_with(changer.client.clone(), &resource),
        (Scope::Namespaced, "") => {
            let message = format!("{} {} says no namespace.", object.kind, object.metadata.name);
            let line = object.position.line_of("metadata");
            let place = findings::finding("error", "invalid", &message, "", "metadata.namespace", line);
            let refusal = Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message, "Name it.");
            return Err(Refusal { findings: vec![place], ..refusal });
        }
        (Scope::Namespaced, namespace) => Api::namespaced_with(changer.client.clone(), namespace, &resource),
    };
    let doing = Doing { changer, object: &object, resource: &resource, verb: "get" };
    let before = api.get_opt(&object.metadata.name).await.map_err(|problem| explained(&problem, doing))?;
    let before = before.and_then(|before| serde_json::to_value(before).ok());
    let stored = before.as_ref().map_or("", |before| text(before, "/metadata/resourceVersion"));
    if wanted.is_some_and(|wanted| wanted != stored) {
        let what = if before.is_some() { "changed" } else { "deleted" };
        let message = format!("Somebody else {what} {} since this change was begun.", object.label());
        let hint = "Look at it as it is now, then make the change anew.";
        return Err(Refusal::new(StatusCode::CONFLICT, "conflict", message, hint));
    }
    Ok(Document { object, api, resource, before })
}

pub(super) fn text<'o>(object: &'o Value, path: &str) -> &'o str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// How a document is applied.
#[derive(Clone, Copy)]
struct Writing {
    dry_run: bool,
    force: bool,
}

/// Applies a document, or answers what would be.
async fn write(changer: &Changer, document: &Document, Writing { dry_run, force }: Writing) -> Result<Value, Refusal> {
    let params = PatchParams {
        dry_run,
        force,
        field_manager: Some(MANAGER.to_owned()),
        field_validation: Some(ValidationDirective::Strict),
    };
    let mut value = document.object.value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("status");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            // What the server keeps itself; and the version, so that nobody is overtaken between looking and writing.
            for field in ["managedFields", "creationTimestamp", "generation", "resourceVersion", "uid", "selfLink"] {
                metadata.remove(field);
            }
            if let Some(before) = &document.before {
                metadata.insert("resourceVersion".to_owned(), text(before, "/metadata/resourceVersion").into());
            }
        }
    }
    let verb = if document.before.is_some() { "patch" } else { "create" };
    let doing = Doing { changer, object: &document.object, resource: &document.resource, verb };
    let written = document.api.patch(&document.object.metadata.name, &params, &Patch::Apply(&value)).await;
    let written = written.map_err(|problem| explained(&problem, doing))?;
    serde_json::to_value(written).map_err(|problem| Refusal::unavailable(problem.to_string()))
}

/// In the pages' words.
fn told(document: &Document, after: &Value) -> Value {
    let object = &document.object;
    let yaml = |value: &Value| serde_saphyr::to_string(&crate::world::bare(value)).unwrap_or_default();
    let bare = crate::world::bare;
    let verb = match &document.before {
        None => "created",
        Some(before) if summary(&bare(before), &bare(after)).is_empty() => "unchanged",
        Some(_) => "updated",
    };
    json!({
        "ref": {
            "group": object.group(), "version": document.resource.version, "kind": object.kind,
            "namespace": text(after, "/metadata/namespace"), "name": object.metadata.name,
        },
        "verb": verb, "before": document.before.as_ref().map_or(String::new(), yaml), "after": yaml(after),
    })
}

/// Fields that were left out and stay all the same, since they are somebody else's too.
fn left(document: &Document, after: &Value) -> Vec<Value> {
    let Some(before) = &document.before else { return Vec::new() };
    let mut paths = Vec::new();
    let part = |value: &Value| value.get("spec").cloned().unwrap_or_default();
    stays("spec", &part(before), &part(&document.object.value), &part(after), &mut paths);
    let line = document.object.position.line_of("spec");
    let told = paths.into_iter().map(|path| {
        let owners = refused::owners(after, &path);
        let whose = if owners.is_empty() { "somebody else".to_owned() } else { owners.join(" and ") };
        let message = format!("{path} is left out, and stays: it is {whose}'s too.");
        let hint = "Remove it where it comes from, or with kubectl edit.";
        findings::finding("warning", "kept", &message, hint, &path, line)
    });
    told.collect()
}

/// Members of objects that were there, were not sent, and are still there. Lists of Istio's kinds are whole.
fn stays(path: &str, before: &Value, sent: &Value, after: &Value, found: &mut Vec<String>) {
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else { return };
    for (name, value) in old {
        let Some(stored) = new.get(name) else { continue };
        let path = format!("{path}.{name}");
        match sent.get(name) {
            None => found.push(path),
            Some(sent) => stays(&path, value, sent, stored, found),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
