//! Names that are asked for: answers by alias, absence, limits, and what a new stream says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use varka_engine::ir::{Resource, VirtualHost};

use super::*;
use crate::client::waiting::MAX_NAMES;
use crate::tests::fixture;

/// What the sink was told, and when it says that names were used.
#[derive(Default)]
struct Told {
    updates: Vec<Update>,
    used: BTreeMap<Str, u64>,
}

impl Sink for Told {
    fn apply(&mut self, update: Update) -> Vec<Rejected> {
        self.updates.push(update);
        Vec::new()
    }

    fn connected(&mut self, _: bool) {}

    fn synced(&mut self, _: ResourceType) {}

    fn last_use(&self, _: ResourceType, name: &Str) -> u64 {
        self.used.get(name).copied().unwrap_or_default()
    }
}

struct Asking {
    state: State,
    sink: Told,
    now: Instant,
}

impl Asking {
    fn new() -> Self {
        let mut state = State::new(core::Node::default());
        state.open();
        Self { state, sink: Told::default(), now: Instant::now() }
    }

    /// Asks; a second later for the next name.
    fn ask(&mut self, kind: ResourceType, name: &str) -> (Vec<DeltaDiscoveryRequest>, oneshot::Receiver<Answer>) {
        let (answer, answered) = oneshot::channel();
        self.now += Duration::from_secs(1);
        let demand = Demand { kind, name: name.into(), answer };
        (self.state.demand(demand, self.now, &mut self.sink), answered)
    }

    fn tell(&mut self, kind: ResourceType, resources: Vec<Envelope>, removed: &[&str]) -> Reply {
        let response = DeltaDiscoveryResponse {
            type_url: codec::type_url(kind).to_owned(),
            resources,
            removed_resources: removed.iter().map(ToString::to_string).collect(),
            nonce: "1".to_owned(),
            ..Default::default()
        };
        self.state.receive(response, &mut self.sink)
    }

    fn last(&self) -> &Update {
        self.sink.updates.last().expect("the sink was told something")
    }
}

fn virtual_host(name: &str, domains: &[&str]) -> Resource {
    let host = VirtualHost {
        name: name.into(),
        domains: domains.iter().map(|d| Str::from(*d)).collect(),
        routes: Vec::new(),
        require_tls: false,
        include_attempt_count: true,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
    };
    Resource::VirtualHost(name.into(), Arc::new(host))
}

fn envelope(name: &str, resource: &Resource) -> Envelope {
    Envelope {
        name: name.to_owned(),
        version: codec::version(resource).to_string(),
        resource: Some(codec::encode(resource, codec::Reader::Istio)),
        ..Default::default()
    }
}

#[test]
fn a_virtual_host_answers_to_its_aliases() {
    let mut asking = Asking::new();
    let (requests, mut a) = asking.ask(ResourceType::VirtualHost, "80/a");
    assert_eq!(requests[0].resource_names_subscribe, ["80/a"]);
    let (_, mut b) = asking.ask(ResourceType::VirtualHost, "80/b");
    let resource = virtual_host("service:80", &["a", "a.shop"]);
    let aliases = vec!["80/a".to_owned(), "80/a.shop".to_owned()];
    let found = Envelope { aliases, ..envelope("80/service:80", &resource) };
    let nothing = Envelope { name: "80/b".to_owned(), aliases: vec!["80/b".to_owned()], ..Default::default() };
    let reply = asking.tell(ResourceType::VirtualHost, vec![found, nothing], &[]);
    assert_eq!((a.try_recv(), b.try_recv()), (Ok(Answer::Present), Ok(Answer::Absent)));
    assert_eq!(reply.requests.len(), 1, "nothing but the acknowledgement");
    let update = asking.last();
    assert_eq!((&**update.upserts[0].name(), update.upserts.len()), ("80/a", 1));
    assert_eq!((update.absent.as_slice(), update.removed.len()), (&["80/b".into()][..], 0));
}

#[test]
fn a_cluster_is_there_once_its_endpoints_are_said() {
    let mut asking = Asking::new();
    let (_, mut c) = asking.ask(ResourceType::Cluster, "c");
    let reply = asking.tell(ResourceType::Cluster, vec![envelope("c", &fixture::cluster("c"))], &[]);
    assert_eq!(reply.requests[0].resource_names_subscribe, ["c"], "the endpoints are asked for at once");
    assert!(c.try_recv().is_err());
    asking.tell(ResourceType::Endpoints, vec![envelope("c", &fixture::endpoints("c", 1))], &[]);
    assert_eq!(c.try_recv(), Ok(Answer::Present));
}

#[test]
fn so_many_absent_names_are_kept_and_those_in_use_longest() {
    let mut asking = Asking::new();
    let name = |n: usize| format!("80/absent-{n}");
    for n in 0..MAX_UNBOUNDED {
        let (_, mut answer) = asking.ask(ResourceType::VirtualHost, &name(n));
        asking.tell(ResourceType::VirtualHost, Vec::new(), &[&name(n)]);
        assert_eq!(answer.try_recv(), Ok(Answer::Absent));
        assert_eq!(asking.last().removed, Vec::<Str>::new());
    }
    // Used in the order in which they were asked for, but for two of the first, which are in use still.
    asking.sink.used = (0..MAX_UNBOUNDED).map(|n| (name(n).into(), n.try_into().unwrap())).collect();
    for recent in [&name(0), &name(2), "80/x.example.com"] {
        asking.sink.used.insert(recent.into(), u64::MAX);
    }
    // A name that only a wildcard finds is one of them.
    let (_, _answer) = asking.ask(ResourceType::VirtualHost, "80/x.example.com");
    let wildcard = envelope("80/x.example.com", &virtual_host("*.example.com:80", &["*.example.com"]));
    let reply = asking.tell(ResourceType::VirtualHost, vec![wildcard], &[]);
    assert_eq!(reply.requests[0].resource_names_unsubscribe, [name(1)]);
    assert_eq!(asking.last().removed, [name(1).into()]);
    // One that a service lists is none.
    let (_, _answer) = asking.ask(ResourceType::VirtualHost, "80/was");
    let listed = envelope("80/was", &virtual_host("was.shop:80", &["was.shop", "was"]));
    assert_eq!(asking.tell(ResourceType::VirtualHost, vec![listed], &[]).requests.len(), 1);
    // What is asked for again afterwards is asked for anew.
    let (requests, mut answer) = asking.ask(ResourceType::VirtualHost, &name(1));
    assert_eq!((requests.len(), answer.try_recv().is_err()), (1, true));
    let subscribed = asking.state.subscriptions[&ResourceType::VirtualHost].names.len();
    assert_eq!(subscribed, MAX_UNBOUNDED + 2);
}

#[test]
fn names_that_nobody_answers_do_not_pile_up() {
    let mut asking = Asking::new();
    asking.state.close();
    let waiting: Vec<_> =
        (0..MAX_NAMES).map(|n| asking.ask(ResourceType::Listener, &format!("10.0.0.1_{n}")).1).collect();
    let (_, mut refused) = asking.ask(ResourceType::Listener, "10.0.0.2_1");
    assert_eq!(refused.try_recv(), Ok(Answer::TooMany));
    let (_, mut same) = asking.ask(ResourceType::Listener, "10.0.0.1_0");
    assert!(same.try_recv().is_err(), "it waits like those who asked before");
    drop((waiting, same));
    let (_, mut later) = asking.ask(ResourceType::Listener, "10.0.0.2_1");
    assert!(later.try_recv().is_err());
    let request = asking.state.open().into_iter().find(|r| r.type_url.ends_with(".Listener")).unwrap();
    let names: BTreeSet<_> = request.resource_names_subscribe.into_iter().collect();
    assert_eq!(names, ["*", "10.0.0.2_1"].map(str::to_owned).into());
}

#[test]
fn what_is_refused_is_no_longer_taken_for_absent() {
    let mut asking = Asking::new();
    let (_, mut answer) = asking.ask(ResourceType::VirtualHost, "80/a");
    asking.tell(ResourceType::VirtualHost, Vec::new(), &["80/a"]);
    assert_eq!(answer.try_recv(), Ok(Answer::Absent));
    let mut bad = envelope("80/a", &virtual_host("a:80", &["a"]));
    bad.resource.as_mut().unwrap().value = vec![0xff];
    asking.tell(ResourceType::VirtualHost, vec![bad], &[]);
    assert_eq!(asking.last().removed, ["80/a".into()]);
    let (_, mut answer) = asking.ask(ResourceType::VirtualHost, "80/a");
    assert_eq!(answer.try_recv(), Ok(Answer::Unusable));
}

#[test]
fn a_new_stream_says_what_is_asked_for_and_held() {
    let mut asking = Asking::new();
    let _found = asking.ask(ResourceType::VirtualHost, "80/a");
    let _absent = asking.ask(ResourceType::VirtualHost, "80/b");
    let resource = virtual_host("a:80", &["a"]);
    asking.tell(ResourceType::VirtualHost, vec![envelope("80/a", &resource)], &["80/b"]);
    asking.state.close();
    let (requests, _unknown) = asking.ask(ResourceType::VirtualHost, "80/c");
    assert_eq!(requests.len(), 0, "there is no stream");
    let request = asking.state.open().into_iter().find(|r| r.type_url.ends_with(".VirtualHost")).unwrap();
    let names: BTreeSet<_> = request.resource_names_subscribe.into_iter().collect();
    assert_eq!(names, ["80/a", "80/b", "80/c"].map(str::to_owned).into());
    let versions: Vec<_> = request.initial_resource_versions.into_iter().collect();
    assert_eq!(versions, [("80/a".to_owned(), codec::version(&resource).to_string())]);
}
