//! From the bytes of a query to the bytes of its answer. Pure: where a name of the world outside has to be resolved, it says so.

use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::names::{Answer, View};

/// Seconds for which a name of the cluster may be remembered; as cluster DNS has it.
const TTL: u32 = 5;
/// What a resolver without EDNS takes.
const SMALLEST: usize = 512;

/// What comes of a query.
#[derive(Debug)]
pub enum Turn {
    /// The answer.
    Done(Vec<u8>),
    /// The answer, once a name has been resolved.
    Resolve(Box<Pending>),
}

/// An answer that waits for the addresses of a name outside.
#[derive(Debug)]
pub struct Pending {
    reply: Reply,
    /// To be resolved.
    name: String,
    /// Whose addresses they will be.
    owner: Name,
    /// The name stands behind one of the cluster's, which exists whatever the resolver says.
    is_alias: bool,
}

#[derive(Debug)]
struct Reply {
    message: Message,
    kind: RecordType,
    /// Longest answer; `None`: any.
    largest: Option<usize>,
}

/// Begins the answer to one message; `None` for what is no query.
pub fn begin(view: &View<'_>, bytes: &[u8], datagram: bool) -> Option<Turn> {
    let request = Message::from_vec(bytes).ok()?;
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut message = Message::response(request.metadata.id, request.metadata.op_code);
    message.metadata.recursion_desired = request.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    let taken = if request.edns.is_none() { SMALLEST } else { usize::from(request.max_payload()).max(SMALLEST) };
    let largest = datagram.then_some(taken);
    match (request.metadata.op_code, request.queries.first()) {
        (OpCode::Query, Some(query)) => {
            message.add_query(query.clone());
            let reply = Reply { message, kind: query.query_type(), largest };
            reply.answer(view, query.name())
        }
        _ => {
            message.metadata.response_code = ResponseCode::NotImp;
            Reply { message, kind: RecordType::ANY, largest }.done()
        }
    }
}

impl Pending {
    /// The name to resolve.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The answer, with what the resolver found; `None`: it failed.
    #[must_use]
    pub fn finish(mut self, resolved: Option<Vec<IpAddr>>) -> Option<Vec<u8>> {
        let metadata = &mut self.reply.message.metadata;
        match resolved {
            None if !self.is_alias => metadata.response_code = ResponseCode::ServFail,
            Some(addresses) if addresses.is_empty() && !self.is_alias => {
                metadata.response_code = ResponseCode::NXDomain;
            }
            // Pods have no way to IPv6 addresses outside, so none is told.
            addresses => {
                let addresses = addresses.unwrap_or_default().into_iter().filter(IpAddr::is_ipv4);
                self.reply.add_addresses(&self.owner, addresses);
            }
        }
        self.reply.encode()
    }
}

impl Reply {
    fn answer(mut self, view: &View<'_>, name: &Name) -> Option<Turn> {
        let text = name.to_ascii().to_lowercase();
        let text = text.trim_end_matches('.');
        let found = view.look_up(text);
        self.message.metadata.authoritative = !matches!(found, Answer::Outside);
        match found {
            Answer::Addresses(addresses) => self.add_addresses(name, addresses.into_iter().map(IpAddr::V4)),
            Answer::Alias(target) => {
                let Ok(alias) = Name::from_ascii(format!("{target}.")) else { return self.done() };
                self.add(name, RData::CNAME(CNAME(alias.clone())));
                match view.look_up(&target) {
                    Answer::Addresses(addresses) => self.add_addresses(&alias, addresses.into_iter().map(IpAddr::V4)),
                    _ => return self.resolve(target, alias, true),
                }
            }
            Answer::Ports(ports) if self.kind == RecordType::SRV => {
                for (port, target) in ports {
                    let Ok(target) = Name::from_ascii(format!("{target}.")) else { continue };
                    self.add(name, RData::SRV(SRV::new(0, 100, port, target)));
                }
            }
            Answer::Ports(_) => {}
            Answer::Pointer(target) => {
                if let (RecordType::PTR, Ok(target)) = (self.kind, Name::from_ascii(format!("{target}."))) {
                    self.add(name, RData::PTR(PTR(target)));
                }
            }
            Answer::Nothing => self.message.metadata.response_code = ResponseCode::NXDomain,
            // The root has no addresses, and there is no name to ask the host's resolver for.
            Answer::Outside if text.is_empty() => {}
            // The host's resolver knows the addresses of a name that the cluster does not have, and nothing else of it.
            Answer::Outside if matches!(self.kind, RecordType::A | RecordType::AAAA) => {
                return self.resolve(text.to_owned(), name.clone(), false);
            }
            Answer::Outside => self.message.metadata.response_code = ResponseCode::NotImp,
        }
        self.done()
    }

    fn resolve(self, name: String, owner: Name, is_alias: bool) -> Option<Turn> {
        Some(Turn::Resolve(Box::new(Pending { reply: self, name, owner, is_alias })))
    }

    fn add(&mut self, name: &Name, data: RData) {
        self.message.add_answer(Record::from_rdata(name.clone(), TTL, data));
    }

    fn add_addresses(&mut self, name: &Name, addresses: impl Iterator<Item = IpAddr>) {
        for address in addresses {
            match (self.kind, address) {
                (RecordType::A, IpAddr::V4(v4)) => self.add(name, RData::A(A(v4))),
                (RecordType::AAAA, IpAddr::V6(v6)) => self.add(name, RData::AAAA(AAAA(v6))),
                _ => {}
            }
        }
    }

    fn done(self) -> Option<Turn> {
        self.encode().map(Turn::Done)
    }

    fn encode(self) -> Option<Vec<u8>> {
        let encoded = self.message.to_vec().ok()?;
        if self.largest.is_some_and(|largest| encoded.len() > largest) {
            return self.message.truncate().to_vec().ok();
        }
        Some(encoded)
    }
}

#[cfg(test)]
mod tests;
