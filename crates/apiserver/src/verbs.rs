//! The verbs, the same for every kind.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method, Response};

use crate::auth::User;
use crate::registry::Resource;
use crate::request::{Path, Query};
use crate::respond::{self, Body};
use crate::server::Inner;
use crate::status::{FieldError, Status};
use crate::store::{Key, Object};

pub(crate) mod decode;
pub(crate) mod delete;
pub(crate) mod pods;
pub(crate) mod read;
pub(crate) mod render;
pub(crate) mod scale;
pub(crate) mod token;
pub(crate) mod watch;
pub(crate) mod write;

/// Most bytes of the name of a field manager, as kube-apiserver's.
const MAX_MANAGER: usize = 128;

/// One request about objects.
pub(crate) struct Call {
    pub(crate) server: Arc<Inner>,
    pub(crate) user: User,
    pub(crate) resource: Arc<Resource>,
    pub(crate) method: Method,
    pub(crate) path: Path,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// For `Warning` headers of the answer.
    pub(crate) warnings: Mutex<Vec<String>>,
}

impl Call {
    /// The key of the object that the path names.
    pub(crate) fn key(&self) -> Key {
        self.key_of(&self.path.name)
    }

    /// The key of an object beside the one that the path names.
    pub(crate) fn key_of(&self, name: &str) -> Key {
        let namespace = if self.resource.namespaced { self.path.namespace.as_str() } else { "" };
        Key::new(&self.resource.key, namespace, name)
    }

    /// The object that the path names.
    pub(crate) fn object(&self) -> Result<Arc<Object>, Status> {
        self.server.store.get(&self.key()).ok_or_else(|| Status::not_found(&self.resource, &self.path.name))
    }

    /// Adds a warning for the client's user.
    pub(crate) fn warn(&self, warning: impl Into<String>) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        let warning = warning.into();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Whether nothing may be stored.
    pub(crate) fn dry_run(&self) -> Result<bool, Status> {
        match self.query.get("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => {
                Err(Status::bad_request(format!("invalid value for dryRun: \"{other}\": supported values: \"All\"")))
            }
        }
    }

    /// `apiVersion` under which the client sees the kind.
    pub(crate) fn api_version(&self) -> String {
        self.resource.api_version(&self.path.version)
    }

    /// Who a change is attributed to in `metadata.managedFields`.
    pub(crate) fn manager(&self) -> String {
        let named = self.query.get("fieldManager");
        if !named.is_empty() {
            return named.to_owned();
        }
        let agent = self.headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let program: String = agent.split('/').next().unwrap_or_default().chars().take(MAX_MANAGER).collect();
        if program.is_empty() { "unknown".to_owned() } else { program }
    }

    /// Refuses a name of a field manager that is too long to be kept in objects, or cannot be shown.
    fn check_manager(&self) -> Result<(), Status> {
        let named = self.query.get("fieldManager");
        let why = if named.len() > MAX_MANAGER {
            format!("may not be more than {MAX_MANAGER} bytes")
        } else if named.chars().any(char::is_control) {
            "should only contain printable characters".to_owned()
        } else {
            return Ok(());
        };
        let error = FieldError::invalid("fieldManager", named, &why);
        Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &[error]))
    }
}

/// Hands a call to its verb.
pub(crate) async fn dispatch(
    call: Call,
    verb: &str,
    upgrade: hyper::upgrade::OnUpgrade,
) -> Result<Response<Body>, Status> {
    if let Some(version) = call.resource.version(&call.path.version)
        && let Some(text) = &version.deprecation
    {
        call.warn(if text.is_empty() {
            format!("{} {} is deprecated", call.api_version(), call.resource.kind)
        } else {
            text.clone()
        });
    }
    call.check_manager()?;
    let mut response = match call.path.subresource.as_str() {
        "" => main_resource(&call, verb).await,
        "status" if call.resource.version(&call.path.version).is_some_and(|v| v.status) => match verb {
            "get" => read::get(&call),
            "update" => write::update(&call).await,
            "patch" => write::patch(&call).await,
            _ => Err(Status::method_not_allowed(&call.method)),
        },
        "scale" => scale::handle(&call, verb).await,
        name if call.resource.extra.iter().any(|s| s.name == name) => subresource(&call, name, verb, upgrade).await,
        _ => Err(Status::no_route()),
    }
    .unwrap_or_else(Response::from);
    respond::warn(&mut response, &call.warnings.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(response)
}

async fn main_resource(call: &Call, verb: &str) -> Result<Response<Body>, Status> {
    match verb {
        "get" => read::get(call),
        "list" => read::list(call),
        "watch" => watch::watch(call),
        "create" if call.path.name.is_empty() => write::create(call).await,
        "update" => write::update(call).await,
        "patch" => write::patch(call).await,
        "delete" => delete::delete(call).await,
        "deletecollection" => delete::delete_collection(call).await,
        _ => Err(Status::method_not_allowed(&call.method)),
    }
}

async fn subresource(
    call: &Call,
    name: &str,
    verb: &str,
    upgrade: hyper::upgrade::OnUpgrade,
) -> Result<Response<Body>, Status> {
    match (name, verb) {
        ("log", "get") => pods::log(call).await,
        ("exec" | "attach", "get" | "create") => pods::exec(call, name, upgrade).await,
        ("portforward", "get" | "create") => pods::port_forward(call, upgrade),
        ("eviction", "create") => delete::evict(call).await,
        ("token", "create") => token::create(call),
        ("ephemeralcontainers", "get") => read::get(call),
        ("finalize" | "ephemeralcontainers", "update") => write::update(call).await,
        ("ephemeralcontainers", "patch") => write::patch(call).await,
        _ => Err(Status::method_not_allowed(&call.method)),
    }
}
