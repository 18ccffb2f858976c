//! The routes: the posts' API, health in Spring Boot's form, and an endpoint that shows what a request looked like when
//! it arrived.

use crate::error::ApiError;
use crate::posts::{Post, PostInput, Store};
use crate::traceparent::TraceParent;
use axum::Router;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequestParts, Json, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::time::Instant;

/// Most posts that one answer holds.
const LIST_MAX: u32 = 500;
/// Largest request body, in bytes: a post of the longest text, each character four bytes or escaped, with room.
const BODY_MAX: usize = 256 * 1024;

/// All routes over `store`.
pub fn router(store: Store) -> Router {
    Router::new()
        .route("/api/posts", get(list).post(create))
        .route("/api/posts/{id}", get(read).put(replace).delete(remove))
        .route("/api/whoami", get(whoami))
        .route("/actuator/health", get(health))
        .route("/actuator/health/readiness", get(health))
        .route("/actuator/health/liveness", get(liveness))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn(log))
        .with_state(store)
}

/// One line for each request, with the headers that join it to the lines of the proxies around us.
async fn log(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let request_id = text_of(request.headers(), "x-request-id");
    let traceparent = text_of(request.headers(), "traceparent");
    let started = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let ms = started.elapsed().as_millis();
    // Probes come every second and say nothing new.
    if !path.starts_with("/actuator/") || status >= 400 {
        tracing::info!(%method, path, status, ms, request_id, traceparent);
    }
    response
}

fn text_of(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned()
}

/// The store, for the statements of this request.
struct OfRequest(Store);

impl FromRequestParts<Store> for OfRequest {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, store: &Store) -> Result<Self, Infallible> {
        Ok(Self(store.of_request(TraceParent::of(&parts.headers))))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<u32>,
    before: Option<u64>,
}

async fn list(
    OfRequest(store): OfRequest,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Vec<Post>>, ApiError> {
    let Query(page) = page.map_err(|rejection| malformed(rejection.status(), rejection.body_text()))?;
    let limit = page.limit.unwrap_or(100).clamp(1, LIST_MAX);
    Ok(Json(store.list(page.before, limit).await?))
}

async fn read(OfRequest(store): OfRequest, id: Result<Path<u64>, PathRejection>) -> Result<Json<Post>, ApiError> {
    let id = id_of(id)?;
    store.get(id).await?.map(Json).ok_or(ApiError::NoSuchPost(id))
}

async fn create(
    OfRequest(store): OfRequest,
    input: Result<Json<PostInput>, JsonRejection>,
) -> Result<Response, ApiError> {
    let post = input_of(input)?.validate().map_err(ApiError::Invalid)?;
    let id = store.create(&post).await?;
    let stored = store.get(id).await?.ok_or(ApiError::NoSuchPost(id))?;
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("/api/posts/{id}"))], Json(stored)).into_response())
}

async fn replace(
    OfRequest(store): OfRequest,
    id: Result<Path<u64>, PathRejection>,
    input: Result<Json<PostInput>, JsonRejection>,
) -> Result<Json<Post>, ApiError> {
    let id = id_of(id)?;
    let post = input_of(input)?.validate().map_err(ApiError::Invalid)?;
    store.replace(id, &post).await?.map(Json).ok_or(ApiError::NoSuchPost(id))
}

async fn remove(OfRequest(store): OfRequest, id: Result<Path<u64>, PathRejection>) -> Result<StatusCode, ApiError> {
    let id = id_of(id)?;
    if store.delete(id).await? { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::NoSuchPost(id)) }
}

fn id_of(id: Result<Path<u64>, PathRejection>) -> Result<u64, ApiError> {
    id.map(|Path(id)| id).map_err(|_| malformed(StatusCode::BAD_REQUEST, "A post's id is a whole number.".to_owned()))
}

fn input_of(input: Result<Json<PostInput>, JsonRejection>) -> Result<PostInput, ApiError> {
    input.map(|Json(input)| input).map_err(|rejection| malformed(rejection.status(), rejection.body_text()))
}

fn malformed(status: StatusCode, message: String) -> ApiError {
    ApiError::Malformed { status, message }
}

/// The request as it arrived here, behind whatever proxies it passed. What authenticates a person stays hidden.
async fn whoami(method: Method, version: Version, uri: Uri, headers: HeaderMap) -> Json<Value> {
    let mut seen = Map::new();
    for name in headers.keys() {
        let hidden = name == header::AUTHORIZATION || name == header::COOKIE || name == header::PROXY_AUTHORIZATION;
        let values = headers.get_all(name).iter().map(|value| {
            if hidden { "(hidden)".to_owned() } else { String::from_utf8_lossy(value.as_bytes()).into_owned() }
        });
        seen.insert(name.to_string(), Value::from(values.collect::<Vec<_>>()));
    }
    Json(json!({
        "method": method.as_str(),
        "version": format!("{version:?}"),
        "path": uri.path(),
        "headers": seen,
    }))
}

async fn health(State(store): State<Store>) -> Response {
    let (code, status) =
        if store.is_up().await { (StatusCode::OK, "UP") } else { (StatusCode::SERVICE_UNAVAILABLE, "DOWN") };
    (code, Json(json!({"status": status, "components": {"db": {"status": status}}}))).into_response()
}

async fn liveness() -> Json<Value> {
    Json(json!({"status": "UP"}))
}

async fn no_route(uri: Uri) -> ApiError {
    ApiError::NoRoute { status: StatusCode::NOT_FOUND, message: format!("There is nothing at {}.", uri.path()) }
}

async fn no_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{method} is not possible at {}.", uri.path());
    ApiError::NoRoute { status: StatusCode::METHOD_NOT_ALLOWED, message }
}

#[cfg(test)]
mod tests;
