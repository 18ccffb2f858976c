//! The four ways to change an object by a patch, as pure functions.

pub mod apply;
pub mod json;
pub mod merge;
pub mod strategic;
