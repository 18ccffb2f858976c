//! Protocol messages: Envoy's v3 API under short paths, and the few messages of Istio, OpenTelemetry and Jaeger that it does
//! not hold.
//!
//! Envoy's messages are generated elsewhere (crate `envoy-types`); here they only get names that can be read in a signature.
//! The others are small and stable, so they are written by hand and need no protobuf compiler. No logic lives here.
#![forbid(unsafe_code)]

pub mod envoy;
pub mod istio;
pub mod jaeger;
pub mod otlp;
pub mod udpa;

pub use envoy_types::pb::google::protobuf;
pub use envoy_types::pb::google::rpc;
