//! `istio.v1.auth.IstioCertificateService`: a workload sends a certificate signing request and gets its chain.
//!
//! The messages, a client and a server, as a protobuf compiler would make them, without what this one method does not need.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use envoy_types::pb::google::protobuf::Struct;
use tonic::codegen::{Body, Bytes, Service, StdError, http};

/// Full name of the service.
pub const SERVICE_NAME: &str = "istio.v1.auth.IstioCertificateService";
const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/// A signing request and its metadata take a few KiB; larger ones are refused before they are read.
const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// `IstioCertificateRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IstioCertificateRequest {
    /// PEM of a PKCS#10 request. Its subject and names do not count: the caller's identity does.
    #[prost(string, tag = "1")]
    pub csr: String,
    /// Validity asked for, in seconds.
    #[prost(int64, tag = "3")]
    pub validity_duration: i64,
    /// `CertSigner`, `ImpersonatedIdentity`.
    #[prost(message, optional, tag = "4")]
    pub metadata: Option<Struct>,
}

/// `IstioCertificateResponse`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct IstioCertificateResponse {
    /// PEM certificates: the leaf first, the root last.
    #[prost(string, repeated, tag = "1")]
    pub cert_chain: Vec<String>,
}

/// Client of the service, over a [`tonic::transport::Channel`] or any other gRPC transport.
#[derive(Debug, Clone)]
pub struct IstioCertificateServiceClient<T> {
    inner: tonic::client::Grpc<T>,
}

impl<T> IstioCertificateServiceClient<T>
where
    T: tonic::client::GrpcService<tonic::body::Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    /// A client that sends over `transport`.
    pub fn new(transport: T) -> Self {
        Self { inner: tonic::client::Grpc::new(transport) }
    }

    /// Has a request signed.
    ///
    /// # Errors
    /// The server's status; `UNAVAILABLE` or `UNKNOWN` where it was not reached.
    pub async fn create_certificate(
        &mut self,
        request: impl tonic::IntoRequest<IstioCertificateRequest>,
    ) -> Result<tonic::Response<IstioCertificateResponse>, tonic::Status> {
        self.inner.ready().await.map_err(|e| tonic::Status::unavailable(e.into().to_string()))?;
        let path = http::uri::PathAndQuery::from_static(CREATE_CERTIFICATE);
        self.inner.unary(request.into_request(), path, tonic_prost::ProstCodec::default()).await
    }
}

/// What a server of the service does.
pub trait IstioCertificateService: Send + Sync + 'static {
    /// Signs a request for the identity that the caller has proved (bearer token in the metadata, or client certificate).
    fn create_certificate(
        &self,
        request: tonic::Request<IstioCertificateRequest>,
    ) -> impl Future<Output = Result<tonic::Response<IstioCertificateResponse>, tonic::Status>> + Send;
}

/// An [`IstioCertificateService`] as a tower service, to be added to a tonic router.
#[derive(Debug)]
pub struct IstioCertificateServiceServer<T> {
    inner: Arc<T>,
}

impl<T> IstioCertificateServiceServer<T> {
    /// Serves with `inner`.
    pub fn new(inner: T) -> Self {
        Self { inner: Arc::new(inner) }
    }
}

impl<T> Clone for IstioCertificateServiceServer<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T> tonic::server::NamedService for IstioCertificateServiceServer<T> {
    const NAME: &'static str = SERVICE_NAME;
}

struct CreateCertificate<T>(Arc<T>);

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<T: IstioCertificateService> tonic::server::UnaryService<IstioCertificateRequest> for CreateCertificate<T> {
    type Response = IstioCertificateResponse;
    type Future = BoxFuture<Result<tonic::Response<IstioCertificateResponse>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<IstioCertificateRequest>) -> Self::Future {
        let service = Arc::clone(&self.0);
        Box::pin(async move { service.create_certificate(request).await })
    }
}

impl<T, B> Service<http::Request<B>> for IstioCertificateServiceServer<T>
where
    T: IstioCertificateService,
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path() != CREATE_CERTIFICATE {
            return Box::pin(async { Ok(tonic::Status::unimplemented("no such method").into_http()) });
        }
        let method = CreateCertificate(Arc::clone(&self.inner));
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(tonic_prost::ProstCodec::default())
                .max_decoding_message_size(MAX_REQUEST_BYTES);
            Ok(grpc.unary(method, request).await)
        })
    }
}

#[cfg(test)]
mod tests;
