//! Client against server, without a socket: the server is the client's transport.

use prost::Message;
use tonic::{Code, Request, Response, Status};

use super::{
    IstioCertificateRequest, IstioCertificateResponse, IstioCertificateService, IstioCertificateServiceClient,
    IstioCertificateServiceServer,
};

struct Signer;

impl IstioCertificateService for Signer {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        if request.metadata().get("authorization").is_none() {
            return Err(Status::unauthenticated("no token"));
        }
        let r = request.into_inner();
        Ok(Response::new(IstioCertificateResponse { cert_chain: vec![r.csr, r.validity_duration.to_string()] }))
    }
}

fn block_on<F: Future>(f: F) -> F::Output {
    let mut f = std::pin::pin!(f);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(out) = f.as_mut().poll(&mut cx) {
            return out;
        }
    }
}

fn ask(csr: &str, token: bool) -> Result<IstioCertificateResponse, Status> {
    let mut client = IstioCertificateServiceClient::new(IstioCertificateServiceServer::new(Signer));
    let mut request =
        Request::new(IstioCertificateRequest { csr: csr.into(), validity_duration: 86_400, metadata: None });
    if token {
        request.metadata_mut().insert("authorization", "Bearer t".parse().unwrap());
    }
    block_on(client.create_certificate(request)).map(Response::into_inner)
}

#[test]
fn a_request_is_answered() {
    assert_eq!(ask("CSR", true).unwrap().cert_chain, ["CSR", "86400"]);
}

#[test]
fn the_status_of_the_server_arrives() {
    assert_eq!(ask("CSR", false).unwrap_err().code(), Code::Unauthenticated);
}

#[test]
fn a_request_that_is_too_large_is_refused() {
    assert_eq!(ask(&"x".repeat(super::MAX_REQUEST_BYTES + 1), true).unwrap_err().code(), Code::OutOfRange);
}

#[test]
fn the_bytes_on_the_wire_are_istios() {
    let request = IstioCertificateRequest { csr: "C".into(), validity_duration: 1, metadata: None };
    assert_eq!(request.encode_to_vec(), [0x0a, 1, b'C', 0x18, 1]);
    let response = IstioCertificateResponse { cert_chain: vec!["L".into(), "R".into()] };
    assert_eq!(response.encode_to_vec(), [0x0a, 1, b'L', 0x0a, 1, b'R']);
}
