//! What a certificate says, as plain data for logs, the `/certs` page and renewal.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::Error;

/// The readable content of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Serial number in lower-case hex, without separators.
    pub serial: String,
    /// First moment of validity.
    pub not_before: SystemTime,
    /// Last moment of validity.
    pub not_after: SystemTime,
    /// Subject in RFC 4514 style; empty for a workload.
    pub subject: String,
    /// URI names (a workload has one, its SPIFFE identity).
    pub uris: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
    /// SHA-256 of the DER form, lower-case hex.
    pub sha256: String,
    /// Whether it may sign certificates.
    pub is_ca: bool,
    /// Subject public key info, DER.
    pub public_key_info: Vec<u8>,
}

impl CertificateFacts {
    /// Reads a certificate.
    ///
    /// # Errors
    /// [`Error::Material`] if it does not parse.
    pub fn from_der(der: &CertificateDer<'_>) -> Result<Self, Error> {
        let fail = |reason| Error::Material { what: "the certificate", reason };
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| fail("it is not an X.509 certificate"))?;
        if !rest.is_empty() {
            return Err(fail("bytes follow its end"));
        }
        let mut facts = Self {
            serial: hex(certificate.raw_serial()),
            not_before: moment(certificate.validity().not_before.timestamp()),
            not_after: moment(certificate.validity().not_after.timestamp()),
            subject: certificate.subject().to_string(),
            uris: Vec::new(),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            sha256: hex(ring::digest::digest(&ring::digest::SHA256, der).as_ref()),
            is_ca: certificate.is_ca(),
            public_key_info: certificate.public_key().raw.to_vec(),
        };
        let names = certificate.subject_alternative_name().map_err(|_| fail("its alternative names are malformed"))?;
        for name in names.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::URI(uri) => facts.uris.push((*uri).to_owned()),
                GeneralName::DNSName(dns) => facts.dns_names.push((*dns).to_owned()),
                GeneralName::IPAddress(bytes) => facts.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        Ok(facts)
    }

    /// From the first to the last moment of validity.
    pub fn lifetime(&self) -> Duration {
        self.not_after.duration_since(self.not_before).unwrap_or_default()
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn moment(seconds: i64) -> SystemTime {
    match u64::try_from(seconds) {
        Ok(after) => SystemTime::UNIX_EPOCH + Duration::from_secs(after),
        Err(_) => SystemTime::UNIX_EPOCH,
    }
}
