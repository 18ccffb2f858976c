//! Port-forward: SPDY streams inside a WebSocket, one pair of streams (data and error) for each connection of the client.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::node::{Node, PodRef};

use super::Socket;
use super::spdy::{self, Codec, FIN, Frame, SpdyError};

/// The subprotocol spoken.
pub(crate) const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";

const BUFFER: usize = 32 << 10;
/// Frames waiting for a peer; a slow one slows the other.
const QUEUE: usize = 16;
/// Connections at a time through one port-forward.
const MAX_STREAMS: usize = 512;

/// One forwarded connection, as the reader of frames sees it.
struct Stream {
    /// What the client sent; `None` is the end of it.
    input: mpsc::Sender<Option<Bytes>>,
}

struct Session {
    node: Arc<dyn Node>,
    pod: PodRef,
    codec: Codec,
    out: mpsc::Sender<Bytes>,
    /// Error streams by request, waiting for their data stream.
    errors: HashMap<String, u32>,
    streams: HashMap<u32, Stream>,
    tasks: JoinSet<u32>,
}

/// Serves a client until it goes away.
pub(crate) async fn run(socket: Socket, node: Arc<dyn Node>, pod: PodRef) {
    let (mut sink, mut stream) = socket.split();
    let (out, mut queue) = mpsc::channel::<Bytes>(QUEUE);
    let Ok(codec) = Codec::new() else { return };
    let mut session =
        Session { node, pod, codec, out, errors: HashMap::new(), streams: HashMap::new(), tasks: JoinSet::new() };
    let sending = async move {
        while let Some(frame) = queue.recv().await {
            if sink.send(Message::Binary(frame)).await.is_err() {
                return;
            }
        }
    };
    let receiving = async {
        loop {
            tokio::select! {
                message = stream.next() => match message {
                    Some(Ok(Message::Binary(data))) => {
                        if let Err(error) = session.receive(&data).await {
                            tracing::debug!(%error, "port-forward: the client does not speak SPDY/3.1");
                            return;
                        }
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                },
                Some(ended) = session.tasks.join_next() => {
                    if let Ok(stream) = ended {
                        session.streams.remove(&stream);
                    }
                }
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = receiving => {}
    }
}

impl Session {
    async fn receive(&mut self, bytes: &[u8]) -> Result<(), SpdyError> {
        self.codec.feed(bytes);
        while let Some(frame) = self.codec.next_frame()? {
            match frame {
                Frame::SynStream { stream, headers, .. } => self.open(stream, &headers).await?,
                Frame::Data { stream, data, fin } => {
                    // Data of a stream that has ended, or of an error stream, is nobody's.
                    if let Some(stream) = self.streams.get(&stream) {
                        if !data.is_empty() {
                            let _ = stream.input.send(Some(data)).await;
                        }
                        if fin {
                            let _ = stream.input.send(None).await;
                        }
                    }
                }
                Frame::Reset { stream } => drop(self.streams.remove(&stream)),
                Frame::Ping(body) => self.send(spdy::pong(&body)).await,
                Frame::GoAway | Frame::Other => {}
            }
        }
        Ok(())
    }

    async fn send(&self, frame: Bytes) {
        let _ = self.out.send(frame).await;
    }

    async fn open(&mut self, stream: u32, headers: &[(String, String)]) -> Result<(), SpdyError> {
        let header =
            |name: &str| headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, v)| v.as_str());
        let reply = self.codec.reply(stream)?;
        self.send(reply).await;
        let request = header("requestid").to_owned();
        if header("streamtype") != "data" {
            if self.errors.len() < MAX_STREAMS {
                self.errors.insert(request, stream);
            }
            return Ok(());
        }
        let error = self.errors.remove(&request);
        let port = header("port").parse::<u16>();
        let (Ok(port), true) = (port, self.streams.len() < MAX_STREAMS) else {
            let why =
                format!("port \"{}\" is not a port, or there are more than {MAX_STREAMS} connections", header("port"));
            fail(&self.out, stream, error, &why).await;
            return Ok(());
        };
        let (input, received) = mpsc::channel(QUEUE);
        self.streams.insert(stream, Stream { input });
        let connection = Connection {
            node: Arc::clone(&self.node),
            pod: self.pod.clone(),
            port,
            stream,
            error,
            out: self.out.clone(),
        };
        self.tasks.spawn(connection.run(received));
        Ok(())
    }
}

/// Tells of an error and closes both streams.
async fn fail(out: &mpsc::Sender<Bytes>, stream: u32, error: Option<u32>, why: &str) {
    if let Some(error) = error {
        let _ = out.send(spdy::data(error, why.as_bytes(), FIN)).await;
    }
    let _ = out.send(spdy::data(stream, &[], FIN)).await;
}

struct Connection {
    node: Arc<dyn Node>,
    pod: PodRef,
    port: u16,
    stream: u32,
    error: Option<u32>,
    out: mpsc::Sender<Bytes>,
}

impl Connection {
    async fn run(self, mut received: mpsc::Receiver<Option<Bytes>>) -> u32 {
        let target = match self.node.port_forward(self.pod.clone(), self.port).await {
            Ok(target) => target,
            Err(error) => {
                let why = format!("error forwarding port {} to pod {}: {error}", self.port, self.pod.name);
                fail(&self.out, self.stream, self.error, &why).await;
                return self.stream;
            }
        };
        let (mut reader, mut writer) = tokio::io::split(target);
        let upward = async {
            while let Some(input) = received.recv().await {
                match input {
                    Some(data) if writer.write_all(&data).await.is_ok() => {}
                    Some(_) => return,
                    None => break,
                }
            }
            let _ = writer.shutdown().await;
        };
        let downward = async {
            let mut buffer = vec![0; BUFFER];
            while let Ok(length @ 1..) = reader.read(&mut buffer).await {
                let data = buffer.get(..length).unwrap_or_default();
                if self.out.send(spdy::data(self.stream, data, 0)).await.is_err() {
                    return;
                }
            }
        };
        // What the pod says to its end is waited for, what the client says after that is not.
        tokio::pin!(upward, downward);
        tokio::select! {
            () = &mut downward => {}
            () = &mut upward => downward.await,
        }
        let _ = self.out.send(spdy::data(self.stream, &[], FIN)).await;
        if let Some(error) = self.error {
            let _ = self.out.send(spdy::data(error, &[], FIN)).await;
        }
        self.stream
    }
}
