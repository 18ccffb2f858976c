//! The client's address and scheme, by X-Forwarded-For and X-Forwarded-Proto as far as these are to be believed.
//!
//! A sidecar (`use_remote_address: false`) believes the last entry and adds none; an edge adds the peer and believes the entries
//! of as many proxies as it was told to trust.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::facts::Connection;
use crate::ir::HttpConnectionManager;

#[cfg(test)]
mod tests;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");

/// What is to be believed of a client, and what is to be said of it upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The client's address; port 0 where it comes from a header.
    pub address: SocketAddr,
    /// Scheme of the request: `http` or `https`.
    pub scheme: &'static str,
    /// Address to append to X-Forwarded-For.
    append: Option<IpAddr>,
    /// X-Forwarded-Proto to set.
    set_proto: Option<&'static str>,
    /// `x-envoy-external-address` to set, at an edge.
    external: Option<IpAddr>,
}

/// Decides who the client is.
pub fn client(manager: &HttpConnectionManager, connection: &Connection<'_>, headers: &HeaderMap) -> Client {
    let own_scheme = if connection.is_tls() { "https" } else { "http" };
    let hops = usize::try_from(manager.xff_trusted_hops).unwrap_or(usize::MAX);
    let proto = headers.get(FORWARDED_PROTO);
    let from_header = match (manager.use_remote_address, hops.checked_sub(1)) {
        (true, Some(skip)) => entry(headers, skip),
        (true, None) => None,
        (false, _) => entry(headers, hops),
    };
    let address = from_header.map_or(connection.peer, |ip| SocketAddr::new(ip, 0));
    let untrusted = manager.use_remote_address && hops == 0;
    let set_proto = (untrusted || proto.is_none()).then_some(own_scheme);
    let append = (manager.use_remote_address && !manager.skip_xff_append).then(|| match connection.peer.ip() {
        ip if ip.is_loopback() => connection.local.ip(),
        ip => ip,
    });
    Client {
        address,
        scheme: set_proto.unwrap_or_else(|| match proto.map(HeaderValue::as_bytes) {
            Some(text) if text.eq_ignore_ascii_case(b"https") => "https",
            Some(text) if text.eq_ignore_ascii_case(b"http") => "http",
            _ => own_scheme,
        }),
        append,
        set_proto,
        external: manager.use_remote_address.then_some(address.ip()),
    }
}

/// Says upstream what was decided.
pub fn apply(client: &Client, headers: &mut HeaderMap) {
    if let Some(ip) = client.append {
        let mut text = joined(headers);
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&ip.to_string());
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(FORWARDED_FOR, value);
        }
    }
    if let Some(proto) = client.set_proto {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(proto));
    }
    if let Some(ip) = client.external
        && let Ok(value) = HeaderValue::try_from(ip.to_string())
    {
        headers.insert(EXTERNAL_ADDRESS, value);
    }
}

/// The entry of X-Forwarded-For that `skip` further ones follow, if it is an address.
fn entry(headers: &HeaderMap, skip: usize) -> Option<IpAddr> {
    let lines = headers.get_all(FORWARDED_FOR);
    let mut from_the_end = lines.iter().collect::<smallvec::SmallVec<[&HeaderValue; 2]>>();
    from_the_end.reverse();
    let mut entries = from_the_end.into_iter().flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    entries.nth(skip)?.trim().parse().ok()
}

/// All lines of X-Forwarded-For as one.
fn joined(headers: &HeaderMap) -> String {
    let mut out = String::new();
    for line in headers.get_all(FORWARDED_FOR) {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(line.to_str().unwrap_or_default());
    }
    out
}
