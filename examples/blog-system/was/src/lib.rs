//! The application server of the blog example: posts in a MySQL or MariaDB database behind a small JSON API.
//!
//! It is an ordinary application. It knows nothing of the mesh that it runs in: it speaks plain HTTP to its callers and
//! plain TCP to its database, and it writes the trace headers that it is given into its log, and where `SQLCOMMENTER` says so
//! into a comment of its statements.
#![forbid(unsafe_code)]

pub mod config;
pub mod error;
pub mod posts;
pub mod server;
pub mod traceparent;
