//! Whole configurations, compared with files; and, over the same inputs, that a `ReadSet` tells of everything that matters.
//!
//! A case is `golden/NAME/in.yaml`: resources, and proxies as objects of kind `Proxy`; `include.txt` lists further files by
//! their path in the repository. `UPDATE=1` writes `out.yaml` anew.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests read files and the environment, and fail where they stand"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use varka_api::RawObject;
use varka_pilot::{Change, Kind, Named, ProxyKey, ProxyKind, Snapshot, compile, compile_all, names, touched};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

struct Case {
    name: String,
    objects: Vec<RawObject>,
    proxies: Vec<ProxyKey>,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut text = String::new();
        for file in std::fs::read_to_string(path.join("include.txt")).unwrap_or_default().lines() {
            text.push_str(&std::fs::read_to_string(repository.join(file)).unwrap());
            text.push_str("\n---\n");
        }
        // What the case itself has comes last, so that it may stand for what a server would fill in.
        text.push_str(&std::fs::read_to_string(path.join("in.yaml")).unwrap());
        let (all, problems) = varka_api::read(&name, &text);
        assert!(problems.is_empty(), "{problems:?}");
        let (proxies, all): (Vec<_>, Vec<_>) = all.into_iter().partition(|o| o.kind == "Proxy");
        let mut objects: Vec<RawObject> = Vec::new();
        for object in all {
            objects.retain(|o| o.label() != object.label());
            objects.push(object);
        }
        cases.push(Case { name, objects, proxies: proxies.iter().map(key).collect() });
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(cases.len() >= 4, "the cases are gone");
    cases
}

fn key(object: &RawObject) -> ProxyKey {
    let spec = &object.value["spec"];
    let kind = if spec["kind"] == "router" { ProxyKind::Router } else { ProxyKind::Sidecar };
    let ip = spec["ip"].as_str().unwrap().parse().unwrap();
    let mut key = ProxyKey::new(kind, &object.metadata.name, &object.metadata.namespace, ip);
    key.labels = object.metadata.labels.clone();
    key
}

fn snapshot(case: &Case) -> Snapshot {
    Snapshot::builder().objects(case.objects.iter().cloned()).build()
}

/// The configuration with its maps sorted, the default log format abbreviated, and what is null or empty left out.
fn readable(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) if text.starts_with("[%START_TIME%]") => Some(json!("istio")),
        Value::Array(list) => {
            let list: Vec<Value> = list.into_iter().filter_map(readable).collect();
            (!list.is_empty()).then_some(Value::Array(list))
        }
        Value::Object(map) => {
            let sorted: BTreeMap<String, Value> =
                map.into_iter().filter_map(|(k, v)| Some((k, readable(v)?))).collect();
            (!sorted.is_empty()).then(|| sorted.into_iter().collect())
        }
        other => Some(other),
    }
}

#[test]
fn configurations_are_as_written_down() {
    for case in cases() {
        let snapshot = snapshot(&case);
        let mut out = BTreeMap::new();
        for proxy in &case.proxies {
            let (compiled, diagnostics) = compile_all(&snapshot, proxy);
            let said: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
            let value = json!({"configuration": compiled, "diagnostics": said});
            out.insert(proxy.name.to_string(), readable(value).unwrap());
        }
        let text = serde_saphyr::to_string(&out).unwrap();
        let path = directory().join(&case.name).join("out.yaml");
        if std::env::var("UPDATE").is_ok() {
            std::fs::write(&path, &text).unwrap();
        }
        let want = std::fs::read_to_string(&path).unwrap_or_default();
        let first = text.lines().zip(want.lines()).position(|(a, b)| a != b);
        assert!(text == want, "{}: line {:?} differs; UPDATE=1 writes the file anew", case.name, first.map(|l| l + 1));
    }
}

#[test]
fn one_name_compiles_to_what_the_whole_has() {
    for case in cases() {
        let snapshot = snapshot(&case);
        for proxy in &case.proxies {
            let (whole, _) = compile_all(&snapshot, proxy);
            let names = names(&snapshot, proxy).names;
            let mut seen = 0;
            for name in &names {
                let Some(resource) = compile(&snapshot, proxy, name).resource else { continue };
                seen += 1;
                assert_eq!(resource.name(), &name.name);
                let same = match resource {
                    varka_engine::ir::Resource::Listener(r) => whole.listeners.get(&name.name) == Some(&r),
                    varka_engine::ir::Resource::Route(r) => whole.routes.get(&name.name) == Some(&r),
                    varka_engine::ir::Resource::Cluster(r) => whole.clusters.get(&name.name) == Some(&r),
                    varka_engine::ir::Resource::Endpoints(r) => whole.endpoints.get(&name.name) == Some(&r),
                    varka_engine::ir::Resource::Secret(r) => whole.secrets.get(&name.name) == Some(&r),
                    varka_engine::ir::Resource::VirtualHost(asked, r) => whole.virtual_hosts.get(&asked) == Some(&r),
                    varka_engine::ir::Resource::Workload(..) => false,
                };
                assert!(same, "{}: {name:?} differs", case.name);
            }
            assert!(seen > 3, "{}: {} compiled to {seen} resources", case.name, proxy.name);
        }
    }
}

/// Whatever a change does not touch must compile to the same: tried by taking away each object in turn, and giving it back.
#[test]
fn what_a_change_does_not_touch_stays_the_same() {
    for case in cases() {
        let before = snapshot(&case);
        for object in &case.objects {
            let group = object.api_version.rsplit_once('/').map_or("", |(g, _)| g);
            let Some(kind) = Kind::of(group, &object.kind) else { continue };
            let change = Change::Delete {
                kind,
                namespace: object.metadata.namespace.as_str().into(),
                name: object.metadata.name.as_str().into(),
            };
            let (after, gone) = before.apply([change]);
            let (_, back) = after.apply([Change::Upsert(object.clone())]);
            for proxy in &case.proxies {
                let Named { names: old_names, reads, .. } = names(&before, proxy);
                if !touched(&reads, &gone) {
                    assert_eq!(old_names, names(&after, proxy).names, "names without {}", object.label());
                }
                for name in &old_names {
                    let (old, new) = (compile(&before, proxy, name), compile(&after, proxy, name));
                    let differs = old.resource != new.resource;
                    assert!(
                        !differs || touched(&old.reads, &gone),
                        "{name:?} of {} without {}",
                        proxy.name,
                        object.label()
                    );
                    assert!(
                        !differs || touched(&new.reads, &back),
                        "{name:?} of {} with {}",
                        proxy.name,
                        object.label()
                    );
                }
            }
        }
    }
}
