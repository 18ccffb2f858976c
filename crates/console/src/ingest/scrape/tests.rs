use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::{Scraper, Target};
use crate::store::Store;
use crate::store::metrics::{STALE, Sample};
use crate::store::tests::forever;

/// A clock on which every look is a millisecond later.
fn tick() -> i64 {
    static NOW: AtomicI64 = AtomicI64::new(1);
    NOW.fetch_add(1, Relaxed)
}

fn pod(port: u16, change: serde_json::Value) -> Pod {
    let mut pod = json!({
        "metadata": {
            "name": "web-1", "namespace": "blog-system", "uid": "u",
            "labels": {"app": "web", "app.kubernetes.io/name": "web"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": port.to_string(), "prometheus.io/path": "/stats/prometheus"},
        },
        "status": {"podIP": "127.0.0.1", "phase": "Running"},
    });
    json_patch::merge(&mut pod, &change);
    serde_json::from_value(pod).unwrap()
}

#[test]
fn pods_that_offer_metrics_are_asked() {
    let target = Target::of(&pod(15020, json!({}))).unwrap();
    assert_eq!((target.address.to_string().as_str(), target.path.as_str()), ("127.0.0.1:15020", "/stats/prometheus"));
    let labels = target.labels([("__name__".into(), "x".into()), ("app".into(), "other".into())]);
    let all: Vec<_> = labels.iter().map(|l| format!("{}={}", l.name, l.value)).collect();
    assert_eq!(
        all,
        [
            "__name__=x",
            "app=web",
            "app_kubernetes_io_name=web",
            "exported_app=other",
            "instance=127.0.0.1:15020",
            "job=kubernetes-pods",
            "namespace=blog-system",
            "pod=web-1",
        ]
    );
    assert!(!target.ending);
    let ending = pod(15020, json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    assert!(Target::of(&ending).unwrap().ending);
    for none in [
        json!({"metadata": {"annotations": {"prometheus.io/scrape": "false"}}}),
        json!({"metadata": {"annotations": {"prometheus.io/port": null}}}),
        json!({"status": {"podIP": null}}),
        json!({"status": {"phase": "Succeeded"}}),
    ] {
        assert_eq!(Target::of(&pod(15020, none.clone())), None, "{none}");
    }
}

/// A server whose answer can be changed, and its port.
async fn serve(text: &Arc<Mutex<String>>) -> (tokio::task::JoinHandle<()>, u16) {
    let answer = Arc::clone(text);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let app = Router::new().route("/stats/prometheus", get(move || async move { answer.lock().unwrap().clone() }));
        axum::serve(listener, app).await.unwrap();
    });
    (server, port)
}

/// A sidecar counts anew after it was started again, whether or not it was asked while it was away.
#[tokio::test]
async fn a_counter_that_begins_anew_was_zero() {
    let said = |start: i64, value: u32| {
        format!(
            "istio_agent_process_start_time_seconds 0.{start:03}\nistio_requests_total {value}\nown_total {value}\n"
        )
    };
    let base = tick() + 3;
    let text = Arc::new(Mutex::new(said(base, 100)));
    let (server, port) = serve(&text).await;
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), forever()).unwrap();
    let target = Target::of(&pod(port, json!({}))).unwrap();
    let mut scraper = Scraper::new(store.clone(), Arc::default(), tick);
    let values = |name: &str| -> Vec<f64> {
        let series = &store.metrics().select(&[("__name__", name)], |_| true)[0];
        let samples = store.metrics().samples(series, 0, i64::MAX).unwrap();
        let mut values: Vec<f64> =
            samples.iter().map(|s| if s.value.to_bits() == STALE.to_bits() { -1.0 } else { s.value }).collect();
        values.dedup();
        values
    };
    while tick() < base + 3 {}
    scraper.once(&target).await;
    scraper.once(&target).await;
    assert_eq!(values("istio_requests_total"), [0.0, 100.0]);
    let start = tick();
    while tick() < start + 3 {}
    *text.lock().unwrap() = said(start, 150);
    scraper.once(&target).await;
    assert_eq!(values("istio_requests_total"), [0.0, 100.0, 0.0, 150.0]);
    assert_eq!(values("own_total"), [100.0, 150.0], "the application's says nothing of its start");
    scraper.gone(tick());
    scraper.once(&target).await;
    assert_eq!(
        values("istio_requests_total"),
        [0.0, 100.0, 0.0, 150.0, -1.0, 150.0],
        "it did not answer once, no more"
    );
    let start = tick();
    while tick() < start + 3 {}
    scraper.gone(tick());
    *text.lock().unwrap() = said(start, 200);
    scraper.once(&target).await;
    scraper.once(&target).await;
    assert_eq!(values("istio_requests_total"), [0.0, 100.0, 0.0, 150.0, -1.0, 150.0, -1.0, 0.0, 200.0]);
    server.abort();
}

#[tokio::test]
async fn what_is_answered_is_stored_and_what_is_missing_ends() {
    let text = Arc::new(Mutex::new("# TYPE r counter\nr{code=\"200\"} 3\nr{code=\"503\"} 1\n".to_owned()));
    let (server, port) = serve(&text).await;
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), forever()).unwrap();
    let target = Target::of(&pod(port, json!({}))).unwrap();
    let mut scraper = Scraper::new(store.clone(), Arc::default(), tick);
    let last = |name: &str, code: &str| {
        let keep = |l: &crate::store::metrics::Labels| l.get("code") == code;
        let found = store.metrics().select(&[("__name__", name), ("pod", "web-1")], keep);
        assert_eq!(found.len(), 1, "{name} {code}");
        found[0].last().map(|Sample { value, .. }| value)
    };
    scraper.once(&target).await;
    assert_eq!((last("r", "200"), last("r", "503"), last("up", "")), (Some(3.0), Some(1.0), Some(1.0)));
    assert_eq!(scraper.total.load(Relaxed), 2);

    *text.lock().unwrap() = "r{code=\"200\"} 5\nnew_total 7\n".to_owned();
    scraper.once(&target).await;
    assert_eq!((last("r", "200"), last("r", "503").map(f64::to_bits)), (Some(5.0), Some(STALE.to_bits())));

    let new = &store.metrics().select(&[("__name__", "new_total")], |_| true)[0];
    let values: Vec<_> = store.metrics().samples(new, 0, i64::MAX).unwrap().iter().map(|s| s.value).collect();
    assert_eq!(values, [0.0, 7.0], "a new counter was zero when its target last answered");

    server.abort();
    let _ = server.await;
    scraper.connection = None;
    scraper.once(&target).await;
    assert_eq!((last("r", "200").map(f64::to_bits), last("up", "")), (Some(STALE.to_bits()), Some(0.0)));
    assert_eq!(scraper.total.load(Relaxed), 0);
}
