//! Tokens that requests carry (`envoy.filters.http.jwt_authn`), and the keys that sign them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Str;
use crate::jwt::{Failure, Key, parse_keys};

/// `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`, with one rule for all paths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JwtAuthn {
    /// Issuers, by the names that requirements use.
    pub providers: Vec<JwtProvider>,
    /// What every request must fulfil.
    pub requires: JwtRequirement,
    /// `bypass_cors_preflight`: preflights carry no tokens and are let through.
    pub bypass_cors_preflight: bool,
}

/// `JwtProvider` with `local_jwks`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JwtProvider {
    /// `origins-0`.
    pub name: Str,
    /// `iss`; empty: any.
    pub issuer: Str,
    /// One of `aud`; empty: any.
    pub audiences: Vec<Str>,
    /// Keys that tokens are verified with.
    pub keys: Jwks,
    /// Headers that hold a token. With no place at all: `Authorization: Bearer` and `access_token`.
    pub from_headers: Vec<JwtHeader>,
    /// Query parameters that hold a token.
    pub from_params: Vec<Str>,
    /// Cookies that hold a token.
    pub from_cookies: Vec<Str>,
    /// The token stays in the request.
    pub forward: bool,
    /// Header that gets the payload, base64url; empty: none.
    pub forward_payload_header: Str,
    /// Headers that get claims.
    pub claim_to_headers: Vec<JwtClaimToHeader>,
    /// Key under which the payload is kept for policies and routes; empty: it is not.
    pub payload_in_metadata: Str,
    /// Claims that are lists separated by spaces, in what is kept.
    pub space_delimited_claims: Vec<Str>,
    /// The route is looked for once more when a token was accepted.
    pub clear_route_cache: bool,
}

/// `JwtHeader`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwtHeader {
    /// Lower-case name.
    pub name: Str,
    /// What stands in front of the token (`Bearer `).
    pub value_prefix: Str,
}

/// `JwtClaimToHeader`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwtClaimToHeader {
    /// Lower-case name.
    pub header_name: Str,
    /// Claim, dots for nesting.
    pub claim_name: Str,
}

/// `JwtRequirement`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JwtRequirement {
    /// A token of this provider.
    Provider(Str),
    /// One of these.
    Any(Vec<JwtRequirement>),
    /// All of these.
    All(Vec<JwtRequirement>),
    /// No token, or good ones, of the providers beside it.
    AllowMissing,
    /// Anything.
    AllowMissingOrFailed,
}

/// A JSON web key set, its keys made ready once when it is decoded.
#[derive(Clone)]
pub struct Jwks {
    source: Str,
    keys: Arc<Result<Vec<Key>, Failure>>,
}

impl Jwks {
    /// Reads a key set. One that is none is kept as it is: every token is refused with the reason.
    pub fn new(source: &str) -> Self {
        Self { source: source.into(), keys: Arc::new(parse_keys(source)) }
    }

    /// As it was written. It may hold shared secrets: it is never to be shown.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The keys that can be used.
    ///
    /// # Errors
    /// Why there is none.
    pub fn keys(&self) -> Result<&[Key], Failure> {
        match &*self.keys {
            Ok(keys) => Ok(keys),
            Err(failure) => Err(*failure),
        }
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys().map(<[Key]>::len);
        f.debug_struct("Jwks").field("keys", &keys).finish_non_exhaustive()
    }
}

impl PartialEq for Jwks {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Serialize for Jwks {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.source)
    }
}

impl<'de> Deserialize<'de> for Jwks {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Self::new(&String::deserialize(d)?))
    }
}
