//! `get` and `list`.

use http::Response;
use serde_json::{Value, json};

use crate::request::Form;
use crate::respond::{self, Body};
use crate::selector::Selector;
use crate::status::Status;
use crate::table;

use super::Call;
use super::render::{self, View};

/// Reads one object.
pub(crate) fn get(call: &Call) -> Result<Response<Body>, Status> {
    Ok(render::one(call, 200, &*call.object()?))
}

/// The selectors of a call.
pub(crate) fn selector(call: &Call) -> Result<Selector, Status> {
    let parsed = Selector::parse(call.query.get("labelSelector"), call.query.get("fieldSelector"));
    parsed.map_err(|error| Status::bad_request(error.to_string()))
}

/// The namespace that a call is limited to.
pub(crate) fn namespace(call: &Call) -> Option<&str> {
    (call.resource.namespaced && !call.path.namespace.is_empty()).then_some(call.path.namespace.as_str())
}

/// Lists objects. `limit` is not honoured: everything is in memory, and an answer without `continue` is complete.
pub(crate) fn list(call: &Call) -> Result<Response<Body>, Status> {
    let selector = selector(call)?;
    let view = View::of(call);
    let (version, objects) = call.server.store.list(&call.resource.key, namespace(call));
    let chosen = objects.iter().filter(|o| selector.is_empty() || selector.matches(&o.value));
    match view.form {
        Form::Table => {
            let values: Vec<&Value> = chosen.map(|o| &o.value).collect();
            Ok(respond::json(200, &table::table(&call.resource, &view, &values, version, true)))
        }
        Form::Metadata => {
            let items: Vec<Value> = chosen.map(|o| render::partial(&o.value)).collect();
            let list = json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": {"resourceVersion": version.to_string()}, "items": items,
            });
            Ok(respond::json(200, &list))
        }
        Form::Json => {
            let mut out = format!(
                r#"{{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"{version}"}},"items":["#,
                call.resource.list_kind, view.api_version
            )
            .into_bytes();
            for (index, object) in chosen.enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(&view.json(&call.resource, object));
            }
            out.extend_from_slice(b"]}");
            Ok(respond::json_text(200, out))
        }
    }
}
