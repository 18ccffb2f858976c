use std::time::Duration;

use ring::rand::SystemRandom;

use super::*;
use crate::{Authority, MAX_WORKLOAD_VALIDITY, WorkloadKey, certificates_from_pem};

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)
}

fn chain(authority: &Authority) -> Vec<CertificateDer<'static>> {
    let rng = SystemRandom::new();
    let id = SpiffeId::new("cluster.local", "a", "b").unwrap();
    let csr = WorkloadKey::generate(&rng).unwrap().csr(&id).unwrap();
    let issued = authority.sign_csr(&csr, &id, noon(), MAX_WORKLOAD_VALIDITY, &rng).unwrap();
    certificates_from_pem(&issued.chain.concat()).unwrap()
}

#[test]
fn trusted_by_its_own_root_and_by_no_other() {
    let rng = SystemRandom::new();
    let mine = Authority::generate("cluster.local", noon(), &rng).unwrap();
    let other = Authority::generate("cluster.local", noon(), &rng).unwrap();
    let chain = chain(&mine);
    for purpose in [Purpose::Client, Purpose::Server] {
        mine.bundle().unwrap().verify_peer(&chain, noon(), purpose).unwrap();
        let refused = other.bundle().unwrap().verify_peer(&chain, noon(), purpose).unwrap_err();
        assert!(matches!(refused, Error::Untrusted(_)), "{refused}");
    }
    let both = TrustBundle::from_pem(&format!("{}{}", other.root_pem(), mine.root_pem())).unwrap();
    both.verify_peer(&chain, noon(), Purpose::Client).unwrap();
}

#[test]
fn time_counts() {
    let authority = Authority::generate("cluster.local", noon(), &SystemRandom::new()).unwrap();
    let chain = chain(&authority);
    let bundle = authority.bundle().unwrap();
    let day = Duration::from_secs(86_400);
    assert!(bundle.verify_chain(&chain, noon() + day, Purpose::Client, None).is_err());
    assert!(bundle.verify_chain(&chain, noon() - day, Purpose::Client, None).is_err());
}

#[test]
fn a_server_certificate_proves_no_workload() {
    let rng = SystemRandom::new();
    let authority = Authority::generate("cluster.local", noon(), &rng).unwrap();
    let server = authority.issue_server_certificate(&["a.b"], noon(), Duration::from_secs(600), &rng).unwrap();
    let refused = authority.bundle().unwrap().verify_peer(&server.chain, noon(), Purpose::Server).unwrap_err();
    assert!(matches!(refused, Error::UriNames(0)), "{refused}");
}

#[test]
fn no_certificate_no_bundle() {
    let authority = Authority::generate("cluster.local", noon(), &SystemRandom::new()).unwrap();
    let refused = authority.bundle().unwrap().verify_peer(&[], noon(), Purpose::Client).unwrap_err();
    assert!(matches!(refused, Error::NoCertificate));
    assert!(TrustBundle::from_pem("").is_err());
    assert!(TrustBundle::from_pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
}
