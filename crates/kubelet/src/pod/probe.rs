//! Asking a container whether it has started, is ready, is alive: HTTP, TCP, gRPC, or a command in it.

mod ask;
mod schedule;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::container::Handle;
use crate::init::protocol::Run;

pub(crate) use ask::http;
pub(crate) use schedule::{Schedule, Verdict};

/// What a probe asks.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: Ipv4Addr,
    pub(crate) container: Arc<Handle>,
    /// How a command runs in the container: its environment and directory.
    pub(crate) run: Run,
    pub(crate) ports: Vec<(String, u16)>,
}

impl Target {
    pub(crate) fn new(address: Ipv4Addr, container: Arc<Handle>, run: Run, spec: &Container) -> Self {
        let named = |p: &k8s_openapi::api::core::v1::ContainerPort| {
            Some((p.name.clone()?, u16::try_from(p.container_port).ok()?))
        };
        Self { address, container, run, ports: spec.ports.iter().flatten().filter_map(named).collect() }
    }

    /// A port by number or by its name in the container.
    pub(crate) fn port(&self, port: &IntOrString) -> Result<u16, String> {
        match port {
            IntOrString::Int(number) => u16::try_from(*number).map_err(|_| format!("port {number} is none")),
            IntOrString::String(name) => {
                let found = self.ports.iter().find(|(known, _)| known == name).map(|(_, port)| *port);
                found.or_else(|| name.parse().ok()).ok_or_else(|| format!("the container has no port named \"{name}\""))
            }
        }
    }
}

/// Asks once. The error is what to tell people.
pub(crate) async fn ask(target: &Target, probe: &Probe) -> Result<(), String> {
    let limit = Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1));
    match tokio::time::timeout(limit, ask::once(target, probe)).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(format!("no answer within {} s", limit.as_secs())),
    }
}

/// Runs a command in the container and gives its exit code and the beginning of its output.
pub(crate) async fn command(target: &Target, command: &[String]) -> Result<(i32, String), String> {
    ask::command(target, command).await
}
