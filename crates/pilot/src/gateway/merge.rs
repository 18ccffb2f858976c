//! Which servers share a port, and which of them cannot.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use varka_api::Object;
use varka_api::istio::{Gateway, GatewayTlsMode, Server};
use varka_engine::ir::Str;

use crate::context::{Ctx, s};
use crate::diagnostic::Severity;
use crate::key::contains;
use crate::registry::{Protocol, Target};
use crate::snapshot::{Kind, Prepared, by_age};

/// Servers by the port that is opened.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) ports: BTreeMap<(IpAddr, u16), Vec<Bound>>,
    /// VirtualServices that were made of Ingresses.
    pub(crate) ingress: Vec<Arc<Prepared>>,
}

/// A server of a gateway on a port.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    pub(crate) gateway: Arc<Object<Gateway>>,
    /// `namespace/name`.
    pub(crate) gateway_name: String,
    pub(crate) index: usize,
    /// With hosts as `host` (any namespace) or `namespace/host`.
    pub(crate) server: Server,
    pub(crate) protocol: Protocol,
    /// RDS name; empty for servers that are not HTTP.
    pub(crate) route: Str,
}

impl Bound {
    /// HTTP within TLS that is terminated here.
    pub(crate) fn is_https(&self) -> bool {
        self.protocol == Protocol::Https && self.terminates()
    }

    /// TLS ends here.
    pub(crate) fn terminates(&self) -> bool {
        let mode = self.server.tls.as_ref().map(|t| t.mode);
        mode.is_some_and(|m| !matches!(m, GatewayTlsMode::Passthrough | GatewayTlsMode::AutoPassthrough))
    }

    /// Service port.
    pub(crate) fn number(&self) -> u16 {
        self.server.port.as_ref().and_then(|p| u16::try_from(p.number).ok()).unwrap_or(0)
    }

    fn is_plain_http(&self) -> bool {
        self.protocol.is_http()
    }

    fn has_tls(&self) -> bool {
        !self.is_plain_http() && self.server.tls.is_some()
    }

    /// Hosts without their namespaces.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.server.hosts.iter().map(|h| h.split_once('/').map_or(h.as_str(), |(_, host)| host))
    }
}

/// The servers of every Gateway that selects the proxy.
pub(crate) fn merge(ctx: &Ctx<'_>) -> Merged {
    let made = crate::ingress::istio_class(ctx);
    let mut gateways: Vec<Arc<Object<Gateway>>> =
        ctx.all(Kind::Gateway, &ctx.snapshot.stores.gateways).cloned().collect();
    gateways.extend(made.gateways);
    gateways.extend(ctx.snapshot.gateway_api().gateways.iter().cloned());
    gateways.sort_by(|a, b| by_age(a, b));
    let mut merged = Merged { ports: BTreeMap::new(), ingress: made.virtual_services };
    for gateway in &gateways {
        let Some((targets, by_label)) = selection(ctx, gateway) else { continue };
        for (index, server) in gateway.spec.servers.iter().enumerate() {
            for port in ports(server, &targets, by_label) {
                add(ctx, &mut merged, gateway, index, server, port);
            }
        }
    }
    merged
}

/// Which of the proxy's services a gateway speaks for, and whether it was selected by label; `None`: it is not ours.
fn selection(ctx: &Ctx<'_>, gateway: &Object<Gateway>) -> Option<(Vec<Target>, bool)> {
    if let Some(hosts) = gateway.metadata.annotations.get("internal.istio.io/gateway-service") {
        let hosts: Vec<&str> = hosts.split(',').map(str::trim).collect();
        let ours = ctx
            .targets()
            .iter()
            .filter(|t| hosts.contains(&&*t.service.host) && *t.service.namespace == *gateway.metadata.namespace);
        let found: Vec<Target> = ours.cloned().collect();
        return (!found.is_empty()).then_some((found, false));
    }
    contains(&ctx.proxy.labels, &gateway.spec.selector).then(|| (ctx.targets().to_vec(), true))
}

/// Ports to open: the target ports of the services that have the server's port, else the port itself.
fn ports(server: &Server, targets: &[Target], by_label: bool) -> Vec<u16> {
    let Some(number) = server.port.as_ref().and_then(|p| u16::try_from(p.number).ok()) else { return Vec::new() };
    let no_translation = |t: &&Target| {
        by_label && t.service.labels.contains_key("experimental.istio.io/disable-gateway-port-translation")
    };
    let mut found: Vec<u16> =
        targets.iter().filter(|t| !no_translation(t) && t.port.number == number).map(|t| t.number).collect();
    found.sort_unstable();
    found.dedup();
    if found.is_empty() && by_label {
        found.push(number);
    }
    found
}

fn add(ctx: &Ctx<'_>, merged: &mut Merged, gateway: &Arc<Object<Gateway>>, index: usize, server: &Server, port: u16) {
    let Some(declared) = &server.port else { return };
    let namespace = gateway.metadata.namespace.as_str();
    let mut server = server.clone();
    for host in &mut server.hosts {
        *host = match host.split_once('/') {
            Some((".", h)) => format!("{namespace}/{h}"),
            Some(("*", h)) => h.to_owned(),
            _ => host.clone(),
        };
    }
    let protocol = Protocol::parse(&declared.protocol).unwrap_or(Protocol::Tcp);
    let bind = server.bind.parse().unwrap_or_else(|_| ctx.proxy.wildcard());
    let name = &gateway.metadata.name;
    let mut new = Bound {
        gateway: gateway.clone(),
        gateway_name: format!("{namespace}/{name}"),
        index,
        protocol,
        route: s(""),
        server,
    };
    let suffix = if new.server.bind.is_empty() { String::new() } else { format!(".{}", new.server.bind) };
    if new.is_plain_http() {
        new.route = s(format!("http.{port}{suffix}"));
    } else if new.is_https() {
        new.route = s(format!("https.{}.{}.{name}.{namespace}{suffix}", new.number(), declared.name));
    }
    let path = format!("spec.servers[{index}]");
    let current = merged.ports.entry((bind, port)).or_default();
    if let Some(first) = current.first() {
        let together = (first.is_plain_http() && new.is_plain_http()) || (first.has_tls() && new.has_tls());
        if !together {
            ctx.report(
                Severity::Error,
                "gateway-port-conflict",
                gateway,
                &path,
                format!("port {port} is already {:?} by Gateway {}", first.protocol, first.gateway_name),
                "the server is left out, so its hosts are not served on this port",
            );
            return;
        }
        if new.has_tls() {
            // Two chains with the same name could not be told apart.
            let taken: HashSet<&str> = current.iter().flat_map(Bound::hosts).collect();
            if let Some(host) = new.hosts().find(|h| taken.contains(h)) {
                ctx.report(
                    Severity::Error,
                    "gateway-host-conflict",
                    gateway,
                    &path,
                    format!("host `{host}` is already served with TLS on port {port} by another server"),
                    "the server is left out; the older Gateway serves the host",
                );
                return;
            }
        }
    }
    current.push(new);
}
