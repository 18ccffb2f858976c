//! Why a request goes the way it goes: one that was made, or one that is thought up ([`crate::explain`]).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::{Refused, Shared, now};
use crate::access::sight::Sight;
use crate::access_line;
use crate::explain::{Explanation, From as Client, Mesh, Recorded, Refusal, Thought, To, thought, trace};
use crate::graph::Source;
use crate::jaeger::blocking;
use crate::requests::{Seen, seen};
use crate::store::logs::Source as Container;
use crate::store::{Error, Millis};

/// A log line is written after its span, at most so long (microseconds).
const LATER: u64 = 10_000_000;
/// Lines of one proxy that are looked through for one request.
const LINES: usize = 20_000;
/// So many hops are explained.
const MOST_HOPS: usize = 64;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    #[serde(default)]
    trace_id: Option<String>,
    #[serde(default)]
    from: Option<Client>,
    #[serde(default)]
    to: Option<To>,
    #[serde(default)]
    at: Option<f64>,
}

pub(super) async fn explain(State(source): Shared, asked: Json<Value>) -> Result<Json<Explanation>, Refused> {
    let asked: Asked = serde_json::from_value(asked.0)
        .map_err(|problem| Refused::bad(format!("what is asked cannot be read: {problem}")))?;
    let at = asked.at.filter(|at| at.is_finite() && at.abs() < 1e12);
    #[expect(clippy::cast_possible_truncation, reason = "checked to be within")]
    let at = at.map(|at| (at * 1000.0) as Millis);
    let sight = source.world.sight().clone();
    // What decides may lie in namespaces that are not seen: it is decided with, and told only where nothing of it is.
    let source = Arc::new(Source { world: source.world.whole(), ..Source::clone(&source) });
    let found = match (asked.trace_id, asked.from, asked.to) {
        (Some(trace), _, _) => of_trace(source, &sight, &trace, at).await?,
        (None, Some(from), Some(to)) => {
            all_seen(&sight, [&*from.namespace])?;
            let seconds = u64::try_from(at.unwrap_or_else(now).div_euclid(1000)).unwrap_or(0);
            blocking(move || Ok(thought(&mesh(&source, at)?, &Thought { from, to }, seconds))).await?
        }
        _ => return Err(Refused::bad("traceId is missing, and so are from and to: one or the other is asked for")),
    };
    let explanation = found.map_err(refused)?;
    all_seen(&sight, explanation.touched.iter().map(String::as_str))?;
    Ok(Json(explanation))
}

/// Whoever may not see a namespace that a request comes by, or that holds what decides about it, is told which.
fn all_seen<'n>(sight: &Sight, namespaces: impl IntoIterator<Item = &'n str>) -> Result<(), Refused> {
    let Some(hidden) = namespaces.into_iter().find(|namespace| !sight.sees(namespace)) else { return Ok(()) };
    Err(Refused {
        status: StatusCode::FORBIDDEN,
        code: "forbidden",
        message: format!(
            "Why this request goes its way is said by namespace {hidden}, too, which you may not get. Ask for a Role with the verb \
             get on it, or somebody who has one."
        ),
    })
}

fn refused(refusal: Refusal) -> Refused {
    match refusal {
        Refusal::NotFound(message) => Refused::not_found(message),
        Refusal::Bad(message) => Refused::bad(message),
    }
}

/// The mesh as it was at a time, or is.
fn mesh(source: &Source, at: Option<Millis>) -> Result<Mesh, Error> {
    let world = match at {
        Some(at) => source.world.at(at)?,
        None => source.world.clone(),
    };
    Ok(Mesh::of(&world, &source.cluster, &source.domain))
}

async fn of_trace(
    source: Arc<Source>,
    sight: &Sight,
    id: &str,
    at: Option<Millis>,
) -> Result<Result<Explanation, Refusal>, Refused> {
    let number = u128::from_str_radix(id, 16).ok().filter(|number| *number != 0);
    let number = number.ok_or_else(|| Refused::bad(format!("traceId cannot be {id:?}; it is hexadecimal")))?;
    let reading = Arc::clone(&source);
    let spans = source.traces.trace(number).await?;
    let (spans, mut hops) = blocking(move || {
        let mut hops: Vec<Seen> = spans.iter().filter_map(seen).take(MOST_HOPS).collect();
        for seen in &mut hops {
            read_log(&reading, seen)?;
        }
        Ok((spans.len(), hops))
    })
    .await?;
    if spans == 0 {
        return Err(Refused::not_found(format!("There is no trace {id}: it was not sampled, or is no longer kept.")));
    }
    let Some(began) = hops.iter().map(|seen| seen.at).min() else {
        return Err(Refused {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            code: "invalid",
            message: format!("Trace {id} has no span of a proxy of the mesh: there is nothing that decided."),
        });
    };
    all_seen(sight, hops.iter().map(|seen| &*seen.hop.namespace))?;
    hops.sort_by_key(|seen| seen.at);
    let recorded = Recorded { hops: hops.into_iter().map(|seen| seen.hop).collect() };
    let at = at.unwrap_or_else(|| Millis::try_from(began / 1000).unwrap_or(Millis::MAX));
    Ok(blocking(move || Ok(trace(&mesh(&source, Some(at))?, &recorded, began / 1_000_000))).await?)
}

/// What the proxy's log says beside its span.
fn read_log(source: &Source, seen: &mut Seen) -> Result<(), Error> {
    if seen.request_id.is_empty() {
        return Ok(());
    }
    let hop = &mut seen.hop;
    let is_own = |of: &Container| of.namespace == hop.namespace && of.pod == hop.pod;
    let end = seen.at.saturating_add(seen.duration).saturating_add(LATER);
    let lines = source.store.logs().lines(is_own, seen.at, end, LINES)?;
    let of_it = lines.iter().filter(|line| line.text.contains(&seen.request_id));
    let mut read = of_it.filter_map(|line| access_line::read(&line.text));
    let same = |line: &access_line::AccessLine| {
        line.request_id == seen.request_id && (line.cluster == hop.cluster || line.cluster.is_empty())
    };
    if let Some(line) = read.find(same) {
        hop.dialled = line.dialled;
        hop.details = line.details;
        hop.upstream = line.upstream;
        hop.server_name = line.server_name;
    }
    Ok(())
}
