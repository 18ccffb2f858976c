//! TLS towards endpoints: as a DestinationRule says, else mutual TLS with every endpoint that can.

use std::collections::BTreeSet;

use varka_api::istio::{ClientTlsMode, ClientTlsSettings, TrafficPolicy};
use varka_engine::ir::{Cluster, ClusterProtocol, Str, StringMatch, TlsVersion, TransportSocketMatch, UpstreamTls};

use crate::context::{Ctx, s};
use crate::endpoints::instances;
use crate::listener::strs;
use crate::registry::{Port, Resolution, Service};

/// What a cluster leads to.
pub(super) struct Destination<'a> {
    pub(super) service: &'a Service,
    pub(super) port: &'a Port,
    pub(super) subset: &'a str,
}

/// Applies TLS settings.
pub(super) fn apply(ctx: &Ctx<'_>, cluster: &mut Cluster, policy: &TrafficPolicy, to: &Destination<'_>) {
    match &policy.tls {
        Some(tls) => cluster.tls = explicit(ctx, cluster, tls, to),
        None => {
            let off = ctx.mesh().enable_auto_mtls == Some(false)
                || to.service.mesh_external
                || to.service.resolution == Resolution::Passthrough;
            if !off {
                cluster.transport_matches = vec![
                    TransportSocketMatch {
                        name: s("tlsMode-istio"),
                        tls_mode: Some(s("istio")),
                        tls: Some(mutual(ctx, cluster, to, &[], "")),
                    },
                    TransportSocketMatch { name: s("tlsMode-disabled"), tls_mode: None, tls: None },
                ];
            }
        }
    }
}

fn explicit(ctx: &Ctx<'_>, cluster: &Cluster, tls: &ClientTlsSettings, to: &Destination<'_>) -> Option<UpstreamTls> {
    let names = tls.subject_alt_names.iter().map(s).collect::<Vec<_>>();
    match tls.mode {
        ClientTlsMode::Disable => None,
        ClientTlsMode::IstioMutual => Some(mutual(ctx, cluster, to, &names, &tls.sni)),
        ClientTlsMode::Simple | ClientTlsMode::Mutual => {
            let credential = |suffix: &str| s(format!("kubernetes://{}{suffix}", tls.credential_name));
            let certificate = match (tls.mode, tls.credential_name.is_empty()) {
                (ClientTlsMode::Mutual, false) => Some(credential("")),
                (ClientTlsMode::Mutual, true) => {
                    Some(s(format!("file-cert:{}~{}", tls.client_certificate, tls.private_key)))
                }
                _ => None,
            };
            let validation = if tls.insecure_skip_verify == Some(true) {
                None
            } else if !tls.credential_name.is_empty() {
                Some(credential("-cacert"))
            } else if tls.ca_certificates.is_empty() {
                Some(s("file-root:system"))
            } else {
                Some(s(format!("file-root:{}", tls.ca_certificates)))
            };
            let names = if names.is_empty() { to.service.subject_alt_names.clone() } else { names };
            Some(UpstreamTls {
                certificate,
                validation,
                subject_alt_names: exact(names),
                sni: (!tls.sni.is_empty()).then(|| s(&tls.sni)),
                auto_sni: tls.sni.is_empty(),
                alpn: if cluster.http.protocol == ClusterProtocol::Http2 { strs(&["h2"]) } else { Vec::new() },
                min_version: None,
                max_version: None,
            })
        }
    }
}

/// The mesh's mutual TLS, to the identities that the service's workloads have.
fn mutual(ctx: &Ctx<'_>, cluster: &Cluster, to: &Destination<'_>, names: &[Str], sni: &str) -> UpstreamTls {
    let names = if names.is_empty() { identities(ctx, to) } else { names.to_vec() };
    let default_sni = format!("outbound_.{}_.{}_.{}", to.port.number, to.subset, to.service.host);
    UpstreamTls {
        certificate: Some(s("default")),
        validation: Some(s("ROOTCA")),
        subject_alt_names: exact(names),
        sni: Some(if sni.is_empty() { s(default_sni) } else { s(sni) }),
        auto_sni: false,
        alpn: alpn(ctx, cluster, to),
        min_version: Some(TlsVersion::V1_2),
        max_version: Some(TlsVersion::V1_3),
    }
}

/// What is offered: for opaque bytes here; for HTTP by a filter that knows the version, which the stock Envoy does not have.
fn alpn(ctx: &Ctx<'_>, cluster: &Cluster, to: &Destination<'_>) -> Vec<Str> {
    let http = to.port.protocol.is_http();
    match (ctx.is_envoy() && http, cluster.http.protocol) {
        (true, ClusterProtocol::Http2) => strs(&["istio-h2", "istio", "h2"]),
        (true, _) => strs(&["istio-http/1.1", "istio", "http/1.1"]),
        (false, _) => strs(&["istio-peer-exchange", "istio"]),
    }
}

/// SPIFFE identities of the service's workloads, in our trust domain and its aliases. None known: any of the mesh.
fn identities(ctx: &Ctx<'_>, to: &Destination<'_>) -> Vec<Str> {
    let mut names: BTreeSet<Str> = to.service.subject_alt_names.iter().cloned().collect();
    let domains: Vec<&str> =
        std::iter::once(ctx.trust_domain()).chain(ctx.mesh().trust_domain_aliases.iter().map(String::as_str)).collect();
    for instance in instances(ctx, to.service, to.port) {
        if instance.service_account.is_empty() {
            continue;
        }
        for domain in &domains {
            names.insert(s(format!("spiffe://{domain}/ns/{}/sa/{}", instance.namespace, instance.service_account)));
        }
    }
    names.into_iter().collect()
}

fn exact(names: Vec<Str>) -> Vec<StringMatch> {
    names.into_iter().map(|value| StringMatch::Exact { value, ignore_case: false }).collect()
}
