//! Writes are ordered, durable and visible only once they are; history survives a restart.

use serde_json::json;

use super::*;

fn pod(name: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"a": label}}, "kind": "Pod", "apiVersion": "v1"})
}

#[tokio::test]
async fn writes_are_checked_against_the_version_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("db")).unwrap();
    let key = Key::new("pods", "ns", "a");
    let one = store.put(key.clone(), Expect::Absent, pod("a", "1")).await.unwrap();
    assert!(matches!(store.put(key.clone(), Expect::Absent, pod("a", "1")).await, Err(WriteError::Exists)));
    let two = store.put(key.clone(), Expect::Version(one.version), pod("a", "2")).await.unwrap();
    assert!(two.version > one.version);
    assert!(matches!(store.delete(key.clone(), one.version).await, Err(WriteError::Conflict)));
    assert_eq!(two.value["metadata"]["resourceVersion"], two.version.to_string());
    let gone = store.delete(key.clone(), two.version).await.unwrap();
    assert!(gone.version > two.version);
    assert!(store.get(&key).is_none());
    assert!(matches!(store.delete(key, two.version).await, Err(WriteError::Missing)));
}

#[tokio::test]
async fn history_and_objects_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let store = Store::open(&path).unwrap();
    let key = Key::new("pods", "ns", "a");
    let one = store.put(key.clone(), Expect::Absent, pod("a", "1")).await.unwrap();
    let two = store.put(key.clone(), Expect::Version(one.version), pod("a", "2")).await.unwrap();
    store.close().await;
    drop(store);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.version(), two.version);
    assert_eq!(store.get(&key).unwrap().value, two.value);
    let (_, events) = store.events_after(one.version, "pods").unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].before.as_ref().unwrap().version, one.version);
    assert!(store.events_after(two.version + 1, "pods").is_err());
    store.close().await;
}

#[tokio::test]
async fn what_is_older_than_the_history_has_expired() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let store = Store::open(&path).unwrap();
    let writes =
        (0..HISTORY + 2).map(|i| store.put(Key::new("pods", "ns", &i.to_string()), Expect::Absent, pod("a", "1")));
    for written in futures_util::future::join_all(writes).await {
        written.unwrap();
    }
    assert!(store.events_after(1, "pods").is_err());
    assert_eq!(store.events_after(2, "pods").unwrap().1.len(), HISTORY);
    store.close().await;
    drop(store);
    let store = Store::open(&path).unwrap();
    assert!(store.events_after(1, "pods").is_err());
    assert_eq!(store.events_after(2, "pods").unwrap().1.len(), HISTORY);
    store.close().await;
}

#[test]
fn another_version_is_spliced_in() {
    let object = Object::new(pod("a", "1"), 7);
    let other: Value = serde_json::from_slice(&object.json_as("example.com/v2")).unwrap();
    assert_eq!(other["apiVersion"], "example.com/v2");
    assert_eq!(other["metadata"], object.value["metadata"]);
}
