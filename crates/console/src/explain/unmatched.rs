//! Requests that no service was found for: where they go all the same, what was probably meant, and what mends it.

use std::net::SocketAddr;

use varka_engine::ir::LocalReplyMapping;
use varka_telemetry::graph::unmatched::{Asked, Meant, Reason, Unmatched, explain};

use super::answer::{By, Outcome, Step};
use super::destination;
use super::fix::{Wanted, service_entry};
use super::http::Forwarded;
use super::mesh::Mesh;
use super::proxy::Proxy;
use super::walk::{Delivery, End, Walk};

/// Whether a cluster stands for what is not known.
pub(super) fn is_nowhere(cluster: &str) -> bool {
    matches!(cluster, "PassthroughCluster" | "BlackHoleCluster")
}

/// The end of what leaves the mesh.
pub(super) fn outside(delivery: &Delivery<'_>) -> End {
    let how = if delivery.tls.is_some() { "over TLS" } else { "as it is" };
    End::new(Outcome::Ok, format!("It leaves the mesh, {how}, to {}.", destination::shown(delivery.to)))
}

/// A request that is sent to no service.
pub(super) fn send<'m>(
    walk: &mut Walk<'m>,
    proxy: &Proxy<'m>,
    to: &Forwarded,
    dialled: SocketAddr,
    mappings: Option<Vec<LocalReplyMapping>>,
) -> Result<Delivery<'m>, End> {
    let why = why(walk, proxy, to.http, dialled);
    let policy = traffic_policy(walk.mesh, proxy);
    if &*to.cluster == "BlackHoleCluster" {
        walk.step(Step::new("blackhole", "BlackHoleCluster", why.clone()).by(policy).fails());
        return Err(End::new(Outcome::Blackhole, format!("It goes nowhere: {why}")));
    }
    walk.step(Step::new("passthrough", "PassthroughCluster", why.clone()));
    let consequence = "no route, no retry, no policy of the client's side and no mutual TLS apply";
    walk.unmatched =
        Some((Outcome::Passthrough, format!("It is passed on to where it was dialled; {consequence}: {why}")));
    let (address, step) = walk.behind(proxy.pod, dialled)?;
    let because = "the address that the application dialled";
    walk.step(step.unwrap_or_else(|| Step::new("endpoint", destination::shown(address), because)));
    walk.step(Step::new("tls", "plain text", "what is passed on is passed on as it is"));
    Ok(Delivery { from: proxy.pod, to: address, tls: None, http: true, mappings })
}

/// The proxy answers for what it does not know.
pub(super) fn blocked(walk: &mut Walk<'_>, status: u16) -> End {
    let Some(hop) = walk.hops.last() else { return End::new(Outcome::Blackhole, "It goes nowhere.") };
    let name = (hop.proxy.namespace.clone(), hop.proxy.workload.clone());
    let Some(pod) = walk.mesh.pod_of(&name.0, &name.1) else { return End::new(Outcome::Blackhole, "It goes nowhere.") };
    let proxy = Proxy::new(walk.mesh, pod);
    let dialled = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), port_of(&walk.request.authority));
    let why = why(walk, &proxy, true, dialled);
    let policy = traffic_policy(walk.mesh, &proxy);
    walk.step(Step::new("blackhole", "block_all", why.clone()).by(policy).fails());
    End::new(Outcome::Blackhole, format!("The proxy answers {status}: {why}")).answers(status)
}

fn port_of(authority: &str) -> u16 {
    authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(80)
}

/// The Sidecar resource that says what becomes of what is not known; mostly it is the mesh's setting.
fn traffic_policy(mesh: &Mesh, proxy: &Proxy<'_>) -> Option<By> {
    let namespace = proxy.pod.namespace.as_str();
    let all = mesh.world.of("networking.istio.io", "Sidecar");
    let own = all.iter().find(|sidecar| {
        sidecar.pointer("/metadata/namespace").and_then(serde_json::Value::as_str) == Some(namespace)
            && sidecar.pointer("/spec/outboundTrafficPolicy").is_some()
    })?;
    let name = own.pointer("/metadata/name")?.as_str()?;
    let (object, path) = (format!("Sidecar {namespace}/{name}"), "spec.outboundTrafficPolicy".to_owned());
    super::place::of(mesh, &varka_pilot::Placed { object, path })
}

/// What was asked for, what was meant, and what to do.
fn why(walk: &Walk<'_>, proxy: &Proxy<'_>, http: bool, dialled: SocketAddr) -> String {
    let facts = &walk.mesh.facts;
    let outside = destination::is_outside(dialled) || dialled.ip().is_unspecified();
    let address = if outside { String::new() } else { dialled.ip().to_string() };
    let host = if http { walk.request.authority.as_str() } else { "" };
    let asked = Asked {
        namespace: &proxy.pod.namespace,
        host,
        address: &address,
        port: Some(dialled.port()),
        ..Asked::default()
    };
    let (reason, meant) = explain(&asked, facts);
    // Who names a public host dials the service all the same.
    let dialled_service = || {
        let service = facts.services.iter().find(|s| s.addresses.contains(&address))?;
        let host = format!("{}.{}.{}", service.name, service.namespace, facts.service_suffix());
        Some(Meant { kind: "Service", namespace: service.namespace.clone(), name: service.name.clone(), host })
    };
    let meant = meant.or_else(dialled_service);
    let mut unmatched = Unmatched {
        host: host.to_owned(),
        address: address.clone(),
        port: Some(dialled.port()),
        rate: 0.0,
        reason,
        meant,
        arrived: None,
        message: String::new(),
    };
    unmatched.message = unmatched.to_string();
    let fix = mend(&unmatched, &proxy.pod.namespace, http);
    format!("{}. To mend it: {fix}", unmatched.message)
}

/// What to do, in words; with a resource where one mends it.
fn mend(unmatched: &Unmatched, namespace: &str, http: bool) -> String {
    let meant = unmatched.meant.as_ref();
    match (&unmatched.reason, meant) {
        (Reason::PublicHost { .. }, Some(meant)) => format!(
            "send the Host of the service and not that of the client: in nginx proxy_set_header Host {};",
            meant.host
        ),
        (Reason::PublicHost { .. }, None) => {
            "send the Host of the service that is meant and not that of the client".to_owned()
        }
        (Reason::PortNotServed { ports }, _) => {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            format!("ask for port {}, or add the port to the service", ports.join(" or "))
        }
        (Reason::NotVisible, _) => {
            "let the client see it: exportTo of the service, or egress.hosts of the client's Sidecar".to_owned()
        }
        (_, Some(meant)) => format!("ask for {}", meant.host),
        (_, None) => {
            let wanted = Wanted {
                namespace,
                host: &unmatched.host,
                address: &unmatched.address,
                port: unmatched.port,
                protocol: if http { "http" } else { "tcp" },
            };
            match service_entry(&wanted) {
                Some(yaml) => format!("register it:\n{yaml}"),
                None => "name the host in the request".to_owned(),
            }
        }
    }
}
