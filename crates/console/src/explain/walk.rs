//! From the client to where a request ends, proxy by proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use varka_engine::facts::PeerIdentity;
use varka_engine::ir::{LocalReplyMapping, Str};
use varka_engine::outcome::{LocalReply, Outcome as Ended, ResetReason};
use varka_pilot::ProxyKind;

use super::answer::{Asked, Direction, Explanation, Hop, Outcome, Step, Who};
use super::destination::{self, Dialled};
use super::mesh::Mesh;
use super::pod::Pod;
use super::proxy::Proxy;
use super::request::{Request, Thought};
use super::{inbound, outbound, touched, unmatched};

/// So many proxies a request passes at most before it is taken to go in a circle.
const MOST_HOPS: usize = 6;

/// Why a request cannot be explained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody is called so.
    #[error("{0}")]
    NotFound(String),
    /// Part of it cannot be.
    #[error("{0}")]
    Bad(String),
}

/// A request under way.
pub(super) struct Walk<'m> {
    pub(super) mesh: &'m Mesh,
    pub(super) request: Request,
    /// Seconds since 1970, for tokens.
    pub(super) now: u64,
    pub(super) hops: Vec<Hop>,
    /// Clusters that were recorded, by hop: which share of a split it was.
    pub(super) recorded: Vec<Option<String>>,
    /// No service was found, and why.
    pub(super) unmatched: Option<(Outcome, String)>,
    /// Choices that are left to chance, in their order.
    pub(super) forks: Vec<Fork>,
    /// What is noted of a request that was recorded, of which only part is known; `None`: all of it is.
    pub(super) notes: Option<Notes>,
    /// Namespaces of pods that were come by.
    touched: BTreeSet<String>,
}

/// A choice that is left to chance: shares, and which one is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fork {
    pub(super) weights: Vec<u64>,
    pub(super) taken: usize,
}

/// What is to be known beside the steps, to compare one way with another.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Which ways to take at the first forks.
    pub(super) script: Vec<usize>,
    /// What a decision hangs on that was not recorded: in words, by all that was said of it.
    pub(super) doubts: BTreeMap<String, String>,
    /// Everything that clusters were told to do.
    pub(super) settings: Vec<String>,
}

/// A request on its way to an address.
#[derive(Debug)]
pub(super) struct Delivery<'m> {
    pub(super) from: &'m Pod,
    pub(super) to: SocketAddr,
    pub(super) tls: Option<Offer>,
    pub(super) http: bool,
    /// What the client's proxy makes of a connection that is broken off; `None`: it has none, or passes bytes.
    pub(super) mappings: Option<Vec<LocalReplyMapping>>,
}

/// TLS as the client's proxy begins it.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) sni: Option<String>,
    pub(super) alpn: Vec<Vec<u8>>,
    /// What it shows.
    pub(super) identity: Option<PeerIdentity>,
}

/// How it ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) outcome: Outcome,
    pub(super) verdict: String,
    /// What a proxy answers; `None`: the application answers, or nobody does.
    pub(super) status: Option<u16>,
}

impl End {
    pub(super) fn new(outcome: Outcome, verdict: impl Into<String>) -> Self {
        Self { outcome, verdict: verdict.into(), status: None }
    }

    /// The same, with what a proxy answers.
    pub(super) fn answers(mut self, status: impl Into<Option<u16>>) -> Self {
        self.status = status.into();
        self
    }
}

impl Delivery<'_> {
    /// What its proxy answers to that.
    fn answer_to(&self, reason: ResetReason) -> Option<Ended> {
        let mappings = self.mappings.as_ref()?;
        Some(LocalReply::upstream_reset(reason, false, None).mapped(mappings).outcome)
    }

    /// Its status.
    pub(super) fn status_of(&self, reason: ResetReason) -> Option<u16> {
        self.answer_to(reason).map(|outcome| outcome.status)
    }

    /// What the client gets when the connection is broken off before an answer.
    pub(super) fn broken_off(&self, reason: ResetReason) -> String {
        match self.answer_to(reason) {
            Some(outcome) => format!("the client gets {} ({})", outcome.status, outcome.flags),
            None => "the client's connection is broken off without an answer".to_owned(),
        }
    }
}

/// What a thought-up request meets. `now`: seconds since 1970, by which tokens are judged.
///
/// # Errors
/// Nobody is called as the client is, or part of the request cannot be.
pub fn thought(mesh: &Mesh, asked: &Thought, now: u64) -> Result<Explanation, Refusal> {
    let from = &asked.from;
    let pod = mesh.pod_of(&from.namespace, &from.workload).ok_or_else(|| {
        Refusal::NotFound(format!(
            "There is no workload {}/{} with a pod that runs: nobody to ask on behalf of.",
            from.namespace, from.workload
        ))
    })?;
    if asked.to.host.is_empty() {
        return Err(Refusal::Bad("to.host is empty; it is the host that is dialled".to_owned()));
    }
    if pod.proxy == Some(ProxyKind::Router) {
        let port = if asked.to.port > 0 { asked.to.port } else { 443 };
        let request = Request::new(&asked.to, port).map_err(Refusal::Bad)?;
        let mut walk = Walk::new(mesh, request, now);
        let shown = walk.asked();
        let end = outbound::gateway(&mut walk, pod, port);
        return Ok(walk.finish(shown, end));
    }
    let dialled = destination::dial(mesh, pod, &asked.to.host, asked.to.port);
    let port = dialled.as_ref().map_or(asked.to.port, |dialled| dialled.address.port());
    let request = Request::new(&asked.to, port).map_err(Refusal::Bad)?;
    let mut walk = Walk::new(mesh, request, now);
    let shown = walk.asked();
    let end = walk.sent_by(pod, dialled);
    Ok(walk.finish(shown, end))
}

impl<'m> Walk<'m> {
    pub(super) fn new(mesh: &'m Mesh, request: Request, now: u64) -> Self {
        let (hops, recorded, forks) = (Vec::new(), Vec::new(), Vec::new());
        let (unmatched, notes, touched) = (None, None, BTreeSet::new());
        Self { mesh, request, now, hops, recorded, unmatched, forks, notes, touched }
    }

    /// Which of several is followed that have these shares; `usually` where nothing else is asked for.
    pub(super) fn fork(&mut self, weights: Vec<u64>, usually: usize) -> usize {
        if weights.iter().filter(|weight| **weight > 0).count() < 2 {
            return usually;
        }
        let wanted = self.notes.as_ref().and_then(|notes| notes.script.get(self.forks.len()).copied());
        let taken = wanted.filter(|taken| weights.get(*taken).is_some_and(|w| *w > 0)).unwrap_or(usually);
        self.forks.push(Fork { weights, taken });
        taken
    }

    /// Notes what a decision hangs on. `said`: everything that could make a difference.
    pub(super) fn doubt(&mut self, said: String, words: String) {
        if let Some(notes) = &mut self.notes {
            notes.doubts.insert(said, words);
        }
    }

    pub(super) fn asked(&self) -> Asked {
        let Request { method, authority, path, .. } = &self.request;
        Asked { method: method.clone(), host: authority.clone(), path: path.clone() }
    }

    pub(super) fn finish(self, request: Asked, end: End) -> Explanation {
        let (outcome, verdict) = match (self.unmatched, end.outcome) {
            (Some((outcome, why)), Outcome::Ok) => (outcome, why),
            (Some((_, why)), outcome) => (outcome, format!("{} {why}", end.verdict)),
            (None, outcome) => (outcome, end.verdict),
        };
        let pods_of_now = self.mesh.is_undated();
        let (hops, touched) = (self.hops, self.touched);
        let mut explanation = Explanation { request, verdict, outcome, hops, pods_of_now, touched };
        touched::complete(&mut explanation, self.mesh);
        explanation
    }

    /// Begins a hop.
    pub(super) fn hop(&mut self, pod: &Pod, direction: Direction, steps: Vec<Step>) {
        self.touched.insert(pod.namespace.clone());
        let proxy = Who { namespace: pod.namespace.clone(), workload: pod.workload.clone(), direction };
        self.hops.push(Hop { proxy, steps });
    }

    /// Adds a step to the hop that is under way.
    pub(super) fn step(&mut self, step: Step) {
        if let Some(hop) = self.hops.last_mut() {
            hop.steps.push(step);
        }
    }

    /// Which cluster the hop under way is known to have used.
    pub(super) fn known_cluster(&self) -> Option<&str> {
        self.recorded.get(self.hops.len().checked_sub(1)?)?.as_deref()
    }

    /// What an application sends.
    pub(super) fn sent_by(&mut self, pod: &'m Pod, dialled: Result<Dialled, Box<Step>>) -> End {
        let Dialled { address, step } = match dialled {
            Ok(dialled) => dialled,
            Err(step) => {
                let verdict = format!("Nothing is sent: {}.", step.because);
                self.hop(pod, Direction::Outbound, vec![*step]);
                return End::new(Outcome::Failed, verdict);
            }
        };
        self.hop(pod, Direction::Outbound, vec![step]);
        let alone = match pod.proxy {
            None => Some(format!("{} has no sidecar: its requests are not routed, secured or told of", pod.workload)),
            Some(_) => pod.leaves_alone_outbound(address.ip(), address.port()),
        };
        let flow = match alone {
            Some(why) => {
                self.step(Step::new("interception", "left alone", why));
                self.dialled_directly(pod, address)
            }
            None => outbound::sidecar(self, pod, address),
        };
        match flow {
            Ok(delivery) => self.deliver(delivery),
            Err(end) => end,
        }
    }

    /// Bytes go to an address as they are: what a Service's address leads to, else the address itself.
    pub(super) fn dialled_directly(&mut self, pod: &'m Pod, to: SocketAddr) -> Result<Delivery<'m>, End> {
        let (to, step) = self.behind(pod, to)?;
        if let Some(step) = step {
            self.step(step);
        }
        Ok(Delivery { from: pod, to, tls: None, http: true, mappings: None })
    }

    /// The endpoint behind a Service's address, as the node chooses it.
    pub(super) fn behind(&mut self, pod: &Pod, to: SocketAddr) -> Result<(SocketAddr, Option<Step>), End> {
        let mut services = self.mesh.snapshot.registry().services().iter();
        let has = |address: &Str| address.parse() == Ok(to.ip());
        let Some(service) = services.find(|s| s.is_kubernetes() && s.addresses.iter().any(has)) else {
            return Ok((to, None));
        };
        if service.port(to.port()).is_none() {
            let step = Step::new("endpoint", "none", format!("{} has no port {}", service.host, to.port())).fails();
            self.step(step);
            let verdict = format!("The connection is refused: {} has no port {}.", service.host, to.port());
            return Err(End::new(Outcome::Failed, verdict));
        }
        let proxy = Proxy::new(self.mesh, pod);
        let assignment = proxy.endpoints(&format!("outbound|{}||{}", to.port(), service.host));
        let endpoints = assignment.iter().flat_map(|a| &a.localities).flat_map(|l| &l.endpoints);
        match endpoints.filter_map(|e| e.address).next() {
            Some(endpoint) => {
                let because = format!("the node chooses among the endpoints of {}", service.host);
                Ok((endpoint, Some(Step::new("endpoint", self.named(endpoint), because))))
            }
            None => {
                let because = format!("{} has no endpoint that is ready", service.host);
                self.step(Step::new("endpoint", "none", because).fails());
                let verdict = format!("The connection is refused: {} has no endpoint that is ready.", service.host);
                Err(End::new(Outcome::Failed, verdict))
            }
        }
    }

    /// An address with the pod that has it.
    pub(super) fn named(&mut self, address: SocketAddr) -> String {
        match self.mesh.pod_at(address.ip()) {
            Some(pod) => {
                self.touched.insert(pod.namespace.clone());
                format!("{address} ({})", pod.name)
            }
            None => destination::shown(address),
        }
    }

    /// What happens where it arrives.
    pub(super) fn deliver(&mut self, delivery: Delivery<'m>) -> End {
        let Some(pod) = self.mesh.pod_at(delivery.to.ip()) else {
            return unmatched::outside(&delivery);
        };
        self.touched.insert(pod.namespace.clone());
        if self.hops.len() >= MOST_HOPS {
            return End::new(Outcome::Failed, "It goes in a circle: so many proxies no request should pass.");
        }
        let alone = match pod.proxy {
            None => Some(format!("{} has no sidecar: nothing is asked of who comes", pod.workload)),
            Some(ProxyKind::Router) => return self.at_gateway(pod, &delivery),
            Some(ProxyKind::Sidecar) => pod.leaves_alone_inbound(delivery.to.port()),
        };
        match alone {
            Some(why) if delivery.tls.is_some() => {
                let because = format!("{why}, so nobody there speaks the mesh's TLS");
                self.step(Step::new("destination", pod.name.clone(), because.clone()).fails());
                let gets = delivery.broken_off(ResetReason::RemoteConnectionFailure);
                let verdict = format!("The TLS handshake with {} fails: {because}; {gets}.", pod.name);
                End::new(Outcome::Failed, verdict).answers(delivery.status_of(ResetReason::RemoteConnectionFailure))
            }
            Some(why) => {
                self.step(Step::new("destination", pod.name.clone(), why));
                End::new(Outcome::Ok, format!("It reaches {} of {} in plain text.", pod.name, pod.namespace))
            }
            None => inbound::sidecar(self, pod, &delivery),
        }
    }

    fn at_gateway(&mut self, pod: &'m Pod, delivery: &Delivery<'m>) -> End {
        outbound::gateway(self, pod, delivery.to.port())
    }
}
