//! Envoy's v3 API, each package under the name that its documentation uses.

pub use envoy_types::pb::envoy::config::accesslog::v3 as accesslog;
pub use envoy_types::pb::envoy::config::cluster::v3 as cluster;
pub use envoy_types::pb::envoy::config::core::v3 as core;
pub use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
pub use envoy_types::pb::envoy::config::listener::v3 as listener;
pub use envoy_types::pb::envoy::config::rbac::v3 as rbac;
pub use envoy_types::pb::envoy::config::route::v3 as route;
pub use envoy_types::pb::envoy::config::trace::v3 as trace;
pub use envoy_types::pb::envoy::service::auth::v3 as auth;
pub use envoy_types::pb::envoy::service::discovery::v3 as discovery;
pub use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
pub use envoy_types::pb::envoy::r#type::tracing::v3 as custom_tags;
pub use envoy_types::pb::envoy::r#type::v3 as types;

pub use envoy_types::pb::envoy::extensions::access_loggers::file::v3 as file_access_log;
pub use envoy_types::pb::envoy::extensions::access_loggers::filters::cel::v3 as access_log_expression;
pub use envoy_types::pb::envoy::extensions::access_loggers::stream::v3 as stream_access_log;
pub use envoy_types::pb::envoy::extensions::clusters::dynamic_forward_proxy::v3 as dynamic_forward_proxy;
pub use envoy_types::pb::envoy::extensions::common::dynamic_forward_proxy::v3 as dynamic_forward_proxy_cache;
pub use envoy_types::pb::envoy::extensions::path::r#match::uri_template::v3 as uri_template;
pub use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3 as previous_hosts;
pub use envoy_types::pb::envoy::extensions::retry::priority::previous_priorities::v3 as previous_priorities;
pub use envoy_types::pb::envoy::extensions::transport_sockets::proxy_protocol::v3 as proxy_protocol_transport;
pub use envoy_types::pb::envoy::extensions::transport_sockets::raw_buffer::v3 as raw_buffer;
pub use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
pub use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream_http;

pub mod http_filter {
    //! `envoy.filters.http.*`.
    pub use envoy_types::pb::envoy::extensions::filters::common::fault::v3 as common_fault;
    pub use envoy_types::pb::envoy::extensions::filters::http::buffer::v3 as buffer;
    pub use envoy_types::pb::envoy::extensions::filters::http::cors::v3 as cors;
    pub use envoy_types::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3 as dynamic_forward_proxy;
    pub use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3 as ext_authz;
    pub use envoy_types::pb::envoy::extensions::filters::http::fault::v3 as fault;
    pub use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3 as grpc_stats;
    pub use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3 as jwt_authn;
    pub use envoy_types::pb::envoy::extensions::filters::http::rbac::v3 as rbac;
    pub use envoy_types::pb::envoy::extensions::filters::http::router::v3 as router;
}

pub mod listener_filter {
    //! `envoy.filters.listener.*`.
    pub use envoy_types::pb::envoy::extensions::filters::listener::http_inspector::v3 as http_inspector;
    pub use envoy_types::pb::envoy::extensions::filters::listener::original_dst::v3 as original_dst;
    pub use envoy_types::pb::envoy::extensions::filters::listener::proxy_protocol::v3 as proxy_protocol;
    pub use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3 as tls_inspector;
}

pub mod network_filter {
    //! `envoy.filters.network.*`.
    pub use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as http_connection_manager;
    pub use envoy_types::pb::envoy::extensions::filters::network::rbac::v3 as rbac;
    pub use envoy_types::pb::envoy::extensions::filters::network::sni_dynamic_forward_proxy::v3 as sni_dynamic_forward_proxy;
    pub use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as tcp_proxy;
}

pub mod sds {
    //! The secret discovery service.
    pub use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server::{
        SecretDiscoveryService as Service, SecretDiscoveryServiceServer as Server,
    };
}

pub mod ads {
    //! The aggregated discovery service.
    pub use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient as Client;
    pub use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
        AggregatedDiscoveryService as Service, AggregatedDiscoveryServiceServer as Server,
    };
}
