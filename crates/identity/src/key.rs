//! The private key of a workload and the request that it signs.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use ring::rand::SecureRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::{Error, SpiffeId};

/// An ECDSA P-256 key. It is made by the workload and never leaves it; only a request signed by it does.
pub struct WorkloadKey {
    pkcs8: Zeroizing<Vec<u8>>,
    pair: KeyPair,
}

impl WorkloadKey {
    /// A new key.
    ///
    /// # Errors
    /// [`Error::Crypto`] if `rng` fails.
    pub fn generate(rng: &dyn SecureRandom) -> Result<Self, Error> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, rng)
            .map_err(|_| Error::Crypto("generate a key"))?;
        Self::from_pkcs8(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// A key read back from its PKCS#8 form.
    pub(crate) fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, Error> {
        let der = PrivatePkcs8KeyDer::from(pkcs8.as_slice());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ECDSA_P256_SHA256).map_err(|_| {
            Error::Material { what: "the private key", reason: "it is not an ECDSA P-256 key in PKCS#8" }
        })?;
        Ok(Self { pkcs8, pair })
    }

    /// The key for a TLS stack. The value returned holds the secret; drop it as soon as the stack has it.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.to_vec()))
    }

    /// The key as PEM (`PRIVATE KEY`), for a proxy that reads it from its configuration. Whoever writes it to a file sees to mode 0600.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let block = pem::Pem::new("PRIVATE KEY", self.pkcs8.to_vec());
        Zeroizing::new(pem::encode_config(&block, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF)))
    }

    /// A PKCS#10 request in PEM that asks for `id`. An authority decides for itself whom it certifies.
    ///
    /// # Errors
    /// [`Error::Crypto`] if signing fails.
    pub fn csr(&self, id: &SpiffeId) -> Result<String, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let uri = id.to_string().try_into().map_err(|_| Error::Crypto("encode the identity"))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let request =
            params.serialize_request(&self.pair).map_err(|_| Error::Crypto("sign the certificate request"))?;
        request.pem().map_err(|_| Error::Crypto("encode the certificate request"))
    }

    /// For certificates that this process issues to itself.
    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }
}

impl fmt::Debug for WorkloadKey {
    /// Never prints the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkloadKey(ECDSA P-256)")
    }
}
