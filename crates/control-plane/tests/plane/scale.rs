//! What one changed endpoint costs in a mesh of some size: a message to each proxy that uses it, and nothing to any other.
//!
//! `SCALE=SERVICES,PROXIES` makes the mesh as large as that; what it cost is printed (`make scale`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use futures_util::{StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::*;

/// Services that a proxy uses.
const USED: usize = 10;
/// Proxies that use the service whose endpoint changes.
const USERS: usize = 5;

fn size() -> (usize, usize) {
    let text = std::env::var("SCALE").unwrap_or_else(|_| "200,20".to_owned());
    let Some((services, proxies)) = text.split_once(',') else { panic!("SCALE is SERVICES,PROXIES, and not {text}") };
    (services.parse().unwrap(), proxies.parse().unwrap())
}

/// Counts what a proxy is sent.
struct Counted {
    io: TcpStream,
    read: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        self.read.fetch_add(u64::try_from(read).unwrap(), Relaxed);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A proxy that asks, and the bytes that it was sent.
struct Asking {
    proxy: Proxy,
    names: OnDemand,
    read: Arc<AtomicU64>,
}

impl Asking {
    async fn start(world: &World, root: &str, token: &str, number: usize) -> Self {
        let address = world.addresses.xds;
        let tls =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(root)).domain_name("istiod.istio-system.svc");
        let read = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&read);
        let connector = tower::service_fn(move |_: http::Uri| {
            let read = Arc::clone(&counter);
            async move {
                io::Result::Ok(hyper_util::rt::TokioIo::new(Counted { io: TcpStream::connect(address).await?, read }))
            }
        });
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", address.port())).unwrap();
        let channel = endpoint.tls_config(tls).unwrap().connect_with_connector(connector).await.unwrap();
        let mut node = node("blog-system", "web");
        node.id = format!("sidecar~10.245.{}.{}~web-{number}.blog-system~x", number / 250, number % 250);
        node.metadata.as_object_mut().unwrap().insert("ON_DEMAND".to_owned(), json!("true"));
        let (into, told) = mpsc::unbounded_channel();
        let connector = Fixed { channel, token: token.to_owned() };
        let (client, names) = Client::new(connector, node, Recorder { into, refuse: None }).on_demand();
        Self { proxy: Proxy { told, _running: tokio::spawn(client.run(std::future::pending())) }, names, read }
    }

    /// Asks for all that a request to a service takes.
    async fn use_service(&self, number: usize) {
        let wanted = [
            (ResourceType::VirtualHost, format!("8080/{}.blog-system.svc.cluster.local", name(number))),
            (ResourceType::Cluster, cluster(number)),
        ];
        for (kind, name) in wanted {
            let answer = within(&name, self.names.want(kind, name.as_str().into())).await;
            assert_eq!(answer, Ok(Answer::Present), "{name}");
        }
    }
}

fn name(number: usize) -> String {
    format!("s-{number}")
}

fn cluster(number: usize) -> String {
    format!("outbound|8080||s-{number}.blog-system.svc.cluster.local")
}

/// Nanoseconds that the threads of this name have run for.
fn processor_time(of: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let is_meant = |task: &std::path::PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|c| c.trim() == of);
    let time = |task: std::path::PathBuf| {
        let text = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or_default()
    };
    tasks.filter(is_meant).map(time).sum()
}

/// Number of the snapshot that every proxy has taken whatever was in it for it; `None`: they are not all as far.
fn taken_by_all(page: &str, proxies: usize) -> Option<u64> {
    let all: Vec<Value> = serde_json::from_str(page).ok()?;
    let versions: Option<Vec<u64>> = all.iter().map(|p| p["version"].as_str()?.parse().ok()).collect();
    let (versions, synced) = (versions?, all.iter().all(|p| p["synced"] == true));
    let first = *versions.first()?;
    (synced && versions.len() == proxies && versions.iter().all(|v| *v == first)).then_some(first)
}

/// What was sent to all of them so far.
fn sent(proxies: &[Asking]) -> u64 {
    proxies.iter().map(|p| p.read.load(Relaxed)).sum()
}

/// Nobody but those who use a changed endpoint hears of it; they hear of nothing else, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_endpoint_is_told_to_those_who_use_it() {
    let (services, number) = size();
    let mut world = World::start().await;
    world.reference().await;
    let objects = (0..services).flat_map(|n| [service(&name(n), 8080), slice(&name(n), "10.244.0.7", 8080)]);
    stream::iter(objects).for_each_concurrent(8, |object| world.put(object)).await;
    // A control plane of its own, on threads that are told apart.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("plane").enable_all().build();
    let runtime = runtime.unwrap();
    let client = world.client.clone();
    let (addresses, _stop, _running) = runtime.spawn(async move { plane(&client).await }).await.unwrap();
    world.addresses = addresses;
    let (root, token) = (world.root("blog-system").await, world.token("blog-system", "web", "istio-ca").await);
    world.page_when("/ready", |status, _| status == 200).await;
    let mut proxies: Vec<Asking> = Vec::new();
    for n in 0..number {
        let proxy = Asking::start(&world, &root, &token, n).await;
        let own = (0..USED).map(|i| (n * USED + i) % services);
        for service in own.chain((n < USERS).then_some(0)) {
            proxy.use_service(service).await;
        }
        proxies.push(proxy);
    }
    let before = world.page_when("/debug/syncz", |_, page| taken_by_all(page, number).is_some()).await;
    let before = taken_by_all(&before, number).unwrap();
    for proxy in &mut proxies {
        while proxy.proxy.told.try_recv().is_ok() {}
    }
    let (bytes, time) = (sent(&proxies), processor_time("plane"));
    world.put(slice(&name(0), "10.244.0.99", 8080)).await;
    world.page_when("/debug/syncz", |_, page| taken_by_all(page, number).is_some_and(|now| now > before)).await;
    let (bytes, time) = (sent(&proxies) - bytes, processor_time("plane") - time);
    let uses = |n: usize| n < USERS || (0..USED).any(|i| (n * USED + i).is_multiple_of(services));
    let mut messages = 0;
    for (n, proxy) in proxies.iter_mut().enumerate() {
        let mut told = Vec::new();
        while let Ok(Told::Update(update)) = proxy.proxy.told.try_recv() {
            assert_eq!((update.kind, update.removed.len()), (ResourceType::Endpoints, 0), "proxy {n}");
            told.extend(update.upserts.iter().map(|resource| resource.name().to_string()));
            messages += 1;
        }
        assert_eq!(told, if uses(n) { vec![cluster(0)] } else { Vec::new() }, "proxy {n}");
    }
    let users = (0..number).filter(|n| uses(*n)).count();
    assert_eq!(messages, users);
    eprintln!(
        "one changed endpoint, {services} services, {number} proxies that use {USED} each, {users} of them this one: \
         {messages} messages, {bytes} bytes on the wire to all of them, {:.1} ms of the control plane's threads",
        std::time::Duration::from_nanos(time).as_secs_f64() * 1e3
    );
    drop(proxies);
    runtime.shutdown_background();
    world.stop().await;
}
