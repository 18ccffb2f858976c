//! Where a host name leads: which address the application dials, as the cluster's DNS answers it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use varka_pilot::{Placed, Service, addresses_of};

use super::answer::Step;
use super::mesh::Mesh;
use super::place;
use super::pod::Pod;

/// What is dialled.
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) address: SocketAddr,
    pub(super) step: Step,
}

/// Stands for an address outside that only DNS knows.
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// The address of a host; the step that fails where there is none.
pub(super) fn dial(mesh: &Mesh, from: &Pod, host: &str, port: u16) -> Result<Dialled, Box<Step>> {
    if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        let because = match mesh.pod_at(ip) {
            Some(pod) => format!("it is the address of pod {}", pod.name),
            None => "the request names an address".to_owned(),
        };
        let address = SocketAddr::new(ip, or_80(port));
        return Ok(Dialled { address, step: Step::new("address", address.to_string(), because) });
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let services = mesh.snapshot.registry();
    let found = candidates(mesh, from, &name)
        .into_iter()
        .find_map(|name| services.by_host(&name).iter().find(|s| s.is_kubernetes()).cloned());
    match found {
        Some(service) => of_service(mesh, from, &name, &service, port),
        None => elsewhere(mesh, from, &name, port),
    }
}

/// The names that a resolver tries, in its order.
fn candidates(mesh: &Mesh, from: &Pod, name: &str) -> Vec<String> {
    let domain = &mesh.domain;
    let search = [format!("{}.svc.{domain}", from.namespace), format!("svc.{domain}"), domain.clone()];
    search.iter().map(|suffix| format!("{name}.{suffix}")).chain([name.to_owned()]).collect()
}

fn of_service(mesh: &Mesh, from: &Pod, name: &str, service: &Arc<Service>, port: u16) -> Result<Dialled, Box<Step>> {
    let by = || {
        let object = format!("Service {}/{}", service.namespace, service.name);
        place::of(mesh, &Placed { object, path: "spec".to_owned() })
    };
    let port = if port > 0 { port } else { service.ports.first().map_or(80, |port| port.number) };
    let Some(ip) = addresses_of(&mesh.snapshot, &from.key, service, port).first().copied() else {
        let because = format!("{} has no address: it is headless and has no endpoints", service.host);
        return Err(Box::new(Step::new("address", name, because).by(by()).fails()));
    };
    let address = SocketAddr::new(ip, port);
    let headless = !service.addresses.iter().any(|own| own.parse() == Ok(ip));
    let what = if headless { "an endpoint of headless Service" } else { "the address of Service" };
    let mut because = format!("{name} is {what} {}/{}", service.namespace, service.name);
    if service.port(port).is_none() {
        let ports: Vec<String> = service.ports.iter().map(|p| p.number.to_string()).collect();
        because.push_str(&format!("; it has no port {port}, but {}", ports.join(", ")));
    }
    Ok(Dialled { address, step: Step::new("address", address.to_string(), because).by(by()) })
}

/// Not a Service's name: a ServiceEntry's, one that only DNS knows, or none.
fn elsewhere(mesh: &Mesh, from: &Pod, name: &str, port: u16) -> Result<Dialled, Box<Step>> {
    let entries = mesh.snapshot.registry();
    let entry = entries.by_host(name).first().cloned();
    let port = match (port, &entry) {
        (0, Some(entry)) => entry.ports.first().map_or(80, |port| port.number),
        (port, _) => or_80(port),
    };
    let inside = !name.contains('.') || name.ends_with(&format!(".svc.{}", mesh.domain));
    if let Some(entry) = &entry {
        let object = format!("ServiceEntry {}/{}", entry.namespace, entry.name);
        let by = place::of(mesh, &Placed { object, path: "spec.hosts".to_owned() });
        let ip = addresses_of(&mesh.snapshot, &from.key, entry, port).first().copied();
        let because = match ip {
            Some(_) => format!("{name} is a host of ServiceEntry {}/{}", entry.namespace, entry.name),
            None => format!(
                "{name} is a host of ServiceEntry {}/{}; its address is what DNS says",
                entry.namespace, entry.name
            ),
        };
        let address = SocketAddr::new(ip.unwrap_or(OUTSIDE), port);
        return Ok(Dialled { address, step: Step::new("address", shown(address), because).by(by) });
    }
    if inside {
        let because = format!(
            "no Service is called {name} in namespace {}, and no other name of the cluster is: the application gets no address \
             and sends nothing",
            from.namespace
        );
        return Err(Box::new(Step::new("address", name, because).fails()));
    }
    let address = SocketAddr::new(OUTSIDE, port);
    let because = format!("{name} is no name of the cluster: its address is what DNS says");
    Ok(Dialled { address, step: Step::new("address", shown(address), because) })
}

fn or_80(port: u16) -> u16 {
    if port > 0 { port } else { 80 }
}

/// An address for people.
pub(super) fn shown(address: SocketAddr) -> String {
    if address.ip() == OUTSIDE { format!("an address outside, port {}", address.port()) } else { address.to_string() }
}

/// Stands for an address that is not known.
pub(super) fn outside(port: u16) -> SocketAddr {
    SocketAddr::new(OUTSIDE, port)
}

/// Whether an address stands for one that is not known.
pub(super) fn is_outside(address: SocketAddr) -> bool {
    address.ip() == OUTSIDE
}
