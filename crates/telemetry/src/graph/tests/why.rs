//! What a client that found no service probably wanted.

use super::super::Facts;
use super::super::facts::{Gateway, ServiceEntry, VirtualService};
use super::super::unmatched::{Asked, Reason, explain};
use super::{service, who, workload};

fn facts() -> Facts {
    Facts {
        services: vec![
            service("blog", "was-service", "was", 8080),
            service("blog", "web-service", "web", 80),
            service("payments", "ledger", "ledger", 9000),
        ],
        workloads: vec![workload(who("blog", "was", "was"))],
        service_entries: vec![ServiceEntry {
            cluster: "Kubernetes".into(),
            namespace: "blog".into(),
            name: "mail".into(),
            hosts: vec!["smtp.example.net".into(), "*.wiki.example".into()],
            ports: vec![465],
            export_to: vec![".".into()],
            addresses: vec!["203.0.113.9".into()],
            ..ServiceEntry::default()
        }],
        gateways: vec![Gateway {
            namespace: "blog".into(),
            name: "front".into(),
            hosts: vec!["blog/www.example.com".into(), "*".into()],
            ..Gateway::default()
        }],
        virtual_services: vec![VirtualService {
            namespace: "blog".into(),
            name: "api".into(),
            hosts: vec!["api.example.com".into()],
            ..VirtualService::default()
        }],
        ..Facts::default()
    }
}

/// Reason and the host to ask for.
fn of(host: &str, address: &str, port: Option<u16>) -> (Reason, Option<String>) {
    let asked = Asked { cluster: "Kubernetes", namespace: "blog", host, address, port };
    let (reason, meant) = explain(&asked, &facts());
    (reason, meant.map(|meant| meant.host))
}

#[test]
fn hosts_are_told_apart() {
    let was = Some("was-service.blog.svc.cluster.local".to_owned());
    let public = |resource: &str| Reason::PublicHost { resource: resource.into() };
    for (host, port, reason, meant) in [
        ("", None, Reason::NothingKnown, None),
        ("unknown", None, Reason::NothingKnown, None),
        ("www.example.com", None, public("Gateway blog/front"), None),
        ("WWW.example.com:443", None, public("Gateway blog/front"), None),
        ("api.example.com", None, public("VirtualService blog/api"), None),
        ("was-service:9090", None, Reason::PortNotServed { ports: vec![8080] }, was.clone()),
        ("was-service.blog.svc.cluster.local", Some(9090), Reason::PortNotServed { ports: vec![8080] }, was.clone()),
        ("was-service", Some(8080), Reason::NotVisible, was.clone()),
        ("ledger", None, Reason::OtherNamespace, Some("ledger.payments.svc.cluster.local".into())),
        ("ledger.blog", None, Reason::OtherNamespace, Some("ledger.payments.svc.cluster.local".into())),
        ("was", None, Reason::Similar, was.clone()),
        ("was-servcie.blog", None, Reason::Similar, was.clone()),
        ("smtp.example.net", Some(25), Reason::PortNotServed { ports: vec![465] }, Some("smtp.example.net".into())),
        ("smtp.example.net", None, Reason::NotVisible, Some("smtp.example.net".into())),
        ("en.wiki.example", None, Reason::NotVisible, Some("en.wiki.example".into())),
        ("stmp.example.net", None, Reason::Similar, Some("smtp.example.net".into())),
        ("www.somewhere.test", None, Reason::NotRegistered, None),
    ] {
        assert_eq!(of(host, "", port), (reason, meant), "{host}");
    }
}

#[test]
fn addresses_are_looked_up() {
    let was = Some("was-service.blog.svc.cluster.local".to_owned());
    // Addresses of the test's services and pods end in the length of the name.
    assert_eq!(of("10.96.0.11:8080", "", None), (Reason::NotVisible, was.clone()));
    assert_eq!(of("", "10.96.0.11", Some(81)), (Reason::PortNotServed { ports: vec![8080] }, was.clone()));
    assert_eq!(of("", "10.244.0.3", None), (Reason::PodAddress { workload: "was".into() }, was));
    assert_eq!(of("203.0.113.9", "", Some(465)), (Reason::NotVisible, Some("smtp.example.net".into())));
    assert_eq!(of("[2001:db8::1]:80", "", None), (Reason::NotRegistered, None));
    // Where the host is somebody else's, the address tells which service was meant.
    let public = Reason::PublicHost { resource: "Gateway blog/front".into() };
    let was = Some("was-service.blog.svc.cluster.local".to_owned());
    assert_eq!(of("www.example.com", "10.96.0.11", Some(8080)), (public, was.clone()));
    assert_eq!(of("www.somewhere.test", "10.96.0.11", Some(8080)), (Reason::NotRegistered, was));
}
