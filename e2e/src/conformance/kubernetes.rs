//! Patches as Kubernetes applies them, against the functions that the API server itself calls.
//!
//! A case passes only if all that it asks for holds. What the API server does not have (options of other programs' libraries, the
//! normalisation of other programs' tests) is skipped by name.

mod json;
mod ssa;
mod strategic;

pub(super) use json::{json_merge_patch, json_patch};
pub(super) use ssa::server_side_apply;
pub(super) use strategic::strategic_merge;

use serde_json::Value;

/// Compares as JSON: numbers by value, objects without order, lists with it.
fn same(want: &Value, got: &Value) -> Result<(), String> {
    if varka_apiserver::patch::json::equal(want, got) { Ok(()) } else { Err(format!("gave {got} instead of {want}")) }
}
