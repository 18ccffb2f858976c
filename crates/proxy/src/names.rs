//! Addresses of hosts that are resolved when somebody asks for them, kept by one worker.
//!
//! The number of hosts is limited, for a client says their names; the one that was asked for least recently goes first.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// So many hosts are kept, as by Envoy.
const MOST: usize = 1024;
/// Addresses are asked for anew after so long; while that fails the last ones stay.
const FRESH: Duration = Duration::from_secs(60);
/// How long an answer is awaited.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest name of DNS.
const LONGEST: usize = 253;

/// Hosts that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: RefCell<HashMap<Box<str>, Known>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    address: IpAddr,
    asked: Instant,
    used: Instant,
}

impl Names {
    /// An address of `host`, which may be one itself; `None`: it has none.
    pub(crate) async fn resolve(&self, host: &str, port: u16) -> Option<SocketAddr> {
        let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = literal.parse::<IpAddr>() {
            return Some(SocketAddr::new(address, port));
        }
        if host.is_empty() || host.len() > LONGEST {
            return None;
        }
        let key = host.to_ascii_lowercase().into_boxed_str();
        let now = Instant::now();
        let known = self.known.borrow_mut().get_mut(&key).map(|known| {
            known.used = now;
            *known
        });
        if let Some(known) = known.filter(|k| now.saturating_duration_since(k.asked) < FRESH) {
            return Some(SocketAddr::new(known.address, port));
        }
        let found = match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await {
            Ok(Ok(found)) => first(found),
            Ok(Err(_)) | Err(_) => None,
        };
        let address = found.or(known.map(|k| k.address))?;
        self.keep(key, Known { address, asked: now, used: now });
        Some(SocketAddr::new(address, port))
    }

    fn keep(&self, key: Box<str>, entry: Known) {
        let mut known = self.known.borrow_mut();
        if known.len() >= MOST && !known.contains_key(&key) {
            let oldest = known.iter().min_by_key(|(_, k)| k.used).map(|(name, _)| name.clone());
            oldest.and_then(|name| known.remove(&name));
        }
        known.insert(key, entry);
    }
}

/// IPv4 first, which every pod can reach.
fn first(found: impl Iterator<Item = SocketAddr>) -> Option<IpAddr> {
    let all: Vec<IpAddr> = found.map(|a| a.ip()).collect();
    all.iter().find(|a| a.is_ipv4()).or(all.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_need_no_resolver_and_too_long_names_are_not_asked_for() {
        let names = Names::default();
        assert_eq!(names.resolve("127.0.0.1", 80).await, Some("127.0.0.1:80".parse().unwrap()));
        assert_eq!(names.resolve("[::1]", 80).await, Some("[::1]:80".parse().unwrap()));
        assert_eq!(names.resolve("", 80).await, None);
        assert_eq!(names.resolve(&"a.".repeat(200), 80).await, None);
        assert!(names.known.borrow().is_empty());
        assert_eq!(names.resolve("LocalHost", 80).await, Some("127.0.0.1:80".parse().unwrap()));
        assert_eq!(names.known.borrow().keys().next().map(|k| &**k), Some("localhost"));
    }

    #[test]
    fn the_host_that_was_asked_for_least_recently_goes_first() {
        let names = Names::default();
        let start = Instant::now();
        for n in 0..u32::try_from(MOST).unwrap() + 1 {
            // The first is used again, later than all others but the last.
            let used = start + Duration::from_secs(if n == 0 { 5000 } else { u64::from(n) });
            let entry = Known { address: [127, 0, 0, 1].into(), asked: start, used };
            names.keep(n.to_string().into_boxed_str(), entry);
        }
        let known = names.known.borrow();
        assert_eq!(known.len(), MOST);
        assert!(known.contains_key("0") && !known.contains_key("1") && known.contains_key("1024"));
    }
}
