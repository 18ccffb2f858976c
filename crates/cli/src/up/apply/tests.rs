use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::Api;
use kube::api::PostParams;
use kube::runtime::wait::await_condition;
use varka_apiserver::{ApiServer, Config};

use super::all;
use crate::manifests;

const NEW: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: new}
---
apiVersion: v1
kind: Pod
metadata: {name: bare, namespace: new}
spec: {containers: [{name: app, image: some}]}
";

/// The namespace's account is made by somebody else, in their own time.
#[tokio::test]
async fn a_pod_of_a_new_namespace_is_applied_when_its_account_is_there() {
    crate::mesh::install_crypto();
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        data_dir: directory.path().join("api"),
        service_cidr: (Ipv4Addr::new(10, 96, 0, 0), 16),
        advertise: vec![],
        version: "0".to_owned(),
    };
    let server = ApiServer::open(config).await.unwrap();
    let client = server.client("varka-up");
    let (objects, problems) = manifests::read("new.yaml", NEW);
    assert_eq!((objects.len(), problems.len()), (2, 0));
    let applying = client.clone();
    let applying = tokio::spawn(async move { all(&applying, &objects, None).await });

    let namespaces: Api<Namespace> = Api::all(client.clone());
    await_condition(namespaces, "new", |found: Option<&Namespace>| found.is_some()).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "new");
    let mut account = ServiceAccount::default();
    account.metadata.name = Some("default".to_owned());
    accounts.create(&PostParams::default(), &account).await.unwrap();

    let applied = applying.await.unwrap();
    assert_eq!(applied.problems, Vec::<String>::new());
    let pod = Api::<Pod>::namespaced(client, "new").get("bare").await.unwrap();
    assert_eq!(applied.given.len(), 1);
    assert_eq!(applied.given[0].missing(&[std::sync::Arc::new(pod)], &[]), None);
    server.shutdown().await;
}
