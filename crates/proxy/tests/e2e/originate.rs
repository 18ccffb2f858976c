//! TLS that is not the mesh's: a sidecar towards an edge, each with certificates, trust anchors and revocation lists in files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use varka_engine::ir::{
    CertificatePins, ClusterProtocol, DownstreamTls, FilterChainMatch, Proxy, RouteSource, Secret, SecretKind, Str,
    StringMatch, Terminal, TrafficDirection, UpstreamTls,
};

use crate::config::{
    WAS, action, chain, cluster, endpoints, listener, manager, outbound, proxy, route, table, tcp, virtual_host,
};
use crate::support::{App, Client, Running, Seen, until};

/// An authority whose certificates, keys and lists lie in a directory.
struct Files {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Files {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let files = Self { dir: tempfile::tempdir().unwrap(), issuer: Issuer::new(params, key) };
        files.write("ca.pem", &root.pem());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> Str {
        self.path(name).to_str().unwrap().into()
    }

    /// Puts a file in place as a volume's are: whole, under its name.
    fn write(&self, name: &str, text: &str) {
        let beside = self.path(".new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.path(name)).unwrap();
    }

    /// A certificate for `host`, as `NAME.pem` and `NAME.key`; its DER form, and that of its key.
    fn issue(&self, name: &str, host: &str, serial: u64) -> (Vec<u8>, Vec<u8>) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.write(&format!("{name}.key"), &key.serialize_pem());
        self.write(&format!("{name}.pem"), &certificate.pem());
        (certificate.der().to_vec(), rcgen::PublicKeyData::subject_public_key_info(&key))
    }

    /// `crl.pem`, which takes back certificates by serial number.
    fn revoke(&self, serials: &[u64]) {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(u64::try_from(serials.len()).unwrap()),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.write("crl.pem", &list.signed_by(&self.issuer).unwrap().pem().unwrap());
    }

    /// Gives a proxy the files of a certificate, and the trust anchors, as SDS would.
    fn give(&self, config: &mut Proxy, certificate: &str) {
        let chain = self.text(&format!("{certificate}.pem"));
        let key = self.text(&format!("{certificate}.key"));
        let mut put = |name: Str, kind| drop(config.secrets.insert(name.clone(), Arc::new(Secret { name, kind })));
        put(format!("file-cert:{chain}~{key}").into(), SecretKind::CertificateFiles { chain: chain.clone(), key });
        let ca = self.text("ca.pem");
        put(format!("file-root:{ca}").into(), SecretKind::ValidationFile { ca });
    }

    fn certificate(&self, name: &str) -> Str {
        let path = |kind: &str| self.text(&format!("{name}.{kind}"));
        format!("file-cert:{}~{}", path("pem"), path("key")).into()
    }

    fn anchors(&self) -> Str {
        format!("file-root:{}", self.text("ca.pem")).into()
    }

    /// How an edge serves its certificate.
    fn downstream(&self) -> DownstreamTls {
        DownstreamTls {
            certificates: vec![self.certificate("server")],
            validation: None,
            require_client_certificate: false,
            subject_alt_names: Vec::new(),
            pins: CertificatePins::default(),
            crl_file: None,
            alpn: vec!["h2".into(), "http/1.1".into()],
            min_version: None,
            max_version: None,
            cipher_suites: Vec::new(),
        }
    }

    /// An edge in front of an application.
    fn edge(&self, app: &App, tls: DownstreamTls) -> Running {
        let mut http = manager(true, RouteSource::Rds("https.443".into()));
        http.client_cert = varka_engine::ir::ClientCertForwarding::SanitizeSet;
        let https = chain("https", FilterChainMatch::default(), Some(tls), Terminal::Http(Box::new(http)));
        let mut web = cluster("web", endpoints(&[app.address], None));
        web.http.protocol = ClusterProtocol::Http1;
        let hosts = table("https.443", vec![virtual_host("all", &["*"], vec![route(action("web"))])]);
        let mut config =
            proxy(vec![listener("https", TrafficDirection::Outbound, vec![https])], vec![hosts], vec![web]);
        self.give(&mut config, "server");
        Running::start(&config, None)
    }

    /// `SIMPLE` with trust anchors, and whatever else.
    fn upstream(&self) -> UpstreamTls {
        UpstreamTls { validation: Some(self.anchors()), auto_sni: true, auto_san: true, ..UpstreamTls::default() }
    }

    /// A sidecar that leads `was-service` to an edge.
    fn sidecar(&self, edge: &Running, tls: UpstreamTls) -> Running {
        let mut was = cluster(WAS, endpoints(&[edge.address("https")], None));
        was.http.protocol = ClusterProtocol::Http1;
        was.tls = Some(tls);
        let mut config = outbound(was, |to| to.retry = None);
        self.give(&mut config, "client");
        Running::start(&config, None)
    }
}

fn ask(sidecar: &Running) -> Seen {
    Client::connect(sidecar.address("virtualOutbound")).ask("GET / HTTP/1.1\r\nHost: was-service\r\n\r\n")
}

fn status(sidecar: &Running) -> String {
    ask(sidecar).line.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// Authority, application and files of both sides.
fn parts() -> (Files, App) {
    let files = Files::new();
    files.issue("server", "was-service", 1);
    files.issue("client", "web.example", 2);
    (files, App::start())
}

#[test]
fn a_server_is_accepted_by_its_anchors_and_for_the_host_alone() {
    let (files, app) = parts();
    let edge = files.edge(&app, files.downstream());
    assert_eq!(status(&files.sidecar(&edge, files.upstream())), "200");
    let log = edge.log(1);
    assert!(log[0].contains(" was-service default"), "the host is sent as server name: {}", log[0]);

    let named = |name: &str| vec![StringMatch::Exact { value: name.into(), ignore_case: false }];
    let other = UpstreamTls { subject_alt_names: named("other.example"), auto_san: false, ..files.upstream() };
    let sidecar = files.sidecar(&edge, other);
    assert_eq!(status(&sidecar), "503");
    let why = "TLS_error:_no_alternative_name_of_the_certificate_is_accepted_here:_it_has_was-service";
    assert!(sidecar.log(1)[0].contains(why), "{}", sidecar.log(1)[0]);

    files.issue("server", "other.example", 3);
    let edge = files.edge(&app, files.downstream());
    let sidecar = files.sidecar(&edge, files.upstream());
    assert_eq!(status(&sidecar), "503", "its certificate is for another host");
    let unverified = UpstreamTls { validation: None, auto_san: false, ..files.upstream() };
    assert_eq!(status(&files.sidecar(&edge, unverified)), "200");
    let unnamed = UpstreamTls { auto_sni: false, auto_san: false, sni: Some("x.example".into()), ..files.upstream() };
    assert_eq!(status(&files.sidecar(&edge, unnamed)), "200", "with an SNI of its own no name is asked for");
    assert!(edge.log(2)[1].contains(" x.example default"), "{}", edge.log(2)[1]);

    let foreign = Files::new();
    foreign.issue("client", "web.example", 1);
    let sidecar = foreign.sidecar(&edge, UpstreamTls { auto_san: false, ..foreign.upstream() });
    assert_eq!(status(&sidecar), "503", "its authority is another");
}

#[test]
fn a_wildcard_certificate_is_good_for_a_name_that_is_asked_for() {
    let files = Files::new();
    files.issue("server", "*.example.com", 1);
    files.issue("client", "web.example", 2);
    let app = App::start();
    let edge = files.edge(&app, files.downstream());
    let asks = |name: &str| UpstreamTls {
        subject_alt_names: vec![StringMatch::Exact { value: name.into(), ignore_case: false }],
        auto_san: false,
        ..files.upstream()
    };
    assert_eq!(status(&files.sidecar(&edge, asks("was.example.com"))), "200");
    assert_eq!(status(&files.sidecar(&edge, asks("a.was.example.com"))), "503");
}

#[test]
fn opaque_connections_need_no_name() {
    let (files, app) = parts();
    let edge = files.edge(&app, files.downstream());
    let mut to = cluster(WAS, endpoints(&[edge.address("https")], None));
    to.tls = Some(files.upstream());
    let chain = chain("tcp", FilterChainMatch::default(), None, tcp(WAS));
    let mut config = proxy(vec![listener("tcp", TrafficDirection::Outbound, vec![chain])], Vec::new(), vec![to]);
    files.give(&mut config, "client");
    let sidecar = Running::start(&config, None);
    let response = Client::connect(sidecar.address("tcp")).ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(response.line, "HTTP/1.1 200 OK");
    assert!(edge.log(1)[0].contains(" - default"), "no server name is sent: {}", edge.log(1)[0]);
}

#[test]
fn a_client_is_asked_for_its_certificate_its_pin_and_its_name() {
    use base64::Engine as _;
    let (files, app) = parts();
    let (der, spki) = files.issue("client", "web.example", 2);
    let digest = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes).as_ref().to_vec();
    let spki: Str = base64::engine::general_purpose::STANDARD.encode(digest(&spki)).into();
    let hash: Str = digest(&der).iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":").into();
    let wrong: Str = base64::engine::general_purpose::STANDARD.encode(digest(b"another")).into();
    let mutual =
        || DownstreamTls { validation: Some(files.anchors()), require_client_certificate: true, ..files.downstream() };
    let shows = || UpstreamTls { certificate: Some(files.certificate("client")), ..files.upstream() };
    let pinned = |spki: &[&Str], hashes: &[&Str]| {
        let all = |pins: &[&Str]| pins.iter().map(|p| Str::clone(p)).collect();
        DownstreamTls { pins: CertificatePins { spki: all(spki), hashes: all(hashes) }, ..mutual() }
    };
    let name = |name: &str| vec![StringMatch::Exact { value: name.into(), ignore_case: false }];
    for (edge, wanted) in [
        (mutual(), "200"),
        (pinned(&[&spki], &[]), "200"),
        (pinned(&[], &[&hash]), "200"),
        (pinned(&[&wrong], &[&hash]), "200"),
        (pinned(&[&wrong], &[]), "503"),
        (pinned(&[&"no base64".into()], &[]), "503"),
        (DownstreamTls { subject_alt_names: name("web.example"), ..mutual() }, "200"),
        (DownstreamTls { subject_alt_names: name("was.example"), ..mutual() }, "503"),
    ] {
        let said = format!("{:?} {:?}", edge.pins, edge.subject_alt_names);
        let edge = files.edge(&app, edge);
        assert_eq!(status(&files.sidecar(&edge, shows())), wanted, "{said}");
    }
    let edge = files.edge(&app, mutual());
    assert_eq!(status(&files.sidecar(&edge, files.upstream())), "503", "no certificate is shown");
    assert_eq!(status(&files.sidecar(&edge, shows())), "200");
    assert!(app.last().header("x-forwarded-client-cert").is_some_and(|xfcc| xfcc.starts_with("Hash=")));
}

#[test]
fn what_an_issuer_takes_back_is_refused_from_then_on() {
    let (files, app) = parts();
    files.revoke(&[99]);
    let mutual = DownstreamTls {
        validation: Some(files.anchors()),
        require_client_certificate: true,
        crl_file: Some(files.text("crl.pem")),
        ..files.downstream()
    };
    let edge = files.edge(&app, mutual);
    let shows = UpstreamTls {
        certificate: Some(files.certificate("client")),
        crl_file: Some(files.text("crl.pem")),
        ..files.upstream()
    };
    let client = |tls: &UpstreamTls| files.sidecar(&edge, tls.clone());
    assert_eq!(status(&client(&shows)), "200");
    // Each side notices by itself that its file has changed.
    files.revoke(&[99, 2]);
    until("the edge refuses the client", || (status(&client(&shows)) == "503").then_some(()));
    let without = UpstreamTls { crl_file: None, ..shows.clone() };
    assert_eq!(status(&client(&without)), "503", "the edge refuses, whatever the client asks");
    files.revoke(&[99, 2, 1]);
    let edge = files.edge(&app, files.downstream());
    let checks = UpstreamTls { crl_file: Some(files.text("crl.pem")), ..files.upstream() };
    assert_eq!(status(&files.sidecar(&edge, checks.clone())), "503", "the server's certificate is taken back");
    assert_eq!(status(&files.sidecar(&edge, files.upstream())), "200", "nobody asks");
    let absent = UpstreamTls { crl_file: Some(files.text("none.pem")), ..checks };
    assert_eq!(status(&files.sidecar(&edge, absent)), "503", "a list that cannot be read says nothing good");
}

#[test]
fn files_may_come_late_and_are_read_again() {
    let (files, app) = parts();
    let held = std::fs::read_to_string(files.path("ca.pem")).unwrap();
    std::fs::remove_file(files.path("ca.pem")).unwrap();
    let edge = files.edge(&app, files.downstream());
    let sidecar = files.sidecar(&edge, files.upstream());
    assert_eq!(status(&sidecar), "503");
    let why =
        "UF upstream_reset_before_response_started{remote_connection_failure|TLS_error:_Secret_is_not_supplied_by_SDS}";
    assert!(sidecar.log(1)[0].contains(why), "{}", sidecar.log(1)[0]);
    files.write("ca.pem", &held);
    until("the trust anchors are read", || (status(&sidecar) == "200").then_some(()));
    // A new certificate of another authority, in the same files of the same edge.
    let other = Files::new();
    other.issue("server", "was-service", 7);
    copy(&other.path("server.key"), &files, "server.key");
    copy(&other.path("server.pem"), &files, "server.pem");
    until("the new certificate is shown", || (status(&files.sidecar(&edge, files.upstream())) == "503").then_some(()));
    copy(&other.path("ca.pem"), &files, "ca.pem");
    until("the new anchors are read", || (status(&files.sidecar(&edge, files.upstream())) == "200").then_some(()));
}

fn copy(from: &Path, to: &Files, name: &str) {
    to.write(name, &std::fs::read_to_string(from).unwrap());
}
