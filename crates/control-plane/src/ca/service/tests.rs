use std::convert::Infallible;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewStatus, UserInfo};
use kube::Client;
use kube::client::Body;
use tonic::Code;
use varka_identity::{Purpose, SpiffeId, WorkloadKey, certificates_from_pem};

use super::*;

/// An API server that knows three tokens and nothing else.
fn reviewer() -> Client {
    let service = tower::service_fn(|request: http::Request<Body>| async move {
        assert_eq!(request.uri().path(), "/apis/authentication.k8s.io/v1/tokenreviews");
        let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
        let mut review: TokenReview = serde_json::from_slice(&body).unwrap();
        assert_eq!(review.spec.audiences, Some(vec!["istio-ca".to_owned()]));
        let (user, audience) = match review.spec.token.as_deref() {
            Some("web") => ("system:serviceaccount:blog-system:web", "istio-ca"),
            Some("elsewhere") => ("system:serviceaccount:blog-system:web", "https://kubernetes.default.svc"),
            Some("person") => ("alice", "istio-ca"),
            _ => ("", ""),
        };
        review.status = Some(TokenReviewStatus {
            authenticated: Some(!user.is_empty()),
            audiences: Some(vec![audience.to_owned()]),
            user: Some(UserInfo { username: Some(user.to_owned()), ..UserInfo::default() }),
            ..TokenReviewStatus::default()
        });
        let body = Body::from(serde_json::to_vec(&review).unwrap());
        Ok::<_, Infallible>(http::Response::builder().status(201).body(body).unwrap())
    });
    Client::new(service, "default")
}

fn service() -> (CertificateService, Arc<Authority>) {
    let authority = Arc::new(Authority::generate("cluster.local", SystemTime::now(), &SystemRandom::new()).unwrap());
    let bundle = authority.bundle().unwrap();
    let authenticator = Arc::new(Authenticator::new(reviewer(), "cluster.local", bundle));
    (CertificateService::new(Arc::clone(&authority), authenticator, Arc::default()), authority)
}

fn request(token: Option<&str>, csr: &str, seconds: i64) -> Request<IstioCertificateRequest> {
    let message = IstioCertificateRequest { csr: csr.to_owned(), validity_duration: seconds, metadata: None };
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

fn csr(account: &str) -> String {
    let id = SpiffeId::new("cluster.local", "blog-system", account).unwrap();
    WorkloadKey::generate(&SystemRandom::new()).unwrap().csr(&id).unwrap()
}

#[tokio::test]
async fn the_tokens_identity_is_certified_whatever_the_request_names() {
    let (service, authority) = service();
    let answer = service.create_certificate(request(Some("web"), &csr("was"), 3600)).await.unwrap().into_inner();
    assert_eq!(answer.cert_chain.len(), 2);
    let chain = certificates_from_pem(&answer.cert_chain.concat()).unwrap();
    let peer = authority.bundle().unwrap().verify_peer(&chain, SystemTime::now(), Purpose::Client).unwrap();
    assert_eq!(peer.uri, "spiffe://cluster.local/ns/blog-system/sa/web");
    assert_eq!(service.metrics.csr_issued.get(), 1);
}

#[tokio::test]
async fn who_is_not_known_gets_nothing() {
    let (service, _) = service();
    for token in [None, Some("forged"), Some("elsewhere"), Some("person"), Some("")] {
        let refused = service.create_certificate(request(token, &csr("web"), 3600)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{token:?}");
    }
    assert_eq!(service.metrics.csr_authentication_failures.get(), 5);
    assert_eq!(service.metrics.csr_issued.get(), 0);
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let (service, _) = service();
    let refused = service.create_certificate(request(Some("web"), "hello", 3600)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn never_longer_than_a_day() {
    let (service, _) = service();
    for seconds in [0, -1, 10 * 86_400, i64::MAX] {
        let answer = service.create_certificate(request(Some("web"), &csr("web"), seconds)).await.unwrap().into_inner();
        let leaf = certificates_from_pem(&answer.cert_chain[0]).unwrap().remove(0);
        let facts = varka_identity::CertificateFacts::from_der(&leaf).unwrap();
        assert_eq!(facts.lifetime(), MAX_WORKLOAD_VALIDITY, "{seconds}");
    }
}

#[tokio::test]
async fn nobody_speaks_for_another() {
    let (service, _) = service();
    let mut asked = request(Some("web"), &csr("web"), 60);
    let fields = [("ImpersonatedIdentity".to_owned(), Default::default())].into();
    asked.get_mut().metadata = Some(varka_proto::protobuf::Struct { fields });
    assert_eq!(service.create_certificate(asked).await.unwrap_err().code(), Code::PermissionDenied);
}
