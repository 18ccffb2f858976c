//! Host names with wildcards, and short names.

/// Whether a name starts with `*`.
pub(crate) fn is_wildcard(host: &str) -> bool {
    host.starts_with('*')
}

/// Whether two names, each of which may start with `*`, can mean the same host.
pub(crate) fn matches(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (Some(x), Some(y)) => x.ends_with(y) || y.ends_with(x),
        (Some(x), None) => b.ends_with(x),
        (None, Some(y)) => a.ends_with(y),
        (None, None) => a == b,
    }
}

/// Whether every host that `a` means is meant by `b` too.
pub(crate) fn is_subset(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (Some(x), Some(y)) => x.ends_with(y),
        (Some(_), None) => false,
        (None, Some(y)) => a.ends_with(y),
        (None, None) => a == b,
    }
}

/// A short name in its namespace; names with a dot and wildcards stay. Without a domain (`""`) only the namespace is added.
pub fn resolve(host: &str, namespace: &str, domain: &str) -> String {
    if host.is_empty() || host.contains('.') || is_wildcard(host) || namespace.is_empty() {
        return host.to_owned();
    }
    if domain.is_empty() { format!("{host}.{namespace}") } else { format!("{host}.{namespace}.svc.{domain}") }
}

/// The most specific of `candidates` that means `host`: itself, else the longest wildcard.
pub(crate) fn most_specific<'a, T>(host: &str, candidates: impl Iterator<Item = (&'a str, T)>) -> Option<(&'a str, T)> {
    let mut best: Option<(&'a str, T)> = None;
    for (candidate, value) in candidates {
        if candidate == host {
            return Some((candidate, value));
        }
        if is_wildcard(candidate)
            && is_subset(host, candidate)
            && best.as_ref().is_none_or(|(b, _)| candidate.len() > b.len())
        {
            best = Some((candidate, value));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (a, b, both, within) in [
            ("a.b", "a.b", true, true),
            ("a.b", "*.b", true, true),
            ("*.b", "a.b", true, false),
            ("*.a.b", "*.b", true, true),
            ("*.b", "*.a.b", true, false),
            ("*", "x", true, false),
            ("x", "*", true, true),
            ("b", "*.b", false, false),
        ] {
            assert_eq!((matches(a, b), is_subset(a, b)), (both, within), "{a} {b}");
        }
        assert_eq!(resolve("web", "ns", "cluster.local"), "web.ns.svc.cluster.local");
        assert_eq!(resolve("web", "ns", ""), "web.ns");
        assert_eq!(resolve("web.x", "ns", "cluster.local"), "web.x");
        assert_eq!(resolve("*", "ns", "cluster.local"), "*");
        let names = ["*", "*.a.b", "*.b", "c.b"];
        let best = |h| most_specific(h, names.iter().map(|n| (*n, ()))).map(|(n, ())| n);
        assert_eq!(best("x.a.b"), Some("*.a.b"));
        assert_eq!(best("c.b"), Some("c.b"));
        assert_eq!(best("q"), Some("*"));
    }
}
