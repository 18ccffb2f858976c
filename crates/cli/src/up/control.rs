//! The control socket: answers `varka status` and `varka shell`, and obeys `varka down`.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Pod as ApiPod, Service};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use tokio::net::{TcpStream, UnixListener};
use tokio::sync::watch;

use super::{DNS, progress, relay, system};
use crate::control::{Addresses, Listening, Pod, ShellInfo, Sidecar, Status};
use crate::state::State;

/// Everything an answer is made from.
#[derive(Clone)]
pub(super) struct Control {
    pub(super) client: Client,
    pub(super) listening: Listening,
    pub(super) place: Place,
    pub(super) stop: Arc<watch::Sender<bool>>,
}

/// Where the system's namespaces are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The process that holds them, by its number on the host.
    pub(super) pid: u32,
    /// They belong to a user namespace of their own.
    pub(super) rootless: bool,
}

/// One proxy in the control plane's `/debug/syncz`.
#[derive(Debug, Deserialize)]
struct Synced {
    namespace: String,
    pod: String,
    version: String,
    synced: bool,
    #[serde(default)]
    nacks: Vec<Nack>,
}

#[derive(Debug, Deserialize)]
struct Nack {
    kind: String,
    name: String,
    message: String,
}

impl Control {
    /// Serves the socket, in the background.
    pub(super) fn listen(&self, state: &State) -> anyhow::Result<()> {
        let path = state.socket();
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let control = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let control = control.clone();
                let service = service_fn(move |request| {
                    let control = control.clone();
                    async move { Ok::<_, Infallible>(control.answer(&request).await) }
                });
                // A client that goes away mid-way loses its own answer only.
                tokio::spawn(async move {
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
                });
            }
        });
        Ok(())
    }

    async fn answer(&self, request: &Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        let result = match (request.method(), request.uri().path()) {
            (&Method::GET, "/status") => self.status().await.and_then(|s| Ok(serde_json::to_vec(&s)?)),
            (&Method::GET, "/shell") => self.shell().await.and_then(|s| Ok(serde_json::to_vec(&s)?)),
            (&Method::POST, "/stop") => {
                self.stop.send_replace(true);
                Ok(Vec::new())
            }
            _ => Err(anyhow::anyhow!("this version has no {} {}", request.method(), request.uri().path())),
        };
        let (status, body) = match result {
            Ok(body) => (StatusCode::OK, body),
            Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{e:#}").into_bytes()),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response
    }

    async fn status(&self) -> anyhow::Result<Status> {
        let pods: Api<ApiPod> = Api::all(self.client.clone());
        let pods = pods.list(&ListParams::default()).await?;
        // Without a control plane every sidecar goes on with what it has; that it is not in sync is what there is to say.
        let synced = self.synced(&pods.items).await.unwrap_or_default();
        let pods: Vec<_> = pods.items.iter().map(|p| pod(p, &synced)).collect();
        let ready = !pods.is_empty()
            && pods.iter().all(|p| p.ready && p.sidecar.as_ref().is_none_or(|s| s.synced && s.nacks.is_empty()));
        let addresses = Addresses {
            api: format!("https://{}", self.listening.api),
            ingress: format!("https://{}", self.listening.https),
            console: None,
        };
        Ok(Status { ready, addresses, pods })
    }

    async fn synced(&self, pods: &[ApiPod]) -> anyhow::Result<Vec<Synced>> {
        let mut all = Vec::new();
        let replicas = pods
            .iter()
            .filter(|p| p.labels().get("app").map(String::as_str) == Some("istiod") && progress::is_ready(p));
        for pod in replicas {
            let address = pod.status.as_ref().and_then(|s| s.pod_ip.as_deref()).context("no address")?;
            let address = SocketAddr::new(address.parse()?, 15014);
            all.extend(
                tokio::time::timeout(Duration::from_secs(2), get::<Vec<Synced>>(address, "/debug/syncz")).await??,
            );
        }
        Ok(all)
    }

    async fn shell(&self) -> anyhow::Result<ShellInfo> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), relay::INGRESS.0);
        let ingress = services.get(relay::INGRESS.1).await.context("the ingress has no Service")?;
        let address: IpAddr =
            ingress.spec.and_then(|s| s.cluster_ip).context("the ingress has no address yet")?.parse()?;
        let hosts = system::public_hosts(&self.client).await?.into_iter().map(|h| (h, address)).collect();
        let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(self.client.clone(), "istio-system");
        let root = maps
            .get("istio-ca-root-cert")
            .await
            .ok()
            .and_then(|m| m.data)
            .and_then(|d| d.get("root-cert.pem").cloned());
        Ok(ShellInfo {
            pid: self.place.pid,
            rootless: self.place.rootless,
            hosts,
            dns: DNS.into(),
            ca: root.unwrap_or_default(),
        })
    }
}

fn pod(pod: &ApiPod, synced: &[Synced]) -> Pod {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let is_proxy = |c: &k8s_openapi::api::core::v1::Container| {
        c.name == "istio-proxy" || c.args.iter().flatten().next().map(String::as_str) == Some("proxy")
    };
    let spec = pod.spec.as_ref();
    let has_proxy = spec.is_some_and(|s| s.containers.iter().chain(s.init_containers.iter().flatten()).any(is_proxy));
    let sidecar = has_proxy.then(|| match synced.iter().find(|s| s.namespace == namespace && s.pod == name) {
        None => Sidecar::default(),
        Some(s) => Sidecar {
            version: s.version.clone(),
            synced: s.synced,
            nacks: s.nacks.iter().map(|n| format!("{} {}: {}", n.kind, n.name, n.message)).collect(),
        },
    });
    Pod { ready: progress::is_ready(pod), namespace, name, sidecar }
}

async fn get<T: for<'de> Deserialize<'de>>(address: SocketAddr, path: &str) -> anyhow::Result<T> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", address.to_string()).body(Full::<Bytes>::default())?;
    let body = Limited::new(sender.send_request(request).await?.into_body(), 16 << 20);
    let body = body.collect().await.map_err(|e| anyhow::anyhow!("{e}"))?.to_bytes();
    Ok(serde_json::from_slice(&body)?)
}
