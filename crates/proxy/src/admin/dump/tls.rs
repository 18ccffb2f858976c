//! Transport sockets.

use serde_json::json;
use varka_engine::ir::{CertificatePins, DownstreamTls, Str, StringMatch, TlsVersion, UpstreamTls};

use super::matching::string;
use super::message::{Message, extension};

const SOCKET: &str = "envoy.transport_sockets.tls";

fn sds(name: &str) -> Message {
    Message::new().text("name", name).set("sds_config", json!({"ads": {}, "resource_api_version": "V3"}))
}

fn version(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::V1_2 => "TLSv1_2",
        TlsVersion::V1_3 => "TLSv1_3",
    }
}

/// What both sides have in common.
struct Common<'a> {
    certificates: &'a [Str],
    validation: Option<&'a Str>,
    names: &'a [StringMatch],
    pins: Option<&'a CertificatePins>,
    crl_file: Option<&'a Str>,
    alpn: &'a [Str],
    versions: (Option<TlsVersion>, Option<TlsVersion>),
    ciphers: &'a [Str],
}

fn common(c: &Common<'_>) -> Message {
    let (min, max) = c.versions;
    let params = Message::new()
        .text("tls_minimum_protocol_version", min.map_or("", version))
        .text("tls_maximum_protocol_version", max.map_or("", version))
        .texts("cipher_suites", c.ciphers);
    let validation = c.validation.map(|name| {
        let matchers = c.names.iter().map(|m| Message::new().text("san_type", "URI").message("matcher", string(m)));
        Message::new()
            .message(
                "default_validation_context",
                Message::new()
                    .list("match_typed_subject_alt_names", matchers)
                    .texts("verify_certificate_spki", c.pins.map_or(&[], |p| &p.spki))
                    .texts("verify_certificate_hash", c.pins.map_or(&[], |p| &p.hashes))
                    .optional("crl", c.crl_file.map(|path| Message::new().text("filename", path))),
            )
            .message("validation_context_sds_secret_config", sds(name))
    });
    Message::new()
        .set("tls_params", params.value())
        .list("tls_certificate_sds_secret_configs", c.certificates.iter().map(|name| sds(name)))
        .optional("combined_validation_context", validation)
        .texts("alpn_protocols", c.alpn)
}

pub(super) fn downstream(tls: &DownstreamTls) -> Message {
    let common = common(&Common {
        certificates: &tls.certificates,
        validation: tls.validation.as_ref(),
        names: &tls.subject_alt_names,
        pins: Some(&tls.pins),
        crl_file: tls.crl_file.as_ref(),
        alpn: &tls.alpn,
        versions: (tls.min_version, tls.max_version),
        ciphers: &tls.cipher_suites,
    });
    let context = Message::new()
        .message("common_tls_context", common)
        .always("require_client_certificate", tls.require_client_certificate.into());
    extension(SOCKET, "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", context)
}

pub(super) fn upstream(tls: &UpstreamTls) -> Message {
    let common = common(&Common {
        certificates: tls.certificate.as_slice(),
        validation: tls.validation.as_ref(),
        names: &tls.subject_alt_names,
        pins: None,
        crl_file: tls.crl_file.as_ref(),
        alpn: &tls.alpn,
        versions: (tls.min_version, tls.max_version),
        ciphers: &[],
    });
    let context = Message::new()
        .message("common_tls_context", common)
        .text("sni", tls.sni.as_deref().unwrap_or_default())
        .flag("auto_host_sni", tls.auto_sni)
        .flag("auto_sni_san_validation", tls.auto_san);
    extension(SOCKET, "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", context)
}

/// Plain text.
pub(super) fn raw() -> Message {
    extension(
        "envoy.transport_sockets.raw_buffer",
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
        Message::new(),
    )
}
