//! Certificate revocation lists: which certificates an issuer has taken back.

use webpki::{CertRevocationList, OwnedCertRevocationList};

use crate::Error;
use crate::pem_blocks::blocks;

/// More lists in one text are refused: a chain needs one of each of its issuers.
const MAX_LISTS: usize = 64;

/// Lists of one or more issuers. Where they are asked, every certificate of a chain must be covered by one of them that is
/// not out of date.
pub struct RevocationLists(Vec<CertRevocationList<'static>>);

impl RevocationLists {
    /// From PEM (`X509 CRL`).
    ///
    /// # Errors
    /// [`Error::Material`] if there is none, or more than 64, or one that cannot be read.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        const WHAT: &str = "the revocation list";
        let fail = |reason| Error::Material { what: WHAT, reason };
        let list = |der: Vec<u8>| OwnedCertRevocationList::from_der(&der).map(CertRevocationList::from);
        let lists: Vec<_> = blocks(text, "X509 CRL", WHAT)?
            .map(list)
            .collect::<Result<_, _>>()
            .map_err(|_| fail("it is not an X.509 CRL of version 2 with a CRL number"))?;
        match lists.len() {
            0 => Err(fail("it holds no X509 CRL block")),
            n if n > MAX_LISTS => Err(fail("it holds more than 64 lists")),
            _ => Ok(Self(lists)),
        }
    }

    pub(crate) fn all(&self) -> Vec<&CertRevocationList<'static>> {
        self.0.iter().collect()
    }
}

impl std::fmt::Debug for RevocationLists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RevocationLists").field("lists", &self.0.len()).finish()
    }
}
