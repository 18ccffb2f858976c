//! What a sidecar's memory depends on: measured of a real process that a real control plane configures.
//!
//! Each measurement is a lab of its own (`conformance/envoy/lab.rs`): a mesh of so many Services, and one workload that sends
//! requests to the first few of them, by their addresses, through its sidecar.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::conformance::envoy::lab::Lab;
use crate::conformance::envoy::plane::{self, Setting};
use crate::conformance::envoy::{STATE, isolate};

const NAMESPACE: &str = "shop";
const PORT: u16 = 8080;
/// Who listens in the lab, in the pod that has no sidecar.
const APPLICATION: &str = "10.77.0.50";
/// Requests to each service.
const REQUESTS: usize = 20;
/// A large mesh takes its time to be written, and to be pushed to who wants it all.
const LIMIT: Duration = Duration::from_secs(600);

/// How a proxy comes by its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// It asks for what it needs, as sidecars do.
    Asks,
    /// Everything is pushed to it (`ON_DEMAND=false`).
    Told,
    /// A real Envoy, this program, which is told everything.
    Envoy(PathBuf),
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// In no file.
    pub anonymous: u64,
    /// Resident.
    pub resident: u64,
}

/// Memory of a sidecar that uses `used` services of a mesh of `services`.
///
/// # Errors
/// The lab does not come up, or a request is not answered.
pub fn memory(services: usize, used: usize, way: &Way) -> Result<Memory> {
    // A thread of its own, which leaves the mount namespace of the others.
    let measured = std::thread::scope(|scope| scope.spawn(|| apart(services, used, way)).join());
    measured.unwrap_or_else(|_| Err(anyhow::anyhow!("the measurement panicked")))
}

fn apart(services: usize, used: usize, way: &Way) -> Result<Memory> {
    // An error means that a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let varka = crate::binary()?;
    isolate()?;
    let workload = json!({
        "ip": "10.77.0.11", "namespace": NAMESPACE, "sa": "web", "labels": {"app": "web"}, "services": [],
    });
    let mesh = json!({"trustDomain": "cluster.local", "services": [], "workloads": {"web": workload}});
    let pushed = ("ON_DEMAND".to_owned(), "false".to_owned());
    let setting = Setting {
        mesh: serde_json::from_value(mesh)?,
        objects: (0..services).flat_map(objects).collect(),
        directory: Path::new(STATE).join("scale"),
        varka,
        envoy: if let Way::Envoy(program) = way { Some(program.clone()) } else { None },
        environment: (*way == Way::Told).then_some(pushed).into_iter().collect(),
        limit: Some(LIMIT),
        ..Setting::default()
    };
    std::fs::create_dir_all(&setting.directory)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(&setting, used))
}

async fn run(setting: &Setting, used: usize) -> Result<Memory> {
    let lab = Lab::new().await?;
    let running = plane::start(&lab, setting).await?;
    let web = lab.pod("web")?;
    for n in (0..used).cycle().take(used * REQUESTS) {
        web.run(async move { request(n).await }).await?;
    }
    let process = *running.processes().first().context("there is no sidecar")?;
    let process = if setting.envoy.is_some() { child(process)? } else { process };
    let measured = of(process);
    running.stop().await;
    measured
}

fn address(n: usize) -> Result<Ipv4Addr> {
    let (high, low) = (u8::try_from(1 + n / 250)?, u8::try_from(1 + n % 250)?);
    Ok(Ipv4Addr::new(10, 96, high, low))
}

fn objects(n: usize) -> [Value; 2] {
    let name = format!("service-{n}");
    let port = json!({"name": "http", "port": PORT, "targetPort": PORT});
    let address = address(n).map(|a| a.to_string()).unwrap_or_default();
    [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"clusterIP": address, "ports": [port]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": format!("{name}-1"), "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": name},
            },
            "endpoints": [{"addresses": [APPLICATION], "conditions": {"ready": true}}],
            "ports": [{"name": "http", "port": PORT, "protocol": "TCP"}],
        }),
    ]
}

/// One request to a service, on a connection of its own.
async fn request(n: usize) -> Result<()> {
    let mut stream = TcpStream::connect(SocketAddr::from((address(n)?, PORT))).await?;
    let head = format!("GET / HTTP/1.1\r\nhost: service-{n}.{NAMESPACE}:{PORT}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    // The application answers, and the sidecar was on the way.
    let answered = text.starts_with("HTTP/1.1 200") && text.contains("\r\nserver: envoy\r\n");
    ensure!(answered, "service {n}: {text}");
    Ok(())
}

/// The first child of a process.
fn child(of: u32) -> Result<u32> {
    let parent = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let processes = std::fs::read_dir("/proc")?.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
    processes.filter(|pid| parent(pid) == Some(of)).min().with_context(|| format!("process {of} has no child"))
}

fn of(process: u32) -> Result<Memory> {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let bytes = |name: &str| -> Result<u64> {
        let line = text.lines().find_map(|l| l.strip_prefix(name)).with_context(|| format!("no {name} in {text}"))?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
    };
    Ok(Memory { anonymous: bytes("Anonymous:")?, resident: bytes("Rss:")? })
}
