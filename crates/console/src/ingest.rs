//! How telemetry gets into the store: metrics are fetched from whoever has them, spans are taken from whoever sends them.

pub(crate) mod exposition;
pub mod logs;
pub mod receive;
pub mod scrape;
pub(crate) mod zipkin;
