//! What the system itself consists of: addresses, and the manifests of the control plane, the console and the ingress.

use std::net::Ipv4Addr;

use anyhow::{Context, bail};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::ListParams;
use kube::{Api, Client};
use varka_kubelet::sandbox::HostAgent;

use super::given::Given;
use super::{DNS, INSIDE, apply};
use crate::manifests::{self, Manifest};
use crate::state::State;

const MANIFESTS: [(&str, &str); 3] = [
    ("istio-system.yaml", include_str!("../../manifests/istio-system.yaml")),
    ("console.yaml", include_str!("../../manifests/console.yaml")),
    ("ingress-nginx.yaml", include_str!("../../manifests/ingress-nginx.yaml")),
];

/// Of the API server.
pub(super) fn api_config(state: &State) -> varka_apiserver::Config {
    varka_apiserver::Config {
        data_dir: state.api(),
        service_cidr: (Ipv4Addr::new(10, 96, 0, 0), 16),
        advertise: vec!["10.244.0.1".to_owned()],
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Of the pod runtime.
pub(super) fn kubelet_config(state: &State, agent: HostAgent) -> anyhow::Result<varka_kubelet::Config> {
    Ok(varka_kubelet::Config {
        state_dir: state.pods(),
        self_exe: std::env::current_exe().context("cannot find the file of this program")?,
        pod_cidr: (Ipv4Addr::new(10, 244, 0, 0), 16),
        service_cidr: (Ipv4Addr::new(10, 96, 0, 0), 16),
        dns_ip: DNS,
        node_name: "varka".to_owned(),
        agent,
    })
}

/// Where `kubernetes.default.svc` leads: the Service has no selector, because the API server is no pod.
fn api_endpoints() -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": INSIDE.port(), "protocol": "TCP"}],
        "endpoints": [{"addresses": [INSIDE.ip().to_string()], "conditions": {"ready": true}}],
    })
}

/// Applies the control plane, the console and the ingress.
pub(super) async fn apply(client: &Client) -> anyhow::Result<Vec<Given>> {
    let endpoints = Manifest { object: api_endpoints(), place: "built in".to_owned() };
    if let Some(problem) = apply::all(client, &[endpoints], None).await.problems.into_iter().next() {
        bail!("the API server cannot be announced inside: {problem}");
    }
    let mut given = Vec::new();
    for (name, text) in MANIFESTS {
        let (objects, problems) = manifests::read(name, text);
        if let Some(problem) = problems.first() {
            bail!("the built-in manifest cannot be read: {problem}");
        }
        let applied = apply::all(client, &objects, None).await;
        for problem in applied.problems {
            eprintln!("not applied: {problem}");
        }
        given.extend(applied.given);
    }
    Ok(given)
}

/// Hosts of every Ingress, without wildcards.
pub(super) async fn public_hosts(client: &Client) -> anyhow::Result<Vec<String>> {
    let ingresses: Api<Ingress> = Api::all(client.clone());
    let list = ingresses.list(&ListParams::default()).await?;
    let rules = list.items.iter().filter_map(|i| i.spec.as_ref()).flat_map(|s| s.rules.iter().flatten());
    let mut hosts: Vec<_> = rules.filter_map(|r| r.host.clone()).filter(|h| !h.contains('*')).collect();
    hosts.sort();
    hosts.dedup();
    Ok(hosts)
}
