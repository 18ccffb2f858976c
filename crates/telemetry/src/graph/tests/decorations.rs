//! What is added to the traffic.

use super::super::facts::{
    DestinationRule, Facts, Gateway, KubernetesGateway, Replicas, ServiceEntry, VirtualService, Waypoint, WorkloadEntry,
};
use super::super::{
    Ambient, Appender, Bytes, Durations, Egress, GatewayKind, GraphType, Idle, Labels, Metrics, NodeKind, NodeName,
    NodeOfInterest, ResponseTimes, Series, WaypointEdge, decorate, kiali,
};
use super::{
    CLUSTER, NOBODY, Who, edge, edges, graph, keys, map, namespaces, node, options, report, series, service, who,
    workload,
};

const CLIENT: Who = who("blog", "client", "client");
const WEB: Who = who("blog", "web", "web");
const HOST: &str = "web.blog.svc.cluster.local";

fn asked(reporter: &'static str) -> Labels<'static> {
    report(reporter, CLIENT, WEB, "web", HOST)
}

fn requests(requests: Vec<Series<'static>>) -> Metrics<'static> {
    Metrics { requests, ..Metrics::default() }
}

fn one() -> Metrics<'static> {
    requests(vec![series(asked("destination"), 4.0)])
}

fn facts() -> Facts {
    Facts {
        namespaces: namespaces(&["blog"]),
        services: vec![service("blog", "web", "web", 80)],
        workloads: vec![workload(CLIENT), workload(WEB)],
        ..Facts::default()
    }
}

#[test]
fn what_is_gone_is_left_out() {
    let mut facts = facts();
    facts.workloads[1].pods.clear();
    let idle = |from, to: Who| series(report("destination", from, to, to.name, "host"), 0.0);
    let gone = who("blog", "gone", "gone");
    let metrics = requests(vec![idle(CLIENT, WEB), idle(CLIENT, gone), idle(NOBODY, WEB)]);
    let mut options = options(GraphType::Workload, &["blog"], &[Appender::DeadNode]);
    options.include_idle_edges = true;
    let graph = graph(&metrics, &facts, &options);
    assert_eq!(keys(&graph), ["wl_Kubernetes_blog_client", "wl_Kubernetes_blog_web"]);
    assert_eq!(edges(&graph), ["wl_client -> wl_web http 0.000"]);
    assert!(node(&graph, "wl_Kubernetes_blog_web").dead && !node(&graph, "wl_Kubernetes_blog_client").dead);
}

#[test]
fn idle_is_told_apart() {
    let of = |name| who("blog", name, name);
    let mut facts = facts();
    for name in ["used", "never", "zero", "bare", "lost", "asking"] {
        facts.services.push(service("blog", name, name, 80));
        if name != "lost" {
            facts.workloads.push(workload(of(name)));
        }
    }
    for workload in &mut facts.workloads {
        match workload.name.as_str() {
            "used" | "asking" => workload.last_seen = Some(77),
            "zero" => workload.replicas = Some(Replicas::default()),
            "bare" => workload.sidecar = false,
            _ => {}
        }
    }
    facts.services.iter_mut().filter(|s| s.name == "used").for_each(|s| s.last_seen = Some(77));
    let mut options = options(GraphType::VersionedApp, &["blog"], &[Appender::IdleNode]);
    options.inject_service_nodes = true;
    let graph = graph(&one(), &facts, &options);
    // What asks others was seen; nobody has asked it.
    assert_eq!(node(&graph, "svc_Kubernetes_blog_asking").idle, Some(Idle::NeverSeen));
    assert_eq!(node(&graph, "vapp_Kubernetes_blog_asking").idle, Some(Idle::NotInWindow { last_seen: 77 }));
    for (name, want) in [
        ("used", Idle::NotInWindow { last_seen: 77 }),
        ("never", Idle::NeverSeen),
        ("zero", Idle::ScaledToZero),
        ("bare", Idle::NotInMesh),
    ] {
        assert_eq!(node(&graph, &format!("svc_{CLUSTER}_blog_{name}")).idle, Some(want), "{name}");
        assert_eq!(node(&graph, &format!("vapp_{CLUSTER}_blog_{name}")).idle, Some(want), "{name}");
    }
    assert_eq!(node(&graph, "svc_Kubernetes_blog_lost").idle, Some(Idle::NoPods));
    assert_eq!(node(&graph, "vapp_Kubernetes_blog_web").idle, None);
}

fn with_resources() -> Facts {
    let cluster = || CLUSTER.to_owned();
    let mut facts = facts();
    facts.destination_rules = vec![DestinationRule {
        cluster: cluster(),
        namespace: "blog".into(),
        host: HOST.into(),
        subsets_with_circuit_breaker: vec![map(&[("version", "v1")])],
        ..DestinationRule::default()
    }];
    facts.virtual_services = vec![VirtualService {
        cluster: cluster(),
        namespace: "blog".into(),
        name: "web".into(),
        hosts: vec!["web".into()],
        destinations: vec!["web".into()],
        request_routing: true,
        fault_injection: true,
        mirroring: true,
        ..VirtualService::default()
    }];
    facts.gateways = vec![Gateway {
        cluster: cluster(),
        namespace: "blog".into(),
        name: "front".into(),
        selector: map(&[("app", "client")]),
        hosts: vec!["www.example.com".into()],
    }];
    facts.workloads[0].labels.insert("operator.istio.io/component".into(), "IngressGateways".into());
    facts.workload_entries = vec![WorkloadEntry {
        cluster: cluster(),
        namespace: "blog".into(),
        name: "vm".into(),
        labels: map(&[("app", "web"), ("version", "v1")]),
    }];
    facts
}

#[test]
fn resources_give_badges() {
    let mut facts = with_resources();
    let mut options =
        options(GraphType::VersionedApp, &["blog"], &[Appender::Istio, Appender::WorkloadEntry, Appender::Labeler]);
    options.inject_service_nodes = true;
    let badged = graph(&one(), &facts, &options);
    let web = node(&badged, "svc_Kubernetes_blog_web");
    assert_eq!(web.app, "web");
    let badges = &web.badges;
    assert!(badges.circuit_breaker && badges.request_routing && badges.fault_injection && badges.mirroring);
    assert!(!badges.request_timeout && !badges.traffic_shifting && !badges.tcp_traffic_shifting);
    assert_eq!(badges.virtual_service, Some(("web".into(), vec!["web".into()])));
    let version = node(&badged, "vapp_Kubernetes_blog_web");
    assert!(version.badges.circuit_breaker && version.badges.virtual_service.is_none());
    assert_eq!(version.badges.workload_entries, ["vm"]);
    let client = node(&badged, "vapp_Kubernetes_blog_client");
    assert_eq!(client.badges.gateway, Some((GatewayKind::Ingress, vec!["www.example.com".into()])));
    assert_eq!(client.labels, map(&[("operator.istio.io/component", "IngressGateways")]));
    let form = serde_json::to_value(kiali::render(&badged)).unwrap().to_string();
    for text in [
        r#""hasCB":true"#,
        r#""hasVS":{"hostnames":["web"]}"#,
        r#""hasWorkloadEntry":[{"name":"vm"}]"#,
        r#""isGateway":{"ingressInfo":{"hostnames":["www.example.com"]},"egressInfo":{},"gatewayAPIInfo":{}}"#,
    ] {
        assert!(form.contains(text), "{text} in {form}");
    }
    // Of another version, the subset says nothing.
    facts.destination_rules[0].subsets_with_circuit_breaker = vec![map(&[("version", "v2")])];
    let other = graph(&one(), &facts, &options);
    assert!(!node(&other, "vapp_Kubernetes_blog_web").badges.circuit_breaker);
    // A short name is one of the resource's own namespace.
    facts.virtual_services[0].namespace = "shop".into();
    let other = graph(&one(), &facts, &options);
    assert!(node(&other, "svc_Kubernetes_blog_web").badges.virtual_service.is_none());
}

#[test]
fn times_and_bytes_are_on_edges() {
    let bucket = |reporter, le, rate| series(Labels { le, ..asked(reporter) }, rate);
    let bytes = |reporter, rate| series(asked(reporter), rate);
    let metrics = Metrics {
        durations: Durations::together(
            &[
                bucket("destination", "10", 2.0),
                bucket("destination", "20", 4.0),
                bucket("destination", "+Inf", 4.0),
                bucket("source", "100", 4.0),
                bucket("source", "+Inf", 4.0),
            ],
            &[series(asked("destination"), 48.0)],
            &[series(asked("destination"), 4.0)],
        ),
        request_bytes: vec![bytes("source", 900.0), bytes("destination", 901.0)],
        response_bytes: vec![bytes("source", 70.0)],
        ..one()
    };
    let options = options(GraphType::Workload, &["blog"], &[Appender::ResponseTime, Appender::Throughput]);
    let graph = graph(&metrics, &facts(), &options);
    let edge = edge(&graph, "client", "web");
    let times = ResponseTimes { avg: 12.0, p50: 10.0, p95: 19.0, p99: 19.8 };
    assert_eq!(edge.response_times, Some(times));
    // The client's word where the server says nothing.
    assert_eq!(edge.throughput, Some(Bytes { request: 900.0, response: 70.0 }));
}

#[test]
fn quantiles_are_prometheus() {
    let inf = f64::INFINITY;
    for (buckets, share, want) in [
        (vec![(10.0, 5.0), (100.0, 10.0), (inf, 10.0)], 0.75, Some(55.0)),
        (vec![(10.0, 5.0), (100.0, 5.0), (inf, 10.0)], 0.99, Some(100.0)),
        (vec![(10.0, 0.0), (inf, 0.0)], 0.5, None),
        // Without a last bucket it is no histogram.
        (vec![(10.0, 5.0)], 0.5, None),
        (Vec::new(), 0.5, None),
    ] {
        assert_eq!(decorate::quantile(&buckets, share), want, "{buckets:?}");
    }
}

fn mail(export_to: &[&str]) -> ServiceEntry {
    ServiceEntry {
        cluster: CLUSTER.into(),
        namespace: "blog".into(),
        name: "mail".into(),
        hosts: vec!["smtp.example.net".into(), "imap.example.net".into()],
        export_to: export_to.iter().map(|to| (*to).to_owned()).collect(),
        ..ServiceEntry::default()
    }
}

fn to_host(from: Who, host: &'static str, rate: f64) -> Series<'static> {
    series(report("source", from, NOBODY, host, host), rate)
}

#[test]
fn service_entries_stand_for_their_hosts() {
    let metrics = requests(vec![
        to_host(CLIENT, "smtp.example.net", 2.0),
        to_host(CLIENT, "imap.example.net", 3.0),
        to_host(who("shop", "cart", "cart"), "smtp.example.net", 1.0),
    ]);
    let mut facts = facts();
    facts.namespaces = namespaces(&["blog", "shop"]);
    let options = options(GraphType::Workload, &["blog", "shop"], &[Appender::ServiceEntry]);
    facts.service_entries = vec![mail(&[])];
    let all = graph(&metrics, &facts, &options);
    assert_eq!(edges(&all), ["wl_client -> svc_mail http 5.000", "wl_shop_cart -> svc_shop_mail http 1.000"]);
    let mail_node = node(&all, "svc_Kubernetes_blog_mail");
    assert_eq!(mail_node.service_entry.as_ref().unwrap().hosts.len(), 2);
    assert_eq!((mail_node.traffic.http.incoming.total, mail_node.services.len()), (5.0, 2));
    facts.service_entries = vec![mail(&["."])];
    assert_eq!(
        edges(&graph(&metrics, &facts, &options)),
        ["wl_client -> svc_mail http 5.000", "wl_shop_cart -> svc_unknown_unknown_smtp.example.net http 1.000"]
    );
}

#[test]
fn classified_requests_have_nodes() {
    let of = |aggregate, rate| series(Labels { aggregate, ..asked("destination") }, rate);
    let metrics = requests(vec![of("/read", 3.0), of("/write", 1.0), of("unknown", 2.0), series(asked("source"), 6.0)]);
    let mut options = options(GraphType::Workload, &["blog"], &[Appender::AggregateNode]);
    let label = "agg_request_operation";
    assert_eq!(
        edges(&graph(&metrics, &facts(), &options)),
        [
            format!("{label}_/read -> wl_web http 3.000"),
            format!("{label}_/write -> wl_web http 1.000"),
            format!("wl_client -> {label}_/read http 3.000"),
            format!("wl_client -> {label}_/write http 1.000"),
            "wl_client -> wl_web http 2.000".to_owned(),
        ]
    );
    options.inject_service_nodes = true;
    options.aggregate = "path".into();
    let before_service = graph(&metrics, &facts(), &options);
    let class = node(&before_service, "agg_Kubernetes_blog_path_/read_web");
    assert_eq!((class.kind, class.traffic.http.incoming.total), (NodeKind::Aggregate, 3.0));
    // One value alone.
    let what = NodeName::Aggregate("path".into(), "/read".into(), None);
    options.inject_service_nodes = false;
    options.node = Some(NodeOfInterest { cluster: "unknown".into(), namespace: "blog".into(), what });
    assert_eq!(
        edges(&graph(&metrics, &facts(), &options)),
        ["agg_path_/read -> wl_web http 3.000", "wl_client -> agg_path_/read http 3.000"]
    );
}

#[test]
fn services_ask_what_their_workloads_ask() {
    let was = who("blog", "was", "was");
    let metrics = requests(vec![
        series(report("destination", CLIENT, WEB, "web-a", "web-a.blog.svc.cluster.local"), 3.0),
        series(report("destination", CLIENT, WEB, "web-b", "web-b.blog.svc.cluster.local"), 1.0),
        series(report("destination", WEB, was, "was", "was.blog.svc.cluster.local"), 8.0),
    ]);
    let graph = graph(&metrics, &facts(), &options(GraphType::Service, &["blog"], &[Appender::Health]));
    assert_eq!(
        edges(&graph),
        [
            "svc_web-a -> svc_was http 6.000",
            "svc_web-b -> svc_was http 2.000",
            "wl_client -> svc_web-a http 3.000",
            "wl_client -> svc_web-b http 1.000",
        ],
        "each in its share, and nothing twice"
    );
    assert_eq!(node(&graph, "svc_Kubernetes_blog_was").traffic.http.incoming.total, 8.0);
    assert!(edge(&graph, "web-a", "was").health.is_some());
}

#[test]
fn only_what_was_asked_for_is_inside() {
    let far = who("hidden", "far", "far");
    let metrics = requests(vec![
        series(report("source", CLIENT, far, "far", "far.hidden.svc.cluster.local"), 1.0),
        to_host(CLIENT, "BlackHoleCluster", 1.0),
        // Neither end lies in the namespace.
        series(report("source", far, far, "far", "far.hidden.svc.cluster.local"), 9.0),
        // It reached nobody, and was meant for a service of the namespace.
        series(report("source", far, NOBODY, "web", "web.blog.svc.cluster.local"), 2.0),
    ]);
    let graph = graph(&metrics, &facts(), &options(GraphType::Workload, &["blog"], &[]));
    let far = node(&graph, "wl_Kubernetes_hidden_far");
    assert!(far.outside && far.inaccessible);
    let nowhere = node(&graph, "svc_unknown_unknown_BlackHoleCluster");
    assert!(nowhere.inaccessible && !nowhere.outside);
    assert_eq!(nowhere.egress, Some(Egress::BlackHoleCluster));
    let client = node(&graph, "wl_Kubernetes_blog_client");
    assert!(client.root && !client.outside && !client.inaccessible);
    assert_eq!(graph.edges.len(), 3, "{:?}", edges(&graph));
}

#[test]
fn boxes_are_drawn_from_inside() {
    let v2 = Who { name: "web-v2", version: "v2", ..WEB };
    let to = |from| series(report("destination", from, v2, "web", HOST), 1.0);
    let east = Who { cluster: "east", ..CLIENT };
    let metrics =
        requests(vec![series(asked("destination"), 1.0), to(CLIENT), to(east), to(who("shop", "cart", "cart"))]);
    let mut options = options(GraphType::VersionedApp, &["blog"], &[]);
    (options.box_by.namespace, options.box_by.cluster) = (true, true);
    let answer = kiali::render(&graph(&metrics, &facts(), &options));
    let nodes: Vec<_> = answer.elements.nodes.iter().map(|node| &node.data).collect();
    let boxes: Vec<_> =
        nodes.iter().filter_map(|n| n.is_box.map(|by| (by, n.namespace.as_str(), n.app.as_str()))).collect();
    assert_eq!(boxes, [("cluster", "", ""), ("namespace", "blog", ""), ("app", "blog", "web")]);
    let parent = |name: &str| {
        let node = nodes.iter().find(|n| n.workload == name && n.cluster == CLUSTER).unwrap();
        nodes.iter().find(|n| n.id == node.parent).and_then(|n| n.is_box)
    };
    assert_eq!((parent("web"), parent("client"), parent("cart")), (Some("app"), Some("namespace"), Some("cluster")));
}

#[test]
fn waypoints_are_shown_or_left_out() {
    let waypoint = who("blog", "waypoint", "waypoint");
    let tcp = |from, to| {
        let labels = Labels { app: "ztunnel", request_protocol: "tcp", ..report("destination", from, to, "web", HOST) };
        series(labels, 10.0)
    };
    let l7 = series(Labels { reporter: "waypoint", ..asked("destination") }, 4.0);
    let metrics = Metrics {
        requests: vec![l7],
        tcp_received_bytes: vec![tcp(CLIENT, waypoint), tcp(waypoint, CLIENT), tcp(waypoint, WEB)],
        ..Metrics::default()
    };
    let mut facts = facts();
    facts.waypoints = vec![Waypoint { cluster: CLUSTER.into(), namespace: "blog".into(), name: "waypoint".into() }];
    facts.kubernetes_gateways = vec![KubernetesGateway {
        cluster: CLUSTER.into(),
        namespace: "blog".into(),
        name: "front".into(),
        hosts: Vec::new(),
    }];
    facts.workloads[0].labels.insert("gateway.networking.k8s.io/gateway-name".into(), "front".into());
    let appenders = [Appender::Ambient, Appender::Istio, Appender::SecurityPolicy, Appender::MeshCheck];
    let mut options = options(GraphType::VersionedApp, &["blog"], &appenders);
    let shown = graph(&metrics, &facts, &options);
    assert!(node(&shown, "wl_Kubernetes_blog_waypoint").waypoint, "a workload in every graph");
    let to = edge(&shown, "blog_client", "blog_waypoint");
    let Some(WaypointEdge::To(Some(back))) = to.waypoint else { panic!("{:?}", to.waypoint) };
    assert!(shown.edges[back].hidden && to.security.is_some());
    let client = node(&shown, "vapp_Kubernetes_blog_client");
    assert!(client.root && client.badges.ingress_waypoint);
    assert_eq!(client.badges.gateway, Some((GatewayKind::GatewayApi, vec!["*".into()])));
    options.show_waypoints = false;
    assert_eq!(edges(&graph(&metrics, &facts, &options)), ["vapp_client -> vapp_web http 4.000"]);
    // Without ambient, neither its reports nor its waypoints count.
    options.rates.ambient = Ambient::None;
    assert!(graph(&metrics, &facts, &options).nodes.is_empty());
}

#[test]
fn a_node_has_its_neighbours() {
    let was = who("blog", "was", "was");
    let to_was = |reporter| series(report(reporter, WEB, was, "was", "was.blog.svc.cluster.local"), 5.0);
    let metrics = requests(vec![
        series(asked("destination"), 4.0),
        to_was("source"),
        to_was("destination"),
        series(report("source", was, CLIENT, "client", "client.blog.svc.cluster.local"), 1.0),
    ]);
    let mut options = options(GraphType::VersionedApp, &["blog"], &[]);
    let mut of = |what| {
        options.node = Some(NodeOfInterest { cluster: "unknown".into(), namespace: "blog".into(), what });
        edges(&graph(&metrics, &facts(), &options))
    };
    let both = ["vapp_client -> vapp_web http 4.000", "vapp_web -> vapp_was http 5.000"];
    assert_eq!(of(NodeName::App("web".into())), both);
    assert_eq!(of(NodeName::Version("web".into(), "v1".into())), both);
    assert_eq!(of(NodeName::Workload("web".into())), both);
    assert_eq!(of(NodeName::Service("web".into())), [both[0]]);
    assert!(of(NodeName::Version("web".into(), "v2".into())).is_empty());
}
