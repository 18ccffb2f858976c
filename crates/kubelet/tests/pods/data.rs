//! What pods have of the cluster's objects: volumes, variables, claims, and a database on one.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::scenarios::{claim, sleeper, waits};
use crate::world::{NAMESPACE, World, address};

pub(crate) async fn volumes_hold_what_they_say(world: &World) {
    world.create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "files"}, "data": {"a": "one", "b": "two"}})).await;
    world.create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "secret"}, "stringData": {"key": "hidden"}})).await;
    world.create(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}})).await;
    let mounts = json!([
        {"name": "map", "mountPath": "/map"}, {"name": "picked", "mountPath": "/picked", "readOnly": true},
        {"name": "all", "mountPath": "/var/run/all"}, {"name": "empty", "mountPath": "/empty"}, {"name": "memory", "mountPath": "/memory"},
        {"name": "empty", "mountPath": "/part", "subPath": "x/y"}, {"name": "fields", "mountPath": "/fields"}]);
    world
        .pod("volumes", json!({"serviceAccountName": "robot", "containers": [
                {"name": "a", "image": "busybox", "command": ["sleep", "100000"], "volumeMounts": mounts},
                {"name": "b", "image": "busybox", "command": ["sleep", "100000"], "volumeMounts": [{"name": "empty", "mountPath": "/mine"}, {"name": "memory", "mountPath": "/memory"}]}],
            "volumes": [
                {"name": "map", "configMap": {"name": "files"}},
                {"name": "picked", "configMap": {"name": "files", "defaultMode": 0o400, "items": [{"key": "a", "path": "deep/er"}]}},
                {"name": "all", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token", "audience": "istio-ca", "expirationSeconds": 3600}},
                    {"secret": {"name": "secret"}}, {"configMap": {"name": "absent", "optional": true}},
                    {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}},
                {"name": "fields", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                {"name": "empty", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]}))
        .await;
    world.ready("volumes").await;
    assert_eq!(world.shell("volumes", "cat /map/a /map/b").await, "onetwo");
    assert_eq!(world.shell("volumes", "cat /picked/deep/er; stat -Lc %a /picked/deep/er").await, "one400");
    assert_eq!(world.shell("volumes", "cat /var/run/all/key /run/all/labels").await, "hiddenapp=\"volumes\"");
    assert!(
        world.shell("volumes", "cut -d. -f3 /var/run/all/token | wc -c").await.parse::<u32>().is_ok_and(|n| n > 40)
    );
    assert_eq!(world.shell("volumes", "cat /fields/name").await, "volumes");
    let (code, _, _) = world.exec("volumes", "a", &["touch", "/picked/x"]).await;
    assert_ne!(code, 0);
    world.shell("volumes", "echo hi > /part/f && echo mem > /memory/f").await;
    assert_eq!(world.exec("volumes", "b", &["cat", "/mine/x/y/f", "/memory/f"]).await.1, "hi\nmem\n");
    let maps: Api<ConfigMap> = Api::namespaced(world.client.clone(), NAMESPACE);
    maps.patch("files", &PatchParams::default(), &Patch::Merge(json!({"data": {"a": "new"}}))).await.unwrap();
    for _ in 0..300 {
        if world.shell("volumes", "cat /map/a").await == "new" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.shell("volumes", "cat /map/a /map/b").await, "newtwo", "a change shows in running containers");
    world.delete("volumes").await;
    world
        .pod(
            "missing",
            json!({"containers": [sleeper("a")], "volumes": [{"name": "v", "configMap": {"name": "later"}}]}),
        )
        .await;
    world.event("missing", "configmap \"later\" not found").await;
    world.create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later"}, "data": {}})).await;
    world.ready("missing").await;
    world.delete("missing").await;
}

pub(crate) async fn environment_and_downward_api(world: &World) {
    world
        .pod("env", json!({"containers": [{"name": "a", "image": "curlimages/curl", "command": ["sleep", "$(LONG)"], "env": [
                {"name": "LONG", "value": "100000"}, {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}],
            "workingDir": "/tmp", "resources": {"limits": {"cpu": "1500m"}}}]}))
        .await;
    let pod = world.ready("env").await;
    assert_eq!(world.shell("env", "echo $ME $CPUS $PWD $HOSTNAME").await, format!("{} 2 /tmp env", address(&pod)));
    assert!(!world.shell("env", "echo $KUBERNETES_SERVICE_HOST").await.is_empty());
    world.pod("noenv", json!({"containers": [{"name": "a", "image": "busybox", "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}]}]})).await;
    world.event("noenv", "secret \"none\" not found").await;
    world.until("noenv", "waiting", |pod| waits(pod, "CreateContainerConfigError")).await;
    world.delete("env").await;
    world.delete("noenv").await;
}

pub(crate) async fn a_claim_is_bound_and_released(world: &World) {
    world.create(claim("data")).await;
    let script = "test -e /data/f || echo kept > /data/f; sleep 100000";
    let spec = json!({"containers": [{"name": "a", "image": "busybox", "command": ["sh", "-c", script], "volumeMounts": [{"name": "d", "mountPath": "/data"}]}],
        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}], "terminationGracePeriodSeconds": 1});
    for _ in 0..2 {
        world.pod("keeper", spec.clone()).await;
        world.ready("keeper").await;
        for _ in 0..300 {
            if world.exec("keeper", "", &["cat", "/data/f"]).await.0 == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(world.shell("keeper", "cat /data/f").await, "kept");
        world.delete("keeper").await;
    }
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(world.client.clone(), NAMESPACE);
    let bound = claims.get("data").await.unwrap();
    assert_eq!(bound.status.as_ref().unwrap().phase.as_deref(), Some("Bound"));
    let volume = bound.spec.unwrap().volume_name.unwrap();
    claims.delete("data", &DeleteParams::default()).await.unwrap();
    let volumes: Api<k8s_openapi::api::core::v1::PersistentVolume> = Api::all(world.client.clone());
    for _ in 0..500 {
        if volumes.get_opt(&volume).await.unwrap().is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the volume of a deleted claim stays");
}

pub(crate) async fn mariadb_keeps_its_data(world: &World) {
    world.create(claim("mysql-data")).await;
    let spec = json!({"containers": [{"name": "db", "image": "mariadb:11",
            "env": [{"name": "MARIADB_ROOT_PASSWORD", "value": "secret"}, {"name": "MARIADB_DATABASE", "value": "blog"},
                    {"name": "MARIADB_USER", "value": "blog"}, {"name": "MARIADB_PASSWORD", "value": "word"}],
            "readinessProbe": {"tcpSocket": {"port": 3306}, "periodSeconds": 1},
            "volumeMounts": [{"name": "d", "mountPath": "/var/lib/mysql"}]}],
        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "mysql-data"}}]});
    let query = |sql: &'static str| async move {
        world.exec("mysql", "", &["mariadb", "-h127.0.0.1", "-ublog", "-pword", "blog", "-Ne", sql]).await
    };
    let begun = Instant::now();
    world.pod("mysql", spec.clone()).await;
    world.ready("mysql").await;
    eprintln!("       MariaDB Ready after {} ms, its first start included", begun.elapsed().as_millis());
    let (code, _, errors) = query("create table t (n int); insert into t values (42)").await;
    assert_eq!(code, 0, "{errors}");
    let (code, _, _) = world.exec("mysql", "", &["mariadb", "-h127.0.0.1", "-uroot", "-e", "select 1"]).await;
    assert_ne!(code, 0, "nobody gets in without a password");
    world.delete("mysql").await;
    world.pod("mysql", spec).await;
    world.ready("mysql").await;
    assert_eq!(query("select n from t").await.1.trim(), "42");
    world.delete("mysql").await;
}
