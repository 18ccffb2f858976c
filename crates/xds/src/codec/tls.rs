//! Transport sockets and secrets.

use varka_engine::ir::{CertificatePins, DownstreamTls, Secret, SecretKind, Str, StringMatch, TlsVersion, UpstreamTls};
use varka_proto::envoy::core::{self, data_source::Specifier, transport_socket::ConfigType};
use varka_proto::envoy::proxy_protocol_transport::ProxyProtocolUpstreamTransport;
use varka_proto::envoy::raw_buffer::RawBuffer;
use varka_proto::envoy::tls::{
    self as pb,
    common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
    secret,
    subject_alt_name_matcher::SanType,
    tls_parameters::TlsProtocol,
};
use varka_proto::protobuf::Any;

use super::refusal::{At, Decoded, open};
use super::value::{
    ads, beside, bool_or, bool_value, is_ads, member, non_empty, string_matcher, strings, strs, text, to_inline_text,
    to_string_match,
};
use super::wire::{holds, pack, unpack};

const TLS: &str = "envoy.transport_sockets.tls";
const RAW_BUFFER: &str = "envoy.transport_sockets.raw_buffer";
const PROXY_PROTOCOL: &str = "envoy.transport_sockets.upstream_proxy_protocol";
/// Secrets that a workload makes for itself; where our proxy is told that they come from has no effect.
const OWN_SECRETS: [&str; 2] = ["default", "ROOTCA"];

fn socket(name: &str, config: Any) -> core::TransportSocket {
    core::TransportSocket { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(config)) }
}

fn config(at: &At<'_>, socket: core::TransportSocket) -> Decoded<(String, Any)> {
    let core::TransportSocket { name, config_type } = socket;
    let ConfigType::TypedConfig(config) = at.need("typed_config", config_type)?;
    Ok((name, config))
}

// --- towards clients

pub(super) fn encode_downstream(t: &DownstreamTls) -> core::TransportSocket {
    let common = encode_common(Common {
        certificates: &t.certificates,
        validation: t.validation.as_ref(),
        names: &t.subject_alt_names,
        pins: Some(&t.pins),
        crl_file: t.crl_file.as_ref(),
        alpn: &t.alpn,
        min: t.min_version,
        max: t.max_version,
        ciphers: &t.cipher_suites,
    });
    let context = pb::DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: Some(bool_value(t.require_client_certificate)),
        ..Default::default()
    };
    socket(TLS, pack(&context))
}

/// `None`: plain text.
pub(super) fn decode_downstream(at: &At<'_>, s: core::TransportSocket) -> Decoded<Option<DownstreamTls>> {
    let (name, config) = config(at, s)?;
    let at_config = &at.field("typed_config");
    if holds::<RawBuffer>(&config) {
        return unpack::<RawBuffer>(at_config, &config).map(|_| None);
    }
    if !holds::<pb::DownstreamTlsContext>(&config) {
        return Err(at.not_implemented(name));
    }
    // How long sessions can be resumed, and whose order of ciphers counts among those that are all good.
    open!(at_config, unpack(at_config, &config)? => pb::DownstreamTlsContext { common_tls_context,
            require_client_certificate, require_sni, full_scan_certs_on_sni_mismatch }
        refuse { ocsp_staple_policy, session_ticket_keys_type }
        harmless { disable_stateful_session_resumption, session_timeout, prefer_client_ciphers });
    at_config.off("require_sni", require_sni)?;
    at_config.off("full_scan_certs_on_sni_mismatch", full_scan_certs_on_sni_mismatch)?;
    let common = decode_common(at_config, common_tls_context)?;
    Ok(Some(DownstreamTls {
        certificates: common.certificates,
        validation: common.validation,
        require_client_certificate: bool_or(require_client_certificate, false),
        subject_alt_names: common.checks.names,
        pins: common.checks.pins,
        crl_file: common.checks.crl_file,
        alpn: common.alpn,
        min_version: common.min,
        max_version: common.max,
        cipher_suites: common.ciphers,
    }))
}

// --- towards endpoints

/// What of a cluster's TLS follows each request's Host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ByHost {
    /// It is sent as SNI.
    pub(super) sni: bool,
    /// The certificate must be for it.
    pub(super) san: bool,
}

/// The socket for `tls`, sending a PROXY header of a version before it where asked. `None`: plain text, which needs none.
pub(super) fn encode_upstream(tls: Option<&UpstreamTls>, proxy_protocol: Option<u8>) -> Option<core::TransportSocket> {
    let inner = tls.map(encode_upstream_tls);
    let Some(version) = proxy_protocol else { return inner };
    let version =
        if version == 2 { core::proxy_protocol_config::Version::V2 } else { core::proxy_protocol_config::Version::V1 };
    let config = ProxyProtocolUpstreamTransport {
        config: Some(core::ProxyProtocolConfig { version: version.into(), ..Default::default() }),
        transport_socket: Some(inner.unwrap_or_else(raw_buffer)),
        ..Default::default()
    };
    Some(socket(PROXY_PROTOCOL, pack(&config)))
}

pub(super) fn raw_buffer() -> core::TransportSocket {
    socket(RAW_BUFFER, pack(&RawBuffer::default()))
}

fn encode_upstream_tls(t: &UpstreamTls) -> core::TransportSocket {
    let common = encode_common(Common {
        certificates: t.certificate.as_slice(),
        validation: t.validation.as_ref(),
        names: &t.subject_alt_names,
        pins: None,
        crl_file: t.crl_file.as_ref(),
        alpn: &t.alpn,
        min: t.min_version,
        max: t.max_version,
        ciphers: &[],
    });
    let context =
        pb::UpstreamTlsContext { common_tls_context: Some(common), sni: text(t.sni.as_ref()), ..Default::default() };
    socket(TLS, pack(&context))
}

/// TLS settings, and the version of a PROXY header. Whether SNI follows the request is said by the cluster.
pub(super) fn decode_upstream(
    at: &At<'_>,
    s: core::TransportSocket,
    by_host: ByHost,
) -> Decoded<(Option<UpstreamTls>, Option<u8>)> {
    let (_, config) = config(at, s.clone())?;
    if !holds::<ProxyProtocolUpstreamTransport>(&config) {
        return Ok((decode_upstream_tls(at, s, by_host)?, None));
    }
    let at = &at.field("typed_config");
    // Connections are never shared between clients whose PROXY headers differ.
    open!(at, unpack(at, &config)? => ProxyProtocolUpstreamTransport { config, transport_socket }
        refuse { allow_unspecified_address } harmless { tlv_as_pool_key });
    let at_config = &at.field("config");
    open!(at_config, config.unwrap_or_default() => core::ProxyProtocolConfig { version }
        refuse { pass_through_tlvs, added_tlvs });
    let version = match member(&at_config.field("version"), version)? {
        core::proxy_protocol_config::Version::V1 => 1,
        core::proxy_protocol_config::Version::V2 => 2,
    };
    let inner = at.need("transport_socket", transport_socket)?;
    Ok((decode_upstream_tls(&at.field("transport_socket"), inner, by_host)?, Some(version)))
}

fn decode_upstream_tls(at: &At<'_>, s: core::TransportSocket, by_host: ByHost) -> Decoded<Option<UpstreamTls>> {
    let (name, config) = config(at, s)?;
    let at_config = &at.field("typed_config");
    if holds::<RawBuffer>(&config) {
        return unpack::<RawBuffer>(at_config, &config).map(|_| None);
    }
    if !holds::<pb::UpstreamTlsContext>(&config) {
        return Err(at.not_implemented(name));
    }
    // How many sessions are kept for resumption; RSA key usage is always enforced.
    open!(at_config, unpack(at_config, &config)? => pb::UpstreamTlsContext { common_tls_context, sni }
        refuse { auto_host_sni, auto_sni_san_validation, allow_renegotiation }
        harmless { max_session_keys, enforce_rsa_key_usage });
    let common = decode_common(at_config, common_tls_context)?;
    if !common.ciphers.is_empty() {
        return Err(at_config.not_implemented("cipher_suites"));
    }
    let mut certificates = common.certificates.into_iter();
    let certificate = certificates.next();
    if certificates.next().is_some() {
        return Err(at_config.not_implemented("more than one client certificate"));
    }
    if !common.checks.pins.is_empty() {
        return Err(at_config.not_implemented("pins of server certificates"));
    }
    Ok(Some(UpstreamTls {
        certificate,
        validation: common.validation,
        subject_alt_names: common.checks.names,
        crl_file: common.checks.crl_file,
        sni: non_empty(sni),
        auto_sni: by_host.sni,
        auto_san: by_host.san,
        alpn: common.alpn,
        min_version: common.min,
        max_version: common.max,
    }))
}

// --- what both directions share

struct Common<'a> {
    certificates: &'a [Str],
    validation: Option<&'a Str>,
    names: &'a [StringMatch],
    pins: Option<&'a CertificatePins>,
    crl_file: Option<&'a Str>,
    alpn: &'a [Str],
    min: Option<TlsVersion>,
    max: Option<TlsVersion>,
    ciphers: &'a [Str],
}

#[derive(Default)]
struct DecodedCommon {
    certificates: Vec<Str>,
    validation: Option<Str>,
    checks: Checks,
    alpn: Vec<Str>,
    min: Option<TlsVersion>,
    max: Option<TlsVersion>,
    ciphers: Vec<Str>,
}

/// What is asked of a certificate beside its trust.
#[derive(Default)]
struct Checks {
    names: Vec<StringMatch>,
    pins: CertificatePins,
    crl_file: Option<Str>,
}

fn encode_common(c: Common<'_>) -> pb::CommonTlsContext {
    let sds = |name: &Str| {
        let own = OWN_SECRETS.contains(&&**name);
        pb::SdsSecretConfig { name: name.to_string(), sds_config: Some(if own { beside() } else { ads() }) }
    };
    let parameters = pb::TlsParameters {
        tls_minimum_protocol_version: encode_version(c.min).into(),
        tls_maximum_protocol_version: encode_version(c.max).into(),
        cipher_suites: strings(c.ciphers),
        ..Default::default()
    };
    let validation = c.validation.map(|name| {
        ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
            default_validation_context: Some(pb::CertificateValidationContext {
                match_typed_subject_alt_names: c.names.iter().flat_map(encode_name).collect(),
                verify_certificate_spki: c.pins.map(|p| strings(&p.spki)).unwrap_or_default(),
                verify_certificate_hash: c.pins.map(|p| strings(&p.hashes)).unwrap_or_default(),
                crl: c.crl_file.map(|path| file(path)),
                ..Default::default()
            }),
            validation_context_sds_secret_config: Some(sds(name)),
            ..Default::default()
        })
    });
    pb::CommonTlsContext {
        tls_params: Some(parameters).filter(|p| *p != pb::TlsParameters::default()),
        tls_certificate_sds_secret_configs: c.certificates.iter().map(sds).collect(),
        alpn_protocols: strings(c.alpn),
        validation_context_type: validation,
        ..Default::default()
    }
}

fn decode_common(at: &At<'_>, c: Option<pb::CommonTlsContext>) -> Decoded<DecodedCommon> {
    let at = &at.field("common_tls_context");
    open!(at, c.unwrap_or_default() => pb::CommonTlsContext { tls_params, tls_certificate_sds_secret_configs,
            alpn_protocols, validation_context_type }
        refuse { tls_certificates, tls_certificate_provider_instance, custom_tls_certificate_selector,
            tls_certificate_certificate_provider, tls_certificate_certificate_provider_instance, custom_handshaker,
            key_log });
    let mut out = DecodedCommon {
        certificates: at.each("tls_certificate_sds_secret_configs", tls_certificate_sds_secret_configs, decode_sds)?,
        alpn: strs(alpn_protocols),
        ..Default::default()
    };
    if let Some(parameters) = tls_params {
        let at = &at.field("tls_params");
        open!(at, parameters => pb::TlsParameters { tls_minimum_protocol_version, tls_maximum_protocol_version,
                cipher_suites }
            refuse { ecdh_curves, signature_algorithms, compliance_policies });
        out.min = decode_version(&at.field("tls_minimum_protocol_version"), tls_minimum_protocol_version)?;
        out.max = decode_version(&at.field("tls_maximum_protocol_version"), tls_maximum_protocol_version)?;
        out.ciphers = strs(cipher_suites);
    }
    match validation_context_type {
        None => {}
        Some(ValidationContextType::ValidationContextSdsSecretConfig(sds)) => {
            out.validation = Some(decode_sds(&at.field("validation_context_sds_secret_config"), sds)?);
        }
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            let at = &at.field("combined_validation_context");
            open!(at, combined => CombinedCertificateValidationContext { default_validation_context,
                    validation_context_sds_secret_config }
                refuse { validation_context_certificate_provider, validation_context_certificate_provider_instance });
            let sds = at.need("validation_context_sds_secret_config", validation_context_sds_secret_config)?;
            out.validation = Some(decode_sds(&at.field("validation_context_sds_secret_config"), sds)?);
            out.checks = at
                .maybe("default_validation_context", default_validation_context, decode_default_validation)?
                .unwrap_or_default();
        }
        Some(_) => return Err(at.not_implemented("a validation context that does not come from SDS")),
    }
    Ok(out)
}

fn decode_sds(at: &At<'_>, s: pb::SdsSecretConfig) -> Decoded<Str> {
    let pb::SdsSecretConfig { name, sds_config } = s;
    if !OWN_SECRETS.contains(&name.as_str()) {
        is_ads(&at.field("sds_config"), sds_config)?;
    }
    Ok(name.into())
}

fn encode_version(version: Option<TlsVersion>) -> TlsProtocol {
    match version {
        None => TlsProtocol::TlsAuto,
        Some(TlsVersion::V1_2) => TlsProtocol::TlSv12,
        Some(TlsVersion::V1_3) => TlsProtocol::TlSv13,
    }
}

fn decode_version(at: &At<'_>, version: i32) -> Decoded<Option<TlsVersion>> {
    match member(at, version)? {
        TlsProtocol::TlsAuto => Ok(None),
        TlsProtocol::TlSv12 => Ok(Some(TlsVersion::V1_2)),
        TlsProtocol::TlSv13 => Ok(Some(TlsVersion::V1_3)),
        TlsProtocol::TlSv10 | TlsProtocol::TlSv11 => Err(at.not_implemented("TLS below 1.2")),
    }
}

// --- subject alternative names

/// Envoy's matchers each look at one type of name, ours at all. An exact value can be of one type only; anything else is
/// asked of URIs and of DNS names.
fn encode_name(m: &StringMatch) -> Vec<pb::SubjectAltNameMatcher> {
    let of = |kind: SanType| pb::SubjectAltNameMatcher {
        san_type: kind.into(),
        matcher: Some(string_matcher(m)),
        oid: String::new(),
    };
    match exact_type(m) {
        Some(kind) => vec![of(kind)],
        None => vec![of(SanType::Uri), of(SanType::Dns)],
    }
}

fn exact_type(m: &StringMatch) -> Option<SanType> {
    match m {
        StringMatch::Exact { value, .. } if value.contains("://") => Some(SanType::Uri),
        StringMatch::Exact { value, .. } if value.parse::<std::net::IpAddr>().is_ok() => Some(SanType::IpAddress),
        StringMatch::Exact { .. } => Some(SanType::Dns),
        _ => None,
    }
}

fn decode_default_validation(at: &At<'_>, c: pb::CertificateValidationContext) -> Decoded<Checks> {
    let c = open_validation(at, c)?;
    at.unset("trusted_ca", &c.trusted_ca)?;
    let mut names = decode_names(at, c.typed)?;
    // The obsolete matchers look at every type of name, as ours do.
    names.extend(at.each("match_subject_alt_names", c.untyped, to_string_match)?);
    Ok(Checks { names, pins: c.pins, crl_file: at.maybe("crl", c.crl, to_file)? })
}

fn decode_names(at: &At<'_>, matchers: Vec<pb::SubjectAltNameMatcher>) -> Decoded<Vec<StringMatch>> {
    let mut names = Vec::with_capacity(matchers.len());
    let mut awaits_dns: Option<StringMatch> = None;
    for (i, matcher) in matchers.into_iter().enumerate() {
        let at = &at.item("match_typed_subject_alt_names", i);
        open!(at, matcher => pb::SubjectAltNameMatcher { san_type, matcher } refuse { oid });
        let kind: SanType = member(&at.field("san_type"), san_type)?;
        let name = to_string_match(&at.field("matcher"), at.need("matcher", matcher)?)?;
        match (exact_type(&name), awaits_dns.take()) {
            (Some(exact), None) if exact == kind => names.push(name),
            (None, None) if kind == SanType::Uri => awaits_dns = Some(name),
            (None, Some(uri)) if kind == SanType::Dns && uri == name => names.push(name),
            _ => return Err(at.not_implemented("a matcher of one san_type that is not an exact name of this type")),
        }
    }
    match awaits_dns {
        None => Ok(names),
        Some(_) => Err(at.not_implemented("a matcher of one san_type that is not an exact name of this type")),
    }
}

struct Validation {
    trusted_ca: Option<core::DataSource>,
    typed: Vec<pb::SubjectAltNameMatcher>,
    untyped: Vec<varka_proto::envoy::matcher::StringMatcher>,
    pins: CertificatePins,
    crl: Option<core::DataSource>,
}

/// What is implemented of a validation context.
fn open_validation(at: &At<'_>, c: pb::CertificateValidationContext) -> Decoded<Validation> {
    // A file is read again when it changes, wherever that shows.
    open!(at, c => pb::CertificateValidationContext { trusted_ca, match_typed_subject_alt_names,
            match_subject_alt_names, require_signed_certificate_timestamp, verify_certificate_spki,
            verify_certificate_hash, crl }
        refuse { ca_certificate_provider_instance, system_root_certs, allow_expired_certificate,
            trust_chain_verification, custom_validator_config, only_verify_leaf_cert_crl, max_verify_depth }
        harmless { suppress_client_ca_list, watched_directory });
    at.off("require_signed_certificate_timestamp", require_signed_certificate_timestamp)?;
    Ok(Validation {
        trusted_ca,
        typed: match_typed_subject_alt_names,
        untyped: match_subject_alt_names,
        pins: CertificatePins { spki: strs(verify_certificate_spki), hashes: strs(verify_certificate_hash) },
        crl,
    })
}

/// A source that is a file.
fn file(path: &str) -> core::DataSource {
    core::DataSource { specifier: Some(Specifier::Filename(path.to_owned())), ..Default::default() }
}

/// The path of a source that is a file.
fn to_file(at: &At<'_>, value: core::DataSource) -> Decoded<Str> {
    match value.specifier {
        Some(Specifier::Filename(path)) => Ok(path.into()),
        _ => Err(at.not_implemented("a source other than a file")),
    }
}

fn is_file(value: Option<&core::DataSource>) -> bool {
    matches!(value, Some(core::DataSource { specifier: Some(Specifier::Filename(_)), .. }))
}

// --- secrets

pub(super) fn encode_secret(s: &Secret) -> pb::Secret {
    let inline = |text: &str| {
        Some(core::DataSource { specifier: Some(Specifier::InlineBytes(text.into())), ..Default::default() })
    };
    let kind = match &s.kind {
        SecretKind::Certificate { chain, key } => secret::Type::TlsCertificate(pb::TlsCertificate {
            certificate_chain: inline(chain),
            private_key: inline(key),
            ..Default::default()
        }),
        SecretKind::CertificateFiles { chain, key } => secret::Type::TlsCertificate(pb::TlsCertificate {
            certificate_chain: Some(file(chain)),
            private_key: Some(file(key)),
            ..Default::default()
        }),
        SecretKind::Validation { ca, crl } => secret::Type::ValidationContext(pb::CertificateValidationContext {
            trusted_ca: inline(ca),
            crl: crl.as_deref().and_then(inline),
            ..Default::default()
        }),
        SecretKind::ValidationFile { ca } => secret::Type::ValidationContext(pb::CertificateValidationContext {
            trusted_ca: Some(file(ca)),
            ..Default::default()
        }),
    };
    pb::Secret { name: s.name.to_string(), r#type: Some(kind) }
}

pub(super) fn decode_secret(at: &At<'_>, s: pb::Secret) -> Decoded<Secret> {
    let pb::Secret { name, r#type } = s;
    let kind = match at.need("type", r#type)? {
        secret::Type::TlsCertificate(certificate) => decode_certificate(&at.field("tls_certificate"), certificate)?,
        secret::Type::ValidationContext(context) => decode_anchors(&at.field("validation_context"), context)?,
        secret::Type::SessionTicketKeys(_) => return Err(at.not_implemented("session_ticket_keys")),
        secret::Type::GenericSecret(_) => return Err(at.not_implemented("generic_secret")),
    };
    Ok(Secret { name: name.into(), kind })
}

fn decode_certificate(at: &At<'_>, certificate: pb::TlsCertificate) -> Decoded<SecretKind> {
    // A file is read again when it changes, wherever that shows.
    open!(at, certificate => pb::TlsCertificate { certificate_chain, private_key }
        refuse { pkcs12, private_key_provider, password, ocsp_staple, signed_certificate_timestamp, tls_params }
        harmless { watched_directory });
    let files = is_file(certificate_chain.as_ref()) && is_file(private_key.as_ref());
    let chain = at.need("certificate_chain", certificate_chain)?;
    let key = at.need("private_key", private_key)?;
    let (at_chain, at_key) = (&at.field("certificate_chain"), &at.field("private_key"));
    if files {
        return Ok(SecretKind::CertificateFiles { chain: to_file(at_chain, chain)?, key: to_file(at_key, key)? });
    }
    Ok(SecretKind::Certificate { chain: to_inline_text(at_chain, chain)?, key: to_inline_text(at_key, key)? })
}

fn decode_anchors(at: &At<'_>, context: pb::CertificateValidationContext) -> Decoded<SecretKind> {
    let context = open_validation(at, context)?;
    at.unset("match_typed_subject_alt_names", &context.typed)?;
    at.unset("match_subject_alt_names", &context.untyped)?;
    at.unset("verify_certificate_spki", &context.pins.spki)?;
    at.unset("verify_certificate_hash", &context.pins.hashes)?;
    let ca = at.need("trusted_ca", context.trusted_ca)?;
    if is_file(Some(&ca)) {
        at.unset("crl", &context.crl)?;
        return Ok(SecretKind::ValidationFile { ca: to_file(&at.field("trusted_ca"), ca)? });
    }
    Ok(SecretKind::Validation {
        ca: to_inline_text(&at.field("trusted_ca"), ca)?,
        crl: at.maybe("crl", context.crl, to_inline_text)?,
    })
}
