//! Istio's sidecar route tables: which virtual hosts a route configuration has, and to which clusters they lead.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use varka_engine::ir::{Action, VirtualHost};

use super::{Report, cases, mesh, text};

/// Runs the table.
pub(super) fn run(table: &Value, _: &std::path::Path, report: &mut Report) {
    for case in cases(table) {
        let proxy = mesh::compile(case);
        let name = format!("{} / {} / {}", text(case, "test"), text(case, "name"), text(case, "routeName"));
        report.count(&name, one(&proxy, case));
    }
}

fn one(proxy: &varka_engine::ir::Proxy, case: &Value) -> Result<(), String> {
    let want: BTreeMap<String, Option<BTreeSet<String>>> =
        serde_json::from_value(case.get("expectedVirtualHostToClusters").cloned().unwrap_or_default())
            .map_err(|e| format!("the case cannot be read: {e}"))?;
    let table = proxy.routes.get(text(case, "routeName"));
    let hosts = table.map(|t| t.virtual_hosts.as_slice()).unwrap_or_default();
    let got: BTreeMap<String, BTreeSet<String>> =
        hosts.iter().flat_map(|v| v.domains.iter().map(move |d| (d.to_string(), clusters(v)))).collect();
    for (domain, clusters) in &want {
        match (got.get(domain), clusters) {
            (None, None) => {}
            (None, Some(_)) => return Err(format!("no virtual host for {domain}; there are {:?}", got.keys())),
            (Some(found), None) => return Err(format!("{domain} should have no virtual host, but leads to {found:?}")),
            (Some(found), Some(wanted)) if found != wanted => {
                return Err(format!("{domain} leads to {found:?} instead of {wanted:?}"));
            }
            (Some(_), Some(_)) => {}
        }
    }
    Ok(())
}

fn clusters(host: &VirtualHost) -> BTreeSet<String> {
    let of_route = |route: &varka_engine::ir::Route| match &route.action {
        Action::Forward(action) => action.clusters.iter().map(|c| c.cluster.to_string()).collect(),
        _ => Vec::new(),
    };
    host.routes.iter().flat_map(of_route).collect()
}
