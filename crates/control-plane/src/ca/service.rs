//! `istio.v1.auth.IstioCertificateService`: a pod proves with its token which service account it runs as, and gets a
//! certificate for exactly that, whatever its request names.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tonic::{Request, Response, Status};
use tracing::{info, warn};
use varka_identity::{Authority, Error as IdentityError, MAX_WORKLOAD_VALIDITY, SystemRandom};
use varka_proto::istio::certificate::{IstioCertificateRequest, IstioCertificateResponse, IstioCertificateService};

use crate::authn::{Authenticator, bearer};
use crate::metrics::Metrics;

/// The service over one authority.
pub(crate) struct CertificateService {
    authority: Arc<Authority>,
    authenticator: Arc<Authenticator>,
    metrics: Arc<Metrics>,
    rng: SystemRandom,
}

impl CertificateService {
    pub(crate) fn new(authority: Arc<Authority>, authenticator: Arc<Authenticator>, metrics: Arc<Metrics>) -> Self {
        Self { authority, authenticator, metrics, rng: SystemRandom::new() }
    }
}

impl IstioCertificateService for CertificateService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        self.metrics.csr_requests.add(1);
        // Only the token counts here: a certificate that could renew itself would never end once it is stolen.
        let id = self.authenticator.token(bearer(request.metadata())).await.map_err(|error| {
            self.metrics.csr_authentication_failures.add(1);
            warn!(%error, "refused a certificate request");
            Status::from(error)
        })?;
        let request = request.into_inner();
        if request.metadata.is_some_and(|metadata| metadata.fields.contains_key("ImpersonatedIdentity")) {
            return Err(Status::permission_denied(
                "impersonation is not supported: a workload gets its own identity only",
            ));
        }
        let validity = match u64::try_from(request.validity_duration) {
            Ok(seconds @ 1..) => Duration::from_secs(seconds),
            _ => MAX_WORKLOAD_VALIDITY,
        };
        let issued = self.authority.sign_csr(&request.csr, &id, SystemTime::now(), validity, &self.rng);
        let issued = issued.map_err(|error| {
            self.metrics.csr_refused.add(1);
            warn!(%id, %error, "refused a certificate request");
            match error {
                IdentityError::Request(_) => Status::invalid_argument(error.to_string()),
                IdentityError::Validity(_) => Status::failed_precondition(error.to_string()),
                _ => Status::internal(error.to_string()),
            }
        })?;
        self.metrics.csr_issued.add(1);
        info!(%id, serial = issued.facts.serial, "issued a certificate");
        Ok(Response::new(IstioCertificateResponse { cert_chain: issued.chain }))
    }
}

#[cfg(test)]
mod tests;
