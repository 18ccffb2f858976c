//! Where traces are read from.

use std::sync::Arc;

use super::blocking;
use super::query::Wanted;
use crate::store::spans::{Found, Operation, Search};
use crate::store::{Error, Store};

/// Where traces are.
#[derive(Debug, Clone)]
pub enum Traces {
    /// Here.
    Kept(Store),
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
        }
    }

    /// Operations of a service, sorted.
    pub(super) async fn operations(&self, service: String) -> Result<Vec<Operation>, Error> {
        match self {
            Self::Kept(store) => {
                let store = store.clone();
                blocking(move || store.spans().operations(&service)).await
            }
        }
    }

    /// The spans of a trace by their start; empty: there is none.
    pub(super) async fn trace(&self, id: u128) -> Result<Vec<Found>, Error> {
        match self {
            Self::Kept(store) => {
                let store = store.clone();
                blocking(move || store.spans().trace(id)).await
            }
        }
    }

    /// Which traces are meant by a search, the newest first.
    pub(super) async fn search(&self, search: Search) -> Result<Vec<u128>, Error> {
        match self {
            Self::Kept(store) => {
                let store = store.clone();
                blocking(move || store.spans().search(&search)).await
            }
        }
    }

    /// The traces that are meant, each with all of its spans.
    pub(super) async fn find(&self, wanted: Wanted) -> Result<Vec<Vec<Found>>, Error> {
        let ids = match wanted {
            Wanted::Traces(ids) => ids,
            Wanted::Search(search) => self.search(search).await?,
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
}
