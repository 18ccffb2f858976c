//! One of each resource, and what lies in files.

use std::path::Path;
use std::sync::Arc;

use varka_engine::ir::{self, Resource, StringMatch};

use super::clusters::{clusters, plain_cluster};
use super::listeners::{downstream_tls, inbound, outbound};
use super::routes::routes;
use crate::tests::fixture;

pub(super) fn exact(value: &str) -> StringMatch {
    StringMatch::Exact { value: value.into(), ignore_case: false }
}

pub(super) fn everything(files: &Path) -> Vec<Resource> {
    let mut all = vec![
        Resource::Route(Arc::new(routes("8080"))),
        Resource::Listener(Arc::new(outbound())),
        Resource::Listener(Arc::new(inbound())),
    ];
    all.extend(secrets());
    all.extend(in_files(files));
    all.extend(clusters().into_iter().map(|c| Resource::Cluster(Arc::new(c))));
    all.push(fixture::endpoints("outbound|8080||was", 1));
    all
}

fn secrets() -> Vec<Resource> {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["web".to_owned()]).unwrap().self_signed(&key).unwrap();
    let kinds = [
        ("default", ir::SecretKind::Certificate { chain: certificate.pem(), key: key.serialize_pem() }),
        ("ROOTCA", ir::SecretKind::Validation { ca: certificate.pem(), crl: None }),
    ];
    kinds.map(|(name, kind)| Resource::Secret(Arc::new(ir::Secret { name: name.into(), kind }))).into()
}

/// A certificate, trust anchors and a revocation list in files, and those who refer to them.
fn in_files(directory: &Path) -> Vec<Resource> {
    let path = |name: &str| ir::Str::from(directory.join(name).to_str().unwrap());
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["web".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![
        rcgen::KeyUsagePurpose::DigitalSignature,
        rcgen::KeyUsagePurpose::KeyCertSign,
        rcgen::KeyUsagePurpose::CrlSign,
    ];
    let key = rcgen::KeyPair::generate().unwrap();
    write("chain.pem", &params.self_signed(&key).unwrap().pem());
    write("key.pem", &key.serialize_pem());
    let list = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2020, 1, 1),
        next_update: rcgen::date_time_ymd(2100, 1, 1),
        crl_number: rcgen::SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    write("crl.pem", &list.signed_by(&rcgen::Issuer::new(params, key)).unwrap().pem().unwrap());
    let (certificate, anchors) = (ir::Str::from("file-cert:chain~key"), ir::Str::from("file-root:chain"));
    let upstream = ir::UpstreamTls {
        certificate: Some(certificate.clone()),
        validation: Some(anchors.clone()),
        crl_file: Some(path("crl.pem")),
        auto_sni: true,
        ..Default::default()
    };
    let nothing = ir::Discovery::Static(ir::ClusterLoadAssignment { cluster_name: "files".into(), localities: vec![] });
    let cluster = ir::Cluster {
        tls: Some(upstream),
        services: vec![("files".into(), "files".into(), "a".into())],
        ..plain_cluster("files", nothing, ir::LbPolicy::RoundRobin)
    };
    let downstream = ir::DownstreamTls {
        certificates: vec![certificate.clone()],
        validation: Some(anchors.clone()),
        pins: ir::CertificatePins {
            spki: vec!["rkSKyGxOjk3sZFcpcI70GHOuecbf+E7/czYJiUh/COU=".into()],
            hashes: vec![[":00"; 32].concat()[1..].into()],
        },
        crl_file: Some(path("crl.pem")),
        ..downstream_tls()
    };
    let mut listener = inbound();
    listener.name = "files".into();
    listener.address = "127.0.0.1:0".parse().unwrap();
    listener.filter_chains.retain(|chain| chain.tls.is_some());
    listener.filter_chains.iter_mut().for_each(|chain| chain.tls = Some(downstream.clone()));
    let secret = |name: &ir::Str, kind| Resource::Secret(Arc::new(ir::Secret { name: name.clone(), kind }));
    vec![
        secret(&certificate, ir::SecretKind::CertificateFiles { chain: path("chain.pem"), key: path("key.pem") }),
        secret(&anchors, ir::SecretKind::ValidationFile { ca: path("chain.pem") }),
        Resource::Cluster(Arc::new(cluster)),
        Resource::Listener(Arc::new(listener)),
    ]
}
