//! Which protocol a port speaks.

/// Protocols as Istio tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.
    Http,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// A forward proxy's port, in Sidecars only.
    HttpProxy,
    /// TLS with HTTP within.
    Https,
    /// TLS.
    Tls,
    /// Opaque.
    Tcp,
    /// Not meshed.
    Udp,
    /// MongoDB.
    Mongo,
    /// Redis.
    Redis,
    /// MySQL.
    Mysql,
    /// Told by the first bytes.
    Auto,
}

impl Protocol {
    /// By name, in any case; `None`: not known.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "http" => Self::Http,
            "http2" => Self::Http2,
            "grpc" => Self::Grpc,
            "grpc-web" => Self::GrpcWeb,
            "http_proxy" => Self::HttpProxy,
            "https" => Self::Https,
            "tls" => Self::Tls,
            "tcp" => Self::Tcp,
            "udp" => Self::Udp,
            "mongo" => Self::Mongo,
            "redis" => Self::Redis,
            "mysql" => Self::Mysql,
            _ => return None,
        })
    }

    /// Of a Kubernetes Service's port: transport, then `appProtocol`, then the name's prefix, then well-known numbers.
    pub fn of_port(transport: &str, app_protocol: &str, name: &str, number: u16) -> Self {
        if transport == "UDP" || transport == "SCTP" {
            return Self::Udp;
        }
        if !app_protocol.is_empty() {
            match app_protocol {
                "kubernetes.io/h2c" => return Self::Http2,
                "kubernetes.io/ws" => return Self::Http,
                "kubernetes.io/wss" => return Self::Https,
                other => {
                    if let Some(protocol) = Self::parse(other) {
                        return protocol;
                    }
                }
            }
        }
        let lower = name.to_ascii_lowercase();
        if lower == "grpc-web" || lower.starts_with("grpc-web-") {
            return Self::GrpcWeb;
        }
        let prefix = lower.split('-').next().unwrap_or_default();
        match Self::parse(prefix) {
            Some(Self::HttpProxy) | None => {}
            Some(protocol) => return protocol,
        }
        // Servers of these speak first: waiting for the client's first bytes would hang.
        if matches!(number, 25 | 53 | 3306 | 27017) { Self::Tcp } else { Self::Auto }
    }

    /// HTTP of any version, in clear.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb | Self::HttpProxy)
    }

    /// HTTP, or it may turn out to be.
    pub fn is_http_or_auto(self) -> bool {
        self.is_http() || self == Self::Auto
    }

    /// HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// gRPC.
    pub fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcWeb)
    }

    /// TLS that is not ours.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }

    /// Opaque bytes, TLS included.
    pub fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::Https | Self::Tls | Self::Mongo | Self::Redis | Self::Mysql)
    }

    /// What is within TLS.
    pub(crate) fn after_tls(self) -> Self {
        match self {
            Self::Https => Self::Http,
            Self::Tls => Self::Tcp,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_ports() {
        for (transport, app, name, number, want) in [
            ("TCP", "", "http", 80, Protocol::Http),
            ("TCP", "", "HTTP-web", 80, Protocol::Http),
            ("TCP", "", "grpc-web-x", 80, Protocol::GrpcWeb),
            ("TCP", "", "grpc-x", 80, Protocol::Grpc),
            ("TCP", "", "web", 80, Protocol::Auto),
            ("TCP", "", "", 3306, Protocol::Tcp),
            ("", "", "mysql", 3306, Protocol::Mysql),
            ("UDP", "http", "http", 80, Protocol::Udp),
            ("TCP", "kubernetes.io/h2c", "http", 80, Protocol::Http2),
            ("TCP", "tcp", "http", 80, Protocol::Tcp),
            ("TCP", "x.io/y", "http", 80, Protocol::Http),
        ] {
            assert_eq!(Protocol::of_port(transport, app, name, number), want, "{transport} {app} {name} {number}");
        }
    }
}
