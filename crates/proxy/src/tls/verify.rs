//! Whose certificate is accepted, on either side.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use varka_engine::ir::{CertificatePins, Str, StringMatch};
use varka_engine::matcher;
use varka_identity::{CertificateFacts, Purpose};

use super::{SecretStore, provider};

/// Verifies a peer against trust anchors that are looked up at each handshake, and its names against what is asked.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    /// Where the anchors are.
    pub secrets: Arc<SecretStore>,
    /// SDS name of the anchors; `None`: any certificate will do.
    pub anchors: Option<Str>,
    /// One of the SANs must match one of these; empty: any SAN.
    pub sans: Vec<StringMatch>,
    /// Certificates or keys, one of which it must be; empty: any.
    pub pins: Pins,
    /// File of revocation lists to ask in place of those that came with the anchors.
    pub crl_file: Option<Str>,
    /// The certificate must also be valid for the server name.
    pub check_name: bool,
    /// A client must show one.
    pub mandatory: bool,
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("trust anchors {0} have not arrived yet")]
    NoAnchors(Str),
    #[error("the revocation lists of {0} could not be read")]
    NoRevocationLists(Str),
    #[error("neither the certificate nor its key is among those that are pinned")]
    Pins,
    #[error("no alternative name of the certificate is accepted here: it has {0}")]
    Names(String),
}

fn refuse(refusal: Refusal) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
}

/// SHA-256 of accepted public keys and certificates.
#[derive(Debug, Default)]
pub(super) struct Pins {
    spki: Vec<Vec<u8>>,
    hashes: Vec<String>,
    /// Something is asked, be it only what nothing can match.
    asked: bool,
}

impl Pins {
    /// What cannot be a hash matches nothing.
    pub(super) fn new(pins: &CertificatePins) -> Self {
        use base64::Engine as _;
        let hex = |hash: &Str| hash.replace(':', "").to_ascii_lowercase();
        let bytes = |hash: &Str| base64::engine::general_purpose::STANDARD.decode(&**hash).ok();
        Self {
            spki: pins.spki.iter().filter_map(bytes).collect(),
            hashes: pins.hashes.iter().map(hex).collect(),
            asked: !pins.is_empty(),
        }
    }

    fn accept(&self, facts: &CertificateFacts) -> bool {
        if !self.asked {
            return true;
        }
        let key = ring::digest::digest(&ring::digest::SHA256, &facts.public_key_info);
        self.spki.iter().any(|pin| pin == key.as_ref()) || self.hashes.contains(&facts.sha256)
    }
}

impl PeerVerifier {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        purpose: Purpose,
    ) -> Result<(), rustls::Error> {
        let Some(name) = &self.anchors else { return Ok(()) };
        let anchors = self.secrets.anchors(name).ok_or_else(|| refuse(Refusal::NoAnchors(Arc::clone(name))))?;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        let lists = match &self.crl_file {
            Some(path) => {
                Some(self.secrets.revoked(path).ok_or_else(|| refuse(Refusal::NoRevocationLists(Arc::clone(path))))?)
            }
            None => None,
        };
        let chain: Vec<_> = std::iter::once(leaf).chain(intermediates).map(|c| c.as_ref().into()).collect();
        anchors
            .verify_chain(&chain, now, purpose, lists.as_deref())
            .map_err(|e| rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(e)))))?;
        self.verify_names(leaf)
    }

    fn verify_names(&self, leaf: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        if self.sans.is_empty() && !self.pins.asked {
            return Ok(());
        }
        let facts = CertificateFacts::from_der(leaf).map_err(|_| CertificateError::BadEncoding)?;
        if !self.pins.accept(&facts) {
            return Err(refuse(Refusal::Pins));
        }
        let addresses: Vec<String> = facts.addresses.iter().map(ToString::to_string).collect();
        let is_wanted = |want: &StringMatch| {
            facts.uris.iter().chain(&addresses).any(|name| matcher::string(want, name.as_bytes()))
                || facts.dns_names.iter().any(|name| matcher::certificate_dns_name(want, name))
        };
        if self.sans.is_empty() || self.sans.iter().any(is_wanted) {
            return Ok(());
        }
        let has: Vec<&str> = facts.uris.iter().chain(&facts.dns_names).map(String::as_str).collect();
        Err(refuse(Refusal::Names(has.join(", "))))
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, now, Purpose::Client).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, now, Purpose::Server)?;
        if self.check_name && self.anchors.is_some() {
            let certificate = webpki::EndEntityCert::try_from(leaf).map_err(|_| CertificateError::BadEncoding)?;
            certificate.verify_is_valid_for_subject_name(server_name).map_err(|_| CertificateError::NotValidForName)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ClientCertVerifier::verify_tls12_signature(self, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ClientCertVerifier::verify_tls13_signature(self, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ClientCertVerifier::supported_verify_schemes(self)
    }
}
