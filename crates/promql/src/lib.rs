//! PromQL: what Prometheus answers, answered from any store of samples.
//!
//! [`parser::parse`] makes a tree ([`ast`]) of a query, [`eval::evaluate`] a result ([`answer`]) of a tree and a [`storage::Storage`].
//! Both are pure functions: no runtime, no clock; what a query may cost is counted ([`limits`]), not timed. Neither panics,
//! whatever it is given.
//!
//! It is PromQL as of Prometheus 3 with its experimental parts: native histograms, `info`, `limitk`, calculated durations, `fill`
//! modifiers, `anchored` and `smoothed` ranges, start timestamps. Metric names are dropped at the end of the evaluation
//! (Prometheus' feature `promql-delayed-name-removal`). `docs/PROMQL.md` says what there is.
#![forbid(unsafe_code)]

pub mod annotations;
pub mod answer;
pub mod ast;
mod date;
pub mod duration;
pub mod error;
pub mod eval;
mod format;
pub mod functions;
pub mod histogram;
mod kahan;
pub mod labels;
mod lexer;
pub mod limits;
pub mod matcher;
pub mod parser;
mod print;
pub mod storage;

pub use eval::{Options, Times, evaluate, query};
pub use labels::{Label, Labels};
pub use parser::parse;
