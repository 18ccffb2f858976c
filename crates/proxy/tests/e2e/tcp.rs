//! Raw connections.

use std::io::{Read, Write};
use std::net::TcpListener;

use varka_engine::ir::{FilterChainMatch, TrafficDirection};

use crate::config::{chain, cluster, listener, original_dst, proxy, tcp};
use crate::support::{Client, Running};

#[test]
fn a_server_that_speaks_first_is_heard_at_once() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        stream.write_all(b"greeting\n").unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(b"after your end\n").unwrap();
        all
    });
    let mut listener = varka_engine::ir::Listener::clone(&listener(
        "virtualOutbound",
        TrafficDirection::Outbound,
        vec![chain("tcp", FilterChainMatch::default(), None, tcp("mysql"))],
    ));
    listener.inspect.disabled_ports = vec![address.port()];
    let config = proxy(vec![std::sync::Arc::new(listener)], Vec::new(), vec![cluster("mysql", original_dst())]);
    let sidecar = Running::start(&config, Some(address));
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    let mut greeting = [0; 9];
    client.reader.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"greeting\n");
    client.send("query");
    client.reader.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.rest().unwrap(), b"after your end\n");
    assert_eq!(serving.join().unwrap(), b"query");
    let log = sidecar.log(1);
    assert!(log[0].contains("\"- - -\" 0 - - - \"-\" 5 24 \"-\""), "{}", log[0]);
}

#[test]
fn bulk_goes_both_ways_at_once() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut reader = stream.try_clone().unwrap();
        let mut buf = vec![0; 65536];
        while let Ok(n) = reader.read(&mut buf) {
            if n == 0 || stream.write_all(&buf[..n]).is_err() {
                break;
            }
        }
    });
    let listener = listener(
        "virtualOutbound",
        TrafficDirection::Outbound,
        vec![chain("tcp", FilterChainMatch::default(), None, tcp("echo"))],
    );
    let sidecar =
        Running::start(&proxy(vec![listener], Vec::new(), vec![cluster("echo", original_dst())]), Some(address));
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    let payload: Vec<u8> = (0..8_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let mut writer = client.reader.get_ref().try_clone().unwrap();
    let sent = payload.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    assert!(client.rest().unwrap() == payload, "what comes back is what was sent");
    writing.join().unwrap();
}
