//! The compact form of a token, taken apart and its claims checked for their types. No signature is looked at here.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use super::Failure;

/// Longest token that is looked at, in bytes. Heads are limited too; this holds for whoever calls.
pub const MAX_TOKEN: usize = 64 * 1024;

/// As lenient as Envoy: with or without padding.
pub(super) const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// 2^64.
const TOO_LARGE: f64 = 18_446_744_073_709_551_616.0;

/// Algorithms that Envoy knows.
const ALGORITHMS: [&str; 13] = [
    "ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA",
];

/// A token that is well formed, which says nothing about who made it.
#[derive(Debug, Clone, PartialEq)]
pub struct Token<'a> {
    /// `alg`.
    pub algorithm: String,
    /// `kid`; empty: none.
    pub key: String,
    /// `iss`; empty: none.
    pub issuer: String,
    /// `aud`.
    pub audiences: Vec<String>,
    /// `nbf`.
    pub not_before: Option<u64>,
    /// `exp`.
    pub expires: Option<u64>,
    /// All claims.
    pub payload: Map<String, Value>,
    /// Header as it came, base64url.
    pub header_text: &'a [u8],
    /// Payload as it came, base64url.
    pub payload_text: &'a [u8],
    /// Signature.
    pub signature: Vec<u8>,
}

impl Token<'_> {
    /// What is signed.
    pub fn signed(&self) -> Vec<u8> {
        [self.header_text, b".", self.payload_text].concat()
    }

    /// Whether it is in force at `now`, give or take `leeway` seconds.
    ///
    /// # Errors
    /// It is not yet, or no longer.
    pub fn check_time(&self, now: u64, leeway: u64) -> Result<(), Failure> {
        if self.not_before.is_some_and(|nbf| now.saturating_add(leeway) < nbf) {
            return Err(Failure::NotYetValid);
        }
        if self.expires.is_some_and(|exp| now > exp.saturating_add(leeway)) {
            return Err(Failure::Expired);
        }
        Ok(())
    }
}

/// Takes a token apart.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &[u8]) -> Result<Token<'_>, Failure> {
    if text.len() > MAX_TOKEN {
        return Err(Failure::BadFormat);
    }
    let mut parts = text.split(|byte| *byte == b'.').filter(|part| !part.is_empty());
    let (Some(header_text), Some(payload_text), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Failure::BadFormat);
    };
    let header = BASE64_URL.decode(header_text).map_err(|_| Failure::HeaderBadBase64)?;
    let header: Map<String, Value> = serde_json::from_slice(&header).map_err(|_| Failure::HeaderBadJson)?;
    let algorithm = text_of(&header, "alg", Failure::HeaderBadAlg)?.ok_or(Failure::HeaderBadAlg)?;
    if !ALGORITHMS.contains(&&*algorithm) {
        return Err(Failure::HeaderUnknownAlg);
    }
    let key = text_of(&header, "kid", Failure::HeaderBadKid)?.unwrap_or_default();
    let payload = BASE64_URL.decode(payload_text).map_err(|_| Failure::PayloadBadBase64)?;
    let payload: Map<String, Value> = serde_json::from_slice(&payload).map_err(|_| Failure::PayloadBadJson)?;
    let issuer = text_of(&payload, "iss", Failure::IssNotString)?.unwrap_or_default();
    text_of(&payload, "sub", Failure::SubNotString)?;
    whole_number(&payload, "iat", Failure::IatNotInteger, Failure::IatOutOfRange)?;
    let not_before = whole_number(&payload, "nbf", Failure::NbfNotInteger, Failure::NbfOutOfRange)?;
    let expires = whole_number(&payload, "exp", Failure::ExpNotInteger, Failure::ExpOutOfRange)?;
    text_of(&payload, "jti", Failure::JtiNotString)?;
    let audiences = texts_of(&payload, "aud")?;
    let signature = BASE64_URL.decode(signature).map_err(|_| Failure::SignatureBadBase64)?;
    Ok(Token { algorithm, key, issuer, audiences, not_before, expires, payload, header_text, payload_text, signature })
}

fn text_of(map: &Map<String, Value>, name: &str, otherwise: Failure) -> Result<Option<String>, Failure> {
    match map.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(otherwise),
    }
}

fn texts_of(map: &Map<String, Value>, name: &str) -> Result<Vec<String>, Failure> {
    match map.get(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(list)) => {
            list.iter().map(|v| v.as_str().map(str::to_owned).ok_or(Failure::AudNotString)).collect()
        }
        Some(_) => Err(Failure::AudNotString),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie within 0 and 2^64")]
fn whole_number(
    map: &Map<String, Value>,
    name: &str,
    no_number: Failure,
    out_of_range: Failure,
) -> Result<Option<u64>, Failure> {
    let Some(value) = map.get(name) else { return Ok(None) };
    if let Some(whole) = value.as_u64() {
        return Ok(Some(whole));
    }
    match value.as_f64() {
        None => Err(no_number),
        Some(number) if (0.0..TOO_LARGE).contains(&number) => Ok(Some(number as u64)),
        Some(_) => Err(out_of_range),
    }
}
