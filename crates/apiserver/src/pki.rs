//! The server's certificate authority and serving certificate, kept in the data directory with mode 0600.
//!
//! The authority lives as long as the directory, so that a kubeconfig stays good; the serving certificate is made anew at each start.

use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use crate::Error;

/// Life of the authority.
const CA_DAYS: i64 = 3650;
/// Life of the serving certificate; a server that runs longer must be restarted.
const SERVER_DAYS: i64 = 365;
/// Tolerance for clocks that are behind.
const SKEW: Duration = Duration::minutes(5);

/// What TLS needs.
pub(crate) struct Pki {
    pub(crate) ca_pem: String,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Pki {
    /// Loads or makes the authority, and issues a serving certificate for these names and addresses.
    pub(crate) fn open(dir: &Path, names: &[String]) -> Result<Self, Error> {
        let ca_path = dir.join("ca.crt");
        let key_path = dir.join("ca.key");
        if !key_path.exists() || !ca_path.exists() {
            let (certificate, key) = make_ca()?;
            write_private(&key_path, key.as_bytes())?;
            write_private(&ca_path, certificate.as_bytes())?;
        }
        let ca_pem = read(&ca_path)?;
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, KeyPair::from_pem(&read(&key_path)?)?)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.subject_alt_names = names.iter().map(|n| subject(n)).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = OffsetDateTime::now_utc() - SKEW;
        params.not_after = OffsetDateTime::now_utc() + Duration::days(SERVER_DAYS);
        let certificate = params.signed_by(&key, &issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Self { ca_pem, chain: vec![certificate.der().clone()], key })
    }
}

fn make_ca() -> Result<(String, String), Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "varka-kubernetes-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.not_before = OffsetDateTime::now_utc() - SKEW;
    params.not_after = OffsetDateTime::now_utc() + Duration::days(CA_DAYS);
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn subject(name: &str) -> Result<SanType, Error> {
    Ok(match name.parse::<IpAddr>() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into()?),
    })
}

/// Writes a file that only its owner can read, in full or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let partial = path.with_extension("partial");
    let write = || -> std::io::Result<()> {
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })
}
