//! Exec and attach: the streams of a command as channels of a WebSocket.
//!
//! A binary message's first byte names the channel: 0 standard input, 1 output, 2 error, 3 the outcome as a `Status`, 4 the size of the
//! terminal; in version 5 of the protocol 255 closes the channel that the next byte names.
//! <https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/4006-transition-spdy-to-websockets>

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::node::{ExecSession, NodeError};

use super::Socket;

/// Protocols spoken, in order of preference.
pub(crate) const PROTOCOLS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const OUTCOME: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;
const BUFFER: usize = 32 << 10;
/// Messages waiting for the client; a slow one slows the command.
const QUEUE: usize = 16;
/// How long output may still come after the command has ended: a child of its own may hold the pipe open for ever.
const LINGER: Duration = Duration::from_secs(2);

/// Joins a command's streams with a client until the command ends or the client goes away.
pub(crate) async fn run(socket: Socket, mut session: ExecSession) {
    let (mut sink, mut stream) = socket.split();
    let (messages, mut queue) = mpsc::channel::<Message>(QUEUE);
    let mut pumps = JoinSet::new();
    if let Some(stdout) = session.stdout.take() {
        pumps.spawn(pump(STDOUT, stdout, messages.clone()));
    }
    if let Some(stderr) = session.stderr.take() {
        pumps.spawn(pump(STDERR, stderr, messages.clone()));
    }
    let (mut stdin, resize) = (session.stdin.take(), session.resize.take());
    let sending = async move {
        while let Some(message) = queue.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _ = sink.send(end()).await;
    };
    let receiving = async {
        while let Some(Ok(message)) = stream.next().await {
            match message {
                Message::Binary(data) => receive(&data, &mut stdin, resize.as_ref()).await,
                Message::Close(_) => return,
                _ => {}
            }
        }
    };
    let finishing = async move {
        let code = session.exit.await.ok();
        let drained = async { while pumps.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LINGER, drained).await;
        let _ = messages.send(on_channel(OUTCOME, outcome(code).to_string().as_bytes())).await;
    };
    tokio::pin!(sending);
    tokio::select! {
        () = receiving => {}
        () = &mut sending => {}
        () = finishing => sending.await,
    }
}

/// Tells why a command was not started.
pub(crate) async fn refuse(mut socket: Socket, error: &NodeError) {
    let status = json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "message": error.to_string(), "code": 500});
    let _ = socket.send(on_channel(OUTCOME, status.to_string().as_bytes())).await;
    let _ = socket.send(end()).await;
}

/// kubectl takes a close without a code for an error.
fn end() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

fn on_channel(channel: u8, data: &[u8]) -> Message {
    let mut out = BytesMut::with_capacity(data.len() + 1);
    out.put_u8(channel);
    out.put_slice(data);
    Message::Binary(out.freeze())
}

async fn pump(channel: u8, mut from: impl AsyncRead + Unpin + Send, to: mpsc::Sender<Message>) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let data = buffer.get(..length).unwrap_or_default();
        if to.send(on_channel(channel, data)).await.is_err() {
            return;
        }
    }
}

async fn receive(
    data: &Bytes,
    stdin: &mut Option<Box<dyn AsyncWrite + Unpin + Send>>,
    resize: Option<&mpsc::Sender<(u16, u16)>>,
) {
    match data.split_first() {
        Some((&STDIN, input)) => {
            let Some(pipe) = stdin.as_mut() else { return };
            let written = async {
                pipe.write_all(input).await?;
                pipe.flush().await
            };
            if written.await.is_err() {
                // The command no longer reads; what it still writes matters.
                *stdin = None;
            }
        }
        Some((&CLOSE, [STDIN])) => {
            if let Some(mut pipe) = stdin.take() {
                let _ = pipe.shutdown().await;
            }
        }
        Some((&RESIZE, size)) => {
            let size: Value = serde_json::from_slice(size).unwrap_or_default();
            let number = |name: &str| size.get(name).and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
            if let (Some(columns), Some(rows), Some(resize)) = (number("Width"), number("Height"), resize) {
                // A size that comes too fast is superseded by the next.
                let _ = resize.try_send((columns, rows));
            }
        }
        _ => {}
    }
}

fn outcome(code: Option<i32>) -> Value {
    match code {
        Some(0) => json!({"metadata": {}, "status": "Success"}),
        Some(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "message": format!("command terminated with non-zero exit code: {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        None => {
            json!({"metadata": {}, "status": "Failure", "reason": "InternalError", "message": "the command's exit code is not known", "code": 500})
        }
    }
}
