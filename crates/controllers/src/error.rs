//! What can go wrong so that the controllers cannot run at all.

/// Why [`crate::run`] ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server did not tell which kinds it serves.
    #[error(
        "the controllers cannot start, because the API server does not say which kinds it has: {0}; no Deployment, Job or Service endpoint will be acted upon"
    )]
    Discovery(#[source] Box<kube::Error>),
}
