//! How an endpoint of a cluster is dialled: in plain text, or by which TLS.

use crate::ir::{Cluster, UpstreamTls};

/// SDS name of the mesh's trust anchors: who is asked for them is of the mesh.
pub const MESH_ROOTS: &str = "ROOTCA";

/// TLS towards an endpoint whose metadata say `tls_mode`, with its number among the cluster's transports; `None`: plain text. The
/// first of the transports that asks for no other `tlsMode` decides, else what the cluster has for all.
pub fn choose<'c>(cluster: &'c Cluster, tls_mode: Option<&str>) -> Option<(usize, &'c UpstreamTls)> {
    let mut of_mode = cluster.transport_matches.iter().enumerate();
    match of_mode.find(|(_, m)| m.tls_mode.as_deref().is_none_or(|want| Some(want) == tls_mode)) {
        Some((index, m)) => m.tls.as_ref().map(|tls| (index, tls)),
        None => cluster.tls.as_ref().map(|tls| (cluster.transport_matches.len(), tls)),
    }
}

/// Whether endpoints of this kind are spoken to by the mesh's mutual TLS.
pub fn is_mesh(cluster: &Cluster, tls_mode: Option<&str>) -> bool {
    choose(cluster, tls_mode).is_some_and(|(_, tls)| tls.validation.as_deref() == Some(MESH_ROOTS))
}
