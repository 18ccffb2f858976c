//! Kubernetes Ingresses and the Gateways and VirtualServices that Istio makes of them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use varka_api::kube::Ingress;
use varka_api::{Object, RawObject};
use varka_pilot::convert_ingress;

use super::{Report, bare, cases, text};

/// Runs the table.
pub(super) fn run(table: &Value, dir: &Path, report: &mut Report) {
    for case in cases(table) {
        report.count(text(case, "input"), one(case, &dir.join("files")));
    }
}

fn objects(dir: &Path, file: &str) -> Result<Vec<RawObject>, String> {
    let text = std::fs::read_to_string(dir.join(file)).map_err(|e| format!("{file}: {e}"))?;
    Ok(varka_api::read(file, &text).0)
}

fn one(case: &Value, dir: &Path) -> Result<(), String> {
    let input = objects(dir, text(case, "input"))?;
    let ingresses: Vec<Object<Ingress>> = input.iter().filter_map(|o| Some(o.decode().ok()?.object)).collect();
    let ingresses: Vec<&Object<Ingress>> = ingresses.iter().collect();
    let made = convert_ingress(&ingresses, "mydomain", "istio-system", "ingressgateway", |_, _| None);
    let mut got = BTreeMap::new();
    for gateway in &made.gateways {
        got.insert(gateway.label(), bare(&serde_json::to_value(&gateway.spec).map_err(|e| e.to_string())?));
    }
    for vs in &made.virtual_services {
        got.insert(vs.label(), bare(&serde_json::to_value(&vs.spec).map_err(|e| e.to_string())?));
    }
    let want: BTreeMap<String, Value> = objects(dir, text(case, "golden"))?
        .iter()
        .map(|o| (o.label(), bare(o.value.get("spec").unwrap_or(&Value::Null))))
        .collect();
    if got == want { Ok(()) } else { Err(format!("{got:?} instead of {want:?}")) }
}
