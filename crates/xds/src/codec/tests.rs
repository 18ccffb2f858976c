//! Round trips, refusals by name, and bytes that no one meant to send.

pub(crate) mod strategy;

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use prost::Message;
use varka_engine::ir::{self, FilterChain, HttpFilter, NetworkFilter, Resource, ResourceType, Terminal};
use varka_proto::envoy::{cluster, core, endpoint, listener, network_filter, route};
use varka_proto::protobuf::{Struct, UInt32Value};

use super::{Any, Reader, TYPES, decode, encode, resource_type, type_url, version};
use strategy::generated;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_encoded_is_decoded_alike(resource in generated(strategy::resource)) {
        let any = encode(&resource, Reader::Istio);
        prop_assert_eq!(resource_type(&any.type_url), Some(resource.kind()));
        match decode(&any) {
            Ok(decoded) => prop_assert_eq!(decoded, resource),
            Err(rejection) => prop_assert!(false, "{rejection}"),
        }
    }

    #[test]
    fn a_stock_envoy_gets_all_but_istios_filters(listener in generated(strategy::listener)) {
        let any = encode(&Resource::Listener(Arc::new(listener.clone())), Reader::StockEnvoy);
        let mut expected = listener;
        for chain in expected.filter_chains.iter_mut().chain(&mut expected.default_filter_chain) {
            without_istio(chain);
        }
        prop_assert_eq!(decode(&any), Ok(Resource::Listener(Arc::new(expected))));
        let text = String::from_utf8_lossy(&any.value).into_owned();
        prop_assert!(!text.contains("istio.") && !text.contains("peer_metadata"), "{}", text);
    }

    #[test]
    fn random_bytes_never_panic(kind in 0..TYPES.len(), bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&Any { type_url: type_url(TYPES[kind]).into(), value: bytes });
    }

    #[test]
    fn damaged_messages_never_panic(
        resource in generated(strategy::resource),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
    ) {
        let mut any = encode(&resource, Reader::Istio);
        for (at, byte, how) in damage {
            if any.value.is_empty() {
                break;
            }
            let at = at.index(any.value.len());
            match how {
                0 => any.value[at] = byte,
                1 => any.value.insert(at, byte),
                _ => { any.value.remove(at); }
            }
        }
        if let Err(rejection) = decode(&any) {
            prop_assert!(!rejection.to_string().is_empty());
        }
    }

    #[test]
    fn a_field_without_a_name_is_never_dropped_silently(
        resource in generated(strategy::resource),
        number in 2000..100_000u32,
        payload in 1..u32::MAX,
    ) {
        let mut any = encode(&resource, Reader::Istio);
        UnknownField { number, payload }.append(&mut any.value);
        let rejection = decode(&any).expect_err("an unknown field was dropped");
        prop_assert_eq!(rejection.name, resource.name().clone());
        prop_assert!(rejection.reason.to_string().contains(&number.to_string()), "{}", rejection.reason);
    }

    #[test]
    fn equal_resources_have_equal_versions(a in generated(strategy::resource), b in generated(strategy::resource)) {
        prop_assert_eq!(version(&a), version(&a.clone()));
        prop_assert_eq!(version(&a) == version(&b), a == b);
    }
}

fn without_istio(chain: &mut FilterChain) {
    chain.filters.retain(|f| matches!(f, NetworkFilter::Rbac(_) | NetworkFilter::SniDynamicForwardProxy(_)));
    if let Terminal::Http(manager) = &mut chain.terminal {
        manager
            .filters
            .retain(|f| !matches!(f, HttpFilter::Alpn(_) | HttpFilter::PeerMetadata(_) | HttpFilter::Stats(_)));
    }
}

/// A field of a number that no message has.
struct UnknownField {
    number: u32,
    payload: u32,
}

impl UnknownField {
    fn append(&self, bytes: &mut Vec<u8>) {
        prost::encoding::encode_key(self.number, prost::encoding::WireType::Varint, bytes);
        prost::encoding::encode_varint(self.payload.into(), bytes);
    }
}

// --- refusals

fn refused(kind: ResourceType, message: &impl Message) -> String {
    decode(&Any { type_url: type_url(kind).into(), value: message.encode_to_vec() }).unwrap_err().to_string()
}

fn tcp_listener() -> listener::Listener {
    let any = encode(&Resource::Listener(Arc::new(plain_listener())), Reader::StockEnvoy);
    listener::Listener::decode(any.value.as_slice()).unwrap()
}

fn plain_listener() -> ir::Listener {
    ir::Listener {
        name: "0.0.0.0_8080".into(),
        address: "0.0.0.0:8080".parse().unwrap(),
        bind_to_port: true,
        use_original_dst: false,
        direction: ir::TrafficDirection::Outbound,
        inspect: ir::ConnectionFilters::default(),
        filter_chains: vec![FilterChain {
            name: "".into(),
            matches: ir::FilterChainMatch::default(),
            tls: None,
            filters: Vec::new(),
            terminal: Terminal::Tcp(ir::TcpProxy {
                stat_prefix: "x".into(),
                clusters: vec![ir::WeightedCluster { cluster: "c".into(), weight: 1 }],
                idle_timeout: None,
                max_connection_duration: None,
                access_log: Vec::new(),
                hash_policy: Vec::new(),
                tunnel: None,
            }),
            handshake_timeout: None,
        }],
        default_filter_chain: None,
        access_log: Vec::new(),
    }
}

#[test]
fn a_filter_that_is_not_implemented_is_named() {
    let mut l = tcp_listener();
    let config = Any {
        type_url: "type.googleapis.com/envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy".into(),
        value: vec![],
    };
    let filter = listener::Filter {
        name: "envoy.filters.network.mongo_proxy".into(),
        config_type: Some(listener::filter::ConfigType::TypedConfig(config)),
    };
    l.filter_chains[0].filters.insert(0, filter.clone());
    assert_eq!(
        refused(ResourceType::Listener, &l),
        "listener 0.0.0.0_8080: filter_chains[0].filters[0]: envoy.filters.network.mongo_proxy is not implemented"
    );
    l.filter_chains[0].filters = vec![filter];
    assert_eq!(
        refused(ResourceType::Listener, &l),
        "listener 0.0.0.0_8080: filter_chains[0].filters[0]: envoy.filters.network.mongo_proxy as last filter is not implemented"
    );
}

#[test]
fn a_field_that_is_not_implemented_is_named() {
    let mut l = tcp_listener();
    l.per_connection_buffer_limit_bytes = Some(UInt32Value { value: 1 });
    assert_eq!(
        refused(ResourceType::Listener, &l),
        "listener 0.0.0.0_8080: per_connection_buffer_limit_bytes is not implemented"
    );
    let c =
        cluster::Cluster { name: "c".into(), health_checks: vec![core::HealthCheck::default()], ..Default::default() };
    assert_eq!(refused(ResourceType::Cluster, &c), "cluster c: health_checks is not implemented");
    let c = cluster::Cluster {
        name: "c".into(),
        outlier_detection: Some(cluster::OutlierDetection::default()),
        ..Default::default()
    };
    assert_eq!(
        refused(ResourceType::Cluster, &c),
        "cluster c: outlier_detection: enforcing_success_rate other than 0 is not implemented"
    );
}

/// Envoy does not look at a route's timeout where there is a limit of the stream's duration.
#[test]
fn a_timeout_that_would_have_no_effect_is_neither_sent_nor_taken() {
    let routes = |action: route::RouteAction| route::RouteConfiguration {
        name: "8080".into(),
        virtual_hosts: vec![route::VirtualHost {
            name: "h".into(),
            domains: vec!["*".into()],
            routes: vec![route::Route {
                r#match: Some(route::RouteMatch {
                    path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".into())),
                    ..Default::default()
                }),
                action: Some(route::route::Action::Route(action)),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let seconds = |seconds| Some(varka_proto::protobuf::Duration { seconds, nanos: 0 });
    let action = |timeout, limit| route::RouteAction {
        cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster("c".into())),
        timeout: seconds(timeout),
        max_stream_duration: Some(route::route_action::MaxStreamDuration {
            max_stream_duration: seconds(limit),
            grpc_timeout_header_max: seconds(0),
            ..Default::default()
        }),
        ..Default::default()
    };
    for (timeout, limit) in [(1, 0), (0, 1)] {
        let text = refused(ResourceType::Route, &routes(action(timeout, limit)));
        assert!(text.contains("max_stream_duration: a limit of a stream's duration"), "{text}");
    }
    // As Istio writes its inbound routes.
    let url = type_url(ResourceType::Route).to_owned();
    let taken = decode(&Any { type_url: url, value: routes(action(0, 0)).encode_to_vec() }).unwrap();
    let again = route::RouteConfiguration::decode(encode(&taken, Reader::StockEnvoy).value.as_slice()).unwrap();
    match &again.virtual_hosts[0].routes[0].action {
        Some(route::route::Action::Route(action)) => assert_eq!(action.max_stream_duration, None),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_value_that_is_wrong_is_named_with_its_place() {
    let hosts = vec![route::VirtualHost {
        name: "h".into(),
        routes: vec![route::Route {
            r#match: Some(route::RouteMatch {
                path_specifier: Some(route::route_match::PathSpecifier::SafeRegex(
                    varka_proto::envoy::matcher::RegexMatcher { regex: "(".into(), ..Default::default() },
                )),
                ..Default::default()
            }),
            action: Some(route::route::Action::DirectResponse(route::DirectResponseAction {
                status: 200,
                ..Default::default()
            })),
            ..Default::default()
        }],
        ..Default::default()
    }];
    let r = route::RouteConfiguration { name: "8080".into(), virtual_hosts: hosts, ..Default::default() };
    let text = refused(ResourceType::Route, &r);
    assert!(
        text.starts_with(
            "route configuration 8080: virtual_hosts[0].routes[0].match.safe_regex: `(` is not a regular expression"
        ),
        "{text}"
    );
    let mut l = tcp_listener();
    l.address = None;
    assert_eq!(refused(ResourceType::Listener, &l), "listener 0.0.0.0_8080: address is required");
}

#[test]
fn metadata_that_selects_sockets_by_another_key_is_refused() {
    let fields = HashMap::from([("zone".to_owned(), super::value::string_value("a"))]);
    let c = cluster::Cluster {
        name: "c".into(),
        transport_socket_matches: vec![cluster::cluster::TransportSocketMatch {
            name: "m".into(),
            r#match: Some(Struct { fields }),
            transport_socket: None,
        }],
        ..Default::default()
    };
    assert_eq!(
        refused(ResourceType::Cluster, &c),
        "cluster c: transport_socket_matches[0].match: zone is not implemented"
    );
}

#[test]
fn an_rbac_filter_without_rules_is_not_taken_for_deny_all() {
    let mut l = tcp_listener();
    let config = network_filter::rbac::Rbac { stat_prefix: "x".into(), ..Default::default() };
    l.filter_chains[0].filters.insert(
        0,
        listener::Filter {
            name: "envoy.filters.network.rbac".into(),
            config_type: Some(listener::filter::ConfigType::TypedConfig(super::wire::pack(&config))),
        },
    );
    assert_eq!(
        refused(ResourceType::Listener, &l),
        "listener 0.0.0.0_8080: filter_chains[0].filters[0].typed_config: a filter without rules is not implemented"
    );
}

#[test]
fn a_field_of_a_newer_api_is_refused_at_any_depth() {
    let unknown = UnknownField { number: 2000, payload: 1 };
    // Within a repeated message: the first locality of an assignment.
    let locality = endpoint::LocalityLbEndpoints { priority: 1, ..Default::default() };
    let mut inner = locality.encode_to_vec();
    unknown.append(&mut inner);
    let mut bytes = endpoint::ClusterLoadAssignment { cluster_name: "e".into(), ..Default::default() }.encode_to_vec();
    prost::encoding::encode_key(2, prost::encoding::WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
    bytes.extend(inner);
    let any = Any { type_url: type_url(ResourceType::Endpoints).into(), value: bytes };
    assert!(decode(&any).unwrap_err().to_string().contains("field number 2.2000 is of a newer API"));
    // Within a packed message: the configuration of a filter.
    let mut l = tcp_listener();
    if let Some(listener::filter::ConfigType::TypedConfig(any)) = &mut l.filter_chains[0].filters[0].config_type {
        unknown.append(&mut any.value);
    }
    assert_eq!(
        refused(ResourceType::Listener, &l),
        "listener 0.0.0.0_8080: filter_chains[0].filters[0].typed_config: field number 2000 is of a newer API and not known here"
    );
}

#[test]
fn a_default_that_is_written_out_is_no_unknown_field() {
    let mut bytes = endpoint::ClusterLoadAssignment { cluster_name: "e".into(), ..Default::default() }.encode_to_vec();
    // endpoints { priority: 0 }, and metadata { filter_metadata { key: "istio" value: {} } } as other encoders write it.
    let metadata = [0x0a, 9, 0x0a, 5, b'i', b's', b't', b'i', b'o', 0x12, 0];
    let mut locality = vec![0x28, 0];
    prost::encoding::encode_key(9, prost::encoding::WireType::LengthDelimited, &mut locality);
    prost::encoding::encode_varint(metadata.len() as u64, &mut locality);
    locality.extend(metadata);
    prost::encoding::encode_key(2, prost::encoding::WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(locality.len() as u64, &mut bytes);
    bytes.extend(locality);
    let any = Any { type_url: type_url(ResourceType::Endpoints).into(), value: bytes };
    assert!(decode(&any).is_ok(), "{:?}", decode(&any));
}

#[test]
fn a_type_that_is_not_carried_is_named() {
    let any = Any { type_url: "type.googleapis.com/google.protobuf.Struct".into(), value: vec![] };
    assert!(decode(&any).unwrap_err().to_string().contains("google.protobuf.Struct is not carried"));
}

#[test]
fn a_header_that_is_removed_after_it_was_added_is_only_removed() {
    use ir::{HeaderAppend, HeaderMutation};
    let name = http::HeaderName::from_static("x-a");
    let add = |value| HeaderMutation::Append {
        name: name.clone(),
        value: http::HeaderValue::from_static(value),
        action: HeaderAppend::Append,
    };
    let (added, removed) = super::headers::encode(&[add("1"), HeaderMutation::Remove(name.clone()), add("2")]);
    assert_eq!(removed, ["x-a"]);
    assert_eq!(added.iter().map(|o| o.header.clone().unwrap().value).collect::<Vec<_>>(), ["2"]);
}

#[test]
fn envoys_defaults_hold_where_nothing_is_said() {
    let c = cluster::Cluster { name: "c".into(), ..Default::default() };
    let any = Any { type_url: type_url(ResourceType::Cluster).into(), value: c.encode_to_vec() };
    let Resource::Cluster(c) = decode(&any).unwrap() else { panic!("not a cluster") };
    assert_eq!(c.connect_timeout.as_secs(), 5);
    assert_eq!((c.circuit_breakers.max_connections, c.circuit_breakers.max_retries), (1024, 3));
    assert_eq!(c.panic_threshold, 50);
    assert_eq!(c.lb, ir::LbPolicy::RoundRobin);
}
