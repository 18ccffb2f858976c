//! Who asks, how they prove it, and what they may see and change.
//!
//! A caller is known by a bearer token that the API server knows: with it the API server is asked whose it is and what it may see, and
//! with it is done what the caller asks to have done. The console needs no rights of its own for any of that, and lends nobody its own.

pub mod callers;
pub mod cookie;
pub mod gate;
pub mod host;
pub mod login;
pub mod oidc;
pub mod sight;

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::world::World;
use callers::{Caller, Callers};
use oidc::Settings;

/// Who is let in.
#[derive(Debug, Clone)]
pub enum Mode {
    /// Whoever reaches the console may look at everything; only changing needs a token.
    Anonymous,
    /// Who has a token of the cluster.
    Token,
    /// Who signs in at an identity provider that the API server trusts.
    Oidc(Settings),
}

/// Who is let in, and for what.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Who is let in.
    pub mode: Mode,
    /// Nothing is changed, whoever asks.
    pub read_only: bool,
}

/// What decides about requests.
#[derive(Debug)]
pub struct Access {
    pub(crate) rules: Rules,
    pub(crate) callers: Callers,
}

impl Access {
    /// `cluster` is where the API server is; its credentials are not used for anything that a caller asks for.
    pub fn new(cluster: &kube::Config, world: World, rules: Rules) -> Self {
        Self { rules, callers: Callers::new(cluster, world) }
    }

    /// Whether one has to sign in to look.
    pub(crate) fn is_closed(&self) -> bool {
        !matches!(self.rules.mode, Mode::Anonymous)
    }

    /// Who a request is from; `None`: it shows no token.
    pub(crate) async fn caller(&self, headers: &HeaderMap) -> Result<Option<Arc<Caller>>, Refusal> {
        match token(headers) {
            None => Ok(None),
            Some(token) => self.callers.of(token).await.map(Some),
        }
    }

    /// In the pages' words.
    pub(crate) fn told(&self, caller: Option<&Caller>) -> Value {
        let mode = match (&self.rules.mode, self.rules.read_only) {
            (Mode::Anonymous, true) => "anonymous",
            // There is nothing that one has to sign in for, but something that one can.
            (Mode::Anonymous, false) | (Mode::Token, _) => "token",
            (Mode::Oidc(_), _) => "oidc",
        };
        let (code, why) = match (self.rules.read_only, caller) {
            (true, _) => (STARTED, "This console was started with --read-only: it changes nothing."),
            (false, None) => {
                ("signedOut", "Nobody has signed in. What is changed is changed with the rights of who signs in.")
            }
            (false, Some(_)) => ("", ""),
        };
        json!({
            "mode": mode, "user": caller.map(|caller| &caller.user), "readOnly": !why.is_empty(), "why": why, "code": code,
        })
    }
}

/// `code` of an access that was started to change nothing.
pub(crate) const STARTED: &str = "readOnly";

/// What `Info.access` says.
#[derive(Debug, Clone)]
pub(crate) struct Told(pub(crate) Value);

/// The bearer token of a request: what it says itself goes before the cookie of who signed in.
pub(crate) fn token(headers: &HeaderMap) -> Option<&str> {
    let said = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = said.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    bearer.or_else(|| cookie::read(headers, cookie::TOKEN)).filter(|token| !token.is_empty())
}

/// Whether a request that changes something comes from a page of the console, or from a program that says so: no form of another site can
/// make such a one, and no script of another site may.
pub(crate) fn is_deliberate(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let json =
        text("content-type").split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json");
    if json && text("x-requested-with") == "varka-console" {
        return Ok(());
    }
    let message = "A request that changes something is JSON (Content-Type: application/json) and says that it is meant \
                   (X-Requested-With: varka-console); this one does not.";
    Err(Refusal::forbidden(StatusCode::FORBIDDEN, message, ""))
}

/// Why something is not done, for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// Of the answer.
    pub status: StatusCode,
    /// For programs.
    pub code: &'static str,
    /// What happened.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// Places in what was sent.
    pub findings: Vec<Value>,
}

impl Refusal {
    /// With 401 (who are you?) or 403 (you may not).
    pub(crate) fn forbidden(status: StatusCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(status, "forbidden", message, hint)
    }

    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { status, code, message: message.into(), hint: hint.into(), findings: Vec::new() }
    }

    /// To who has not signed in.
    pub(crate) fn nobody(what: &str) -> Self {
        let hint = "Sign in, or send a token of the cluster as Authorization: Bearer; `kubectl create token SERVICEACCOUNT` makes one.";
        Self::forbidden(StatusCode::UNAUTHORIZED, format!("{what} needs somebody to have signed in."), hint)
    }

    /// When somebody else does not answer.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message, "Try again in a moment.")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({"code": self.code, "message": self.message, "hint": self.hint});
        if let (false, Some(body)) = (self.findings.is_empty(), body.as_object_mut()) {
            body.insert("findings".to_owned(), self.findings.into());
        }
        let mut response = (self.status, Json(body)).into_response();
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("2"));
        }
        response
    }
}

#[cfg(test)]
pub(crate) mod tests;
