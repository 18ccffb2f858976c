//! Writes the statuses of the Gateway API's objects: what pilot decided, with the times at which conditions changed.
//!
//! A status is written only where it would be another, and only over the version of the object that it was made from: what another
//! controller wrote in between is looked at first. Several control planes decide alike, so that they do not fight.

mod times;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tracing::{debug, warn};
use varka_pilot::{GatewayApiStatus, gateway_api_statuses};

use crate::watch::{Published, versions};

const GROUP: &str = "gateway.networking.k8s.io";
/// What could not be written is tried again so much later, if nothing changes before.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps the statuses right, until dropped.
pub(crate) async fn run(client: Client, mut published: watch::Receiver<Arc<Published>>) {
    loop {
        let now = Arc::clone(&published.borrow_and_update());
        let mut again = false;
        if now.number > 0 {
            for status in due(gateway_api_statuses(&now.snapshot), Timestamp::now()) {
                again |= !write(&client, &status).await;
            }
        }
        let changed = published.changed();
        let closed = if again {
            matches!(tokio::time::timeout(RETRY, changed).await, Ok(Err(_)))
        } else {
            changed.await.is_err()
        };
        if closed {
            return;
        }
    }
}

/// Those that say something else than what is there.
fn due(statuses: Vec<GatewayApiStatus>, now: Timestamp) -> Vec<GatewayApiStatus> {
    // Times in a status are whole seconds.
    let time = Timestamp::from_second(now.as_second()).unwrap_or(now).to_string();
    let timed = statuses.into_iter().map(|mut status| {
        times::fill(&mut status.wanted, &status.current, &time);
        status
    });
    timed.filter(|status| !times::says(&status.current, &status.wanted)).collect()
}

/// Whether nothing is left to do about it now.
async fn write(client: &Client, status: &GatewayApiStatus) -> bool {
    let GatewayApiStatus { kind, namespace, name, .. } = status;
    let patch = Patch::Merge(json!({
        "metadata": {"resourceVersion": status.resource_version}, "status": status.wanted,
    }));
    for (version, plural) in versions(GROUP, kind) {
        let resource = ApiResource {
            group: GROUP.to_owned(),
            version: version.to_owned(),
            api_version: format!("{GROUP}/{version}"),
            kind: (*kind).to_owned(),
            plural: plural.to_owned(),
        };
        let api: Api<DynamicObject> = match namespace.as_str() {
            "" => Api::all_with(client.clone(), &resource),
            namespace => Api::namespaced_with(client.clone(), namespace, &resource),
        };
        match api.patch_status(name, &PatchParams::default(), &patch).await {
            Ok(_) => {
                debug!(kind, namespace, name, "status written");
                return true;
            }
            // This version is not served, or the object is gone: then the next is not there either.
            Err(kube::Error::Api(answer)) if answer.is_not_found() => {}
            // The newer object is on its way here.
            Err(kube::Error::Api(answer)) if answer.is_conflict() => return true,
            Err(error) => {
                warn!(kind, namespace, name, %error, "cannot write the status");
                return false;
            }
        }
    }
    true
}
