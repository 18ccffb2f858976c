//! The identity of a workload as a SPIFFE URI in Istio's form.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// Longest URI that is read: SPIFFE allows 2,048 bytes.
const MAX_BYTES: usize = 2048;

/// `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`.
///
/// Identity is the service account: two workloads that share one cannot be told apart by any policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    trust_domain: Box<str>,
    namespace: Box<str>,
    service_account: Box<str>,
}

impl SpiffeId {
    /// An identity from its parts.
    ///
    /// # Errors
    /// [`Error::SpiffeId`] if a part is empty or has characters that a SPIFFE URI cannot carry.
    pub fn new(trust_domain: &str, namespace: &str, service_account: &str) -> Result<Self, Error> {
        let fail = |reason| {
            let id = format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}");
            Err(Error::SpiffeId { id: printable(&id), reason })
        };
        if !is_trust_domain(trust_domain) {
            return fail("the trust domain must be lower-case letters, digits, '.', '-' and '_'");
        }
        if !is_segment(namespace) {
            return fail("the namespace must be letters, digits, '.', '-' and '_'");
        }
        if !is_segment(service_account) {
            return fail("the service account must be letters, digits, '.', '-' and '_'");
        }
        let id = Self {
            trust_domain: trust_domain.into(),
            namespace: namespace.into(),
            service_account: service_account.into(),
        };
        if id.to_string().len() > MAX_BYTES {
            return fail("it is longer than 2048 bytes");
        }
        Ok(id)
    }

    /// The authority part of the URI, e.g. `cluster.local`.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The namespace of the service account.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The service account.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }

    /// The form that policies name: the URI without its scheme (`AuthorizationPolicy` `principals`).
    pub fn principal(&self) -> String {
        format!("{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

impl FromStr for SpiffeId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fail = |reason| Error::SpiffeId { id: printable(text), reason };
        let rest = text.strip_prefix("spiffe://").ok_or_else(|| fail("it does not begin with spiffe://"))?;
        let mut parts = rest.split('/');
        let mut next = || parts.next().ok_or_else(|| fail("it has too few parts"));
        let trust_domain = next()?;
        if next()? != "ns" {
            return Err(fail("its second part is not ns"));
        }
        let namespace = next()?;
        if next()? != "sa" {
            return Err(fail("its fourth part is not sa"));
        }
        let service_account = next()?;
        if parts.next().is_some() {
            return Err(fail("it has too many parts"));
        }
        Self::new(trust_domain, namespace, service_account)
    }
}

/// SPIFFE-ID 2.1; at most 255 bytes.
fn is_trust_domain(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    !text.is_empty() && text.len() <= 255 && text.bytes().all(allowed)
}

/// SPIFFE-ID 2.2: a path segment that is not `.` or `..`.
fn is_segment(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !text.is_empty() && text != "." && text != ".." && text.bytes().all(allowed)
}

/// What may stand in an error message: control characters escaped, cut at 256 characters.
fn printable(text: &str) -> String {
    text.chars().take(256).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests;
