//! The configuration that Envoy is started with: who it is, and where everything else comes from. A pure function.

use std::path::Path;

use serde_json::{Value, json};
use varka_xds::codec::OWN_SECRETS_CLUSTER;

use crate::bootstrap::Bootstrap;
use crate::tls::WORKLOAD;

/// Cluster of the control plane.
const CONTROL_PLANE: &str = "xds-grpc";

/// `envoy.config.bootstrap.v3.Bootstrap` as JSON. `socket`: where secrets are to be had.
pub(super) fn bootstrap(b: &Bootstrap, socket: &Path) -> Value {
    let mut metadata = b.metadata.clone();
    // By this the control plane leaves out what only our proxy and Istio's build of Envoy have.
    metadata.insert("ENGINE".to_owned(), "envoy".into());
    let ads = json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"});
    json!({
        "node": {"id": b.node_id(), "cluster": format!("{}.{}", b.pod_name, b.namespace), "metadata": metadata},
        "admin": {"address": address("127.0.0.1", b.ports.admin)},
        "layered_runtime": {"layers": [
            {"name": "global config", "static_layer": {
                "envoy.reloadable_features.http_reject_path_with_fragment": false,
                "re2.max_program_size.error_level": 32768,
            }},
            {"name": "admin", "admin_layer": {}},
        ]},
        "dynamic_resources": {
            "lds_config": ads, "cds_config": ads,
            "ads_config": {
                "api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": CONTROL_PLANE}}],
            },
        },
        "static_resources": {"clusters": [control_plane(b), beside(socket)]},
    })
}

fn address(host: &str, port: u16) -> Value {
    json!({"socket_address": {"address": host, "port_value": port}})
}

fn http2() -> Value {
    json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {
            "connection_keepalive": {"interval": "30s", "timeout": "10s"},
        }},
    }})
}

fn endpoint(cluster: &str, address: Value) -> Value {
    json!({"cluster_name": cluster, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]})
}

/// The control plane, over TLS in both directions: the workload's certificate says who asks.
fn control_plane(b: &Bootstrap) -> Value {
    let (host, port) = b.discovery_address.rsplit_once(':').unwrap_or((&b.discovery_address, "15012"));
    json!({
        "name": CONTROL_PLANE, "type": "STRICT_DNS", "connect_timeout": "10s", "respect_dns_ttl": true,
        "dns_lookup_family": "V4_PREFERRED",
        "typed_extension_protocol_options": http2(),
        "load_assignment": endpoint(CONTROL_PLANE, address(host, port.parse().unwrap_or(15012))),
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": host,
            "common_tls_context": {
                "alpn_protocols": ["h2"],
                "tls_certificate_sds_secret_configs": [{"name": WORKLOAD, "sds_config": secrets()}],
                "validation_context": {
                    "trusted_ca": {"filename": b.root_cert_path},
                    "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": host}}],
                },
            },
        }},
    })
}

fn secrets() -> Value {
    json!({"resource_api_version": "V3", "initial_fetch_timeout": "0s", "api_config_source": {
        "api_type": "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
        "grpc_services": [{"envoy_grpc": {"cluster_name": OWN_SECRETS_CLUSTER}}],
    }})
}

/// This process.
fn beside(socket: &Path) -> Value {
    json!({
        "name": OWN_SECRETS_CLUSTER, "type": "STATIC", "connect_timeout": "1s",
        "typed_extension_protocol_options": http2(),
        "load_assignment": endpoint(OWN_SECRETS_CLUSTER, json!({"pipe": {"path": socket}})),
    })
}

#[cfg(test)]
mod tests;
