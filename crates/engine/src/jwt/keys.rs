//! Key sets (RFC 7517), and whether one of their keys made a signature.
//!
//! A key that cannot be used is left out, and the others hold, as in Envoy. Not used are: RSA keys below 2048 bits or with an
//! exponent other than 3 and 65537, curves other than P-256, P-384 and Ed25519, and certificates in place of keys.

use std::fmt;

use base64::Engine as _;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Map, Value};

use super::Failure;
use super::token::{BASE64_URL, Token};

/// Most keys of a set that are looked at.
const MOST_KEYS: usize = 256;

/// A key that can be used.
#[derive(Clone)]
pub struct Key {
    id: String,
    /// Empty: any that the kind of key allows.
    algorithm: String,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
    Shared(Vec<u8>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// Reads a key set.
///
/// # Errors
/// It is none, or has no key that can be used.
pub fn parse(source: &str) -> Result<Vec<Key>, Failure> {
    let set: Map<String, Value> = serde_json::from_str(source).map_err(|_| Failure::KeysBadJson)?;
    let keys = set.get("keys").ok_or(Failure::KeysMissing)?.as_array().ok_or(Failure::KeysNotList)?;
    let usable: Vec<Key> = keys.iter().take(MOST_KEYS).filter_map(|key| read(key.as_object()?)).collect();
    if usable.is_empty() { Err(Failure::NoValidKeys) } else { Ok(usable) }
}

fn read(key: &Map<String, Value>) -> Option<Key> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let bytes = |name: &str| BASE64_URL.decode(text(name)?).ok();
    let (id, algorithm) = (text("kid").unwrap_or_default(), text("alg").unwrap_or_default());
    let is_for = |starts: &[&str]| algorithm.is_empty() || starts.iter().any(|s| algorithm.starts_with(s));
    let material = match text("kty")? {
        "RSA" if is_for(&["RS", "PS"]) => {
            let (n, e) = (without_zeros(bytes("n")?), without_zeros(bytes("e")?));
            (n.len() >= 2048 / 8 && (e == [3] || e == [1, 0, 1])).then_some(Material::Rsa { n, e })?
        }
        "EC" if is_for(&["ES"]) => match (text("crv").unwrap_or_default(), algorithm) {
            ("P-256", "" | "ES256") | ("", "" | "ES256") => Material::P256(point(&bytes("x")?, &bytes("y")?, 32)?),
            ("P-384", "" | "ES384") | ("", "ES384") => Material::P384(point(&bytes("x")?, &bytes("y")?, 48)?),
            _ => return None,
        },
        "oct" if is_for(&["HS256", "HS384", "HS512"]) => {
            Material::Shared(bytes("k").filter(|secret| !secret.is_empty())?)
        }
        "OKP" if is_for(&["EdDSA"]) && text("crv") == Some("Ed25519") => {
            Material::Ed25519(bytes("x").filter(|x| x.len() == 32)?)
        }
        _ => return None,
    };
    Some(Key { id: id.to_owned(), algorithm: algorithm.to_owned(), material })
}

fn without_zeros(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().skip_while(|byte| *byte == 0).collect()
}

/// An uncompressed point.
fn point(x: &[u8], y: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut out = vec![4];
    for coordinate in [x, y] {
        let significant = coordinate.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
        out.resize(out.len() + size.checked_sub(significant.len())?, 0);
        out.extend(significant);
    }
    Some(out)
}

/// Whether one of the keys made the token's signature. Keys of another name or for another algorithm are not asked.
pub(super) fn verify(token: &Token<'_>, keys: &[Key]) -> Result<(), Failure> {
    let signed = token.signed();
    let mut failure = Failure::NoMatchingKey;
    for key in keys {
        let other_name = !token.key.is_empty() && !key.id.is_empty() && key.id != token.key;
        let other_algorithm = !key.algorithm.is_empty() && key.algorithm != token.algorithm;
        if other_name || other_algorithm {
            continue;
        }
        failure = Failure::VerificationFails;
        if token.algorithm == "EdDSA" && matches!(key.material, Material::Ed25519(_)) && token.signature.len() != 64 {
            return Err(Failure::Ed25519WrongLength);
        }
        if key.material.made(&token.algorithm, &signed, &token.signature) {
            return Ok(());
        }
    }
    Err(failure)
}

impl Material {
    /// Whether the signature of `signed` is of this key, by this algorithm.
    fn made(&self, algorithm: &str, signed: &[u8], signature: &[u8]) -> bool {
        let public = |verifier: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(verifier, key).verify(signed, signature).is_ok()
        };
        match self {
            Self::Rsa { n, e } => {
                let parameters = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                    "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
                    "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return false,
                };
                RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature).is_ok()
            }
            Self::P256(key) => algorithm == "ES256" && public(&signature::ECDSA_P256_SHA256_FIXED, key),
            Self::P384(key) => algorithm == "ES384" && public(&signature::ECDSA_P384_SHA384_FIXED, key),
            Self::Ed25519(key) => algorithm == "EdDSA" && public(&signature::ED25519, key),
            Self::Shared(secret) => {
                let kind = match algorithm {
                    "HS256" => ring::hmac::HMAC_SHA256,
                    "HS384" => ring::hmac::HMAC_SHA384,
                    "HS512" => ring::hmac::HMAC_SHA512,
                    _ => return false,
                };
                ring::hmac::verify(&ring::hmac::Key::new(kind, secret), signed, signature).is_ok()
            }
        }
    }
}
