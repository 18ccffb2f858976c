//! Workloads by address: what is looked up, what the server answers, and what happens to it later.

use std::net::IpAddr;
use std::sync::Arc;

use varka_engine::ir::{Resource, ResourceType, Workload};
use varka_proto::envoy::discovery::DeltaDiscoveryRequest;

use super::fixture::{Event, Mesh, Proxy, Raw, ServerEvent, cluster, node};
use crate::client::Update;
use crate::codec::type_url;

const ONE: &str = "/10.0.0.1";
const TWO: &str = "/10.0.0.2";

/// Whose an address is.
fn workload(name: &str, whose: &str) -> Resource {
    let (_, address): (_, IpAddr) = Workload::address_of(name).unwrap();
    let workload = Workload { addresses: vec![address], workload_name: whose.into(), ..Workload::default() };
    Resource::Workload(name.into(), Arc::new(workload))
}

/// The next thing that was said of workloads.
async fn said(proxy: &mut Proxy) -> Update {
    loop {
        if let Event::Applied(update) = proxy.event().await
            && update.kind == ResourceType::Workload
        {
            return update;
        }
    }
}

fn present(update: &Update) -> Vec<Resource> {
    assert!(update.absent.is_empty() && update.removed.is_empty(), "{update:?}");
    update.upserts.clone()
}

fn absent(update: &Update) -> Vec<String> {
    assert!(update.upserts.is_empty(), "{update:?}");
    update.absent.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn an_answer_follows_what_the_address_becomes() {
    let mesh = Mesh::of([workload(ONE, "web")]);
    let (mut proxy, lookups) = mesh.start_looking();
    proxy.synced().await;
    lookups.add(ONE.into());
    assert_eq!(present(&said(&mut proxy).await), [workload(ONE, "web")]);
    lookups.add(TWO.into());
    assert_eq!(absent(&said(&mut proxy).await), [TWO]);
    mesh.set(workload(TWO, "was"));
    assert_eq!(present(&said(&mut proxy).await), [workload(TWO, "was")]);
    mesh.set(workload(ONE, "another"));
    assert_eq!(present(&said(&mut proxy).await), [workload(ONE, "another")]);
    mesh.remove(ResourceType::Workload, ONE);
    assert_eq!(absent(&said(&mut proxy).await), [ONE]);
}

#[tokio::test]
async fn what_is_forgotten_and_looked_up_again_is_told_again() {
    let mesh = Mesh::of([workload(ONE, "web")]);
    let (mut proxy, lookups) = mesh.start_looking();
    proxy.synced().await;
    for _ in 0..3 {
        lookups.add(ONE.into());
        assert_eq!(present(&said(&mut proxy).await), [workload(ONE, "web")]);
        lookups.remove(ONE);
    }
    // Nothing is said any more of what is not looked up.
    mesh.set(workload(ONE, "another"));
    mesh.set(workload(TWO, "was"));
    lookups.add(TWO.into());
    assert_eq!(present(&said(&mut proxy).await), [workload(TWO, "was")]);
}

#[tokio::test]
async fn a_new_stream_knows_what_is_looked_up_and_what_is_held() {
    let mut mesh = Mesh::of([workload(ONE, "web")]);
    let (mut proxy, lookups) = mesh.start_looking();
    proxy.synced().await;
    lookups.add(ONE.into());
    said(&mut proxy).await;
    mesh.break_streams();
    while mesh.event().await != ServerEvent::Connected(node(), Some("secret-token-2".to_owned())) {}
    // What is held is not sent again; what is new is.
    lookups.add(TWO.into());
    assert_eq!(absent(&said(&mut proxy).await), [TWO]);
    mesh.set(workload(ONE, "another"));
    assert_eq!(present(&said(&mut proxy).await), [workload(ONE, "another")]);
}

#[tokio::test]
async fn nobody_is_told_of_workloads_without_asking() {
    let mut mesh = Mesh::of([cluster("c"), workload(ONE, "web")]);
    let mut proxy = mesh.start();
    proxy.synced().await;
    mesh.set(workload(ONE, "another"));
    mesh.set(cluster("d"));
    let update = proxy.applied().await;
    assert_eq!(update.upserts, [cluster("d")]);
    let ServerEvent::Connected(..) = mesh.event().await else { panic!("not connected first") };
    while let ServerEvent::Acked(kind, version) = mesh.event().await {
        assert_ne!(kind, ResourceType::Workload);
        if version == "3" {
            break;
        }
    }
}

#[tokio::test]
async fn an_address_is_asked_for_as_istio_s_proxies_ask() {
    let mesh = Mesh::of([workload(ONE, "web")]);
    let mut raw: Raw<DeltaDiscoveryRequest, _> = Raw::delta(&mesh).await;
    let url = type_url(ResourceType::Workload);
    assert_eq!(url, "type.googleapis.com/istio.workload.Address");
    raw.send(DeltaDiscoveryRequest {
        node: Some(node().encode()),
        type_url: url.to_owned(),
        resource_names_subscribe: vec![ONE.to_owned(), TWO.to_owned()],
        ..Default::default()
    })
    .await;
    let response = raw.receive().await;
    assert_eq!(response.removed_resources, [TWO]);
    let [one] = response.resources.as_slice() else { panic!("{response:?}") };
    assert_eq!((one.name.as_str(), one.aliases.as_slice()), (ONE, [ONE.to_owned()].as_slice()));
    assert_eq!(one.resource.as_ref().unwrap().type_url, url);
}
