//! Messages of Istio that are no part of Envoy's API.

pub mod alpn;
pub mod certificate;
pub mod stats;
pub mod workload;
