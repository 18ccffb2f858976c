//! Seeds that are made rather than written: messages of protobuf, handshakes, certificates. `UPDATE=1` writes them anew.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a seed that cannot be made or written fails the test"
)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use prost::Message as _;
use varka_fuzz::{corpus, find};
use varka_identity::{Authority, SpiffeId, SystemRandom, WorkloadKey, certificates_from_pem};
use varka_pilot::{ProxyKey, ProxyKind, Snapshot, compile_all};
use varka_proto::envoy::{auth, core};
use varka_proto::protobuf::{Any, Struct, Value, value::Kind};
use varka_xds::codec::{Reader, TYPES, encode_bytes};

fn write(target: &str, name: &str, bytes: &[u8]) {
    let directory = corpus::seeds_directory(find(target).unwrap());
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(name), bytes).unwrap();
}

fn text(value: &str) -> Value {
    Value { kind: Some(Kind::StringValue(value.to_owned())) }
}

fn fields(pairs: &[(&str, Value)]) -> Struct {
    Struct { fields: pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect() }
}

/// The smallest resource of each kind that a proxy of a small mesh is told, and the largest that is small enough.
fn xds() {
    let objects = varka_api::read("mesh.yaml", include_str!("../src/mesh.yaml")).0;
    let routes = include_str!("../seeds/mesh/routes");
    let more: Vec<serde_json::Value> = serde_json::from_str(routes).unwrap();
    let objects = objects.into_iter().chain(more.into_iter().filter_map(varka_api::RawObject::from_value));
    let snapshot = Snapshot::builder().objects(objects).build();
    let proxy = ProxyKey::new(ProxyKind::Sidecar, "web-1", "default", "10.0.0.2".parse().unwrap());
    let (c, _) = compile_all(&snapshot, &proxy);
    use varka_engine::ir::Resource;
    let all = c.listeners.into_values().map(Resource::Listener);
    let all = all.chain(c.routes.into_values().map(Resource::Route));
    let all = all.chain(c.clusters.into_values().map(Resource::Cluster));
    let all = all.chain(c.endpoints.into_values().map(Resource::Endpoints));
    let all = all.chain(c.secrets.into_values().map(Resource::Secret));
    let mut sent: Vec<(usize, Vec<u8>)> = all
        .map(|resource| {
            let kind = TYPES.iter().position(|kind| *kind == resource.kind()).unwrap();
            (kind, encode_bytes(&resource, Reader::Istio).to_vec())
        })
        .collect();
    sent.sort_by_key(|(kind, bytes)| (*kind, bytes.len()));
    for kind in 0..TYPES.len() {
        let of: Vec<&Vec<u8>> = sent.iter().filter(|(k, b)| *k == kind && b.len() < 3500).map(|(_, b)| b).collect();
        for (name, bytes) in [("small", of.first()), ("large", of.last())] {
            if let Some(bytes) = bytes {
                write("xds", &format!("{kind}-{name}"), &[&[u8::try_from(kind).unwrap()], &bytes[..]].concat());
            }
        }
    }
}

fn others() {
    let metadata = fields(&[
        ("NAMESPACE", text("default")),
        ("WORKLOAD_NAME", text("web")),
        ("CLUSTER_ID", text("Kubernetes")),
        ("LABELS", Value { kind: Some(Kind::StructValue(fields(&[("app", text("web")), ("version", text("v1"))]))) }),
    ]);
    let encoded = base64::engine::general_purpose::STANDARD.encode(metadata.encode_to_vec());
    write("peer_metadata", "workload", encoded.as_bytes());
    let said = fields(&[("x-envoy-peer-metadata", Value { kind: Some(Kind::StructValue(metadata.clone())) })]);
    let any = Any { type_url: "type.googleapis.com/google.protobuf.Struct".to_owned(), value: said.encode_to_vec() };
    let body = any.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    write("peer_prelude", "workload", &[&[0x35, 0x3d, 0x23, 0x04, 0x67], &length[..], &body, b"SELECT 1"].concat());
    write("peer_prelude", "none", b"\x11SELECT 1");
    let node = core::Node {
        id: "sidecar~10.0.0.2~web-1.default~default.svc.cluster.local".to_owned(),
        cluster: "web.default".to_owned(),
        metadata: Some(metadata),
        locality: Some(core::Locality { region: "a".to_owned(), zone: "b".to_owned(), sub_zone: String::new() }),
        ..Default::default()
    };
    write("node", "sidecar", &[&[0][..], &node.encode_to_vec()].concat());
    let header = |name: &str, value: &str| core::HeaderValueOption {
        header: Some(core::HeaderValue { key: name.to_owned(), value: value.to_owned(), ..Default::default() }),
        ..Default::default()
    };
    let ok = auth::OkHttpResponse {
        headers: vec![header("x-user", "ann")],
        headers_to_remove: vec!["authorization".to_owned()],
        response_headers_to_add: vec![header("x-b", "c")],
        ..Default::default()
    };
    let response = auth::CheckResponse {
        http_response: Some(auth::check_response::HttpResponse::OkResponse(ok)),
        ..Default::default()
    };
    write("ext_authz", "allowed", &[&[0][..], &response.encode_to_vec()].concat());
}

fn handshakes_and_certificates() {
    for (name, host, alpn) in
        [("mesh", "outbound_.80_._.web.default.svc.cluster.local", &["istio", "h2"][..]), ("plain", "a.example", &[])]
    {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        let mut connection = rustls::ClientConnection::new(Arc::new(config), host.try_into().unwrap()).unwrap();
        let mut out = Vec::new();
        connection.write_tls(&mut out).unwrap();
        write("client_hello", name, &out);
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let (random, id) = (SystemRandom::new(), SpiffeId::new("cluster.local", "default", "web").unwrap());
    let authority = Authority::generate("cluster.local", now, &random).unwrap();
    let request = WorkloadKey::generate(&random).unwrap().csr(&id).unwrap();
    write("csr", "pem", &[&[1], request.as_bytes()].concat());
    let encoded: String = request.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    write("csr", "der", &[&[0], &der[..]].concat());
    let issued = authority.sign_csr(&request, &id, now, Duration::from_secs(3600), &random).unwrap();
    let chain = issued.chain.concat();
    let leaf = certificates_from_pem(&chain).unwrap();
    write("certificate", "leaf", &[&[0], leaf[0].as_ref()].concat());
    let server = authority.issue_server_certificate(&["a.example", "10.0.0.1"], now, Duration::from_secs(60), &random);
    write("certificate", "server", &[&[0], server.unwrap().chain[0].as_ref()].concat());
    write("certificate", "chain", &[&[2], chain.as_bytes()].concat());
    write("certificate", "identity", format!("\u{3}{id}").as_bytes());
}

#[test]
fn made_seeds_are_written_anew_where_that_is_asked_for() {
    if std::env::var_os("UPDATE").is_some() {
        xds();
        others();
        handshakes_and_certificates();
    }
    for target in ["xds", "node", "ext_authz", "peer_metadata", "peer_prelude", "client_hello", "csr", "certificate"] {
        assert!(!corpus::seeds(find(target).unwrap()).unwrap().is_empty(), "{target}: UPDATE=1 makes them");
    }
}
