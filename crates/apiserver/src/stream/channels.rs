//! Port-forward over channels of a WebSocket, as kube-rs and older clients ask for it: the ports stand in the request, each is one connection.
//!
//! A binary message's first byte names the channel: twice the place of the port for its bytes, one more for what went wrong with it.
//! The first message on each channel holds the port, least significant byte first. There is no way to close one direction of a
//! connection: whoever has said everything closes the WebSocket.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::node::{Node, PodRef};
use crate::status::Status;

use super::Socket;

/// The subprotocol spoken.
pub(crate) const PROTOCOL: &str = "v4.channel.k8s.io";

const BUFFER: usize = 32 << 10;
/// Messages waiting for a peer; a slow one slows the other.
const QUEUE: usize = 16;
/// A byte names two channels for each.
const MAX_PORTS: usize = 127;

/// The ports that a request names, `ports=80,90` or one at a time.
pub(crate) fn ports<'q>(values: impl Iterator<Item = &'q str>) -> Result<Vec<u16>, Status> {
    let texts = values.flat_map(|value| value.split(',')).filter(|text| !text.is_empty());
    let ports: Vec<u16> = texts
        .map(|text| match text.parse() {
            Ok(port @ 1..) => Ok(port),
            _ => Err(Status::bad_request(format!("ports cannot hold {text:?}; ports are numbers from 1 to 65535"))),
        })
        .collect::<Result<_, _>>()?;
    if ports.is_empty() || ports.len() > MAX_PORTS {
        let why = format!("{} ports are named; over {PROTOCOL} from 1 to {MAX_PORTS} can be forwarded", ports.len());
        return Err(Status::bad_request(why));
    }
    Ok(ports)
}

/// Serves a client until it goes away or every connection has ended.
pub(crate) async fn run(socket: Socket, node: Arc<dyn Node>, pod: PodRef, ports: Vec<u16>) {
    let (mut sink, mut stream) = socket.split();
    let (out, mut queue) = mpsc::channel::<Message>(QUEUE);
    let mut connections = JoinSet::new();
    let mut inputs = Vec::new();
    for (channel, port) in (0_u8..).step_by(2).zip(ports) {
        let (input, received) = mpsc::channel(QUEUE);
        inputs.push(input);
        connections.spawn(carry(
            Arc::clone(&node),
            pod.clone(),
            port,
            Channel { number: channel, out: out.clone() },
            received,
        ));
    }
    drop(out);
    // The queue ends when the last connection has.
    let sending = async move {
        while let Some(message) = queue.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _ = sink.send(Message::Close(None)).await;
    };
    let receiving = async {
        while let Some(Ok(message)) = stream.next().await {
            let mut data = match message {
                Message::Binary(data) => data,
                Message::Close(_) => return,
                _ => continue,
            };
            if data.is_empty() {
                continue;
            }
            let channel = usize::from(data.split_to(1).first().copied().unwrap_or_default());
            // Nobody has anything to say of errors but the server.
            if channel % 2 == 0
                && !data.is_empty()
                && let Some(input) = inputs.get(channel / 2)
            {
                // A connection that has ended takes no more.
                let _ = input.send(data).await;
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = receiving => {}
    }
}

struct Channel {
    number: u8,
    out: mpsc::Sender<Message>,
}

impl Channel {
    /// `false`: the client is gone.
    async fn send(&self, number: u8, bytes: &[u8]) -> bool {
        let mut message = BytesMut::with_capacity(bytes.len() + 1);
        message.put_u8(number);
        message.put_slice(bytes);
        self.out.send(Message::Binary(message.freeze())).await.is_ok()
    }

    async fn data(&self, bytes: &[u8]) -> bool {
        self.send(self.number, bytes).await
    }

    async fn error(&self, why: &str) -> bool {
        self.send(self.number + 1, why.as_bytes()).await
    }
}

async fn carry(node: Arc<dyn Node>, pod: PodRef, port: u16, channel: Channel, mut received: mpsc::Receiver<Bytes>) {
    let named = port.to_le_bytes();
    if !channel.data(&named).await || !channel.send(channel.number + 1, &named).await {
        return;
    }
    let name = pod.name.clone();
    let target = match node.port_forward(pod, port).await {
        Ok(target) => target,
        Err(error) => {
            channel.error(&format!("error forwarding port {port} to pod {name}: {error}")).await;
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
            if !channel.data(buffer.get(..length).unwrap_or_default()).await {
                return;
            }
        }
    };
    // What the pod says is waited for to its end; a pod that takes no more may still speak.
    tokio::pin!(upward, downward);
    tokio::select! {
        () = &mut downward => {}
        () = &mut upward => downward.await,
    }
}

#[cfg(test)]
mod tests {
    use super::ports;

    #[test]
    fn ports_are_read_as_clients_write_them() {
        let read = |values: &[&str]| ports(values.iter().copied()).map_err(|_| ());
        assert_eq!(read(&["80,90"]), Ok(vec![80, 90]));
        assert_eq!(read(&["80", "90"]), Ok(vec![80, 90]));
        assert_eq!(read(&[]), Err(()));
        assert_eq!(read(&["0"]), Err(()));
        assert_eq!(read(&["http"]), Err(()));
        let many: Vec<String> = (1..=128).map(|port| port.to_string()).collect();
        assert_eq!(read(&[&many.join(",")]), Err(()));
    }
}
