//! The system of the example: an ingress outside the mesh, web and was within it, a database without sidecar.

use super::super::facts::Ingress;
use super::super::unmatched::Reason;
use super::super::{Appender, Facts, GraphType, Labels, Metrics, NodeKind, Options, Unit, kiali};
use super::{
    NOBODY, Who, edge, edges, graph, namespaces, node, options, over_mtls, report, series, service, who, workload,
};

const INGRESS: Who = who("ingress-nginx", "ingress", "ingress");
const WEB: Who = who("blog", "web", "web");
const WAS: Who = who("blog", "was", "was");
const MYSQL: Who = who("blog", "mysql", "mysql");
const WAS_HOST: &str = "was-service.blog.svc.cluster.local";
const WEB_HOST: &str = "web-service.blog.svc.cluster.local";

fn metrics() -> Metrics<'static> {
    let tcp = |labels| Labels { request_protocol: "tcp", ..labels };
    let to_was = |reporter| over_mtls(report(reporter, WEB, WAS, "was-service", WAS_HOST));
    Metrics {
        requests: vec![
            // The ingress has no sidecar: web alone reports, and knows it by its address.
            series(report("destination", INGRESS, WEB, "web-service", WEB_HOST), 10.0),
            series(to_was("source"), 8.0),
            series(to_was("destination"), 8.0),
            series(Labels { response_code: "503", response_flags: "UF", ..to_was("source") }, 1.0),
        ],
        // A database without sidecar: was alone reports.
        tcp_received_bytes: vec![series(
            tcp(report("source", WAS, MYSQL, "mysql", "mysql.blog.svc.cluster.local")),
            300.0,
        )],
        ..Metrics::default()
    }
}

fn facts() -> Facts {
    let mut mysql = workload(MYSQL);
    mysql.sidecar = false;
    Facts {
        namespaces: namespaces(&["blog", "ingress-nginx"]),
        services: vec![
            service("blog", "web-service", "web", 80),
            service("blog", "was-service", "was", 8080),
            service("blog", "mysql", "mysql", 3306),
        ],
        workloads: vec![workload(WEB), workload(WAS), mysql],
        ..Facts::default()
    }
}

fn asked() -> Options {
    let mut options = options(GraphType::VersionedApp, &["blog"], &[Appender::MeshCheck, Appender::SecurityPolicy]);
    options.inject_service_nodes = true;
    options
}

#[test]
fn every_hop_is_there_once() {
    let graph = graph(&metrics(), &facts(), &asked());
    assert_eq!(
        edges(&graph),
        [
            "svc_mysql -> vapp_mysql tcp 300.000",
            "svc_was-service -> vapp_was http 9.000",
            "svc_web-service -> vapp_web http 10.000",
            "vapp_ingress-nginx_ingress -> svc_web-service http 10.000",
            "vapp_was -> svc_mysql tcp 300.000",
            "vapp_web -> svc_was-service http 9.000",
        ]
    );
    let web = node(&graph, "vapp_Kubernetes_blog_web");
    assert_eq!((web.traffic.http.incoming.total, web.traffic.http.outgoing.total), (10.0, 9.0));
    let ingress = node(&graph, "vapp_Kubernetes_ingress-nginx_ingress");
    assert!(ingress.root && ingress.outside && !ingress.inaccessible);
    assert!(node(&graph, "vapp_Kubernetes_blog_mysql").out_of_mesh);
    assert!(!node(&graph, "vapp_Kubernetes_blog_was").out_of_mesh);
    let to_was = edge(&graph, "svc_Kubernetes_blog_was-service", "vapp_Kubernetes_blog_was");
    let security = to_was.security.as_ref().unwrap();
    assert_eq!(security.mtls, 1.0);
    assert_eq!(security.source_principal.as_deref(), Some("spiffe://cluster.local/ns/blog/sa/client"));
    assert_eq!((to_was.rates.server_errors, to_was.rates.errors()), (1.0, 1.0));
    let to_web = edge(&graph, "blog_web-service", "vapp_Kubernetes_blog_web").security.as_ref().unwrap();
    assert_eq!(to_web.mtls, 0.0);
    assert_eq!(edge(&graph, "blog_was", "blog_mysql").unit, Unit::Bytes);
}

#[test]
fn a_plain_client_is_not_shown_again_as_nobody() {
    let mut metrics = metrics();
    // web calls was in plain text: was does not know whom it serves.
    for series in &mut metrics.requests {
        if series.labels.reporter == "destination" && series.labels.destination_workload == "was" {
            series.labels = report("destination", NOBODY, WAS, "was-service", WAS_HOST);
        }
    }
    let graph = graph(&metrics, &facts(), &asked());
    assert!(graph.nodes.iter().all(|node| node.kind != NodeKind::Unknown), "{:?}", edges(&graph));
    assert_eq!(edge(&graph, "web", "was-service").rates.total, 9.0);
    assert_eq!(graph.left_out.reported_twice, 1);
}

#[test]
fn a_wrong_host_is_explained() {
    let mut metrics = metrics();
    let passed = report("source", WEB, NOBODY, "PassthroughCluster", "blog.example.com");
    // nginx keeps the Host: web's proxy finds no service, and was gets the request all the same.
    metrics.requests.retain(|s| s.labels.destination_workload != "was");
    metrics.requests.push(series(passed, 5.0));
    metrics.requests.push(series(report("destination", WEB, WAS, "was-service", WAS_HOST), 5.0));
    let mut facts = facts();
    facts.ingresses =
        vec![Ingress { namespace: "blog".into(), name: "blog".into(), hosts: vec!["blog.example.com".into()] }];
    let graph = graph(&metrics, &facts, &asked());
    let was = node(&graph, "vapp_Kubernetes_blog_was");
    assert_eq!(was.traffic.http.incoming.total, 5.0, "{:?}", edges(&graph));
    let edge = edge(&graph, "blog_web", "PassthroughCluster");
    let [unmatched] = edge.unmatched.as_slice() else { panic!("{:?}", edge.unmatched) };
    assert_eq!(unmatched.reason, Reason::PublicHost { resource: "Ingress blog/blog".into() });
    assert_eq!((unmatched.host.as_str(), unmatched.rate), ("blog.example.com", 5.0));
    let arrived = unmatched.arrived.as_ref().unwrap();
    assert_eq!((arrived.workload.as_str(), arrived.service.as_str()), ("was", "was-service"));
    let text = &unmatched.message;
    assert!(text.contains("proxy_set_header Host $host") && text.contains("blog/was"), "{text}");
}

#[test]
fn kiali_gets_the_same_traffic() {
    let answer = serde_json::to_value(kiali::render(&graph(&metrics(), &facts(), &asked()))).unwrap();
    let nodes = answer["elements"]["nodes"].as_array().unwrap();
    assert!(nodes.iter().all(|n| n["data"]["nodeType"] != "box"), "one version each");
    let edges = answer["elements"]["edges"].as_array().unwrap();
    let mtls: Vec<_> = edges.iter().filter(|e| e["data"]["isMTLS"] == "100").collect();
    assert_eq!(mtls.len(), 2);
    assert_eq!(mtls[0]["data"]["traffic"]["rates"]["httpPercentErr"], "11.1");
    assert_eq!(mtls[0]["data"]["traffic"]["responses"]["503"]["flags"]["UF"], "11.1");
    assert!(edges.iter().all(|e| e["data"]["isMTLS"] != "0"));
}
