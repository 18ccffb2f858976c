//! What clients send, taken apart without a server: paths and queries, selectors, bodies, and frames of port-forward.
//!
//! The server stands behind these parsers. They are public for those who have bytes and no connection, such as a fuzzer.

use serde_json::Value;

pub use crate::request::{Path, Query, Target, target};
pub use crate::selector::{Selector, SelectorError};
pub use crate::stream::spdy::{Codec as SpdyCodec, Frame as SpdyFrame, SpdyError};
pub use crate::table::path::find as printer_column;

use crate::schema::{StructId, Types, strict};
use crate::wire::{self, Expected};

/// The types of the built-in kinds.
#[must_use]
pub fn builtin() -> &'static Types {
    Types::builtin()
}

/// An object of a built-in kind (`core.v1.Pod`) from a body, and what of it does not fit its type.
///
/// # Errors
/// What is wrong with the body, for the client.
pub fn object(media_type: &str, kind: &'static str, body: &[u8]) -> Result<(Value, Vec<String>), String> {
    let value = wire::parse(media_type, body, &Expected::Type(kind)).map_err(|status| status.message)?;
    let id: Option<StructId> = Types::builtin().find(kind);
    let findings = id.map(|id| strict::check(Types::builtin(), id, &value)).unwrap_or_default();
    Ok((value, findings.mistyped))
}
