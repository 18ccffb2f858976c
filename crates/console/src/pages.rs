//! The pages of the console, which are part of the binary (see `build.rs`), below `/console/`.
//!
//! Files whose names carry a hash of their content never change. Pages may ask this host alone, and nobody may frame them.

use std::io::Read as _;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;

include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// Whatever page is asked for, it is this one: which it shows is in its address.
const PAGE: &str = "index.html";
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; worker-src 'self'; \
     object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'";

/// The routes.
pub fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/console/") }))
        .route("/kiali", get(|| async { Redirect::temporary("/console/") }))
        .route("/kiali/", get(|| async { Redirect::temporary("/console/") }))
        .route("/console", get(|| async { Redirect::permanent("/console/") }))
        .route("/console/", get(|headers: HeaderMap| async move { answer(PAGE, &headers) }))
        .route(
            "/console/{*path}",
            get(|Path(path): Path<String>, headers: HeaderMap| async move { file(&path, &headers) }),
        )
}

fn file(path: &str, headers: &HeaderMap) -> Response {
    if path == "api" || path.starts_with("api/") {
        return (
            StatusCode::NOT_FOUND,
            axum::Json(serde_json::json!({"code": "notFound", "message": "There is no such interface.", "hint": ""})),
        )
            .into_response();
    }
    // Whatever is no file is a page: which one, and of what, is in its address.
    let is_file = path.starts_with("assets/") || FILES.iter().any(|(name, _)| *name == path);
    answer(if is_file { path } else { PAGE }, headers)
}

fn answer(name: &str, headers: &HeaderMap) -> Response {
    let Some((_, packed)) = FILES.iter().find(|(found, _)| *found == name) else {
        return match FILES.is_empty() {
            true => {
                let why = "This binary was built without the pages: `make build` builds them first. The interfaces of Prometheus, \
                           Jaeger and Kiali are there.\n";
                (StatusCode::NOT_FOUND, why).into_response()
            }
            false => (StatusCode::NOT_FOUND, "There is no such file.\n").into_response(),
        };
    };
    let encodings = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let takes_gzip = encodings.split(',').any(|encoding| {
        let (name, quality) = encoding.split_once(';').unwrap_or((encoding, ""));
        name.trim() == "gzip" && quality.trim() != "q=0"
    });
    let mut response = if takes_gzip {
        ([(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))], *packed).into_response()
    } else {
        let mut plain = Vec::new();
        match flate2::read::GzDecoder::new(*packed).read_to_end(&mut plain) {
            Ok(_) => plain.into_response(),
            Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    };
    let kept = if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let fixed = [
        (header::CONTENT_TYPE, kind(name)),
        (header::CACHE_CONTROL, kept),
        (header::VARY, "accept-encoding"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    response.headers_mut().extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}
