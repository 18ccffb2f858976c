//! `jaeger`: what is asked of whoever keeps traces, over gRPC, in the versions that clients speak.
//!
//! Written from the definitions of jaeger-idl. Where traces go as OTLP ([`api_v3`]), they are those of [`crate::otlp`].

pub mod api_v2;
pub mod api_v3;
