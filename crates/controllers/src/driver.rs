//! The loop that keeps the picture current, asks for plans and has them carried out.
//!
//! At most one plan of a key is being carried out at a time; its answers enter the picture before the next plan of that key
//! is made. Different keys proceed side by side. Nothing is polled: work begins with a change, with a time that a plan
//! named, or with the pause after a failure.

mod execute;
mod queue;
mod watch;

use crate::action::{Action, Plan};
use crate::route::{Key, Name, affected};
use crate::state::{Change, State};
use crate::{Error, Options, deployment, endpoints, garbage, job, namespace, replicaset};
use execute::{Outcome, Write};
use jiff::Timestamp;
use kube::core::discovery::ApiResource;
use queue::Queue;
use std::future::Future;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use watch::{Message, Watches};

/// How many watch messages may wait; a watch that is ahead by more waits itself.
const BACKLOG: usize = 1024;

pub(crate) async fn run(
    client: kube::Client,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let (sender, mut messages) = mpsc::channel(BACKLOG);
    let mut driver = Driver {
        state: State::new(options.root_ca),
        queue: Queue::default(),
        watches: Watches::new(client.clone(), sender),
        running: JoinSet::new(),
        reports: JoinSet::new(),
        client,
    };
    driver.watches.start(&mut driver.state).await?;
    tokio::pin!(shutdown);
    loop {
        driver.start_work();
        let pause = driver.queue.next_timer();
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            Some(message) = messages.recv() => {
                driver.take(message);
                while let Ok(message) = messages.try_recv() {
                    driver.take(message);
                }
            }
            Some(done) = driver.running.join_next() => {
                if let Ok((key, plan, outcome)) = done {
                    driver.finish(key, plan, outcome);
                }
            }
            Some(_) = driver.reports.join_next() => {}
            () = async { sleep_until(pause.unwrap_or_else(Instant::now)).await }, if pause.is_some() => {
                driver.queue.fire(Instant::now());
            }
        }
    }
}

struct Driver {
    client: kube::Client,
    state: State,
    queue: Queue,
    watches: Watches,
    /// Plans that are being carried out.
    running: JoinSet<(Key, Vec<Action>, Outcome)>,
    /// Events that are being written; nothing waits for them.
    reports: JoinSet<()>,
}

/// The decision for one key.
fn plan(state: &State, key: &Key, now: Timestamp) -> Plan {
    match key {
        Key::Deployment(name) => deployment::plan(state, name, now),
        Key::ReplicaSet(name) => replicaset::plan(state, name, now),
        Key::Job(name) => job::plan(state, name, now),
        Key::Endpoints(name) => endpoints::plan(state, name),
        Key::Namespace(name) => namespace::plan(state, name),
        Key::Garbage(uid) => garbage::plan(state, uid),
    }
}

impl Driver {
    fn take(&mut self, message: Message) {
        match message {
            Message::Applied(resource, object) => {
                if resource.kind == "CustomResourceDefinition" {
                    self.watches.follow(&object, &mut self.state);
                }
                let change = self.state.apply(&resource, *object);
                self.note(change);
            }
            Message::Deleted(resource, object) => {
                if resource.kind == "CustomResourceDefinition" {
                    for change in self.watches.drop_kind(&object, &mut self.state) {
                        self.note(Some(change));
                    }
                }
                let uid = object.metadata.uid.unwrap_or_default();
                let change = self.state.remove(&resource, &uid);
                self.note(change);
            }
            Message::Listed(resource, seen) => {
                let was_ready = self.state.is_ready();
                for change in self.state.retain(&resource, &seen) {
                    self.note(Some(change));
                }
                self.state.mark_synced(&resource);
                self.after_sync(&resource, was_ready);
            }
        }
    }

    /// What could not be decided before a kind's list was in can be now.
    fn after_sync(&mut self, resource: &ApiResource, was_ready: bool) {
        let leaving = self.state.namespaces.all("").filter(|ns| ns.metadata.deletion_timestamp.is_some());
        let leaving: Vec<_> = leaving.filter_map(|ns| ns.metadata.name.clone()).map(Key::Namespace).collect();
        let dependents = self.state.graph.with_owner_kind(resource).map(Key::Garbage);
        self.queue.mark(dependents.chain(leaving));
        if !was_ready && self.state.is_ready() {
            tracing::debug!("the controllers have seen every object and start to act");
            // Endpoints objects whose Service went while nobody looked.
            let orphans = self.state.endpoints.everything().map(|object| {
                let meta = &object.metadata;
                Name::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
            });
            self.queue.mark(orphans.map(Key::Endpoints).collect::<Vec<_>>());
        }
    }

    fn note(&mut self, change: Option<Change>) {
        let Some(change) = change else { return };
        self.queue.mark(affected(&self.state, &change));
        // Creations fail while a webhook's server is away; what may have mended that is worth another try at once.
        if matches!(
            change.resource.kind.as_str(),
            "EndpointSlice" | "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration"
        ) {
            self.queue.retry_all();
        }
    }

    fn start_work(&mut self) {
        if !self.state.is_ready() {
            return;
        }
        let now = Timestamp::now();
        while let Some(key) = self.queue.next() {
            let plan = plan(&self.state, &key, now);
            if let Some(wake) = plan.wake {
                let ahead = wake.duration_since(now).try_into().unwrap_or_default();
                self.queue.look_again(key.clone(), Instant::now() + ahead);
            }
            if plan.actions.is_empty() {
                self.queue.settled(&key);
            } else {
                self.spawn(key, plan.actions);
            }
        }
    }

    fn spawn(&mut self, key: Key, actions: Vec<Action>) {
        let client = self.client.clone();
        self.queue.started(&key);
        self.running.spawn(async move {
            let outcome = execute::all(&client, &actions).await;
            (key, actions, outcome)
        });
    }

    fn finish(&mut self, key: Key, actions: Vec<Action>, outcome: Outcome) {
        for write in outcome.writes {
            let change = match write {
                Write::Is(resource, object) => self.state.apply(&resource, *object),
                Write::Gone(resource, uid) => self.state.remove(&resource, &uid),
            };
            self.note(change);
        }
        for report in outcome.reports {
            let client = self.client.clone();
            self.reports.spawn(async move { execute::report(&client, &report).await });
        }
        let owners = actions.iter().filter_map(|action| match action {
            Action::Create { by: Some(by), .. } => Some(by.uid.clone()),
            _ => None,
        });
        let failed = outcome.failure.as_ref().and_then(|failure| failure.owner.clone());
        let mut telling = failed.as_ref().is_some_and(|owner| !self.state.failures.contains_key(owner));
        for owner in owners.filter(|owner| failed.as_ref() != Some(owner)) {
            telling |= self.state.failures.remove(&owner).is_some();
        }
        match outcome.failure {
            None => self.queue.succeeded(&key, actions, Instant::now()),
            Some(failure) => {
                if let Some(owner) = failure.owner {
                    self.state.failures.insert(owner, failure.message);
                }
                self.queue.failed(&key, Instant::now());
            }
        }
        if telling {
            self.tell(&key);
        }
    }

    /// The status says why something cannot be created before the next attempt, and what was mended at once.
    fn tell(&mut self, key: &Key) {
        let mut actions = plan(&self.state, key, Timestamp::now()).actions;
        actions.retain(|action| action.only_tells() && !matches!(action, Action::Report(_)));
        let client = self.client.clone();
        self.reports.spawn(async move {
            execute::all(&client, &actions).await;
        });
    }
}
