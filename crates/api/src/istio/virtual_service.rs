//! `VirtualService`: where a client's requests go, by host.

use std::collections::BTreeMap;

use super::Labels;
use crate::Duration;

kinds! { VirtualService: "networking.istio.io" "VirtualService", }

messages! {
    /// `networking.istio.io VirtualService`.
    VirtualService {
        /// Hosts that it speaks for: FQDN, short name, `*.suffix` or `*`.
        hosts: Vec<String>,
        /// Gateways that it binds to; empty: `mesh`, every sidecar.
        gateways: Vec<String>,
        /// Rules for HTTP, the first that matches wins.
        http: Vec<HttpRoute>,
        /// Rules for TLS that is passed through, by SNI.
        tls: Vec<TlsRoute>,
        /// Rules for opaque TCP.
        tcp: Vec<TcpRoute>,
        /// Namespaces that see it: `*`, `.`, a name, `~`; empty: the mesh's default.
        export_to: Vec<String>,
    }
    /// One HTTP rule.
    HttpRoute {
        /// Name, shown in the access log.
        name: String,
        /// Conditions, one of which must hold; empty: always.
        r#match: Vec<HttpMatch>,
        /// Where to, by weight.
        route: Vec<RouteDestination>,
        /// Answer with a redirect instead.
        redirect: Option<HttpRedirect>,
        /// Answer at once instead.
        direct_response: Option<DirectResponse>,
        /// Include the rules of another VirtualService.
        delegate: Option<Delegate>,
        /// Changes of path and authority.
        rewrite: Option<HttpRewrite>,
        /// Limit of the whole request; absent: none.
        timeout: Option<Duration>,
        /// Retries; absent: the mesh's default.
        retries: Option<HttpRetry>,
        /// Injected faults.
        fault: Option<Fault>,
        /// Shadow copy to one destination.
        mirror: Option<Destination>,
        /// Shadow copies to several.
        mirrors: Vec<Mirror>,
        /// Share of `mirror`, whole percent (deprecated).
        mirror_percent: Option<u32>,
        /// Share of `mirror`.
        mirror_percentage: Option<Percent>,
        /// Cross-origin policy.
        cors_policy: Option<CorsPolicy>,
        /// Header operations of the whole rule.
        headers: Option<Headers>,
    }
    /// Conditions of an HTTP rule; all must hold.
    HttpMatch {
        /// Name, appended to the rule's.
        name: String,
        /// Path.
        uri: Option<StringMatch>,
        /// `http` or `https`.
        scheme: Option<StringMatch>,
        /// Method.
        method: Option<StringMatch>,
        /// Host header.
        authority: Option<StringMatch>,
        /// Headers; an empty match means present.
        headers: BTreeMap<String, StringMatch>,
        /// Port that the client addressed.
        port: u32,
        /// Labels of the client's workload.
        source_labels: Labels,
        /// Gateways; narrows the VirtualService's.
        gateways: Vec<String>,
        /// Query parameters.
        query_params: BTreeMap<String, StringMatch>,
        /// `uri` exact and prefix regardless of case.
        ignore_uri_case: bool,
        /// Headers that must not match.
        without_headers: BTreeMap<String, StringMatch>,
        /// Namespace of the client's workload.
        source_namespace: String,
        /// Prefix of statistics.
        stat_prefix: String,
    }
    /// `StringMatch`: one of the three; none of them means "present".
    StringMatch {
        /// Equal.
        exact: Option<String>,
        /// Starts with.
        prefix: Option<String>,
        /// The whole matches (RE2).
        regex: Option<String>,
    }
    /// A weighted destination of an HTTP rule.
    RouteDestination {
        /// Where to.
        destination: Option<Destination>,
        /// Share; ignored when alone.
        weight: i32,
        /// Header operations of this destination.
        headers: Option<Headers>,
    }
    /// A host, a subset of its endpoints, a port.
    Destination {
        /// Service; a short name belongs to the rule's own namespace.
        host: String,
        /// Subset of its DestinationRule; empty: all.
        subset: String,
        /// Port; absent: the one that the client addressed, or the only one.
        port: Option<PortSelector>,
    }
    /// A port by number.
    PortSelector {
        /// Service port.
        number: u32,
    }
    /// Redirect.
    HttpRedirect {
        /// New path.
        uri: String,
        /// New prefix in place of the matched one.
        prefix_rewrite: String,
        /// New host.
        authority: String,
        /// New port.
        port: Option<u32>,
        /// Or how the port is derived.
        derive_port: Option<RedirectPort>,
        /// New scheme.
        scheme: String,
        /// Status, default 301.
        redirect_code: u32,
    }
    /// A fixed answer.
    DirectResponse {
        /// Status.
        status: u32,
        /// Body.
        body: Option<HttpBody>,
    }
    /// Body of a fixed answer: one of the two.
    HttpBody {
        /// Text.
        string: Option<String>,
        /// Base64.
        bytes: Option<String>,
    }
    /// Another VirtualService.
    Delegate {
        /// Name.
        name: String,
        /// Namespace; empty: the same.
        namespace: String,
    }
    /// Changes of path and authority before forwarding.
    HttpRewrite {
        /// Replaces the matched prefix, or the whole path.
        uri: String,
        /// New Host.
        authority: String,
        /// Replaces by pattern.
        uri_regex_rewrite: Option<RegexRewrite>,
    }
    /// A pattern and what replaces it.
    RegexRewrite {
        /// RE2.
        r#match: String,
        /// With `\1` references.
        rewrite: String,
    }
    /// Retries.
    HttpRetry {
        /// Tries beyond the first; 0: none.
        attempts: i32,
        /// Limit of one try; absent: the rule's.
        per_try_timeout: Option<Duration>,
        /// Conditions, separated by commas; numbers are status codes.
        retry_on: String,
        /// Whether other localities may be tried.
        retry_remote_localities: Option<bool>,
        /// Whether hosts tried before are avoided, default true.
        retry_ignore_previous_hosts: Option<bool>,
        /// Base interval of the back-off; absent: 25 ms.
        backoff: Option<Duration>,
    }
    /// Base interval of retries, kept apart for MeshConfig.
    RetryBackoff {
        /// Base interval.
        base_interval: Option<Duration>,
    }
    /// Injected faults.
    Fault {
        /// Wait.
        delay: Option<FaultDelay>,
        /// Answer.
        abort: Option<FaultAbort>,
    }
    /// Injected delay.
    FaultDelay {
        /// Whole percent (deprecated).
        percent: i32,
        /// How long.
        fixed_delay: Option<Duration>,
        /// Not supported by Istio either.
        exponential_delay: Option<Duration>,
        /// Share; absent: all.
        percentage: Option<Percent>,
    }
    /// Injected answer.
    FaultAbort {
        /// HTTP status.
        http_status: Option<i32>,
        /// gRPC status by name (`UNAVAILABLE`) or number.
        grpc_status: Option<String>,
        /// Not supported by Istio either.
        http2_error: Option<String>,
        /// Share; absent: all.
        percentage: Option<Percent>,
    }
    /// A share.
    Percent {
        /// 0.0 to 100.0.
        value: f64,
    }
    /// A shadow destination.
    Mirror {
        /// Where to.
        destination: Option<Destination>,
        /// Share; absent: all.
        percentage: Option<Percent>,
    }
    /// Cross-origin policy.
    CorsPolicy {
        /// Exact origins (deprecated).
        allow_origin: Vec<String>,
        /// Origins.
        allow_origins: Vec<StringMatch>,
        /// `access-control-allow-methods`.
        allow_methods: Vec<String>,
        /// `access-control-allow-headers`.
        allow_headers: Vec<String>,
        /// `access-control-expose-headers`.
        expose_headers: Vec<String>,
        /// `access-control-max-age`.
        max_age: Option<Duration>,
        /// `access-control-allow-credentials`.
        allow_credentials: Option<bool>,
        /// What happens to preflights of other origins.
        unmatched_preflights: UnmatchedPreflights,
    }
    /// Header operations on both ways.
    Headers {
        /// On requests.
        request: Option<HeaderOperations>,
        /// On responses.
        response: Option<HeaderOperations>,
    }
    /// Header operations.
    HeaderOperations {
        /// Overwrite.
        set: BTreeMap<String, String>,
        /// Append.
        add: BTreeMap<String, String>,
        /// Remove.
        remove: Vec<String>,
    }
    /// A TLS rule.
    TlsRoute {
        /// Conditions, one of which must hold.
        r#match: Vec<TlsMatch>,
        /// Where to, by weight.
        route: Vec<WeightedDestination>,
    }
    /// Conditions of a TLS rule.
    TlsMatch {
        /// SNI, exact or `*.suffix`.
        sni_hosts: Vec<String>,
        /// Destination addresses.
        destination_subnets: Vec<String>,
        /// Port that the client addressed.
        port: u32,
        /// Labels of the client's workload.
        source_labels: Labels,
        /// Gateways.
        gateways: Vec<String>,
        /// Namespace of the client's workload.
        source_namespace: String,
    }
    /// A TCP rule.
    TcpRoute {
        /// Name, unused by Istio.
        name: String,
        /// Conditions, one of which must hold; empty: always.
        r#match: Vec<L4Match>,
        /// Where to, by weight.
        route: Vec<WeightedDestination>,
    }
    /// Conditions of a TCP rule.
    L4Match {
        /// Destination addresses.
        destination_subnets: Vec<String>,
        /// Port that the client addressed.
        port: u32,
        /// Source address (deprecated).
        source_subnet: String,
        /// Labels of the client's workload.
        source_labels: Labels,
        /// Gateways.
        gateways: Vec<String>,
        /// Namespace of the client's workload.
        source_namespace: String,
    }
    /// A weighted destination of a TLS or TCP rule.
    WeightedDestination {
        /// Where to.
        destination: Option<Destination>,
        /// Share; ignored when alone.
        weight: i32,
    }
}

enumerations! {
    /// How the port of a redirect is found.
    RedirectPort {
        /// The scheme's own.
        #[default]
        FromProtocolDefault,
        /// The request's.
        FromRequestPort,
    }
    /// What happens to preflights of origins that are not allowed.
    UnmatchedPreflights {
        /// As `FORWARD`.
        #[default]
        Unspecified,
        /// To the service.
        Forward,
        /// Answered here.
        Ignore,
    }
}
