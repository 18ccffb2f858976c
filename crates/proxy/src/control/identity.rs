//! The workload's certificate: asked for by CSR, renewed before half its life. The key is made here and never leaves.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use varka_identity::{SpiffeId, SystemRandom, TrustBundle, WorkloadKey, certificates_from_pem, renewal};
use varka_proto::istio::certificate::{IstioCertificateRequest, IstioCertificateServiceClient};
use zeroize::Zeroizing;

use super::{channel, token};
use crate::Error;
use crate::state::State;
use crate::tls::{MESH_ROOTS, WORKLOAD};

/// Validity that is asked for, as Istio's agent does.
const VALIDITY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate and its key, for connections to the control plane.
pub(crate) struct WorkloadIdentity {
    /// PEM, leaf first.
    pub(crate) chain: String,
    /// PEM.
    pub(crate) key: Zeroizing<String>,
    /// What peers' certificates must chain to, PEM.
    pub(crate) roots: String,
}

impl std::fmt::Debug for WorkloadIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkloadIdentity").finish_non_exhaustive()
    }
}

/// Has a certificate issued, and again in time, for as long as the proxy runs.
pub(crate) async fn keep(state: &State, current: watch::Sender<Option<Arc<WorkloadIdentity>>>) {
    let mut failures = 0;
    loop {
        let pause = match obtain(state).await {
            Ok((identity, pause)) => {
                failures = 0;
                state.certificate_problem.store(None);
                current.send_replace(Some(Arc::new(identity)));
                pause
            }
            Err(e) => {
                failures += 1;
                let pause = renewal::back_off(failures, rand::random());
                state.certificate_problem.store(Some(Arc::new(e.to_string())));
                tracing::warn!("no new certificate: {e}; the present one, if any, stays in use; again in {pause:?}");
                pause
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Asks once; says how long the certificate may be used.
async fn obtain(state: &State) -> Result<(WorkloadIdentity, Duration), Error> {
    let b = &state.bootstrap;
    let problem = |problem: String| Error::ControlPlane { address: b.ca_address.clone(), problem };
    let id = SpiffeId::new(&b.trust_domain, &b.namespace, &b.service_account)
        .map_err(|e| Error::Bootstrap { name: "SERVICE_ACCOUNT", problem: e.to_string() })?;
    let key = WorkloadKey::generate(&SystemRandom::new()).map_err(|e| problem(e.to_string()))?;
    let mut request = tonic::Request::new(IstioCertificateRequest {
        csr: key.csr(&id).map_err(|e| problem(e.to_string()))?,
        validity_duration: i64::try_from(VALIDITY.as_secs()).unwrap_or(i64::MAX),
        metadata: None,
    });
    let mut bearer: tonic::metadata::AsciiMetadataValue = format!("Bearer {}", token(state)?.trim())
        .parse()
        .map_err(|_| problem("the token has bytes that cannot be sent".to_owned()))?;
    bearer.set_sensitive(true);
    request.metadata_mut().insert("authorization", bearer);
    if let Ok(cluster) = b.cluster_id.parse() {
        request.metadata_mut().insert("clusterid", cluster);
    }
    let mut client = IstioCertificateServiceClient::new(channel(state, &b.ca_address, None).await?);
    let answer = client.create_certificate(request).await;
    let answer = answer.map_err(|status| problem(format!("the certificate request failed: {}", status.message())))?;
    install(state, &key, &answer.into_inner().cert_chain).map_err(problem)
}

/// Puts an issued certificate, and the root that came with it, into use.
fn install(state: &State, key: &WorkloadKey, issued: &[String]) -> Result<(WorkloadIdentity, Duration), String> {
    let all = certificates_from_pem(&issued.join("\n")).map_err(|e| e.to_string())?;
    let (root, chain) = all.split_last().filter(|(_, c)| !c.is_empty()).ok_or("the answer has no chain and root")?;
    let root_pem = issued.last().cloned().unwrap_or_default();
    // The root that is distributed to the pod counts too: during a rotation peers may chain to either.
    let distributed = std::fs::read_to_string(&state.bootstrap.root_cert_path).unwrap_or_default();
    let bundle = TrustBundle::from_pem(&format!("{distributed}\n{root_pem}")).map_err(|e| e.to_string())?;
    tracing::debug!(root_bytes = root.len(), "the certificate authority's root came with the certificate");
    state.secrets.put_certificate(&WORKLOAD.into(), chain.to_vec(), key.private_key()).map_err(|e| e.to_string())?;
    let roots = bundle.pem().to_owned();
    state.secrets.put_anchors(&MESH_ROOTS.into(), bundle);
    let facts = state.secrets.certificate(WORKLOAD).ok_or("the certificate is not in use")?;
    let wait = renewal::wait(&facts.facts, SystemTime::now(), rand::random());
    tracing::info!(uri = facts.facts.uris.first().map(String::as_str), "certificate issued; renewed in {wait:?}");
    let chain_pem = issued.split_last().map(|(_, c)| c.join("\n")).unwrap_or_default();
    let identity = WorkloadIdentity { chain: chain_pem, key: key.to_pem(), roots };
    Ok((identity, wait.max(Duration::from_secs(1))))
}
