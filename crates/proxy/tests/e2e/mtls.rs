//! Two sidecars, mesh TLS between them.

use std::time::{Duration, SystemTime};

use varka_engine::ir::Proxy;
use varka_identity::{Authority, SpiffeId, SystemRandom, WorkloadKey};

use crate::config::{Mode, WAS, auto_mtls, cluster, endpoints, inbound, outbound, secrets};
use crate::support::{App, Client, Running};

/// A mesh of two workloads.
pub(crate) struct Mesh {
    pub(crate) authority: Authority,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        Self { authority: authority() }
    }

    /// Gives a proxy the identity of a service account.
    pub(crate) fn identify(&self, proxy: &mut Proxy, account: &str) {
        secrets(proxy, certificate(&self.authority, account), root(&self.authority));
    }
}

fn authority() -> Authority {
    Authority::generate("cluster.local", SystemTime::now(), &SystemRandom::new()).unwrap()
}

pub(crate) fn root(authority: &Authority) -> String {
    authority.root_pem().to_owned()
}

pub(crate) fn certificate(authority: &Authority, account: &str) -> (String, String) {
    let id = SpiffeId::new("cluster.local", "default", account).unwrap();
    let key = WorkloadKey::generate(&SystemRandom::new()).unwrap();
    let issued = authority
        .sign_csr(&key.csr(&id).unwrap(), &id, SystemTime::now(), Duration::from_secs(3600), &SystemRandom::new())
        .unwrap();
    (issued.chain.concat(), key.to_pem().to_string())
}

/// A client's sidecar that believes that the server has one.
fn client_of(mesh: &Mesh, server: &Running, account: &str) -> Running {
    let mut was = cluster(WAS, endpoints(&[server.address("virtualInbound")], Some("istio")));
    auto_mtls(&mut was, "spiffe://cluster.local/ns/default/sa/was");
    let mut config = outbound(was, |_| {});
    mesh.identify(&mut config, account);
    Running::start(&config, None)
}

fn server_of(mesh: &Mesh, app: &App, mode: Mode) -> Running {
    let mut config = inbound(mode);
    mesh.identify(&mut config, "was");
    Running::start(&config, Some(app.address))
}

#[test]
fn both_identities_reach_the_application() {
    let (mesh, app) = (Mesh::new(), App::start());
    for mode in [Mode::Permissive, Mode::Strict] {
        let server = server_of(&mesh, &app, mode);
        let client = client_of(&mesh, &server, "web");
        let mut connection = Client::connect(client.address("virtualOutbound"));
        let response =
            connection.ask("GET /api HTTP/1.1\r\nHost: was-service\r\nx-forwarded-client-cert: By=spoofed\r\n\r\n");
        assert_eq!(response.line, "HTTP/1.1 200 OK", "{mode:?}: {}", String::from_utf8_lossy(&response.body));
        let xfcc = app.last().header("x-forwarded-client-cert").unwrap().to_owned();
        assert!(xfcc.starts_with("By=spiffe://cluster.local/ns/default/sa/was;Hash="), "{xfcc}");
        assert!(xfcc.ends_with(";Subject=\"\";URI=spiffe://cluster.local/ns/default/sa/web"), "{xfcc}");
        let log = server.log(1);
        assert!(log[0].contains(" outbound_.8080_._.was-service.default.svc.cluster.local default"), "{}", log[0]);
    }
}

#[test]
fn plain_text_to_strict_is_reset_without_a_byte() {
    let (mesh, app) = (Mesh::new(), App::start());
    let server = server_of(&mesh, &app, Mode::Strict);
    let mut client = Client::connect(server.address("virtualInbound"));
    client.send("GET / HTTP/1.1\r\nHost: was-service\r\n\r\n");
    let error = client.rest().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let log = server.log(1);
    assert!(log[0].contains("\"- - -\" 0 NR filter_chain_not_found - \"-\" 0 0 \"-\" \"-\" - "), "{}", log[0]);
    assert!(app.seen.lock().unwrap().is_empty());
}

#[test]
fn mesh_tls_to_an_application_without_a_sidecar_fails_as_in_envoy() {
    let (mesh, app) = (Mesh::new(), App::start());
    let mut was = cluster(WAS, endpoints(&[app.address], Some("istio")));
    auto_mtls(&mut was, "spiffe://cluster.local/ns/default/sa/was");
    let mut config = outbound(was, |_| {});
    mesh.identify(&mut config, "web");
    let client = Running::start(&config, None);
    let response =
        Client::connect(client.address("virtualOutbound")).ask("GET / HTTP/1.1\r\nHost: was-service\r\n\r\n");
    let body = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure";
    assert_eq!(String::from_utf8_lossy(&response.body), body);
}

#[test]
fn a_server_of_another_name_or_another_root_is_not_trusted() {
    let (mesh, other, app) = (Mesh::new(), Mesh::new(), App::start());
    let mut config = inbound(Mode::Strict);
    mesh.identify(&mut config, "impostor");
    let impostor = Running::start(&config, Some(app.address));
    let foreign = server_of(&other, &app, Mode::Strict);
    for server in [&impostor, &foreign] {
        let client = client_of(&mesh, server, "web");
        let response =
            Client::connect(client.address("virtualOutbound")).ask("GET / HTTP/1.1\r\nHost: was-service\r\n\r\n");
        assert_eq!(response.line, "HTTP/1.1 503 Service Unavailable");
        assert!(
            client.log(1)[0].contains("503 URX,UF upstream_reset_before_response_started{remote_connection_failure")
        );
    }
    assert!(app.seen.lock().unwrap().is_empty());
}

#[test]
fn a_renewed_certificate_is_used_and_no_connection_is_dropped() {
    let (mesh, app) = (Mesh::new(), App::start());
    let server = server_of(&mesh, &app, Mode::Strict);
    let client = client_of(&mesh, &server, "web");
    let mut connection = Client::connect(client.address("virtualOutbound"));
    let hash = |app: &App| app.last().header("x-forwarded-client-cert").unwrap().split(';').nth(1).unwrap().to_owned();
    connection.ask("GET / HTTP/1.1\r\nHost: was-service\r\n\r\n");
    let before = hash(&app);
    let mut renewed = Proxy::clone(&client.proxy.as_ref().unwrap().state().config().ir);
    mesh.identify(&mut renewed, "web");
    client.apply(renewed);
    connection.ask("GET / HTTP/1.1\r\nHost: was-service\r\n\r\n");
    assert_eq!(hash(&app), before, "the connection between the sidecars stays");
    let response = connection.ask("GET / HTTP/1.1\r\nHost: was-service\r\nx-reset: 1\r\n\r\n");
    assert_eq!(response.line, "HTTP/1.1 503 Service Unavailable");
}
