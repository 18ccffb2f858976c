//! Who calls: by the bearer token of a pod's service account, or by a client certificate of the mesh.

use std::time::SystemTime;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::metadata::MetadataMap;
use varka_identity::{Purpose, SpiffeId, TrustBundle};

use crate::listen::Peer;

/// The audience that a pod's token must be made for (`istio-token` volume of an injected pod).
const AUDIENCE: &str = "istio-ca";
/// Longest token that is passed on; service account tokens take about 1 KiB.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Reviews under way at once: a herd of starting pods must not become a herd at the API server.
const MAX_REVIEWS: usize = 16;

/// Why a caller is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    /// Neither token nor certificate.
    #[error(
        "no credentials: send a bearer token of a service account for audience istio-ca, or a client certificate of this mesh"
    )]
    Missing,
    /// The API server does not accept the token.
    #[error("the token is not accepted: {0}")]
    Refused(Box<str>),
    /// The client certificate proves no identity of this mesh.
    #[error(transparent)]
    Certificate(#[from] varka_identity::Error),
    /// The API server could not be asked; the caller may try again.
    #[error("the token could not be reviewed: {0}")]
    Unavailable(#[from] Box<kube::Error>),
}

impl From<AuthError> for Status {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Unavailable(_) => Self::unavailable(error.to_string()),
            _ => Self::unauthenticated(error.to_string()),
        }
    }
}

/// The bearer token of a request, if it has one.
pub(crate) fn bearer(metadata: &MetadataMap) -> Option<&str> {
    let (scheme, token) = metadata.get("authorization")?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Tells callers by their credentials.
pub(crate) struct Authenticator {
    reviews: Api<TokenReview>,
    trust_domain: String,
    bundle: TrustBundle,
    slots: Semaphore,
}

impl Authenticator {
    pub(crate) fn new(client: Client, trust_domain: &str, bundle: TrustBundle) -> Self {
        let (reviews, slots) = (Api::all(client), Semaphore::new(MAX_REVIEWS));
        Self { reviews, trust_domain: trust_domain.to_owned(), bundle, slots }
    }

    /// By `token` where there is one, else by certificate.
    pub(crate) async fn caller(&self, token: Option<&str>, peer: Option<&Peer>) -> Result<SpiffeId, AuthError> {
        match self.token(token).await {
            Err(AuthError::Missing) => {}
            decided => return decided,
        }
        let peer = peer.filter(|peer| !peer.certificates.is_empty()).ok_or(AuthError::Missing)?;
        let verified = self.bundle.verify_peer(&peer.certificates, SystemTime::now(), Purpose::Client)?;
        match verified.id {
            Some(id) if id.trust_domain() == self.trust_domain => Ok(id),
            _ => {
                Err(AuthError::Refused(format!("the certificate is {}'s, not a workload's here", verified.uri).into()))
            }
        }
    }

    /// By a token, which the API server reviews.
    pub(crate) async fn token(&self, token: Option<&str>) -> Result<SpiffeId, AuthError> {
        let token = token.ok_or(AuthError::Missing)?;
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::Refused("it is empty or longer than 16 KiB".into()));
        }
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![AUDIENCE.to_owned()]) },
            ..TokenReview::default()
        };
        // The semaphore is never closed, so waiting cannot fail; if it could, going on without a slot would be right.
        let _slot = self.slots.acquire().await.ok();
        let review = self.reviews.create(&PostParams::default(), &review).await.map_err(Box::new)?;
        self.reviewed(&review)
    }

    fn reviewed(&self, review: &TokenReview) -> Result<SpiffeId, AuthError> {
        let refused = |why: &str| AuthError::Refused(why.into());
        let status = review.status.as_ref().ok_or_else(|| refused("the API server did not review it"))?;
        if status.authenticated != Some(true) {
            return Err(refused(status.error.as_deref().unwrap_or("the API server does not know it")));
        }
        // A server that knows nothing of audiences returns none; its word is not enough.
        if !status.audiences.iter().flatten().any(|audience| audience == AUDIENCE) {
            return Err(refused("it is not made for audience istio-ca"));
        }
        let user = status.user.as_ref().and_then(|user| user.username.as_deref()).unwrap_or_default();
        let account = user.strip_prefix("system:serviceaccount:").and_then(|account| account.split_once(':'));
        let (namespace, name) = account.ok_or_else(|| refused("it is not a service account's"))?;
        Ok(SpiffeId::new(&self.trust_domain, namespace, name)?)
    }
}
