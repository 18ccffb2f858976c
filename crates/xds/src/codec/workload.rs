//! Whose an address is, in Istio's messages. Labels have no field there: they are an extension, which others may ignore.

use std::net::IpAddr;

use prost::Message as _;
use varka_engine::ir::{Str, Workload, WorkloadType};
use varka_proto::istio::workload::{self as pb, address::Type};
use varka_proto::protobuf::{Any, Struct};

use super::refusal::{At, Decoded, Reason, open};
use super::value::{as_text, member, object, string_value};

/// Name of the extension that holds labels.
const LABELS: &str = "varka.dev/labels";
const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";
const APP: &str = "app";
const VERSION: &str = "version";

/// The first name that it can be asked for by, whatever else is in it.
pub(super) fn name(message: &pb::Address) -> Str {
    let Some(Type::Workload(workload)) = &message.r#type else { return Str::default() };
    let address = workload.addresses.first().and_then(|octets| to_address(octets));
    address.map(|address| Workload::name_of(&workload.network, address)).unwrap_or_default()
}

pub(super) fn encode(w: &Workload) -> pb::Address {
    let workload_type = match w.workload_type {
        WorkloadType::Deployment => pb::WorkloadType::Deployment,
        WorkloadType::CronJob => pb::WorkloadType::Cronjob,
        WorkloadType::Pod => pb::WorkloadType::Pod,
        WorkloadType::Job => pb::WorkloadType::Job,
    };
    let octets = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let workload = pb::Workload {
        name: w.name.to_string(),
        namespace: w.namespace.to_string(),
        addresses: w.addresses.iter().map(octets).collect(),
        network: w.network.to_string(),
        trust_domain: w.trust_domain.to_string(),
        service_account: w.service_account.to_string(),
        node: w.node.to_string(),
        canonical_name: w.canonical_name.to_string(),
        canonical_revision: w.canonical_revision.to_string(),
        workload_type: workload_type.into(),
        workload_name: w.workload_name.to_string(),
        cluster_id: w.cluster_id.to_string(),
        uid: w.uid.to_string(),
        services: w.services.iter().map(|name| (name.to_string(), pb::PortList::default())).collect(),
        extensions: labels(w).into_iter().collect(),
    };
    pb::Address { r#type: Some(Type::Workload(workload)) }
}

fn labels(w: &Workload) -> Option<pb::Extension> {
    let said = [(APP, &w.app), (VERSION, &w.version)].into_iter().filter(|(_, value)| !value.is_empty());
    let labels = object(said.map(|(name, value)| (name, string_value(value))));
    let config = Any { type_url: STRUCT.to_owned(), value: labels.encode_to_vec() };
    (!labels.fields.is_empty()).then(|| pb::Extension { name: LABELS.to_owned(), config: Some(config) })
}

pub(super) fn decode(at: &At<'_>, address: pb::Address) -> Decoded<Workload> {
    let Type::Workload(w) = at.need("workload", address.r#type)?;
    let at = &at.field("workload");
    // Which of its ports belong to a service is nothing that is asked for here.
    open!(at, w => pb::Workload {
        name, namespace, addresses, network, trust_domain, service_account, node, canonical_name, canonical_revision,
        workload_type, workload_name, cluster_id, uid, services, extensions,
    });
    let workload_type = match member(&at.field("workload_type"), workload_type)? {
        pb::WorkloadType::Deployment => WorkloadType::Deployment,
        pb::WorkloadType::Cronjob => WorkloadType::CronJob,
        pb::WorkloadType::Pod => WorkloadType::Pod,
        pb::WorkloadType::Job => WorkloadType::Job,
    };
    let mut services: Vec<Str> = services.into_keys().map(Str::from).collect();
    services.sort();
    let labels = decode_labels(at, extensions)?;
    let label = |name: &str| as_text(labels.fields.get(name)).map(Str::from).unwrap_or_default();
    Ok(Workload {
        uid: uid.into(),
        name: name.into(),
        namespace: namespace.into(),
        addresses: at.each("addresses", addresses, decode_address)?,
        network: network.into(),
        node: node.into(),
        trust_domain: trust_domain.into(),
        service_account: service_account.into(),
        canonical_name: canonical_name.into(),
        canonical_revision: canonical_revision.into(),
        workload_type,
        workload_name: workload_name.into(),
        cluster_id: cluster_id.into(),
        services,
        app: label(APP),
        version: label(VERSION),
    })
}

fn decode_address(at: &At<'_>, octets: Vec<u8>) -> Decoded<IpAddr> {
    to_address(&octets).ok_or_else(|| at.invalid(format!("{} bytes", octets.len()), "an address of 4 or 16 bytes"))
}

fn to_address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(octets).ok().map(IpAddr::from))
}

/// Other extensions are other readers' affair.
fn decode_labels(at: &At<'_>, extensions: Vec<pb::Extension>) -> Decoded<Struct> {
    let found = extensions.into_iter().enumerate().find(|(_, extension)| extension.name == LABELS);
    let Some((i, extension)) = found else { return Ok(Struct::default()) };
    let at = at.item("extensions", i);
    let config = at.need("config", extension.config)?;
    if config.type_url != STRUCT {
        return Err(at.invalid(&config.type_url, STRUCT));
    }
    Struct::decode(config.value.as_slice()).map_err(|e| at.refuse(Reason::Malformed(e)))
}

#[cfg(test)]
mod tests {
    use super::super::{Reader, encode_bytes};
    use super::*;
    use std::sync::Arc;
    use varka_engine::ir::Resource;

    #[test]
    fn the_bytes_are_istios() {
        let workload = Workload {
            uid: "u".into(),
            name: "n".into(),
            namespace: "s".into(),
            addresses: vec![[10, 0, 0, 1].into()],
            trust_domain: "t".into(),
            service_account: "a".into(),
            canonical_name: "c".into(),
            canonical_revision: "r".into(),
            workload_type: WorkloadType::Job,
            workload_name: "w".into(),
            cluster_id: "k".into(),
            ..Workload::default()
        };
        let bytes = encode_bytes(&Resource::Workload("/10.0.0.1".into(), Arc::new(workload)), Reader::Istio);
        // Field numbers as Istio's `workload.proto` gives them: 1 name, 2 namespace, 3 addresses, 6, 7, 10 to 13, 18, 20.
        let inner = b"\x0a\x01n\x12\x01s\x1a\x04\x0a\x00\x00\x01\x32\x01t\x3a\x01a\x52\x01c\x5a\x01r\x60\x03\x6a\x01w\x92\x01\x01k\xa2\x01\x01u";
        let mut expected = vec![0x0a, u8::try_from(inner.len()).unwrap()];
        expected.extend_from_slice(inner);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_is_no_address_is_refused_by_its_place() {
        let workload = pb::Workload { addresses: vec![vec![10, 0, 0, 1], vec![1, 2, 3]], ..pb::Workload::default() };
        let message = pb::Address { r#type: Some(Type::Workload(workload)) };
        let any = Any { type_url: "type.googleapis.com/istio.workload.Address".into(), value: message.encode_to_vec() };
        let rejection = super::super::decode(&any).unwrap_err();
        let expected = "workload /10.0.0.1: workload.addresses[1]: 3 bytes is not an address of 4 or 16 bytes";
        assert_eq!(rejection.to_string(), expected);
    }
}
