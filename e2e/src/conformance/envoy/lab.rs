//! The network that the cases were recorded in: a node that routes between pods and stands for kube-proxy, and four pods.
//!
//! Addresses are those that the cases, the registry and the application's versions speak of.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use varka_sys::link::{Links, Via, index_of};
use varka_sys::nft::{SidecarRules, apply_sidecar_rules};

use super::app::Application;
use super::place::Place;

/// Address of the node, as every pod reaches it.
pub(crate) const HUB: Ipv4Addr = Ipv4Addr::new(169, 254, 77, 1);
/// User of sidecars, whose connections are not intercepted.
pub(crate) const SIDECAR_USER: u32 = 1337;
/// Pods whose traffic a sidecar intercepts.
pub(crate) const SIDECARS: [&str; 3] = ["web", "other", "was"];
/// Port on which the application speaks first, and not HTTP.
pub(crate) const GREETING: u16 = 9001;
/// Port on which the application echoes what is not HTTP.
pub(crate) const ECHO: u16 = 9000;
const BRIDGE: &str = "pods";
const HARDWARE: [u8; 6] = [0x02, 0, 0, 0, 0x77, 0x01];

/// A pod's name, its addresses, and the ports that its application listens on.
const PODS: [(&str, &[Ipv4Addr], &[u16]); 5] = [
    ("web", &[ip(11)], &[80]),
    ("other", &[ip(31)], &[]),
    ("was", &[ip(21), ip(22), ip(23), ip(24)], &[8080, 8081, 8082, 8083, ECHO, GREETING]),
    ("ext", &[ip(50), ip(51)], &[8080, 80, ECHO]),
    // A proxy at the edge, where a case has one.
    ("edge", &[ip(41)], &[]),
];

/// What kube-proxy does for those who have no sidecar.
const SERVICES: &str = "table ip kube {
  chain prerouting { type nat hook prerouting priority -100;
    ip daddr 10.96.0.10 tcp dport 8080 dnat to 10.77.0.21:8080
    ip daddr 10.96.0.20 tcp dport 80 dnat to 10.77.0.11:80
    ip daddr 10.96.1.0/24 dnat to 10.77.0.21
  }
}
";

const fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}

/// The node, the pods, and the application in them.
#[derive(Debug)]
pub(crate) struct Lab {
    /// The node.
    pub hub: Place,
    /// What the pods' applications saw.
    pub application: Application,
    pods: Vec<(&'static str, Place)>,
}

impl Lab {
    /// A lab of its own: any number of them stand side by side.
    pub(crate) async fn new() -> Result<Self> {
        let hub = Place::new("hub")?;
        hub.run(async { node() }).await?;
        let application = Application::default();
        let mut pods = Vec::new();
        for (name, addresses, ports) in PODS {
            let pod = Place::new(name)?;
            let namespace = pod.namespace().try_clone()?;
            hub.run(async move { attach(name, addresses, &namespace) }).await?;
            pod.run(async move { inside(name, addresses) }).await.with_context(|| format!("pod {name}"))?;
            for port in ports {
                let application = application.clone();
                pod.run(async move { application.listen(*port).await }).await?;
            }
            pods.push((name, pod));
        }
        Ok(Self { hub, application, pods })
    }

    /// The namespace of a pod.
    pub(crate) fn pod(&self, name: &str) -> Result<&Place> {
        self.pods.iter().find(|(n, _)| *n == name).map(|(_, place)| place).with_context(|| format!("no pod {name}"))
    }
}

/// The node's own interfaces and rules.
fn node() -> Result<()> {
    setting("ip_forward", "1")?;
    // Pods must not learn a shorter way, past the translation of addresses.
    setting("conf/all/send_redirects", "0")?;
    setting("conf/default/send_redirects", "0")?;
    let links = Links::open()?;
    links.up(index_of("lo")?)?;
    links.add_bridge(BRIDGE, HARDWARE)?;
    links.add_address(index_of(BRIDGE)?, HUB, 32)?;
    nft(SERVICES)
}

fn setting(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/net/ipv4/{name}");
    std::fs::write(&path, value).with_context(|| format!("cannot set {path}"))
}

fn nft(rules: &str) -> Result<()> {
    let mut child =
        Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().context("nft (nftables) is needed")?;
    child.stdin.take().context("no standard input")?.write_all(rules.as_bytes())?;
    ensure!(child.wait()?.success(), "nft refuses the rules of Services");
    Ok(())
}

/// A pod's side of the node.
fn attach(name: &str, addresses: &[Ipv4Addr], namespace: &std::os::fd::OwnedFd) -> Result<()> {
    let links = Links::open()?;
    let bridge = index_of(BRIDGE)?;
    links.add_veth(&format!("pod-{name}"), bridge, "eth0", namespace)?;
    for address in addresses {
        links.add_route(bridge, *address, 32, Via::Link)?;
    }
    Ok(())
}

/// The pod's own side.
fn inside(name: &str, addresses: &[Ipv4Addr]) -> Result<()> {
    let links = Links::open()?;
    let eth0 = index_of("eth0")?;
    links.up(index_of("lo")?)?;
    for address in addresses {
        links.add_address(eth0, *address, 32)?;
    }
    links.up(eth0)?;
    links.add_route(eth0, Ipv4Addr::UNSPECIFIED, 0, Via::Gateway(HUB))?;
    if SIDECARS.contains(&name) {
        // Port 22 is left alone as Istio's init step leaves it.
        let mut rules = SidecarRules { uid: Some(SIDECAR_USER), ..SidecarRules::default() };
        rules.exclude_inbound_ports.push(22);
        apply_sidecar_rules(&rules)?;
    }
    Ok(())
}
