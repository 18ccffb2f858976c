//! What is really on the wire between the pods: captured in their network namespaces.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use varka_e2e::{System, skipped};

const HOST: &str = "https://blog.jiminhome.shop";

#[test]
fn mesh_hops_are_encrypted_and_the_others_are_plain() -> Result<()> {
    if skipped() {
        return Ok(());
    }
    let system = System::blog()?;
    let was = capture(&system, "was", "tcp port 8080", &format!("curl -sSf {HOST}/api/posts"))?;
    ensure!(was.len() > 1000, "only {} bytes were captured between web and was", was.len());
    ensure!(!contains(&was, b"\"title\""), "the JSON is in clear between web and was");
    // ClientHello: ALPN with the mesh's protocols in clear; TLS 1.3 in supported_versions (extension 43) of the ServerHello.
    ensure!(contains(&was, b"istio-http/1.1"), "no mesh ALPN between web and was");
    ensure!(contains(&was, &[0x00, 0x2b, 0x00, 0x02, 0x03, 0x04]), "web and was do not speak TLS 1.3");
    let web = capture(&system, "web", "tcp port 80", &format!("curl -sSf {HOST}/"))?;
    ensure!(contains(&web, b"GET / HTTP/1.1"), "ingress to web is not plain");
    let mysql = capture(&system, "was", "tcp port 3306", &format!("curl -sSf {HOST}/api/posts"))?;
    // Statements are prepared once for a connection; the rows come in clear each time.
    ensure!(contains(&mysql, b"Setting sail"), "was to mysql is not plain");

    let seen = system.sh(&format!("curl -sSf {HOST}/api/whoami"))?;
    ensure!(seen.contains("By=spiffe://cluster.local/ns/blog-system/sa/was"), "{seen}");
    ensure!(seen.contains("URI=spiffe://cluster.local/ns/blog-system/sa/web"), "{seen}");
    strict_needs_a_certificate(&system)
}

fn strict_needs_a_certificate(system: &System) -> Result<()> {
    let address = system.sh("kubectl get pod -n blog-system -l app=was -o jsonpath='{.items[0].status.podIP}'")?;
    let plain = format!("curl -sS -m 3 -o /dev/null -w '%{{http_code}}' http://{address}:8080/api/posts");
    ensure!(system.sh(&plain)? == "200", "PERMISSIVE takes plain text");
    system.sh("kubectl apply --server-side --force-conflicts -f blog-system/mtls-strict.yaml")?;
    system.until(&plain, Duration::from_secs(5), |t| t.contains("reset") || t.contains("Empty reply"))?;
    let tls = system.shell(&format!(
        "echo | timeout 3 openssl s_client -connect {address}:8080 -alpn istio-http/1.1 -quiet 2>&1; true"
    ))?;
    let tls = String::from_utf8_lossy(&tls.stdout).into_owned();
    ensure!(
        tls.contains("certificate required") || tls.contains("alert") || tls.contains("reset"),
        "a client without a certificate was let in: {tls}"
    );
    Ok(())
}

/// Bytes captured by tcpdump in the network namespace of an application's pod while a line runs.
fn capture(system: &System, app: &str, filter: &str, line: &str) -> Result<Vec<u8>> {
    let pod =
        system.sh(&format!("kubectl get pod -n blog-system -l app={app} -o jsonpath='{{.items[0].metadata.name}}'"))?;
    let is_sidecar = |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| contains(&c, b"sidecar"));
    let pid = system
        .processes(&format!("POD_NAME={pod}"))?
        .into_iter()
        .find(is_sidecar)
        .with_context(|| format!("no sidecar of {pod}"))?;
    let file = tempfile::NamedTempFile::new()?;
    let mut tcpdump = Command::new("nsenter")
        .args(["-t", &pid.to_string(), "-n", "tcpdump", "-i", "eth0", "--immediate-mode", "-U", "-s", "0", "-w"])
        .arg(file.path())
        .arg(filter)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("tcpdump")?;
    // It says that it listens on standard error; only then is the request sent.
    let mut stderr = std::io::BufReader::new(tcpdump.stderr.take().context("no stderr")?);
    let mut said = String::new();
    while !said.contains("listening on") {
        ensure!(std::io::BufRead::read_line(&mut stderr, &mut said)? > 0, "tcpdump: {said}");
    }
    system.sh(line)?;
    std::thread::sleep(Duration::from_millis(300));
    Command::new("kill").args(["-INT", &tcpdump.id().to_string()]).status()?;
    tcpdump.wait()?;
    Ok(std::fs::read(file.path())?)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}
