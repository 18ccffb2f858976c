//! One HTTPS request to a webhook: to a Service of this server, or to a URL.

use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::node::Duplex;
use crate::object::{at, list_at, str_at};
use crate::server::MAX_BODY;
use crate::store::Key;
use crate::verbs::Call;

use super::{DialError, ServiceTarget, dialer};

/// Why a webhook gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("Post \"{url}\": {source}")]
    Dial { url: String, source: DialError },
    #[error("clientConfig.url \"{0}\" is not an https URL with a host")]
    Url(String),
    #[error("clientConfig.caBundle holds no certificate; without one the webhook at \"{0}\" cannot be trusted")]
    NoBundle(String),
    #[error("Post \"{url}\": tls: {source}")]
    Tls { url: String, source: std::io::Error },
    #[error("TLS: {0}")]
    Config(#[from] rustls::Error),
    #[error("Post \"{url}\": {source}")]
    Http { url: String, source: hyper::Error },
    #[error("Post \"{url}\": the server answered {status}")]
    Status { url: String, status: http::StatusCode },
    #[error("Post \"{url}\": the answer is no JSON or longer than {MAX_BODY} bytes")]
    Body { url: String },
}

/// Where a webhook is.
struct Target {
    url: String,
    host: String,
    path: String,
    stream: Box<dyn Duplex>,
}

/// Sends a review and reads the answer.
pub(super) async fn call(call: &Call, hook: &Value, review: &Value) -> Result<Value, CallError> {
    let target = connect(call, hook).await?;
    let url = target.url.clone();
    let bundle = at(hook, &["clientConfig", "caBundle"]).and_then(Value::as_str).unwrap_or_default();
    let roots = roots(bundle, &url)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(target.host.clone()).map_err(|_| CallError::Url(url.clone()))?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream =
        connector.connect(name, target.stream).await.map_err(|source| CallError::Tls { url: url.clone(), source })?;
    let http = |source| CallError::Http { url: url.clone(), source };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    let request = Request::post(&target.path)
        .header(header::HOST, &target.host)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(Full::new(Bytes::from(review.to_string())))
        .map_err(|_| CallError::Url(url.clone()))?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(http)?;
        let status = response.status();
        if !status.is_success() {
            return Err(CallError::Status { url: url.clone(), status });
        }
        let body = Limited::new(response.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(|_| CallError::Body { url: url.clone() })?;
        serde_json::from_slice(&body.to_bytes()).map_err(|_| CallError::Body { url: url.clone() })
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // The connection may end right after the answer has come.
        _ = connection => exchange.await,
    }
}

fn roots(bundle: &str, url: &str) -> Result<RootCertStore, CallError> {
    let mut roots = RootCertStore::empty();
    let pem = base64::engine::general_purpose::STANDARD.decode(bundle.replace(['\n', '\r'], "")).unwrap_or_default();
    for certificate in CertificateDer::pem_slice_iter(&pem).flatten() {
        roots.add(certificate)?;
    }
    if roots.is_empty() { Err(CallError::NoBundle(url.to_owned())) } else { Ok(roots) }
}

async fn connect(call: &Call, hook: &Value) -> Result<Target, CallError> {
    let Some(service) = at(hook, &["clientConfig", "service"]) else {
        return connect_url(str_at(hook, &["clientConfig", "url"])).await;
    };
    let port = service.get("port").and_then(Value::as_u64).and_then(|p| u16::try_from(p).ok()).unwrap_or(443);
    let target = ServiceTarget {
        namespace: str_at(service, &["namespace"]).to_owned(),
        name: str_at(service, &["name"]).to_owned(),
        port,
    };
    let host = format!("{}.{}.svc", target.name, target.namespace);
    let path = match str_at(service, &["path"]) {
        "" => "/".to_owned(),
        path => path.to_owned(),
    };
    let url = format!("https://{host}:{port}{path}");
    let stream = match dialer(call) {
        Some(dialer) => dialer.dial(target).await,
        None => dial_endpoint(call, &target).await,
    };
    let stream = stream.map_err(|source| CallError::Dial { url: url.clone(), source })?;
    Ok(Target { url, host, path, stream })
}

async fn connect_url(url: &str) -> Result<Target, CallError> {
    let bad = || CallError::Url(url.to_owned());
    let parsed: http::Uri = url.parse().map_err(|_| bad())?;
    if parsed.scheme_str() != Some("https") {
        return Err(bad());
    }
    let host = parsed.host().ok_or_else(bad)?.to_owned();
    let address = (host.trim_matches(['[', ']']).to_owned(), parsed.port_u16().unwrap_or(443));
    let stream =
        TcpStream::connect(address).await.map_err(|e| CallError::Dial { url: url.to_owned(), source: e.into() })?;
    let path = parsed.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    Ok(Target { url: url.to_owned(), host: host.trim_matches(['[', ']']).to_owned(), path, stream: Box::new(stream) })
}

/// Connects to the first ready endpoint of a Service that accepts.
async fn dial_endpoint(call: &Call, target: &ServiceTarget) -> Result<Box<dyn Duplex>, DialError> {
    let name = format!("{}/{}", target.namespace, target.name);
    let store = &call.server.store;
    let service = store.get(&Key::new("services", &target.namespace, &target.name));
    let service = service.ok_or_else(|| DialError::NoService(name.clone()))?;
    let port = list_at(&service.value, &["spec", "ports"])
        .iter()
        .find(|p| p.get("port").and_then(Value::as_u64) == Some(u64::from(target.port)));
    let port_name = port.map(|p| str_at(p, &["name"]).to_owned()).ok_or_else(|| DialError::NoService(name.clone()))?;
    let (_, slices) = store.list("endpointslices.discovery.k8s.io", Some(&target.namespace));
    let mut last = DialError::NoEndpoints(name);
    for slice in
        slices.iter().filter(|s| crate::object::label(&s.value, "kubernetes.io/service-name") == Some(&target.name))
    {
        let port = list_at(&slice.value, &["ports"]).iter().find(|p| str_at(p, &["name"]) == port_name);
        let Some(port) = port.and_then(|p| p.get("port")?.as_u64()).and_then(|p| u16::try_from(p).ok()) else {
            continue;
        };
        for endpoint in list_at(&slice.value, &["endpoints"]) {
            if at(endpoint, &["conditions", "ready"]) == Some(&Value::Bool(false)) {
                continue;
            }
            for address in list_at(endpoint, &["addresses"]).iter().filter_map(Value::as_str) {
                match TcpStream::connect((address, port)).await {
                    Ok(stream) => return Ok(Box::new(stream)),
                    Err(error) => last = error.into(),
                }
            }
        }
    }
    Err(last)
}
