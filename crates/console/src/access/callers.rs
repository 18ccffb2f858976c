//! Whose a token is, and what its owner may see: asked of the API server with that token, and remembered for half a minute.
//!
//! The questions are SelfSubjectReview and SelfSubjectAccessReview, which everybody may ask about himself. A token that is revoked is
//! therefore good for looking at most so long; for changing it is not good at all, since that is done with it at the API server.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::Semaphore;

use super::Refusal;
use super::sight::Sight;
use crate::world::World;

/// How long an answer holds.
const HOLDS: Duration = Duration::from_secs(30);
/// Callers that are remembered.
const MOST: usize = 512;
/// Unknown tokens that are asked about at a time: who floods the console does not flood the API server.
const AT_ONCE: usize = 8;
/// The API server answers within.
const PATIENCE: Duration = Duration::from_secs(15);

/// Somebody whom the API server knows.
pub struct Caller {
    /// As the API server calls them.
    pub user: String,
    /// Does what they may do.
    pub client: Client,
    /// What they may see.
    pub sight: Sight,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("user", &self.user).field("sight", &self.sight).finish_non_exhaustive()
    }
}

/// By their tokens.
pub(crate) struct Callers {
    cluster: kube::Config,
    world: World,
    known: Mutex<HashMap<String, (Instant, Arc<Caller>)>>,
    asking: Semaphore,
}

impl fmt::Debug for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callers").field("cluster", &self.cluster.cluster_url).finish_non_exhaustive()
    }
}

impl Callers {
    pub(super) fn new(cluster: &kube::Config, world: World) -> Self {
        let mut cluster = cluster.clone();
        cluster.auth_info = kube::config::AuthInfo::default();
        cluster.headers.clear();
        cluster.connect_timeout = Some(PATIENCE);
        cluster.read_timeout = Some(PATIENCE);
        Self { cluster, world, known: Mutex::default(), asking: Semaphore::new(AT_ONCE) }
    }

    /// Who has that token.
    pub(crate) async fn of(&self, token: &str) -> Result<Arc<Caller>, Refusal> {
        if let Some(known) = self.known(token) {
            return Ok(known);
        }
        let _turn = self.asking.acquire().await.map_err(|_| Refusal::unavailable("The console is ending."))?;
        if let Some(known) = self.known(token) {
            return Ok(known);
        }
        let caller = Arc::new(self.ask(token).await?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (since, _)| since.elapsed() < HOLDS);
        if known.len() >= MOST
            && let Some(oldest) = known.iter().min_by_key(|(_, (since, _))| *since).map(|(token, _)| token.clone())
        {
            known.remove(&oldest);
        }
        known.insert(token.to_owned(), (Instant::now(), Arc::clone(&caller)));
        Ok(caller)
    }

    /// Asks anew the next time.
    pub(super) fn forget(&self, token: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(token);
    }

    fn known(&self, token: &str) -> Option<Arc<Caller>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(token).filter(|(since, _)| since.elapsed() < HOLDS).map(|(_, caller)| Arc::clone(caller))
    }

    async fn ask(&self, token: &str) -> Result<Caller, Refusal> {
        let mut config = self.cluster.clone();
        config.auth_info = serde_json::from_value(json!({"token": token}))
            .map_err(|_| Refusal::unavailable("The token cannot be passed on."))?;
        let client = Client::try_from(config).map_err(|problem| Refusal::unavailable(problem.to_string()))?;
        let user = who(&client).await?;
        let sight = sight(&client, &self.world).await?;
        Ok(Caller { user, client, sight })
    }
}

/// As the API server calls who has the client's credentials.
///
/// # Errors
/// It does not know them, or does not answer.
pub async fn who(client: &Client) -> Result<String, Refusal> {
    let review = Api::<SelfSubjectReview>::all(client.clone())
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .map_err(|problem| unknown(&problem))?;
    let user = review.status.and_then(|status| status.user_info).and_then(|user| user.username);
    user.ok_or_else(|| Refusal::unavailable("The API server does not say whose the token is."))
}

fn unknown(problem: &kube::Error) -> Refusal {
    match problem {
        kube::Error::Api(status) if status.code == 401 => Refusal::forbidden(
            StatusCode::UNAUTHORIZED,
            "The API server does not know this token: it has expired, was revoked, or is another cluster's.",
            "Sign in again; `kubectl create token SERVICEACCOUNT` makes a token.",
        ),
        kube::Error::Api(status) if status.code == 403 => {
            Refusal::forbidden(StatusCode::FORBIDDEN, status.message.clone(), "")
        }
        other => Refusal::unavailable(format!("The API server does not answer: {other}")),
    }
}

async fn sight(client: &Client, world: &World) -> Result<Sight, Refusal> {
    if may(client, "get", "namespaces", "", "", "").await? {
        return Ok(Sight::All);
    }
    let names: Vec<String> = world.of("", "Namespace").iter().filter_map(|n| name(n)).collect();
    let asked = stream::iter(names).map(|name| async move {
        let seen = may(client, "get", "namespaces", "", &name, &name).await?;
        Ok::<_, Refusal>(seen.then_some(name))
    });
    let seen: Vec<Option<String>> = asked.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(Sight::Of(Arc::new(seen.into_iter().flatten().collect::<BTreeSet<_>>())))
}

fn name(object: &serde_json::Value) -> Option<String> {
    object.pointer("/metadata/name")?.as_str().map(str::to_owned)
}

/// Whether who has the client's credentials may do that to a resource of the core group.
pub(crate) async fn may(
    client: &Client,
    verb: &str,
    resource: &str,
    subresource: &str,
    namespace: &str,
    name: &str,
) -> Result<bool, Refusal> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let attributes = ResourceAttributes {
        verb: some(verb),
        resource: some(resource),
        subresource: some(subresource),
        namespace: some(namespace),
        name: some(name),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..Default::default() };
    let answer = Api::<SelfSubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await;
    answer.map(|review| review.status.is_some_and(|status| status.allowed)).map_err(|problem| unknown(&problem))
}
