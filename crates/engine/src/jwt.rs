//! Whether the tokens of a request hold, and what of them goes on with it (`envoy.filters.http.jwt_authn`).
//!
//! Places and requirements are walked in Envoy's order and the first reason that counts for Envoy is the one that is told. On two
//! points this is stricter than Envoy: a key verifies the algorithms that it is made for and no other, and the headers that claims
//! are copied to are taken from the client for every provider, also for those that were not asked. No clock is read here.

mod keys;
mod locate;
#[cfg(test)]
mod tests;
mod token;

use std::borrow::Cow;

use base64::Engine as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Map, Value};
use smallvec::SmallVec;

use crate::facts::{Request, split_query};
use crate::ir::{JwtAuthn, JwtProvider, JwtRequirement, Str};

pub use keys::{Key, parse as parse_keys};
use locate::{Found, Place};
pub use token::{MAX_TOKEN, Token, parse as parse_token};

/// Under which filter's name the payloads are kept.
pub const METADATA: &str = "envoy.filters.http.jwt_authn";

/// Clocks may differ by so many seconds.
pub const LEEWAY: u64 = 60;

macro_rules! failures {
    ($($(#[$doc:meta])* $variant:ident $text:literal,)*) => {
        /// Why a token is refused, in Envoy's words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum Failure {
            $($(#[$doc])* #[error($text)] $variant,)*
        }

        impl Failure {
            /// The text that the client gets.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

failures! {
    /// There is none.
    Missing "Jwt is missing",
    /// `nbf`.
    NotYetValid "Jwt not yet valid",
    /// `exp`.
    Expired "Jwt is expired",
    /// Not three parts, or too long.
    BadFormat "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
    /// First part.
    HeaderBadBase64 "Jwt header is an invalid Base64url encoded",
    /// First part.
    HeaderBadJson "Jwt header is an invalid JSON",
    /// `alg`.
    HeaderBadAlg "Jwt header [alg] field is required and must be a string",
    /// `alg`.
    HeaderUnknownAlg "Jwt header [alg] is not supported",
    /// `kid`.
    HeaderBadKid "Jwt header [kid] field is not a string",
    /// Second part.
    PayloadBadBase64 "Jwt payload is an invalid Base64url encoded",
    /// Second part.
    PayloadBadJson "Jwt payload is an invalid JSON",
    /// `iss`.
    IssNotString "Jwt payload [iss] field is not a string",
    /// `sub`.
    SubNotString "Jwt payload [sub] field is not a string",
    /// `iat`.
    IatNotInteger "Jwt payload [iat] field is not an integer",
    /// `iat`.
    IatOutOfRange "Jwt payload [iat] field is not a positive 64 bit integer",
    /// `nbf`.
    NbfNotInteger "Jwt payload [nbf] field is not an integer",
    /// `nbf`.
    NbfOutOfRange "Jwt payload [nbf] field is not a positive 64 bit integer",
    /// `exp`.
    ExpNotInteger "Jwt payload [exp] field is not an integer",
    /// `exp`.
    ExpOutOfRange "Jwt payload [exp] field is not a positive 64 bit integer",
    /// `jti`.
    JtiNotString "Jwt payload [jti] field is not a string",
    /// `aud`.
    AudNotString "Jwt payload [aud] field is not a string or string list",
    /// Third part.
    SignatureBadBase64 "Jwt signature is an invalid Base64url encoded",
    /// Third part.
    Ed25519WrongLength "Jwt ED25519 signature is wrong length",
    /// `iss` is of nobody who is asked for here.
    UnknownIssuer "Jwt issuer is not configured",
    /// `aud`: the only reason that is answered with 403.
    AudienceNotAllowed "Audiences in Jwt are not allowed",
    /// The signature.
    VerificationFails "Jwt verification fails",
    /// The key set.
    KeysBadJson "Jwks is an invalid JSON",
    /// The key set.
    KeysMissing "Jwks does not have [keys] field",
    /// The key set.
    KeysNotList "[keys] in Jwks is not an array",
    /// The key set.
    NoValidKeys "Jwks doesn't have any valid public key",
    /// The key set has keys, and none of that name or for that algorithm.
    NoMatchingKey "Jwks doesn't have key to match kid or alg from Jwt",
}

/// What the tokens of a request come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Whether it may go on.
    pub result: Result<(), Failure>,
    /// What becomes of its head if it goes on.
    pub changes: Changes,
    /// Payloads, by the key that they are kept under; empty: none.
    pub payloads: Map<String, Value>,
    /// Its route is to be looked for once more.
    pub reroute: bool,
}

/// What becomes of a head.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Headers that the client must not set.
    pub sanitized: Vec<HeaderName>,
    /// Headers that held a token.
    pub removed: Vec<HeaderName>,
    /// Query parameters that held a token.
    pub params: Vec<Str>,
    /// Payloads and claims.
    pub added: Vec<(HeaderName, HeaderValue)>,
}

impl Changes {
    /// Makes the changes to the headers.
    pub fn apply(self, headers: &mut HeaderMap) {
        for name in &self.sanitized {
            headers.remove(name);
        }
        // A header that held a token is gone before claims are written to one of that name.
        for name in &self.removed {
            headers.remove(name);
        }
        for (name, value) in self.added {
            headers.append(name, value);
        }
    }

    /// How many there are of each.
    fn mark(&self) -> [usize; 3] {
        [self.removed.len(), self.params.len(), self.added.len()]
    }

    /// Forgets those that came after a mark.
    fn return_to(&mut self, [removed, params, added]: [usize; 3]) {
        self.removed.truncate(removed);
        self.params.truncate(params);
        self.added.truncate(added);
    }

    /// The path without the parameters that held a token; `None`: it stays.
    pub fn path(&self, path: &str) -> Option<String> {
        if self.params.is_empty() {
            return None;
        }
        let (before, query) = split_query(path);
        let kept = query?.split('&').filter(|pair| {
            let name = locate::percent_decoded(pair.split('=').next().unwrap_or_default());
            !self.params.iter().any(|p| p.as_bytes() == &*name)
        });
        let query = kept.collect::<Vec<_>>().join("&");
        Some(if query.is_empty() { before.to_owned() } else { format!("{before}?{query}") })
    }
}

/// Decides. `now` is in seconds since 1970.
pub fn decide(config: &JwtAuthn, request: &Request<'_>, now: u64) -> Decision {
    let mut evaluation =
        Evaluation { config, request, now, changes: Changes::default(), payloads: Map::new(), reroute: false };
    if config.bypass_cors_preflight && is_preflight(request) {
        return evaluation.end(Ok(()));
    }
    for provider in &config.providers {
        let headers = provider.claim_to_headers.iter().map(|c| &c.header_name);
        let names = headers.chain(Some(&provider.forward_payload_header)).filter_map(|name| header_name(name));
        evaluation.changes.sanitized.extend(names);
    }
    let result = evaluation.require(&config.requires, &[]);
    evaluation.end(result)
}

fn header_name(name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).ok()
}

fn is_preflight(request: &Request<'_>) -> bool {
    let has = |name| request.headers.get(name).is_some_and(|v: &HeaderValue| !v.is_empty());
    request.method == Method::OPTIONS.as_str() && has("origin") && has("access-control-request-method")
}

type Providers<'a> = SmallVec<[&'a JwtProvider; 2]>;

/// What is known so far.
struct Evaluation<'a> {
    config: &'a JwtAuthn,
    request: &'a Request<'a>,
    now: u64,
    changes: Changes,
    payloads: Map<String, Value>,
    reroute: bool,
}

/// How strict an authentication is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allow {
    Nothing,
    Missing,
    MissingOrFailed,
}

impl<'a> Evaluation<'a> {
    fn end(self, result: Result<(), Failure>) -> Decision {
        Decision { result, changes: self.changes, payloads: self.payloads, reroute: self.reroute }
    }

    fn provider(&self, name: &str) -> Option<&'a JwtProvider> {
        self.config.providers.iter().find(|p| *p.name == *name)
    }

    /// `beside`: the providers that stand beside an "allow missing".
    fn require(&mut self, requirement: &JwtRequirement, beside: &[&'a JwtProvider]) -> Result<(), Failure> {
        match requirement {
            JwtRequirement::Provider(name) => {
                let provider = self.provider(name).ok_or(Failure::UnknownIssuer)?;
                self.authenticate(&[provider], Some(provider), Allow::Nothing)
            }
            JwtRequirement::All(all) => all.iter().try_for_each(|r| self.require(r, &[])),
            JwtRequirement::Any(any) => self.any(any),
            JwtRequirement::AllowMissing => self.authenticate(beside, None, Allow::Missing),
            JwtRequirement::AllowMissingOrFailed => self.authenticate(beside, None, Allow::MissingOrFailed),
        }
    }

    /// One of several. What allows requests without a token is asked last. Of the reasons of all, one that says more than that
    /// there is no token, or one of somebody else, counts most, and of these the last.
    fn any(&mut self, any: &[JwtRequirement]) -> Result<(), Failure> {
        let lenient =
            |r: &&JwtRequirement| matches!(r, JwtRequirement::AllowMissing | JwtRequirement::AllowMissingOrFailed);
        let providers: Providers<'a> = any
            .iter()
            .filter_map(|r| match r {
                JwtRequirement::Provider(name) => self.provider(name),
                _ => None,
            })
            .collect();
        let most_lenient = any
            .iter()
            .find(|r| **r == JwtRequirement::AllowMissingOrFailed)
            .or_else(|| any.iter().find(|r| lenient(r)));
        let mut failure = Failure::Missing;
        for requirement in any.iter().filter(|r| !lenient(r)).chain(most_lenient) {
            match self.require(requirement, &providers) {
                Ok(()) => return Ok(()),
                Err(Failure::Missing | Failure::UnknownIssuer) if failure != Failure::Missing => {}
                Err(other) => failure = other,
            }
        }
        Err(failure)
    }

    /// Every token in the places of `providers` must hold: with a good one and a bad one, the application could take the bad one
    /// for the one that was verified. Where requests without a token pass, Envoy asks it of the first place alone.
    fn authenticate(
        &mut self,
        providers: &[&'a JwtProvider],
        fixed: Option<&'a JwtProvider>,
        allow: Allow,
    ) -> Result<(), Failure> {
        let mut tokens = locate::tokens(providers, self.request, &self.changes.sanitized);
        let before = (self.changes.mark(), self.payloads.clone(), self.reroute);
        let mut result = Err(Failure::Missing);
        while let Some(found) = tokens.pop() {
            result = self.verify(&found, fixed);
            if result.is_err() && allow == Allow::Nothing {
                break;
            }
        }
        let result = match (result, allow) {
            (_, Allow::MissingOrFailed) | (Err(Failure::Missing), Allow::Missing) => Ok(()),
            (result, _) => result,
        };
        if result.is_err() {
            self.changes.return_to(before.0);
            (self.payloads, self.reroute) = (before.1, before.2);
        }
        result
    }

    /// One token, and what its provider wants done with it.
    fn verify(&mut self, found: &Found<'a>, fixed: Option<&'a JwtProvider>) -> Result<(), Failure> {
        let token = token::parse(&found.text)?;
        if !found.is_issuer_allowed(&token.issuer) {
            return Err(Failure::UnknownIssuer);
        }
        let provider = fixed.or_else(|| self.issued_by(&token.issuer)).ok_or(Failure::UnknownIssuer)?;
        token.check_time(self.now, LEEWAY)?;
        if !audience_allowed(&provider.audiences, &token.audiences) {
            return Err(Failure::AudienceNotAllowed);
        }
        keys::verify(&token, provider.keys.keys().map_err(|_| Failure::NoValidKeys)?)?;
        self.accept(provider, found, token);
        Ok(())
    }

    /// The provider of an issuer, else one that takes any.
    fn issued_by(&self, issuer: &str) -> Option<&'a JwtProvider> {
        let providers = &self.config.providers;
        providers
            .iter()
            .find(|p| !p.issuer.is_empty() && *p.issuer == *issuer)
            .or_else(|| providers.iter().find(|p| p.issuer.is_empty()))
    }

    fn accept(&mut self, provider: &JwtProvider, found: &Found<'_>, token: Token<'_>) {
        let mut add = |name: &str, value: &[u8]| {
            if let (Some(name), Ok(value)) = (header_name(name), HeaderValue::from_bytes(value)) {
                self.changes.added.push((name, value));
            }
        };
        if !provider.forward_payload_header.is_empty() {
            add(&provider.forward_payload_header, token.payload_text);
        }
        let mut claimed = false;
        for claim in &provider.claim_to_headers {
            if let Some(text) = claim_text(&token.payload, &claim.claim_name) {
                add(&claim.header_name, text.as_bytes());
                claimed = true;
            }
        }
        if !provider.forward {
            match found.place {
                Place::Header(name) => self.changes.removed.extend(header_name(name)),
                Place::Param(name) => self.changes.params.push(name.into()),
                Place::Cookie => {}
            }
        }
        let kept = !provider.payload_in_metadata.is_empty();
        self.reroute |= provider.clear_route_cache && (claimed || kept);
        if kept {
            let mut payload = token.payload;
            for claim in &provider.space_delimited_claims {
                split_claim(&mut payload, claim);
            }
            self.payloads.insert(provider.payload_in_metadata.to_string(), Value::Object(payload));
        }
    }
}

/// A text of words becomes a list of them.
fn split_claim(payload: &mut Map<String, Value>, claim: &str) {
    let Some(value) = payload.get_mut(claim) else { return };
    let words = |text: &str| -> Vec<Value> { text.split(' ').filter(|w| !w.is_empty()).map(Value::from).collect() };
    if let Some(words) = value.as_str().map(words).filter(|w| !w.is_empty()) {
        *value = Value::Array(words);
    }
}

/// A claim as a header has it; `None`: there is none, or nothing in it.
fn claim_text<'v>(payload: &'v Map<String, Value>, name: &str) -> Option<Cow<'v, str>> {
    let mut parts = name.split('.');
    let first = payload.get(parts.next()?)?;
    let value = parts.try_fold(first, |value, key| value.as_object()?.get(key))?;
    let text: Cow<'v, str> = match value {
        Value::String(text) => text.as_str().into(),
        Value::Bool(flag) => flag.to_string().into(),
        Value::Number(number) => number_text(number).into(),
        Value::Array(_) | Value::Object(_) => {
            base64::engine::general_purpose::STANDARD.encode(value.to_string()).into()
        }
        Value::Null => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// Whole numbers without a fraction, others with six digits of it.
fn number_text(number: &serde_json::Number) -> String {
    if let Some(whole) = number.as_u64() {
        return whole.to_string();
    }
    let value = number.as_f64().unwrap_or_default();
    if (0.0..18_446_744_073_709_551_616.0).contains(&value) && value.fract() == 0.0 {
        return format!("{value:.0}");
    }
    format!("{value:.6}")
}

/// Audiences are compared without scheme and final slash.
fn audience_allowed(wanted: &[Str], audiences: &[String]) -> bool {
    let bare = |text: &str| -> String {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or(text);
        rest.strip_suffix('/').unwrap_or(rest).to_owned()
    };
    wanted.is_empty() || audiences.iter().any(|a| wanted.iter().any(|w| **w == *a.as_str() || bare(w) == bare(a)))
}
