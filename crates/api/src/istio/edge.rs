//! `Gateway`: the ports that an edge proxy opens.

use super::Labels;

kinds! { Gateway: "networking.istio.io" "Gateway", }

messages! {
    /// `networking.istio.io Gateway`.
    Gateway {
        /// Ports and hosts.
        servers: Vec<Server>,
        /// Labels of the gateway pods.
        selector: Labels,
    }
    /// One port of a gateway.
    Server {
        /// Port and protocol.
        port: Option<ServerPort>,
        /// Address; empty: all.
        bind: String,
        /// Hosts, with an optional `namespace/` in front.
        hosts: Vec<String>,
        /// TLS.
        tls: Option<ServerTls>,
        /// Not supported by Istio either.
        default_endpoint: String,
        /// Name.
        name: String,
    }
    /// Port and protocol of a server.
    ServerPort {
        /// Service port.
        number: u32,
        /// `HTTP`, `HTTPS`, `GRPC`, `HTTP2`, `MONGO`, `TCP`, `TLS`.
        protocol: String,
        /// Name.
        name: String,
        /// Ignored by Istio.
        target_port: u32,
    }
    /// TLS of a server.
    ServerTls {
        /// Answer 301 to https on this plain port.
        https_redirect: bool,
        /// Mode.
        mode: GatewayTlsMode,
        /// Certificate file.
        server_certificate: String,
        /// Key file.
        private_key: String,
        /// Trust anchors file for clients.
        ca_certificates: String,
        /// Revocation list file.
        ca_crl: String,
        /// Secret.
        credential_name: String,
        /// Secrets.
        credential_names: Vec<String>,
        /// Secret of the trust anchors for clients.
        ca_cert_credential_name: String,
        /// Certificate files, several key types.
        tls_certificates: Vec<TlsCertificate>,
        /// SANs of clients.
        subject_alt_names: Vec<String>,
        /// Pins of clients' public keys.
        verify_certificate_spki: Vec<String>,
        /// Pins of clients' certificates.
        verify_certificate_hash: Vec<String>,
        /// Lowest version.
        min_protocol_version: TlsProtocol,
        /// Highest version.
        max_protocol_version: TlsProtocol,
        /// TLS 1.2 suites.
        cipher_suites: Vec<String>,
    }
    /// Certificate files.
    TlsCertificate {
        /// Certificate file.
        server_certificate: String,
        /// Key file.
        private_key: String,
        /// Trust anchors file.
        ca_certificates: String,
    }
}

enumerations! {
    /// TLS mode of a server.
    GatewayTlsMode {
        /// Not terminated, routed by SNI.
        #[default]
        Passthrough,
        /// Terminated.
        Simple,
        /// Terminated, a client certificate is required.
        Mutual,
        /// Not terminated, SNI names the cluster.
        AutoPassthrough,
        /// Terminated with the mesh's certificate.
        IstioMutual,
        /// Terminated, a client certificate is verified if shown.
        OptionalMutual,
    }
}

/// TLS versions as Istio names them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum TlsProtocol {
    /// The default.
    #[default]
    #[serde(rename = "TLS_AUTO")]
    Auto,
    /// TLS 1.0.
    #[serde(rename = "TLSV1_0")]
    V1_0,
    /// TLS 1.1.
    #[serde(rename = "TLSV1_1")]
    V1_1,
    /// TLS 1.2.
    #[serde(rename = "TLSV1_2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "TLSV1_3")]
    V1_3,
}
