//! Messages of Istio that are no part of Envoy's API.

pub mod alpn;
pub mod certificate;
