//! The controllers that give Kubernetes objects their effect: Deployments become ReplicaSets and Pods, Jobs run to their
//! end, Services get their endpoints, what nobody owns any more is collected, and namespaces are furnished and emptied.
//!
//! Each controller is a pure function `plan(&State, name, now) -> Plan` over a picture of the cluster; one [`driver`] keeps
//! that picture current from watches, asks for a plan whenever something changed that the plan depends on, and carries it
//! out through the Kubernetes API. So every decision can be tested without a server, and none is made anywhere else.
//!
//! They speak only the Kubernetes API (a [`kube::Client`]), so they run alike against a cluster and in the process of the
//! embedded API server. Pods are started by the kubelet, volumes bound by it too; autoscaling, StatefulSets, DaemonSets
//! and CronJobs are not done here.
#![forbid(unsafe_code)]

mod action;
mod conditions;
mod deployment;
mod diff;
mod driver;
mod endpoints;
mod error;
mod garbage;
mod job;
mod namespace;
mod owners;
mod pods;
mod replicaset;
mod resources;
mod route;
mod selector;
mod state;

pub use error::Error;

use std::future::Future;

/// What the controllers cannot learn from the API.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The PEM certificates that clients of the API server should trust. When given, each namespace gets them as ConfigMap
    /// `kube-root-ca.crt`, where Kubernetes puts them.
    pub root_ca: Option<String>,
}

/// Runs every controller until `shutdown` completes. Writes that are under way then are abandoned; they are safe to repeat,
/// and the next run finds out for itself what is left to do.
///
/// # Errors
/// When the API server cannot be asked which kinds it has. Later failures are logged, shown as Events and conditions where
/// Kubernetes does so, and tried again.
pub async fn run(client: kube::Client, options: Options, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    driver::run(client, options, shutdown).await
}
