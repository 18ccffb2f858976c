//! What is not configured yet is asked for, and whoever needs it waits for the answer.
//!
//! What is there costs nothing more: the functions here are called when something is missing. Only the control plane's word
//! that there is none lets traffic go on as if there were none; without an answer it ends here, for it might have been meant
//! for a service of the mesh, and would leave in plain text. How many names are asked for is limited by the client of the
//! control plane.

use std::sync::Arc;
use std::time::Duration;

use varka_engine::host::RouteIndex;
use varka_engine::ir::{Discovery, Listener, ResourceType, RouteSource, Str};
use varka_engine::listener::Lookup;
use varka_engine::outcome::NoConfiguration;
use varka_engine::trace::Trace;
use varka_xds::client::{Answer, OnDemand};

use crate::cluster::ClusterState;
use crate::config::Config;
use crate::http::{Exchange, Halt};
use crate::state::State;

/// The control plane is waited for at most so long.
const LIMIT: Duration = Duration::from_secs(5);
/// Longer names are asked for by nobody who means well: a domain name has at most 253 bytes.
const LONGEST: usize = 512;

/// Asks for a resource. `true`: it is in use by now; `false`: there is none.
async fn ask(names: &OnDemand, kind: ResourceType, name: &Str) -> Result<bool, NoConfiguration> {
    if name.len() > LONGEST {
        return Err(NoConfiguration::Limit);
    }
    match tokio::time::timeout(LIMIT, names.want(kind, Arc::clone(name))).await {
        Ok(Ok(Answer::Present)) => Ok(true),
        Ok(Ok(Answer::Absent)) => Ok(false),
        Ok(Ok(Answer::Unusable)) => Err(NoConfiguration::Refused),
        Ok(Ok(Answer::TooMany)) => Err(NoConfiguration::Limit),
        Ok(Err(_)) | Err(_) => Err(NoConfiguration::Timeout),
    }
}

/// The listener of a connection that `accepting` accepted, and the configuration that has it; else why it is not known, and
/// what was asked for.
pub(crate) async fn listener(
    state: &State,
    config: Arc<Config>,
    accepting: &Arc<Listener>,
    original_dst: std::net::SocketAddr,
) -> Result<(Arc<Config>, Arc<Listener>), (NoConfiguration, Str)> {
    let chosen = |config: Arc<Config>| {
        let listener = Arc::clone(config.listeners().choose(accepting, original_dst, &mut Trace::off()));
        (config, listener)
    };
    let Some(names) = state.names().filter(|_| accepting.use_original_dst) else { return Ok(chosen(config)) };
    let Lookup::NotAsked(missing) = config.listeners().look_up(original_dst) else { return Ok(chosen(config)) };
    // All at once: a connection waits as long as one of them takes.
    let asked = async |name: &Str| {
        let answered = ask(names, ResourceType::Listener, name).await;
        answered.map(drop).map_err(|why| (why, Str::from(format!("listener {name}"))))
    };
    match missing.as_slice() {
        [exact, any] => {
            let (exact, any) = Box::pin(async { tokio::join!(asked(exact), asked(any)) }).await;
            exact.and(any)?;
        }
        rest => {
            for name in rest {
                Box::pin(asked(name)).await?;
            }
        }
    }
    let config = state.config();
    match config.listeners().look_up(original_dst) {
        Lookup::NotAsked(missing) => {
            let name = missing.first().cloned().unwrap_or_default();
            Err((NoConfiguration::Timeout, format!("listener {name}").into()))
        }
        Lookup::Found(_) | Lookup::Nobody => Ok(chosen(config)),
    }
}

/// The route table of a request's connection manager, once it is known which virtual host the request's Host means.
pub(crate) async fn routes(x: &mut Exchange<'_>) -> Result<Option<Arc<RouteIndex>>, Halt> {
    let state = &x.worker().state;
    let Some(names) = state.names() else { return Ok(x.config.routes(&x.conn.chain)) };
    if x.config.routes(&x.conn.chain).is_none()
        && let RouteSource::Rds(name) = &x.manager().routes
    {
        let answered = ask(names, ResourceType::Route, name).await;
        answered.map_err(|why| why.reply(&format!("route table {name}")))?;
        x.config = state.config();
    }
    let unasked = |x: &Exchange<'_>| x.config.routes(&x.conn.chain)?.unasked(x.head.authority.as_str());
    if let Some(name) = unasked(x) {
        let refuse = |why: NoConfiguration| why.reply(&format!("virtual host {name}"));
        ask(names, ResourceType::VirtualHost, &name).await.map_err(refuse)?;
        x.config = state.config();
        if unasked(x).is_some() {
            return Err(refuse(NoConfiguration::Timeout).into());
        }
    }
    Ok(x.config.routes(&x.conn.chain))
}

/// A cluster that can be used at once.
pub(crate) fn held(state: &State, config: &Config, name: &Str) -> Option<Arc<ClusterState>> {
    config.cluster(name).filter(|cluster| cluster.is_warm() || state.names().is_none()).cloned()
}

/// A cluster that is not [`held`]; `None`: there is none.
pub(crate) async fn cluster(
    state: &State,
    config: &Config,
    name: &Str,
) -> Result<Option<Arc<ClusterState>>, NoConfiguration> {
    let Some(names) = state.names() else { return Ok(None) };
    if config.is_absent(ResourceType::Cluster, name) {
        return Ok(None);
    }
    if !ask(names, ResourceType::Cluster, name).await? {
        return Ok(None);
    }
    let Some(cluster) = state.config().cluster(name).cloned() else { return Err(NoConfiguration::Timeout) };
    if matches!(cluster.config.discovery, Discovery::Dns { .. }) {
        // Its names are being looked up for the first time.
        let warmed = tokio::time::timeout(LIMIT, cluster.warmed()).await;
        warmed.map_err(|_| NoConfiguration::Timeout)?;
    }
    Ok(Some(cluster))
}
