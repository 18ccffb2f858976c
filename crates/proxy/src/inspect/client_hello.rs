//! Server name and ALPN of a TLS ClientHello, from bytes that may be incomplete, split over records, or hostile.
//!
//! Only what a filter chain asks for is read (RFC 8446 4.1.2, RFC 6066 3, RFC 7301). Whether the hello is acceptable is
//! for the TLS library to say, which reads the same bytes again.

/// What a chain can ask for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// Server name, lower case.
    pub sni: Option<String>,
    /// Protocols offered, in the client's order.
    pub alpn: Vec<Vec<u8>>,
}

/// Outcome of a look at the first bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole ClientHello.
    Complete(Box<ClientHello>),
    /// The beginning of one.
    Partial,
    /// Something else.
    NotTls,
}

/// Longest handshake message that is put together.
const MAX_HELLO: usize = 32 * 1024;

/// Looks at the first bytes of a connection.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut hello = Vec::new();
    let mut rest = bytes;
    loop {
        match rest {
            [] => return Parsed::Partial,
            [0x16] | [0x16, 3] | [0x16, 3, _] | [0x16, 3, _, _] => return Parsed::Partial,
            [0x16, 3, _, high, low, body @ ..] => {
                let len = usize::from(u16::from_be_bytes([*high, *low]));
                // RFC 8446 5.1: a handshake record is never empty and at most 2^14 bytes in plain text.
                if len == 0 || len > 1 << 14 {
                    return Parsed::NotTls;
                }
                let (record, after) = body.split_at(len.min(body.len()));
                hello.extend_from_slice(record);
                match message(&hello) {
                    Parsed::Partial if record.len() == len && hello.len() <= MAX_HELLO => rest = after,
                    other => return other,
                }
            }
            _ => return Parsed::NotTls,
        }
    }
}

/// A handshake message.
fn message(bytes: &[u8]) -> Parsed {
    let len = match bytes {
        [] => return Parsed::Partial,
        [1, a, b, c, ..] => u32::from_be_bytes([0, *a, *b, *c]) as usize,
        [1, ..] => return Parsed::Partial,
        _ => return Parsed::NotTls,
    };
    if len > MAX_HELLO {
        return Parsed::NotTls;
    }
    match bytes.get(4..4 + len) {
        None => Parsed::Partial,
        Some(body) => client_hello(body).map_or(Parsed::NotTls, |h| Parsed::Complete(Box::new(h))),
    }
}

/// A reader of length-prefixed fields.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<usize> {
        self.take(1).and_then(|b| b.first()).map(|b| usize::from(*b))
    }

    fn u16(&mut self) -> Option<usize> {
        Some(self.u8()? << 8 | self.u8()?)
    }

    fn vec8(&mut self) -> Option<&'a [u8]> {
        let n = self.u8()?;
        self.take(n)
    }

    fn vec16(&mut self) -> Option<&'a [u8]> {
        let n = self.u16()?;
        self.take(n)
    }
}

fn client_hello(body: &[u8]) -> Option<ClientHello> {
    let mut f = Fields(body);
    f.take(2 + 32)?; // legacy_version, random
    f.vec8()?; // session id
    f.vec16()?; // cipher suites
    f.vec8()?; // compression methods
    let mut hello = ClientHello::default();
    if f.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = Fields(f.vec16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let data = extensions.vec16()?;
        match kind {
            0 => hello.sni = server_name(data)?,
            16 => hello.alpn = protocols(data)?,
            _ => {}
        }
    }
    Some(hello)
}

/// `None`: malformed. `Some(None)`: no host name among the names.
#[expect(clippy::option_option, reason = "malformed and absent differ")]
fn server_name(data: &[u8]) -> Option<Option<String>> {
    let mut names = Fields(Fields(data).vec16()?);
    while !names.0.is_empty() {
        let kind = names.u8()?;
        let name = names.vec16()?;
        if kind == 0 {
            let text = std::str::from_utf8(name).ok().filter(|t| t.bytes().all(|b| b.is_ascii_graphic()))?;
            return Some(Some(text.to_ascii_lowercase()));
        }
    }
    Some(None)
}

fn protocols(data: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut list = Fields(Fields(data).vec16()?);
    let mut out = Vec::new();
    while !list.0.is_empty() {
        out.push(list.vec8()?.to_vec());
    }
    Some(out)
}

#[cfg(test)]
mod tests;
