//! Carries plans out through the API.

use crate::action::{Action, Regarding, Report, Target};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::discovery::ApiResource;
use kube::core::{DynamicObject, Status};
use kube::{Api, Client};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What the API server answered.
pub(super) enum Write {
    Is(ApiResource, Box<DynamicObject>),
    Gone(ApiResource, String),
}

/// What became of a plan.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) writes: Vec<Write>,
    pub(super) reports: Vec<Report>,
    pub(super) failure: Option<Failure>,
}

/// Why it was not carried out whole.
pub(super) struct Failure {
    /// The uid of the object for which something could not be created.
    pub(super) owner: Option<String>,
    pub(super) message: String,
}

/// Carries out the actions in order. After a failure only those that tell people about the state are.
pub(super) async fn all(client: &Client, actions: &[Action]) -> Outcome {
    let mut outcome = Outcome::default();
    for action in actions {
        if outcome.failure.is_some() && !matches!(action, Action::Patch { subresource: Some("status"), .. }) {
            continue;
        }
        if let Err(error) = one(client, action, &mut outcome).await {
            let failure = explain(action, &error, &mut outcome);
            outcome.failure = outcome.failure.take().or(failure);
        }
    }
    outcome
}

fn api(client: &Client, resource: &ApiResource, namespace: &str) -> Api<DynamicObject> {
    if namespace.is_empty() {
        Api::all_with(client.clone(), resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, resource)
    }
}

fn at(client: &Client, target: &Target) -> Api<DynamicObject> {
    api(client, &target.resource, &target.namespace)
}

async fn one(client: &Client, action: &Action, outcome: &mut Outcome) -> Result<(), kube::Error> {
    match action {
        Action::Create { resource, namespace, object, by, tell } => {
            let created = create(client, resource, namespace, object).await?;
            if let Some(by) = by.as_ref().filter(|_| *tell) {
                let message = told("Created", &resource.kind, created.metadata.name.as_deref());
                outcome.reports.push(by.report(false, "SuccessfulCreate", message));
            }
            outcome.writes.push(Write::Is(resource.clone(), Box::new(created)));
        }
        Action::Patch { target, subresource, patch } => {
            let (api, params, body) = (at(client, target), PatchParams::default(), Patch::Merge(patch));
            let patched = match subresource {
                Some(subresource) => api.patch_subresource(subresource, &target.name, &params, &body).await?,
                None => api.patch(&target.name, &params, &body).await?,
            };
            outcome.writes.push(Write::Is(target.resource.clone(), Box::new(patched)));
        }
        Action::Delete { target, uid, propagation, announce } => {
            let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
            delete(client, target, uid, preconditions, propagation.clone(), outcome).await?;
            if let Some(announce) = announce {
                let message = told("Deleted", &target.resource.kind, Some(&target.name));
                outcome.reports.push(announce.report(false, "SuccessfulDelete", message));
            }
        }
        Action::DeleteAll { resource, namespace } => {
            let (delete, list) = (DeleteParams::background(), ListParams::default());
            api(client, resource, namespace).delete_collection(&delete, &list).await?;
        }
        Action::Finalize { namespace, object } => {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &crate::resources::namespaces());
            api.replace_subresource("finalize", namespace, &PostParams::default(), object).await?;
        }
        Action::Collect { target, uid, resource_version, gone, left } => {
            collect(client, (target, uid, resource_version.as_ref()), gone, left, outcome).await?;
        }
        Action::Report(report) => outcome.reports.push(report.clone()),
    }
    Ok(())
}

fn told(what: &str, kind: &str, name: Option<&str>) -> String {
    format!("{what} {}: {}", kind.to_ascii_lowercase(), name.unwrap_or_default())
}

/// Creates the object. One that is there already by that name is as good: the next plan sees what it is.
async fn create(
    client: &Client,
    resource: &ApiResource,
    namespace: &str,
    object: &Value,
) -> Result<DynamicObject, kube::Error> {
    let api = api(client, resource, namespace);
    let mut object: DynamicObject = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
    object.types =
        Some(kube::core::TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() });
    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            api.get(object.metadata.name.as_deref().unwrap_or_default()).await
        }
        result => result,
    }
}

async fn delete(
    client: &Client,
    target: &Target,
    uid: &str,
    preconditions: Preconditions,
    propagation: PropagationPolicy,
    outcome: &mut Outcome,
) -> Result<(), kube::Error> {
    let params = DeleteParams {
        propagation_policy: Some(propagation),
        preconditions: Some(preconditions),
        ..DeleteParams::default()
    };
    match at(client, target).delete(&target.name, &params).await.map(|answer| answer.left()) {
        // Still there, but marked: a pod that takes its time, or finalizers.
        Ok(Some(object)) if object.metadata.deletion_timestamp.is_some() => {
            outcome.writes.push(Write::Is(target.resource.clone(), Box::new(object)));
        }
        Ok(_) => outcome.writes.push(Write::Gone(target.resource.clone(), uid.to_owned())),
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            outcome.writes.push(Write::Gone(target.resource.clone(), uid.to_owned()));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Looks whether the owners are really gone: the watch of their kind may only be behind.
async fn collect(
    client: &Client,
    (target, uid, resource_version): (&Target, &str, Option<&String>),
    gone: &[(OwnerReference, Target)],
    left: &[OwnerReference],
    outcome: &mut Outcome,
) -> Result<(), kube::Error> {
    let mut left = left.to_vec();
    for (owner, at_owner) in gone {
        let found = at(client, at_owner).get_opt(&at_owner.name).await?;
        if found.is_some_and(|found| found.metadata.uid.as_deref() == Some(owner.uid.as_str())) {
            left.push(owner.clone());
        }
    }
    if left.is_empty() {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: resource_version.cloned() };
        return delete(client, target, uid, preconditions, PropagationPolicy::Background, outcome).await;
    }
    // Nothing is removed where every owner turned out to be there.
    if gone.iter().all(|(owner, _)| left.contains(owner)) {
        return Ok(());
    }
    let patch = json!({"metadata": {"resourceVersion": resource_version, "ownerReferences": left}});
    let patched = at(client, target).patch(&target.name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    outcome.writes.push(Write::Is(target.resource.clone(), Box::new(patched)));
    Ok(())
}

/// What a failure means: nothing where the object is gone or the namespace is, another attempt elsewhere.
fn explain(action: &Action, error: &kube::Error, outcome: &mut Outcome) -> Option<Failure> {
    let status: Option<&Status> = if let kube::Error::Api(status) = error { Some(status) } else { None };
    let message = status.map_or_else(|| error.to_string(), |status| status.message.clone());
    if let Action::Patch { .. } | Action::DeleteAll { .. } | Action::Finalize { .. } = action
        && status.is_some_and(Status::is_not_found)
    {
        tracing::debug!(?action, "the object is gone");
        return None;
    }
    if status.is_some_and(Status::is_conflict) {
        tracing::debug!(?action, message, "changed meanwhile");
        return Some(Failure { owner: None, message });
    }
    if status.is_some_and(|status| status.is_forbidden() && message.contains("being terminated")) {
        tracing::debug!(?action, "the namespace is being deleted");
        return None;
    }
    let owner = if let Action::Create { by: Some(by), .. } = action {
        outcome.reports.push(failed(by, &message));
        Some(by.uid.clone())
    } else {
        None
    };
    tracing::warn!(action = %describe(action), %message, "a controller's write failed; it is tried again");
    Some(Failure { owner, message })
}

fn failed(by: &Regarding, message: &str) -> Report {
    by.report(true, "FailedCreate", format!("Error creating: {message}"))
}

fn describe(action: &Action) -> String {
    match action {
        Action::Create { resource, namespace, by, .. } => {
            let by = by
                .as_ref()
                .map_or_else(String::new, |by| format!(" for {}/{}", by.target.resource.kind, by.target.name));
            format!("create {} in {namespace}{by}", resource.kind)
        }
        Action::Patch { target, subresource, .. } => {
            format!(
                "patch {}{} {}/{}",
                target.resource.kind,
                subresource.map_or(String::new(), |s| format!(" {s}")),
                target.namespace,
                target.name
            )
        }
        Action::Delete { target, .. } | Action::Collect { target, .. } => {
            format!("delete {} {}/{}", target.resource.kind, target.namespace, target.name)
        }
        Action::DeleteAll { resource, namespace } => format!("delete all {} of {namespace}", resource.plural),
        Action::Finalize { namespace, .. } => format!("finalize Namespace {namespace}"),
        Action::Report(report) => format!("Event {}", report.reason),
    }
}

/// Writes an Event, or counts up the one that says the same. Failure is no more than a line in the log.
pub(super) async fn report(client: &Client, report: &Report) {
    if let Err(error) = try_report(client, report).await {
        tracing::debug!(reason = report.reason, %error, "an Event could not be written");
    }
}

async fn try_report(client: &Client, report: &Report) -> Result<(), kube::Error> {
    let about = &report.regarding;
    let resource = crate::resources::events();
    let namespace = if about.target.namespace.is_empty() { "default" } else { &about.target.namespace };
    let api = api(client, &resource, namespace);
    let digest = Sha256::digest(format!("{}/{}/{}", about.uid, report.reason, report.message));
    let suffix: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let name = format!("{}.{suffix}", about.target.name);
    let now = crate::conditions::time(Timestamp::now());
    let event = json!({
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": about.target.resource.api_version,
            "kind": about.target.resource.kind,
            "namespace": about.target.namespace,
            "name": about.target.name,
            "uid": about.uid,
        },
        "reason": report.reason,
        "message": report.message,
        "type": if report.warning { "Warning" } else { "Normal" },
        "source": {"component": about.component},
        "reportingComponent": about.component,
        "reportingInstance": "",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    });
    let mut object: DynamicObject = serde_json::from_value(event).map_err(kube::Error::SerdeError)?;
    object.types = Some(kube::core::TypeMeta { api_version: "v1".into(), kind: "Event".into() });
    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let known = api.get(&name).await?;
            let count = known.data.get("count").and_then(Value::as_i64).unwrap_or(1) + 1;
            let patch = json!({"count": count, "lastTimestamp": now});
            api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
        }
        result => result.map(drop),
    }
}
