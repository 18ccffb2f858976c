use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tower::ServiceExt as _;

use super::super::tests::reviewer;
use super::super::{Access, Mode, Rules, login};
use super::Settings;
use crate::world::World;

/// What a provider was asked at its authorization endpoint, as browsers bring it.
type Asked = Arc<Mutex<HashMap<String, String>>>;

/// A provider that lets everybody in, and checks what a client has to prove.
#[derive(Clone)]
struct Provider {
    asked: Asked,
    issuer: Arc<Mutex<String>>,
}

async fn exchange(State(provider): State<Provider>, headers: HeaderMap, body: String) -> (StatusCode, Json<Value>) {
    let form: Uri = format!("/?{body}").parse().unwrap();
    let Query(form) = Query::<HashMap<String, String>>::try_from_uri(&form).unwrap();
    let asked = provider.asked.lock().unwrap().clone();
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
    // "console:s%3Acret", both encoded as in a form.
    let known = headers["authorization"] == "Basic Y29uc29sZTpzJTNBY3JldA==";
    if !known
        || form["code"] != "the-code"
        || challenge != asked["code_challenge"]
        || form["redirect_uri"] != asked["redirect_uri"]
    {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"})));
    }
    let claims = json!({"iss": *provider.issuer.lock().unwrap(), "aud": ["console"], "exp": 4_000_000_000_i64, "nonce": asked["nonce"], "sub": "u"});
    let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
    (StatusCode::OK, Json(json!({"id_token": token, "token_type": "Bearer"})))
}

async fn provider() -> Provider {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let provider = Provider { asked: Arc::default(), issuer: Arc::new(Mutex::new(issuer.clone())) };
    let configuration = json!({"issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"), "token_endpoint": format!("{issuer}/token")});
    let routes = Router::new()
        .route("/.well-known/openid-configuration", get(move || async move { Json(configuration) }))
        .route("/token", post(exchange))
        .with_state(provider.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    provider
}

fn says(token: &str) -> Option<(&'static str, &'static [&'static str])> {
    token.ends_with(".c2ln").then_some(("https://provider#u", &["*"]))
}

async fn console(provider: &Provider) -> Router {
    let issuer = provider.issuer.lock().unwrap().clone();
    let settings = Settings {
        issuer,
        client_id: "console".to_owned(),
        client_secret: "s:cret".to_owned(),
        scopes: "email".to_owned(),
        public_url: "https://console.example.org/".to_owned(),
    };
    let rules = Rules { mode: Mode::Oidc(settings), read_only: false };
    login::routes(Arc::new(Access::new(&reviewer(says).await, World::default(), rules)))
}

async fn ask(console: &Router, path: &str, cookie: &str) -> (StatusCode, HeaderMap) {
    let request = Request::get(path).header("cookie", cookie).header("x-forwarded-proto", "https").body(Body::empty());
    let response = console.clone().oneshot(request.unwrap()).await.unwrap();
    (response.status(), response.headers().clone())
}

fn cookies(headers: &HeaderMap) -> Vec<&str> {
    headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect()
}

/// Begins to sign in, and brings the provider what the browser would; the cookie, and the state.
async fn begin(console: &Router, provider: &Provider, to: &str) -> (String, String) {
    let (status, headers) = ask(console, &format!("/console/api/login/oidc?to={to}"), "").await;
    assert_eq!(status, 302);
    let location: Uri = headers["location"].to_str().unwrap().parse().unwrap();
    let Query(query) = Query::<HashMap<String, String>>::try_from_uri(&location).unwrap();
    assert_eq!((&*query["scope"], &*query["code_challenge_method"]), ("openid email", "S256"));
    assert_eq!(query["redirect_uri"], "https://console.example.org/console/api/login/oidc/callback");
    let cookie = cookies(&headers)[0].to_owned();
    assert!(
        cookie.ends_with("Path=/console/api/login/oidc/callback; Max-Age=900; HttpOnly; SameSite=Lax; Secure"),
        "{cookie}"
    );
    let state = query["state"].clone();
    *provider.asked.lock().unwrap() = query;
    (cookie.split(';').next().unwrap().to_owned(), state)
}

#[tokio::test]
async fn the_id_token_becomes_the_callers_token() {
    let provider = provider().await;
    let console = console(&provider).await;
    let (cookie, state) = begin(&console, &provider, "/console/graph%3Fnamespaces=shop").await;
    let back = format!("/console/api/login/oidc/callback?code=the-code&state={state}");
    let (status, headers) = ask(&console, &back, &cookie).await;
    assert_eq!((status, headers["location"].to_str().unwrap()), (StatusCode::FOUND, "/console/graph?namespaces=shop"));
    let cookies = cookies(&headers);
    assert!(
        cookies[0].starts_with("varka-token=e30.")
            && cookies[0].ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"),
        "{cookies:?}"
    );
    assert!(cookies[1].starts_with("varka-sign-in=; "), "{cookies:?}");
}

#[tokio::test]
async fn what_another_browser_began_is_not_finished() {
    let provider = provider().await;
    let console = console(&provider).await;
    let (cookie, state) = begin(&console, &provider, "https://evil.example/").await;
    let callback = |code: &str, state: &str| format!("/console/api/login/oidc/callback?code={code}&state={state}");
    assert_eq!(ask(&console, &callback("the-code", &state), "").await.0, 403);
    assert_eq!(ask(&console, &callback("the-code", "guessed"), &cookie).await.0, 403);
    assert_eq!(ask(&console, &callback("guessed", &state), &cookie).await.0, 403);
    // Of an earlier sign-in, whose verifier and nonce are others.
    let (newer, newer_state) = begin(&console, &provider, "").await;
    assert_eq!(ask(&console, &callback("the-code", &state), &cookie).await.0, 403);
    let (status, headers) = ask(&console, &callback("the-code", &newer_state), &newer).await;
    assert_eq!((status, headers["location"].to_str().unwrap()), (StatusCode::FOUND, "/console/"));
    *provider.issuer.lock().unwrap() = "https://another.example".to_owned();
    let (cookie, state) = begin(&console, &provider, "").await;
    assert_eq!(ask(&console, &callback("the-code", &state), &cookie).await.0, 403);
}
