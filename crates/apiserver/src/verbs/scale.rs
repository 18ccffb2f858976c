//! The `scale` subresource: an autoscaling/v1 Scale that stands for the numbers of a scalable kind.

use std::sync::{Mutex, PoisonError};

use http::Response;
use serde_json::{Value, json};

use crate::object::{self, at, str_at};
use crate::patch::{self, json as json_patch, merge};
use crate::registry::Scale;
use crate::request::{self, Form};
use crate::respond::{self, Body};
use crate::selector::Selector;
use crate::status::{FieldError, Status};
use crate::table;
use crate::wire;

use super::{Call, render, write};

/// Handles a request to `.../scale`.
pub(crate) async fn handle(call: &Call, verb: &str) -> Result<Response<Body>, Status> {
    let version = call.resource.version(&call.path.version);
    let paths = version.and_then(|v| v.scale.clone()).ok_or_else(Status::no_route)?;
    match verb {
        "get" => Ok(rendered(call, &scale_of(&paths, &call.object()?.value))),
        "update" => {
            let sent = wire::parse(
                request::media_type(&call.headers),
                &call.body,
                &wire::Expected::Type("autoscaling.v1.Scale"),
            )?;
            change(call, &paths, |_| Ok(sent.clone())).await
        }
        "patch" => match request::media_type(&call.headers) {
            "application/json-patch+json" => {
                let patch = json_patch::parse(&call.body).map_err(|e| Status::bad_request(e.to_string()))?;
                change(call, &paths, |old| {
                    json_patch::apply(old, &patch).map_err(|e| Status::bad_request(e.to_string()))
                })
                .await
            }
            _ => {
                let patch =
                    patch::read(&call.body).map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
                change(call, &paths, |old| Ok(merge::apply(old.clone(), &patch))).await
            }
        },
        _ => Err(Status::method_not_allowed(&call.method)),
    }
}

async fn change(
    call: &Call,
    paths: &Scale,
    next: impl Fn(&Value) -> Result<Value, Status>,
) -> Result<Response<Body>, Status> {
    let made = Mutex::new(Value::Null);
    let response = write::change(call, |old| {
        let scale = next(&scale_of(paths, old))?;
        let replicas = at(&scale, &["spec", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
        if replicas < 0 {
            let error = FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
            return Err(Status::invalid("autoscaling", "Scale", &call.path.name, &[error]));
        }
        let mut new = old.clone();
        if let Some(version) = at(&scale, &["metadata", "resourceVersion"]) {
            object::set_metadata(&mut new, "resourceVersion", Some(version.clone()));
        }
        let Some((last, parents)) = paths.spec.split_last() else { return Ok(new) };
        let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
        if let Some(map) = object::map_at(&mut new, &parents) {
            map.insert(last.clone(), json!(replicas));
        }
        *made.lock().unwrap_or_else(PoisonError::into_inner) = scale_of(paths, &new);
        Ok(new)
    })
    .await?;
    if !response.status().is_success() {
        return Ok(response);
    }
    if call.dry_run()? {
        return Ok(rendered(call, &made.into_inner().unwrap_or_else(PoisonError::into_inner)));
    }
    Ok(rendered(call, &scale_of(paths, &call.object()?.value)))
}

/// A Scale in the form that the client asked for.
fn rendered(call: &Call, scale: &Value) -> Response<Body> {
    match request::accepted(&call.headers) {
        Form::Json => respond::json(200, scale),
        Form::Metadata => respond::json(200, &render::partial(scale)),
        Form::Table => respond::json(200, &table::scale(scale)),
    }
}

fn scale_of(paths: &Scale, object: &Value) -> Value {
    let number =
        |path: &[String]| path.iter().try_fold(object, |v, name| v.get(name)).and_then(Value::as_i64).unwrap_or(0);
    let selector = paths.selector.as_ref().and_then(|path| path.iter().try_fold(object, |v, name| v.get(name)));
    let selector = match selector {
        Some(Value::String(text)) => text.clone(),
        Some(selector) => Selector::from_object(selector).to_text(),
        None => String::new(),
    };
    let mut metadata = json!({});
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        let value = str_at(object, &["metadata", name]);
        if !value.is_empty() {
            object::set(&mut metadata, name, json!(value));
        }
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": {"replicas": number(&paths.spec)},
        "status": {"replicas": number(&paths.status), "selector": selector},
    })
}
