//! Streams of pods: `log`, `exec`, `attach`, `portforward`. Checks what is asked for and hands it to the node.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::node::{ExecOptions, LogOptions, Node, NodeError, PodRef};
use crate::object::{self, at, list_at, str_at};
use crate::respond::{self, Body};
use crate::server;
use crate::status::Status;
use crate::stream;

use super::Call;

/// Names the container that is meant where none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

fn node(call: &Call) -> Result<Arc<dyn Node>, Status> {
    server::get(&call.server.node).ok_or_else(|| {
        Status::new(
            503,
            "ServiceUnavailable",
            "no pod runtime is attached to this server, so there are no streams of pods",
        )
    })
}

fn pod_ref(pod: &Value) -> PodRef {
    PodRef {
        namespace: object::namespace(pod).to_owned(),
        name: object::name(pod).to_owned(),
        uid: object::uid(pod).to_owned(),
    }
}

fn refused(error: &NodeError) -> Status {
    match error {
        NodeError::NotFound(message) => Status::new(404, "NotFound", message.clone()),
        NodeError::NotReady(message) => Status::bad_request(message.clone()),
        NodeError::Failed(_) | NodeError::Io(_) => Status::internal(error.to_string()),
    }
}

/// The container that the call means.
fn container(call: &Call, pod: &Value) -> Result<String, Status> {
    let named = call.query.get("container");
    let names =
        |list: &str| -> Vec<&str> { list_at(pod, &["spec", list]).iter().map(|c| str_at(c, &["name"])).collect() };
    let (main, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    let pod_name = object::name(pod);
    if !named.is_empty() {
        if main.iter().chain(&init).chain(&ephemeral).any(|c| *c == named) {
            return Ok(named.to_owned());
        }
        return Err(Status::bad_request(format!("container {named} is not valid for pod {pod_name}")));
    }
    let default = at(pod, &["metadata", "annotations"]).and_then(|a| a.get(DEFAULT_CONTAINER)).and_then(Value::as_str);
    match (main.as_slice(), default) {
        (_, Some(default)) if main.contains(&default) => Ok(default.to_owned()),
        ([one], _) => Ok((*one).to_owned()),
        _ => {
            let init = if init.is_empty() {
                String::new()
            } else {
                format!(" or one of the init containers: [{}]", init.join(" "))
            };
            let message = format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]{init}",
                main.join(" ")
            );
            Err(Status::bad_request(message))
        }
    }
}

/// Streams a container's log.
pub(crate) async fn log(call: &Call) -> Result<Response<Body>, Status> {
    let pod = call.object()?;
    let positive = |name: &str| call.query.number(name).and_then(|n| u64::try_from(n).ok());
    let since_time = call.query.get("sinceTime");
    let since = match (call.query.number("sinceSeconds"), since_time) {
        (Some(seconds), _) => Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)).ok(),
        (None, "") => None,
        (None, text) => Some(
            text.parse().map_err(|_| Status::bad_request(format!("sinceTime \"{text}\" is not an RFC 3339 time")))?,
        ),
    };
    let options = LogOptions {
        container: container(call, &pod.value)?,
        follow: call.query.flag("follow"),
        previous: call.query.flag("previous"),
        tail_lines: positive("tailLines"),
        since,
        timestamps: call.query.flag("timestamps"),
        limit_bytes: positive("limitBytes"),
    };
    let log = node(call)?.logs(pod_ref(&pod.value), options).await.map_err(|e| refused(&e))?;
    let mut stop = call.server.stop.subscribe();
    let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
    let log = log.inspect_err(|error| tracing::warn!(%error, "a log ends early"));
    // A body cannot carry an error as text; the log ends where it fails.
    let frames = log.take_until(stopped).take_while(|part| std::future::ready(part.is_ok()));
    let frames =
        frames.filter_map(|part| std::future::ready(part.ok())).map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    Ok(respond::with_type(200, "text/plain", StreamBody::new(frames).boxed_unsync()))
}

/// Runs a command in a container, or attaches to it.
pub(crate) async fn exec(
    call: &Call,
    name: &str,
    upgrade: hyper::upgrade::OnUpgrade,
) -> Result<Response<Body>, Status> {
    let pod = call.object()?;
    let options = ExecOptions {
        container: container(call, &pod.value)?,
        command: call.query.all("command").map(str::to_owned).collect(),
        stdin: call.query.flag("stdin"),
        stdout: call.query.flag("stdout"),
        stderr: call.query.flag("stderr") && !call.query.flag("tty"),
        tty: call.query.flag("tty"),
    };
    if name == "exec" && options.command.is_empty() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    if !options.stdin && !options.stdout && !options.stderr {
        return Err(Status::bad_request("you must specify at least one of stdin, stdout, stderr"));
    }
    let protocol = stream::negotiate(&call.headers, stream::exec::PROTOCOLS)?;
    let response = stream::switch(&call.headers, protocol)?;
    let node = node(call)?;
    let started = if name == "exec" {
        node.exec(pod_ref(&pod.value), options)
    } else {
        node.attach(pod_ref(&pod.value), options)
    };
    let mut stop = call.server.stop.subscribe();
    tokio::spawn(async move {
        let Some(socket) = stream::socket(upgrade).await else { return };
        // A refusal is told over the stream: kubectl takes an answer other than a switch for a server without WebSocket.
        let streaming = async {
            match started.await {
                Ok(session) => stream::exec::run(socket, session).await,
                Err(error) => stream::exec::refuse(socket, &error).await,
            }
        };
        tokio::select! {
            () = streaming => {}
            () = async { drop(stop.wait_for(|stop| *stop).await) } => {}
        }
    });
    Ok(response)
}

/// Forwards connections to ports of a pod.
pub(crate) fn port_forward(call: &Call, upgrade: hyper::upgrade::OnUpgrade) -> Result<Response<Body>, Status> {
    let pod = call.object()?;
    if str_at(&pod.value, &["status", "phase"]) != "Running" {
        let phase = str_at(&pod.value, &["status", "phase"]);
        return Err(Status::bad_request(format!(
            "unable to forward port because pod is not running. Current status={phase}"
        )));
    }
    let protocol = stream::negotiate(&call.headers, &[stream::forward::PROTOCOL, stream::channels::PROTOCOL])?;
    let by_channels = protocol == stream::channels::PROTOCOL;
    let ports = if by_channels { stream::channels::ports(call.query.all("ports"))? } else { Vec::new() };
    let response = stream::switch(&call.headers, protocol)?;
    let (node, pod) = (node(call)?, pod_ref(&pod.value));
    let mut stop = call.server.stop.subscribe();
    tokio::spawn(async move {
        let Some(socket) = stream::socket(upgrade).await else { return };
        let forwarding = async {
            if by_channels {
                stream::channels::run(socket, node, pod, ports).await;
            } else {
                stream::forward::run(socket, node, pod).await;
            }
        };
        tokio::select! {
            () = forwarding => {}
            () = async { drop(stop.wait_for(|stop| *stop).await) } => {}
        }
    });
    Ok(response)
}
