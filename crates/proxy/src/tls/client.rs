//! TLS towards endpoints.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::CertifiedKey;
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;
use varka_engine::ir::{Str, UpstreamTls};

use super::verify::{PeerVerifier, Pins};
use super::{SecretStore, TlsError, provider, versions};
use crate::net::Socket;

/// A client context of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct ClientTls {
    config: Arc<rustls::ClientConfig>,
    /// The same where there is no host that the certificate could be asked for.
    unnamed: Arc<rustls::ClientConfig>,
    /// What must have arrived before a handshake makes sense.
    needs: Needs,
    sni: Option<ServerName<'static>>,
    auto_sni: bool,
    mesh: bool,
    certificate: Option<Str>,
}

/// A certificate or trust anchors that are configured have not come; Envoy words it so.
#[derive(Debug, thiserror::Error)]
#[error("Secret is not supplied by SDS")]
pub(crate) struct NotSupplied;

#[derive(Debug, Clone)]
struct Needs {
    secrets: Arc<SecretStore>,
    certificate: Option<Str>,
    anchors: Option<Str>,
}

impl Needs {
    fn are_there(&self) -> bool {
        self.certificate.as_deref().is_none_or(|name| self.secrets.certificate(name).is_some())
            && self.anchors.as_deref().is_none_or(|name| self.secrets.anchors(name).is_some())
    }
}

/// Our certificate by name at each handshake.
#[derive(Debug)]
struct Resolver {
    secrets: Arc<SecretStore>,
    name: Option<Str>,
}

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.secrets.certificate(self.name.as_deref()?)?.key))
    }

    fn has_certs(&self) -> bool {
        self.name.is_some()
    }
}

impl ClientTls {
    /// Makes the context. `alpn`: what to offer in place of what `tls` says.
    ///
    /// # Errors
    /// The library refuses the combination of settings.
    pub(crate) fn new(tls: &UpstreamTls, alpn: Option<&[Str]>, secrets: &Arc<SecretStore>) -> Result<Self, TlsError> {
        let make = |check_name| -> Result<_, TlsError> {
            let verifier = PeerVerifier {
                secrets: Arc::clone(secrets),
                anchors: tls.validation.clone(),
                sans: tls.subject_alt_names.clone(),
                pins: Pins::default(),
                crl_file: tls.crl_file.clone(),
                check_name,
                mandatory: true,
            };
            let resolver = Resolver { secrets: Arc::clone(secrets), name: tls.certificate.clone() };
            let mut config = rustls::ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(versions(tls.min_version, tls.max_version))?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_client_cert_resolver(Arc::new(resolver));
            config.resumption = Resumption::disabled();
            config.alpn_protocols = alpn.unwrap_or(&tls.alpn).iter().map(|p| p.as_bytes().to_vec()).collect();
            Ok(Arc::new(config))
        };
        let unnamed = make(false)?;
        let config = if tls.auto_san { make(true)? } else { Arc::clone(&unnamed) };
        let needs = Needs {
            secrets: Arc::clone(secrets),
            certificate: tls.certificate.clone(),
            anchors: tls.validation.clone(),
        };
        let sni = tls.sni.as_deref().and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let mesh = tls.validation.as_deref() == Some(super::MESH_ROOTS);
        let certificate = tls.certificate.clone();
        Ok(Self { config, unnamed, needs, sni, auto_sni: tls.auto_sni, mesh, certificate })
    }

    /// Whether the mesh's anchors vouch for whoever answers.
    pub(crate) fn is_mesh(&self) -> bool {
        self.mesh
    }

    /// SDS name of the certificate that is shown.
    pub(crate) fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// Whether the request's host becomes the server name.
    pub(crate) fn wants_host(&self) -> bool {
        self.auto_sni
    }

    /// Performs the handshake. `host`: the request's host without port, used where the cluster says so.
    pub(crate) async fn connect(
        &self,
        socket: Socket,
        host: Option<&str>,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<Socket>> {
        if !self.needs.are_there() {
            return Err(std::io::Error::other(NotSupplied));
        }
        let from_host = host.filter(|_| self.auto_sni).and_then(|h| ServerName::try_from(h.to_owned()).ok());
        let config = if from_host.is_some() { &self.config } else { &self.unnamed };
        let name = match from_host.or_else(|| self.sni.clone()) {
            Some(name) => name,
            // An address as server name sends no SNI.
            None => ServerName::IpAddress(socket.tcp().peer_addr()?.ip().into()),
        };
        TlsConnector::from(Arc::clone(config)).connect(name, socket).await
    }
}
