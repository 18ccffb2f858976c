//! The little of netlink that links, addresses, routes and nftables share: attributes, messages, and a socket that waits for the verdict.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// Why the kernel did not take a netlink request.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket could not be opened or used.
    #[error("netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// The kernel refused one message of the request.
    #[error("the kernel refused {what}: {source}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The request is larger than a netlink socket takes.
    #[error("{what} is too large for one request ({bytes} bytes)")]
    TooLarge {
        /// What was asked for.
        what: &'static str,
        /// Its size.
        bytes: usize,
    },
}

impl NetlinkError {
    /// The kernel's error number, where it refused.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Socket(source) | Self::Refused { source, .. } => source.raw_os_error(),
            Self::TooLarge { .. } => None,
        }
    }
}

pub(crate) const REQUEST: u16 = 1;
pub(crate) const ACK: u16 = 4;
pub(crate) const EXCLUSIVE: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const APPEND: u16 = 0x800;
const NESTED: u16 = 0x8000;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;

/// Bytes of attributes in the making.
#[derive(Debug, Default, Clone)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Appends one attribute of raw bytes, padded to four.
    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn string(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// A 32-bit number in network order, as nftables wants it.
    pub(crate) fn be32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A 32-bit number in the machine's order, as the routing family wants it.
    pub(crate) fn ne32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    pub(crate) fn nest(self, kind: u16, inner: &Self) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

/// One or more messages that go to the kernel in one send.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    what: Vec<&'static str>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Appends a message: its family header and attributes. `what` names it in an error.
    pub(crate) fn push(
        &mut self,
        what: &'static str,
        kind: u16,
        flags: u16,
        family_header: &[u8],
        attributes: &Attributes,
    ) {
        let payload = family_header.len().next_multiple_of(4) + attributes.as_slice().len();
        let length = u32::try_from(HEADER + payload).unwrap_or(u32::MAX);
        // Sequence numbers are positions in `what`, from 1.
        self.what.push(what);
        let sequence = u32::try_from(self.what.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(family_header);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes.extend_from_slice(attributes.as_slice());
    }

    fn name(&self, sequence: u32) -> &'static str {
        let at = usize::try_from(sequence).unwrap_or(0).wrapping_sub(1);
        self.what.get(at).copied().unwrap_or("the request")
    }
}

/// A netlink socket of the network namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    pub(crate) fn open(protocol: SockProtocol) -> Result<Self, NetlinkError> {
        let open = || -> nix::Result<OwnedFd> {
            let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
            // The kernel answers at once; a lost answer must not hang the caller.
            setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(5))?;
            setsockopt(&fd, sockopt::SndBuf, &(1 << 20))?;
            setsockopt(&fd, sockopt::RcvBuf, &(1 << 20))?;
            Ok(fd)
        };
        open().map(Self).map_err(|e| NetlinkError::Socket(e.into()))
    }

    /// Sends the batch and waits for the kernel's answer to message number `last`, which must ask for one. The first refusal is the result.
    pub(crate) fn request(&self, batch: &Batch, last: u32) -> Result<(), NetlinkError> {
        match send(self.0.as_raw_fd(), &batch.bytes, MsgFlags::empty()) {
            Ok(_) => {}
            Err(nix::Error::EMSGSIZE) => {
                return Err(NetlinkError::TooLarge { what: batch.name(last), bytes: batch.bytes.len() });
            }
            Err(error) => return Err(NetlinkError::Socket(error.into())),
        }
        let mut buffer = vec![0u8; 1 << 16];
        let mut refused = None;
        loop {
            let count = match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(nix::Error::EINTR) => continue,
                other => other.map_err(|e| NetlinkError::Socket(e.into()))?,
            };
            for answer in answers(buffer.get(..count).unwrap_or_default()) {
                if let Some(errno) = answer.errno.filter(|e| *e != 0) {
                    let source = io::Error::from_raw_os_error(errno);
                    refused.get_or_insert(NetlinkError::Refused { what: batch.name(answer.sequence), source });
                }
                if answer.sequence == last || answer.sequence == 0 {
                    return refused.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Sends one message and waits for its answer.
    pub(crate) fn one(
        &self,
        what: &'static str,
        kind: u16,
        flags: u16,
        header: &[u8],
        attributes: &Attributes,
    ) -> Result<(), NetlinkError> {
        let mut batch = Batch::new();
        batch.push(what, kind, flags | ACK, header, attributes);
        self.request(&batch, 1)
    }
}

struct Answer {
    sequence: u32,
    errno: Option<i32>,
}

fn answers(mut bytes: &[u8]) -> Vec<Answer> {
    let mut found = Vec::new();
    let word = |bytes: &[u8], at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes);
    while let (Some(length), Some(kind), Some(sequence)) = (word(bytes, 0), word(bytes, 4), word(bytes, 8)) {
        let kind = u16::try_from(kind & 0xffff).unwrap_or(0);
        if kind == ERROR || kind == DONE {
            let code = word(bytes, HEADER).map(|code| code.cast_signed().wrapping_neg());
            found.push(Answer { sequence, errno: code });
        }
        let step = usize::try_from(length).unwrap_or(usize::MAX).max(HEADER).next_multiple_of(4);
        bytes = bytes.get(step..).unwrap_or_default();
    }
    found
}
