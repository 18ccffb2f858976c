//! Admission webhooks: MutatingWebhookConfiguration and ValidatingWebhookConfiguration, called over HTTPS with AdmissionReview v1.
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::node::Duplex;
use crate::object::{self, at, list_at, str_at};
use crate::patch::json as json_patch;
use crate::selector::Selector;
use crate::status::Status;
use crate::store::Key;
use crate::verbs::Call;

use super::Operation;

mod dial;

/// The Service that a webhook names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTarget {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
}

/// Who connects to webhooks.
pub trait WebhookDialer: Send + Sync + 'static {
    /// Connects to some ready endpoint of the Service. TLS is spoken over the connection by the caller.
    fn dial(&self, target: ServiceTarget) -> BoxFuture<'static, Result<Box<dyn Duplex>, DialError>>;
}

/// Why a webhook cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The Service does not exist or lacks the port.
    #[error("service \"{0}\" not found or without that port")]
    NoService(String),
    /// No endpoint of the Service is ready.
    #[error("no endpoints available for service \"{0}\"")]
    NoEndpoints(String),
    /// The connection failed.
    #[error("{0}")]
    Connect(#[from] std::io::Error),
}

const MUTATING: &str = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
const VALIDATING: &str = "validatingwebhookconfigurations.admissionregistration.k8s.io";

/// Lets the mutating webhooks change the object, in order of their configurations' names.
pub(super) async fn mutate(
    call: &Call,
    operation: Operation,
    old: Option<&Value>,
    mut new: Value,
) -> Result<Value, Status> {
    for hook in hooks(call, MUTATING, operation, old, Some(&new)) {
        if !hook.selects(call, Some(&new), old) {
            continue;
        }
        let Some(response) = hook.review(call, operation, old, Some(&new)).await? else { continue };
        let Some(patch) = response.get("patch").and_then(Value::as_str) else { continue };
        let bad = |why: String| {
            Status::internal(format!("failed calling webhook \"{}\": its patch cannot be applied: {why}", hook.name()))
        };
        let text = base64::engine::general_purpose::STANDARD.decode(patch).map_err(|e| bad(e.to_string()))?;
        let patch = json_patch::parse(&text).map_err(|e| bad(e.to_string()))?;
        new = json_patch::apply(&new, &patch).map_err(|e| bad(e.to_string()))?;
    }
    Ok(new)
}

/// Asks the validating webhooks.
pub(super) async fn validate(
    call: &Call,
    operation: Operation,
    old: Option<&Value>,
    new: Option<&Value>,
) -> Result<(), Status> {
    for hook in hooks(call, VALIDATING, operation, old, new) {
        if hook.selects(call, new, old) {
            hook.review(call, operation, old, new).await?;
        }
    }
    Ok(())
}

/// One webhook of one configuration.
struct Hook {
    spec: Value,
}

/// The webhooks whose rules cover the request.
fn hooks(call: &Call, kind: &str, operation: Operation, _old: Option<&Value>, _new: Option<&Value>) -> Vec<Hook> {
    // A webhook must not be able to lock out its own mending.
    if call.resource.group == "admissionregistration.k8s.io" {
        return Vec::new();
    }
    let (_, configurations) = call.server.store.list(kind, None);
    let specs = configurations.iter().flat_map(|c| list_at(&c.value, &["webhooks"]));
    specs
        .filter(|spec| list_at(spec, &["rules"]).iter().any(|rule| covers(rule, call, operation)))
        .map(|spec| Hook { spec: spec.clone() })
        .collect()
}

fn covers(rule: &Value, call: &Call, operation: Operation) -> bool {
    let lists = |name: &str, wanted: &str| list_at(rule, &[name]).iter().any(|v| v == "*" || v == wanted);
    let scope = match str_at(rule, &["scope"]) {
        "Cluster" => !call.resource.namespaced,
        "Namespaced" => call.resource.namespaced,
        _ => true,
    };
    // With matchPolicy Equivalent, which is the default, any served version of the kind counts.
    let version = call.resource.versions.iter().any(|v| lists("apiVersions", &v.name));
    let resource =
        list_at(rule, &["resources"]).iter().any(|v| v == "*" || v == "*/*" || *v == call.resource.plural.as_str());
    lists("operations", operation.name()) && lists("apiGroups", &call.resource.group) && version && resource && scope
}

impl Hook {
    fn name(&self) -> &str {
        str_at(&self.spec, &["name"])
    }

    /// Whether namespace and object match the webhook's selectors.
    fn selects(&self, call: &Call, new: Option<&Value>, old: Option<&Value>) -> bool {
        let none = json!({});
        let wanted = Selector::from_object(self.spec.get("objectSelector").unwrap_or(&none));
        if !wanted.is_empty() && !new.is_some_and(|o| wanted.matches(o)) && !old.is_some_and(|o| wanted.matches(o)) {
            return false;
        }
        let wanted = Selector::from_object(self.spec.get("namespaceSelector").unwrap_or(&none));
        if wanted.is_empty() {
            return true;
        }
        if &*call.resource.key == "namespaces" {
            return new.or(old).is_some_and(|o| wanted.matches(o));
        }
        if !call.resource.namespaced {
            return true;
        }
        let namespace = call.server.store.get(&Key::new("namespaces", "", &call.path.namespace));
        namespace.is_some_and(|ns| wanted.matches(&ns.value))
    }

    /// Calls the webhook; answers its response if it allows the request. `None` if it could not be called and that is to be ignored.
    async fn review(
        &self,
        call: &Call,
        operation: Operation,
        old: Option<&Value>,
        new: Option<&Value>,
    ) -> Result<Option<Value>, Status> {
        let dry = call.dry_run()?;
        if dry && !matches!(str_at(&self.spec, &["sideEffects"]), "None" | "NoneOnDryRun") {
            let message = format!("admission webhook \"{}\" does not support dry run", self.name());
            return Err(Status::bad_request(message));
        }
        let uid = uuid::Uuid::new_v4().to_string();
        let request = review_request(call, operation, old, new, &uid, dry);
        let seconds = self.spec.get("timeoutSeconds").and_then(Value::as_u64).unwrap_or(10);
        let answer = tokio::time::timeout(Duration::from_secs(seconds), dial::call(call, &self.spec, &request)).await;
        let failure = match answer {
            Ok(Ok(answer)) if str_at(&answer, &["response", "uid"]) == uid => return self.verdict(call, &answer),
            Ok(Ok(_)) => "the answer is not an AdmissionReview v1 with a response of the request's uid".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("context deadline exceeded: no answer within {seconds} s"),
        };
        let message = format!("failed calling webhook \"{}\": failed to call webhook: {failure}", self.name());
        if str_at(&self.spec, &["failurePolicy"]) == "Ignore" {
            tracing::warn!(%message, "a webhook failed and is ignored as its failurePolicy says");
            return Ok(None);
        }
        let mut status = Status::internal(format!("Internal error occurred: {message}"));
        status.details = json!({"causes": [{"message": message}]});
        Err(status)
    }

    fn verdict(&self, call: &Call, answer: &Value) -> Result<Option<Value>, Status> {
        let response = answer.get("response").cloned().unwrap_or_default();
        for warning in list_at(&response, &["warnings"]).iter().filter_map(Value::as_str) {
            call.warn(warning);
        }
        if response.get("allowed") == Some(&Value::Bool(true)) {
            return Ok(Some(response));
        }
        let message = str_at(&response, &["status", "message"]);
        let code = at(&response, &["status", "code"]).and_then(Value::as_u64).and_then(|c| u16::try_from(c).ok());
        let why = if message.is_empty() { " without explanation".to_owned() } else { format!(": {message}") };
        let code = code.filter(|c| (400..600).contains(c)).unwrap_or(400);
        let reason = if code == 403 { "Forbidden" } else { "BadRequest" };
        Err(Status::new(code, reason, format!("admission webhook \"{}\" denied the request{why}", self.name())))
    }
}

fn review_request(
    call: &Call,
    operation: Operation,
    old: Option<&Value>,
    new: Option<&Value>,
    uid: &str,
    dry: bool,
) -> Value {
    let (group, version) = (&call.resource.group, call.resource.stored_as.rsplit('/').next().unwrap_or_default());
    let kind = json!({"group": group, "version": version, "kind": call.resource.kind});
    let resource = json!({"group": group, "version": version, "resource": call.resource.plural});
    let mut request = json!({
        "uid": uid, "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
        "name": new.or(old).map(object::name), "operation": operation.name(), "userInfo": call.user.info(),
        "object": new, "oldObject": old, "dryRun": dry,
        "options": {"kind": format!("{}Options", match operation { Operation::Create => "Create", Operation::Update => "Update", Operation::Delete => "Delete" }), "apiVersion": "meta.k8s.io/v1"},
    });
    if call.resource.namespaced {
        object::set(&mut request, "namespace", json!(call.path.namespace));
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
}

/// The dialer that is set, or none.
fn dialer(call: &Call) -> Option<Arc<dyn WebhookDialer>> {
    crate::server::get(&call.server.dialer)
}
