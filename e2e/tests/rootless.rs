//! The same system as an ordinary user, and servers on the host's loopback as seen from pods.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use varka_e2e::{System, repository, skipped};

const HOST: &str = "https://blog.jiminhome.shop";
const USER: &str = "varka-e2e";

#[test]
fn an_ordinary_user_needs_no_root() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    // Run by an ordinary user already, the test needs no other.
    let root = Command::new("id").arg("-u").output()?.stdout == b"0\n";
    if root && !Command::new("id").arg(USER).output()?.status.success() {
        let made = Command::new("useradd").args(["--create-home", USER]).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let system = System::up(&repository().join("examples/blog-system"), root.then_some(USER))?;
    let posts = system.sh(&format!("curl -sS {HOST}/api/posts"))?;
    ensure!(posts.contains("\"title\""), "{posts}");
    host_loopback(&system)
}

#[test]
fn a_pod_reaches_the_hosts_loopback() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    host_loopback(&System::blog()?)
}

/// A pod reaches a server that listens on the host's loopback, by the name `host.varka.internal`.
fn host_loopback(system: &System) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let server = std::thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut request = [0; 1024];
        let _ = stream.read(&mut request)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\nconnection: close\r\n\r\nfrom the host\n")?;
        Ok(())
    });
    let answer = system
        .sh(&format!("kubectl exec -n blog-system deploy/mysql -- curl -sS -m 5 http://host.varka.internal:{port}/"))?;
    ensure!(answer == "from the host\n", "{answer}");
    server.join().ok().context("the server panicked")?
}
