//! Client against server, and hand-made clients against the server, over in-memory pipes.

mod envoy;
pub(crate) mod fixture;
mod lookup;

use std::time::Duration;

use varka_engine::ir::ResourceType::{Cluster, Endpoints, Listener, Route};
use varka_proto::envoy::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use varka_proto::rpc;

use crate::client::{Answer, Client};
use crate::codec::type_url;
use fixture::{Event, Mesh, Raw, ServerEvent, cluster, endpoints, listener, node, routes};

// --- our client

#[tokio::test]
async fn everything_arrives_in_order_and_is_reported_complete() {
    let mut mesh = Mesh::of([cluster("c"), endpoints("c", 1), listener("l", "r"), routes("r", "c")]);
    let mut proxy = mesh.start();
    let mut order = Vec::new();
    let mut synced = Vec::new();
    while synced.len() < crate::codec::TYPES.len() {
        match proxy.event().await {
            Event::Connected(true) => {}
            Event::Applied(update) => order.extend(update.upserts.iter().map(|r| (r.kind(), r.name().to_string()))),
            Event::Synced(kind) => synced.push(kind),
            other => panic!("{other:?}"),
        }
    }
    let expected = [(Cluster, "c"), (Endpoints, "c"), (Listener, "l"), (Route, "r")];
    assert_eq!(order, expected.map(|(kind, name)| (kind, name.to_owned())));
    synced.sort();
    let mut all = crate::codec::TYPES.to_vec();
    all.sort();
    assert_eq!(synced, all);
    let ServerEvent::Connected(said, token) = mesh.event().await else { panic!("not connected first") };
    assert_eq!(said, node());
    assert_eq!(token.as_deref(), Some("secret-token-1"));
    for kind in [Cluster, Endpoints, Listener, Route] {
        assert_eq!(mesh.event().await, ServerEvent::Acked(kind, "1".into()));
    }
}

#[tokio::test]
async fn one_changed_endpoint_is_one_resource() {
    let mesh = Mesh::of([cluster("a"), endpoints("a", 1), cluster("b"), endpoints("b", 1)]);
    let mut proxy = mesh.start();
    proxy.synced().await;
    mesh.set(endpoints("b", 2));
    let update = proxy.applied().await;
    assert_eq!((update.kind, update.upserts, update.removed), (Endpoints, vec![endpoints("b", 2)], vec![]));
    assert_eq!(&*update.version, "2");
}

#[tokio::test]
async fn what_is_removed_goes_last_and_takes_its_endpoints_along() {
    let mesh = Mesh::of([cluster("a"), endpoints("a", 1), listener("l", "r"), routes("r", "a")]);
    let mut proxy = mesh.start();
    proxy.synced().await;
    mesh.change(|table| {
        table.remove(&(Cluster, "a".into()));
        table.remove(&(Endpoints, "a".into()));
        for resource in [cluster("b"), endpoints("b", 1), routes("r", "b")] {
            table.insert((resource.kind(), resource.name().clone()), fixture::encoded(&resource));
        }
    });
    let added: Vec<_> = [proxy.applied().await, proxy.applied().await, proxy.applied().await]
        .into_iter()
        .inspect(|update| assert_eq!(update.removed, Vec::<varka_engine::ir::Str>::new()))
        .map(|update| update.kind)
        .collect();
    assert_eq!(added, [Cluster, Endpoints, Route]);
    // Endpoints that are gone are said to be, before the cluster that referred to them.
    let update = proxy.applied().await;
    assert_eq!((update.kind, update.removed), (Endpoints, vec!["a".into()]));
    let update = proxy.applied().await;
    assert_eq!((update.kind, update.removed), (Cluster, vec!["a".into()]));
}

#[tokio::test]
async fn a_bad_resource_is_named_and_the_others_are_applied() {
    let mut mesh = Mesh::of([cluster("good"), endpoints("good", 1)]);
    mesh.set_raw(Cluster, "bad", b"\xff\xff\xff");
    let mut proxy = mesh.start();
    let update = proxy.applied().await;
    assert_eq!(update.upserts, [cluster("good")]);
    let Event::Rejected(Cluster, rejected) = proxy.event_but_synced().await else { panic!("nothing was rejected") };
    assert_eq!(rejected.len(), 1);
    assert_eq!(&*rejected[0].name, "bad");
    let ServerEvent::Nacked(Cluster, message) = mesh.event_but_connected().await else { panic!("no NACK") };
    assert!(message.starts_with("bad: cluster : malformed protobuf"), "{message}");
    mesh.set(cluster("bad"));
    proxy.until_applied(&cluster("bad")).await;
}

#[tokio::test]
async fn the_last_good_state_of_a_refused_resource_stays() {
    let mut mesh = Mesh::of([cluster("c"), endpoints("c", 1)]);
    let mut proxy = mesh.start();
    proxy.synced().await;
    proxy.refuse("c");
    mesh.change(|table| {
        let changed = fixture::cluster_with_timeout("c", Duration::from_secs(9));
        table.insert((Cluster, "c".into()), fixture::encoded(&changed));
        let other = cluster("d");
        table.insert((Cluster, "d".into()), fixture::encoded(&other));
    });
    let update = proxy.applied().await;
    assert_eq!((update.kind, update.upserts.len(), update.removed.len()), (Cluster, 2, 0));
    loop {
        if let ServerEvent::Nacked(kind, message) = mesh.event().await {
            assert_eq!((kind, message.as_str()), (Cluster, "c: the sink does not like it"));
            break;
        }
    }
    // The endpoints that the good state refers to are still followed.
    mesh.set(endpoints("c", 3));
    proxy.until_applied(&endpoints("c", 3)).await;
}

#[tokio::test]
async fn a_lost_stream_is_opened_again_and_nothing_is_sent_twice() {
    let mut mesh = Mesh::of([cluster("c"), endpoints("c", 1), listener("l", "r"), routes("r", "c")]);
    let mut proxy = mesh.start();
    proxy.synced().await;
    mesh.break_streams();
    assert_eq!(proxy.event().await, Event::Connected(false));
    assert_eq!(proxy.event().await, Event::Connected(true));
    mesh.set(endpoints("c", 2));
    let update = proxy.applied().await;
    assert_eq!((update.kind, update.upserts), (Endpoints, vec![endpoints("c", 2)]));
    let mut tokens = Vec::new();
    while tokens.len() < 2 {
        if let ServerEvent::Connected(_, token) = mesh.event().await {
            tokens.push(token.unwrap());
        }
    }
    assert_eq!(tokens, ["secret-token-1", "secret-token-2"], "the token is read anew for each connection");
}

#[tokio::test]
async fn a_client_stops_when_it_is_told_to() {
    let mesh = Mesh::of([cluster("c")]);
    let (sink, mut events) = fixture::Recorder::new();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let client = tokio::spawn(crate::client::run(mesh.connector(), node(), sink, async {
        let _ = stopped.await;
    }));
    assert_eq!(events.recv().await, Some(Event::Connected(true)));
    stop.send(()).unwrap();
    client.await.unwrap();
}

#[tokio::test]
async fn names_are_asked_for_on_demand() {
    let mesh = Mesh::of([cluster("asked-a"), endpoints("asked-a", 1), cluster("asked-b"), endpoints("asked-b", 1)]);
    let (sink, mut events) = fixture::Recorder::new();
    let (client, names) = Client::new(mesh.connector(), node(), sink).on_demand();
    let task = tokio::spawn(client.run(std::future::pending()));
    assert_eq!(names.want(Cluster, "asked-a".into()).await, Ok(Answer::Present));
    assert_eq!(names.want(Cluster, "asked-a".into()).await, Ok(Answer::Present), "known by now");
    assert_eq!(names.want(Cluster, "asked-c".into()).await, Ok(Answer::Absent));
    mesh.set_raw(Cluster, "asked-d", b"\xff");
    assert_eq!(names.want(Cluster, "asked-d".into()).await, Ok(Answer::Unusable));
    mesh.set(cluster("asked-c"));
    let mut seen = Vec::new();
    while !seen.contains(&(Cluster, "asked-c".to_owned())) {
        if let Some(Event::Applied(update)) = events.recv().await {
            seen.extend(update.upserts.iter().map(|r| (r.kind(), r.name().to_string())));
        }
    }
    assert!(!seen.contains(&(Cluster, "asked-b".to_owned())), "nobody asked for b: {seen:?}");
    assert!(seen.contains(&(Endpoints, "asked-a".to_owned())), "what a refers to comes with it: {seen:?}");
    task.abort();
}

#[tokio::test]
async fn a_name_that_is_asked_for_is_answered_after_the_stream_is_back() {
    let mesh = Mesh::of([cluster("asked-a")]);
    let (sink, mut events) = fixture::Recorder::new();
    let (client, names) = Client::new(mesh.connector(), node(), sink).on_demand();
    let task = tokio::spawn(client.run(std::future::pending()));
    assert_eq!(names.want(Cluster, "asked-a".into()).await, Ok(Answer::Present));
    mesh.break_streams();
    while events.recv().await != Some(Event::Connected(false)) {}
    mesh.set(cluster("asked-b"));
    assert_eq!(names.want(Cluster, "asked-b".into()).await, Ok(Answer::Present));
    task.abort();
    let _ = task.await;
    assert!(names.want(Cluster, "asked-z".into()).await.is_err(), "a client that has stopped says so");
}

// --- hand-made clients, delta

fn delta(kind: varka_engine::ir::ResourceType, subscribe: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(node().encode()),
        type_url: type_url(kind).into(),
        resource_names_subscribe: subscribe.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

#[tokio::test]
async fn versions_that_are_held_are_not_sent_again() {
    let mesh = Mesh::of([cluster("a"), cluster("b"), cluster("c")]);
    let mut raw = Raw::delta(&mesh).await;
    raw.send(delta(Cluster, &[])).await;
    let first = raw.receive().await;
    let versions: Vec<_> = first.resources.iter().map(|r| (r.name.clone(), r.version.clone())).collect();
    assert_eq!(versions.len(), 3);
    mesh.set(fixture::cluster_with_timeout("b", Duration::from_secs(3)));
    mesh.remove(Cluster, "c");
    let mut again = Raw::delta(&mesh).await;
    let mut request = delta(Cluster, &["*"]);
    request.initial_resource_versions = versions.into_iter().collect();
    again.send(request).await;
    let response = again.receive().await;
    assert_eq!(response.resources.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["b"]);
    again.send(DeltaDiscoveryRequest { response_nonce: response.nonce, ..delta(Cluster, &[]) }).await;
    assert_eq!(again.receive().await.removed_resources, ["c"]);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_said_to_be_absent_once() {
    let mesh = Mesh::of([endpoints("a", 1)]);
    let mut raw = Raw::delta(&mesh).await;
    raw.send(delta(Endpoints, &["a", "b"])).await;
    let response = raw.receive().await;
    assert_eq!(response.resources[0].name, "a");
    assert_eq!(response.removed_resources, ["b"]);
    raw.send(DeltaDiscoveryRequest { response_nonce: response.nonce, ..delta(Endpoints, &[]) }).await;
    mesh.set(endpoints("b", 1));
    let response = raw.receive().await;
    assert_eq!((response.resources.len(), response.removed_resources.len()), (1, 0));
}

#[tokio::test]
async fn a_stream_whose_first_request_names_no_node_is_ended() {
    let mesh = Mesh::of([]);
    let mut raw = Raw::delta(&mesh).await;
    raw.send(DeltaDiscoveryRequest { node: None, ..delta(Cluster, &[]) }).await;
    assert_eq!(raw.failure().await.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn who_may_not_connect_is_told() {
    let mesh = Mesh::of([]);
    mesh.refuse_streams();
    let mut raw = Raw::delta(&mesh).await;
    raw.send(delta(Cluster, &[])).await;
    assert_eq!(raw.failure().await.code(), tonic::Code::PermissionDenied);
}

#[tokio::test]
async fn too_long_a_name_ends_the_stream() {
    let mesh = Mesh::of([]);
    let mut raw = Raw::delta(&mesh).await;
    raw.send(delta(Endpoints, &["x".repeat(2000).as_str()])).await;
    assert_eq!(raw.failure().await.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn a_type_that_is_not_served_disturbs_no_other() {
    let mesh = Mesh::of([cluster("a")]);
    let mut raw = Raw::delta(&mesh).await;
    let unknown = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
    raw.send(DeltaDiscoveryRequest { type_url: unknown.into(), ..delta(Cluster, &["x"]) }).await;
    raw.send(delta(Cluster, &[])).await;
    assert_eq!(raw.receive().await.type_url, type_url(Cluster));
}

// --- hand-made clients, state of the world

fn whole(kind: varka_engine::ir::ResourceType, names: &[&str], nonce: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        node: Some(node().encode()),
        type_url: type_url(kind).into(),
        resource_names: names.iter().map(ToString::to_string).collect(),
        response_nonce: nonce.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_envoy_is_served_by_the_state_of_the_world() {
    let mut mesh =
        Mesh::of([cluster("a"), endpoints("a", 1), endpoints("unused", 1), listener("l", "r"), routes("r", "a")]);
    let mut envoy = Raw::state_of_the_world(&mesh).await;
    envoy.send(whole(Cluster, &[], "")).await;
    let cds = envoy.receive().await;
    assert_eq!(fixture::names(&cds), ["a"]);
    envoy.send(whole(Cluster, &[], &cds.nonce)).await;
    envoy.send(whole(Endpoints, &["a"], "")).await;
    let eds = envoy.receive().await;
    assert_eq!(fixture::names(&eds), ["a"]);
    envoy.send(whole(Endpoints, &["a"], &eds.nonce)).await;
    envoy.send(whole(Listener, &[], "")).await;
    let lds = envoy.receive().await;
    envoy.send(whole(Listener, &[], &lds.nonce)).await;
    envoy.send(whole(Route, &["r"], "")).await;
    let rds = envoy.receive().await;
    assert_eq!((fixture::names(&lds), fixture::names(&rds)), (vec!["l".into()], vec!["r".into()]));
    envoy.send(whole(Route, &["r"], &rds.nonce)).await;

    // Make before break: first both clusters, then routes to the new one, then the new one alone.
    mesh.change(|table| {
        table.remove(&(Cluster, "a".into()));
        for resource in [cluster("b"), endpoints("b", 1), routes("r", "b")] {
            table.insert((resource.kind(), resource.name().clone()), fixture::encoded(&resource));
        }
    });
    let cds = envoy.receive().await;
    assert_eq!(fixture::names(&cds), ["a", "b"]);
    envoy.send(whole(Cluster, &[], &cds.nonce)).await;
    let rds = envoy.receive().await;
    assert_eq!(fixture::names(&rds), ["r"]);
    envoy.send(whole(Route, &["r"], &rds.nonce)).await;
    let cds = envoy.receive().await;
    assert_eq!(fixture::names(&cds), ["b"]);

    // An answer to a response that is not the last one counts for nothing; a NACK is noted, and nothing is sent again.
    envoy.send(whole(Cluster, &[], "0")).await;
    let error_detail = Some(rpc::Status { code: 3, message: "no".into(), ..Default::default() });
    envoy.send(DiscoveryRequest { error_detail, ..whole(Cluster, &[], &cds.nonce) }).await;
    loop {
        if let ServerEvent::Nacked(kind, message) = mesh.event().await {
            assert_eq!((kind, message.as_str()), (Cluster, "no"));
            break;
        }
    }
    envoy.send(whole(Endpoints, &["b"], &eds.nonce)).await;
    let eds = envoy.receive().await;
    assert_eq!((eds.type_url.as_str(), fixture::names(&eds)), (type_url(Endpoints), vec!["b".into()]));
}

#[tokio::test]
async fn a_changed_cluster_gets_its_endpoints_anew() {
    let mesh = Mesh::of([cluster("a"), endpoints("a", 1)]);
    let mut envoy = Raw::state_of_the_world(&mesh).await;
    envoy.send(whole(Cluster, &[], "")).await;
    let cds = envoy.receive().await;
    envoy.send(whole(Cluster, &[], &cds.nonce)).await;
    envoy.send(whole(Endpoints, &["a"], "")).await;
    let eds = envoy.receive().await;
    envoy.send(whole(Endpoints, &["a"], &eds.nonce)).await;
    mesh.set(fixture::cluster_with_timeout("a", Duration::from_secs(7)));
    let cds = envoy.receive().await;
    assert_eq!(cds.type_url, type_url(Cluster));
    envoy.send(whole(Cluster, &[], &cds.nonce)).await;
    let eds = envoy.receive().await;
    assert_eq!((eds.type_url.as_str(), fixture::names(&eds)), (type_url(Endpoints), vec!["a".into()]));
}
