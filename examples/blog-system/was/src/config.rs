//! Configuration, from environment variables only, so that the same program runs anywhere.

use std::net::SocketAddr;

/// What the program needs to know. `Debug` is not derived, so that the password cannot reach a log.
pub struct Config {
    /// `LISTEN_ADDRESS`, default `0.0.0.0:8080`.
    pub listen: SocketAddr,
    /// `DATABASE_HOST`, default `mysql`.
    pub database_host: String,
    /// `DATABASE_PORT`, default 3306.
    pub database_port: u16,
    /// `DATABASE_NAME`, default `blog`.
    pub database_name: String,
    /// `DATABASE_USER`, required.
    pub database_user: String,
    /// `DATABASE_PASSWORD`, required.
    pub database_password: String,
    /// `SQLCOMMENTER`, default false: whether statements say in a comment which trace they belong to.
    pub sqlcommenter: bool,
}

/// A variable that is missing or cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// A required variable is not set.
    #[error("environment variable {0} is not set; the program cannot reach its database without it")]
    Missing(&'static str),
    /// A variable has a value of the wrong form. The value is not repeated.
    #[error("environment variable {name} must be {expected}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
}

impl Config {
    /// Reads every variable through `lookup`, which is `std::env::var` in the program and a table in tests.
    ///
    /// # Errors
    /// Names the first variable that is missing or malformed.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let required = |name| lookup(name).filter(|value| !value.is_empty()).ok_or(ConfigError::Missing(name));
        Ok(Self {
            listen: parse(&lookup, "LISTEN_ADDRESS", "ADDRESS:PORT")?
                .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 8080))),
            database_host: lookup("DATABASE_HOST").unwrap_or_else(|| "mysql".to_owned()),
            database_port: parse(&lookup, "DATABASE_PORT", "a port number")?.unwrap_or(3306),
            database_name: lookup("DATABASE_NAME").unwrap_or_else(|| "blog".to_owned()),
            database_user: required("DATABASE_USER")?,
            database_password: required("DATABASE_PASSWORD")?,
            sqlcommenter: parse(&lookup, "SQLCOMMENTER", "true or false")?.unwrap_or(false),
        })
    }
}

fn parse<T: std::str::FromStr>(
    lookup: &impl Fn(&str) -> Option<String>,
    name: &'static str,
    expected: &'static str,
) -> Result<Option<T>, ConfigError> {
    lookup(name).map(|value| value.parse().map_err(|_| ConfigError::Invalid { name, expected })).transpose()
}

#[cfg(test)]
mod tests;
