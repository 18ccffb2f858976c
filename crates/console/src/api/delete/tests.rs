use serde_json::{Value, json};

use crate::api::apply::tests::{Cluster, NAMESPACE, cluster, object, yaml};

impl Cluster {
    /// A token of somebody who may also delete VirtualServices.
    async fn remover(&self) -> String {
        let token = self.account("remover", true).await;
        self.put(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "remover"}, "rules": [
            {"verbs": ["get", "create", "patch", "delete"], "apiGroups": ["networking.istio.io"], "resources": ["virtualservices"]}]}), "admin").await;
        token
    }

    async fn delete(&self, token: &str, name: &str, dry_run: bool, version: Option<&str>) -> (u16, Value) {
        let of = json!({"group": "networking.istio.io", "version": "v1", "kind": "VirtualService", "namespace": NAMESPACE, "name": name});
        let body = json!({"ref": of, "dryRun": dry_run, "resourceVersion": version});
        self.post("/console/api/delete", token, body).await
    }
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

#[tokio::test]
async fn what_would_be_is_told_then_it_is_gone_and_can_be_made_again() {
    let cluster = cluster(false).await;
    let token = cluster.remover().await;
    let stored = cluster.put(object("a", "1s"), "somebody").await;
    let (status, answer) = cluster.delete(&token, "a", true, Some(version(&stored))).await;
    assert_eq!((status, &answer["deleted"], &answer["findings"]), (200, &json!(false), &json!([])), "{answer}");
    assert_eq!(answer["effect"]["recorded"], 0, "nobody has asked for anything: {answer}");
    let said = answer["yaml"].as_str().unwrap().to_owned();
    assert!(said.contains("timeout: 1s") && !said.contains("managedFields"), "{answer}");
    assert!(cluster.stored("a").await.is_some(), "a dry run deletes nothing");

    let (status, answer) = cluster.delete(&token, "a", false, Some(version(&stored))).await;
    assert_eq!(
        (status, &answer["deleted"], answer["ref"]["name"].as_str()),
        (200, &json!(true), Some("a")),
        "{answer}"
    );
    assert_eq!((cluster.stored("a").await, &answer["effect"]), (None, &Value::Null));
    assert_eq!(cluster.delete(&token, "a", true, None).await.0, 404);

    let again = json!({"yaml": said, "dryRun": false, "resourceVersion": ""});
    let (status, answer) = cluster.post("/console/api/apply", &token, again).await;
    assert_eq!((status, answer["objects"][0]["verb"].as_str()), (200, Some("created")), "{answer}");
    assert_eq!(cluster.stored("a").await.unwrap()["spec"]["http"][0]["timeout"], "1s");
}

#[tokio::test]
async fn who_may_not_is_told_what_is_missing() {
    let cluster = cluster(false).await;
    let token = cluster.account("editor", true).await;
    cluster.put(object("a", "1s"), "somebody").await;
    for dry_run in [true, false] {
        let (status, answer) = cluster.delete(&token, "a", dry_run, None).await;
        assert_eq!((status, answer["code"].as_str()), (403, Some("forbidden")), "{answer}");
        let said = "system:serviceaccount:default:editor may not delete virtualservices.networking.istio.io in namespace default";
        assert!(answer["message"].as_str().unwrap().starts_with(said), "{answer}");
        assert!(answer["hint"].as_str().unwrap().contains("get and delete"), "{answer}");
    }
    assert_eq!(cluster.delete("stolen", "a", true, None).await.0, 401);
    assert_eq!(cluster.delete("", "a", true, None).await.0, 401);
    assert!(cluster.stored("a").await.is_some());
}

#[tokio::test]
async fn what_was_looked_at_is_what_is_deleted() {
    let cluster = cluster(false).await;
    let token = cluster.remover().await;
    let stored = cluster.put(object("a", "1s"), "somebody").await;
    cluster.put(object("a", "2s"), "somebody").await;
    for dry_run in [true, false] {
        let (status, answer) = cluster.delete(&token, "a", dry_run, Some(version(&stored))).await;
        assert_eq!((status, answer["code"].as_str()), (409, Some("conflict")), "{answer}");
    }
    assert_eq!(cluster.stored("a").await.unwrap()["spec"]["http"][0]["timeout"], "2s");
    let (status, answer) = cluster.delete(&token, "gone", false, Some("1")).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("conflict")), "{answer}");
}

#[tokio::test]
async fn who_keeps_it_and_who_has_to_let_go_of_it_are_told() {
    let cluster = cluster(false).await;
    let token = cluster.remover().await;
    let mut kept = object("a", "1s");
    kept["metadata"]["finalizers"] = json!(["example.com/tidy"]);
    kept["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
    cluster.put(kept, "helm").await;
    let (status, answer) = cluster.delete(&token, "a", true, None).await;
    let said: Vec<_> = answer["findings"].as_array().unwrap().iter().map(|f| f["message"].as_str().unwrap()).collect();
    let wanted = [
        "Helm keeps this object, and may make it anew.",
        "It stays, and holds, until example.com/tidy has let go of it.",
    ];
    assert_eq!((status, said), (200, wanted.to_vec()), "{answer}");
    let (status, answer) = cluster.delete(&token, "a", false, None).await;
    assert_eq!((status, &answer["deleted"]), (200, &json!(false)), "{answer}");
    assert!(cluster.stored("a").await.unwrap()["metadata"]["deletionTimestamp"].is_string());
}

#[tokio::test]
async fn what_is_no_matter_of_the_console_is_not_deleted() {
    let cluster = cluster(false).await;
    let token = cluster.remover().await;
    let role = json!({"group": "rbac.authorization.k8s.io", "version": "v1", "kind": "Role", "namespace": NAMESPACE, "name": "remover"});
    let ask = |of: Value| json!({"ref": of, "dryRun": false});
    let (status, answer) = cluster.post("/console/api/delete", &token, ask(role)).await;
    assert_eq!((status, answer["code"].as_str()), (422, Some("invalid")), "{answer}");
    let nameless = json!({"group": "networking.istio.io", "version": "v1", "kind": "VirtualService", "namespace": NAMESPACE, "name": ""});
    assert_eq!(cluster.post("/console/api/delete", &token, ask(nameless)).await.0, 422);
    let unknown = json!({"group": "networking.istio.io", "version": "v9", "kind": "VirtualService", "namespace": NAMESPACE, "name": "a"});
    assert_eq!(cluster.post("/console/api/delete", &token, ask(unknown)).await.0, 422);
    assert_eq!(cluster.post("/console/api/delete", &token, json!({"yaml": yaml("a", "1s")})).await.0, 400);
}

#[tokio::test]
async fn where_it_is_read_only_nothing_is_deleted() {
    let cluster = cluster(true).await;
    let token = cluster.remover().await;
    cluster.put(object("a", "1s"), "somebody").await;
    assert_eq!(cluster.delete(&token, "a", true, None).await.0, 200);
    let (status, answer) = cluster.delete(&token, "a", false, None).await;
    assert_eq!((status, answer["code"].as_str()), (403, Some("readOnly")), "{answer}");
    assert!(cluster.stored("a").await.is_some());
}
