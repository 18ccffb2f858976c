//! Values of every type of `engine::ir`, made from random bytes: all zero bytes make the simplest value, so that
//! shrinking the bytes shrinks the value. Only what two proxies could not tell apart anyway is kept in one form.

mod clusters;
mod listeners;
mod routes;
mod security;
mod workload;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use proptest::prelude::{Strategy, any};
use varka_engine::ir::{HeaderMatch, HeaderMatcher, Regex, Resource, Str, StringMatch};

use clusters::{assignment, cluster, secret};
pub(crate) use listeners::listener;
use routes::routes;

/// A value of a type, from random bytes.
pub(crate) fn generated<T: std::fmt::Debug>(make: fn(&mut Gen) -> T) -> impl Strategy<Value = T> {
    proptest::collection::vec(any::<u8>(), 0..1500).prop_map(move |bytes| make(&mut Gen { bytes, next: 0 }))
}

/// A resource of any type.
pub(crate) fn resource(g: &mut Gen) -> Resource {
    match g.pick(6) {
        0 => Resource::Listener(Arc::new(listener(g))),
        1 => Resource::Route(Arc::new(routes(g))),
        2 => Resource::Cluster(Arc::new(cluster(g))),
        3 => Resource::Endpoints(Arc::new(assignment(g))),
        4 => workload::workload(g),
        _ => Resource::Secret(Arc::new(secret(g))),
    }
}

/// Random decisions.
#[derive(Debug)]
pub(crate) struct Gen {
    bytes: Vec<u8>,
    next: usize,
}

impl Gen {
    fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.next).copied().unwrap_or_default();
        self.next += 1;
        byte
    }

    fn pick(&mut self, n: u8) -> u8 {
        self.byte() % n
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()].clone()
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    fn opt<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| make(self))
    }

    fn vec<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.pick(3)).map(|_| make(self)).collect()
    }

    /// At least one.
    fn vec1<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..=self.pick(2)).map(|_| make(self)).collect()
    }

    fn text(&mut self) -> Str {
        self.of(&["a", "outbound|8080||was.blog-system.svc.cluster.local", "é ü", "x-y", "%REQ(:PATH)%", "B", "0"])
            .into()
    }

    /// Maybe empty.
    fn any_text(&mut self) -> Str {
        if self.flag() { self.text() } else { Str::default() }
    }

    fn millionths(&mut self) -> u32 {
        self.u32() % 1_000_001
    }

    fn duration(&mut self) -> Duration {
        Duration::new(u64::from(self.u16()), u32::from(self.u16()) * 10_000)
    }

    /// Not zero, where zero says "none".
    fn span(&mut self) -> Duration {
        self.duration() + Duration::from_millis(1)
    }

    fn ip(&mut self) -> IpAddr {
        if self.flag() {
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, self.u16(), self.u16()).into()
        } else {
            Ipv4Addr::from(self.u32()).into()
        }
    }

    fn socket(&mut self) -> SocketAddr {
        SocketAddr::new(self.ip(), self.u16())
    }

    fn net(&mut self) -> IpNet {
        let ip = self.ip();
        let longest = if ip.is_ipv4() { 33 } else { 129 };
        IpNet::new(ip, self.pick(longest)).unwrap()
    }

    fn host(&mut self) -> Str {
        self.of(&["db.example.com", "was-service", "localhost"]).into()
    }

    fn regex(&mut self) -> Regex {
        Regex::new(self.of(&["a", ".*/ns/x/.*", "a|b", "(x+)y", r"\d{3}"])).unwrap()
    }
}

// --- matchers

fn string_match(g: &mut Gen) -> StringMatch {
    let kind = g.pick(5);
    if kind == 4 {
        return StringMatch::Regex(g.regex());
    }
    let (value, ignore_case) = (g.any_text(), g.flag());
    match kind {
        0 => StringMatch::Exact { value, ignore_case },
        1 => StringMatch::Prefix { value, ignore_case },
        2 => StringMatch::Suffix { value, ignore_case },
        _ => StringMatch::Contains { value, ignore_case },
    }
}

fn header_matcher(g: &mut Gen) -> HeaderMatcher {
    HeaderMatcher {
        name: g.of(&[":authority", ":path", "x-user", "cookie"]).into(),
        matches: match g.pick(3) {
            0 => HeaderMatch::Present(g.flag()),
            1 => HeaderMatch::Value(string_match(g)),
            _ => HeaderMatch::Range { start: i64::from(g.u32()) - 7, end: i64::from(g.u32()) },
        },
        invert: g.flag(),
        treat_missing_as_empty: g.flag(),
    }
}

fn template(g: &mut Gen) -> Str {
    g.of(&["/a/{*}", "/{**}", "/a/{*}/b/{**}/c", "/"]).into()
}
