//! How TLS of clients is terminated: with the mesh's certificate, or as a Gateway's server or a Sidecar's listener says.

use varka_api::istio::{GatewayTlsMode, ServerTls, TlsProtocol};
use varka_engine::ir::{CertificatePins, DownstreamTls, Str, StringMatch, TlsVersion};

use super::strs;
use crate::context::{Ctx, s};
use crate::secret;

/// The mesh's mutual TLS, from any workload of its trust domains.
pub(crate) fn mesh_tls(ctx: &Ctx<'_>, alpn: &[&str]) -> DownstreamTls {
    let domains = std::iter::once(ctx.trust_domain()).chain(ctx.mesh().trust_domain_aliases.iter().map(String::as_str));
    let lowest = ctx.mesh().mesh_mtls.as_ref().map(|m| m.min_protocol_version);
    DownstreamTls {
        certificates: vec![s("default")],
        validation: Some(s("ROOTCA")),
        require_client_certificate: true,
        subject_alt_names: domains
            .map(|d| StringMatch::Prefix { value: s(format!("spiffe://{d}/")), ignore_case: false })
            .collect(),
        pins: CertificatePins::default(),
        crl_file: None,
        alpn: strs(alpn),
        min_version: Some(if lowest == Some(TlsProtocol::V1_3) { TlsVersion::V1_3 } else { TlsVersion::V1_2 }),
        max_version: Some(TlsVersion::V1_3),
        cipher_suites: Vec::new(),
    }
}

/// TLS of a server or listener, in any mode that terminates it.
pub(crate) fn server_tls(ctx: &Ctx<'_>, tls: &ServerTls, alpn: &[&str]) -> DownstreamTls {
    if tls.mode == GatewayTlsMode::IstioMutual {
        return mesh_tls(ctx, alpn);
    }
    let asks = matches!(tls.mode, GatewayTlsMode::Mutual | GatewayTlsMode::OptionalMutual);
    let by_secret = !tls.credential_names.is_empty() || !tls.credential_name.is_empty();
    DownstreamTls {
        certificates: certificates(ctx, tls),
        validation: asks.then(|| anchors(ctx, tls)),
        require_client_certificate: tls.mode == GatewayTlsMode::Mutual,
        subject_alt_names: if asks {
            tls.subject_alt_names.iter().map(|n| StringMatch::Exact { value: s(n), ignore_case: false }).collect()
        } else {
            Vec::new()
        },
        pins: if asks {
            CertificatePins {
                spki: tls.verify_certificate_spki.iter().map(s).collect(),
                hashes: tls.verify_certificate_hash.iter().map(s).collect(),
            }
        } else {
            CertificatePins::default()
        },
        // A Secret has its own revocation lists.
        crl_file: (asks && !by_secret && !tls.ca_crl.is_empty()).then(|| s(&tls.ca_crl)),
        alpn: strs(alpn),
        min_version: version(tls.min_protocol_version),
        max_version: version(tls.max_protocol_version),
        cipher_suites: tls.cipher_suites.iter().map(s).collect(),
    }
}

/// SDS name of a Secret; without a namespace it is looked for beside the proxy.
fn named(ctx: &Ctx<'_>, name: &str) -> Str {
    if name.contains("://") { secret::credential(name) } else { secret::sds_name(&ctx.proxy.namespace, name) }
}

fn certificates(ctx: &Ctx<'_>, tls: &ServerTls) -> Vec<Str> {
    if !tls.credential_names.is_empty() {
        tls.credential_names.iter().map(|n| named(ctx, n)).collect()
    } else if !tls.credential_name.is_empty() {
        vec![named(ctx, &tls.credential_name)]
    } else if !tls.tls_certificates.is_empty() {
        let files = tls.tls_certificates.iter();
        files.map(|c| secret::certificate_file(&c.server_certificate, &c.private_key)).collect()
    } else {
        vec![secret::certificate_file(&tls.server_certificate, &tls.private_key)]
    }
}

/// Those of the first Secret where several are named.
fn anchors(ctx: &Ctx<'_>, tls: &ServerTls) -> Str {
    if !tls.ca_cert_credential_name.is_empty() {
        return named(ctx, &tls.ca_cert_credential_name);
    }
    match tls.credential_names.first().or(Some(&tls.credential_name)).filter(|n| !n.is_empty()) {
        Some(name) if name.contains("://") => secret::anchors_beside(name),
        Some(name) => s(format!("{}-cacert", secret::sds_name(&ctx.proxy.namespace, name))),
        None => secret::anchors_file(&tls.ca_certificates),
    }
}

/// Older versions than 1.2 count as 1.2.
fn version(version: TlsProtocol) -> Option<TlsVersion> {
    match version {
        TlsProtocol::Auto => None,
        TlsProtocol::V1_0 | TlsProtocol::V1_1 | TlsProtocol::V1_2 => Some(TlsVersion::V1_2),
        TlsProtocol::V1_3 => Some(TlsVersion::V1_3),
    }
}
