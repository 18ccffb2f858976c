//! Golden tests of injection: `golden/inject/CASE.yaml` is a pod, `golden/inject/CASE.json` what becomes of it.
//! `UPDATE=1 cargo test` writes what comes out; read the difference before committing it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use varka_control_plane::inject::{Injection, Options, Refusal, Skip, inject};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/inject");
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    cases.sort();
    cases
}

fn outcome(pod: &Value) -> Value {
    match inject(pod, "blog-system", &Options::new("cluster.local", "cluster.local", "istio-system")) {
        Ok(Injection::Skip(skip)) => json!({"skip": format!("{skip:?}")}),
        Ok(Injection::Patch { patch, warnings }) => {
            let mut pod = pod.clone();
            json_patch::patch(&mut pod, &patch).unwrap();
            json!({"warnings": warnings, "pod": pod})
        }
        Err(refusal) => json!({"refused": refusal.to_string()}),
    }
}

#[test]
fn goldens() {
    let cases = cases();
    assert!(cases.len() >= 10, "the cases were not found");
    for case in cases {
        let pod: Value = serde_saphyr::from_str(&std::fs::read_to_string(&case).unwrap()).unwrap();
        let got = outcome(&pod);
        let expected = case.with_extension("json");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&expected, format!("{got:#}\n")).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&expected).unwrap();
        assert_eq!(got, serde_json::from_str::<Value>(&expected).unwrap(), "{}", case.display());
    }
}

/// Injecting what was injected changes nothing, whatever the pod.
#[test]
fn never_twice() {
    for case in cases() {
        let pod: Value = serde_saphyr::from_str(&std::fs::read_to_string(&case).unwrap()).unwrap();
        if let Some(injected) = outcome(&pod).get("pod") {
            assert_eq!(
                outcome(injected),
                json!({"skip": format!("{:?}", Skip::AlreadyInjected)}),
                "{}",
                case.display()
            );
        }
    }
}

#[test]
fn what_is_no_pod_is_refused() {
    let options = Options::new("cluster.local", "cluster.local", "istio-system");
    for object in [json!({}), json!(null), json!([]), json!({"spec": 1}), json!({"metadata": {"labels": 3}})] {
        assert!(matches!(inject(&object, "a", &options), Err(Refusal::NotAPod)), "{object}");
    }
}

#[test]
fn kubernetes_own_namespaces_are_left_alone() {
    let options = Options::new("cluster.local", "cluster.local", "istio-system");
    let pod = json!({"spec": {"containers": []}});
    assert!(matches!(inject(&pod, "kube-system", &options), Ok(Injection::Skip(Skip::SystemNamespace))));
}

/// A ProxyConfig of the namespace is below the pod's annotation, one of the workload above it.
#[test]
fn proxy_configs_by_rank() {
    let text = "
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: all, namespace: blog-system}
spec: {concurrency: 1, environmentVariables: {A: namespace, B: namespace}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: web, namespace: blog-system}
spec: {selector: {matchLabels: {app: web}}, environmentVariables: {B: workload}}
";
    let snapshot = varka_pilot::Snapshot::builder().objects(varka_api::read("t.yaml", text).0).build();
    let mut options = Options::new("cluster.local", "cluster.local", "istio-system");
    options.proxy_configs = snapshot.proxy_configs();
    let pod = |app: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "labels": {"app": app}, "annotations": {"proxy.istio.io/config": "{concurrency: 4, proxyMetadata: {A: pod, B: pod}}"}},
            "spec": {"containers": [{"name": "app", "image": "app"}]},
        })
    };
    let environment = |app: &str| {
        let mut pod = pod(app);
        let Injection::Patch { patch, .. } = inject(&pod, "blog-system", &options).unwrap() else {
            panic!("left alone")
        };
        json_patch::patch(&mut pod, &patch).unwrap();
        let containers = pod.pointer("/spec/initContainers").and_then(Value::as_array).unwrap();
        let proxy = containers.iter().find(|c| c.get("name") == Some(&json!("istio-proxy"))).unwrap();
        let env = proxy.get("env").and_then(Value::as_array).unwrap();
        let get = |name: &str| {
            let found = env.iter().find(|e| e.get("name") == Some(&json!(name)));
            found.and_then(|e| e.get("value")).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let config: Value = serde_json::from_str(&get("PROXY_CONFIG")).unwrap();
        (get("A"), get("B"), config.get("concurrency").cloned().unwrap_or_default())
    };
    assert_eq!(environment("web"), ("pod".to_owned(), "workload".to_owned(), json!(4)));
    assert_eq!(environment("db"), ("pod".to_owned(), "pod".to_owned(), json!(4)));
}
