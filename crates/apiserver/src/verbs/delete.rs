//! `delete`, `deletecollection` and eviction.
//!
//! An object with finalizers, and a pod that runs, is only marked; it goes when whoever is responsible has let go of it. Dependents are the
//! garbage collector's business: `Foreground` and `Orphan` become finalizers that it resolves.
//! <https://kubernetes.io/docs/concepts/architecture/garbage-collection/>

use std::sync::Arc;

use http::Response;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::admission::{self, Operation};
use crate::object::{self, at, str_at};
use crate::request;
use crate::respond::{self, Body};
use crate::status::Status;
use crate::store::{Expect, Key, Object, WriteError};
use crate::wire;

use super::{Call, read, render};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
const TRIES: usize = 20;
/// Namespaces that cannot be deleted.
const PROTECTED: &[&str] = &["default", "kube-system", "kube-public"];

/// `DeleteOptions`, from the body or the query.
#[derive(Debug, Default)]
struct Options {
    grace: Option<i64>,
    propagation: String,
    uid: String,
    version: String,
    dry: bool,
}

fn options(call: &Call) -> Result<Options, Status> {
    let body = if call.body.is_empty() {
        Value::Null
    } else {
        wire::parse(request::media_type(&call.headers), &call.body, &wire::Expected::Type("meta.v1.DeleteOptions"))?
    };
    let mut options = Options {
        grace: body
            .get("gracePeriodSeconds")
            .and_then(Value::as_i64)
            .or_else(|| call.query.number("gracePeriodSeconds")),
        propagation: str_at(&body, &["propagationPolicy"]).to_owned(),
        uid: str_at(&body, &["preconditions", "uid"]).to_owned(),
        version: str_at(&body, &["preconditions", "resourceVersion"]).to_owned(),
        dry: call.dry_run()? || object::list_at(&body, &["dryRun"]).iter().any(|d| d == "All"),
    };
    if options.propagation.is_empty() {
        options.propagation = call.query.get("propagationPolicy").to_owned();
    }
    if options.propagation.is_empty() && body.get("orphanDependents") == Some(&Value::Bool(true)) {
        options.propagation = "Orphan".to_owned();
    }
    if !matches!(options.propagation.as_str(), "" | "Background" | "Foreground" | "Orphan") {
        return Err(Status::bad_request(format!(
            "propagationPolicy \"{}\": needs to be one of Foreground, Background, Orphan",
            options.propagation
        )));
    }
    Ok(options)
}

/// Deletes one object.
pub(crate) async fn delete(call: &Call) -> Result<Response<Body>, Status> {
    let options = options(call)?;
    delete_named(call, &call.path.name, &options).await
}

async fn delete_named(call: &Call, name: &str, options: &Options) -> Result<Response<Body>, Status> {
    let resource = &*call.resource;
    if &*resource.key == "namespaces" && PROTECTED.contains(&name) {
        return Err(Status::forbidden(resource, name, "this namespace may not be deleted"));
    }
    let key = call.key_of(name);
    for _ in 0..TRIES {
        let old = call.server.store.get(&key).ok_or_else(|| Status::not_found(resource, name))?;
        check_preconditions(call, name, options, &old)?;
        admission::admit_deletion(call, Operation::Delete, &old.value).await?;
        let marked = mark(call, options, &old.value);
        if options.dry {
            return Ok(render::unstored(call, 200, marked.unwrap_or_else(|| old.value.clone())));
        }
        let result = match marked {
            Some(value) if value == old.value => return Ok(render::one(call, 200, &old)),
            Some(value) => {
                call.server.store.put(key.clone(), Expect::Version(old.version), value).await.map(|o| (o, false))
            }
            None => remove(call, &key, &old).await.map(|o| (o, true)),
        };
        match result {
            Ok((object, true)) if &*resource.key != "pods" => {
                return Ok(render::deleted(resource, name, object::uid(&object.value)));
            }
            Ok((object, _)) => return Ok(render::one(call, 200, &object)),
            Err(WriteError::Conflict) => {}
            Err(error) => return Err(Status::from_write(&error, resource, name)),
        }
    }
    Err(Status::modified(resource, name))
}

fn check_preconditions(call: &Call, name: &str, options: &Options, old: &Object) -> Result<(), Status> {
    let uid = object::uid(&old.value);
    if !options.uid.is_empty() && options.uid != uid {
        let why = format!("Precondition failed: UID in precondition: {}, UID in object meta: {uid}", options.uid);
        return Err(Status::conflict(&call.resource, name, &why));
    }
    if !options.version.is_empty() && options.version != old.version.to_string() {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {}, ResourceVersion in object meta: {}",
            options.version, old.version
        );
        return Err(Status::conflict(&call.resource, name, &why));
    }
    Ok(())
}

async fn remove(call: &Call, key: &Key, old: &Arc<Object>) -> Result<Arc<Object>, WriteError> {
    let removed = call.server.store.delete(key.clone(), old.version).await?;
    admission::removed(call, &removed.value).await;
    Ok(removed)
}

/// The object as marked for deletion; `None` if it can go at once.
fn mark(call: &Call, options: &Options, old: &Value) -> Option<Value> {
    let mut finalizers: Vec<&str> = object::finalizers(old)
        .filter(|f| options.propagation.is_empty() || (*f != FOREGROUND && *f != ORPHAN))
        .collect();
    match options.propagation.as_str() {
        "Foreground" => finalizers.push(FOREGROUND),
        "Orphan" => finalizers.push(ORPHAN),
        _ => {}
    }
    let namespace = &*call.resource.key == "namespaces" && !object::list_at(old, &["spec", "finalizers"]).is_empty();
    let grace = if &*call.resource.key == "pods" { pod_grace(options, old) } else { 0 };
    if finalizers.is_empty() && grace == 0 && !namespace {
        return None;
    }
    let mut new = old.clone();
    if finalizers.is_empty() {
        object::set_metadata(&mut new, "finalizers", None);
    } else {
        object::set_metadata(&mut new, "finalizers", Some(json!(finalizers)));
    }
    let before = at(old, &["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64);
    if !object::is_terminating(old) || before.is_some_and(|b| grace < b) {
        let when = Timestamp::now().checked_add(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MAX);
        object::set_metadata(&mut new, "deletionTimestamp", Some(json!(object::time(when))));
        object::set_metadata(&mut new, "deletionGracePeriodSeconds", Some(json!(grace)));
        if call.resource.generation {
            let generation = at(old, &["metadata", "generation"]).and_then(Value::as_i64).unwrap_or(0);
            object::set_metadata(&mut new, "generation", Some(json!(generation + 1)));
        }
        if namespace && let Some(status) = object::map_at(&mut new, &["status"]) {
            status.insert("phase".to_owned(), json!("Terminating"));
        }
    }
    Some(new)
}

/// How long a pod may take to end: nothing if no node has it or it has finished.
fn pod_grace(options: &Options, pod: &Value) -> i64 {
    let finished = matches!(str_at(pod, &["status", "phase"]), "Succeeded" | "Failed");
    if str_at(pod, &["spec", "nodeName"]).is_empty() || finished {
        return 0;
    }
    let own = at(pod, &["spec", "terminationGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(30);
    options.grace.unwrap_or(own).max(0)
}

/// Deletes all objects that the selectors choose.
pub(crate) async fn delete_collection(call: &Call) -> Result<Response<Body>, Status> {
    let options = options(call)?;
    let selector = read::selector(call)?;
    let (_, objects) = call.server.store.list(&call.resource.key, read::namespace(call));
    for object in objects.iter().filter(|o| selector.matches(&o.value)) {
        let mut path = call.path.clone();
        path.namespace = object::namespace(&object.value).to_owned();
        let one = Call {
            server: Arc::clone(&call.server),
            user: call.user.clone(),
            resource: Arc::clone(&call.resource),
            method: call.method.clone(),
            path,
            query: call.query.clone(),
            headers: call.headers.clone(),
            body: call.body.clone(),
            warnings: std::sync::Mutex::default(),
        };
        match delete_named(&one, object::name(&object.value), &options).await {
            Ok(_) => {}
            Err(status) if status.reason == "NotFound" => {}
            Err(status) => return Err(status),
        }
    }
    Ok(respond::json(200, &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})))
}

/// Evicts a pod: deletes it with the options of the Eviction. Disruption budgets are stored, not enforced.
pub(crate) async fn evict(call: &Call) -> Result<Response<Body>, Status> {
    let body =
        wire::parse(request::media_type(&call.headers), &call.body, &wire::Expected::Type("policy.v1.Eviction"))?;
    let options = Options {
        grace: at(&body, &["deleteOptions", "gracePeriodSeconds"]).and_then(Value::as_i64),
        uid: str_at(&body, &["deleteOptions", "preconditions", "uid"]).to_owned(),
        dry: call.dry_run()?,
        ..Options::default()
    };
    delete_named(call, &call.path.name, &options).await?;
    Ok(respond::json(201, &render::success()))
}
