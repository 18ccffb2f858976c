//! The certificate authority of a mesh: one self-signed root that signs leaf certificates directly.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use ring::rand::SecureRandom;
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::pem_blocks::certificate_to_pem;
use crate::{CertificateFacts, Error, SpiffeId, TrustBundle, WorkloadKey, certificates_from_pem};

/// Longest life of a workload certificate, from its `notBefore` to its `notAfter`.
pub const MAX_WORKLOAD_VALIDITY: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest request, as PEM, that is parsed. An RSA 8192 request needs a quarter of it.
pub const MAX_CSR_BYTES: usize = 16 * 1024;
/// How far back a certificate begins, for peers whose clocks are behind (Istio's `ClockSkewGracePeriod`).
const CLOCK_SKEW: Duration = Duration::from_secs(2 * 60);
/// Life of a root (Istio's default for a self-signed one).
const ROOT_VALIDITY: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// A root certificate with its private key.
pub struct Authority {
    root: CertificateDer<'static>,
    root_pem: String,
    facts: CertificateFacts,
    key_pkcs8: Zeroizing<Vec<u8>>,
    issuer: Issuer<'static, KeyPair>,
}

/// An [`Authority`] as it is kept in storage.
pub struct AuthorityPem {
    /// The root certificate.
    pub certificate: String,
    /// Its PKCS#8 key. Whoever stores it sees to it that nobody else can read it.
    pub key: Zeroizing<String>,
}

/// A signed workload certificate.
#[derive(Debug, Clone)]
pub struct IssuedCertificate {
    /// Leaf, then root: what `CreateCertificate` answers with, element by element.
    pub chain: Vec<String>,
    /// What the leaf says.
    pub facts: CertificateFacts,
}

/// A server certificate with its key, both made here.
#[derive(Debug)]
pub struct ServerCertificate {
    /// Leaf, then root, as PEM.
    pub chain_pem: String,
    /// The same as DER.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: WorkloadKey,
    /// What the leaf says.
    pub facts: CertificateFacts,
}

impl Authority {
    /// A new self-signed root for `trust_domain`, valid for ten years from `now`.
    ///
    /// # Errors
    /// [`Error::Crypto`] if a primitive fails.
    pub fn generate(trust_domain: &str, now: SystemTime, rng: &dyn SecureRandom) -> Result<Self, Error> {
        let key = WorkloadKey::generate(rng)?;
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial(rng)?);
        params.not_before = offset(now - CLOCK_SKEW);
        params.not_after = offset(now + ROOT_VALIDITY);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, trust_domain);
        params.distinguished_name.push(DnType::CommonName, "Varka root");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(key.pair()).map_err(|_| Error::Crypto("sign the root certificate"))?;
        Self::from_pem(&root.pem(), &key.to_pem())
    }

    /// An authority read back from storage.
    ///
    /// # Errors
    /// [`Error::Material`] if either part does not parse, the certificate is not an authority's, or the key is another's.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, Error> {
        let certificate = |reason| Error::Material { what: "the root certificate", reason };
        let key = |reason| Error::Material { what: "the root's private key", reason };
        let root = certificates_from_pem(certificate_pem)?.into_iter().next().ok_or(certificate("it is empty"))?;
        let facts = CertificateFacts::from_der(&root)?;
        if !facts.is_ca {
            return Err(certificate("it is not the certificate of an authority (basicConstraints CA is not set)"));
        }
        let block = pem::parse(key_pem).map_err(|_| key("it is not well-formed PEM"))?;
        let pkcs8 = Zeroizing::new(block.into_contents());
        let pair = KeyPair::try_from(pkcs8.as_slice())
            .map_err(|_| key("it is not a PKCS#8 key (convert with: openssl pkcs8 -topk8 -nocrypt)"))?;
        if pair.subject_public_key_info() != facts.public_key_info {
            return Err(key("it does not belong to the certificate"));
        }
        let issuer = Issuer::from_ca_cert_der(&root, pair)
            .map_err(|_| certificate("its subject or key identifier cannot be read"))?;
        Ok(Self { root_pem: certificate_to_pem(&root), root, facts, key_pkcs8: pkcs8, issuer })
    }

    /// Certificate and key for storage.
    pub fn to_pem(&self) -> AuthorityPem {
        let block = pem::Pem::new("PRIVATE KEY", self.key_pkcs8.to_vec());
        let key = pem::encode_config(&block, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF));
        AuthorityPem { certificate: self.root_pem.clone(), key: Zeroizing::new(key) }
    }

    /// The root certificate, which everyone may have.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// What the root certificate says.
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// The bundle that trusts this root alone.
    ///
    /// # Errors
    /// [`Error::Material`] if the root cannot be a trust anchor.
    pub fn bundle(&self) -> Result<TrustBundle, Error> {
        TrustBundle::from_pem(&self.root_pem)
    }

    /// Certifies the public key of `csr_pem` as `id`'s, for `validity` from `now`, at most [`MAX_WORKLOAD_VALIDITY`] in all and never beyond the root's end.
    ///
    /// The request proves possession of the key and says nothing else that is believed: names, usages and constraints in it are ignored.
    ///
    /// # Errors
    /// [`Error::Request`] for a request that is too long, malformed, badly signed or of an unknown algorithm; [`Error::Validity`].
    pub fn sign_csr(
        &self,
        csr_pem: &str,
        id: &SpiffeId,
        now: SystemTime,
        validity: Duration,
        rng: &dyn SecureRandom,
    ) -> Result<IssuedCertificate, Error> {
        if csr_pem.len() > MAX_CSR_BYTES {
            return Err(Error::Request("it is longer than 16 KiB"));
        }
        let request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(|error| {
            Error::Request(match error {
                rcgen::Error::InvalidCertificationRequestSignature => "its signature is not that of its key",
                rcgen::Error::UnsupportedExtension => "it asks for an extension that is not supported",
                rcgen::Error::UnsupportedSignatureAlgorithm => "its signature algorithm is not supported",
                _ => "it is not a PKCS#10 request in PEM",
            })
        })?;
        let uri = id.to_string().try_into().map_err(|_| Error::Crypto("encode the identity"))?;
        let mut params = self.leaf(now, validity, MAX_WORKLOAD_VALIDITY, rng)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        let leaf = params
            .signed_by(&request.public_key, &self.issuer)
            .map_err(|_| Error::Crypto("sign the workload's certificate"))?;
        let facts = CertificateFacts::from_der(leaf.der())?;
        Ok(IssuedCertificate { chain: vec![leaf.pem(), self.root_pem.clone()], facts })
    }

    /// A key and a certificate for a server that answers to `names` (DNS names, `*.` wildcards, IP addresses).
    ///
    /// # Errors
    /// [`Error::ServerName`] for a name that cannot stand in a certificate, [`Error::Request`] for no name at all, [`Error::Validity`].
    pub fn issue_server_certificate(
        &self,
        names: &[&str],
        now: SystemTime,
        validity: Duration,
        rng: &dyn SecureRandom,
    ) -> Result<ServerCertificate, Error> {
        if names.is_empty() {
            return Err(Error::Request("a server certificate needs a name"));
        }
        let key = WorkloadKey::generate(rng)?;
        let mut params = self.leaf(now, validity, validity.saturating_add(CLOCK_SKEW), rng)?;
        params.subject_alt_names = names.iter().map(|name| server_name(name)).collect::<Result<_, _>>()?;
        let leaf =
            params.signed_by(key.pair(), &self.issuer).map_err(|_| Error::Crypto("sign the server's certificate"))?;
        let facts = CertificateFacts::from_der(leaf.der())?;
        let chain_pem = format!("{}{}", leaf.pem(), self.root_pem);
        Ok(ServerCertificate { chain_pem, chain: vec![leaf.der().clone(), self.root.clone()], key, facts })
    }

    /// What all leaves have in common.
    fn leaf(
        &self,
        now: SystemTime,
        validity: Duration,
        longest: Duration,
        rng: &dyn SecureRandom,
    ) -> Result<CertificateParams, Error> {
        if validity.is_zero() {
            return Err(Error::Validity("a lifetime of zero was asked for"));
        }
        // A leaf that begins before its root would be refused by strict verifiers, one that ends after it is useless.
        let not_before = (now - CLOCK_SKEW).max(self.facts.not_before);
        let wanted = now.checked_add(validity).unwrap_or(self.facts.not_after);
        let not_after = wanted.min(not_before.checked_add(longest).unwrap_or(wanted)).min(self.facts.not_after);
        if not_after <= now {
            return Err(Error::Validity("the root certificate has expired; a new root must be made and distributed"));
        }
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial(rng)?);
        params.not_before = offset(not_before);
        params.not_after = offset(not_after);
        // No subject: the identity is the SAN alone, which is therefore critical (RFC 5280, 4.2.1.6).
        params.distinguished_name = DistinguishedName::new();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

impl fmt::Debug for Authority {
    /// Never prints the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("root", &self.facts.sha256).finish_non_exhaustive()
    }
}

/// 127 random bits: positive, and unique without any state (RFC 5280, 4.1.2.2).
fn serial(rng: &dyn SecureRandom) -> Result<SerialNumber, Error> {
    let mut bytes = [0u8; 16];
    rng.fill(&mut bytes).map_err(|_| Error::Crypto("draw a serial number"))?;
    if let Some(first) = bytes.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    Ok(SerialNumber::from_slice(&bytes))
}

fn server_name(name: &str) -> Result<SanType, Error> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let refused = || Error::ServerName(name.chars().take(256).flat_map(char::escape_default).collect());
    let host = name.strip_prefix("*.").unwrap_or(name);
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if host.len() > 253 || !host.split('.').all(label) {
        return Err(refused());
    }
    Ok(SanType::DnsName(name.try_into().map_err(|_| refused())?))
}

fn offset(at: SystemTime) -> OffsetDateTime {
    // Certificates count whole seconds; rcgen truncates, so this does too, which keeps facts and parameters equal.
    OffsetDateTime::from(at).truncate_to_second()
}

#[cfg(test)]
mod tests;
