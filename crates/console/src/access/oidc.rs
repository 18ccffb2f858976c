//! Signing in at an identity provider: OpenID Connect's authorization code flow with PKCE, a state and a nonce.
//! <https://openid.net/specs/openid-connect-core-1_0.html>
//!
//! What comes of it is an id token, which is the caller's bearer token at the API server; that one verifies its signature whenever it is used.
//! Here is verified what the API server cannot know: that it was issued for this sign-in, to this browser. Nothing is kept between the two
//! ends of a sign-in but a cookie.

use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Refusal;
use crate::client::{Question, Url, encode, escape};

/// An answer of a provider's takes at most so long, and is at most so big.
const WITHIN: Duration = Duration::from_secs(10);
const LARGEST: usize = 256 * 1024;

/// A provider, and what it knows the console as.
#[derive(Clone)]
pub struct Settings {
    /// URL, which id tokens name as `iss`.
    pub issuer: String,
    /// What the provider calls the console.
    pub client_id: String,
    /// What it knows it by; empty: a public client.
    pub client_secret: String,
    /// Asked for, with `openid`.
    pub scopes: String,
    /// Under which browsers reach the console, without a path: `https://console.example.org`.
    pub public_url: String,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { issuer, client_id, scopes, public_url, client_secret: _ } = self;
        let shown = (issuer, client_id, scopes, public_url);
        f.debug_tuple("Settings").field(&shown).finish()
    }
}

/// What a sign-in began with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Started {
    state: String,
    nonce: String,
    verifier: String,
    /// Where it goes on afterwards.
    pub(super) to: String,
}

impl Started {
    fn new(to: &str) -> Self {
        let random = || URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let own =
            to.starts_with("/console/") && to.len() <= 1_000 && to.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
        let to = if own { to } else { "/console/" };
        Self { state: random(), nonce: random(), verifier: random(), to: to.to_owned() }
    }

    /// As the value of a cookie.
    pub(super) fn sealed(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    pub(super) fn unsealed(text: &str) -> Option<Self> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
    }
}

/// What the provider sends the browser back with.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    code: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

#[derive(Debug, Deserialize)]
struct Endpoints {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
}

async fn endpoints(settings: &Settings) -> Result<Endpoints, Refusal> {
    let at = format!("{}/.well-known/openid-configuration", settings.issuer.trim_end_matches('/'));
    let found =
        ask(&at, None, "").await.and_then(|text| serde_json::from_str::<Endpoints>(&text).map_err(|e| e.to_string()));
    let found =
        found.map_err(|why| Refusal::unavailable(format!("The identity provider cannot be asked: {at}: {why}")))?;
    if found.issuer != settings.issuer {
        let message = format!("{at} is the configuration of {:?}, not of {:?}.", found.issuer, settings.issuer);
        return Err(Refusal::unavailable(message));
    }
    Ok(found)
}

/// Where the browser goes, and what is kept until it comes back.
pub(super) async fn begin(settings: &Settings, to: &str, callback: &str) -> Result<(String, Started), Refusal> {
    let endpoints = endpoints(settings).await?;
    let started = Started::new(to);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&started.verifier));
    let scopes = format!("openid {}", settings.scopes);
    let query = encode([
        ("response_type", "code"),
        ("client_id", &settings.client_id),
        ("redirect_uri", &redirect(settings, callback)),
        ("scope", scopes.trim()),
        ("state", &started.state),
        ("nonce", &started.nonce),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    let separator = if endpoints.authorization_endpoint.contains('?') { '&' } else { '?' };
    Ok((format!("{}{separator}{query}", endpoints.authorization_endpoint), started))
}

/// The id token that the provider gives for its answer.
pub(super) async fn finish(
    settings: &Settings,
    started: &Started,
    answer: &Answer,
    callback: &str,
) -> Result<String, Refusal> {
    let refused =
        |message: String| Refusal::forbidden(StatusCode::FORBIDDEN, message, "Sign in anew from the console.");
    if Sha256::digest(&answer.state) != Sha256::digest(&started.state) {
        return Err(refused("The identity provider answers something that this browser did not ask.".to_owned()));
    }
    if !answer.error.is_empty() {
        return Err(refused(format!("{} refuses: {} {}", settings.issuer, answer.error, answer.error_description)));
    }
    let endpoints = endpoints(settings).await?;
    let body = encode([
        ("grant_type", "authorization_code"),
        ("code", &answer.code),
        ("redirect_uri", &redirect(settings, callback)),
        ("client_id", &settings.client_id),
        ("code_verifier", &started.verifier),
    ]);
    // RFC 6749, 2.3.1: both are encoded as in a form first.
    let pair = format!("{}:{}", escape(&settings.client_id), escape(&settings.client_secret));
    let secret =
        if settings.client_secret.is_empty() { String::new() } else { format!("Basic {}", STANDARD.encode(pair)) };
    let given = ask(&endpoints.token_endpoint, Some(body), &secret).await;
    let given = given.map_err(|why| refused(format!("{} gives no token: {why}", settings.issuer)))?;
    let given: Value =
        serde_json::from_str(&given).map_err(|_| refused("The token endpoint answers no JSON.".to_owned()))?;
    let token = given.get("id_token").and_then(Value::as_str).unwrap_or_default();
    verified(settings, started, token, now()).map_err(refused)?;
    Ok(token.to_owned())
}

/// Whether a token is for this sign-in. That it is the provider's is known from where it came from, and verified by the API server.
fn verified(settings: &Settings, started: &Started, token: &str, now: i64) -> Result<(), String> {
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Value = claims.and_then(|claims| serde_json::from_slice(&claims).ok()).ok_or_else(|| {
        format!("{} gives no id token: is `openid` among the scopes that it allows?", settings.issuer)
    })?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let meant = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(|one| one == settings.client_id.as_str()),
        one => one.and_then(Value::as_str) == Some(&settings.client_id),
    };
    if text("iss") != settings.issuer || !meant {
        return Err(format!("The id token is not {}'s for {}.", settings.issuer, settings.client_id));
    }
    if text("nonce") != started.nonce {
        return Err("The id token is of another sign-in.".to_owned());
    }
    if claims.get("exp").and_then(Value::as_i64).is_none_or(|exp| exp <= now) {
        return Err("The id token has expired.".to_owned());
    }
    Ok(())
}

fn redirect(settings: &Settings, callback: &str) -> String {
    format!("{}{callback}", settings.public_url.trim_end_matches('/'))
}

/// Asks a provider, over TLS unless it is on this machine.
async fn ask(url: &str, form: Option<String>, authorization: &str) -> Result<String, String> {
    let here = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"];
    if !url.starts_with("https://") && !here.iter().any(|here| url.starts_with(here)) {
        return Err(format!("{url} is no https: URL (http: is for providers on this machine)"));
    }
    let server: Url = url.parse().map_err(|problem: crate::client::Error| problem.to_string())?;
    let question = Question { form, authorization, within: WITHIN, largest: LARGEST, ..Question::default() };
    let answer = server.ask(&question).await.map_err(|problem| problem.to_string())?;
    let text = String::from_utf8(answer.body.into()).map_err(|_| "the answer is not UTF-8".to_owned())?;
    if answer.status.is_success() {
        return Ok(text);
    }
    // RFC 6749, 5.2: it says why.
    let why = serde_json::from_str::<Value>(&text).unwrap_or_default();
    let said = |name: &str| why.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let message = format!("status {} {} {}", answer.status, said("error"), said("error_description"));
    Err(message.trim_end().to_owned())
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[cfg(test)]
mod tests;
