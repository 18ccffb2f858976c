//! A proxy that asks for what it needs decides as one that was told everything: whatever the mesh, in whatever order it asks,
//! and after whatever change, of which it is told only what a `ReadSet` says.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Value, json};
use varka_api::RawObject;
use varka_engine::facts::{Connection, DetectedHttp, Metadata, Request};
use varka_engine::host::{Answer, Answers, RouteIndex};
use varka_engine::ir::{
    Discovery, Listener, Proxy, Resource, ResourceType, RouteSource, Str, Terminal, TransportProtocol,
};
use varka_engine::listener::{ListenerIndex, Lookup, choose_chain};
use varka_engine::route::decide;
use varka_engine::trace::Trace;
use varka_pilot::{
    Change, Kind, ProxyKey, ProxyKind, ReadSet, ResourceName, Snapshot, compile, compile_all, names, touched,
};

const DOMAIN: &str = "svc.cluster.local";

// --- meshes

/// Ports of services: number, name (which says the protocol).
const PORTS: [(u16, &str); 6] =
    [(80, "http"), (8080, "http-web"), (3306, "tcp-mysql"), (443, "tls"), (7000, "plain"), (80, "tcp-odd")];

fn service((name, namespace, headless, ports, export): &(u8, u8, bool, Vec<usize>, u8)) -> Value {
    let (name, namespace) = (format!("s{name}"), ["a", "b"][usize::from(*namespace)]);
    let number = name.as_bytes()[1] - b'0' + if namespace == "a" { 0 } else { 100 };
    let mut numbers = Vec::new();
    let mut list = Vec::new();
    for (number, port) in ports.iter().map(|p| PORTS[*p]) {
        if !numbers.contains(&number) {
            numbers.push(number);
            list.push(json!({"name": port, "port": number, "targetPort": number}));
        }
    }
    let mut metadata = json!({"name": name, "namespace": namespace});
    if *export == 0 {
        metadata["annotations"] = json!({"networking.istio.io/exportTo": "."});
    }
    let ip = if *headless { "None".to_owned() } else { format!("10.96.0.{number}") };
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": {"clusterIP": ip, "selector": {"app": name}, "ports": list},
    })
}

fn slice((name, namespace, address): &(u8, u8, u8)) -> Value {
    let (name, namespace) = (format!("s{name}"), ["a", "b"][usize::from(*namespace)]);
    let ports: Vec<_> = PORTS.iter().map(|(number, port)| json!({"name": port, "port": number})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{name}-1"), "namespace": namespace, "labels": {"kubernetes.io/service-name": name}},
        "endpoints": [{"addresses": [format!("10.244.0.{address}")], "conditions": {"ready": true}}], "ports": ports,
    })
}

const EXTERNAL: [&str; 5] = ["*.example.com", "x.example.com", "*.b.example.com", "ext.org", "s1.a.svc.cluster.local"];

fn entry((host, address, resolution): &(usize, u8, usize)) -> Value {
    let resolution = ["NONE", "DNS", "STATIC"][*resolution];
    let mut spec = json!({
        "hosts": [EXTERNAL[*host]], "location": "MESH_EXTERNAL", "resolution": resolution,
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}, {"number": 443, "name": "tls", "protocol": "TLS"}],
    });
    match *address {
        0 => {}
        1 => spec["addresses"] = json!(["192.0.2.0/28"]),
        n => spec["addresses"] = json!([format!("192.0.2.{n}")]),
    }
    if resolution == "STATIC" {
        spec["endpoints"] = json!([{"address": "198.51.100.1"}]);
    }
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": format!("e{host}"), "namespace": "a"}, "spec": spec,
    })
}

const HOSTS: [&str; 9] = [
    "s0",
    "s1.a.svc.cluster.local",
    "s2.b.svc.cluster.local",
    "*.example.com",
    "x.example.com",
    "*.a.svc.cluster.local",
    "nobody.org",
    "*.org",
    "s3",
];

fn virtual_service((number, hosts, to, weight): &(u8, Vec<usize>, [u8; 2], u8)) -> Value {
    let destination = |n: u8| json!({"host": format!("s{n}.a.{DOMAIN}"), "port": {"number": 80}});
    let route = json!([
        {"destination": destination(to[0]), "weight": weight}, {"destination": destination(to[1]), "weight": 100 - weight},
    ]);
    let mut hosts: Vec<&str> = hosts.iter().map(|h| HOSTS[*h]).collect();
    hosts.dedup();
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": format!("v{number}"), "namespace": "a", "creationTimestamp": format!("2026-01-0{}T00:00:00Z", number + 1)},
        "spec": {"hosts": hosts, "http": [
            {"match": [{"uri": {"prefix": "/api"}}], "route": [{"destination": destination(to[1])}], "name": format!("v{number}-api")},
            {"route": route, "name": format!("v{number}")},
        ]},
    })
}

fn sidecar(number: &u8) -> Value {
    let seen = ["*/*", "./*", "b/*"][usize::from(*number % 3)];
    let mut spec = json!({"egress": [{"hosts": [seen]}]});
    if *number > 2 {
        spec["outboundTrafficPolicy"] = json!({"mode": "REGISTRY_ONLY"});
    }
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": {"name": "default", "namespace": "a"},
        "spec": spec,
    })
}

fn mesh() -> impl Strategy<Value = Vec<RawObject>> {
    let services = prop::collection::vec(
        (0..5u8, 0..2u8, prop::bool::weighted(0.2), prop::collection::vec(0..PORTS.len(), 1..3), 0..8u8),
        0..8,
    );
    let slices = prop::collection::vec((0..5u8, 0..2u8, 1..200u8), 0..5);
    let entries = prop::collection::vec((0..EXTERNAL.len(), 0..4u8, 0..3usize), 0..4);
    let virtual_services =
        prop::collection::vec((0..3u8, prop::collection::vec(0..HOSTS.len(), 1..3), [0..5u8, 0..5u8], 0..=100u8), 0..4);
    let sidecars = prop::collection::vec(0..6u8, 0..2);
    (services, slices, entries, virtual_services, sidecars).prop_map(|(a, b, c, d, e)| {
        let all = (a.iter().map(service).chain(b.iter().map(slice)).chain(c.iter().map(entry)))
            .chain(d.iter().map(virtual_service).chain(e.iter().map(sidecar)));
        let mut objects: BTreeMap<String, RawObject> = BTreeMap::new();
        for object in all.map(|value| RawObject::from_value(value).unwrap()) {
            objects.insert(object.label(), object);
        }
        objects.into_values().collect()
    })
}

// --- what is tried

#[derive(Debug, Clone)]
struct Probe {
    destination: SocketAddr,
    authority: String,
    path: &'static str,
    /// 0: HTTP, 1: TLS, else opaque.
    bytes: u8,
}

fn probe() -> impl Strategy<Value = Probe> {
    let address = prop_oneof![
        (0..5u8).prop_map(|n| [10, 96, 0, n]),
        (100..105u8).prop_map(|n| [10, 96, 0, n]),
        (0..6u8).prop_map(|n| [192, 0, 2, n]),
        Just([203, 0, 113, 9]),
        (1..200u8).prop_map(|n| [10, 244, 0, n]),
    ];
    let name =
        (0..6u8, prop::sample::select(vec!["", ".a", ".b", ".a.svc", ".a.svc.cluster.local", ".b.svc.cluster.local."]))
            .prop_map(|(n, rest)| format!("s{n}{rest}"));
    let other = prop::sample::select(vec![
        "x.example.com",
        "y.example.com",
        "z.b.example.com",
        "pod-0.s1.a",
        "ext.org",
        "nobody.org",
        "other.org",
        "10.96.0.1",
        "S1.A:80",
        "[::1]:80",
        "a/b.example.com",
        "*",
        "example.com",
    ]);
    let authority = prop_oneof![name, other.prop_map(str::to_owned)];
    let port = prop::sample::select(vec![80u16, 8080, 3306, 443, 7000, 1234]);
    (address, port, authority, any::<bool>(), 0..4u8).prop_map(|(address, port, authority, api, bytes)| Probe {
        destination: (address, port).into(),
        authority,
        path: if api { "/api/x" } else { "/" },
        bytes: if bytes > 2 { 0 } else { bytes },
    })
}

// --- a proxy

/// What a proxy has, and whether it asks for what it lacks.
struct Holder<'m> {
    snapshot: &'m Snapshot,
    key: ProxyKey,
    held: Proxy,
    reads: BTreeMap<ResourceName, ReadSet>,
}

impl Holder<'_> {
    /// As the control plane answers.
    fn ask(&mut self, kind: ResourceType, name: &Str) {
        let name = ResourceName { kind, name: name.clone() };
        let compiled = compile(self.snapshot, &self.key, &name);
        self.reads.insert(name.clone(), compiled.reads);
        let held = &mut self.held;
        let key = (kind, name.name.clone());
        held.absent.remove(&key);
        match compiled.resource {
            Some(Resource::Listener(r)) => drop(held.listeners.insert(name.name, r)),
            Some(Resource::Route(r)) => drop(held.routes.insert(name.name, r)),
            Some(Resource::Cluster(r)) => drop(held.clusters.insert(name.name, r)),
            Some(Resource::Endpoints(r)) => drop(held.endpoints.insert(name.name, r)),
            Some(Resource::VirtualHost(asked, r)) => drop(held.virtual_hosts.insert(asked, r)),
            Some(Resource::Secret(_) | Resource::Workload(..)) => {}
            None => {
                held.absent.insert(key);
                held.listeners.retain(|n, _| kind != ResourceType::Listener || *n != name.name);
                held.routes.retain(|n, _| kind != ResourceType::Route || *n != name.name);
                held.clusters.retain(|n, _| kind != ResourceType::Cluster || *n != name.name);
                held.endpoints.retain(|n, _| kind != ResourceType::Endpoints || *n != name.name);
                held.virtual_hosts.retain(|n, _| kind != ResourceType::VirtualHost || *n != name.name);
            }
        }
    }

    fn listener(&mut self, destination: SocketAddr) -> Option<Arc<Listener>> {
        if self.key.on_demand
            && let Lookup::NotAsked(missing) = ListenerIndex::new(&self.held).look_up(destination)
        {
            missing.iter().for_each(|name| self.ask(ResourceType::Listener, name));
        }
        let index = ListenerIndex::new(&self.held);
        let accepting = &self.held.listeners["virtualOutbound"];
        Some(Arc::clone(index.choose(accepting, destination, &mut Trace::off())))
    }

    fn table(&mut self, name: &Str, authority: &str) -> Option<RouteIndex> {
        if self.key.on_demand && !self.held.routes.contains_key(name) {
            self.ask(ResourceType::Route, name);
        }
        for _ in 0..2 {
            let index = RouteIndex::with_answers(Arc::clone(self.held.routes.get(name)?), self.answers(name));
            match index.unasked(authority) {
                Some(asked) => self.ask(ResourceType::VirtualHost, &asked),
                None => return Some(index),
            }
        }
        unreachable!("{authority} was asked for and is not known")
    }

    fn answers(&self, table: &str) -> Answers {
        let of =
            |name: &Str| name.split_once('/').filter(|(t, _)| *t == table).map(|(_, authority)| Str::from(authority));
        let absent = self.held.absent.iter().filter(|(kind, _)| *kind == ResourceType::VirtualHost);
        let absent = absent.filter_map(|(_, name)| Some((of(name)?, Answer::default())));
        let found = self
            .held
            .virtual_hosts
            .iter()
            .filter_map(|(name, h)| Some((of(name)?, Answer { host: Some(Arc::clone(h)), ..Answer::default() })));
        absent.chain(found).collect()
    }

    /// A cluster with its endpoints, as text.
    fn cluster(&mut self, name: &Str) -> String {
        if self.key.on_demand && !self.held.clusters.contains_key(name) {
            self.ask(ResourceType::Cluster, name);
        }
        let Some(cluster) = self.held.clusters.get(name).cloned() else { return "none".to_owned() };
        let Discovery::Eds { service_name } = &cluster.discovery else { return format!("{cluster:?}") };
        if self.key.on_demand && !self.held.endpoints.contains_key(service_name) {
            self.ask(ResourceType::Endpoints, service_name);
        }
        format!("{cluster:?} {:?}", self.held.endpoints.get(service_name))
    }

    /// All that is decided about a connection and its request, as text.
    fn decide(&mut self, probe: &Probe) -> String {
        let Some(listener) = self.listener(probe.destination) else { return "no listener".to_owned() };
        let peer = SocketAddr::from(([10, 244, 0, 250], 40_000));
        let mut facts = Connection::plain(probe.destination, peer);
        match probe.bytes {
            0 => facts.detected_http = Some(DetectedHttp::Http11),
            1 => (facts.transport, facts.sni) = (TransportProtocol::Tls, Some(probe.authority.as_str())),
            _ => {}
        }
        let Some(chain) = choose_chain(&listener, &facts, &mut Trace::off()).cloned() else {
            return format!("{listener:?}: no chain");
        };
        let mut said = format!("{listener:?}\n{:?}\n", chain.matches);
        match &chain.terminal {
            Terminal::Tcp(tcp) => {
                for to in &tcp.clusters {
                    said += &format!("{} {}: {}\n", to.weight, to.cluster, self.cluster(&to.cluster));
                }
            }
            Terminal::Http(manager) => {
                let RouteSource::Rds(name) = &manager.routes else { return said };
                let Some(table) = self.table(name, &probe.authority) else { return said + "no table" };
                let headers = HeaderMap::new();
                let request = Request {
                    method: "GET",
                    scheme: "http",
                    authority: &probe.authority,
                    path: probe.path,
                    headers: &headers,
                    connection: &facts,
                    remote_address: peer,
                    metadata: Metadata::EMPTY,
                    version: http::Version::HTTP_11,
                };
                match decide(&table, &request, 7, &mut Trace::off()) {
                    Ok(decision) => {
                        said += &format!("{:?} {:?}\n", decision.virtual_host, decision.route);
                        if let Some(cluster) = decision.cluster() {
                            said += &self.cluster(cluster);
                        }
                    }
                    Err(why) => said += &why.to_string(),
                }
            }
        }
        said
    }
}

fn key(on_demand: bool) -> ProxyKey {
    let mut key = ProxyKey::new(ProxyKind::Sidecar, "client-1", "a", [10, 244, 0, 250].into());
    key.on_demand = on_demand;
    key
}

fn told_everything(snapshot: &Snapshot) -> Holder<'_> {
    let key = key(false);
    let (held, _) = compile_all(snapshot, &key);
    Holder { snapshot, key, held, reads: BTreeMap::new() }
}

fn told_nothing(snapshot: &Snapshot) -> Holder<'_> {
    let key = key(true);
    let (held, _) = compile_all(snapshot, &key);
    let mut holder = Holder { snapshot, key, held, reads: BTreeMap::new() };
    let names = names(snapshot, &holder.key).names;
    names.iter().for_each(|name| holder.ask(name.kind, &name.name));
    holder
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn who_asks_decides_as_who_was_told(
        before in mesh(),
        after in mesh(),
        probes in prop::collection::vec(probe(), 1..24),
    ) {
        let first = Snapshot::builder().objects(before.iter().cloned()).build();
        let (mut whole, mut asking) = (told_everything(&first), told_nothing(&first));
        for probe in &probes {
            prop_assert_eq!(whole.decide(probe), asking.decide(probe), "{:?}", probe);
        }
        // What is made anew is what was read; what is there without asking is looked at by name.
        let gone = before.iter().filter(|o| !after.iter().any(|new| new.label() == o.label())).map(|o| Change::Delete {
            kind: Kind::of(o.group(), &o.kind).unwrap(),
            namespace: o.metadata.namespace.as_str().into(),
            name: o.metadata.name.as_str().into(),
        });
        let changes: Vec<Change> = gone.chain(after.iter().cloned().map(Change::Upsert)).collect();
        let (second, changed) = first.apply(changes);
        let Holder { key, held, reads, .. } = asking;
        let mut asking = Holder { snapshot: &second, key, held, reads };
        let stale: Vec<_> = asking.reads.iter().filter(|(_, r)| touched(r, &changed)).map(|(n, _)| n.clone()).collect();
        stale.iter().for_each(|name| asking.ask(name.kind, &name.name));
        let mut whole = told_everything(&second);
        for probe in probes.iter().rev() {
            prop_assert_eq!(whole.decide(probe), asking.decide(probe), "after the change: {:?}", probe);
        }
    }
}
