//! The admission webhooks: `/inject` gives pods their sidecar, `/validate` refuses resources that cannot mean anything.

pub(crate) mod register;
pub(crate) mod review;
pub(crate) mod server;
