use proptest::prelude::*;

use super::*;

fn review(object: Value) -> Vec<u8> {
    let request = json!({"uid": "u-1", "namespace": "blog-system", "operation": "CREATE", "object": object});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string().into_bytes()
}

fn options() -> Options {
    Options::new("cluster.local", "cluster.local", "istio-system")
}

fn response(bytes: &[u8]) -> Value {
    let mut review: Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(review["response"]["uid"], "u-1");
    review["response"].take()
}

#[test]
fn a_pod_gets_a_patch_that_applies() {
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}});
    let metrics = Metrics::default();
    let answer = response(&mutate(&review(pod.clone()), &options(), &metrics).unwrap());
    assert_eq!(answer["allowed"], true);
    assert_eq!(answer["patchType"], "JSONPatch");
    let patch = BASE64_STANDARD.decode(answer["patch"].as_str().unwrap()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut patched = pod;
    json_patch::patch(&mut patched, &patch).unwrap();
    assert_eq!(patched["spec"]["initContainers"][1]["name"], "istio-proxy");
    assert_eq!(metrics.injected.get(), 1);
}

#[test]
fn a_pod_that_stays_as_it_is() {
    let pod = json!({"spec": {"hostNetwork": true, "containers": []}});
    let answer = response(&mutate(&review(pod), &options(), &Metrics::default()).unwrap());
    assert_eq!(answer["allowed"], true);
    assert!(answer.get("patch").is_none());
}

#[test]
fn a_pod_that_cannot_be_obeyed_is_refused_with_the_place() {
    let annotations = json!({"traffic.sidecar.istio.io/excludeInboundPorts": "http"});
    let pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": []}});
    let answer = response(&mutate(&review(pod), &options(), &Metrics::default()).unwrap());
    assert_eq!(answer["allowed"], false);
    let message = answer["status"]["message"].as_str().unwrap();
    assert!(message.contains("traffic.sidecar.istio.io/excludeInboundPorts"), "{message}");
}

#[test]
fn a_policy_that_cannot_mean_anything_is_refused_with_the_correction() {
    let policy = json!({
        "apiVersion": "security.istio.io/v1beta1", "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "blog-system"},
        "spec": {"mtls": {"mode": "STRICT"}, "portLevelMtls": {"80": {"mode": "PERMISSIVE"}}},
    });
    let answer = response(&check(&review(policy), &Metrics::default()).unwrap());
    assert_eq!(answer["allowed"], false);
    assert_eq!(answer["status"]["code"], 422);
    let message = answer["status"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("PeerAuthentication.security.istio.io \"default\" is invalid: spec.portLevelMtls"),
        "{message}"
    );
    assert!(message.contains("selector"), "{message}");
}

#[test]
fn unknown_fields_are_warned_about() {
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": "a", "namespace": "b"}, "spec": {"host": "a", "trafficPolcy": {}},
    });
    let answer = response(&check(&review(rule), &Metrics::default()).unwrap());
    assert_eq!(answer["allowed"], true);
    assert!(answer["warnings"][0].as_str().unwrap().contains("trafficPolcy"), "{answer}");
}

#[test]
fn what_is_not_implemented_is_taken_with_a_warning() {
    let filter = json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": "x", "namespace": "blog-system"}, "spec": {"configPatches": []},
    });
    let telemetry = json!({
        "apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": {"name": "x", "namespace": "blog-system"},
        "spec": {"targetRef": {"group": "", "kind": "Service", "name": "was"}},
    });
    for (object, warning) in [
        (filter, "spec: EnvoyFilter is not implemented: the proxies behave as if it were absent"),
        (
            telemetry,
            "spec.targetRef.kind: kind Service is not implemented: such targets are for waypoints, as in Istio: it applies to nothing; use a selector",
        ),
    ] {
        let answer = response(&check(&review(object), &Metrics::default()).unwrap());
        assert_eq!(answer["allowed"], true);
        assert_eq!(answer["warnings"], json!([warning]));
    }
}

#[test]
fn deletions_and_other_kinds_pass() {
    for object in [Value::Null, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}), json!({})]
    {
        let answer = response(&check(&review(object), &Metrics::default()).unwrap());
        assert_eq!(answer["allowed"], true);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let metrics = Metrics::default();
        prop_assert!(mutate(&bytes, &options(), &metrics).is_err());
        prop_assert!(check(&bytes, &metrics).is_err());
    }

    #[test]
    fn no_object_makes_it_panic(text in "[\\[\\]{}:,\"a-z0-9 ]{0,80}") {
        if let Ok(object) = serde_json::from_str::<Value>(&text) {
            let metrics = Metrics::default();
            let _ = mutate(&review(object.clone()), &options(), &metrics);
            let _ = check(&review(json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "spec": object})), &metrics);
        }
    }
}
