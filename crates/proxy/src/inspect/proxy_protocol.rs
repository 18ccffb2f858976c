//! PROXY protocol headers, versions 1 and 2: whose connection it is, said by a load balancer in front of us.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Outcome of a look at the first bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Header {
    /// A whole header of so many bytes. `None`: it says nothing about addresses (`UNKNOWN`, `LOCAL`).
    Complete(usize, Option<(SocketAddr, SocketAddr)>),
    /// The beginning of one.
    Partial,
    /// Something else: the connection is refused, for it does not come through the balancer.
    Malformed,
}

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header of version 1, with its line end.
const MAX_V1: usize = 107;
/// Longest header of version 2 that is taken; TLVs beyond the addresses are passed over.
const MAX_V2: usize = 4096;

/// Looks at the first bytes of a connection: source and destination.
pub fn parse(bytes: &[u8]) -> Header {
    if bytes.starts_with(V2) {
        return version2(bytes);
    }
    if V2.starts_with(bytes) || b"PROXY ".starts_with(bytes) {
        return Header::Partial;
    }
    if !bytes.starts_with(b"PROXY ") {
        return Header::Malformed;
    }
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        return if bytes.len() < MAX_V1 { Header::Partial } else { Header::Malformed };
    };
    let line = bytes.get(..end).and_then(|l| l.strip_suffix(b"\r")).and_then(|l| std::str::from_utf8(l).ok());
    match line.filter(|_| end < MAX_V1) {
        Some(line) => version1(line, end + 1),
        None => Header::Malformed,
    }
}

fn version1(line: &str, len: usize) -> Header {
    let mut parts = line.split(' ').skip(1);
    let family = parts.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Header::Complete(len, None);
    }
    let mut ip = || parts.next().and_then(|p| p.parse::<IpAddr>().ok());
    let (source, destination) = (ip(), ip());
    let mut port = || parts.next().and_then(|p| p.parse::<u16>().ok());
    let ports = (port(), port());
    match (source, destination, ports, parts.next()) {
        (Some(s), Some(d), (Some(sp), Some(dp)), None)
            if s.is_ipv4() == (family == "TCP4") && d.is_ipv4() == s.is_ipv4() && matches!(family, "TCP4" | "TCP6") =>
        {
            Header::Complete(len, Some((SocketAddr::new(s, sp), SocketAddr::new(d, dp))))
        }
        _ => Header::Malformed,
    }
}

fn version2(bytes: &[u8]) -> Header {
    let Some([command, family, high, low]) = bytes.get(12..16) else { return Header::Partial };
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    if command >> 4 != 2 || len > MAX_V2 {
        return Header::Malformed;
    }
    let Some(body) = bytes.get(16..16 + len) else { return Header::Partial };
    let addresses = match (command & 0xf, family) {
        (0, _) => None,
        (1, 0x11) => match body {
            [a, b, c, d, e, f, g, h, sh, sl, dh, dl, ..] => Some((
                SocketAddr::new(Ipv4Addr::new(*a, *b, *c, *d).into(), u16::from_be_bytes([*sh, *sl])),
                SocketAddr::new(Ipv4Addr::new(*e, *f, *g, *h).into(), u16::from_be_bytes([*dh, *dl])),
            )),
            _ => return Header::Malformed,
        },
        (1, 0x21) => match (v6(body, 0), v6(body, 16), body.get(32..36)) {
            (Some(s), Some(d), Some([sh, sl, dh, dl])) => Some((
                SocketAddr::new(s.into(), u16::from_be_bytes([*sh, *sl])),
                SocketAddr::new(d.into(), u16::from_be_bytes([*dh, *dl])),
            )),
            _ => return Header::Malformed,
        },
        (1, _) => None,
        _ => return Header::Malformed,
    };
    Header::Complete(16 + len, addresses)
}

fn v6(body: &[u8], at: usize) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(body.get(at..at + 16)?).ok().map(Ipv6Addr::from)
}

#[cfg(test)]
mod tests;
