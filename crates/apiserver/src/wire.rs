//! Request bodies: JSON, YAML, and the protobuf that kubectl sends since 1.32.

use http::HeaderMap;
use serde_json::Value;

use crate::auth::reviews::Review;
use crate::object::{self, DEEPEST};
use crate::registry::Resource;
use crate::request;
use crate::schema::{StructId, Types};
use crate::status::Status;

mod protobuf;

/// What a body should hold; protobuf cannot be read without knowing.
pub(crate) enum Expected<'a> {
    Kind(&'a Resource),
    /// A struct of the table of types.
    Type(&'static str),
    Any,
}

impl Expected<'_> {
    fn fields(&self) -> Option<StructId> {
        match self {
            Self::Kind(resource) => resource.fields,
            Self::Type(name) => Types::builtin().find(name),
            Self::Any => None,
        }
    }
}

/// Reads a body.
pub(crate) fn parse(media_type: &str, body: &[u8], expected: &Expected<'_>) -> Result<Value, Status> {
    let value = read(media_type, body, expected)?;
    if object::is_deeper(&value, DEEPEST) {
        return Err(Status::bad_request(format!("the body of the request is nested deeper than {DEEPEST} levels")));
    }
    Ok(value)
}

fn read(media_type: &str, body: &[u8], expected: &Expected<'_>) -> Result<Value, Status> {
    match media_type {
        "" | "application/json" | "application/merge-patch+json" => serde_json::from_slice(body)
            .map_err(|e| Status::bad_request(format!("the body of the request is not JSON: {e}"))),
        "application/yaml" | "application/x-yaml" | "text/yaml" => yaml(body),
        "application/vnd.kubernetes.protobuf" => {
            let fields = expected
                .fields()
                .ok_or_else(|| Status::unsupported_media_type("application/json, application/yaml"))?;
            protobuf::decode(Types::builtin(), fields, body)
                .map_err(|e| Status::bad_request(format!("the body of the request is not protobuf: {e}")))
        }
        _ => Err(Status::unsupported_media_type(
            "application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

fn yaml(body: &[u8]) -> Result<Value, Status> {
    // JSON is YAML, and clients that apply send mostly JSON.
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body).map_err(|_| Status::bad_request("the body of the request is not UTF-8"))?;
    serde_saphyr::from_str(text).map_err(|e| Status::bad_request(format!("the body of the request is not YAML: {e}")))
}

/// Reads the body of a review.
pub(crate) fn review(review: &Review, headers: &HeaderMap, body: &[u8]) -> Result<Value, Status> {
    let value = parse(request::media_type(headers), body, &Expected::Type(review.fields))?;
    if value.is_object() { Ok(value) } else { Err(Status::bad_request("the body of the request is not an object")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is taken is stored as JSON, and would be lost if it could not be read back.
    #[test]
    fn what_is_nested_too_deeply_is_refused_in_every_form() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for media_type in ["application/json", "application/yaml"] {
            assert!(parse(media_type, nested(DEEPEST).as_bytes(), &Expected::Any).is_ok(), "{media_type}");
            for levels in [DEEPEST + 1, 127, 1000, 100_000] {
                let refused = parse(media_type, nested(levels).as_bytes(), &Expected::Any);
                assert!(refused.is_err(), "{media_type}: {levels} levels");
            }
        }
        let flow = (0..120).map(|level| format!("{}a:\n", " ".repeat(level))).collect::<String>();
        assert!(parse("application/yaml", flow.as_bytes(), &Expected::Any).is_err());
    }
}
