//! Keys of issuers of tokens that are not written in a resource: where they are, and what was found there.
//!
//! Fetching them is somebody else's: here they are one more input.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use varka_api::istio::JwtRule;
use varka_engine::ir::Str;

use super::{Kind, Snapshot};
use crate::reads::ChangeKey;

/// A fetch takes at most so long where the rule does not say otherwise, as in Istio.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where keys are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeySource {
    /// Whose they are.
    pub issuer: Str,
    /// Where; empty: where the issuer's OpenID configuration says.
    pub uri: Str,
}

impl KeySource {
    /// Where the keys of a rule are; `None`: in the rule.
    pub(crate) fn of(rule: &JwtRule) -> Option<Self> {
        rule.jwks.is_empty().then(|| Self { issuer: rule.issuer.as_str().into(), uri: rule.jwks_uri.as_str().into() })
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.uri.is_empty() {
            write!(f, "issuer {:?} (by its OpenID configuration)", self.issuer)
        } else {
            write!(f, "issuer {:?} at {}", self.issuer, self.uri)
        }
    }
}

impl Snapshot {
    /// Keys that resources ask for, with the longest time that fetching them may take.
    pub fn wanted_keys(&self) -> BTreeMap<KeySource, Duration> {
        let mut wanted: BTreeMap<KeySource, Duration> = BTreeMap::new();
        for rule in self.stores.request_authentications.iter().flat_map(|o| &o.spec.jwt_rules) {
            if let Some(source) = KeySource::of(rule) {
                let timeout = rule.timeout.map(|t| t.to_std()).filter(|t| !t.is_zero()).unwrap_or(TIMEOUT);
                let longest = wanted.entry(source).or_default();
                *longest = timeout.max(*longest);
            }
        }
        wanted
    }

    pub(crate) fn key_set(&self, source: &KeySource) -> Option<&Result<Str, Str>> {
        self.key_sets.get(source)
    }

    /// `None`: that was known.
    pub(super) fn keys_changed(&mut self, source: KeySource, keys: Option<Result<Str, Str>>) -> Option<ChangeKey> {
        if self.key_sets.get(&source) == keys.as_ref() {
            return None;
        }
        let (namespace, name) = (source.issuer.clone(), source.uri.clone());
        let known = Arc::make_mut(&mut self.key_sets);
        match keys {
            Some(keys) => drop(known.insert(source, keys)),
            None => drop(known.remove(&source)),
        }
        Some(ChangeKey { kind: Kind::KeySet, namespace, name, also: Vec::new() })
    }
}
