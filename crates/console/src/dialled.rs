//! What clients dialled where no service was found for them: metrics do not tell, the access logs of their sidecars do.

use std::collections::{BTreeSet, HashMap};

use crate::access_line;
use crate::store::{Error, Millis, Store};

/// So many lines of the proxies of a namespace at most, the newest first.
const LOOKED_AT: usize = 2_000;
/// The container that writes them.
const PROXY: &str = "istio-proxy";

/// Addresses by who dialled them for which host.
#[derive(Debug, Default)]
pub(crate) struct Dialled(HashMap<(String, String), Vec<Call>>);

#[derive(Debug)]
struct Call {
    pod: String,
    address: String,
    port: String,
}

/// Whether the cluster stands for no service.
pub(crate) fn is_egress(name: &str) -> bool {
    matches!(name, "PassthroughCluster" | "BlackHoleCluster")
}

impl Dialled {
    /// Reads what the proxies of these namespaces wrote from `start` to `end`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn read(store: &Store, namespaces: BTreeSet<&str>, start: Millis, end: Millis) -> Result<Self, Error> {
        let micros = |millis: Millis| u64::try_from(millis).unwrap_or(0).saturating_mul(1000);
        let mut found = Self::default();
        for namespace in namespaces {
            let wanted = |of: &crate::store::logs::Source| of.namespace == namespace && of.container == PROXY;
            let lines = store.logs().lines(wanted, micros(start), micros(end).saturating_add(999), LOOKED_AT)?;
            for line in lines.iter().rev() {
                let Some(read) = access_line::read(&line.text).filter(|read| is_egress(&read.cluster)) else {
                    continue;
                };
                let Some(dialled) = read.dialled else { continue };
                let calls = found.0.entry((namespace.to_owned(), read.host)).or_default();
                if !calls.iter().any(|call| call.pod == line.source.pod) {
                    let (address, port) = (dialled.ip().to_string(), dialled.port().to_string());
                    calls.push(Call { pod: line.source.pod.clone(), address, port });
                }
            }
        }
        Ok(found)
    }

    /// Address and port that a workload dialled last for a host.
    pub(crate) fn of(&self, namespace: &str, workload: &str, host: &str) -> Option<(&str, &str)> {
        let calls = self.0.get(&(namespace.to_owned(), host.to_owned()))?;
        let is_of = |pod: &str| pod.strip_prefix(workload).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        calls.iter().find(|call| is_of(&call.pod)).map(|call| (call.address.as_str(), call.port.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::Dialled;
    use crate::store::Store;
    use crate::store::logs::{Line, Source};
    use crate::store::tests::forever;

    #[test]
    fn the_access_log_says_what_was_dialled() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), forever()).unwrap();
        let line = |cluster: &str, dialled: &str| {
            format!(
                "[2026-01-01T00:00:00.000Z] \"GET /api HTTP/1.1\" 200 - via_upstream - \"-\" 0 5 1 1 \"-\" \"curl\" \"id\" \"blog.example\" \
                 \"{dialled}\" {cluster} 10.0.0.7:40000 {dialled} 10.0.0.7:39000 - allow_any"
            )
        };
        for (at, pod, text) in [
            (1, "web-7c-x", line("PassthroughCluster", "10.96.0.8:8080")),
            (2, "web-7c-x", line("PassthroughCluster", "10.96.0.9:8080")),
            (3, "web-7c-x", line("outbound|80||other.shop.svc.cluster.local", "10.96.0.1:80")),
            (4, "webhook-1-x", line("PassthroughCluster", "10.96.0.2:80")),
        ] {
            let source = Source { namespace: "shop".into(), pod: pod.into(), container: "istio-proxy".into() };
            store.logs().append(Line { at: at * 1000, source, text });
        }
        let read = |start, end| Dialled::read(&store, ["shop"].into(), start, end).unwrap();
        let found = read(0, 9);
        assert_eq!(found.of("shop", "web", "blog.example"), Some(("10.96.0.9", "8080")), "the last");
        assert_eq!(found.of("shop", "webhook", "blog.example"), Some(("10.96.0.2", "80")));
        assert_eq!((found.of("shop", "web", "other"), found.of("blog", "web", "blog.example")), (None, None));
        assert_eq!(read(0, 1).of("shop", "web", "blog.example"), Some(("10.96.0.8", "8080")));
    }
}
