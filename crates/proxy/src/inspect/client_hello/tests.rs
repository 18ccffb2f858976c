use std::sync::Arc;

use proptest::prelude::*;

use super::{ClientHello, Parsed, parse};

/// What rustls really sends.
fn real_hello(sni: &'static str, alpn: &[&str]) -> Vec<u8> {
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    let mut conn = rustls::ClientConnection::new(Arc::new(config), sni.try_into().unwrap()).unwrap();
    let mut out = Vec::new();
    conn.write_tls(&mut out).unwrap();
    out
}

/// The same handshake message in records of at most `size` bytes.
fn refragment(wire: &[u8], size: usize) -> Vec<u8> {
    wire[5..]
        .chunks(size)
        .flat_map(|part| {
            let len = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[0x16, 3, 1, len[0], len[1]], part].concat()
        })
        .collect()
}

#[test]
fn reads_what_a_mesh_client_sends() {
    let sni = "outbound_.8080_._.was-service.blog-system.svc.cluster.local";
    let wire = real_hello(sni, &["istio-http/1.1", "istio", "http/1.1"]);
    let want = ClientHello {
        sni: Some(sni.to_owned()),
        alpn: ["istio-http/1.1", "istio", "http/1.1"].map(|p| p.as_bytes().to_vec()).to_vec(),
    };
    for cut in 0..wire.len() {
        assert_eq!(parse(&wire[..cut]), Parsed::Partial, "after {cut} bytes");
    }
    assert_eq!(parse(&wire), Parsed::Complete(Box::new(want.clone())));
    assert_eq!(parse(&refragment(&wire, 17)), Parsed::Complete(Box::new(want)));
}

#[test]
fn other_bytes_are_not_tls() {
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], &[0x16, 2, 1], &[0x15, 3, 1], &[0x16, 3, 1, 0, 0], &[0x16, 3, 1, 0, 1, 2]]
    {
        assert_eq!(parse(bytes), Parsed::NotTls, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_never_crash(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
        let mut record = vec![0x16, 3, 1];
        record.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        record.extend(&bytes);
        let _ = parse(&record);
    }

    #[test]
    fn a_damaged_hello_never_crashes(at in 0usize..200, value in any::<u8>(), size in 1usize..100) {
        let mut wire = real_hello("a.example", &["h2"]);
        let at = at % wire.len();
        wire[at] = value;
        let _ = parse(&wire);
        let _ = parse(&refragment(&wire, size));
    }
}
