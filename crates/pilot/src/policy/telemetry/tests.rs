use varka_api::istio::MeshConfig;

use super::*;
use crate::{ProxyKey, ProxyKind, Snapshot};

/// Sink and filter of each log of a sidecar `web` in namespace `shop`, and what was told.
fn logs(mesh: &str, objects: &str, side: Side) -> (Vec<(String, String)>, Vec<&'static str>) {
    let (objects, problems) = varka_api::read("t.yaml", objects);
    assert!(problems.is_empty(), "{problems:?}");
    let mesh = MeshConfig::from_yaml(mesh).unwrap().0;
    let snapshot = Snapshot::builder().mesh(mesh).objects(objects).build();
    let mut proxy = ProxyKey::new(ProxyKind::Sidecar, "web-1", "shop", [10, 0, 0, 1].into());
    proxy.labels.insert("app".into(), "web".into());
    let ctx = Ctx::new(&snapshot, &proxy);
    let found = access_logs(&ctx, side).into_iter().map(|l| {
        let sink = match l.sink {
            AccessLogSink::Stdout => "stdout".to_owned(),
            AccessLogSink::File(path) => path.to_string(),
        };
        (sink, l.filter.as_deref().unwrap_or_default().to_owned())
    });
    let found = found.collect();
    (found, ctx.finish().1.iter().map(|d| d.code).collect())
}

const FILES: &str =
    "extensionProviders: [{name: a, envoyFileAccessLog: {path: /a}}, {name: b, envoyFileAccessLog: {path: /b}}]";

fn telemetry(namespace: &str, selector: &str, logging: &str) -> String {
    format!(
        "---\napiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: t{}, namespace: {namespace}}}\nspec: {{{selector} accessLogging: {logging}}}\n",
        selector.len()
    )
}

fn owned(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

const WEB: &str = "selector: {matchLabels: {app: web}},";

#[test]
fn one_below_turns_off_or_filters_what_is_above() {
    let root = telemetry("istio-system", "", "[{providers: [{name: a}, {name: b}]}]");
    let own = telemetry("shop", WEB, "[{providers: [{name: b}], filter: {expression: response.code >= 400}}]");
    assert_eq!(logs(FILES, &root, Side::Client).0, owned(&[("/a", ""), ("/b", "")]));
    assert_eq!(logs(FILES, &(root.clone() + &own), Side::Client).0, owned(&[("/b", "response.code >= 400")]));
    let off = telemetry("shop", "", "[{match: {mode: SERVER}, disabled: true}]");
    assert_eq!(logs(FILES, &(root.clone() + &off), Side::Server).0, owned(&[]));
    assert_eq!(logs(FILES, &(root + &off), Side::Client).0.len(), 2);
}

#[test]
fn where_no_provider_is_named_the_mesh_decides() {
    assert_eq!(logs("accessLogFile: /x", "", Side::Client).0, owned(&[("/x", "")]));
    assert_eq!(logs("accessLogFile: ''", "", Side::Client).0, owned(&[]));
    let filtered = telemetry("shop", "", "[{filter: {expression: connection.mtls}}]");
    assert_eq!(logs("accessLogFile: /x", &filtered, Side::Client).0, owned(&[("/x", "connection.mtls")]));
    assert_eq!(logs("accessLogFile: ''", &filtered, Side::Client).0, owned(&[("stdout", "connection.mtls")]));
    let defaults = format!("{FILES}\ndefaultProviders: {{accessLogging: [b]}}");
    assert_eq!(logs(&defaults, "", Side::Client).0, owned(&[("/b", "")]));
    let off = telemetry("shop", "", "[{disabled: true}]");
    assert_eq!(logs(&defaults, &off, Side::Client).0, owned(&[]));
}

#[test]
fn a_filter_that_cannot_be_evaluated_is_told_and_logs_everything() {
    let odd = telemetry("shop", "", "[{filter: {expression: 'metadata.filter_metadata.x == 1'}}]");
    let (found, told) = logs("accessLogFile: /x", &odd, Side::Client);
    assert_eq!((found, told), (owned(&[("/x", "")]), vec!["access-log-filter"]));
    let unknown = telemetry("shop", "", "[{providers: [{name: c}]}]");
    assert_eq!(logs(FILES, &unknown, Side::Client), (owned(&[]), vec!["unknown-provider"]));
}

#[test]
fn one_with_a_target_is_not_for_a_workload() {
    let target = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: web}],";
    let off = telemetry("shop", target, "[{disabled: true}]");
    assert_eq!(logs("accessLogFile: /x", &off, Side::Client).0, owned(&[("/x", "")]));
}
