//! Finds the console and asks it: by its URL, or through the Kubernetes API as `kubectl port-forward` does.
//!
//! A console that wants to know who looks is shown the kubeconfig's token, if it is found through that kubeconfig's cluster.
//! Every question has a connection of its own. What is wrong is said with what to do about it; answers that refuse are errors in
//! the words of whoever refused.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args as ClapArgs;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ListParams;
use kube::client::{Body, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use tower::{Layer as _, ServiceExt as _};
use varka_console::client::{self, Question, Stream, Url, encode};
use varka_console::dashboard::Credentials;

use crate::state::State;
use crate::up::is_ready;

/// Namespace and name of the console's Service.
const NAMESPACE: &str = "istio-system";
const SERVICE: &str = "kiali";
/// What to do where no cluster is known.
const ELSEWHERE: &str = "One that was started with --state DIR is named with --state DIR, another cluster with --kubeconfig FILE, a console by itself with --console URL";
/// An answer takes at most so long,
const WITHIN: Duration = Duration::from_secs(30);
/// and is at most so big.
const LARGEST: usize = 64 << 20;

/// How the console is reached.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Reach {
    /// URL of the console [default: the Service kiali in istio-system, through the Kubernetes API].
    #[arg(long, value_name = "URL", conflicts_with_all = ["kubeconfig", "context", "state"])]
    pub(crate) console: Option<String>,
    /// Kubeconfig [default: $KUBECONFIG, else ~/.kube/config, else that of the system that runs on this machine].
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// State directory of the system on this machine that is meant, as `varka up --state DIR` was told.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["kubeconfig", "context"])]
    pub(crate) state: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one].
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// A console that was found.
pub(crate) struct Console {
    place: Place,
    /// For one that asks who looks.
    credentials: Option<Credentials>,
}

#[derive(Debug)]
enum Place {
    Url(Url),
    Pod { pods: Box<Api<Pod>>, name: String, port: u16 },
}

/// A connection, and why it ended where the other side says so.
pub(crate) struct Opened {
    pub(crate) stream: Box<dyn Stream>,
    why: BoxFuture<'static, Option<String>>,
}

/// Runs what asks the console, on this thread.
pub(crate) fn block_on<T>(asking: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    crate::mesh::install_crypto();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(asking)
}

impl Console {
    /// Finds it.
    pub(crate) async fn find(reach: &Reach) -> anyhow::Result<Self> {
        if let Some(url) = &reach.console {
            return Ok(Self { place: Place::Url(url.parse()?), credentials: None });
        }
        let config = config(reach).await?;
        let found = Self::in_cluster(Client::try_from(config.clone())?).await?;
        Ok(Self { credentials: credentials(&config)?, ..found })
    }

    /// Finds that of a cluster.
    pub(crate) async fn in_cluster(client: Client) -> anyhow::Result<Self> {
        let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
        let service = services.get_opt(SERVICE).await.map_err(explain)?.with_context(|| {
            format!(
                "there is no console: the cluster has no Service {SERVICE} in {NAMESPACE}; `varka up` starts one, and one that is elsewhere is named with --console URL"
            )
        })?;
        let spec = service.spec.unwrap_or_default();
        let selector: Vec<String> = spec.selector.iter().flatten().map(|(k, v)| format!("{k}={v}")).collect();
        if selector.is_empty() {
            bail!("the Service {SERVICE} in {NAMESPACE} selects no pods: name the console with --console URL");
        }
        let pods: Api<Pod> = Api::namespaced(client, NAMESPACE);
        let found = pods.list(&ListParams::default().labels(&selector.join(","))).await.map_err(explain)?;
        let pod = found.items.into_iter().find(is_ready).with_context(|| {
            format!(
                "the console is not ready: no pod of the Service {SERVICE} in {NAMESPACE} is; `kubectl get pods -n {NAMESPACE}` says how they do"
            )
        })?;
        let port = spec.ports.into_iter().flatten().next().context("the console's Service has no port")?;
        let number = match port.target_port {
            Some(IntOrString::Int(number)) => u16::try_from(number).ok(),
            Some(IntOrString::String(name)) => named(&pod, &name),
            None => u16::try_from(port.port).ok(),
        };
        let port = number.context("the port of the console's Service is none of its pod's")?;
        Ok(Self { place: Place::Pod { name: pod.name_any(), pods: Box::new(pods), port }, credentials: None })
    }

    /// A connection to it.
    pub(crate) async fn open(&self) -> anyhow::Result<Opened> {
        match &self.place {
            Place::Url(url) => {
                let stream = url.open().await.map_err(|e| {
                    anyhow!(e)
                        .context("there is no console where --console says (that of a cluster is found without it)")
                })?;
                Ok(Opened { stream, why: std::future::ready(None).boxed() })
            }
            Place::Pod { pods, name, port } => {
                let mut forwarder = pods.portforward(name, &[*port]).await.map_err(explain)?;
                let stream = forwarder.take_stream(*port).context("the port-forward has no stream")?;
                let why = forwarder.take_error(*port).context("the port-forward has no channel for errors")?;
                Ok(Opened { stream: Box::new(stream), why: why.boxed() })
            }
        }
    }

    /// What it answers to a question, as JSON.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let asking = async {
            let response = self.begin(path, query).await?;
            let status = response.status();
            let body = client::whole(response, LARGEST, || self.name()).await?;
            read(&body).filter(|_| status.is_success()).ok_or_else(|| self.refused(status, &body))
        };
        let answer = tokio::time::timeout(WITHIN, asking).await;
        answer.with_context(|| format!("{} does not answer within {WITHIN:?}", self.name()))?
    }

    /// Events that it tells as they come.
    pub(crate) async fn stream(&self, query: &[(&str, &str)]) -> anyhow::Result<Events> {
        let begun = tokio::time::timeout(WITHIN, self.begin("/console/api/stream", query)).await;
        let response = begun.with_context(|| format!("{} does not answer within {WITHIN:?}", self.name()))??;
        let status = response.status();
        if status.is_success() {
            return Ok(Events { body: response.into_body(), buffer: Vec::new() });
        }
        let body = client::whole(response, LARGEST, || self.name()).await?;
        Err(self.refused(status, &body))
    }

    async fn begin(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<http::Response<Incoming>> {
        let path = format!("{path}?{}", encode(query.iter().copied()));
        let response = self.ask(Question { path: &path, ..Question::default() }).await?;
        let (http::StatusCode::UNAUTHORIZED, Some(credentials)) = (response.status(), &self.credentials) else {
            return Ok(response);
        };
        let Some(shown) = credentials().await else { return Ok(response) };
        let authorization = shown.to_str().context("the kubeconfig's token is none")?;
        self.ask(Question { path: &path, authorization, ..Question::default() }).await
    }

    async fn ask(&self, question: Question<'_>) -> anyhow::Result<http::Response<Incoming>> {
        let Opened { stream, why } = self.open().await?;
        let begun = match &self.place {
            Place::Url(url) => url.begin(stream, &question).await,
            Place::Pod { .. } => client::begin(stream, "localhost", &question).await,
        };
        match begun {
            Ok(response) => Ok(response),
            Err(problem) => match why.now_or_never().flatten() {
                Some(why) => Err(anyhow!("{}: {}", self.name(), why.trim())),
                None => Err(anyhow!(problem).context(self.name())),
            },
        }
    }

    /// As people call it.
    fn name(&self) -> String {
        match &self.place {
            Place::Url(url) => format!("the console at {url}"),
            Place::Pod { name, .. } => format!("the console (pod {name} in {NAMESPACE})"),
        }
    }

    fn refused(&self, status: http::StatusCode, body: &[u8]) -> anyhow::Error {
        match read(body).as_ref().and_then(message) {
            Some(message) => anyhow!(message),
            None => anyhow!(
                "{} answers {status} and nothing that Varka's console would say: is it another program, or of another version?",
                self.name()
            ),
        }
    }
}

fn read(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

/// What a refusal says: the pages' interface, Prometheus' or Jaeger's.
fn message(body: &Value) -> Option<String> {
    let text = |path: &str| body.pointer(path)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let own = || Some(format!("{}. {}", text("/message")?.trim_end_matches('.'), text("/hint").unwrap_or_default()));
    let found = own().or_else(|| text("/error")).or_else(|| text("/errors/0/msg"));
    found.map(|message| message.trim().to_owned())
}

/// The number of a pod's port that goes by a name.
fn named(pod: &Pod, name: &str) -> Option<u16> {
    let containers = &pod.spec.as_ref()?.containers;
    let mut ports = containers.iter().flat_map(|container| container.ports.iter().flatten());
    ports.find(|port| port.name.as_deref() == Some(name)).and_then(|port| u16::try_from(port.container_port).ok())
}

/// The Kubernetes API that is meant, and who one is there.
pub(crate) async fn config(reach: &Reach) -> anyhow::Result<kube::Config> {
    let options = KubeConfigOptions { context: reach.context.clone(), ..KubeConfigOptions::default() };
    let kubeconfig = match (&reach.kubeconfig, &reach.state) {
        (Some(path), _) => Kubeconfig::read_from(path),
        (None, Some(dir)) => Kubeconfig::read_from(State::running(Some(dir.as_path()))?.kubeconfig()),
        (None, None) => match Kubeconfig::read() {
            // Nobody chose a cluster: one that runs here is meant.
            Err(_) if std::env::var_os("KUBECONFIG").is_none() => {
                let state = State::running(None).map_err(|nothing| anyhow!("{nothing}. {ELSEWHERE}"))?;
                Kubeconfig::read_from(state.kubeconfig())
            }
            read => read,
        },
    };
    let kubeconfig = kubeconfig.with_context(|| {
        format!("which cluster is meant is not known, since the kubeconfig cannot be read. {ELSEWHERE}")
    })?;
    kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.context("the kubeconfig cannot be used")
}

/// What the Kubernetes API is shown by a kubeconfig, refreshed where that is how it works; `None`: a client certificate, or nothing.
pub(crate) fn credentials(config: &kube::Config) -> anyhow::Result<Option<Credentials>> {
    let Some(layer) = config.auth_layer()? else { return Ok(None) };
    let shown = tower::service_fn(|request: http::Request<Body>| async move {
        let mut answer = http::Response::new(());
        answer.headers_mut().extend(request.headers().get(AUTHORIZATION).map(|shown| (AUTHORIZATION, shown.clone())));
        Ok::<_, tower::BoxError>(answer)
    });
    let service = layer.layer(shown);
    Ok(Some(Arc::new(move || {
        let asked = service.clone().oneshot(http::Request::new(Body::empty()));
        let asked: BoxFuture<'static, Result<http::Response<()>, tower::BoxError>> = asked.boxed();
        async move { asked.await.ok()?.headers_mut().remove(AUTHORIZATION) }.boxed()
    })))
}

/// What an error of the Kubernetes API means here.
fn explain(problem: kube::Error) -> anyhow::Error {
    let what = match &problem {
        kube::Error::Api(status) if status.code == 401 => {
            "the Kubernetes API does not know you: look at the user of the kubeconfig's context"
        }
        kube::Error::Api(status) if status.code == 403 => {
            "you may not reach the console through the Kubernetes API; it takes get of services, list of pods and create of pods/portforward in istio-system"
        }
        kube::Error::Api(_) => "the Kubernetes API refuses",
        _ => {
            "the Kubernetes API cannot be asked: does the cluster run, and is it the one that is meant? (--kubeconfig, --context)"
        }
    };
    anyhow!(problem).context(what)
}

/// Server-sent events.
#[derive(Debug)]
pub(crate) struct Events {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Events {
    /// The next event: its topic and what it says; `None`: the console ended the stream.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<(String, Value)>> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(event) = event(&String::from_utf8_lossy(&block)) {
                    return Ok(Some(event));
                }
            }
            if self.buffer.len() > LARGEST {
                bail!("the console tells an event of more than {LARGEST} bytes");
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.context("the connection to the console broke")?;
            self.buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        }
    }
}

/// Reads one block of a stream; `None`: a comment.
fn event(block: &str) -> Option<(String, Value)> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
    let data = serde_json::from_str(field("data:")?).ok()?;
    Some((field("event:").unwrap_or("message").to_owned(), data))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{event, message};

    #[test]
    fn events_are_read() {
        assert_eq!(event("id: 3\nevent: graph\ndata: {\"a\":1}\n\n"), Some(("graph".to_owned(), json!({"a": 1}))));
        assert_eq!(event(": alive\n\n"), None);
        assert_eq!(event("retry: 1000\n\n"), None);
    }

    #[test]
    fn refusals_are_told_in_the_words_of_whoever_refuses() {
        let own = json!({"code": "badRequest", "message": "at cannot be \"x\".", "hint": "It is a number."});
        assert_eq!(message(&own).unwrap(), "at cannot be \"x\". It is a number.");
        assert_eq!(message(&json!({"status": "error", "error": "parse error"})).unwrap(), "parse error");
        assert_eq!(message(&json!({"errors": [{"code": 404, "msg": "trace not found"}]})).unwrap(), "trace not found");
        assert_eq!(message(&json!({"a": 1})), None);
    }
}
