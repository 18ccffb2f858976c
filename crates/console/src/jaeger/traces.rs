//! Where traces are read from.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::elsewhere::Elsewhere;
use super::query::Wanted;
use super::{blocking, model};
use crate::store::spans::{Found, Operation, Search};
use crate::store::{Error, Store};

/// Traces in which calls are counted, at most,
const DEPENDENCY_TRACES: usize = 2_000;
/// and where each has to be fetched.
const FETCHED_TRACES: usize = 100;

/// Where traces are.
#[derive(Debug, Clone)]
pub enum Traces {
    /// Here.
    Kept(Store),
    /// With somebody else.
    Elsewhere(Elsewhere),
}

impl From<Store> for Traces {
    fn from(store: Store) -> Self {
        Self::Kept(store)
    }
}

impl Traces {
    /// Names of every service, sorted.
    pub(super) async fn services(&self) -> Result<Vec<Arc<str>>, Error> {
        match self {
            Self::Kept(store) => Ok(store.spans().services()),
            Self::Elsewhere(elsewhere) => elsewhere.services().await,
        }
    }

    /// Operations of a service, sorted.
    pub(super) async fn operations(&self, service: String) -> Result<Vec<Operation>, Error> {
        match self {
            Self::Kept(store) => {
                let store = store.clone();
                blocking(move || store.spans().operations(&service)).await
            }
            Self::Elsewhere(elsewhere) => elsewhere.operations(&service).await,
        }
    }

    /// The spans of a trace by their start; empty: there is none.
    pub(crate) async fn trace(&self, id: u128) -> Result<Vec<Found>, Error> {
        match self {
            Self::Kept(store) => {
                let store = store.clone();
                blocking(move || store.spans().trace(id)).await
            }
            Self::Elsewhere(elsewhere) => elsewhere.trace(id).await,
        }
    }

    /// Which traces are meant by a search, the newest first.
    pub(super) async fn search(&self, search: Search) -> Result<Vec<u128>, Error> {
        match self {
            Self::Kept(store) => {
                let store = store.clone();
                blocking(move || store.spans().search(&search)).await
            }
            Self::Elsewhere(elsewhere) => elsewhere.search(&search).await,
        }
    }

    /// The traces that are meant, each with all of its spans.
    pub(super) async fn find(&self, wanted: Wanted) -> Result<Vec<Vec<Found>>, Error> {
        let ids = match (wanted, self) {
            (Wanted::Traces(ids), _) => ids,
            (Wanted::Search(search), Self::Elsewhere(elsewhere)) => return elsewhere.find(&search).await,
            (Wanted::Search(search), Self::Kept(_)) => self.search(search).await?,
        };
        let mut traces = Vec::new();
        for id in ids {
            let spans = self.trace(id).await?;
            if !spans.is_empty() {
                traces.push(spans);
            }
        }
        Ok(traces)
    }

    /// Who called whom how often, from `start` to `end`: as somebody else counted it, else in the newest traces.
    pub(super) async fn calls(&self, start: u64, end: u64) -> Result<BTreeMap<(String, String), u64>, Error> {
        let limit = match self {
            Self::Kept(_) => DEPENDENCY_TRACES,
            Self::Elsewhere(elsewhere) => match elsewhere.calls(start, end).await? {
                Some(calls) => return Ok(calls),
                None => FETCHED_TRACES,
            },
        };
        let search = Search { start, end, limit, ..Search::default() };
        Ok(model::dependencies(&self.find(Wanted::Search(search)).await?))
    }
}
