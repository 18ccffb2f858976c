//! `Gateway`, and TLS of servers.

use std::collections::HashSet;
use std::net::IpAddr;

use super::Validation;
use super::common::{is_label, is_partial_wildcard, is_wildcard_domain, port, selector_labels};
use crate::ObjectMeta;
use crate::istio::{Gateway, GatewayTlsMode, Server, ServerPort, ServerTls};

const PROTOCOLS: &[&str] =
    &["HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP", "TLS", "REDIS", "MYSQL", "UDP"];

pub(super) fn gateway(_: &ObjectMeta, spec: &Gateway, v: &mut Validation) {
    if spec.servers.is_empty() {
        v.error("spec.servers", "a gateway must have at least one server");
    }
    selector_labels(v, "spec.selector", &spec.selector);
    let mut names = HashSet::new();
    for (i, server) in spec.servers.iter().enumerate() {
        let path = format!("spec.servers[{i}]");
        check_server(v, &path, server);
        if let Some(p) = &server.port
            && !names.insert(&p.name)
        {
            v.error(
                format!("{path}.port.name"),
                format!("port names in servers must be unique: `{}` is there twice", p.name),
            );
        }
    }
}

fn check_server(v: &mut Validation, path: &str, server: &Server) {
    if server.hosts.is_empty() {
        v.error(format!("{path}.hosts"), "a server needs at least one host");
    }
    for host in &server.hosts {
        let (namespace, name) = host.split_once('/').map_or((None, host.as_str()), |(n, h)| (Some(n), h));
        if namespace.is_some_and(|n| !["*", ".", "~"].contains(&n) && !is_label(n)) {
            v.error(format!("{path}.hosts"), format!("the namespace of `{host}` is neither `*`, `.` nor a name"));
        }
        if name.parse::<IpAddr>().is_err() && (is_partial_wildcard(name) || !is_wildcard_domain(name)) {
            v.error(
                format!("{path}.hosts"),
                format!("`{host}`: the domain name is invalid; a wildcard stands at the start alone"),
            );
        }
    }
    let is_unix = server.bind.starts_with("unix://");
    match &server.port {
        None => v.error(format!("{path}.port"), "the port is required"),
        Some(p) => server_port(v, &format!("{path}.port"), p, is_unix, false),
    }
    if !server.bind.is_empty() && !is_unix && server.bind.parse::<IpAddr>().is_err() {
        v.error(format!("{path}.bind"), format!("{} is not a valid IP", server.bind));
    }
    let protocol = server.port.as_ref().map(|p| p.protocol.to_ascii_uppercase()).unwrap_or_default();
    if let Some(tls) = &server.tls {
        server_tls(v, &format!("{path}.tls"), tls);
        let is_tls = matches!(protocol.as_str(), "HTTPS" | "TLS");
        let plain = tls.https_redirect && *tls == (ServerTls { https_redirect: true, ..ServerTls::default() });
        if !is_tls && !plain {
            v.error(format!("{path}.tls"), format!("a server of protocol {protocol} cannot have TLS settings"));
        }
        if is_tls && tls.https_redirect {
            v.warn(format!("{path}.tls.httpsRedirect"), "tls.httpsRedirect should only be used with http servers");
        }
    } else if matches!(protocol.as_str(), "HTTPS" | "TLS") {
        v.error(format!("{path}.tls"), format!("a server of protocol {protocol} must have TLS settings"));
    }
}

/// Port of a server or of a Sidecar's listener, on which the protocol may be left to detection.
pub(super) fn server_port(v: &mut Validation, path: &str, p: &ServerPort, is_unix: bool, may_detect: bool) {
    if p.protocol.is_empty() && !may_detect {
        v.error(format!("{path}.protocol"), "invalid protocol: it must be given");
    } else if !p.protocol.is_empty() && !PROTOCOLS.contains(&p.protocol.to_ascii_uppercase().as_str()) {
        v.error(format!("{path}.protocol"), format!("invalid protocol `{}`", p.protocol));
    }
    if p.name.is_empty() {
        v.error(format!("{path}.name"), "the port name must be set");
    }
    if is_unix && p.number != 0 {
        v.error(format!("{path}.number"), "port number must be 0 for unix domain socket");
    }
    if !is_unix {
        port(v, &format!("{path}.number"), p.number);
    }
}

/// TLS of a server.
pub(super) fn server_tls(v: &mut Validation, path: &str, t: &ServerTls) {
    ciphers(v, path, t);
    if t.mode == GatewayTlsMode::IstioMutual {
        if !t.server_certificate.is_empty() {
            v.error(path, "ISTIO_MUTUAL TLS cannot have associated server certificate");
        }
        if !t.private_key.is_empty() {
            v.error(path, "ISTIO_MUTUAL TLS cannot have associated private key");
        }
        if !t.ca_certificates.is_empty() {
            v.error(path, "ISTIO_MUTUAL TLS cannot have associated CA bundle");
        }
        if !t.credential_name.is_empty() || !t.credential_names.is_empty() {
            v.error(path, "ISTIO_MUTUAL TLS cannot have associated credentialName");
        }
        return;
    }
    let terminates = matches!(t.mode, GatewayTlsMode::Simple | GatewayTlsMode::Mutual | GatewayTlsMode::OptionalMutual);
    let mutual = matches!(t.mode, GatewayTlsMode::Mutual | GatewayTlsMode::OptionalMutual);
    let named = !t.credential_name.is_empty() || !t.credential_names.is_empty();
    let mode = if mutual { "MUTUAL" } else { "SIMPLE" };
    if t.mode == GatewayTlsMode::Passthrough || t.mode == GatewayTlsMode::AutoPassthrough {
        if !t.server_certificate.is_empty() || !t.private_key.is_empty() || !t.ca_certificates.is_empty() {
            v.warn(path, "TLS that is passed through uses no certificates; those given here have no effect");
        }
        return;
    }
    let sources = [
        !t.credential_name.is_empty(),
        !t.credential_names.is_empty(),
        !t.tls_certificates.is_empty(),
        !t.server_certificate.is_empty(),
    ];
    let several = sources.iter().filter(|s| **s).count() > 1;
    if several && (t.mode != GatewayTlsMode::Simple || t.credential_name.is_empty()) {
        v.error(
            path,
            "only one of credential_name, credential_names, tls_certificates and server_certificate can be set",
        );
    }
    if t.credential_names.len() > 2 || t.tls_certificates.len() > 2 {
        v.warn(path, format!("{mode} TLS can support up to 2 server certificates"));
    }
    if named || !terminates {
        return;
    }
    if t.tls_certificates.is_empty() {
        certificate(v, path, mode, &t.server_certificate, &t.private_key);
    }
    for c in &t.tls_certificates {
        certificate(v, path, mode, &c.server_certificate, &c.private_key);
    }
    if mutual && t.ca_certificates.is_empty() && t.ca_cert_credential_name.is_empty() {
        v.error(path, format!("{mode} TLS requires a client CA bundle"));
    }
    if t.mode == GatewayTlsMode::Simple && !t.ca_crl.is_empty() {
        v.error(path, "CRL is not supported with SIMPLE TLS");
    }
}

fn certificate(v: &mut Validation, path: &str, mode: &str, certificate: &str, key: &str) {
    if certificate.is_empty() {
        v.error(path, format!("{mode} TLS requires a server certificate"));
    }
    if key.is_empty() {
        v.error(path, format!("{mode} TLS requires a private key"));
    }
}

fn ciphers(v: &mut Validation, path: &str, t: &ServerTls) {
    let known = |c: &str| {
        let c = c.trim_start_matches(['-', '+', '!']);
        ["ECDHE-", "AES", "DES-CBC3", "TLS_", "PSK", "ALL", "HIGH"].iter().any(|start| c.starts_with(start))
    };
    let mut seen = HashSet::new();
    for c in &t.cipher_suites {
        if !known(c) {
            v.warn(format!("{path}.cipherSuites"), format!("`{c}` is not a cipher suite and is left out"));
        } else if !seen.insert(c) {
            v.warn(format!("{path}.cipherSuites"), format!("`{c}` is there twice"));
        }
    }
}
