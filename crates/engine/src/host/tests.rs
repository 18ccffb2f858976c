//! Istio's forms of a service name, and agreement with a search of every domain.

use proptest::prelude::*;

use super::*;

fn table(hosts: &[(&str, &[&str])], ignore_port_in_host: bool) -> RouteIndex {
    let virtual_hosts = hosts
        .iter()
        .map(|(name, domains)| VirtualHost {
            name: (*name).into(),
            domains: domains.iter().map(|d| Str::from(*d)).collect(),
            routes: vec![],
            require_tls: false,
            include_attempt_count: true,
            request_headers: vec![],
            response_headers: vec![],
        })
        .collect();
    RouteIndex::new(Arc::new(RouteConfiguration {
        name: "8080".into(),
        virtual_hosts,
        ignore_port_in_host,
        on_demand: false,
        request_headers: vec![],
        response_headers: vec![],
    }))
}

fn found<'a>(index: &'a RouteIndex, host: &str) -> Option<&'a str> {
    index.find(host, &mut Trace::off()).map(|v| &*v.name)
}

#[test]
fn an_answer_that_decides_is_used() {
    let config = RouteConfiguration { on_demand: true, ..RouteConfiguration::clone(table(&[], true).config()) };
    let steps = crate::recency::Steps::default();
    let answers: Answers =
        ["a", "b"].map(|name| (Str::from(name), Answer { host: None, last_use: steps.name() })).into();
    let index = RouteIndex::with_answers(Arc::new(config), answers);
    let oldest = || index.answers().iter().min_by_key(|(_, answer)| answer.last_use.at()).map(|(name, _)| &**name);
    assert_eq!(oldest(), Some("a"));
    let _later = steps.name();
    assert_eq!(found(&index, "A:8080"), None);
    assert_eq!(oldest(), Some("b"));
}

#[test]
fn the_names_of_a_service() {
    let index = table(
        &[
            (
                "was",
                &[
                    "was-service",
                    "was-service.blog-system",
                    "was-service.blog-system.svc.cluster.local",
                    "was-service.blog-system.svc.cluster.local.",
                    "10.96.0.10",
                ],
            ),
            ("allow_any", &["*"]),
        ],
        true,
    );
    for host in ["was-service", "WAS-Service:9999", "10.96.0.10:8080", "was-service.blog-system.svc.cluster.local."] {
        assert_eq!(found(&index, host), Some("was"), "{host}");
    }
    for host in ["blog.jiminhome.shop", "was-service.other", "was-service.", "[::1]:80"] {
        assert_eq!(found(&index, host), Some("allow_any"), "{host}");
    }
}

#[test]
fn without_ignoring_the_port_it_counts() {
    let index = table(&[("a", &["a:80"]), ("b", &["a"])], false);
    assert_eq!(found(&index, "a:80"), Some("a"));
    assert_eq!(found(&index, "a"), Some("b"));
    assert_eq!(found(&index, "a:81"), None);
}

#[test]
fn a_wildcard_stands_for_something() {
    let index = table(&[("s", &["*.foo.com"]), ("long", &["*.a.foo.com"]), ("p", &["foo.*"])], true);
    assert_eq!(found(&index, ".foo.com"), None);
    assert_eq!(found(&index, "x.foo.com"), Some("s"));
    assert_eq!(found(&index, "x.a.foo.com"), Some("long"));
    assert_eq!(found(&index, "foo."), None);
    assert_eq!(found(&index, "foo.org"), Some("p"));
    assert_eq!(found(&index, "foo.foo.com"), Some("s"));
}

#[test]
fn ports_and_brackets() {
    for (authority, want) in
        [("a:80", "a"), ("a", "a"), ("[::1]", "[::1]"), ("[::1]:80", "[::1]"), (":80", ""), ("a:", "a")]
    {
        assert_eq!(without_port(authority), want);
    }
}

/// Every domain is looked at; the best kind wins, then the longest, then the first.
fn naive(hosts: &[Vec<String>], host: &str) -> Option<usize> {
    let host = host.to_ascii_lowercase();
    let rank = |domain: &str| -> Option<(u8, usize)> {
        if domain == "*" {
            Some((0, 0))
        } else if let Some(suffix) = domain.strip_prefix('*') {
            (host.len() > suffix.len() && host.ends_with(suffix)).then_some((2, suffix.len()))
        } else if let Some(prefix) = domain.strip_suffix('*') {
            (host.len() > prefix.len() && host.starts_with(prefix)).then_some((1, prefix.len()))
        } else {
            (domain == host).then_some((3, 0))
        }
    };
    let mut best: Option<((u8, usize), usize)> = None;
    for (at, domains) in hosts.iter().enumerate() {
        for r in domains.iter().filter_map(|d| rank(d)) {
            if best.is_none_or(|(b, _)| r > b) {
                best = Some((r, at));
            }
        }
    }
    best.map(|(_, at)| at)
}

proptest! {
    #[test]
    fn the_index_finds_what_a_search_finds(
        hosts in prop::collection::vec(prop::collection::vec(r"\*|\*[.ab]{1,4}|[ab][.ab]{0,3}\*|[ab.]{1,5}", 0..4), 0..6),
        host in "[abAB.]{1,6}",
    ) {
        let borrowed: Vec<Vec<&str>> = hosts.iter().map(|d| d.iter().map(String::as_str).collect()).collect();
        let names: Vec<String> = (0..hosts.len()).map(|i| i.to_string()).collect();
        let rows: Vec<(&str, &[&str])> = names.iter().map(String::as_str).zip(borrowed.iter().map(Vec::as_slice)).collect();
        let index = table(&rows, true);
        let want = naive(&hosts, &host).map(|at| at.to_string());
        prop_assert_eq!(found(&index, &host), want.as_deref());
    }
}
