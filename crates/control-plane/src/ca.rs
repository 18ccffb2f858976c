//! The mesh's certificate authority: where its root lives, how the root gets to every workload, and who gets a certificate.

pub(crate) mod publish;
pub(crate) mod root;
pub(crate) mod service;
