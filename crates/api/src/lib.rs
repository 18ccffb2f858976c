//! Typed resources of the Istio, Kubernetes and local APIs, read from YAML or JSON with their source positions.
//!
//! It parses, decodes and validates; it stores nothing, resolves no names and compiles nothing. What a resource says that no
//! type here knows is collected as a list of field paths, so that nobody believes a setting that nobody reads.
#![forbid(unsafe_code)]

mod decode;
mod duration;
mod meta;
mod read;

pub mod istio;
pub mod kube;
pub mod local;
pub mod validate;

pub use decode::{DecodeError, Decoded, Resource};
pub use duration::{Duration, ParseDurationError};
pub use meta::{LabelSelector, Object, ObjectMeta, OwnerReference, Position, RawObject, SelectorRequirement};
pub use read::{Problem, read};
