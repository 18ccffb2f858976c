//! A server alone, for trying kubectl against it: `cargo run --example serve -- STATE_DIR [PORT]`. Writes STATE_DIR/kubeconfig.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use varka_apiserver::{ApiServer, Config};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let data_dir: std::path::PathBuf = args.next().unwrap_or_else(|| "state".to_owned()).into();
    let port = args.next().map_or(Ok(6443), |p| p.parse::<u16>())?;
    let config = Config {
        data_dir: data_dir.clone(),
        service_cidr: ([10, 96, 0, 0].into(), 16),
        advertise: Vec::new(),
        version: "dev".to_owned(),
    };
    let server = ApiServer::open(config).await?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let kubeconfig = server.admin_kubeconfig(&format!("https://{}", listener.local_addr()?));
    let path = data_dir.join("kubeconfig");
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?
        .write_all(kubeconfig.as_bytes())?;
    let serving = tokio::spawn({
        let server = server.clone();
        async move { server.serve(listener).await }
    });
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    serving.await??;
    Ok(())
}
