use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use k8s_openapi::api::core::v1::Service;

use super::{Turn, View, begin};

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 7;
    message.metadata.op_code = OpCode::Query;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

fn ask(name: &str, kind: RecordType) -> Turn {
    let alias: Service = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "out", "namespace": "blog"}, "spec": {"type": "ExternalName", "externalName": "example.org"}}))
    .unwrap();
    let services = [Arc::new(alias)];
    let view = View { services: &services, slices: &[], host: Ipv4Addr::new(10, 96, 255, 254) };
    begin(&view, &query(name, kind), true).unwrap()
}

fn resolved(turn: Turn, addresses: Option<Vec<IpAddr>>) -> Message {
    let bytes = match turn {
        Turn::Done(bytes) => bytes,
        Turn::Resolve(pending) => pending.finish(addresses).unwrap(),
    };
    Message::from_vec(&bytes).unwrap()
}

#[test]
fn a_name_outside_is_resolved_and_a_failure_is_told() {
    let v4 = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let answer = resolved(ask("example.com.", RecordType::A), Some(vec![v4, v6]));
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 1));
    let none = resolved(ask("example.com.", RecordType::A), Some(Vec::new()));
    assert_eq!(none.metadata.response_code, ResponseCode::NXDomain);
    let failed = resolved(ask("example.com.", RecordType::A), None);
    assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
    let mail = resolved(ask("example.com.", RecordType::MX), None);
    assert_eq!(mail.metadata.response_code, ResponseCode::NotImp);
}

#[test]
fn the_root_is_asked_of_nobody() {
    let answer = resolved(ask(".", RecordType::A), None);
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 0));
}

#[test]
fn an_alias_exists_whatever_the_resolver_says() {
    let turn = ask("out.blog.svc.cluster.local.", RecordType::A);
    let Turn::Resolve(pending) = &turn else { panic!("{turn:?}") };
    assert_eq!(pending.name(), "example.org");
    let answer = resolved(turn, None);
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 1));
}
