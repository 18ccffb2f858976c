//! Requests for certificates, and certificates and revocation lists that others made.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use varka_identity::{
    Authority, CertificateDer, CertificateFacts, MAX_WORKLOAD_VALIDITY, Purpose, RevocationLists, SpiffeId,
    SystemRandom, TrustBundle, certificates_from_pem,
};

use crate::choice;

/// Within the life of the authority below.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::generate("cluster.local", now(), &SystemRandom::new()).unwrap())
}

fn pem(tag: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {tag}-----\n{text}\n-----END {tag}-----\n")
}

/// First byte whether the rest is PEM or DER.
pub(crate) fn csr(data: &[u8]) {
    let (first, rest) = choice(data);
    let text = match (first & 1, std::str::from_utf8(rest)) {
        (0, _) => pem("CERTIFICATE REQUEST", rest),
        (_, Ok(text)) => text.to_owned(),
        _ => return,
    };
    let id = SpiffeId::new("cluster.local", "default", "web").unwrap();
    let validity = Duration::from_secs(u64::from(first) << 20);
    match authority().sign_csr(&text, &id, now(), validity, &SystemRandom::new()) {
        Ok(issued) => {
            let facts = &issued.facts;
            assert_eq!(facts.uris, [id.to_string()], "it says more than who was authenticated");
            assert!(
                facts.dns_names.is_empty() && facts.addresses.is_empty() && facts.subject.is_empty() && !facts.is_ca
            );
            assert!(facts.lifetime() <= MAX_WORKLOAD_VALIDITY);
            let chain = certificates_from_pem(&issued.chain.concat()).unwrap();
            let peer = authority().bundle().unwrap().verify_peer(&chain, now(), Purpose::Client).unwrap();
            assert_eq!(peer.id, Some(id));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// First byte what the rest is: a certificate's DER, or a text of PEM, or an identity.
pub(crate) fn certificate(data: &[u8]) {
    let (first, rest) = choice(data);
    let text = match first % 4 {
        0 => {
            let der = CertificateDer::from(rest);
            if let Ok(facts) = CertificateFacts::from_der(&der) {
                assert!(facts.uris.iter().map(String::len).sum::<usize>() <= rest.len());
                assert!(facts.subject.len() <= 8 * rest.len());
                let _ = facts.lifetime();
            }
            let bundle = authority().bundle().unwrap();
            let own = authority().root_pem();
            let root = certificates_from_pem(own).unwrap();
            // Nobody but the authority itself is of the mesh.
            let is_root = root.first().is_some_and(|root| **root == *rest);
            let verified = bundle.verify_peer(&[der], now(), Purpose::Client);
            assert!(verified.is_err() || is_root);
            pem("CERTIFICATE", rest)
        }
        1 => pem("X509 CRL", rest),
        _ => match std::str::from_utf8(rest) {
            Ok(text) => text.to_owned(),
            Err(_) => return,
        },
    };
    if let Ok(all) = certificates_from_pem(&text) {
        assert!(!all.is_empty() && all.len() <= 64);
    }
    drop(TrustBundle::from_pem(&text));
    drop(RevocationLists::from_pem(&text));
    if let Ok(id) = text.parse::<SpiffeId>() {
        assert_eq!(id.to_string(), text);
    }
}
