//! Applications, clients and proxies for these tests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use varka_engine::ir;
use varka_proxy::{Bootstrap, Engine, OriginalDst, Ports, Proxy, Role};

/// Nothing in these tests takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Waits for a condition.
pub(crate) fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A bootstrap for a proxy without a control plane.
pub(crate) fn bootstrap(dir: &std::path::Path, dst: Option<SocketAddr>) -> Bootstrap {
    Bootstrap {
        role: Role::Sidecar,
        engine: Engine::Varka,
        pod_name: "test".to_owned(),
        namespace: "default".to_owned(),
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        service_account: "default".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        domain: "default.svc.cluster.local".to_owned(),
        cluster_id: "Kubernetes".to_owned(),
        metadata: serde_json::Map::new(),
        discovery_address: String::new(),
        ca_address: String::new(),
        token_path: PathBuf::new(),
        root_cert_path: PathBuf::new(),
        ports: Ports { admin: 0, status: 0, readiness: 0, metrics: 0 },
        app_probers: BTreeMap::new(),
        app_metrics: None,
        concurrency: 1,
        static_config: Some(dir.join("config.json")),
        mark: None,
        access_log: Some(dir.join("access.log")),
        drain: Duration::from_secs(5),
        exit_on_zero: false,
        minimum_drain: Duration::ZERO,
        traces_per_second: None,
        original_dst: OriginalDst::By(Arc::new(move |_| dst)),
    }
}

/// A running proxy.
pub(crate) struct Running {
    pub(crate) proxy: Option<Proxy>,
    pub(crate) dir: tempfile::TempDir,
}

impl Running {
    /// Starts one from a configuration. `dst`: what stands in for the kernel's original destination.
    pub(crate) fn start(config: &ir::Proxy, dst: Option<SocketAddr>) -> Self {
        Self::start_as(config, dst, |_| {})
    }

    /// The same with another bootstrap.
    pub(crate) fn start_as(config: &ir::Proxy, dst: Option<SocketAddr>, edit: impl FnOnce(&mut Bootstrap)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), serde_json::to_vec(config).unwrap()).unwrap();
        let mut bootstrap = bootstrap(dir.path(), dst);
        edit(&mut bootstrap);
        let proxy = Proxy::start(bootstrap).unwrap();
        Self { proxy: Some(proxy), dir }
    }

    /// Istio's metrics in Prometheus' format, once `enough` of them are there.
    pub(crate) fn metrics(&self, what: &str, enough: impl Fn(&[Metric]) -> bool) -> Vec<Metric> {
        until(what, || {
            let mut samples = Vec::new();
            self.proxy.as_ref().unwrap().state().metrics.istio.samples("test", &mut samples);
            let metrics: Vec<Metric> = samples.into_iter().map(Metric::from).collect();
            enough(&metrics).then_some(metrics)
        })
    }

    /// Where a listener listens.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        until("the listener is bound", || self.proxy.as_ref().unwrap().address(listener))
    }

    /// Replaces the configuration.
    pub(crate) fn apply(&self, config: ir::Proxy) {
        self.proxy.as_ref().unwrap().state().apply(Arc::new(config));
    }

    /// The access log, once it has so many lines.
    pub(crate) fn log(&self, lines: usize) -> Vec<String> {
        log_of(self.dir.path(), lines)
    }
}

/// The access log of a proxy that works in `dir`, once it has so many lines.
pub(crate) fn log_of(dir: &std::path::Path, lines: usize) -> Vec<String> {
    until(&format!("{lines} access log lines"), || {
        let text = std::fs::read_to_string(dir.join("access.log")).unwrap_or_default();
        let all: Vec<String> = text.lines().map(str::to_owned).collect();
        (all.len() >= lines).then_some(all)
    })
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(proxy) = self.proxy.take() {
            proxy.state().advance(varka_proxy::Lifecycle::Stopped);
            proxy.wait();
        }
    }
}

/// One metric with its labels.
#[derive(Debug, Clone)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: u64,
}

impl Metric {
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

impl From<varka_telemetry::metrics::Sample> for Metric {
    fn from(sample: varka_telemetry::metrics::Sample) -> Self {
        use varka_telemetry::metrics::Value;
        let value = match sample.value {
            Value::Counter(n) | Value::Gauge(n) => n,
            Value::Histogram(h) => h.count(),
        };
        let labels = sample.labels.into_iter().map(|(name, value)| (name.into_owned(), value)).collect();
        Self { name: sample.family.into_owned(), labels, value }
    }
}

/// A request as the application saw it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.headers.iter().map(|(n, _)| n.as_str()).collect()
    }
}

/// An HTTP/1 application that remembers what it saw and does what request headers say:
/// `x-status: N`, `x-reset: 1` (close without an answer), `x-partial: 1`, `x-fail: N` (the first N requests with it get 503).
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl App {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections, failed) =
            (Arc::default(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let app = Self { address, seen: Arc::clone(&seen), connections: Arc::clone(&connections) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let (seen, failed) = (Arc::clone(&seen), Arc::clone(&failed));
                std::thread::spawn(move || while serve(&stream, &seen, &failed) {});
            }
        });
        app
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().cloned().expect("the application saw a request")
    }
}

fn serve(stream: &TcpStream, seen: &Mutex<Vec<Seen>>, failed: &AtomicUsize) -> bool {
    let mut reader = BufReader::with_capacity(1, stream);
    let Some(request) = read_message(&mut reader) else { return false };
    let header = |n: &str| request.header(n).map(str::to_owned);
    let head = request.line.starts_with("HEAD");
    seen.lock().unwrap().push(request.clone());
    let mut out = stream;
    if header("upgrade").is_some() {
        let _ = out.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        let mut buf = [0; 1024];
        while let Ok(n) = out.read(&mut buf) {
            if n == 0 || out.write_all(&buf[..n].to_ascii_uppercase()).is_err() {
                break;
            }
        }
        return false;
    }
    if header("x-reset").is_some() {
        return false;
    }
    if header("x-partial").is_some() {
        let _ = out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789");
        return false;
    }
    if header("x-hang").is_some() {
        let mut rest = [0; 1];
        let _ = out.read(&mut rest);
        return false;
    }
    let mut status = header("x-status").unwrap_or_else(|| "200".to_owned());
    if let Some(most) = header("x-fail").and_then(|n| n.parse::<usize>().ok())
        && failed.fetch_add(1, Ordering::SeqCst) < most
    {
        status = "503".to_owned();
    }
    let body = if head { String::new() } else { format!("{} {}", request.line, request.body.len()) };
    let text = format!("HTTP/1.1 {status} X\r\nserver: app\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    out.write_all(text.as_bytes()).is_ok()
}

/// Reads a request or a response with its body.
pub(crate) fn read_message(reader: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut message = Seen { line: line.trim_end().to_owned(), ..Seen::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => message.headers.push((name.to_owned(), value.to_owned())),
            None => break,
        }
    }
    if let Some(n) = message.header("content-length").and_then(|n| n.parse::<usize>().ok()) {
        message.body = vec![0; n];
        reader.read_exact(&mut message.body).ok()?;
    } else if message.header("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok().filter(|n| *n > 0)?;
            let n = usize::from_str_radix(size.trim_end(), 16).ok()?;
            let mut data = vec![0; n + 2];
            reader.read_exact(&mut data).ok()?;
            if n == 0 {
                break;
            }
            message.body.extend_from_slice(&data[..n]);
        }
    }
    Some(message)
}

/// A client connection that sends exact bytes.
pub(crate) struct Client {
    pub(crate) reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.reader.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// The next response, without a body where the request was HEAD.
    pub(crate) fn response(&mut self) -> Seen {
        read_message(&mut self.reader).expect("a response")
    }

    pub(crate) fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Seen {
        self.send(bytes);
        self.response()
    }

    /// Everything until the connection ends; `Err`: it was reset.
    pub(crate) fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        self.reader.read_to_end(&mut out).map(|_| out)
    }
}
