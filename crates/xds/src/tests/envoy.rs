//! A real Envoy takes what is encoded here. It needs the program: `ENVOY=/path/to/envoy cargo test -p varka-xds -- --ignored`.

mod clusters;
mod listeners;
mod resources;
mod routes;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use varka_engine::ir::ResourceType;

use resources::everything;

use super::fixture::{self, Mesh, ServerEvent};
use crate::codec::Reader;
use crate::server;

struct Running {
    process: Child,
    log: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn cluster(name: &str, port: u16) -> String {
    format!(
        r#"{{
    "name": "{name}", "type": "STATIC",
    "typed_extension_protocol_options": {{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {{
      "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
      "explicit_http_config": {{"http2_protocol_options": {{}}}}}}}},
    "load_assignment": {{"cluster_name": "{name}", "endpoints": [{{"lb_endpoints": [{{"endpoint": {{
      "address": {{"socket_address": {{"address": "127.0.0.1", "port_value": {port}}}}}}}}}]}}]}}
  }}"#
    )
}

fn start(port: u16, api: &str) -> Running {
    let program = std::env::var_os("ENVOY").expect("ENVOY must name the program");
    let directory = tempfile::tempdir().unwrap();
    let bootstrap = format!(
        r#"{{
  "node": {{"id": "sidecar~10.0.0.7~web.blog-system~x", "cluster": "web.blog-system"}},
  "dynamic_resources": {{
    "ads_config": {{"api_type": "{api}", "transport_api_version": "V3",
      "grpc_services": [{{"envoy_grpc": {{"cluster_name": "control-plane"}}}}]}},
    "cds_config": {{"ads": {{}}, "resource_api_version": "V3"}},
    "lds_config": {{"ads": {{}}, "resource_api_version": "V3"}}
  }},
  "static_resources": {{"clusters": [{0}, {1}]}}
}}"#,
        cluster("control-plane", port),
        cluster(crate::codec::OWN_SECRETS_CLUSTER, port),
    );
    let file = directory.path().join("bootstrap.json");
    std::fs::write(&file, bootstrap).unwrap();
    let log = directory.path().join("log");
    let process = Command::new(program)
        .arg("-c")
        .arg(&file)
        .args(["--use-dynamic-base-id", "--concurrency", "1", "-l", "warning", "--log-path"])
        .arg(&log)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Running { process, log, _directory: directory }
}

async fn is_accepted(api: &str) {
    let files = tempfile::tempdir().unwrap();
    let resources = everything(files.path());
    let mut mesh = Mesh::for_reader(Reader::StockEnvoy, &resources);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = tonic::transport::Server::builder()
        .add_service(server::service(mesh.source()))
        .add_service(server::secrets(mesh.source()));
    let serving = tokio::spawn(serve.serve_with_incoming(TcpListenerStream::new(listener)));
    let envoy = start(port, api);
    let mut missing = vec![
        ResourceType::Cluster,
        ResourceType::Endpoints,
        ResourceType::Listener,
        ResourceType::Route,
        ResourceType::Secret,
    ];
    while !missing.is_empty() {
        match tokio::time::timeout(Duration::from_secs(30), mesh.event()).await {
            Ok(ServerEvent::Acked(kind, _)) => missing.retain(|m| *m != kind),
            Ok(ServerEvent::Nacked(kind, message)) => panic!("Envoy refuses {kind:?}: {message}"),
            Ok(ServerEvent::Connected(..)) => {}
            Err(_) => {
                panic!(
                    "Envoy has not taken {missing:?}\n{}",
                    std::fs::read_to_string(&envoy.log)
                        .unwrap_or_default()
                        .lines()
                        .take(20)
                        .collect::<Vec<_>>()
                        .join("\n")
                )
            }
        }
    }
    // A changed cluster is taken, too, and its endpoints with it.
    mesh.set(fixture::cluster_with_timeout("outbound|8080||was", Duration::from_secs(3)));
    let mut missing = vec![ResourceType::Cluster, ResourceType::Endpoints];
    while !missing.is_empty() {
        match tokio::time::timeout(Duration::from_secs(30), mesh.event()).await {
            Ok(ServerEvent::Acked(kind, version)) if version == "3" => missing.retain(|m| *m != kind),
            Ok(ServerEvent::Nacked(kind, message)) => panic!("Envoy refuses {kind:?}: {message}"),
            Ok(_) => {}
            Err(_) => panic!("Envoy has not taken the change of {missing:?}"),
        }
    }
    serving.abort();
}

#[tokio::test]
#[ignore = "needs the program that ENVOY names"]
async fn envoy_takes_everything_as_state_of_the_world() {
    is_accepted("GRPC").await;
}

#[tokio::test]
#[ignore = "needs the program that ENVOY names"]
async fn envoy_takes_everything_as_delta() {
    is_accepted("DELTA_GRPC").await;
}
