//! The ways to write objects: apply by client and by server, patches, edits, lists, dry runs.

use super::{Cluster, WEB, find_kubectls, finish};

/// Each way to write an object, with every kubectl of the machine.
#[tokio::test(flavor = "multi_thread")]
async fn every_kubectl_writes_objects_in_every_way() {
    let mut c = Cluster::start().await;
    for kubectl in find_kubectls() {
        c.with(kubectl);
        write_in_every_way(&c).await;
    }
    c.stop().await;
}

async fn write_in_every_way(c: &Cluster) {
    assert!(c.apply(WEB).await.ok().starts_with("deployment.apps/web created\n"), "{}", c.kubectl.display());
    assert!(c.apply(WEB).await.ok().contains("deployment.apps/web unchanged\n"), "{}", c.kubectl.display());
    let changed = WEB.replace("nginx:1", "nginx:2");
    assert!(c.pipe(&["diff", "-f", "-"], &changed).await.out.contains("image: nginx:2"));
    c.apply(&changed).await.ok();
    c.pipe(&["apply", "--server-side", "-f", "-"], &WEB.replace("nginx:1", "nginx:3")).await.ok();
    let patch = |kind: &'static str, patch: &'static str| ["patch", "deploy", "web", kind, "-p", patch];
    c.run(&patch("--type=strategic", r#"{"spec":{"template":{"spec":{"containers":[{"name":"b","image":"b"}]}}}}"#))
        .await
        .ok();
    c.run(&patch("--type=merge", r#"{"metadata":{"annotations":{"a/b":"1"}}}"#)).await.ok();
    let test = r#"[{"op":"test","path":"/metadata/annotations/a~1b","value":"1"},{"op":"replace","path":"/spec/replicas","value":4}]"#;
    c.run(&patch("--type=json", test)).await.ok();
    c.run(&patch("--type=json", r#"[{"op":"test","path":"/spec/replicas","value":9}]"#)).await.fails();
    let object = "get deploy web -o jsonpath={.spec.replicas},{.spec.template.spec.containers[*].image}";
    assert_eq!(c.k(object).await.ok(), "4,b nginx:3");
    c.k("label deploy web x=y").await.ok();
    c.k("annotate deploy web x=y").await.ok();
    let edited =
        finish(c.command(&["edit", "deploy", "web"]).env("EDITOR", "sed -i s/nginx:3/nginx:4/").spawn().unwrap());
    assert_eq!(edited.await.ok(), "deployment.apps/web edited");
    let edited =
        finish(c.command(&["edit", "dr", "web"]).env("EDITOR", "sed -i s/ISTIO_MUTUAL/DISABLE/").spawn().unwrap());
    assert_eq!(edited.await.ok(), "destinationrule.networking.istio.io/web edited");
    assert_eq!(c.k("get dr web -o jsonpath={.spec.trafficPolicy.tls.mode}").await.ok(), "DISABLE");
    c.k("scale deploy web --replicas=5").await.ok();
    c.k("set image deploy/web web=nginx:5").await.ok();
    c.k("rollout restart deploy/web").await.ok();
    assert_eq!(c.k(object).await.ok(), "5,b nginx:5");
    c.pipe(&["replace", "-f", "-"], WEB).await.ok();
    assert_eq!(c.k(object).await.ok(), "2,nginx:1");
    assert!(c.apply(&WEB.replace("replicas", "replica")).await.fails().contains("unknown field \"spec.replica\""));
    c.k("create cm made --from-literal=a=b").await.ok();
    c.k("create deployment made --image=x").await.ok();
    assert_eq!(c.k("auth can-i create pods").await.ok(), "yes");
    let rolling = c.k("explain deploy.spec.strategy.rollingUpdate").await;
    assert!(rolling.ok().contains("maxSurge\t<IntOrString>"), "{}", rolling.out);
    let resources = c.k("explain pods.spec.containers.resources").await;
    assert!(resources.ok().contains("limits\t<map[string]Quantity>"), "{}", resources.out);
    assert!(c.k("describe svc web").await.ok().contains("10.96."));
    c.k("delete cm made").await.ok();
    c.k("delete deploy made web").await.ok();
    c.k("delete svc web").await.ok();
    c.k("delete dr web").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_applied_replaced_and_edited() {
    let c = Cluster::start().await;
    c.apply(WEB).await.ok();
    let list = c.k("get deploy,svc web -o yaml").await.ok().replace("nginx:1", "nginx:2");
    assert!(list.contains("kind: List"));
    let applied = c.apply(&list).await;
    assert_eq!(applied.ok(), "deployment.apps/web configured\nservice/web configured");
    let list = c.k("get deploy,svc web -o yaml").await.ok().replace("nginx:2", "nginx:3");
    let replaced = c.pipe(&["replace", "-f", "-"], &list).await;
    assert_eq!(replaced.ok(), "deployment.apps/web replaced\nservice/web replaced");
    let image = "get deploy web -o jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(c.k(image).await.ok(), "nginx:3");
    // What is wrong in a list is still named.
    let unknown = c.apply(&list.replace("replicas: 2", "replica: 2")).await;
    assert!(unknown.fails().contains("unknown field \"spec.replica\""), "{}", unknown.err);
    let edited =
        finish(c.command(&["edit", "deploy,svc", "web"]).env("EDITOR", "sed -i s/nginx:3/nginx:4/").spawn().unwrap());
    assert_eq!(edited.await.ok(), "deployment.apps/web edited\nservice/web skipped");
    assert_eq!(c.k(image).await.ok(), "nginx:4");
    c.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_answers_what_would_be_and_changes_nothing() {
    let c = Cluster::start().await;
    c.apply(WEB).await.ok();
    assert_eq!(
        c.k("scale deploy web --replicas=7 --dry-run=server").await.ok(),
        "deployment.apps/web scaled (server dry run)"
    );
    let scale = ["patch", "deploy", "web", "--subresource=scale", "--type=merge", "-p", r#"{"spec":{"replicas":6}}"#];
    let scaled = c.run(&[&scale[..], &["--dry-run=server", "-o", "jsonpath={.kind} {.spec.replicas}"]].concat()).await;
    assert_eq!(scaled.ok(), "Scale 6");
    assert!(c.apply(&WEB.replace("nginx:1", "nginx:2")).await.ok().contains("configured"));
    let dry = c.pipe(&["apply", "--dry-run=server", "-f", "-"], WEB).await;
    assert!(dry.ok().starts_with("deployment.apps/web configured (server dry run)"), "{}", dry.out);
    let spec = c.k("get deploy web -o jsonpath={.spec.replicas},{.spec.template.spec.containers[0].image}").await;
    assert_eq!(spec.ok(), "2,nginx:2");
    c.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_keeps_owners_apart() {
    let c = Cluster::start().await;
    let apply = ["apply", "--server-side", "-f", "-", "--field-manager=one"];
    let mine = "{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {a: \"1\", b: \"2\"}}";
    assert_eq!(c.pipe(&apply, mine).await.ok(), "configmap/m serverside-applied");
    let other = ["apply", "--server-side", "-f", "-", "--field-manager=two"];
    let theirs = "{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {b: \"3\"}}";
    let conflict = c.pipe(&other, theirs).await;
    assert!(
        conflict.fails().contains("Apply failed with 1 conflict: conflict with \"one\": .data.b"),
        "{}",
        conflict.err
    );
    c.pipe(&["apply", "--server-side", "-f", "-", "--field-manager=two", "--force-conflicts"], theirs).await.ok();
    c.pipe(&apply, "{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {}}").await.ok();
    assert_eq!(c.k("get cm m -o jsonpath={.data}").await.ok(), r#"{"b":"3"}"#);
    // An update by hand takes the field over.
    c.run(&["patch", "cm", "m", "--type=merge", "-p", r#"{"data":{"b":"4"}}"#]).await.ok();
    assert!(c.pipe(&other, theirs).await.fails().contains("conflict with \"kubectl-patch\" using v1: .data.b"));
    c.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_client_side_to_server_side_apply() {
    let c = Cluster::start().await;
    let ssa = ["apply", "--server-side", "-f", "-"];
    let managers = "get deploy web --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}";
    c.apply(WEB).await.ok();
    assert_eq!(c.k(managers).await.ok(), "kubectl-client-side-apply");
    let owned = c.k("get deploy web --show-managed-fields -o jsonpath={.metadata.managedFields[0].fieldsV1}").await;
    assert!(owned.ok().starts_with(r#"{"f:metadata":{"f:annotations":{".":{},"f:kubectl."#), "{}", owned.out);
    assert!(owned.out.contains(r#""f:spec":{"f:progressDeadlineSeconds":{},"#), "{}", owned.out);
    c.k("scale deploy web --replicas=4").await.ok();
    // What the user applied before may change without force; what was changed since, by another way, may not.
    let conflict = c.pipe(&ssa, &WEB.replace("nginx:1", "nginx:2")).await;
    assert!(conflict.fails().contains("Apply failed with 2 conflicts"), "{}", conflict.err);
    assert!(conflict.err.contains(" with subresource \"scale\" using apps/v1: .spec.replicas"), "{}", conflict.err);
    let without_replicas = WEB.replace("  replicas: 2\n", "").replace("nginx:1", "nginx:2");
    let changed = c.pipe(&["diff", "--server-side", "-f", "-"], &without_replicas).await;
    assert!(changed.out.contains("nginx:2") && !changed.out.contains("replicas:"), "{}{}", changed.out, changed.err);
    c.pipe(&ssa, &without_replicas).await.ok();
    assert_eq!(c.k("get deploy web -o jsonpath={.spec.replicas}").await.ok(), "4");
    // kubectl has given its user's older fields to the new manager, so that what is left out goes.
    let owners = c.k(managers).await.ok().to_owned();
    assert!(!owners.contains("client-side") && !owners.contains("before"), "{owners}");
    let without_ports = without_replicas.replace(", ports: [{containerPort: 80, name: http}]", "");
    c.pipe(&ssa, &without_ports).await.ok();
    assert_eq!(c.k("get deploy web -o jsonpath={.spec.template.spec.containers[0].ports}").await.ok(), "");
    // The address of a Service is nobody's to lose.
    let address = c.k("get svc web -o jsonpath={.spec.clusterIP}").await.ok().to_owned();
    c.pipe(&ssa, &without_ports).await.ok();
    assert_eq!(c.k("get svc web -o jsonpath={.spec.clusterIP}").await.ok(), address);
    c.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_controllers_create_has_owners_from_the_first_apply_on() {
    let c = Cluster::start().await;
    let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::default_namespaced(c.server.client("test"));
    let map = serde_json::json!({"metadata": {"name": "m"}, "data": {"a": "1"}});
    maps.create(&kube::api::PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    let managers = "get cm m --show-managed-fields -o jsonpath={.metadata.managedFields[*].manager}";
    c.k("label cm m x=y").await.ok();
    assert_eq!(c.k(managers).await.ok(), "");
    let config = "{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {a: \"2\"}}";
    let conflict = c.pipe(&["apply", "--server-side", "-f", "-"], config).await;
    assert!(conflict.fails().contains("conflict with \"before-first-apply\" using v1: .data.a"), "{}", conflict.err);
    c.pipe(&["apply", "--server-side", "-f", "-", "--force-conflicts"], config).await.ok();
    assert_eq!(c.k(managers).await.ok(), "kubectl before-first-apply");
    // An empty entry gives all ownership up.
    c.run(&["patch", "cm", "m", "--type=merge", "-p", r#"{"metadata":{"managedFields":[{}]}}"#]).await.ok();
    assert_eq!(c.k(managers).await.ok(), "");
    let name = "x".repeat(129);
    let long = c.run(&["label", "cm", "m", "z=1", "--field-manager", &name]).await;
    assert!(long.fails().contains("fieldManager: Invalid value"), "{}", long.err);
    c.stop().await;
}
