//! When to ask for the next certificate.

use std::time::{Duration, SystemTime};

use crate::CertificateFacts;

/// Earliest share of a certificate's life at which it is renewed; the latest is one half.
const EARLIEST: f64 = 0.40;
/// Latest share.
const LATEST: f64 = 0.50;

/// When to renew: between 40 % and 50 % of the certificate's life, so that more than half of it is left for trying again.
/// `jitter` in `0.0..=1.0` spreads proxies that started together; what lies outside is clamped.
pub fn renew_at(facts: &CertificateFacts, jitter: f64) -> SystemTime {
    let jitter = if jitter.is_nan() { 0.0 } else { jitter.clamp(0.0, 1.0) };
    facts.not_before + facts.lifetime().mul_f64(LATEST - (LATEST - EARLIEST) * jitter)
}

/// How long to wait from `now` until [`renew_at`]; zero if that is past.
pub fn wait(facts: &CertificateFacts, now: SystemTime, jitter: f64) -> Duration {
    renew_at(facts, jitter).duration_since(now).unwrap_or_default()
}

/// How long to wait after the `failures`-th failed attempt in a row: 1 s doubling to 60 s, at random in its upper half by `jitter`.
pub fn back_off(failures: u32, jitter: f64) -> Duration {
    let jitter = if jitter.is_nan() { 0.0 } else { jitter.clamp(0.0, 1.0) };
    let seconds = 1u64 << failures.saturating_sub(1).min(6);
    Duration::from_secs(seconds.min(60)).mul_f64(0.5 + 0.5 * jitter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts(lifetime: u64) -> CertificateFacts {
        let not_before = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        CertificateFacts {
            serial: String::new(),
            not_before,
            not_after: not_before + Duration::from_secs(lifetime),
            subject: String::new(),
            uris: Vec::new(),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            sha256: String::new(),
            is_ca: false,
            public_key_info: Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn before_half_life_and_never_at_once(lifetime in 10u64..100_000_000, jitter in proptest::num::f64::ANY) {
            let facts = facts(lifetime);
            let at = renew_at(&facts, jitter);
            prop_assert!(at > facts.not_before);
            prop_assert!(at.duration_since(facts.not_before).unwrap() * 2 <= facts.lifetime());
            prop_assert_eq!(wait(&facts, facts.not_after, jitter), Duration::ZERO);
        }

        #[test]
        fn back_off_is_bounded(failures in any::<u32>(), jitter in proptest::num::f64::ANY) {
            let wait = back_off(failures, jitter);
            prop_assert!(wait >= Duration::from_millis(500) && wait <= Duration::from_secs(60));
        }
    }
}
