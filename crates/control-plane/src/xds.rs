//! Configuration for connected proxies: what each of them is told, when it changes, and what it says to that.

pub(crate) mod connected;
pub(crate) mod development;
pub(crate) mod node;
pub(crate) mod serve;
pub(crate) mod view;
