//! What a caller is told when a request cannot be answered: a status and a JSON body in the manner of Spring Boot.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// One input that is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The member of the request's JSON.
    pub field: &'static str,
    /// What is wrong with it, for a person.
    pub message: String,
}

/// Why a request failed, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request's form is wrong: not JSON, not a number, the wrong media type, too large.
    #[error("{message}")]
    Malformed {
        /// The status that says so (400, 413, 415, 422).
        status: StatusCode,
        /// What is wrong, for a person.
        message: String,
    },
    /// The request is well formed, but its values are not acceptable.
    #[error("The post is not valid: {}", fields_of(.0))]
    Invalid(Vec<FieldError>),
    /// There is no such post.
    #[error("There is no post {0}.")]
    NoSuchPost(u64),
    /// There is nothing at this path, or not with this method.
    #[error("{message}")]
    NoRoute {
        /// 404 or 405.
        status: StatusCode,
        /// What was asked for.
        message: String,
    },
    /// The database does not answer. Its error goes to the log and not to the caller.
    #[error("The database cannot be reached. Try again in a moment.")]
    Database(#[from] sqlx::Error),
}

fn fields_of(errors: &[FieldError]) -> String {
    errors.iter().map(|error| format!("{} {}", error.field, error.message)).collect::<Vec<_>>().join("; ")
}

#[derive(Serialize)]
struct Body<'a> {
    status: u16,
    error: &'a str,
    message: String,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    fields: &'a [FieldError],
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Malformed { status, .. } | Self::NoRoute { status, .. } => *status,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NoSuchPost(_) => StatusCode::NOT_FOUND,
            Self::Database(error) => {
                tracing::error!(%error, "database");
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        let fields = if let Self::Invalid(fields) = &self { fields.as_slice() } else { &[] };
        let error = status.canonical_reason().unwrap_or("Error");
        (status, Json(Body { status: status.as_u16(), error, message: self.to_string(), fields })).into_response()
    }
}
