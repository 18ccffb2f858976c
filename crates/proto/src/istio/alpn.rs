//! `istio.envoy.config.filter.http.alpn.v2alpha1`: the configuration of the HTTP filter `istio.alpn`.

/// What to offer in ALPN, by the protocol of the request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FilterConfig {
    /// At most one for each protocol.
    #[prost(message, repeated, tag = "1")]
    pub alpn_override: Vec<AlpnOverride>,
}

/// `FilterConfig.AlpnOverride`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AlpnOverride {
    /// Protocol towards the upstream.
    #[prost(enumeration = "Protocol", tag = "1")]
    pub upstream_protocol: i32,
    /// Names offered, best first.
    #[prost(string, repeated, tag = "2")]
    pub alpn_override: Vec<String>,
}

/// `FilterConfig.Protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Protocol {
    /// HTTP/1.0.
    Http10 = 0,
    /// HTTP/1.1.
    Http11 = 1,
    /// HTTP/2.
    Http2 = 2,
}

impl prost::Name for FilterConfig {
    const NAME: &'static str = "FilterConfig";
    const PACKAGE: &'static str = "istio.envoy.config.filter.http.alpn.v2alpha1";

    fn type_url() -> String {
        "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig".into()
    }
}
