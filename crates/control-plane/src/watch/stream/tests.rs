use super::*;
use crate::watch::kinds::SECRET;

fn object(name: &str) -> DynamicObject {
    serde_json::from_value(
        json!({"metadata": {"name": name, "namespace": "a", "managedFields": []}, "data": {"k": "dg=="}}),
    )
    .unwrap()
}

fn listed(names: &[&str]) -> HashSet<(String, String)> {
    names.iter().map(|name| ("a".to_owned(), (*name).to_owned())).collect()
}

#[tokio::test]
async fn what_a_new_listing_does_not_name_is_gone() {
    let (into, mut updates) = mpsc::channel(16);
    let mut known = Known { kind: SECRET, names: HashSet::new(), number: Some(7), into };
    known.apply(object("kept"), "v1").await.unwrap();
    known.apply(object("lost"), "v1").await.unwrap();
    known.synced().await.unwrap();
    known.replace(listed(&["kept"])).await.unwrap();
    known.synced().await.unwrap();
    // A deletion that the listing had told already is not told twice.
    known.delete(("a".to_owned(), "lost".to_owned())).await.unwrap();
    drop(known);
    let mut told = Vec::new();
    while let Some(update) = updates.recv().await {
        told.push(match update {
            Update::Apply(object) => {
                assert_eq!((object.api_version.as_str(), object.kind.as_str()), ("v1", "Secret"));
                format!("apply {}", object.metadata.name)
            }
            Update::Delete(key) => format!("delete {}/{}", key.namespace, key.name),
            Update::Keys { source, .. } => panic!("a watch has no keys: {source}"),
            Update::Synced(number) => format!("synced {number}"),
        });
    }
    assert_eq!(told, ["apply kept", "apply lost", "synced 7", "delete a/lost"]);
}

#[tokio::test]
async fn it_ends_when_nobody_listens() {
    let (into, updates) = mpsc::channel(1);
    drop(updates);
    let mut known = Known { kind: SECRET, names: HashSet::new(), number: Some(0), into };
    assert!(known.apply(object("a"), "v1").await.is_none());
}
