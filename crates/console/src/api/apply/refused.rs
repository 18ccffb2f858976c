//! Why the API server does not do something, for a person.

use axum::http::StatusCode;
use kube::api::ApiResource;
use serde_json::Value;
use varka_api::RawObject;

use super::super::findings;
use super::{Changer, MANAGER};
use crate::access::Refusal;

/// What was being done.
#[derive(Clone, Copy)]
pub(in crate::api) struct Doing<'d> {
    pub(in crate::api) changer: &'d Changer,
    pub(in crate::api) object: &'d RawObject,
    pub(in crate::api) resource: &'d ApiResource,
    /// `find` of its kind, `get`, `create`, `patch` or `delete`.
    pub(in crate::api) verb: &'static str,
}

pub(in crate::api) fn explained(problem: &kube::Error, doing: Doing<'_>) -> Refusal {
    let status = match problem {
        kube::Error::Api(status) => status,
        kube::Error::Discovery(_) => return no_such_kind(doing),
        other => return Refusal::unavailable(format!("The API server does not answer: {other}")),
    };
    let causes: Vec<(String, String)> = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .map(|cause| (cause.field.trim_start_matches('.').to_owned(), cause.message.clone()))
        .collect();
    match status.code {
        401 => Refusal::forbidden(
            StatusCode::UNAUTHORIZED,
            "The API server does not know the token any more.",
            "Sign in again.",
        ),
        403 => forbidden(&status.message, doing),
        404 if doing.verb == "find" => no_such_kind(doing),
        404 if doing.verb == "delete" => {
            let message = format!("There is no {} any more.", doing.object.label());
            Refusal::new(StatusCode::NOT_FOUND, "notFound", message, "Somebody else deleted it in the meantime.")
        }
        404 => {
            let message = format!("{} cannot be made: {}.", doing.object.label(), status.message);
            Refusal::new(StatusCode::NOT_FOUND, "notFound", message, "Does its namespace exist?")
        }
        409 if !causes.is_empty() => owned(&causes, doing),
        409 => {
            let message = format!("Somebody else changed {} in the meantime.", doing.object.label());
            Refusal::new(
                StatusCode::CONFLICT,
                "conflict",
                message,
                "Look at it as it is now, then make the change anew.",
            )
        }
        400 | 413 | 422 => {
            let message = format!("The API server refuses {}: {}", doing.object.label(), status.message);
            let refusal = Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message, "Mend what is marked.");
            Refusal { findings: marked(&causes, doing), ..refusal }
        }
        code => {
            let message = format!("The API server answers {code} for {}: {}", doing.object.label(), status.message);
            Refusal::unavailable(message)
        }
    }
}

fn no_such_kind(doing: Doing<'_>) -> Refusal {
    let object = doing.object;
    let message = format!("The cluster has no {} of {}.", object.kind, object.api_version);
    let line = object.position.line_of("apiVersion");
    let hint = "Is the version right, and are the definitions of the kind installed?";
    let place = findings::finding("error", "kind", &message, hint, "apiVersion", line);
    let refusal = Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message, hint);
    Refusal { findings: vec![place], ..refusal }
}

fn forbidden(message: &str, doing: Doing<'_>) -> Refusal {
    let (resource, namespace) = (doing.resource, &doing.object.metadata.namespace);
    let of = match resource.group.as_str() {
        "" => resource.plural.clone(),
        group => format!("{}.{group}", resource.plural),
    };
    let place = if namespace.is_empty() { "the whole cluster".to_owned() } else { format!("namespace {namespace}") };
    let said = format!("{} may not {} {of} in {place}: {message}", doing.changer.user, doing.verb);
    let verbs = if doing.verb == "delete" { "get and delete" } else { "get, create and patch" };
    let hint = format!("Whoever rules the cluster can give a Role with the verbs {verbs} on {of} there.");
    Refusal::forbidden(StatusCode::FORBIDDEN, said, hint)
}

/// Fields that are somebody else's.
fn owned(causes: &[(String, String)], doing: Doing<'_>) -> Refusal {
    let list: Vec<String> = causes.iter().map(|(field, why)| format!("{field} is {}'s", owner(why))).collect();
    let message = format!("{} was not changed: {}.", doing.object.label(), list.join(", "));
    let hint = "Change it where it comes from, or take the fields over: then whoever owned them may set them back, or be refused.";
    let refusal = Refusal::new(StatusCode::CONFLICT, "managed", message, hint);
    Refusal { findings: marked(causes, doing), ..refusal }
}

/// `conflict with "kubectl-edit" using networking.istio.io/v1 at …` names the manager.
fn owner(why: &str) -> &str {
    why.split('"').nth(1).unwrap_or("somebody else")
}

fn marked(causes: &[(String, String)], doing: Doing<'_>) -> Vec<Value> {
    let position = &doing.object.position;
    let mark = |(field, why): &(String, String)| {
        findings::finding("error", "refused", why, "", field, position.line_of(field))
    };
    causes.iter().map(mark).collect()
}

/// Managers that own a field of an object, besides the console.
pub(super) fn owners(object: &Value, path: &str) -> Vec<String> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let owns = |entry: &&Value| {
        let mut at = entry.get("fieldsV1");
        for name in path.split('.') {
            at = at.and_then(|fields| fields.get(format!("f:{name}")));
        }
        at.is_some()
    };
    let managers = entries.filter(owns).filter_map(|entry| entry.get("manager")?.as_str());
    managers.filter(|manager| *manager != MANAGER).map(str::to_owned).collect()
}
