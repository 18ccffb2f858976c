//! Envoy's own placements, fairness, spill-over and panic.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Version};
use proptest::prelude::*;

use super::*;
use crate::facts::{Connection, Metadata, Request};
use crate::ir::{HashKey, HashPolicy};

fn host(key: &str) -> Host {
    Host { key: key.into(), weight: 1.0, priority: 0, locality: 0, locality_weight: 1, healthy: true }
}

fn was() -> Vec<Host> {
    ["10.77.0.21:8080", "10.77.0.22:8080", "10.77.0.23:8080"].map(host).into()
}

fn pick_with(balancer: &Balancer, hash: Option<u64>, counter: u64, mut random: u64, avoid: &[usize]) -> Option<usize> {
    let mut numbers = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random
    };
    balancer.pick(&mut Pick {
        hash,
        counter,
        random: &mut numbers,
        active: &|_| 0,
        avoid,
        reselections: 5,
        avoid_priorities: &[],
    })
}

const RING: LbPolicy = LbPolicy::RingHash { min_size: 1024 };

fn ask<T>(lines: &[(&'static str, &str)], remote: &str, f: impl FnOnce(&Request<'_>) -> T) -> T {
    let address: SocketAddr = "10.77.0.11:40000".parse().unwrap();
    let connection = Connection::plain("10.96.0.10:8080".parse().unwrap(), address);
    let headers: HeaderMap =
        lines.iter().map(|(n, v)| (http::HeaderName::from_static(n), v.parse::<HeaderValue>().unwrap())).collect();
    f(&Request {
        method: "GET",
        scheme: "http",
        authority: "was-service",
        path: "/?user=q",
        headers: &headers,
        connection: &connection,
        remote_address: remote.parse().unwrap(),
        metadata: Metadata::EMPTY,
        version: Version::HTTP_11,
    })
}

fn by(key: HashKey) -> Vec<HashPolicy> {
    vec![HashPolicy { key, terminal: false }]
}

#[test]
fn the_ring_places_headers_as_envoy() {
    let balancer = Balancer::new(RING, 0, false, &was());
    let policies = by(HashKey::Header("x-user".into()));
    let placed: Vec<usize> = (1..=12)
        .map(|n| {
            let hash = ask(&[("x-user", &format!("k{n}"))], "10.0.0.1:1", |r| hash_key(&policies, r).hash);
            21 + pick_with(&balancer, hash, 0, 1, &[]).unwrap()
        })
        .collect();
    assert_eq!(placed, [23, 21, 22, 23, 23, 22, 22, 22, 22, 21, 21, 21]);
}

#[test]
fn the_ring_places_addresses_as_envoy() {
    let balancer = Balancer::new(RING, 0, false, &was());
    let policies = by(HashKey::SourceIp);
    let placed: Vec<usize> = (1..=5)
        .map(|n| {
            let hash = ask(&[], &format!("1.1.1.{n}:0"), |r| hash_key(&policies, r).hash);
            21 + pick_with(&balancer, hash, 0, 1, &[]).unwrap()
        })
        .collect();
    assert_eq!(placed, [22, 23, 21, 21, 22]);
}

#[test]
fn cookies_are_read_or_made() {
    let cookie = |ttl| by(HashKey::Cookie { name: "sess".into(), path: "/app".into(), ttl, attributes: Vec::new() });
    let of = |text: &str, policies: &[HashPolicy]| ask(&[("cookie", text)], "10.0.0.1:1", |r| hash_key(policies, r));
    let with_ttl = cookie(Some(Duration::from_secs(30)));
    let abc = HashOutcome { hash: Some(xxhash64(b"abc")), set_cookie: None };
    for text in ["sess=abc", "sess=abc; z=1", "a=1; sess=abc", "sess=\"abc\""] {
        assert_eq!(of(text, &with_ttl), abc, "{text}");
    }
    let made = of("a=1", &with_ttl);
    let text = made.set_cookie.unwrap();
    let form = regex::Regex::new("^sess=\"([0-9a-f]{16})\"; Max-Age=30; Path=/app; HttpOnly$").unwrap();
    let value = form.captures(text.to_str().unwrap()).unwrap()[1].to_owned();
    assert_eq!(made.hash, Some(xxhash64(value.as_bytes())));
    let session = of("a=1", &cookie(Some(Duration::ZERO))).set_cookie.unwrap();
    assert!(!session.to_str().unwrap().contains("Max-Age"));
    assert_eq!(of("a=1", &cookie(None)), HashOutcome::default());
    let attributes = vec![("SameSite".into(), "Strict".into()), ("Secure".into(), "".into())];
    let ttl = Some(Duration::from_secs(30));
    let more = by(HashKey::Cookie { name: "sess".into(), path: "/app".into(), ttl, attributes });
    let text = of("a=1", &more).set_cookie.unwrap();
    assert!(text.to_str().unwrap().ends_with("; Max-Age=30; Path=/app; SameSite=Strict; Secure; HttpOnly"), "{text:?}");
}

#[test]
fn queries_and_several_policies() {
    let query = by(HashKey::Query("user".into()));
    let q = xxhash64(b"q");
    ask(&[("x-a", "1")], "10.0.0.1:1", |r| {
        assert_eq!(hash_key(&query, r).hash, Some(q));
        let both = [query.clone(), by(HashKey::Header("x-a".into()))].concat();
        assert_eq!(hash_key(&both, r).hash, Some(q.rotate_left(1) ^ xxhash64(b"1")));
        let terminal = [vec![HashPolicy { terminal: true, ..query[0].clone() }], by(HashKey::SourceIp)].concat();
        assert_eq!(hash_key(&terminal, r).hash, Some(q));
    });
}

#[test]
fn turns_are_strict_and_weighted_turns_are_spread() {
    let balancer = Balancer::new(LbPolicy::RoundRobin, 0, false, &was());
    let order: Vec<_> = (7..13).map(|n| pick_with(&balancer, None, n, 1, &[]).unwrap()).collect();
    assert_eq!(order, [1, 2, 0, 1, 2, 0]);
    let mut hosts = was();
    hosts[0].weight = 2.0;
    let balancer = Balancer::new(LbPolicy::RoundRobin, 0, false, &hosts);
    let order: Vec<_> = (0..4).map(|n| pick_with(&balancer, None, n, 1, &[]).unwrap()).collect();
    assert_eq!(order, [0, 0, 1, 2]);
}

#[test]
fn the_less_busy_of_two() {
    let balancer = Balancer::new(LbPolicy::LeastRequest { choices: 2 }, 0, false, &was());
    let mut numbers = [0_u64, 2].into_iter().cycle();
    let chosen = balancer.pick(&mut Pick {
        hash: None,
        counter: 0,
        random: &mut || numbers.next().unwrap(),
        active: &|host| [5, 0, 3][host],
        avoid: &[],
        reselections: 0,
        avoid_priorities: &[],
    });
    assert_eq!(chosen, Some(2));
}

#[test]
fn unhealthy_endpoints_are_left_out_until_panic() {
    let mut hosts = was();
    hosts.iter_mut().for_each(|h| h.healthy = false);
    assert_eq!(pick_with(&Balancer::new(LbPolicy::RoundRobin, 0, false, &hosts), None, 1, 1, &[]), None);
    assert!(Balancer::new(LbPolicy::RoundRobin, 50, false, &hosts).is_usable());
    hosts[1].healthy = true;
    let calm = Balancer::new(LbPolicy::RoundRobin, 0, false, &hosts);
    assert!((0..9).all(|n| pick_with(&calm, None, n, n, &[]) == Some(1)));
    let panicking = Balancer::new(LbPolicy::RoundRobin, 50, false, &hosts);
    assert_eq!((0..3).map(|n| pick_with(&panicking, None, n, n, &[]).unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(pick_with(&Balancer::new(RING, 0, false, &[]), Some(1), 0, 1, &[]), None);
}

#[test]
fn load_spills_to_the_next_priority() {
    let mut hosts: Vec<Host> = (0..4).map(|n| Host { priority: n / 2, ..host(&format!("h{n}")) }).collect();
    let share_of_first = |hosts: &[Host]| {
        let balancer = Balancer::new(LbPolicy::Random, 0, false, hosts);
        (0..2000).filter(|n| pick_with(&balancer, None, 0, *n * 7919, &[]).unwrap() < 2).count()
    };
    assert_eq!(share_of_first(&hosts), 2000);
    hosts[0].healthy = false;
    let spilled = share_of_first(&hosts);
    assert!((1300..1500).contains(&spilled), "70 % of 2000, not {spilled}");
    hosts[1].healthy = false;
    assert_eq!(share_of_first(&hosts), 0);
    let balancer = Balancer::new(LbPolicy::Random, 0, false, &hosts);
    assert_eq!(balancer.priority_of(3), Some(1));
}

#[test]
fn localities_by_weight() {
    let mut hosts: Vec<Host> = (0..4).map(|n| Host { locality: n / 2, ..host(&format!("h{n}")) }).collect();
    hosts.iter_mut().take(2).for_each(|h| h.locality_weight = 80);
    hosts.iter_mut().skip(2).for_each(|h| h.locality_weight = 20);
    let balancer = Balancer::new(LbPolicy::Random, 0, true, &hosts);
    let first = (0..2000).filter(|n| pick_with(&balancer, None, 0, *n * 7919, &[]).unwrap() < 2).count();
    assert!((1500..1700).contains(&first), "80 % of 2000, not {first}");
}

#[test]
fn slow_start_ramps() {
    let ramp = SlowStart { window: Duration::from_secs(100), aggression: 1.0, min_weight_percent: 10.0 };
    let at = |s| slow_start_factor(&ramp, Duration::from_secs(s));
    assert_eq!((at(0), at(50), at(100)), (0.1, 0.5, 1.0));
}

#[test]
fn maglev_fills_its_table_evenly() {
    let balancer = Balancer::new(LbPolicy::Maglev { table_size: 65537 }, 0, false, &was());
    let mut hits = [0; 3];
    for slot in 0..65537 {
        hits[pick_with(&balancer, Some(slot), 0, 1, &[]).unwrap()] += 1;
    }
    assert!(hits.iter().all(|n| (21840..21850).contains(n)), "{hits:?}");
}

proptest! {
    #[test]
    fn previous_hosts_are_avoided_while_there_are_others(n in 2usize..6, avoid in 0usize..6, counter: u64, random: u64) {
        let hosts: Vec<Host> = (0..n).map(|i| host(&format!("10.0.0.{i}:80"))).collect();
        let avoid = [avoid % n];
        let balancer = Balancer::new(LbPolicy::RoundRobin, 0, false, &hosts);
        prop_assert_ne!(pick_with(&balancer, None, counter, random, &avoid), Some(avoid[0]));
    }

    #[test]
    fn losing_a_host_moves_only_its_keys(keys in prop::collection::vec(any::<u64>(), 1..40), gone in 0usize..5) {
        let hosts: Vec<Host> = (0..5).map(|i| host(&format!("10.0.0.{i}:80"))).collect();
        let mut fewer = hosts.clone();
        fewer[gone].healthy = false;
        let (before, after) = (Balancer::new(LbPolicy::RingHash { min_size: 1000 }, 0, false, &hosts), Balancer::new(LbPolicy::RingHash { min_size: 800 }, 0, false, &fewer));
        for key in keys {
            let old = pick_with(&before, Some(key), 0, 1, &[]).unwrap();
            if old != gone {
                prop_assert_eq!(pick_with(&after, Some(key), 0, 1, &[]), Some(old));
            }
        }
    }

    #[test]
    fn weighted_turns_are_in_proportion(weights in prop::collection::vec(1u32..6, 1..5)) {
        let hosts: Vec<Host> = weights.iter().enumerate().map(|(i, w)| Host { weight: f64::from(*w), ..host(&i.to_string()) }).collect();
        let balancer = Balancer::new(LbPolicy::RoundRobin, 0, false, &hosts);
        let mut hits = vec![0u32; weights.len()];
        let total: u32 = weights.iter().sum();
        for n in 0..u64::from(total) * 60 {
            hits[pick_with(&balancer, None, n, 1, &[]).unwrap()] += 1;
        }
        prop_assert_eq!(hits, weights.iter().map(|w| w * 60).collect::<Vec<_>>());
    }

    #[test]
    fn never_an_unhealthy_host_without_panic(health in prop::collection::vec((any::<bool>(), 0u32..3, 0usize..2), 0..8), weighted: bool, random: u64, kind in 0usize..5) {
        let hosts: Vec<Host> = health.iter().enumerate().map(|(i, (healthy, priority, locality))| Host { healthy: *healthy, priority: *priority, locality: *locality, ..host(&i.to_string()) }).collect();
        let policy = [LbPolicy::RoundRobin, LbPolicy::LeastRequest { choices: 2 }, LbPolicy::Random, LbPolicy::RingHash { min_size: 64 }, LbPolicy::Maglev { table_size: 251 }][kind];
        let balancer = Balancer::new(policy, 0, weighted, &hosts);
        match pick_with(&balancer, Some(random), random, random, &[]) {
            Some(at) => prop_assert!(hosts[at].healthy),
            None => prop_assert!(hosts.iter().all(|h| !h.healthy)),
        }
    }
}
