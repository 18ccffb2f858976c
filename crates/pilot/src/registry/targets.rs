//! Which services a proxy's own workload is an endpoint of, and on which of its ports.

use std::net::IpAddr;
use std::sync::Arc;

use varka_engine::ir::Str;

use super::{Port, Service, Source, TargetPort};
use crate::ProxyKey;
use crate::context::Ctx;
use crate::key::contains;
use crate::reads::ReadKey;
use crate::snapshot::Kind;

/// A port of a service that leads to this workload.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) service: Arc<Service>,
    pub(crate) port: Port,
    /// Port of the workload.
    pub(crate) number: u16,
}

/// Every target of the proxy, in the order of the registry.
pub(crate) fn targets(ctx: &Ctx<'_>) -> Vec<Target> {
    let mut found = Vec::new();
    for service in ctx.registry().services() {
        match &service.source {
            Source::Kubernetes { target_ports, .. } => {
                if service.namespace != ctx.proxy.namespace || service.alias_of.is_some() {
                    continue;
                }
                if service.selector.is_empty() {
                    by_slices(ctx, service, &mut found);
                } else if ctx.proxy.has_labels(&service.selector) {
                    for port in &service.ports {
                        let number = match target_ports.get(&port.number) {
                            Some(TargetPort::Number(n)) => Some(*n),
                            Some(TargetPort::Name(name)) => container_port(ctx, name),
                            None => None,
                        };
                        found.extend(number.map(|number| Target {
                            service: service.clone(),
                            port: port.clone(),
                            number,
                        }));
                    }
                } else {
                    // An EndpointSlice may name this workload although the labels do not say so.
                    by_slices(ctx, service, &mut found);
                }
            }
            Source::External(entry) => {
                let selected = entry.spec.workload_selector.is_some()
                    && entry.metadata.namespace == *ctx.proxy.namespace
                    && contains(&ctx.proxy.labels, &service.selector);
                let inline = entry.spec.endpoints.iter().find(|e| is_of(ctx.proxy, &e.address));
                if !selected && inline.is_none() {
                    continue;
                }
                for (port, declared) in service.ports.iter().zip(&entry.spec.ports) {
                    let mapped = inline.and_then(|e| e.ports.get(&declared.name).copied());
                    let number =
                        mapped.unwrap_or(if declared.target_port > 0 { declared.target_port } else { declared.number });
                    if let Ok(number) = u16::try_from(number) {
                        found.push(Target { service: service.clone(), port: port.clone(), number });
                    }
                }
            }
        }
    }
    found
}

fn is_of(proxy: &ProxyKey, address: &str) -> bool {
    address.parse::<IpAddr>().is_ok_and(|ip| proxy.ips.contains(&ip))
}

fn by_slices(ctx: &Ctx<'_>, service: &Arc<Service>, found: &mut Vec<Target>) {
    ctx.proxy.ips.iter().for_each(|ip| ctx.read(ReadKey::Address(*ip)));
    for name in ctx.snapshot.slices_of(&service.namespace, &service.name) {
        let Some(slice) = ctx.snapshot.stores.endpoint_slices.get(&service.namespace, name) else { continue };
        if !slice.spec.endpoints.iter().any(|e| e.addresses.iter().any(|a| is_of(ctx.proxy, a))) {
            continue;
        }
        for port in &service.ports {
            let Some(declared) = slice.spec.ports.iter().find(|p| p.name == *port.name) else { continue };
            if let Ok(number) = u16::try_from(declared.port) {
                found.push(Target { service: service.clone(), port: port.clone(), number });
            }
        }
    }
}

/// A container port by name: as the proxy was told, else as its pod declares it.
fn container_port(ctx: &Ctx<'_>, name: &Str) -> Option<u16> {
    if let Some(port) = ctx.proxy.ports.iter().find(|p| p.name == *name) {
        return Some(port.port);
    }
    let pod = ctx.object(Kind::Pod, &ctx.snapshot.stores.pods, &ctx.proxy.namespace, &ctx.proxy.name)?;
    let spec = &pod.spec.spec;
    let ports = spec.containers.iter().chain(&spec.init_containers).flat_map(|c| &c.ports);
    ports.into_iter().find(|p| p.name == **name).and_then(|p| u16::try_from(p.container_port).ok())
}
