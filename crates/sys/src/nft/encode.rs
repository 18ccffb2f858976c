//! Expressions, rules, chains and tables in nftables' netlink form (`linux/netfilter/nf_tables.h`), as far as they are used here.

use std::net::Ipv4Addr;

use nix::sys::socket::SockProtocol;

use super::Network;
use crate::netlink::{ACK, APPEND, Attributes, Batch, CREATE, NetlinkError, Socket};

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = SUBSYSTEM;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const IPV4: u8 = 2;

const VERDICT_REGISTER: u32 = 0;
const REGISTER_1: u32 = 1;
const REGISTER_2: u32 = 2;

const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_SKUID: u32 = 10;
const META_L4PROTO: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

/// Where a base chain is attached.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hook {
    Prerouting = 0,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// Expressions of one rule, in their order of evaluation.
#[derive(Debug, Default, Clone)]
pub(super) struct Rule(Attributes);

impl Rule {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn expression(self, name: &str, data: &Attributes) -> Self {
        let body = Attributes::new().string(1, name).nest(2, data);
        Self(self.0.nest(1, &body))
    }

    fn meta(self, key: u32) -> Self {
        self.expression("meta", &Attributes::new().be32(2, key).be32(1, REGISTER_1))
    }

    fn payload(self, base: u32, offset: u32, length: u32) -> Self {
        self.expression("payload", &Attributes::new().be32(1, REGISTER_1).be32(2, base).be32(3, offset).be32(4, length))
    }

    fn compare(self, equal: bool, value: &[u8]) -> Self {
        let value = Attributes::new().bytes(1, value);
        self.expression("cmp", &Attributes::new().be32(1, REGISTER_1).be32(2, u32::from(!equal)).nest(3, &value))
    }

    fn mask(self, mask: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).unwrap_or(0);
        let zeros = vec![0; mask.len()];
        let data = Attributes::new()
            .be32(1, REGISTER_1)
            .be32(2, REGISTER_1)
            .be32(3, length)
            .nest(4, &Attributes::new().bytes(1, mask))
            .nest(5, &Attributes::new().bytes(1, &zeros));
        self.expression("bitwise", &data)
    }

    fn load(self, register: u32, value: &[u8]) -> Self {
        self.expression("immediate", &Attributes::new().be32(1, register).nest(2, &Attributes::new().bytes(1, value)))
    }

    pub(super) fn tcp(self) -> Self {
        self.protocol(6)
    }

    pub(super) fn protocol(self, number: u8) -> Self {
        self.meta(META_L4PROTO).compare(true, &[number])
    }

    pub(super) fn mark(self, mark: u32) -> Self {
        self.meta(META_MARK).compare(true, &mark.to_ne_bytes())
    }

    pub(super) fn uid(self, equal: bool, uid: u32) -> Self {
        self.meta(META_SKUID).compare(equal, &uid.to_ne_bytes())
    }

    pub(super) fn mark_is_not(self, mark: u32) -> Self {
        self.meta(META_MARK).compare(false, &mark.to_ne_bytes())
    }

    fn interface(self, key: u32, name: &str) -> Self {
        let mut padded = name.as_bytes().to_vec();
        padded.resize(16, 0);
        self.meta(key).compare(true, &padded)
    }

    pub(super) fn in_interface(self, name: &str) -> Self {
        self.interface(META_IIFNAME, name)
    }

    pub(super) fn out_interface(self, name: &str) -> Self {
        self.interface(META_OIFNAME, name)
    }

    fn address(self, offset: u32, equal: bool, network: Network) -> Self {
        let (address, prefix) = network;
        let loaded = self.payload(NETWORK_HEADER, offset, 4);
        let mask = u32::MAX.checked_shl(32u32.saturating_sub(u32::from(prefix))).unwrap_or(0);
        let masked = if prefix >= 32 { loaded } else { loaded.mask(&mask.to_be_bytes()) };
        masked.compare(equal, &(u32::from(address) & mask).to_be_bytes())
    }

    pub(super) fn source(self, address: Ipv4Addr) -> Self {
        self.address(12, true, (address, 32))
    }

    pub(super) fn destination(self, equal: bool, network: Network) -> Self {
        self.address(16, equal, network)
    }

    pub(super) fn destination_port(self, equal: bool, port: u16) -> Self {
        self.payload(TRANSPORT_HEADER, 2, 2).compare(equal, &port.to_be_bytes())
    }

    /// One packet in `of` goes on, at random.
    pub(super) fn one_in(self, of: u32) -> Self {
        const RANDOM: u32 = 1;
        self.expression("numgen", &Attributes::new().be32(1, REGISTER_1).be32(2, of).be32(3, RANDOM))
            .compare(true, &0u32.to_ne_bytes())
    }

    fn verdict(self, code: i32, chain: Option<&str>) -> Self {
        let mut verdict = Attributes::new().be32(1, code.cast_unsigned());
        if let Some(chain) = chain {
            verdict = verdict.string(2, chain);
        }
        let data = Attributes::new().nest(2, &verdict);
        self.expression("immediate", &Attributes::new().be32(1, VERDICT_REGISTER).nest(2, &data))
    }

    /// Leaves the chain.
    pub(super) fn leave(self) -> Self {
        self.verdict(-5, None)
    }

    pub(super) fn goto(self, chain: &str) -> Self {
        self.verdict(-4, Some(chain))
    }

    pub(super) fn redirect(self, port: u16) -> Self {
        self.load(REGISTER_1, &port.to_be_bytes()).expression("redir", &Attributes::new().be32(1, REGISTER_1))
    }

    pub(super) fn dnat(self, address: Ipv4Addr, port: u16) -> Self {
        const DNAT: u32 = 1;
        let data = Attributes::new().be32(1, DNAT).be32(2, u32::from(IPV4)).be32(3, REGISTER_1).be32(5, REGISTER_2);
        self.load(REGISTER_1, &address.octets()).load(REGISTER_2, &port.to_be_bytes()).expression("nat", &data)
    }

    pub(super) fn masquerade(self) -> Self {
        self.expression("masq", &Attributes::new())
    }

    /// Answers TCP with a reset.
    pub(super) fn reset(self) -> Self {
        const TCP_RESET: u32 = 1;
        self.expression("reject", &Attributes::new().be32(1, TCP_RESET).bytes(2, &[0]))
    }

    /// Answers with ICMP "port unreachable".
    pub(super) fn unreachable(self) -> Self {
        const ICMP_UNREACHABLE: u32 = 0;
        const PORT: u8 = 3;
        self.expression("reject", &Attributes::new().be32(1, ICMP_UNREACHABLE).bytes(2, &[PORT]))
    }
}

/// A whole table in the making; applying it replaces the one of the same name.
#[derive(Debug)]
pub(super) struct Table {
    name: &'static str,
    batch: Batch,
    messages: u32,
}

impl Table {
    pub(super) fn replacing(name: &'static str) -> Self {
        let mut table = Self { name, batch: Batch::new(), messages: 0 };
        // In a batch header the last two bytes name the subsystem.
        table.batch.push("the transaction", BATCH_BEGIN, 0, &[0, 0, 0, 10], &Attributes::new());
        table.messages = 1;
        let named = Attributes::new().string(1, name);
        // Making it first lets the removal succeed where there was none.
        table.message("a table", NEW_TABLE, CREATE, &named);
        table.message("removing a table", DELETE_TABLE, 0, &named);
        table.message("a table", NEW_TABLE, CREATE, &named);
        table
    }

    fn message(&mut self, what: &'static str, kind: u16, flags: u16, attributes: &Attributes) {
        self.batch.push(what, kind, flags, &[IPV4, 0, 0, 0], attributes);
        self.messages = self.messages.saturating_add(1);
    }

    pub(super) fn base_chain(&mut self, name: &str, kind: &str, hook: Hook, priority: i32) {
        const ACCEPT: u32 = 1;
        let at = Attributes::new().be32(1, hook as u32).be32(2, priority.cast_unsigned());
        let attributes =
            Attributes::new().string(1, self.name).string(3, name).nest(4, &at).be32(5, ACCEPT).string(7, kind);
        self.message("a chain", NEW_CHAIN, CREATE, &attributes);
    }

    pub(super) fn chain(&mut self, name: &str) {
        let attributes = Attributes::new().string(1, self.name).string(3, name);
        self.message("a chain", NEW_CHAIN, CREATE, &attributes);
    }

    pub(super) fn rule(&mut self, chain: &str, rule: &Rule) {
        let attributes = Attributes::new().string(1, self.name).string(2, chain).nest(4, &rule.0);
        self.message("a rule", NEW_RULE, CREATE | APPEND, &attributes);
    }

    pub(super) fn apply(mut self) -> Result<(), NetlinkError> {
        // Errors come for every message, success only where it is asked for: a last, empty change asks.
        let named = Attributes::new().string(1, self.name);
        self.message("a table", NEW_TABLE, CREATE | ACK, &named);
        let last = self.messages;
        self.batch.push("the transaction", BATCH_END, 0, &[0, 0, 0, 10], &Attributes::new());
        Socket::open(SockProtocol::NetlinkNetFilter)?.request(&self.batch, last)
    }
}
