//! `istio.workload`: whose an address is. The messages under Istio's field numbers, without what only Istio's node proxy reads.

use std::collections::HashMap;

use envoy_types::pb::google::protobuf::Any;

/// `Address`: the answer to the question whose `NETWORK/ADDRESS` is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Address {
    /// What has the address.
    #[prost(oneof = "address::Type", tags = "1")]
    pub r#type: Option<address::Type>,
}

/// Parts of [`Address`].
pub mod address {
    /// What has the address.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Type {
        /// A pod or the like.
        #[prost(message, tag = "1")]
        Workload(super::Workload),
    }
}

/// `Workload`: a pod, or what stands for a process elsewhere.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Workload {
    /// Name of the pod.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// Its addresses, of 4 or 16 bytes each.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub addresses: Vec<Vec<u8>>,
    /// Network of the addresses.
    #[prost(string, tag = "4")]
    pub network: String,
    /// Trust domain of its identity.
    #[prost(string, tag = "6")]
    pub trust_domain: String,
    /// Service account of its identity.
    #[prost(string, tag = "7")]
    pub service_account: String,
    /// Node that it runs on.
    #[prost(string, tag = "9")]
    pub node: String,
    /// Canonical service.
    #[prost(string, tag = "10")]
    pub canonical_name: String,
    /// Canonical revision.
    #[prost(string, tag = "11")]
    pub canonical_revision: String,
    /// Kind of what people know it by.
    #[prost(enumeration = "WorkloadType", tag = "12")]
    pub workload_type: i32,
    /// Name of what people know it by.
    #[prost(string, tag = "13")]
    pub workload_name: String,
    /// Cluster that it runs in.
    #[prost(string, tag = "18")]
    pub cluster_id: String,
    /// Unique in the mesh.
    #[prost(string, tag = "20")]
    pub uid: String,
    /// Services that it is an endpoint of, by `NAMESPACE/HOST`, with their ports.
    #[prost(map = "string, message", tag = "22")]
    pub services: HashMap<String, PortList>,
    /// What else is said of it.
    #[prost(message, repeated, tag = "26")]
    pub extensions: Vec<Extension>,
}

/// `PortList`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PortList {
    /// Ports of a service.
    #[prost(message, repeated, tag = "1")]
    pub ports: Vec<Port>,
}

/// `Port`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Port {
    /// Port of the service.
    #[prost(uint32, tag = "1")]
    pub service_port: u32,
    /// Port of the workload.
    #[prost(uint32, tag = "2")]
    pub target_port: u32,
    /// What is spoken there.
    #[prost(int32, tag = "3")]
    pub app_protocol: i32,
}

/// `Extension`: anything under a name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Extension {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// What it is.
    #[prost(message, optional, tag = "2")]
    pub config: Option<Any>,
}

/// `WorkloadType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum WorkloadType {
    /// A Deployment.
    Deployment = 0,
    /// A CronJob.
    Cronjob = 1,
    /// A pod of its own.
    Pod = 2,
    /// A Job.
    Job = 3,
}

impl prost::Name for Address {
    const NAME: &'static str = "Address";
    const PACKAGE: &'static str = "istio.workload";

    fn type_url() -> String {
        "type.googleapis.com/istio.workload.Address".into()
    }
}
