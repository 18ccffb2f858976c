//! What the runtime knows of the cluster: kept current by watches, read without asking.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::reflector::{ObjectRef, Store, reflector, store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, core::DynamicObject};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::image::{self, Image, ImageError};

/// Reflections of the kinds that pods refer to. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) services: Store<Service>,
    pub(crate) endpoints: Store<EndpointSlice>,
    pub(crate) config_maps: Store<ConfigMap>,
    pub(crate) secrets: Store<Secret>,
    pub(crate) claims: Store<PersistentVolumeClaim>,
    pub(crate) volumes: Store<PersistentVolume>,
    runtimes: Store<DynamicObject>,
    /// Changes whenever something that a pod may wait for has changed.
    changed: watch::Sender<u64>,
    /// Changes whenever a Service or its endpoints have.
    routes: watch::Sender<u64>,
    tasks: Arc<Tasks>,
}

#[derive(Debug)]
struct Tasks(Vec<AbortHandle>);

fn reflect<K>(api: Api<K>, tick: watch::Sender<u64>, tasks: &mut Vec<AbortHandle>) -> Store<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Default + Unpin + Debug + Send + Sync,
{
    let (reader, writer) = store();
    reflect_into(api, writer, tick, tasks);
    reader
}

fn reflect_into<K>(
    api: Api<K>,
    writer: kube::runtime::reflector::store::Writer<K>,
    tick: watch::Sender<u64>,
    tasks: &mut Vec<AbortHandle>,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Unpin + Debug + Send + Sync,
{
    let events = reflector(writer, watcher(api, watcher::Config::default())).default_backoff();
    let task = tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                // The objects of a first list are visible together, at its end.
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => {}
                Ok(_) => tick.send_modify(|count| *count = count.wrapping_add(1)),
                Err(error) => {
                    tracing::warn!(kind = std::any::type_name::<K>(), %error, "a watch is interrupted and tried again")
                }
            }
        }
    });
    tasks.push(task.abort_handle());
}

impl Cluster {
    /// Starts the watches and waits until each has its first list.
    pub(crate) async fn start(client: &Client) -> Self {
        let (changed, routes) = (watch::channel(0).0, watch::channel(0).0);
        let mut tasks = Vec::new();
        let all = || client.clone();
        let kind = image::local_runtime();
        let runtimes = {
            let writer = kube::runtime::reflector::store::Writer::<DynamicObject>::new(kind.clone());
            let reader = writer.as_reader();
            reflect_into(Api::all_with(all(), &kind), writer, changed.clone(), &mut tasks);
            reader
        };
        let cluster = Self {
            services: reflect(Api::all(all()), routes.clone(), &mut tasks),
            endpoints: reflect(Api::all(all()), routes.clone(), &mut tasks),
            config_maps: reflect(Api::all(all()), changed.clone(), &mut tasks),
            secrets: reflect(Api::all(all()), changed.clone(), &mut tasks),
            claims: reflect(Api::all(all()), changed.clone(), &mut tasks),
            volumes: reflect(Api::all(all()), changed.clone(), &mut tasks),
            runtimes,
            changed,
            routes,
            tasks: Arc::new(Tasks(tasks)),
        };
        cluster.ready().await;
        cluster
    }

    /// Waits for the first lists. A kind that the API server does not know keeps trying and is not waited for.
    async fn ready(&self) {
        let lists = async {
            let (a, b) = (self.services.wait_until_ready(), self.endpoints.wait_until_ready());
            let (c, d) = (self.config_maps.wait_until_ready(), self.secrets.wait_until_ready());
            // The writers live in tasks of ours, so none of these fails while we are here.
            drop(tokio::join!(a, b, c, d, self.claims.wait_until_ready(), self.volumes.wait_until_ready()));
            drop(self.runtimes.wait_until_ready().await);
        };
        if tokio::time::timeout(std::time::Duration::from_secs(10), lists).await.is_err() {
            tracing::warn!("the API server does not answer every watch; pods that need what is missing wait for it");
        }
    }

    /// Ends the watches.
    pub(crate) fn stop(&self) {
        self.tasks.0.iter().for_each(AbortHandle::abort);
    }

    /// Tells of changes of what pods refer to.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Tells of changes of Services and endpoints.
    pub(crate) fn route_changes(&self) -> watch::Receiver<u64> {
        self.routes.subscribe()
    }

    /// What an image name stands for now.
    pub(crate) fn image(&self, reference: &str) -> Result<Image, ImageError> {
        let objects: Vec<DynamicObject> = self.runtimes.state().iter().map(|object| (**object).clone()).collect();
        image::resolve(reference, &objects)
    }

    pub(crate) fn config_map(&self, namespace: &str, name: &str) -> Option<Arc<ConfigMap>> {
        self.config_maps.get(&ObjectRef::new(name).within(namespace))
    }

    pub(crate) fn secret(&self, namespace: &str, name: &str) -> Option<Arc<Secret>> {
        self.secrets.get(&ObjectRef::new(name).within(namespace))
    }

    pub(crate) fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        self.claims.get(&ObjectRef::new(name).within(namespace))
    }

    pub(crate) fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.volumes.get(&ObjectRef::new(name))
    }
}
