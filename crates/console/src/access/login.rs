//! Signing in and out.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;

use super::oidc::{self, Settings, Started};
use super::{Access, Mode, Refusal, cookie, is_deliberate, token};

/// Where a provider sends people back to.
pub(super) const CALLBACK: &str = "/console/api/login/oidc/callback";

type Shared = State<Arc<Access>>;

/// The routes.
pub fn routes(access: Arc<Access>) -> Router {
    Router::new()
        .route("/console/api/login", post(login))
        .route("/console/api/logout", post(logout))
        .route("/console/api/login/oidc", get(begin))
        .route(CALLBACK, get(finish))
        .with_state(access)
}

#[derive(Deserialize)]
struct Login {
    token: String,
}

async fn login(State(access): Shared, headers: HeaderMap, body: String) -> Result<Response, Refusal> {
    is_deliberate(&headers)?;
    let offered = access.told(None);
    if offered.get("mode").and_then(serde_json::Value::as_str) != Some("token") {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "notFound", "Nobody signs in with a token here.", ""));
    }
    let login: Login = serde_json::from_str(&body)
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "badRequest", "Signing in takes {\"token\": \"…\"}.", ""))?;
    let token = login.token.trim();
    let kept = cookie::keep(&headers, cookie::TOKEN, token).filter(|_| !token.is_empty()).ok_or_else(|| {
        let message =
            format!("That is no bearer token: those have no spaces, and at most {} characters fit.", cookie::LONGEST);
        Refusal::new(StatusCode::BAD_REQUEST, "badRequest", message, "`kubectl create token SERVICEACCOUNT` makes one.")
    })?;
    let caller = access.callers.of(token).await?;
    tracing::info!(target: "audit", user = %caller.user, "signed in with a token");
    Ok(with(Json(access.told(Some(&caller))).into_response(), Some(kept)))
}

async fn logout(State(access): Shared, headers: HeaderMap) -> Result<Response, Refusal> {
    is_deliberate(&headers)?;
    if let Some(token) = token(&headers) {
        access.callers.forget(token);
    }
    Ok(with(Json(access.told(None)).into_response(), cookie::take(cookie::TOKEN, "/")))
}

fn with(mut response: Response, cookie: Option<HeaderValue>) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn provider(access: &Access) -> Result<&Settings, Refusal> {
    match &access.rules.mode {
        Mode::Oidc(settings) => Ok(settings),
        _ => Err(Refusal::new(StatusCode::NOT_FOUND, "notFound", "Nobody signs in at an identity provider here.", "")),
    }
}

fn to(location: &str) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, location.to_owned())]).into_response()
}

#[derive(Deserialize)]
struct Back {
    #[serde(default)]
    to: String,
}

async fn begin(State(access): Shared, Query(back): Query<Back>, headers: HeaderMap) -> Result<Response, Refusal> {
    let (location, started) = oidc::begin(provider(&access)?, &back.to, CALLBACK).await?;
    let lent = cookie::lend(&headers, cookie::SIGN_IN, &started.sealed(), CALLBACK);
    Ok(with(to(&location), lent))
}

async fn finish(
    State(access): Shared,
    Query(answer): Query<oidc::Answer>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let settings = provider(&access)?;
    let started = cookie::read(&headers, cookie::SIGN_IN).and_then(Started::unsealed).ok_or_else(|| {
        let message = "This browser did not begin to sign in here, or longer ago than a quarter of an hour.";
        Refusal::forbidden(StatusCode::FORBIDDEN, message, "Sign in anew from the console.")
    })?;
    let token = oidc::finish(settings, &started, &answer, CALLBACK).await?;
    let kept = cookie::keep(&headers, cookie::TOKEN, &token).ok_or_else(|| {
        let message = format!("The id token of {} is longer than a cookie can be.", settings.issuer);
        Refusal::forbidden(StatusCode::FORBIDDEN, message, "Have the provider put fewer claims (groups) into it.")
    })?;
    let caller = access.callers.of(&token).await.map_err(|refusal| match refusal.status {
        StatusCode::UNAUTHORIZED => Refusal::forbidden(
            StatusCode::FORBIDDEN,
            format!("The API server does not take the id tokens of {}.", settings.issuer),
            "It has to be told of the provider: --oidc-issuer-url and --oidc-client-id of kube-apiserver.",
        ),
        _ => refusal,
    })?;
    tracing::info!(target: "audit", user = %caller.user, issuer = %settings.issuer, "signed in");
    let response = with(to(&started.to), Some(kept));
    Ok(with(response, cookie::take(cookie::SIGN_IN, CALLBACK)))
}
