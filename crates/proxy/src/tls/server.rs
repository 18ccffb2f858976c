//! TLS towards clients.

use std::sync::Arc;

use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use varka_engine::ir::{DownstreamTls, Str};

use super::verify::{PeerVerifier, Pins};
use super::{SecretStore, TlsError, provider, versions};
use crate::net::Socket;

/// A server context of one filter chain.
#[derive(Debug, Clone)]
pub(crate) struct ServerTls {
    config: Arc<rustls::ServerConfig>,
    /// The same without ALPN, for clients that offer nothing we answer: Envoy goes on without, rustls would refuse.
    silent: Arc<rustls::ServerConfig>,
}

/// Certificates by name at each handshake.
#[derive(Debug)]
struct Resolver {
    secrets: Arc<SecretStore>,
    names: Vec<Str>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.secrets.choose(&self.names, hello.server_name())
    }
}

impl ServerTls {
    /// Makes the context. `exchange`: what it leads to exchanges metadata before the first byte.
    ///
    /// # Errors
    /// The library refuses the combination of settings.
    pub(crate) fn new(tls: &DownstreamTls, exchange: bool, secrets: &Arc<SecretStore>) -> Result<Self, TlsError> {
        let mut provider = (*provider()).clone();
        if !tls.cipher_suites.is_empty() {
            provider.cipher_suites.retain(|s| {
                s.tls13().is_some() || tls.cipher_suites.iter().any(|name| openssl_name(s.suite()) == Some(&**name))
            });
        }
        let builder = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions(tls.min_version, tls.max_version))?;
        let resolver = Arc::new(Resolver { secrets: Arc::clone(secrets), names: tls.certificates.clone() });
        let verifies = tls.validation.is_some() || tls.require_client_certificate;
        let mut config = if verifies {
            let verifier = PeerVerifier {
                secrets: Arc::clone(secrets),
                anchors: tls.validation.clone(),
                sans: tls.subject_alt_names.clone(),
                pins: Pins::new(&tls.pins),
                crl_file: tls.crl_file.clone(),
                check_name: false,
                mandatory: tls.require_client_certificate,
            };
            builder.with_client_cert_verifier(Arc::new(verifier)).with_cert_resolver(resolver)
        } else {
            builder.with_no_client_auth().with_cert_resolver(resolver)
        };
        if verifies {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        } else {
            config.send_tls13_tickets = 1;
        }
        let silent = Arc::new(config.clone());
        // Whoever negotiates this waits for the peer's metadata before anything else.
        let answered = tls.alpn.iter().filter(|p| exchange || p.as_bytes() != crate::peer::ALPN);
        config.alpn_protocols = answered.map(|p| p.as_bytes().to_vec()).collect();
        Ok(Self { config: Arc::new(config), silent })
    }

    /// The acceptor for a client that offers these protocols.
    pub(crate) fn acceptor(&self, offered: &[Vec<u8>]) -> TlsAcceptor {
        let common = self.config.alpn_protocols.iter().any(|ours| offered.contains(ours));
        TlsAcceptor::from(Arc::clone(if common { &self.config } else { &self.silent }))
    }

    /// Performs the handshake.
    pub(crate) async fn accept(
        &self,
        socket: Socket,
        offered: &[Vec<u8>],
    ) -> std::io::Result<tokio_rustls::server::TlsStream<Socket>> {
        self.acceptor(offered).accept(socket).await
    }
}

/// OpenSSL's names of the TLS 1.2 suites that there are.
fn openssl_name(suite: rustls::CipherSuite) -> Option<&'static str> {
    use rustls::CipherSuite as S;
    Some(match suite {
        S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => return None,
    })
}
