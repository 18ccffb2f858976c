//! The console for one person, on that person's machine: what is asked is asked of the console in the cluster, what is changed is changed from
//! here, with the person's own credentials. They leave the machine only where the console in the cluster wants to know who looks.
//!
//! Whoever speaks to the listener acts for that person, so it is for the one browser alone that was opened with a key that is good once: no other
//! user of the machine, no other page in the browser, and no page of another name that leads to the same address.

mod tunnel;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{any, get};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use crate::access::sight::Sight;
use crate::access::{Refusal, STARTED, cookie};
use crate::api::apply::{self, Changer};
use crate::api::delete;
pub use tunnel::Connect;
use tunnel::Tunnels;

/// Holds that this is the browser.
const COOKIE: &str = "varka-dashboard";
/// Of `GET info`.
const LARGEST: usize = 16 << 20;

/// Whose console it is, and where the one in the cluster is.
#[derive(Clone)]
pub struct Person {
    /// As the API server calls them.
    pub user: String,
    /// Does what they may do.
    pub client: kube::Client,
    /// What the console in the cluster is shown, where it wants to know who looks.
    pub credentials: Option<Credentials>,
    /// Nothing is changed.
    pub read_only: bool,
    /// Connects to the console in the cluster.
    pub connect: Connect,
}

/// The value of an Authorization header, as it is at the moment.
pub type Credentials = Arc<dyn Fn() -> BoxFuture<'static, Option<HeaderValue>> + Send + Sync>;

struct Shared {
    person: Person,
    /// Digests of the key that is good once, and of what the browser shows after that.
    key: [u8; 32],
    session: [u8; 32],
    secret: String,
    used: AtomicBool,
    /// As browsers name the listener.
    hosts: [String; 2],
    console: Http<Tunnels, Body>,
}

/// The routes for a listener at that port, and the path that opens them, once.
pub fn routes(person: Person, port: u16) -> (Router, String) {
    let random = || URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
    let (key, secret) = (random(), random());
    let path = format!("/open/{key}");
    let changer = Changer { user: person.user.clone(), client: person.client.clone(), sight: Sight::All };
    let who: apply::Who = Arc::new(move |_| {
        let changer = changer.clone();
        async move { Ok(changer) }.boxed()
    });
    let shared = Arc::new(Shared {
        key: Sha256::digest(&key).into(),
        session: Sha256::digest(&secret).into(),
        secret,
        used: AtomicBool::new(false),
        hosts: ["127.0.0.1", "localhost"].map(|host| format!("{host}:{port}")),
        console: Http::builder(TokioExecutor::new()).build(Tunnels::new(Arc::clone(&person.connect))),
        person,
    });
    let nobody =
        || async { Refusal::new(StatusCode::NOT_FOUND, "notFound", "Nobody signs in here: you are known.", "") };
    let mine = Router::new()
        .route("/console/api/info", get(info))
        .route("/console/api/login", any(nobody))
        .route("/console/api/login/{*way}", any(nobody))
        .route("/console/api/logout", any(nobody))
        .fallback(pass)
        .with_state(Arc::clone(&shared))
        .merge(apply::routes(Arc::clone(&who), shared.person.read_only, foretell(&shared)))
        .merge(delete::routes(who, shared.person.read_only, foretell(&shared)))
        .layer(from_fn_with_state(Arc::clone(&shared), is_the_browser));
    let open = Router::new().route("/open/{key}", get(open)).with_state(Arc::clone(&shared));
    (open.merge(mine).layer(from_fn_with_state(shared, is_this_machine)), path)
}

/// What requests there were is known by the console in the cluster, which also knows of which it may tell.
fn foretell(shared: &Arc<Shared>) -> apply::Foretell {
    let shared = Arc::clone(shared);
    Arc::new(move |_, plan| {
        let shared = Arc::clone(&shared);
        async move {
            let asked = Request::post("/console/api/effect").header(header::CONTENT_TYPE, "application/json");
            let asked = asked.body(Body::from(json!(plan).to_string())).unwrap_or_default();
            let told = match forward(&shared, asked).await {
                Ok(answer) if answer.status() == StatusCode::OK => {
                    http_body_util::Limited::new(answer.into_body(), LARGEST).collect().await.ok()
                }
                _ => None,
            };
            told.and_then(|told| serde_json::from_slice(&told.to_bytes()).ok()).unwrap_or_default()
        }
        .boxed()
    })
}

/// Serves the routes.
///
/// # Errors
/// The listener is gone.
pub async fn serve(listener: TcpListener, routes: Router) -> io::Result<()> {
    axum::serve(listener, routes).await
}

/// Whether the console in the cluster wants to know who looks.
///
/// # Errors
/// It is not reached.
pub async fn is_closed(connect: &Connect) -> Result<bool, Refusal> {
    let console = Http::builder(TokioExecutor::new()).build(Tunnels::new(Arc::clone(connect)));
    let request = Request::get("http://localhost/api/v1/status/buildinfo").body(Body::empty()).unwrap_or_default();
    let answer = console.request(request).await.map_err(|problem| unreached(&problem))?;
    Ok(answer.status() == StatusCode::UNAUTHORIZED)
}

fn unreached(problem: &hyper_util::client::legacy::Error) -> Refusal {
    let why = std::error::Error::source(problem).map_or_else(|| problem.to_string(), ToString::to_string);
    Refusal::unavailable(format!("The console in the cluster is not reached: {why}"))
}

/// A page of another name that leads here (by DNS) is none of this console's.
async fn is_this_machine(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if shared.hosts.iter().any(|own| own == host) {
        return next.run(request).await;
    }
    let message = format!("This is http://{}/ and has no other name.", shared.hosts[0]);
    Refusal::forbidden(StatusCode::MISDIRECTED_REQUEST, message, "").into_response()
}

async fn is_the_browser(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let shown = cookie::read(request.headers(), COOKIE).unwrap_or_default();
    if is(shown, &shared.session) {
        return next.run(request).await;
    }
    let hint = "Start `varka dashboard` again: the address that it opens lets one browser in.";
    Refusal::forbidden(StatusCode::UNAUTHORIZED, "This console is for the browser that was opened with it.", hint)
        .into_response()
}

/// Digests are compared, so that the time taken says nothing about the secret.
fn is(shown: &str, digest: &[u8; 32]) -> bool {
    Sha256::digest(shown).as_slice() == digest
}

async fn open(State(shared): State<Arc<Shared>>, Path(key): Path<String>, headers: HeaderMap) -> Response {
    if !is(&key, &shared.key) || shared.used.swap(true, Ordering::Relaxed) {
        let hint = "Start `varka dashboard` again.";
        return Refusal::forbidden(StatusCode::FORBIDDEN, "That address was used before, or is another's.", hint)
            .into_response();
    }
    // A page that goes on by itself, since a redirect would not bring the cookie along where another program led here.
    let mut response = Html("<!doctype html><meta http-equiv=\"refresh\" content=\"0;url=/console/\"><a href=\"/console/\">The console</a>\n").into_response();
    response
        .headers_mut()
        .extend(cookie::keep(&headers, COOKIE, &shared.secret).map(|cookie| (header::SET_COOKIE, cookie)));
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// What the console in the cluster says, but for who asks.
async fn info(State(shared): State<Arc<Shared>>, mut request: Request) -> Result<Response, Refusal> {
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    let response = forward(&shared, request).await?;
    if response.status() != StatusCode::OK {
        return Ok(response);
    }
    let body = http_body_util::Limited::new(response.into_body(), LARGEST).collect().await;
    let body = body.map_err(|_| Refusal::unavailable("The console's answer broke off."))?.to_bytes();
    let mut info: Value = serde_json::from_slice(&body).map_err(|_| {
        Refusal::unavailable("The console in the cluster is of another version: its answer is not understood.")
    })?;
    let Person { user, read_only, .. } = &shared.person;
    let (code, why) = match *read_only {
        true => (STARTED, "This dashboard was started with --read-only: it changes nothing."),
        false => ("", ""),
    };
    if let Some(info) = info.as_object_mut() {
        // Nobody has to sign in, nor can.
        let access = json!({"mode": "anonymous", "user": user, "readOnly": read_only, "why": why, "code": code});
        info.insert("access".to_owned(), access);
    }
    Ok(axum::Json(info).into_response())
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Refusal> {
    forward(&shared, request).await
}

/// Asks the console in the cluster.
async fn forward(shared: &Shared, request: Request) -> Result<Response, Refusal> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = Uri::builder().scheme("http").authority("localhost").path_and_query(path).build().unwrap_or_default();
    // What is between the browser and this; cookies and the name are of this console, not of that one.
    for name in [header::CONNECTION, header::COOKIE, header::HOST, header::AUTHORIZATION, header::TE, header::UPGRADE] {
        head.headers.remove(name);
    }
    if let Some(credentials) = &shared.person.credentials {
        let shown = credentials().await.map(|shown| (header::AUTHORIZATION, shown));
        head.headers.extend(shown);
    }
    head.version = axum::http::Version::HTTP_11;
    let answer = shared.console.request(Request::from_parts(head, body)).await;
    let answer = answer.map_err(|problem| unreached(&problem))?;
    let mut answer = answer.map(Body::new);
    answer.headers_mut().remove(header::SET_COOKIE);
    Ok(answer)
}

#[cfg(test)]
mod tests;
