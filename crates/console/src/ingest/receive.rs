//! Takes spans: OTLP over gRPC and HTTP (protobuf and JSON), and Zipkin's JSON of version 2, all at one port.
//!
//! Whatever fits is taken; what does not is told to the sender as OTLP says, and counted by the store. Nothing is waited for.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::Read as _;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use prost::Message as _;
use tonic::Status;
use varka_proto::otlp::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse};

use super::zipkin;
use crate::store::Store;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// A request is at most so big, also unpacked.
const LARGEST: usize = 16 << 20;
/// Before a message of gRPC: whether it is packed, and its length.
const FRAME: usize = 5;

/// The routes.
pub fn routes(store: Store) -> Router {
    Router::new()
        .route("/v1/traces", post(otlp))
        .route("/api/v2/spans", post(of_zipkin))
        .route(EXPORT, post(grpc))
        .layer(DefaultBodyLimit::max(LARGEST))
        .with_state(store)
}

fn take(store: &Store, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse {
    let rejected: usize = request.resource_spans.into_iter().map(|from| store.spans().append(from)).sum();
    let why = || "spans without a trace or an id, too long, or more at once than are written".to_owned();
    let partial_success = (rejected > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: i64::try_from(rejected).unwrap_or(i64::MAX),
        error_message: why(),
    });
    ExportTraceServiceResponse { partial_success }
}

fn refused(status: StatusCode, why: impl Into<String>) -> Response {
    (status, why.into()).into_response()
}

async fn otlp(State(store): State<Store>, headers: HeaderMap, body: Bytes) -> Response {
    let body = match unpack(&headers, body) {
        Ok(body) => body,
        Err(answer) => return *answer,
    };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/x-protobuf" => match ExportTraceServiceRequest::decode(body) {
            Ok(request) => {
                let answer = take(&store, request).encode_to_vec();
                ([(header::CONTENT_TYPE, "application/x-protobuf")], answer).into_response()
            }
            Err(e) => refused(StatusCode::BAD_REQUEST, format!("no ExportTraceServiceRequest: {e}")),
        },
        "application/json" => match serde_json::from_slice(&body) {
            Ok(request) => axum::Json(take(&store, request)).into_response(),
            Err(e) => refused(StatusCode::BAD_REQUEST, format!("no ExportTraceServiceRequest: {e}")),
        },
        other => refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("{other:?} is not taken; application/x-protobuf and application/json are"),
        ),
    }
}

async fn of_zipkin(State(store): State<Store>, headers: HeaderMap, body: Bytes) -> Response {
    let body = match unpack(&headers, body) {
        Ok(body) => body,
        Err(answer) => return *answer,
    };
    match zipkin::read(&body) {
        Ok(resource_spans) => {
            take(&store, ExportTraceServiceRequest { resource_spans });
            StatusCode::ACCEPTED.into_response()
        }
        Err(why) => refused(StatusCode::BAD_REQUEST, why),
    }
}

/// The body as it was before it was packed.
fn unpack(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Box<Response>> {
    let answer = |status, why: String| Box::new(refused(status, why));
    match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None | Some(b"identity") => Ok(body),
        Some(b"gzip") => match gunzip(&body) {
            Ok(out) => Ok(out.into()),
            Err(Packed::Broken(e)) => Err(answer(StatusCode::BAD_REQUEST, format!("the body is no gzip: {e}"))),
            Err(Packed::TooLong) => {
                Err(answer(StatusCode::PAYLOAD_TOO_LARGE, format!("unpacked it is more than {LARGEST} bytes")))
            }
        },
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            Err(answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("Content-Encoding {other} is not taken; gzip is")))
        }
    }
}

/// What cannot be unpacked.
enum Packed {
    Broken(std::io::Error),
    TooLong,
}

fn gunzip(packed: &[u8]) -> Result<Vec<u8>, Packed> {
    let mut out = Vec::new();
    // A byte more than is taken tells whether it would be too much.
    let limit = u64::try_from(LARGEST).unwrap_or(u64::MAX) + 1;
    flate2::read::GzDecoder::new(packed).take(limit).read_to_end(&mut out).map_err(Packed::Broken)?;
    if out.len() > LARGEST { Err(Packed::TooLong) } else { Ok(out) }
}

/// The request with its message as it was before it was packed, as OpenTelemetry's collectors pack it; tonic is built without that.
async fn unpack_message(request: Request) -> Result<Request, Status> {
    const ENCODING: &str = "grpc-encoding";
    let is_packed = request.headers().get(ENCODING).is_some_and(|encoding| encoding == "gzip");
    if !is_packed {
        return Ok(request);
    }
    let (mut head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, LARGEST + FRAME).await;
    let body = body.map_err(|e| Status::resource_exhausted(format!("{LARGEST} bytes are taken at most: {e}")))?;
    head.headers.remove(ENCODING);
    let body = match body.split_first_chunk::<FRAME>() {
        Some(([1, length @ ..], packed)) if usize::try_from(u32::from_be_bytes(*length)) == Ok(packed.len()) => {
            let message = gunzip(packed).map_err(|problem| match problem {
                Packed::Broken(e) => Status::internal(format!("the message is no gzip: {e}")),
                Packed::TooLong => Status::resource_exhausted(format!("unpacked it is more than {LARGEST} bytes")),
            })?;
            let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
            [&[0], &length.to_be_bytes()[..], &message].concat().into()
        }
        // A message may be left as it is.
        _ => body,
    };
    Ok(Request::from_parts(head, Body::from(body)))
}

struct Export(Store);

impl tonic::server::UnaryService<ExportTraceServiceRequest> for Export {
    type Response = ExportTraceServiceResponse;
    type Future = Ready<Result<tonic::Response<ExportTraceServiceResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<ExportTraceServiceRequest>) -> Self::Future {
        ready(Ok(tonic::Response::new(take(&self.0, request.into_inner()))))
    }
}

async fn grpc(State(store): State<Store>, request: Request) -> Result<Response, Infallible> {
    let request = match unpack_message(request).await {
        Ok(request) => request,
        Err(status) => return Ok(status.into_http()),
    };
    let codec = tonic_prost::ProstCodec::<ExportTraceServiceResponse, ExportTraceServiceRequest>::default();
    let mut grpc = tonic::server::Grpc::new(codec).max_decoding_message_size(LARGEST);
    Ok(grpc.unary(Export(store), request).await.map(Body::new))
}

#[cfg(test)]
mod tests;
