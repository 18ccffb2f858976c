//! One request: authenticate, take it apart, hand it to whoever answers it.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::watch;

use crate::admission::services::Addresses;
use crate::admission::webhook::WebhookDialer;
use crate::auth::access::{self, Action};
use crate::auth::{ISSUER, Tokens, User, reviews};
use crate::node::Node;
use crate::pki::Pki;
use crate::registry::Registry;
use crate::request::{self, Path, Query, Target};
use crate::respond::{self, Body};
use crate::status::Status;
use crate::store::Store;
use crate::verbs::{self, Call};
use crate::{Config, discovery};

/// Largest body that is read, as kube-apiserver's.
pub(crate) const MAX_BODY: usize = 3 << 20;

/// Everything that requests share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) registry: RwLock<Arc<Registry>>,
    pub(crate) tokens: Tokens,
    pub(crate) pki: Pki,
    pub(crate) addresses: Addresses,
    pub(crate) node: RwLock<Option<Arc<dyn Node>>>,
    pub(crate) dialer: RwLock<Option<Arc<dyn WebhookDialer>>>,
    /// Turns true when the server ends.
    pub(crate) stop: watch::Sender<bool>,
}

/// Replaces what a slot holds.
pub(crate) fn set<T: ?Sized>(slot: &RwLock<Option<Arc<T>>>, value: Arc<T>) {
    *slot.write().unwrap_or_else(PoisonError::into_inner) = Some(value);
}

/// What a slot holds.
pub(crate) fn get<T: ?Sized>(slot: &RwLock<Option<Arc<T>>>) -> Option<Arc<T>> {
    slot.read().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Inner {
    /// The kinds served now.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the definitions anew. Called after each change of a CustomResourceDefinition.
    pub(crate) fn refresh_registry(&self) {
        let mut slot = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let (_, definitions) = self.store.list("customresourcedefinitions.apiextensions.k8s.io", None);
        *slot = Arc::new(Registry::new(definitions.iter().map(|d| &d.value)));
    }
}

/// Handles a request from the network.
pub(crate) async fn handle<B>(server: Arc<Inner>, request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if request.headers().contains_key(header::ORIGIN) {
        let message = "requests from web pages (with an Origin header) are refused: the API can start processes";
        return Status::new(403, "Forbidden", message).into();
    }
    match request::target(request.uri().path()) {
        Target::Health => return respond::text(200, "ok"),
        Target::Version => return discovery::version(&server),
        _ => {}
    }
    let Some(user) = authenticate(&server, &request) else { return Status::unauthorized().into() };
    match impersonated(user, request.headers()) {
        Ok(user) => handle_as(server, user, request).await,
        Err(status) => status.into(),
    }
}

/// The user that a master acts for, if it names one (`kubectl --as`).
fn impersonated(user: User, headers: &http::HeaderMap) -> Result<User, Status> {
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let Some(name) = headers.get("impersonate-user").map(text) else { return Ok(user) };
    if !user.is_master() {
        let message = format!("users \"{name}\" is forbidden: User \"{}\" cannot impersonate", user.name);
        return Err(Status::new(403, "Forbidden", message));
    }
    Ok(User::named(&name, headers.get_all("impersonate-group").iter().map(text).collect()))
}

fn authenticate<B>(server: &Inner, request: &Request<B>) -> Option<User> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let audiences = [ISSUER.to_owned()];
    server.tokens.check(token.trim(), &audiences, &server.store, jiff::Timestamp::now()).map(|(user, _)| user)
}

/// Handles a request of a known user.
pub(crate) async fn handle_as<B>(server: Arc<Inner>, user: User, mut request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let path = match request::target(head.uri.path()) {
        Target::Objects(path) => path,
        other => return discovery::answer(&server, &other, &head.headers),
    };
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Status::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {MAX_BODY}"))
                .into();
        }
        Err(error) => return Status::bad_request(format!("the body of the request could not be read: {error}")).into(),
    };
    let query = Query::parse(head.uri.query().unwrap_or_default());
    match route(server, user, head.method, *path, query, head.headers, body, upgrade).await {
        Ok(response) => response,
        Err(status) => status.into(),
    }
}

#[expect(clippy::too_many_arguments, reason = "the parts of one request, used once each")]
async fn route(
    server: Arc<Inner>,
    user: User,
    method: Method,
    path: Path,
    query: Query,
    headers: http::HeaderMap,
    body: Bytes,
    upgrade: hyper::upgrade::OnUpgrade,
) -> Result<Response<Body>, Status> {
    let watching = query.flag("watch");
    let verb = verb(&method, &path, watching).ok_or_else(|| Status::method_not_allowed(&method))?;
    let action = Action {
        verb,
        group: &path.group,
        resource: &path.plural,
        subresource: &path.subresource,
        namespace: &path.namespace,
        name: &path.name,
    };
    if !access::allows(&server.store, &user, action) {
        return Err(refusal(&user, action, &path));
    }
    if let Some(review) = reviews::find(&path.group, &path.version, &path.plural) {
        let object = crate::wire::review(review, &headers, &body)?;
        return reviews::answer(&server, &user, review, &path.namespace, object).map(|o| respond::json(201, &o));
    }
    let registry = server.registry();
    let resource = registry.find(&path.group, &path.version, &path.plural).cloned().ok_or_else(Status::no_route)?;
    if resource.namespaced && path.namespace.is_empty() && !path.name.is_empty() {
        return Err(Status::no_route());
    }
    let call =
        Call { server, user, resource, method, path, query, headers, body, warnings: std::sync::Mutex::default() };
    verbs::dispatch(call, verb, upgrade).await
}

/// The verb of a request, as authorization and discovery name it.
fn verb(method: &Method, path: &Path, watching: bool) -> Option<&'static str> {
    let named = !path.name.is_empty();
    Some(match *method {
        Method::GET | Method::HEAD if watching => "watch",
        Method::GET | Method::HEAD if named => "get",
        Method::GET | Method::HEAD => "list",
        Method::POST => "create",
        Method::PUT if named => "update",
        Method::PATCH if named => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        _ => return None,
    })
}

fn refusal(user: &User, action: Action<'_>, path: &Path) -> Status {
    let resource = if action.subresource.is_empty() {
        action.resource.to_owned()
    } else {
        format!("{}/{}", action.resource, action.subresource)
    };
    let place = if action.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{}\"", action.namespace)
    };
    let qualified = crate::registry::group_version(action.group, "");
    let kind = if action.group.is_empty() {
        resource.clone()
    } else {
        format!("{resource}.{}", qualified.trim_end_matches('/'))
    };
    let subject = if path.name.is_empty() { kind } else { format!("{kind} \"{}\"", path.name) };
    let message = format!(
        "{subject} is forbidden: User \"{}\" cannot {} resource \"{resource}\" in API group \"{}\" {place}",
        user.name, action.verb, action.group
    );
    let mut status = Status::new(403, "Forbidden", message);
    status.details = serde_json::json!({"name": path.name, "group": action.group, "kind": action.resource});
    status
}
