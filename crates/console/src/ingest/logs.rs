//! Follows the log of every container of pods in the mesh, and of the system's own.
//!
//! The kubelet's time before each line is the line's time. After a break it goes on behind the newest line that is known.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use futures_util::{AsyncBufReadExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client};
use tokio::task::{AbortHandle, JoinSet};

use crate::store::Store;
use crate::store::logs::{Line, Source};
use crate::world::World;

/// Containers that are followed at most.
const MOST: usize = 500;
/// A log that ends is asked for again after this, as long as its container runs.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(1);
/// Namespace of the system.
const SYSTEM: &str = "istio-system";

/// Follows until the program ends.
pub async fn run(client: Client, world: World, store: Store) {
    let mut changes = world.changes();
    let mut tasks: JoinSet<()> = JoinSet::new();
    let mut running: HashMap<Source, AbortHandle> = HashMap::new();
    loop {
        changes.mark_unchanged();
        let wanted: HashSet<Source> = world.of("", "Pod").iter().flat_map(|pod| containers(pod)).take(MOST).collect();
        running.retain(|source, task| {
            let stays = wanted.contains(source);
            if !stays {
                task.abort();
            }
            stays
        });
        for source in wanted {
            if let Entry::Vacant(free) = running.entry(source) {
                let task = tasks.spawn(follow(client.clone(), store.clone(), free.key().clone()));
                free.insert(task);
            }
        }
        while tasks.try_join_next().is_some() {}
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// The containers of a pod whose logs are of use here: of the mesh and of the system.
fn containers(pod: &serde_json::Value) -> Vec<Source> {
    let text = |path: &str| pod.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let all: Vec<(String, bool)> = statuses
        .into_iter()
        .filter_map(|path| pod.pointer(path)?.as_array())
        .flatten()
        .map(|status| {
            let name = status.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
            (name.to_owned(), status.pointer("/state/running").is_some())
        })
        .collect();
    let proxies = pod.pointer("/metadata/annotations/prometheus.io~1scrape").is_some();
    let meshed = all.iter().any(|(name, _)| name == "istio-proxy") || proxies;
    // Its own lines about lines would never end.
    let own = text("/metadata/labels/app") == "console" && namespace == SYSTEM;
    if !meshed && namespace != SYSTEM || own {
        return Vec::new();
    }
    let running = all.into_iter().filter(|(_, running)| *running);
    running.map(|(container, _)| Source { namespace: namespace.clone(), pod: name.clone(), container }).collect()
}

async fn follow(client: Client, store: Store, source: Source) {
    let api: Api<Pod> = Api::namespaced(client, &source.namespace);
    loop {
        let since =
            store.logs().newest(&source).and_then(|at| jiff::Timestamp::from_microsecond(at.cast_signed()).ok());
        let parameters = LogParams {
            container: Some(source.container.clone()),
            follow: true,
            timestamps: true,
            since_time: since,
            ..LogParams::default()
        };
        match api.log_stream(&source.pod, &parameters).await {
            Ok(stream) => {
                let known = store.logs().newest(&source).unwrap_or(0);
                let mut lines = stream.lines();
                // A break is no news: what is missing comes with the next try.
                while let Ok(Some(line)) = lines.try_next().await {
                    if let Some((at, text)) = timed(&line).filter(|(at, _)| *at > known) {
                        store.logs().append(Line { at, source: source.clone(), text: text.to_owned() });
                    }
                }
            }
            Err(problem) => tracing::debug!(%problem, pod = %source.pod, container = %source.container, "no log"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Microseconds since 1970 and the rest of a line.
fn timed(line: &str) -> Option<(u64, &str)> {
    let (time, text) = line.split_once(' ').unwrap_or((line, ""));
    let at = time.parse::<jiff::Timestamp>().ok()?.as_microsecond();
    Some((u64::try_from(at).ok()?, text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{containers, timed};

    #[test]
    fn lines_begin_with_their_time() {
        assert_eq!(timed("2025-11-24T16:00:00.000001Z GET / 200"), Some((1_764_000_000_000_001, "GET / 200")));
        assert_eq!(timed("2025-11-24T16:00:00Z"), Some((1_764_000_000_000_000, "")));
        assert_eq!(timed("no time"), None);
    }

    #[test]
    fn containers_of_the_mesh_and_of_the_system_are_followed() {
        let pod = |namespace: &str, app: &str, scrape: Option<&str>| {
            let running = json!({"running": {}});
            let statuses = json!([{"name": "a", "state": running}, {"name": "b", "state": {"waiting": {}}}]);
            let annotations = scrape.map_or(json!({}), |v| json!({"prometheus.io/scrape": v}));
            let pod = json!({
                "metadata": {"namespace": namespace, "name": "p", "labels": {"app": app}, "annotations": annotations},
                "status": {"containerStatuses": statuses},
            });
            containers(&pod).iter().map(|source| source.container.clone()).collect::<Vec<_>>()
        };
        assert_eq!(pod("blog", "web", Some("true")), ["a"]);
        assert_eq!(pod("istio-system", "istiod", None), ["a"]);
        assert!(pod("blog", "mysql", None).is_empty());
        assert!(pod("istio-system", "console", Some("true")).is_empty());
    }
}
