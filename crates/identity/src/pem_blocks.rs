//! Reading certificates out of PEM text.

use rustls_pki_types::CertificateDer;

use crate::Error;

/// A longer chain is refused.
const MAX_CERTIFICATES: usize = 64;
/// A larger bundle is refused; an operating system has some 150.
const MAX_ROOTS: usize = 1024;

/// The certificates of a PEM text, in its order; blocks of other kinds are passed over.
///
/// # Errors
/// [`Error::Material`] if the text is not PEM, holds no certificate or more than 64.
pub fn certificates_from_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    at_most(text, MAX_CERTIFICATES, "it holds more than 64 certificates")
}

/// The certificates of a bundle of trust anchors, which may be more than a chain has.
pub(crate) fn roots_from_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    at_most(text, MAX_ROOTS, "it holds more than 1024 certificates")
}

fn at_most(text: &str, most: usize, too_many: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let fail = |reason| Error::Material { what: "the PEM text of certificates", reason };
    let certificates: Vec<_> =
        blocks(text, "CERTIFICATE", "the PEM text of certificates")?.map(CertificateDer::from).collect();
    match certificates.len() {
        0 => Err(fail("it holds no CERTIFICATE block")),
        n if n > most => Err(fail(too_many)),
        _ => Ok(certificates),
    }
}

/// Contents of all blocks with a tag.
pub(crate) fn blocks<'a>(
    text: &str,
    tag: &'a str,
    what: &'static str,
) -> Result<impl Iterator<Item = Vec<u8>> + use<'a>, Error> {
    let all = pem::parse_many(text).map_err(|_| Error::Material { what, reason: "it is not well-formed PEM" })?;
    Ok(all.into_iter().filter(move |block| block.tag() == tag).map(pem::Pem::into_contents))
}

/// A certificate as a PEM block.
pub(crate) fn certificate_to_pem(der: &CertificateDer<'_>) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der.to_vec()), config)
}
