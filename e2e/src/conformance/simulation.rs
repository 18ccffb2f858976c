//! Istio's simulation tests: a configuration and a call, and where that call ends up.
//!
//! The call is walked through what `pilot` compiled with the engine's own functions. Where Istio's simulator knows less than a
//! proxy (it matches routes by path only), the walk gives the engine facts that make no difference.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use serde_json::Value;
use varka_engine::facts::{Connection, DetectedHttp, Metadata, Request};
use varka_engine::host::RouteIndex;
use varka_engine::ir::{
    Action, FilterChain, HttpConnectionManager, Listener, Proxy, RouteConfiguration, RouteSource, Terminal,
    TransportProtocol,
};
use varka_engine::listener::{self, ListenerIndex};
use varka_engine::route;
use varka_engine::trace::Trace;

use super::{Report, cases, mesh, text};

/// Runs the table.
pub(super) fn run(table: &Value, _: &std::path::Path, report: &mut Report) {
    for case in cases(table) {
        let proxy = mesh::compile(case);
        for call in case.get("calls").and_then(Value::as_array).into_iter().flatten() {
            let name = format!("{} / {} / {}", text(case, "test"), text(case, "name"), text(call, "name"));
            let (input, want) =
                (call.get("call").cloned().unwrap_or_default(), call.get("result").cloned().unwrap_or_default());
            report.count(
                &name,
                judge(&walk(&proxy, &Call::new(&input)), &want).map_err(|why| format!("{why}; call {input}")),
            );
        }
    }
}

/// A call with Istio's defaults.
struct Call {
    destination: SocketAddr,
    path: String,
    protocol: String,
    tls: String,
    alpn: Vec<Vec<u8>>,
    host: String,
    sni: String,
    inbound: bool,
    certificate: String,
}

impl Call {
    fn new(call: &Value) -> Self {
        let or = |key: &str, default: &str| match text(call, key) {
            "" => default.to_owned(),
            given => given.to_owned(),
        };
        let (protocol, tls, host) = (or("Protocol", ""), or("TLS", "plaintext"), or("HostHeader", ""));
        let default_alpn = match (tls.as_str(), protocol.as_str()) {
            ("mtls", "http") => "istio-http/1.1",
            ("mtls", "http2") => "istio-h2",
            ("mtls", _) => "istio",
            ("tls", "http") => "http/1.1",
            ("tls", "http2") => "h2",
            _ => "",
        };
        let alpn = or("Alpn", default_alpn);
        let ip: IpAddr = or("Address", "1.3.3.7").parse().unwrap_or(IpAddr::V4(Ipv4Addr::new(1, 3, 3, 7)));
        let port = call.get("Port").and_then(Value::as_u64).and_then(|p| u16::try_from(p).ok()).unwrap_or(0);
        Self {
            destination: SocketAddr::new(ip, port),
            path: or("Path", "/"),
            sni: or("Sni", if tls == "tls" { &host } else { "" }),
            alpn: if alpn.is_empty() { Vec::new() } else { vec![alpn.into_bytes()] },
            inbound: text(call, "CallMode") == "inbound",
            certificate: or("MtlsSecretConfigName", "default"),
            protocol,
            tls,
            host,
        }
    }

    fn is_http(&self) -> bool {
        self.protocol == "http" || self.protocol == "http2"
    }

    /// What is known once the listener's filters have run.
    fn connection<'a>(&'a self, listener: &Listener) -> Connection<'a> {
        let mut connection =
            Connection::plain(self.destination, SocketAddr::new(Ipv4Addr::new(5, 6, 7, 8).into(), 40_000));
        let looked_at = !listener.inspect.disabled_ports.contains(&self.destination.port());
        if self.tls != "plaintext" && listener.inspect.tls && looked_at {
            connection.transport = TransportProtocol::Tls;
            connection.alpn = &self.alpn;
        }
        // The simulator takes a given SNI even of calls without TLS.
        if listener.inspect.tls && looked_at {
            connection.sni = (!self.sni.is_empty()).then_some(self.sni.as_str());
        }
        if self.tls == "plaintext" && listener.inspect.http && looked_at {
            connection.detected_http = match self.protocol.as_str() {
                "http" => Some(DetectedHttp::Http11),
                "http2" => Some(DetectedHttp::H2c),
                _ => None,
            };
        }
        connection
    }
}

/// Where a call ended up.
#[derive(Default)]
struct Outcome {
    error: &'static str,
    listener: String,
    chain: String,
    route: String,
    table: String,
    virtual_host: String,
    cluster: String,
}

fn walk(proxy: &Proxy, call: &Call) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(listener) = accept(proxy, call) else { return Outcome { error: "ErrNoListener", ..outcome } };
    outcome.listener = listener.name.to_string();
    let connection = call.connection(&listener);
    let Some(chain) = listener::choose_chain(&listener, &connection, &mut Trace::off()) else {
        return Outcome { error: "ErrNoFilterChain", ..outcome };
    };
    outcome.chain = chain.name.to_string();
    if let Some(error) = handshake(chain, call) {
        return Outcome { error, ..outcome };
    }
    match &chain.terminal {
        Terminal::Tcp(tcp) => {
            // The simulator reads the single cluster only.
            if let [one] = tcp.clusters.as_slice() {
                outcome.cluster = one.cluster.to_string();
            }
        }
        Terminal::Http(hcm) => {
            outcome.error = http(proxy, chain, hcm, call, &connection, &mut outcome).err().unwrap_or_default()
        }
    }
    outcome
}

fn accept(proxy: &Proxy, call: &Call) -> Option<Arc<Listener>> {
    if call.inbound {
        return proxy.listeners.get("virtualInbound").cloned();
    }
    let index = ListenerIndex::new(proxy);
    index.find(call.destination).or_else(|| proxy.listeners.get("virtualOutbound")).cloned()
}

fn handshake(chain: &FilterChain, call: &Call) -> Option<&'static str> {
    let tls = chain.tls.as_ref()?;
    if call.tls == "plaintext" {
        return Some("ErrTLSError");
    }
    let mutual = tls.require_client_certificate && tls.certificates.first().is_some_and(|c| **c == *call.certificate);
    (mutual != (call.tls == "mtls")).then_some("ErrMTLSError")
}

fn http(
    proxy: &Proxy,
    chain: &FilterChain,
    hcm: &HttpConnectionManager,
    call: &Call,
    connection: &Connection<'_>,
    outcome: &mut Outcome,
) -> Result<(), &'static str> {
    if (call.tls != "plaintext" && chain.tls.is_none()) || !call.is_http() {
        return Err("ErrProtocolError");
    }
    let table: Arc<RouteConfiguration> = match &hcm.routes {
        RouteSource::Inline(table) => Arc::clone(table),
        RouteSource::Rds(name) => {
            outcome.table = name.to_string();
            proxy.routes.get(name).cloned().ok_or("ErrNoVirtualHost")?
        }
    };
    let index = RouteIndex::new(table);
    let virtual_host = index.find(&call.host, &mut Trace::off()).ok_or("ErrNoVirtualHost")?;
    outcome.virtual_host = virtual_host.name.to_string();
    if virtual_host.require_tls && call.tls == "plaintext" {
        return Err("ErrTLSRedirect");
    }
    let request = Request {
        method: "GET",
        scheme: if call.tls == "plaintext" { "http" } else { "https" },
        authority: &call.host,
        path: &call.path,
        headers: &HeaderMap::new(),
        connection,
        remote_address: connection.peer,
        metadata: &Metadata::default(),
        version: if call.protocol == "http2" { http::Version::HTTP_2 } else { http::Version::HTTP_11 },
    };
    let route = route::select(virtual_host, &request, &mut Trace::off()).ok_or("ErrNoRoute")?;
    outcome.route = route.name.to_string();
    if let Action::Forward(action) = &route.action
        && let [one] = action.clusters.as_slice()
    {
        outcome.cluster = one.cluster.to_string();
    }
    Ok(())
}

fn judge(got: &Outcome, want: &Value) -> Result<(), String> {
    let strict = want.get("StrictMatch").and_then(Value::as_bool).unwrap_or_default();
    let fields = [
        ("ListenerMatched", &got.listener),
        ("FilterChainMatched", &got.chain),
        ("RouteMatched", &got.route),
        ("RouteConfigMatched", &got.table),
        ("VirtualHostMatched", &got.virtual_host),
        ("ClusterMatched", &got.cluster),
    ];
    let wrong = |(key, got): &(&str, &String)| {
        let want = text(want, key);
        ((strict || !want.is_empty()) && want != got.as_str()).then(|| format!("{key} {got:?} instead of {want:?}"))
    };
    let mut wrong: Vec<_> = fields.iter().filter_map(wrong).collect();
    if text(want, "Error") != got.error {
        wrong.push(format!("error {:?} instead of {:?}", got.error, text(want, "Error")));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join(", ")) }
}
