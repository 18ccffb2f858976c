use proptest::prelude::*;
use ring::rand::SystemRandom;

use super::*;
use crate::Purpose;

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)
}

fn authority() -> Authority {
    Authority::generate("cluster.local", noon(), &SystemRandom::new()).unwrap()
}

fn id(account: &str) -> SpiffeId {
    SpiffeId::new("cluster.local", "blog-system", account).unwrap()
}

#[test]
fn the_callers_identity_stands_in_the_certificate_and_not_the_requests() {
    let authority = authority();
    let rng = SystemRandom::new();
    let key = WorkloadKey::generate(&rng).unwrap();
    let csr = key.csr(&id("mallory")).unwrap();
    let issued = authority.sign_csr(&csr, &id("web"), noon(), MAX_WORKLOAD_VALIDITY, &rng).unwrap();
    assert_eq!(issued.facts.uris, ["spiffe://cluster.local/ns/blog-system/sa/web"]);
    assert_eq!(issued.facts.public_key_info, key.pair().subject_public_key_info());
    assert!(!issued.facts.is_ca);
    assert_eq!(issued.chain.len(), 2);
    let chain = certificates_from_pem(&issued.chain.concat()).unwrap();
    let peer = authority.bundle().unwrap().verify_peer(&chain, noon(), Purpose::Client).unwrap();
    assert_eq!(peer.id, Some(id("web")));
}

#[test]
fn at_most_a_day_from_end_to_end() {
    let authority = authority();
    let rng = SystemRandom::new();
    let csr = WorkloadKey::generate(&rng).unwrap().csr(&id("web")).unwrap();
    let year = Duration::from_secs(365 * 86_400);
    let now = noon() + Duration::from_secs(3600);
    let issued = authority.sign_csr(&csr, &id("web"), now, year, &rng).unwrap();
    assert_eq!(issued.facts.lifetime(), MAX_WORKLOAD_VALIDITY);
    let hour = authority.sign_csr(&csr, &id("web"), now, Duration::from_secs(3600), &rng).unwrap();
    assert_eq!(hour.facts.not_after, now + Duration::from_secs(3600));
    assert!(authority.sign_csr(&csr, &id("web"), now, Duration::ZERO, &rng).is_err());
}

#[test]
fn nothing_outlives_the_root() {
    let authority = authority();
    let rng = SystemRandom::new();
    let csr = WorkloadKey::generate(&rng).unwrap().csr(&id("web")).unwrap();
    let late = authority.facts().not_after - Duration::from_secs(60);
    let issued = authority.sign_csr(&csr, &id("web"), late, MAX_WORKLOAD_VALIDITY, &rng).unwrap();
    assert_eq!(issued.facts.not_after, authority.facts().not_after);
    let after = authority.facts().not_after + Duration::from_secs(1);
    let refused = authority.sign_csr(&csr, &id("web"), after, MAX_WORKLOAD_VALIDITY, &rng).unwrap_err();
    assert!(matches!(refused, Error::Validity(_)), "{refused}");
}

#[test]
fn storage_gives_the_same_authority_back() {
    let first = authority();
    let stored = first.to_pem();
    let second = Authority::from_pem(&stored.certificate, &stored.key).unwrap();
    assert_eq!(first.root_pem(), second.root_pem());
    let rng = SystemRandom::new();
    let csr = WorkloadKey::generate(&rng).unwrap().csr(&id("web")).unwrap();
    let issued = second.sign_csr(&csr, &id("web"), noon(), MAX_WORKLOAD_VALIDITY, &rng).unwrap();
    let chain = certificates_from_pem(&issued.chain.concat()).unwrap();
    first.bundle().unwrap().verify_chain(&chain, noon(), Purpose::Server, None).unwrap();
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let (a, b) = (authority().to_pem(), authority().to_pem());
    assert!(matches!(Authority::from_pem(&a.certificate, &b.key), Err(Error::Material { .. })));
    assert!(matches!(Authority::from_pem(&a.key, &a.key), Err(Error::Material { .. })));
    let rng = SystemRandom::new();
    let leaf = authority().issue_server_certificate(&["a"], noon(), MAX_WORKLOAD_VALIDITY, &rng).unwrap();
    assert!(matches!(Authority::from_pem(&leaf.chain_pem, &leaf.key.to_pem()), Err(Error::Material { .. })));
}

#[test]
fn server_certificates_carry_their_names() {
    let rng = SystemRandom::new();
    let names = ["istiod.istio-system.svc", "*.example.com", "127.0.0.1", "::1"];
    let server = authority().issue_server_certificate(&names, noon(), Duration::from_secs(86_400), &rng).unwrap();
    assert_eq!(server.facts.dns_names, ["istiod.istio-system.svc", "*.example.com"]);
    assert_eq!(server.facts.addresses.len(), 2);
    for bad in ["", "a b", "-a", "*.*.com", "a..b", "ü.com"] {
        let refused = authority().issue_server_certificate(&[bad], noon(), Duration::from_secs(60), &rng);
        assert!(matches!(refused, Err(Error::ServerName(_))), "{bad}");
    }
    assert!(authority().issue_server_certificate(&[], noon(), Duration::from_secs(60), &rng).is_err());
}

#[test]
fn serial_numbers_differ_for_one_key() {
    let authority = authority();
    let rng = SystemRandom::new();
    let csr = WorkloadKey::generate(&rng).unwrap().csr(&id("web")).unwrap();
    let sign = || authority.sign_csr(&csr, &id("web"), noon(), MAX_WORKLOAD_VALIDITY, &rng).unwrap().facts.serial;
    assert_ne!(sign(), sign());
}

#[test]
fn keys_do_not_print() {
    let rng = SystemRandom::new();
    let key = WorkloadKey::generate(&rng).unwrap();
    assert_eq!(format!("{key:?}"), "WorkloadKey(ECDSA P-256)");
    assert!(!format!("{:?}", authority()).contains("PRIVATE"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_as_a_request_give_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let authority = authority();
        let text = String::from_utf8_lossy(&bytes);
        let pem = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", bytes.clone()));
        for csr in [text.as_ref(), pem.as_str()] {
            prop_assert!(authority.sign_csr(csr, &id("web"), noon(), MAX_WORKLOAD_VALIDITY, &SystemRandom::new()).is_err());
        }
    }

    #[test]
    fn one_changed_bit_of_a_request_is_noticed(position in any::<proptest::sample::Index>(), bit in 0u8..8) {
        let authority = authority();
        let rng = SystemRandom::new();
        let csr = WorkloadKey::generate(&rng).unwrap().csr(&id("web")).unwrap();
        let mut der = pem::parse(&csr).unwrap().into_contents();
        let at = position.index(der.len());
        der[at] ^= 1 << bit;
        let changed = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der));
        // What still parses must still be signed by its own key, and never changes whom it is issued to.
        if let Ok(issued) = authority.sign_csr(&changed, &id("web"), noon(), MAX_WORKLOAD_VALIDITY, &rng) {
            prop_assert_eq!(issued.facts.uris, vec![id("web").to_string()]);
        }
    }

    #[test]
    fn lifetimes_stay_in_their_bounds(ask in 1u64..10_000_000, age in 0u64..300_000_000) {
        let authority = authority();
        let rng = SystemRandom::new();
        let csr = WorkloadKey::generate(&rng).unwrap().csr(&id("web")).unwrap();
        let now = noon() + Duration::from_secs(age);
        let facts = authority.sign_csr(&csr, &id("web"), now, Duration::from_secs(ask), &rng).unwrap().facts;
        prop_assert!(facts.lifetime() <= MAX_WORKLOAD_VALIDITY);
        prop_assert!(facts.not_after <= now + Duration::from_secs(ask));
        prop_assert!(facts.not_before <= now && now < facts.not_after);
        prop_assert!(facts.not_after <= authority.facts().not_after);
    }
}
