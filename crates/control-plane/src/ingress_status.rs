//! `status.loadBalancer` of Ingresses: where the gateway that serves them is reached.
//!
//! [`plan`] decides, purely; the loop around it watches and writes. It writes only where a gateway of ours is connected whose
//! pods the Service selects: beside a real ingress-nginx, which writes the same field, it stays out of the way.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, pin_mut, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tracing::{debug, warn};

use crate::xds::connected::Connected;

const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// A gateway: which controller it stands for, and the Service in front of it.
#[derive(Debug, Clone)]
pub struct IngressGateway {
    /// `spec.controller` of the IngressClasses that it serves.
    pub controller: String,
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
}

/// What is to be written: an Ingress and its `status.loadBalancer.ingress`.
#[derive(Debug, PartialEq)]
struct Write {
    namespace: String,
    name: String,
    addresses: Value,
}

/// Which Ingresses of `controller` do not say `addresses`.
fn plan(controller: &str, addresses: &Value, ingresses: &[Arc<Ingress>], classes: &[Arc<IngressClass>]) -> Vec<Write> {
    let serves = |class: &str| {
        let class = classes.iter().find(|known| known.metadata.name.as_deref() == Some(class));
        class.and_then(|class| class.spec.as_ref()?.controller.as_deref()) == Some(controller)
    };
    let default = classes
        .iter()
        .find(|class| class.annotations().get(DEFAULT_CLASS).is_some_and(|value| value == "true"))
        .and_then(|class| class.metadata.name.as_deref());
    let class_of = |ingress: &Ingress| {
        let named = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.clone());
        let named = named.or_else(|| ingress.annotations().get(CLASS_ANNOTATION).cloned());
        named.or_else(|| default.map(str::to_owned))
    };
    ingresses
        .iter()
        .filter(|ingress| ingress.metadata.deletion_timestamp.is_none())
        .filter(|ingress| class_of(ingress).is_some_and(|class| serves(&class)))
        .filter(|ingress| {
            let status = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            let said = serde_json::to_value(status.and_then(|status| status.ingress.as_ref())).unwrap_or_default();
            said != *addresses
        })
        .filter_map(|ingress| {
            let (namespace, name) = (ingress.namespace()?, ingress.metadata.name.clone()?);
            Some(Write { namespace, name, addresses: addresses.clone() })
        })
        .collect()
}

/// Where a Service is reached from outside: what its load balancer says, else its external addresses, else its own.
fn addresses(service: &Service) -> Option<Value> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    if let Some(list) = balancer.and_then(|balancer| balancer.ingress.as_ref()).filter(|list| !list.is_empty()) {
        let entries = list.iter().map(|entry| match (&entry.ip, &entry.hostname) {
            (Some(ip), _) => json!({"ip": ip}),
            (None, hostname) => json!({"hostname": hostname}),
        });
        return Some(entries.collect());
    }
    let spec = service.spec.as_ref()?;
    if let Some(list) = spec.external_ips.as_ref().filter(|list| !list.is_empty()) {
        return Some(list.iter().map(|ip| json!({"ip": ip})).collect());
    }
    let ip = spec.cluster_ip.as_ref().filter(|ip| !ip.is_empty() && *ip != "None")?;
    Some(json!([{"ip": ip}]))
}

/// Keeps the status of the Ingresses of `gateway` right, until dropped.
pub(crate) async fn run(client: Client, gateway: IngressGateway, connected: Arc<Connected>) {
    let (ingresses, ingress_writer) = reflector::store::<Ingress>();
    let (classes, class_writer) = reflector::store::<IngressClass>();
    let (services, service_writer) = reflector::store::<Service>();
    let all = watcher::Config::default;
    let one = all().fields(&format!("metadata.name={}", gateway.service));
    let service_api: Api<Service> = Api::namespaced(client.clone(), &gateway.namespace);
    let ingress_events = reflector::reflector(ingress_writer, watcher(Api::all(client.clone()), all()))
        .default_backoff()
        .map(|event| event.is_ok());
    let class_events = reflector::reflector(class_writer, watcher(Api::all(client.clone()), all()))
        .default_backoff()
        .map(|event| event.is_ok());
    let service_events =
        reflector::reflector(service_writer, watcher(service_api, one)).default_backoff().map(|event| event.is_ok());
    let connections = stream::unfold(connected.changes(), |mut changes| async move {
        let more = changes.changed().await.is_ok();
        more.then_some((true, changes))
    });
    let touched =
        stream::select(stream::select(ingress_events, class_events), stream::select(service_events, connections));
    pin_mut!(touched);
    let reference = ObjectRef::new(&gateway.service).within(&gateway.namespace);
    while let Some(changed) = touched.next().await {
        let Some(service) = services.get(&reference).filter(|_| changed) else { continue };
        let selector: BTreeMap<_, _> = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
        if selector.is_empty() || !connected.has_router(&gateway.namespace, &selector) {
            continue;
        }
        let Some(addresses) = addresses(&service) else { continue };
        for write in plan(&gateway.controller, &addresses, &ingresses.state(), &classes.state()) {
            apply(&client, write).await;
        }
    }
}

async fn apply(client: &Client, write: Write) {
    let api: Api<Ingress> = Api::namespaced(client.clone(), &write.namespace);
    let patch = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": write.addresses}}}));
    match api.patch_status(&write.name, &PatchParams::default(), &patch).await {
        Ok(_) => debug!(namespace = write.namespace, name = write.name, "Ingress status written"),
        // Deleted meanwhile.
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        Err(error) => warn!(namespace = write.namespace, name = write.name, %error, "cannot write the Ingress status"),
    }
}

#[cfg(test)]
mod tests;
