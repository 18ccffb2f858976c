//! One of the two sides: a lab with proxies, which is asked about cases.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::super::case::{Case, Request, Tokens};
use super::super::client::Answer;
use super::super::lab::{Lab, SIDECARS};
use super::super::log::{Line, Log};
use super::super::observe::{self, Observation, Parts};
use super::super::plane::{self, Running, Setting};

/// Where clients' ports begin, below those that the kernel gives. Each connection has a port of its own: its log lines are
/// found by it whatever was sent, and both sides see the same addresses.
const FIRST_PORT: u16 = 18000;
/// And where they end.
const LAST_PORT: u16 = 32000;
/// Logs that nobody has written to for so long are complete.
const QUIET: Duration = Duration::from_millis(500);
/// Lines that do not come within so long do not come.
const LONGEST: Duration = Duration::from_secs(5);
/// A guard against waiting for ever.
const CONFIGURED: Duration = Duration::from_secs(20);
/// The pod with a proxy at the edge.
const EDGE: &str = "edge";

/// A side.
pub(super) struct Bench {
    lab: Lab,
    running: Running,
    setting: Setting,
    logs: BTreeMap<&'static str, Log>,
    next_port: u16,
}

impl Bench {
    /// Starts it.
    pub(super) async fn start(setting: &Setting) -> Result<Self> {
        std::fs::create_dir_all(&setting.directory)?;
        let lab = Lab::new().await?;
        let running = plane::start(&lab, setting).await.map_err(|e| e.context(super::super::logs(setting)))?;
        let with_log = SIDECARS.iter().copied().chain([EDGE]);
        let logs = with_log.map(|name| (name, Log::new(setting.log(name)))).collect();
        Ok(Self { lab, running, setting: setting.clone(), logs, next_port: FIRST_PORT })
    }

    /// Stops its proxies.
    pub(super) async fn stop(self) {
        self.running.stop().await;
    }

    /// What its proxies refused of the configuration.
    pub(super) fn refused(&self) -> &[String] {
        &self.running.refused
    }

    /// Runs cases one after another; what was observed of each, or why it could not be run.
    pub(super) async fn observe(
        &mut self,
        cases: &[Case],
        requests: &[Vec<Request>],
    ) -> Result<Vec<Result<Vec<Observation>>>> {
        let mut sent = Vec::new();
        for (case, requests) in cases.iter().zip(requests) {
            let first = self.ports(requests.len())?;
            let answers = observe::send(&self.lab, &self.running, &self.setting, case, requests, Some(first)).await;
            tokio::time::sleep(case.settle()?).await;
            sent.push((first, answers));
        }
        self.logged(cases, &sent).await;
        let pairs = cases.iter().zip(requests).zip(sent);
        Ok(pairs.map(|((case, requests), (first, answers))| Ok(self.gather(case, requests, first, answers?))).collect())
    }

    /// Applies objects, those that are valid, and returns when the client's sidecar has what came last: a host that answers
    /// with this text.
    pub(super) async fn learn(&mut self, objects: &[Value], marker: &str) -> Result<()> {
        self.running.apply(&self.lab, objects.to_vec()).await?;
        let request = json!({"host": "marker.test", "path": "/"});
        let case = Case::of("marker".to_owned(), request.as_object().cloned().unwrap_or_default());
        let started = Instant::now();
        loop {
            let requests = case.requests(&Tokens::default())?;
            let first = self.ports(1)?;
            let answers = observe::send(&self.lab, &self.running, &self.setting, &case, &requests, Some(first)).await?;
            if answers.iter().any(|a| Parts::of(&a.raw).body.as_deref() == Some(marker)) {
                return Ok(());
            }
            ensure!(started.elapsed() < CONFIGURED, "the configuration did not come within {} s", CONFIGURED.as_secs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// So many ports in a row.
    fn ports(&mut self, n: usize) -> Result<u16> {
        let n = u16::try_from(n)?;
        if self.next_port + n > LAST_PORT {
            self.next_port = FIRST_PORT;
        }
        let first = self.next_port;
        self.next_port += n;
        Ok(first)
    }

    /// Until the logs are complete: everybody who got an answer has a line, and no more come.
    async fn logged(&mut self, cases: &[Case], sent: &[(u16, Result<Vec<Answer>>)]) {
        let started = Instant::now();
        let (mut changed, mut before) = (Instant::now(), 0);
        loop {
            self.logs.values_mut().for_each(Log::follow);
            let lines = self.logs.values().map(|l| l.lines.len()).sum();
            if lines != before {
                (before, changed) = (lines, Instant::now());
            }
            let has_line = |(case, (first, answers)): (&Case, &(u16, Result<Vec<Answer>>))| {
                let Some(log) = self.first_log(case) else { return true };
                let answered = answers.iter().flatten().filter(|a| !a.raw.is_empty()).count();
                let n = u16::try_from(answered).unwrap_or(u16::MAX);
                case.reuse || (*first..first.saturating_add(n)).all(|port| log.lines.iter().any(|l| is_from(l, port)))
            };
            let complete = cases.iter().zip(sent).all(has_line) && self.servers_have_lines();
            if changed.elapsed() > QUIET && (complete || started.elapsed() > LONGEST) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether the server's sidecar has a line for each request that another has logged as sent to it.
    fn servers_have_lines(&self) -> bool {
        let of = |name: &str| self.logs.get(name).into_iter().flat_map(|l| &l.lines);
        let known: BTreeSet<&str> = of("was").filter_map(|l| l.get("id")).collect();
        let sent = |l: &&Line| l.get("host").is_some_and(|h| h.starts_with("10.77.0.2")) && l.get("local") != Some("-");
        let clients = ["web", "other", EDGE].into_iter().flat_map(of);
        clients.filter(sent).filter_map(|l| l.get("id")).all(|id| known.contains(id))
    }

    /// The log of the first proxy on a case's way.
    fn first_log(&self, case: &Case) -> Option<&Log> {
        let at_edge = case.to().is_ok_and(|to| to.ip().to_string() == self.edge());
        let name = if at_edge { EDGE } else { &case.client };
        self.logs.get(name)
    }

    fn edge(&self) -> &str {
        self.setting.mesh.workloads.get(EDGE).map_or("", |w| &w.ip)
    }

    fn gather(&self, case: &Case, requests: &[Request], first: u16, answers: Vec<Answer>) -> Vec<Observation> {
        let one = |((n, request), answer): ((u16, &Request), Answer)| {
            let port = first + n;
            let lines = |log: Option<&Log>, belongs: &dyn Fn(&Line) -> bool| -> Vec<Line> {
                log.into_iter().flat_map(|l| &l.lines).filter(|l| belongs(l)).cloned().collect()
            };
            let has_id = |l: &Line| l.get("id") == Some(&request.id);
            let from_client = |l: &Line| has_id(l) || (!case.reuse && is_from(l, port));
            let out = lines(self.first_log(case), &from_client);
            // What has no id of its own is known by the connection that it came over; others share theirs.
            let of_sidecar = |l: &Line| {
                let (mine, theirs) =
                    if l.get("id") == Some("-") { ("downstream_remote", "local") } else { ("id", "id") };
                out.iter().any(|o| o.get(theirs) == l.get(mine))
            };
            let inbound = lines(self.logs.get("was"), &|l| from_client(l) || of_sidecar(l));
            Observation {
                parts: Parts::of(&answer.raw),
                out,
                inbound,
                seen: self.lab.application.seen(&request.id),
                request: request.clone(),
                answer,
            }
        };
        (0..).zip(requests).zip(answers).map(one).collect()
    }
}

/// Whether a line is about a connection from this port.
fn is_from(line: &Line, port: u16) -> bool {
    line.get("downstream_remote").and_then(|a| a.rsplit_once(':')).is_some_and(|(_, p)| p.parse() == Ok(port))
}
