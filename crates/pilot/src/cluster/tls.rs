//! TLS towards endpoints: as a DestinationRule says, else mutual TLS with every endpoint that can.

use std::collections::BTreeSet;

use varka_api::istio::{ClientTlsMode, ClientTlsSettings, TrafficPolicy};
use varka_engine::ir::{
    Cluster, ClusterProtocol, SYSTEM_ROOTS, Str, StringMatch, TlsVersion, TransportSocketMatch, UpstreamTls,
};

use crate::context::{Ctx, s};
use crate::diagnostic::Severity;
use crate::endpoints::instances;
use crate::listener::strs;
use crate::registry::{Port, Resolution, Service};
use crate::scope::HostRule;
use crate::secret;

/// What a cluster leads to.
pub(super) struct Destination<'a> {
    pub(super) service: &'a Service,
    pub(super) port: &'a Port,
    pub(super) subset: &'a str,
    /// Made of a BackendTLSPolicy: its hostname is what the certificate must be for.
    pub(super) by_backend_policy: bool,
}

/// Applies TLS settings.
pub(super) fn apply(ctx: &Ctx<'_>, cluster: &mut Cluster, policy: &TrafficPolicy, to: &Destination<'_>) {
    match &policy.tls {
        Some(tls) => cluster.tls = explicit(ctx, cluster, tls, to),
        None => {
            let off = ctx.mesh().enable_auto_mtls == Some(false)
                || to.service.mesh_external
                || matches!(to.service.resolution, Resolution::Passthrough | Resolution::DynamicDns);
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
        ClientTlsMode::Simple | ClientTlsMode::Mutual => Some(originated(cluster, tls, names, to)),
    }
}

/// Says of a Secret that the proxy is not given, and of a revocation list that has no place.
pub(crate) fn check_credential(ctx: &Ctx<'_>, tls: &ClientTlsSettings, rule: &HostRule) {
    let named = &tls.credential_name;
    if named.is_empty() || !matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual) {
        return;
    }
    if secrets(tls).iter().flatten().any(|name| !secret::is_given(ctx, rule, name)) {
        ctx.report(
            Severity::Error,
            "credential-not-given",
            &rule.object,
            "spec.trafficPolicy",
            format!("`{named}` is not given to this proxy"),
            "requests to the host are answered with 503: a credentialName is a Secret beside the proxy, and for sidecars the \
             rule needs a workloadSelector, lest every workload gets the Secret",
        );
    }
    if !tls.ca_crl.is_empty() {
        ctx.report(
            Severity::Warning,
            "crl-beside-credential",
            &rule.object,
            "spec.trafficPolicy",
            "caCrl is for trust anchors in files".to_owned(),
            "the file is not read; put the list into the Secret, as ca.crl beside ca.crt",
        );
    }
}

/// SDS names of the certificate to show and of the trust anchors, where TLS is not the mesh's.
pub(crate) fn secrets(tls: &ClientTlsSettings) -> [Option<Str>; 2] {
    if !matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual) {
        return [None, None];
    }
    let by_secret = !tls.credential_name.is_empty();
    let certificate = (tls.mode == ClientTlsMode::Mutual).then(|| {
        if by_secret {
            secret::credential(&tls.credential_name)
        } else {
            secret::certificate_file(&tls.client_certificate, &tls.private_key)
        }
    });
    let validation = (tls.insecure_skip_verify != Some(true)).then(|| {
        if by_secret {
            secret::anchors_beside(&tls.credential_name)
        } else if tls.ca_certificates.is_empty() {
            s(SYSTEM_ROOTS)
        } else {
            secret::anchors_file(&tls.ca_certificates)
        }
    });
    [certificate, validation]
}

/// TLS of the server's own, whatever the mesh has.
fn originated(cluster: &Cluster, tls: &ClientTlsSettings, names: Vec<Str>, to: &Destination<'_>) -> UpstreamTls {
    let by_secret = !tls.credential_name.is_empty();
    let verifies = tls.insecure_skip_verify != Some(true);
    let [certificate, validation] = secrets(tls);
    let auto_sni = tls.sni.is_empty();
    // Whoever names what the certificate must have does not ask for the request's host beside it.
    let auto_san = verifies && auto_sni && names.is_empty();
    let names = match (names.is_empty(), to.by_backend_policy) {
        (false, _) => names,
        // Unless the policy names something else.
        (true, true) => vec![s(&tls.sni)],
        (true, false) => to.service.subject_alt_names.clone(),
    };
    UpstreamTls {
        certificate,
        subject_alt_names: if verifies { exact(names) } else { Vec::new() },
        // A Secret has its own revocation lists.
        crl_file: (verifies && !by_secret && !tls.ca_crl.is_empty()).then(|| s(&tls.ca_crl)),
        validation,
        sni: (!auto_sni).then(|| s(&tls.sni)),
        auto_sni,
        auto_san,
        alpn: if cluster.http.protocol == ClusterProtocol::Http2 { strs(&["h2"]) } else { Vec::new() },
        min_version: Some(TlsVersion::V1_2),
        max_version: Some(TlsVersion::V1_3),
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
        crl_file: None,
        sni: Some(if sni.is_empty() { s(default_sni) } else { s(sni) }),
        auto_sni: false,
        auto_san: false,
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
        // A stock Envoy would take the peer's metadata for the application's bytes.
        (false, _) if ctx.is_envoy() => strs(&["istio"]),
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
