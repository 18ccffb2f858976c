//! The secret discovery service for the Envoy beside us: the workload's certificate with its key, and the mesh's roots.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Status;
use varka_engine::ir::{Resource, ResourceType, Secret, SecretKind, Str};
use varka_xds::Node;
use varka_xds::codec::{Reader, encode_bytes, version};
use varka_xds::server::{self, Names, Peer, Versioned};

use crate::Error;
use crate::control::WorkloadIdentity;
use crate::tls::{MESH_ROOTS, WORKLOAD};

type Obtained = watch::Receiver<Option<Arc<WorkloadIdentity>>>;

/// Serves on a socket for as long as this process runs.
pub(super) async fn serve(socket: PathBuf, obtained: Obtained) -> Result<(), Error> {
    let listener = UnixListener::bind(&socket).map_err(|source| Error::File { path: socket, source })?;
    let service = server::secrets(Own { obtained });
    let serving = tonic::transport::Server::builder().add_service(service);
    let served = serving.serve_with_incoming(UnixListenerStream::new(listener)).await;
    served.map_err(|e| Error::Start(std::io::Error::other(e)))
}

/// The workload's own secrets.
struct Own {
    obtained: Obtained,
}

impl server::Source for Own {
    type Session = Session;

    /// Who can open the socket is this user: there is nothing more to prove.
    async fn connect(&self, _: Node, _: Peer) -> Result<Session, Status> {
        let mut obtained = self.obtained.clone();
        obtained.wait_for(Option::is_some).await.map_err(|_| Status::unavailable("the process is ending"))?;
        Ok(Session { obtained, number: 0 })
    }
}

/// One stream of Envoy's.
struct Session {
    obtained: Obtained,
    number: u64,
}

impl server::Session for Session {
    async fn changed(&mut self) -> Result<(), Status> {
        self.obtained.changed().await.map_err(|_| Status::unavailable("the process is ending"))?;
        self.number += 1;
        Ok(())
    }

    fn version(&mut self) -> Str {
        self.number.to_string().into()
    }

    fn resources(&mut self, kind: ResourceType, names: Names<'_>) -> Vec<Versioned> {
        let identity = self.obtained.borrow_and_update().clone();
        let (ResourceType::Secret, Names::Only(names), Some(identity)) = (kind, names, identity) else {
            return Vec::new();
        };
        names.iter().filter_map(|name| secret(&identity, name)).collect()
    }

    fn acked(&mut self, _: ResourceType, _: &str) {}

    fn nacked(&mut self, _: ResourceType, _: &str, message: &str) {
        tracing::error!("Envoy refuses the workload's certificate: {message}");
    }
}

fn secret(identity: &WorkloadIdentity, name: &Str) -> Option<Versioned> {
    let kind = match &**name {
        WORKLOAD => SecretKind::Certificate { chain: identity.chain.clone(), key: identity.key.as_str().to_owned() },
        MESH_ROOTS => SecretKind::Validation { ca: identity.roots.clone(), crl: None },
        _ => return None,
    };
    let resource = Resource::Secret(Arc::new(Secret { name: Str::clone(name), kind }));
    let body = encode_bytes(&resource, Reader::StockEnvoy);
    Some(Versioned { name: Str::clone(name), version: version(&resource), body })
}
