//! Lines of containers.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde_json::{Value, json};

use super::{Pairs, Refused, Shared, now, number, parameter};
use crate::jaeger::blocking;
use crate::store::logs::{Line, Source};
use crate::world::World;

const DEFAULT_LIMIT: i64 = 500;
const MAX_LIMIT: i64 = 5_000;

/// Whose lines are wanted; empty: everybody's.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    namespace: String,
    workload: String,
    containers: Vec<String>,
}

impl Wanted {
    pub(super) fn read(pairs: &[(String, String)]) -> Self {
        let text = |name| parameter(pairs, name).unwrap_or_default().to_owned();
        let containers = text("containers").split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Self { namespace: text("namespace"), workload: text("workload"), containers }
    }

    pub(super) fn takes(&self, world: &World, source: &Source) -> bool {
        let of_pod = || crate::facts::workload_of(world, &source.namespace, &source.pod) == self.workload;
        world.sight().sees(&source.namespace)
            && (self.namespace.is_empty() || self.namespace == source.namespace)
            && (self.containers.is_empty() || self.containers.contains(&source.container))
            && (self.workload.is_empty() || of_pod())
    }
}

pub(super) async fn logs(State(source): Shared, Query(pairs): Pairs) -> Result<Json<Value>, Refused> {
    let wanted = Wanted::read(&pairs);
    let limit = number(&pairs, "limit")?.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    let micros = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000);
    let start = number(&pairs, "from")?.map_or(0, micros);
    let end = number(&pairs, "to")?.map_or_else(|| u64::try_from(now()).unwrap_or(0) * 1000, |to| micros(to) + 999_999);
    let found = blocking(move || {
        let source = Arc::clone(&source);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        source.store.logs().lines(|of| wanted.takes(&source.world, of), start, end, limit)
    });
    Ok(Json(found.await?.iter().map(line).collect()))
}

/// In the pages' words.
pub(super) fn line(line: &Line) -> Value {
    json!({
        "at": line.at, "pod": line.source.pod, "container": line.source.container, "text": line.text,
        "access": null,
    })
}
