//! Cluster DNS: names of Services and pods answered from what the cluster has, everything else by the host's resolver.
//!
//! It speaks UDP and TCP on the cluster's DNS address. It does not recurse itself and keeps no cache: inside names are always current, and outside
//! names are cached by the host.

mod names;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use crate::node::Node;
use names::{Answer, View};

/// Seconds for which a name of the cluster may be remembered; as cluster DNS has it.
const TTL: u32 = 5;
/// What a resolver without EDNS takes.
const SMALLEST: usize = 512;
/// Queries under way at one time.
const CONCURRENCY: usize = 512;
/// A resolver that keeps a TCP connection open without asking is let go.
const IDLE: Duration = Duration::from_secs(10);

/// The sockets of the server.
#[derive(Debug)]
pub(crate) struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

/// Opens the sockets on an address of the base namespace.
pub(crate) async fn listen(address: Ipv4Addr) -> io::Result<Sockets> {
    Ok(Sockets { udp: UdpSocket::bind((address, 53)).await?, tcp: TcpListener::bind((address, 53)).await? })
}

/// Serves until the runtime stops.
pub(crate) async fn run(node: Arc<Node>, sockets: Sockets) {
    let slots = Arc::new(Semaphore::new(CONCURRENCY));
    tokio::join!(
        datagrams(Arc::clone(&node), Arc::new(sockets.udp), Arc::clone(&slots)),
        connections(node, sockets.tcp, slots)
    );
}

async fn datagrams(node: Arc<Node>, socket: Arc<UdpSocket>, slots: Arc<Semaphore>) {
    let mut buffer = [0u8; 4096];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An answer that found nobody comes back as an error of the socket; the next query is another matter.
                tracing::debug!(%error, "a DNS query is not received");
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let query = buffer.get(..length).unwrap_or_default().to_vec();
        let (node, socket) = (Arc::clone(&node), Arc::clone(&socket));
        tokio::spawn(async move {
            if let Some(answer) = respond(&node, &query, true).await {
                // Who asks again gets another answer.
                drop(socket.send_to(&answer, from).await);
            }
            drop(slot);
        });
    }
}

async fn connections(node: Arc<Node>, listener: TcpListener, slots: Arc<Semaphore>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let node = Arc::clone(&node);
        tokio::spawn(async move {
            // However it ends, the connection is closed.
            drop(tokio::time::timeout(Duration::from_secs(60), connection(&node, stream)).await);
            drop(slot);
        });
    }
}

async fn connection(node: &Node, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let length = tokio::time::timeout(IDLE, stream.read_u16()).await??;
        let mut query = vec![0u8; usize::from(length)];
        stream.read_exact(&mut query).await?;
        let Some(answer) = respond(node, &query, false).await else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_u16(length).await?;
        stream.write_all(&answer).await?;
    }
}

/// Answers one message; `None` for what is no query.
async fn respond(node: &Node, bytes: &[u8], datagram: bool) -> Option<Vec<u8>> {
    let request = Message::from_vec(bytes).ok()?;
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    let largest =
        if datagram && request.edns.is_none() { SMALLEST } else { usize::from(request.max_payload()).max(SMALLEST) };
    match (request.metadata.op_code, request.queries.first()) {
        (OpCode::Query, Some(query)) => {
            response.add_query(query.clone());
            answer(node, query.name(), query.query_type(), &mut response).await;
        }
        _ => response.metadata.response_code = ResponseCode::NotImp,
    }
    let encoded = response.to_vec().ok()?;
    if datagram && encoded.len() > largest { response.truncate().to_vec().ok() } else { Some(encoded) }
}

async fn answer(node: &Node, name: &Name, kind: RecordType, response: &mut Message) {
    let text = name.to_ascii().to_lowercase();
    let text = text.trim_end_matches('.');
    let (services, slices) = (node.cluster.services.state(), node.cluster.endpoints.state());
    let view = View { services: &services, slices: &slices, host: node.config.host_ip() };
    let found = view.look_up(text);
    response.metadata.authoritative = !matches!(found, Answer::Outside);
    match found {
        Answer::Addresses(addresses) => add_addresses(response, name, kind, addresses.into_iter().map(IpAddr::V4)),
        Answer::Alias(target) => {
            let Ok(alias) = Name::from_ascii(format!("{target}.")) else { return };
            response.add_answer(Record::from_rdata(name.clone(), TTL, RData::CNAME(CNAME(alias.clone()))));
            let addresses = match view.look_up(&target) {
                Answer::Addresses(addresses) => addresses.into_iter().map(IpAddr::V4).collect(),
                _ => node.config.agent.resolve(&target).await.unwrap_or_default(),
            };
            add_addresses(response, &alias, kind, addresses.into_iter());
        }
        Answer::Ports(ports) => {
            for (port, target) in ports {
                let Ok(target) = Name::from_ascii(format!("{target}.")) else { continue };
                if kind == RecordType::SRV {
                    response.add_answer(Record::from_rdata(
                        name.clone(),
                        TTL,
                        RData::SRV(SRV::new(0, 100, port, target)),
                    ));
                }
            }
        }
        Answer::Pointer(target) => {
            if let (RecordType::PTR, Ok(target)) = (kind, Name::from_ascii(format!("{target}."))) {
                response.add_answer(Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(target))));
            }
        }
        Answer::Nothing => response.metadata.response_code = ResponseCode::NXDomain,
        Answer::Outside => outside(node, name, text, kind, response).await,
    }
}

fn add_addresses(response: &mut Message, name: &Name, kind: RecordType, addresses: impl Iterator<Item = IpAddr>) {
    for address in addresses {
        let data = match (kind, address) {
            (RecordType::A, IpAddr::V4(v4)) => RData::A(A(v4)),
            (RecordType::AAAA, IpAddr::V6(v6)) => RData::AAAA(AAAA(v6)),
            _ => continue,
        };
        response.add_answer(Record::from_rdata(name.clone(), TTL, data));
    }
}

/// A name that the cluster does not have: the host's resolver knows its addresses, and nothing else of it.
async fn outside(node: &Node, name: &Name, text: &str, kind: RecordType, response: &mut Message) {
    if !matches!(kind, RecordType::A | RecordType::AAAA) {
        response.metadata.response_code = ResponseCode::NotImp;
        return;
    }
    match node.config.agent.resolve(text).await {
        Ok(addresses) if addresses.is_empty() => response.metadata.response_code = ResponseCode::NXDomain,
        // Pods have no way to IPv6 addresses outside, so none is told.
        Ok(addresses) => add_addresses(response, name, kind, addresses.into_iter().filter(IpAddr::is_ipv4)),
        Err(error) => {
            tracing::debug!(name = text, %error, "the host does not resolve a name");
            response.metadata.response_code = ResponseCode::ServFail;
        }
    }
}
