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
