//! Reading certificates out of PEM text.

use rustls_pki_types::CertificateDer;

use crate::Error;

/// A chain or a bundle longer than this is refused.
const MAX_CERTIFICATES: usize = 64;

/// The certificates of a PEM text, in its order; blocks of other kinds are passed over.
///
/// # Errors
/// [`Error::Material`] if the text is not PEM, holds no certificate or more than 64.
pub fn certificates_from_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let fail = |reason| Error::Material { what: "the PEM text of certificates", reason };
    let blocks = pem::parse_many(text).map_err(|_| fail("it is not well-formed PEM"))?;
    let certificates: Vec<_> = blocks
        .into_iter()
        .filter(|block| block.tag() == "CERTIFICATE")
        .map(|block| CertificateDer::from(block.into_contents()))
        .collect();
    match certificates.len() {
        0 => Err(fail("it holds no CERTIFICATE block")),
        n if n > MAX_CERTIFICATES => Err(fail("it holds more than 64 certificates")),
        _ => Ok(certificates),
    }
}

/// A certificate as a PEM block.
pub(crate) fn certificate_to_pem(der: &CertificateDer<'_>) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der.to_vec()), config)
}
