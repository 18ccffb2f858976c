//! Sends the requests of a set's cases, and gathers what came of them: the answer, both sidecars' log lines, and what the
//! application saw.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::app::Seen;
use super::case::{Case, Request, Tokens};
use super::client::{self, Answer, Plan, Tls};
use super::lab::{Lab, SIDECARS};
use super::log::{Line, Log};
use super::plane::{Running, Setting};

/// A log line comes within so long, or not at all.
const LONGEST: Duration = Duration::from_millis(1200);
/// After the last case, for lines and mirrored requests that nobody waited for.
const QUIET: Duration = Duration::from_millis(250);

/// All that is known of one request.
#[derive(Debug, Clone)]
pub(super) struct Observation {
    /// What was sent.
    pub request: Request,
    /// What came back.
    pub answer: Answer,
    /// The answer's parts.
    pub parts: Parts,
    /// Lines of the client's sidecar.
    pub out: Vec<Line>,
    /// Lines of the server's sidecar.
    pub inbound: Vec<Line>,
    /// What the application saw.
    pub seen: Vec<Seen>,
}

/// An answer, taken apart.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    /// Status; `None` without a whole head.
    pub status: Option<u16>,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The request as the application saw it, when it is what answered.
    pub upstream: Option<Value>,
    /// The body otherwise.
    pub body: Option<String>,
    /// Bytes came, but no whole head.
    pub partial: bool,
}

impl Parts {
    /// Takes it apart.
    pub(super) fn of(raw: &str) -> Self {
        let Some((head, body)) = raw.split_once("\r\n\r\n") else {
            return Self { partial: !raw.is_empty(), ..Self::default() };
        };
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok());
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_owned(), value.trim().to_owned())
        };
        let headers: Vec<_> = lines.map(field).collect();
        let of_application = headers.iter().any(|(n, v)| n.eq_ignore_ascii_case("x-app-instance") && !v.is_empty());
        let upstream = serde_json::from_str(body).ok().filter(|v: &Value| of_application && v.is_object());
        let body = upstream.is_none().then(|| body.to_owned());
        Self { status, headers, upstream, body, partial: false }
    }
}

/// Runs the cases one after another; what was observed of each, or why it could not be run.
pub(super) async fn observe(
    lab: &Lab,
    running: &Running,
    setting: &Setting,
    cases: &[&Case],
    tokens: &Tokens,
) -> Result<Vec<Result<Vec<Observation>>>> {
    let mut logs: BTreeMap<&str, Log> = SIDECARS.iter().map(|s| (*s, Log::new(setting.log(s)))).collect();
    let mut sent = Vec::new();
    for case in cases {
        sent.push(exchange(lab, running, setting, case, tokens, &mut logs).await);
    }
    tokio::time::sleep(QUIET).await;
    logs.values_mut().for_each(Log::follow);
    let lines = |sidecar: &str, id: &str| {
        logs.get(sidecar).map(|log| log.of(id).into_iter().cloned().collect()).unwrap_or_default()
    };
    let complete = |case: &Case, (request, answer): (Request, Answer)| Observation {
        parts: Parts::of(&answer.raw),
        out: lines(&case.client, &request.id),
        inbound: lines("was", &request.id),
        seen: if case.applog { lab.application.seen(&request.id) } else { Vec::new() },
        request,
        answer,
    };
    let finish = |(case, sent): (&&Case, Result<Vec<(Request, Answer)>>)| {
        Ok(sent?.into_iter().map(|pair| complete(case, pair)).collect())
    };
    Ok(cases.iter().zip(sent).map(finish).collect())
}

async fn exchange(
    lab: &Lab,
    running: &Running,
    setting: &Setting,
    case: &Case,
    tokens: &Tokens,
    logs: &mut BTreeMap<&str, Log>,
) -> Result<Vec<(Request, Answer)>> {
    let requests = case.requests(tokens)?;
    let answers = send(lab, running, setting, case, &requests, None).await?;
    logged(case, &requests, &answers, logs).await?;
    Ok(requests.into_iter().zip(answers).collect())
}

/// Sends the requests of a case; from ports that begin with `first`, where one is given.
pub(super) async fn send(
    lab: &Lab,
    running: &Running,
    setting: &Setting,
    case: &Case,
    requests: &[Request],
    first: Option<u16>,
) -> Result<Vec<Answer>> {
    let tls = match &case.tls {
        None => None,
        Some(tls) => {
            let identity = match &tls.id {
                None => None,
                Some(name) => {
                    let workload = setting.mesh.workloads.get(name).with_context(|| format!("no workload {name}"))?;
                    Some(running.identity(workload).await?)
                }
            };
            Some(Tls { identity, alpn: tls.alpn.clone(), sni: tls.sni.clone() })
        }
    };
    let plan = Plan {
        to: case.to()?,
        from: case.src,
        parallel: case.parallel,
        stagger: case.stagger()?,
        reuse: case.reuse,
        timeout: case.timeout()?,
        tls,
        protocol: case.protocol,
    };
    let send = |(n, r): (u16, &Request)| client::Send {
        raw: r.raw.clone(),
        message: r.message.clone(),
        pause: r.pause,
        port: first.map(|first| first + n),
    };
    let sends = (0..).zip(requests).map(send).collect();
    lab.pod(&case.client)?.run(async move { client::send(plan, sends).await }).await
}

/// Until both sidecars have logged what they must have seen.
async fn logged(case: &Case, requests: &[Request], answers: &[Answer], logs: &mut BTreeMap<&str, Log>) -> Result<()> {
    let (started, settle) = (Instant::now(), case.settle()?);
    let wanted = answers.iter().filter(|a| !a.raw.is_empty()).count();
    let through_sidecar = matches!(case.client.as_str(), "web" | "other");
    loop {
        logs.values_mut().for_each(Log::follow);
        let of = |sidecar: &str| -> Vec<&Line> {
            logs.get(sidecar).map(|log| requests.iter().flat_map(|r| log.of(&r.id)).collect()).unwrap_or_default()
        };
        let out = if through_sidecar { of(&case.client) } else { Vec::new() };
        let to_server =
            |l: &&Line| l.get("host").is_some_and(|h| h.starts_with("10.77.0.2") || h.starts_with("10.96.0.10"));
        let inbound_wanted = out.iter().any(to_server) || (case.client == "ext" && wanted > 0);
        let complete = (!through_sidecar || out.len() >= wanted) && (!inbound_wanted || !of("was").is_empty());
        let waited = started.elapsed();
        if waited >= settle && (complete || waited > LONGEST) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
