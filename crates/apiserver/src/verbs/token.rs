//! TokenRequest: tokens for a service account, bound to a pod and meant for audiences.

use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::auth::{Grant, ISSUER};
use crate::object::{self, at, list_at, str_at};
use crate::request;
use crate::respond::{self, Body};
use crate::status::{FieldError, Status};
use crate::store::Key;
use crate::wire;

use super::Call;

const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;

/// Issues a token for the account that the path names.
pub(crate) fn create(call: &Call) -> Result<Response<Body>, Status> {
    let account = call.object()?;
    let expected = wire::Expected::Type("authentication.v1.TokenRequest");
    let mut request = wire::parse(request::media_type(&call.headers), &call.body, &expected)?;
    let mut audiences: Vec<String> =
        list_at(&request, &["spec", "audiences"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    let seconds = at(&request, &["spec", "expirationSeconds"]).and_then(Value::as_i64).unwrap_or(DEFAULT_SECONDS);
    if !(MIN_SECONDS..=MAX_SECONDS).contains(&seconds) {
        let error = FieldError::invalid(
            "spec.expirationSeconds",
            seconds,
            format!("may not specify a duration less than 10 minutes or larger than {MAX_SECONDS} seconds"),
        );
        return Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", &[error]));
    }
    let bound = bound(call, &request)?;
    let grant = Grant {
        namespace: &call.path.namespace,
        account: &call.path.name,
        account_uid: object::uid(&account.value),
        audiences: &audiences,
        bound: bound.as_ref().map(|(kind, name, uid)| (kind.as_str(), name.as_str(), uid.as_str())),
        seconds,
    };
    let issued = call.server.tokens.issue(&grant, Timestamp::now());
    let (token, expires) = issued.map_err(|error| Status::internal(error.to_string()))?;
    if let Some(spec) = object::map_at(&mut request, &["spec"]) {
        spec.insert("audiences".to_owned(), json!(audiences));
        spec.insert("expirationSeconds".to_owned(), json!(seconds));
    }
    object::set(&mut request, "status", json!({"token": token, "expirationTimestamp": object::time(expires)}));
    object::set(&mut request, "apiVersion", json!("authentication.k8s.io/v1"));
    object::set(&mut request, "kind", json!("TokenRequest"));
    if let Some(metadata) = object::metadata(&mut request) {
        metadata.insert("name".to_owned(), json!(call.path.name));
        metadata.insert("namespace".to_owned(), json!(call.path.namespace));
        metadata.insert("creationTimestamp".to_owned(), json!(object::now()));
    }
    Ok(respond::json(201, &object::in_order(request)))
}

/// Kind, name and UID of the object that the token dies with.
fn bound(call: &Call, request: &Value) -> Result<Option<(String, String, String)>, Status> {
    let Some(reference) = at(request, &["spec", "boundObjectRef"]).filter(|r| !r.is_null()) else { return Ok(None) };
    let (kind, name, uid) = (str_at(reference, &["kind"]), str_at(reference, &["name"]), str_at(reference, &["uid"]));
    let resource = match kind {
        "Pod" => "pods",
        "Secret" => "secrets",
        _ => {
            let error = FieldError::not_supported("spec.boundObjectRef.kind", kind, &["Pod", "Secret"]);
            return Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", &[error]));
        }
    };
    let object = call.server.store.get(&Key::new(resource, &call.path.namespace, name));
    let object = object.ok_or_else(|| Status::new(404, "NotFound", format!("{resource} \"{name}\" not found")))?;
    if !uid.is_empty() && uid != object::uid(&object.value) {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record ({})",
            object::uid(&object.value)
        );
        return Err(Status::conflict(&call.resource, &call.path.name, &why));
    }
    Ok(Some((kind.to_owned(), name.to_owned(), object::uid(&object.value).to_owned())))
}
