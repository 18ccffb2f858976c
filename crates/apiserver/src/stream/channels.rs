//! Port-forward in channels, as client libraries speak it (kube-rs, the JavaScript client): one connection for each port that is named in the
//! query, port N's data on channel 2N and its errors on 2N + 1. The first message of each channel names its port.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::Socket;
use crate::node::{Node, PodRef};
use crate::request::Query;
use crate::status::Status;

/// The subprotocol spoken.
pub(crate) const PROTOCOL: &str = "v4.channel.k8s.io";

const BUFFER: usize = 32 << 10;
/// Messages waiting for a peer; a slow one slows the others.
const QUEUE: usize = 16;
/// Channels are told apart by one byte, with two for each port.
const MAX_PORTS: usize = 127;

/// The ports that a client names.
pub(crate) fn ports(query: &Query) -> Result<Vec<u16>, Status> {
    let texts = query.all("ports").flat_map(|text| text.split(','));
    let ports: Result<Vec<u16>, _> = texts.map(str::parse).collect();
    match ports {
        Ok(ports) if (1..=MAX_PORTS).contains(&ports.len()) && !ports.contains(&0) => Ok(ports),
        _ => Err(Status::bad_request(format!("query parameter \"ports\" must name 1 to {MAX_PORTS} ports"))),
    }
}

/// Serves a client until it goes away or all of its ports have ended.
pub(crate) async fn run(socket: Socket, node: Arc<dyn Node>, pod: PodRef, ports: Vec<u16>) {
    let (mut sink, mut stream) = socket.split();
    let (out, mut queue) = mpsc::channel::<Bytes>(QUEUE);
    let mut inputs: HashMap<u8, mpsc::Sender<Bytes>> = HashMap::new();
    let mut connections = JoinSet::new();
    for (channel, port) in (0_u8..).step_by(2).zip(ports) {
        let (input, received) = mpsc::channel(QUEUE);
        inputs.insert(channel, input);
        let connection = Connection { channel, port, out: out.clone() };
        connections.spawn(connection.run(Arc::clone(&node), pod.clone(), received));
    }
    drop(out);
    let sending = async move {
        // Ends with the last connection.
        while let Some(message) = queue.recv().await {
            if sink.send(Message::Binary(message)).await.is_err() {
                return;
            }
        }
        let _ = sink.close().await;
    };
    let receiving = async {
        while let Some(Ok(message)) = stream.next().await {
            match message {
                Message::Binary(data) => {
                    let Some((channel, data)) = data.split_first().map(|(c, _)| (*c, data.slice(1..))) else { continue };
                    // What a pod does not take any more is nobody's.
                    if let Some(input) = inputs.get(&channel) {
                        let _ = input.send(data).await;
                    }
                }
                Message::Close(_) => return,
                _ => {}
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = receiving => {}
    }
}

struct Connection {
    channel: u8,
    port: u16,
    out: mpsc::Sender<Bytes>,
}

impl Connection {
    async fn run(self, node: Arc<dyn Node>, pod: PodRef, mut received: mpsc::Receiver<Bytes>) {
        let errors = self.channel + 1;
        for channel in [self.channel, errors] {
            self.send(channel, &self.port.to_le_bytes()).await;
        }
        let target = match node.port_forward(pod.clone(), self.port).await {
            Ok(target) => target,
            Err(error) => {
                let why = format!("error forwarding port {} to pod {}: {error}", self.port, pod.name);
                self.send(errors, why.as_bytes()).await;
                return;
            }
        };
        let (mut reader, mut writer) = tokio::io::split(target);
        let upward = async {
            while let Some(data) = received.recv().await {
                if writer.write_all(&data).await.is_err() {
                    return;
                }
            }
        };
        let downward = async {
            let mut buffer = vec![0; BUFFER];
            while let Ok(length @ 1..) = reader.read(&mut buffer).await {
                self.send(self.channel, buffer.get(..length).unwrap_or_default()).await;
            }
        };
        // There is no end of one direction alone.
        tokio::select! {
            () = upward => {}
            () = downward => {}
        }
    }

    async fn send(&self, channel: u8, data: &[u8]) {
        let mut message = BytesMut::with_capacity(data.len() + 1);
        message.put_u8(channel);
        message.put_slice(data);
        let _ = self.out.send(message.freeze()).await;
    }
}
