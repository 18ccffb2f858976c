//! Kubernetes Services and ServiceEntries as services of the registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use varka_api::Object;
use varka_api::istio::{Location, MeshConfig, Resolution as EntryResolution, ServiceEntry};
use varka_api::kube::{IntOrString, Service as KubeService};

use super::{Port, Protocol, Resolution, Service, Source, TargetPort};
use crate::context::s;
use crate::snapshot::Export;

/// A Kubernetes Service.
pub(super) fn kubernetes(object: &Arc<Object<KubeService>>, mesh: &MeshConfig, domain: &str) -> Service {
    let (meta, spec) = (&object.metadata, &object.spec);
    let is_alias = spec.r#type == "ExternalName";
    let headless = spec.cluster_ip == "None";
    let mut addresses: Vec<_> = spec.cluster_ips.iter().filter(|a| *a != "None" && !a.is_empty()).map(s).collect();
    if addresses.is_empty() && !headless && !spec.cluster_ip.is_empty() {
        addresses.push(s(&spec.cluster_ip));
    }
    let mut target_ports = BTreeMap::new();
    let mut ports = Vec::new();
    for p in &spec.ports {
        let Ok(number) = u16::try_from(p.port) else { continue };
        ports.push(Port {
            name: s(&p.name),
            number,
            protocol: Protocol::of_port(&p.protocol, &p.app_protocol, &p.name, number),
        });
        let target = match &p.target_port {
            None | Some(IntOrString::Int(0)) => TargetPort::Number(number),
            Some(IntOrString::Int(n)) => TargetPort::Number(u16::try_from(*n).unwrap_or(number)),
            Some(IntOrString::String(text)) => {
                text.parse().map_or_else(|_| TargetPort::Name(s(text)), TargetPort::Number)
            }
        };
        target_ports.insert(number, target);
    }
    let export_to: Vec<String> = meta
        .annotations
        .get("networking.istio.io/exportTo")
        .map(|list| list.split(',').map(|e| e.trim().to_owned()).filter(|e| !e.is_empty()).collect())
        .unwrap_or_default();
    Service {
        host: s(format!("{}.{}.svc.{domain}", meta.name, meta.namespace)),
        namespace: s(&meta.namespace),
        name: s(&meta.name),
        created: s(meta.creation_timestamp.as_deref().unwrap_or_default()),
        addresses,
        ports,
        resolution: match (is_alias, headless) {
            (true, _) => Resolution::Alias,
            (false, true) => Resolution::Passthrough,
            (false, false) => Resolution::Endpoints,
        },
        mesh_external: is_alias,
        aliases: Vec::new(),
        alias_of: is_alias.then(|| s(&spec.external_name)),
        labels: meta.labels.clone(),
        selector: spec.selector.clone(),
        subject_alt_names: Vec::new(),
        source: Source::Kubernetes { target_ports, publish_not_ready: spec.publish_not_ready_addresses },
        export: Export::of(&export_to, &mesh.default_service_export_to, &meta.namespace),
    }
}

/// One service for each host of a ServiceEntry.
pub(super) fn external(object: &Arc<Object<ServiceEntry>>, mesh: &MeshConfig) -> Vec<Service> {
    let (meta, spec) = (&object.metadata, &object.spec);
    let ports: Vec<Port> = spec
        .ports
        .iter()
        .filter_map(|p| {
            let number = u16::try_from(p.number).ok()?;
            let protocol = Protocol::parse(&p.protocol).unwrap_or(Protocol::Auto);
            Some(Port { name: s(&p.name), number, protocol })
        })
        .collect();
    spec.hosts
        .iter()
        .map(|host| Service {
            host: s(host.to_ascii_lowercase()),
            namespace: s(&meta.namespace),
            name: s(&meta.name),
            created: s(meta.creation_timestamp.as_deref().unwrap_or_default()),
            addresses: addresses(object, host),
            ports: ports.clone(),
            resolution: match spec.resolution {
                EntryResolution::None => Resolution::Passthrough,
                EntryResolution::Static => Resolution::Endpoints,
                EntryResolution::Dns => Resolution::Dns,
                EntryResolution::DnsRoundRobin => Resolution::DnsRoundRobin,
                EntryResolution::DynamicDns => Resolution::DynamicDns,
            },
            mesh_external: spec.location == Location::MeshExternal,
            aliases: Vec::new(),
            alias_of: None,
            labels: meta.labels.clone(),
            selector: spec.workload_selector.as_ref().map(|w| w.labels.clone()).unwrap_or_default(),
            subject_alt_names: spec.subject_alt_names.iter().map(s).collect(),
            source: Source::External(object.clone()),
            export: Export::of(&spec.export_to, &mesh.default_service_export_to, &meta.namespace),
        })
        .collect()
}

/// Addresses of a host: as written, else as allocated in the status.
fn addresses(object: &Object<ServiceEntry>, host: &str) -> Vec<varka_engine::ir::Str> {
    // A CIDR of full length is an address.
    let plain = |a: &String| {
        let a = a.as_str();
        s(a.strip_suffix("/32").filter(|a| !a.contains(':')).or_else(|| a.strip_suffix("/128")).unwrap_or(a))
    };
    if !object.spec.addresses.is_empty() {
        return object.spec.addresses.iter().map(plain).collect();
    }
    let allocated = object.status.get("addresses").and_then(|a| a.as_array());
    allocated
        .into_iter()
        .flatten()
        .filter(|a| a.get("host").and_then(|h| h.as_str()).is_none_or(|h| h == host))
        .filter_map(|a| a.get("value").and_then(|v| v.as_str()).map(s))
        .collect()
}
