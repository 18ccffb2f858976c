//! What a proxy is configured with ([`ir`]), and the pure functions that decide with it.
//!
//! Nothing here performs IO, reads a clock or holds a global: every decision is a function from configuration and borrowed
//! facts to an answer that carries its reasons, so that the sidecar, `varka explain`, the analyzer and the tests all decide alike.
//!
//! The modules stand in the order in which one request meets them:
//! [`listener`] (which filter chain), [`xff`], [`xfcc`], [`request_id`], [`path`] (what the request really says), [`host`] and
//! [`route`] (where it goes), [`ext_authz`], [`jwt`], [`rbac`], [`fault`], [`cors`] (whether it may), [`balance`] and [`outlier`] (which endpoint), [`transport`] (how it is dialled),
//! [`retry`] (once more?), [`outcome`] (what the client and the log are told), [`expression`] (whether it is logged).
#![forbid(unsafe_code)]

pub mod balance;
pub mod cel;
pub mod cors;
pub mod expression;
pub mod ext_authz;
pub mod facts;
pub mod fault;
pub mod format;
pub mod headers;
pub mod host;
pub mod ir;
pub mod jwt;
pub mod listener;
pub mod matcher;
pub mod outcome;
pub mod outlier;
pub mod path;
pub mod rbac;
pub mod recency;
pub mod request_id;
pub mod retry;
pub mod route;
pub mod sampling;
pub mod trace;
pub mod transport;
pub mod xfcc;
pub mod xff;
