//! Values of every type of `engine::ir`, made from random bytes: all zero bytes make the simplest value, so that
//! shrinking the bytes shrinks the value. Only what two proxies could not tell apart anyway is kept in one form.

mod security;
mod workload;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use proptest::prelude::{Strategy, any};
use varka_engine::ir::{
    AccessLog, AccessLogFormat, AccessLogSink, Action, AlpnOverride, CertificatePins, CircuitBreakers,
    ClientCertForwarding, Cluster, ClusterLoadAssignment, ClusterProtocol, Codec, ConnectionFilters, Cors, CustomTag,
    CustomTagValue, DirectResponse, Discovery, DownstreamTls, Endpoint, Fault, FaultAbort, FaultDelay, FilterChain,
    FilterChainMatch, HashKey, HashPolicy, HeaderAppend, HeaderMatch, HeaderMatcher, HeaderMutation, HealthStatus,
    Http2Keepalive, HttpCollector, HttpConnectionManager, HttpFilter, HttpProtocolOptions, LbPolicy, Listener,
    LocalReplyMapping, Locality, LocalityEndpoints, MetadataMatch, MetricOverride, Mirror, NetworkFilter, OtlpExporter,
    OutlierDetection, PathMatch, PathNormalization, PeerMetadata, Permission, PolicyAction, Principal, QueryMatch,
    QueryMatcher, Rbac, RbacPolicy, Redirect, Regex, Resource, RetryBackOff, RetryOn, RetryPolicy, Rewrite, Route,
    RouteAction, RouteConfiguration, RouteMatch, RouteSource, Secret, SecretKind, SlashesAction, SlowStart, SourceType,
    Stats, Str, StringMatch, TcpKeepalive, TcpProxy, TcpTunnel, Terminal, TlsVersion, Tracing, TracingProvider,
    TrafficDirection, TransportProtocol, TransportSocketMatch, Upgrade, UpstreamTls, VirtualHost, WeightedCluster,
    WeightedRoute,
};

/// A value of a type, from random bytes.
pub(crate) fn generated<T: std::fmt::Debug>(make: fn(&mut Gen) -> T) -> impl Strategy<Value = T> {
    proptest::collection::vec(any::<u8>(), 0..1500).prop_map(move |bytes| make(&mut Gen { bytes, next: 0 }))
}

/// A resource of any type.
pub(crate) fn resource(g: &mut Gen) -> Resource {
    match g.pick(6) {
        0 => Resource::Listener(Arc::new(listener(g))),
        1 => Resource::Route(Arc::new(routes(g))),
        2 => Resource::Cluster(Arc::new(cluster(g))),
        3 => Resource::Endpoints(Arc::new(assignment(g))),
        4 => workload::workload(g),
        _ => Resource::Secret(Arc::new(secret(g))),
    }
}

/// Random decisions.
#[derive(Debug)]
pub(crate) struct Gen {
    bytes: Vec<u8>,
    next: usize,
}

impl Gen {
    fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.next).copied().unwrap_or_default();
        self.next += 1;
        byte
    }

    fn pick(&mut self, n: u8) -> u8 {
        self.byte() % n
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()].clone()
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn u32(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    fn opt<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| make(self))
    }

    fn vec<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.pick(3)).map(|_| make(self)).collect()
    }

    /// At least one.
    fn vec1<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..=self.pick(2)).map(|_| make(self)).collect()
    }

    fn text(&mut self) -> Str {
        self.of(&["a", "outbound|8080||was.blog-system.svc.cluster.local", "é ü", "x-y", "%REQ(:PATH)%", "B", "0"])
            .into()
    }

    /// Maybe empty.
    fn any_text(&mut self) -> Str {
        if self.flag() { self.text() } else { Str::default() }
    }

    fn millionths(&mut self) -> u32 {
        self.u32() % 1_000_001
    }

    fn duration(&mut self) -> Duration {
        Duration::new(u64::from(self.u16()), u32::from(self.u16()) * 10_000)
    }

    /// Not zero, where zero says "none".
    fn span(&mut self) -> Duration {
        self.duration() + Duration::from_millis(1)
    }

    fn ip(&mut self) -> IpAddr {
        if self.flag() {
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, self.u16(), self.u16()).into()
        } else {
            Ipv4Addr::from(self.u32()).into()
        }
    }

    fn socket(&mut self) -> SocketAddr {
        SocketAddr::new(self.ip(), self.u16())
    }

    fn net(&mut self) -> IpNet {
        let ip = self.ip();
        let longest = if ip.is_ipv4() { 33 } else { 129 };
        IpNet::new(ip, self.pick(longest)).unwrap()
    }

    fn host(&mut self) -> Str {
        self.of(&["db.example.com", "was-service", "localhost"]).into()
    }

    fn regex(&mut self) -> Regex {
        Regex::new(self.of(&["a", ".*/ns/x/.*", "a|b", "(x+)y", r"\d{3}"])).unwrap()
    }
}

// --- matchers

fn string_match(g: &mut Gen) -> StringMatch {
    let kind = g.pick(5);
    if kind == 4 {
        return StringMatch::Regex(g.regex());
    }
    let (value, ignore_case) = (g.any_text(), g.flag());
    match kind {
        0 => StringMatch::Exact { value, ignore_case },
        1 => StringMatch::Prefix { value, ignore_case },
        2 => StringMatch::Suffix { value, ignore_case },
        _ => StringMatch::Contains { value, ignore_case },
    }
}

fn header_matcher(g: &mut Gen) -> HeaderMatcher {
    HeaderMatcher {
        name: g.of(&[":authority", ":path", "x-user", "cookie"]).into(),
        matches: match g.pick(3) {
            0 => HeaderMatch::Present(g.flag()),
            1 => HeaderMatch::Value(string_match(g)),
            _ => HeaderMatch::Range { start: i64::from(g.u32()) - 7, end: i64::from(g.u32()) },
        },
        invert: g.flag(),
        treat_missing_as_empty: g.flag(),
    }
}

fn template(g: &mut Gen) -> Str {
    g.of(&["/a/{*}", "/{**}", "/a/{*}/b/{**}/c", "/"]).into()
}

fn path_match(g: &mut Gen) -> PathMatch {
    match g.pick(5) {
        0 => PathMatch::Prefix(g.any_text()),
        1 => PathMatch::SeparatedPrefix(g.text()),
        2 => PathMatch::Exact(g.any_text()),
        3 => PathMatch::Regex(g.regex()),
        _ => PathMatch::Template(template(g)),
    }
}

fn route_match(g: &mut Gen) -> RouteMatch {
    RouteMatch {
        path: path_match(g),
        case_sensitive: g.flag(),
        headers: g.vec(header_matcher),
        query: g.vec(|g| QueryMatcher {
            name: g.text(),
            matches: if g.flag() { QueryMatch::Value(string_match(g)) } else { QueryMatch::Present },
        }),
        metadata: g.vec(metadata_match),
        grpc: g.flag(),
    }
}

fn metadata_match(g: &mut Gen) -> MetadataMatch {
    MetadataMatch { filter: g.text(), path: g.vec1(Gen::text), value: string_match(g), invert: g.flag() }
}

// --- routes

/// Removals first: that is the order in which both kinds are applied.
fn mutations(g: &mut Gen) -> Vec<HeaderMutation> {
    fn name(g: &mut Gen) -> HeaderName {
        HeaderName::from_static(g.of(&["x-a", "x-b", "via", "set-cookie"]))
    }
    let mut out = g.vec(|g| HeaderMutation::Remove(name(g)));
    out.extend(g.vec(|g| HeaderMutation::Append {
        name: name(g),
        value: HeaderValue::from_static(g.of(&["1", "", "a b", "%DOWNSTREAM_REMOTE_ADDRESS%"])),
        action: g.of(&[HeaderAppend::Append, HeaderAppend::IfAbsent, HeaderAppend::Overwrite]),
    }));
    out
}

fn hash_policy(g: &mut Gen) -> HashPolicy {
    HashPolicy {
        key: match g.pick(4) {
            0 => HashKey::Header(g.text()),
            1 => HashKey::Cookie {
                name: g.text(),
                path: g.any_text(),
                ttl: g.opt(Gen::duration),
                attributes: g.vec(|g| (g.text(), g.any_text())),
            },
            2 => HashKey::SourceIp,
            _ => HashKey::Query(g.text()),
        },
        terminal: g.flag(),
    }
}

fn retry_on(g: &mut Gen) -> RetryOn {
    RetryOn {
        server_error: g.flag(),
        gateway_error: g.flag(),
        reset: g.flag(),
        reset_before_request: g.flag(),
        connect_failure: g.flag(),
        envoy_rate_limited: g.flag(),
        retriable_4xx: g.flag(),
        refused_stream: g.flag(),
        status_codes: g.flag(),
        cancelled: g.flag(),
        deadline_exceeded: g.flag(),
        internal: g.flag(),
        resource_exhausted: g.flag(),
        unavailable: g.flag(),
    }
}

fn retry(g: &mut Gen) -> RetryPolicy {
    RetryPolicy {
        on: retry_on(g),
        attempts: g.u32(),
        per_try_timeout: g.opt(Gen::duration),
        status_codes: g.vec(|g| 400 + u16::from(g.pick(200))),
        back_off: g.opt(|g| RetryBackOff { base: g.span(), max: g.span() }),
        avoid_previous_hosts: g.flag(),
        host_selection_attempts: g.u32(),
        remote_localities: g.flag(),
    }
}

fn weighted_route(g: &mut Gen) -> WeightedRoute {
    WeightedRoute {
        cluster: g.text(),
        weight: g.u32() % 1000,
        request_headers: mutations(g),
        response_headers: mutations(g),
        host_rewrite: g.opt(Gen::host),
    }
}

fn route_action(g: &mut Gen) -> RouteAction {
    let mut clusters = g.vec1(weighted_route);
    if let [one] = clusters.as_mut_slice()
        && one.request_headers.is_empty()
        && one.response_headers.is_empty()
        && one.host_rewrite.is_none()
    {
        one.weight = 1;
    }
    let authority = g.opt(Gen::host);
    RouteAction {
        clusters,
        rewrite: Rewrite {
            prefix: g.opt(Gen::text),
            regex: g.opt(|g| (g.regex(), g.any_text())),
            auto_authority: authority.is_none() && g.flag(),
            authority,
            append_x_forwarded_host: g.flag(),
        },
        timeout: g.opt(Gen::span),
        grpc_timeout_max: g.opt(Gen::duration),
        idle_timeout: g.opt(Gen::duration),
        retry: g.opt(retry),
        mirrors: g.vec(|g| Mirror {
            cluster: g.text(),
            parts_per_million: g.millionths(),
            shadow_host_suffix: g.flag(),
        }),
        hash_policy: g.vec(hash_policy),
        upgrades: g.vec(|g| Upgrade { kind: g.text(), enabled: g.flag() }),
        cluster_not_found_status: g.of(&[503, 404, 500]),
    }
}

fn redirect(g: &mut Gen) -> Redirect {
    let path = g.opt(Gen::text);
    Redirect {
        authority: g.opt(Gen::host),
        port: g.opt(|g| g.u16().max(1)),
        scheme: g.opt(Gen::text),
        prefix: if path.is_none() { g.opt(Gen::text) } else { None },
        path,
        status: g.of(&[301, 302, 303, 307, 308]),
        strip_query: g.flag(),
    }
}

fn fault(g: &mut Gen) -> Fault {
    Fault {
        delay: g.opt(|g| FaultDelay { duration: g.duration(), parts_per_million: g.millionths() }),
        abort: g.opt(|g| {
            let grpc_status = g.opt(|g| u32::from(g.pick(17)));
            let status = if grpc_status.is_some() { 200 } else { 200 + u16::from(g.byte()) };
            FaultAbort { status, grpc_status, parts_per_million: g.millionths() }
        }),
    }
}

fn cors(g: &mut Gen) -> Cors {
    Cors {
        origins: g.vec(string_match),
        methods: g.any_text(),
        headers: g.any_text(),
        expose_headers: g.any_text(),
        max_age: g.any_text(),
        credentials: g.flag(),
        forward_unmatched_preflights: g.flag(),
    }
}

fn route(g: &mut Gen) -> Route {
    Route {
        name: g.any_text(),
        matches: route_match(g),
        action: match g.pick(4) {
            0 => Action::Redirect(redirect(g)),
            1 => Action::Direct(DirectResponse {
                status: 200 + u16::from(g.byte()),
                body: g.opt(|g| g.of(&[&b""[..], b"gone", b"\xff\x00", &[b'x'; 5000]]).into()),
            }),
            _ => Action::Forward(Box::new(route_action(g))),
        },
        request_headers: mutations(g),
        response_headers: mutations(g),
        fault: g.opt(fault),
        cors: g.opt(cors),
        rbac: g.opt(rbac),
        max_request_bytes: g.opt(|g| g.u32().into()),
        operation: g.opt(Gen::text),
        origin: g.opt(Gen::text),
    }
}

/// A route configuration.
pub(crate) fn routes(g: &mut Gen) -> RouteConfiguration {
    RouteConfiguration {
        name: g.text(),
        virtual_hosts: g.vec1(|g| VirtualHost {
            name: g.text(),
            domains: g.vec1(Gen::host),
            routes: g.vec1(route),
            require_tls: g.flag(),
            include_attempt_count: g.flag(),
            request_headers: mutations(g),
            response_headers: mutations(g),
        }),
        ignore_port_in_host: g.flag(),
        on_demand: g.flag(),
        request_headers: mutations(g),
        response_headers: mutations(g),
    }
}

// --- RBAC

fn permission(g: &mut Gen, depth: u8) -> Permission {
    let below = |g: &mut Gen| permission(g, depth - 1);
    match g.pick(if depth == 0 { 8 } else { 11 }) {
        0 => Permission::Any,
        1 => Permission::Header(header_matcher(g)),
        2 => Permission::Path(string_match(g)),
        3 => Permission::Template(PathMatch::Template(template(g))),
        4 => Permission::DestinationIp(g.net()),
        5 => Permission::DestinationPort(g.u16()),
        6 => Permission::ServerName(string_match(g)),
        7 => Permission::Metadata { filter: g.text(), path: g.vec1(Gen::text), value: string_match(g) },
        8 => Permission::And(g.vec1(below)),
        9 => Permission::Or(g.vec1(below)),
        _ => Permission::Not(Box::new(below(g))),
    }
}

fn principal(g: &mut Gen, depth: u8) -> Principal {
    let below = |g: &mut Gen| principal(g, depth - 1);
    match g.pick(if depth == 0 { 6 } else { 9 }) {
        0 => Principal::Any,
        1 => Principal::Authenticated(g.opt(string_match)),
        2 => Principal::DirectRemoteIp(g.net()),
        3 => Principal::RemoteIp(g.net()),
        4 => Principal::Header(header_matcher(g)),
        5 => Principal::Metadata { filter: g.text(), path: g.vec1(Gen::text), value: string_match(g) },
        6 => Principal::And(g.vec1(below)),
        7 => Principal::Or(g.vec1(below)),
        _ => Principal::Not(Box::new(below(g))),
    }
}

/// Policies have distinct names and come sorted.
fn rbac(g: &mut Gen) -> Rbac {
    let mut policies = g.vec(|g| RbacPolicy {
        name: g.text(),
        permissions: g.vec1(|g| permission(g, 2)),
        principals: g.vec1(|g| principal(g, 2)),
    });
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    policies.dedup_by(|a, b| a.name == b.name);
    Rbac {
        action: g.of(&[PolicyAction::Allow, PolicyAction::Deny, PolicyAction::Log]),
        policies,
        shadow: g.flag(),
        stat_prefix: g.any_text(),
    }
}

// --- listeners

fn access_log(g: &mut Gen) -> AccessLog {
    AccessLog {
        sink: if g.flag() { AccessLogSink::File(g.text()) } else { AccessLogSink::Stdout },
        format: if g.flag() {
            let mut keys: Vec<(Str, Str)> = g.vec(|g| (g.text(), g.any_text()));
            keys.sort();
            keys.dedup_by(|a, b| a.0 == b.0);
            AccessLogFormat::Json(keys)
        } else {
            AccessLogFormat::Text(g.any_text())
        },
        only_not_found: g.flag(),
        filter: g.flag().then(|| "response.code >= 400".into()),
    }
}

fn http_filter(g: &mut Gen) -> HttpFilter {
    match g.pick(10) {
        9 => HttpFilter::DynamicForwardProxy,
        0 => HttpFilter::Fault,
        1 => HttpFilter::Rbac(rbac(g)),
        2 => HttpFilter::Cors,
        3 => HttpFilter::Alpn(AlpnOverride { http11: g.vec(Gen::text), http2: g.vec(Gen::text) }),
        4 => HttpFilter::GrpcStats,
        5 => HttpFilter::PeerMetadata(PeerMetadata { downstream: g.flag(), upstream: g.flag() }),
        6 => HttpFilter::ExtAuthz(Box::new(security::ext_authz(g))),
        7 => HttpFilter::Jwt(Box::new(security::jwt(g))),
        _ => HttpFilter::Stats(stats(g)),
    }
}

fn stats(g: &mut Gen) -> Stats {
    let pairs = |g: &mut Gen| {
        let mut pairs: Vec<(Str, Str)> = g.vec(|g| (g.text(), g.any_text()));
        pairs.sort();
        pairs.dedup_by(|a, b| a.0 == b.0);
        pairs
    };
    Stats {
        disable_host_header_fallback: g.flag(),
        tcp_reporting_interval: g.opt(Gen::duration),
        metrics: g.vec(|g| MetricOverride {
            name: g.any_text(),
            drop: g.flag(),
            dimensions: pairs(g),
            tags_to_remove: g.vec(Gen::text),
        }),
    }
}

fn tracing(g: &mut Gen) -> Tracing {
    let pair = |g: &mut Gen| (g.text(), g.any_text());
    let collector =
        |g: &mut Gen| HttpCollector { cluster: g.text(), uri: g.text(), timeout: g.duration(), headers: g.vec(pair) };
    let provider = match g.pick(3) {
        0 => TracingProvider::Zipkin {
            cluster: g.text(),
            hostname: g.any_text(),
            path: g.text(),
            trace_id_128bit: g.flag(),
            w3c: g.flag(),
        },
        1 => TracingProvider::OpenTelemetry { service_name: g.any_text(), exporter: OtlpExporter::Http(collector(g)) },
        _ => TracingProvider::OpenTelemetry {
            service_name: g.any_text(),
            exporter: OtlpExporter::Grpc {
                cluster: g.text(),
                authority: g.any_text(),
                timeout: g.opt(Gen::duration),
                initial_metadata: g.vec(pair),
            },
        },
    };
    Tracing {
        client_sampling: g.millionths(),
        random_sampling: g.millionths(),
        overall_sampling: g.millionths(),
        provider,
        custom_tags: g.vec(|g| CustomTag {
            name: g.text(),
            value: match g.pick(3) {
                0 => CustomTagValue::Literal(g.any_text()),
                1 => CustomTagValue::Environment { name: g.text(), default: g.any_text() },
                _ => CustomTagValue::Header { name: g.text(), default: g.any_text() },
            },
        }),
        max_path_tag_length: g.opt(Gen::u32),
    }
}

fn local_reply(g: &mut Gen) -> LocalReplyMapping {
    LocalReplyMapping {
        flags: g.vec(|g| g.of(&["UF", "UC", "UH", "NR"]).into()),
        status: g.opt(|g| 400 + u16::from(g.byte())),
        new_status: 400 + u16::from(g.byte()),
    }
}

fn manager(g: &mut Gen) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: g.text(),
        codec: g.of(&[Codec::Auto, Codec::Http1, Codec::Http2]),
        routes: if g.flag() { RouteSource::Inline(Arc::new(routes(g))) } else { RouteSource::Rds(g.text()) },
        filters: g.vec(http_filter),
        server_name: g.any_text(),
        use_remote_address: g.flag(),
        xff_trusted_hops: g.u32(),
        skip_xff_append: g.flag(),
        client_cert: g.of(&[
            ClientCertForwarding::Sanitize,
            ClientCertForwarding::ForwardOnly,
            ClientCertForwarding::AppendForward,
            ClientCertForwarding::SanitizeSet,
            ClientCertForwarding::AlwaysForward,
        ]),
        generate_request_id: g.flag(),
        preserve_external_request_id: g.flag(),
        path: PathNormalization {
            normalize: g.flag(),
            merge_slashes: g.flag(),
            escaped_slashes: g.of(&[
                SlashesAction::Keep,
                SlashesAction::Reject,
                SlashesAction::UnescapeAndRedirect,
                SlashesAction::UnescapeAndForward,
            ]),
        },
        stream_idle_timeout: g.opt(Gen::duration),
        request_timeout: g.opt(Gen::duration),
        request_headers_timeout: g.opt(Gen::duration),
        idle_timeout: g.opt(Gen::duration),
        max_connection_duration: g.opt(Gen::duration),
        max_request_headers_kb: g.opt(Gen::u32),
        max_headers: g.opt(Gen::u32),
        accept_http_10: g.flag(),
        max_concurrent_streams: g.opt(Gen::u32),
        upgrades: g.vec(Gen::text),
        strip_trailing_host_dot: g.flag(),
        local_replies: g.vec(local_reply),
        tracing: g.opt(tracing),
        access_log: g.vec(access_log),
    }
}

fn tcp_proxy(g: &mut Gen) -> TcpProxy {
    let mut clusters = g.vec1(|g| WeightedCluster { cluster: g.text(), weight: g.u32() });
    if let [one] = clusters.as_mut_slice() {
        one.weight = 1;
    }
    TcpProxy {
        stat_prefix: g.text(),
        clusters,
        idle_timeout: g.opt(Gen::span),
        max_connection_duration: g.opt(Gen::duration),
        access_log: g.vec(access_log),
        hash_policy: g.opt(|_| HashPolicy { key: HashKey::SourceIp, terminal: false }).into_iter().collect(),
        tunnel: g.opt(|g| TcpTunnel { hostname: g.host(), post: g.flag() }),
    }
}

fn network_filter(g: &mut Gen) -> NetworkFilter {
    match g.pick(4) {
        3 => NetworkFilter::SniDynamicForwardProxy(g.u16()),
        0 => NetworkFilter::MetadataExchange,
        1 => NetworkFilter::Stats(stats(g)),
        _ => NetworkFilter::Rbac(rbac(g)),
    }
}

fn chain_match(g: &mut Gen) -> FilterChainMatch {
    FilterChainMatch {
        destination_port: g.opt(Gen::u16),
        destination_prefixes: g.vec(Gen::net),
        server_names: g.vec(Gen::host),
        transport_protocol: g.opt(|g| g.of(&[TransportProtocol::Tls, TransportProtocol::RawBuffer])),
        application_protocols: g.vec(Gen::text),
        source_prefixes: g.vec(Gen::net),
        source_type: g.of(&[SourceType::Any, SourceType::SameIpOrLoopback, SourceType::External]),
    }
}

fn chain(g: &mut Gen) -> FilterChain {
    FilterChain {
        name: g.any_text(),
        matches: chain_match(g),
        tls: g.opt(downstream_tls),
        filters: g.vec(network_filter),
        terminal: if g.flag() { Terminal::Http(Box::new(manager(g))) } else { Terminal::Tcp(tcp_proxy(g)) },
        handshake_timeout: g.opt(Gen::duration),
    }
}

/// A listener.
pub(crate) fn listener(g: &mut Gen) -> Listener {
    let (tls, http) = (g.flag(), g.flag());
    Listener {
        name: g.text(),
        address: g.socket(),
        bind_to_port: g.flag(),
        use_original_dst: g.flag(),
        direction: g.of(&[TrafficDirection::Inbound, TrafficDirection::Outbound, TrafficDirection::Unspecified]),
        inspect: ConnectionFilters {
            original_dst: g.flag(),
            tls,
            http,
            // Nothing else could be kept from looking.
            disabled_ports: if tls || http { g.vec(Gen::u16) } else { Vec::new() },
            proxy_protocol: g.flag(),
            timeout: g.opt(Gen::span),
            continue_on_timeout: g.flag(),
        },
        filter_chains: g.vec(chain),
        default_filter_chain: g.opt(chain),
        access_log: g.vec(access_log),
    }
}

// --- TLS and secrets

fn version(g: &mut Gen) -> TlsVersion {
    g.of(&[TlsVersion::V1_2, TlsVersion::V1_3])
}

fn san(g: &mut Gen) -> StringMatch {
    if g.flag() {
        let value = g.of(&["spiffe://cluster.local/ns/a/sa/b", "10.0.0.1", "db.example.com"]).into();
        StringMatch::Exact { value, ignore_case: g.flag() }
    } else {
        string_match(g)
    }
}

fn downstream_tls(g: &mut Gen) -> DownstreamTls {
    let validation = g.opt(Gen::text);
    DownstreamTls {
        certificates: g.vec(Gen::text),
        subject_alt_names: if validation.is_some() { g.vec(san) } else { Vec::new() },
        pins: if validation.is_some() {
            CertificatePins { spki: g.vec(Gen::text), hashes: g.vec(Gen::text) }
        } else {
            CertificatePins::default()
        },
        crl_file: if validation.is_some() { g.opt(Gen::text) } else { None },
        validation,
        require_client_certificate: g.flag(),
        alpn: g.vec(Gen::text),
        min_version: g.opt(version),
        max_version: g.opt(version),
        cipher_suites: g.vec(Gen::text),
    }
}

fn upstream_tls(g: &mut Gen, (auto_sni, auto_san): (bool, bool)) -> UpstreamTls {
    let validation = g.opt(Gen::text);
    UpstreamTls {
        certificate: g.opt(Gen::text),
        subject_alt_names: if validation.is_some() { g.vec(san) } else { Vec::new() },
        crl_file: if validation.is_some() { g.opt(Gen::text) } else { None },
        validation,
        sni: g.opt(Gen::text),
        auto_sni,
        auto_san,
        alpn: g.vec(Gen::text),
        min_version: g.opt(version),
        max_version: g.opt(version),
    }
}

/// A secret.
pub(crate) fn secret(g: &mut Gen) -> Secret {
    Secret {
        name: g.text(),
        kind: match g.pick(4) {
            0 => SecretKind::Validation {
                ca: g.any_text().to_string(),
                crl: if g.flag() { Some(g.any_text().to_string()) } else { None },
            },
            1 => SecretKind::ValidationFile { ca: g.text() },
            2 => SecretKind::CertificateFiles { chain: g.text(), key: g.text() },
            _ => SecretKind::Certificate { chain: g.any_text().to_string(), key: g.any_text().to_string() },
        },
    }
}

// --- clusters and endpoints

fn lb(g: &mut Gen) -> LbPolicy {
    match g.pick(6) {
        0 => LbPolicy::RoundRobin,
        1 => LbPolicy::LeastRequest { choices: g.u32() },
        2 => LbPolicy::Random,
        3 => LbPolicy::RingHash { min_size: g.u32().into() },
        4 => LbPolicy::Maglev { table_size: g.u32().into() },
        _ => LbPolicy::ClusterProvided,
    }
}

fn outlier(g: &mut Gen) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: g.pick(9).into(),
        consecutive_gateway: g.pick(9).into(),
        split_local_origin: g.flag(),
        consecutive_local: g.pick(9).into(),
        interval: g.span(),
        base_ejection: g.span(),
        max_ejection: g.span(),
        max_ejection_percent: g.pick(101).into(),
    }
}

fn breakers(g: &mut Gen) -> CircuitBreakers {
    CircuitBreakers {
        max_connections: g.u32(),
        max_pending_requests: g.u32(),
        max_requests: g.u32(),
        max_retries: g.u32(),
    }
}

fn http_options(g: &mut Gen) -> HttpProtocolOptions {
    let protocol = g.of(&[ClusterProtocol::Http1, ClusterProtocol::Http2, ClusterProtocol::Downstream]);
    HttpProtocolOptions {
        protocol,
        idle_timeout: g.opt(Gen::duration),
        max_requests_per_connection: g.opt(Gen::u32),
        max_connection_duration: g.opt(Gen::duration),
        // HTTP/1 has no streams.
        max_concurrent_streams: if protocol == ClusterProtocol::Http1 { None } else { g.opt(Gen::u32) },
        keepalive: if protocol == ClusterProtocol::Http1 {
            None
        } else {
            g.opt(|g| Http2Keepalive { interval: g.duration(), timeout: g.duration() })
        },
    }
}

/// A cluster. Slow start is for two policies only; SNI follows the request for all sockets or none.
pub(crate) fn cluster(g: &mut Gen) -> Cluster {
    let discovery = match g.pick(5) {
        4 => Discovery::DynamicForwardProxy,
        0 => Discovery::Eds { service_name: g.text() },
        1 => Discovery::Static(assignment(g)),
        2 => Discovery::Dns { assignment: assignment(g), logical: g.flag() },
        _ => Discovery::OriginalDst { use_http_header: g.flag(), port: g.opt(Gen::u16) },
    };
    let given = matches!(discovery, Discovery::OriginalDst { .. } | Discovery::DynamicForwardProxy);
    let lb = if given { LbPolicy::ClusterProvided } else { lb(g) };
    let slow_start = matches!(lb, LbPolicy::RoundRobin | LbPolicy::LeastRequest { .. });
    let tls = g.opt(|g| upstream_tls(g, (false, false)));
    let mut matches = g.vec(|g| TransportSocketMatch {
        name: g.text(),
        tls_mode: g.opt(Gen::text),
        tls: g.opt(|g| upstream_tls(g, (false, false))),
    });
    let mut tls = tls;
    let auto_sni = g.flag();
    let auto_san = auto_sni && g.flag();
    for socket in matches.iter_mut().filter_map(|m| m.tls.as_mut()).chain(&mut tls) {
        socket.auto_sni = auto_sni;
        socket.auto_san = auto_san;
    }
    Cluster {
        name: g.text(),
        discovery,
        lb,
        connect_timeout: g.duration(),
        circuit_breakers: breakers(g),
        outlier: g.opt(outlier),
        transport_matches: matches,
        tls,
        http: http_options(g),
        bind_source: g.opt(Gen::ip),
        tcp_keepalive: g.opt(|g| TcpKeepalive {
            probes: g.opt(Gen::u32),
            time: g.opt(|g| Duration::from_secs(g.u16().into())),
            interval: g.opt(|g| Duration::from_secs(g.u16().into())),
        }),
        panic_threshold: g.pick(101),
        locality_weighted: g.flag(),
        slow_start: if slow_start {
            g.opt(|g| SlowStart {
                window: g.duration(),
                aggression: f64::from(g.u16()) / 8.0,
                min_weight_percent: f64::from(g.pick(101)),
            })
        } else {
            None
        },
        proxy_protocol: g.opt(|g| g.of(&[1, 2])),
        retry_budget: g.opt(|g| (g.millionths(), g.u32())),
        services: g.vec(|g| (g.text(), g.text(), g.text())),
        dns_refresh: g.opt(Gen::span),
        metadata_exchange: g.flag(),
    }
}

fn endpoint(g: &mut Gen) -> Endpoint {
    let port = g.u16();
    let (address, host) = match g.pick(3) {
        0 => (Some(SocketAddr::new(g.ip(), port)), None),
        1 => (None, Some((g.host(), port))),
        _ => (Some(SocketAddr::new(g.ip(), port)), Some((g.host(), port))),
    };
    Endpoint {
        address,
        host,
        weight: g.u32(),
        health: g.of(&[HealthStatus::Unknown, HealthStatus::Healthy, HealthStatus::Unhealthy, HealthStatus::Draining]),
        tls_mode: g.opt(Gen::text),
        workload: g.opt(Gen::text),
    }
}

/// A load assignment.
pub(crate) fn assignment(g: &mut Gen) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        cluster_name: g.text(),
        localities: g.vec(|g| LocalityEndpoints {
            locality: Locality { region: g.any_text(), zone: g.any_text(), sub_zone: g.any_text() },
            priority: g.pick(128).into(),
            weight: g.opt(Gen::u32),
            endpoints: g.vec(endpoint),
        }),
    }
}
