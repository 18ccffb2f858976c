use std::io::Write as _;

use axum::body::Body;
use axum::http::{Request, Response, header};
use http_body_util::BodyExt as _;
use prost::Message as _;
use serde_json::json;
use tower::ServiceExt as _;
use varka_proto::otlp::{ExportTraceServiceRequest, ExportTraceServiceResponse};

use super::{EXPORT, routes};
use crate::store::Store;
use crate::store::tests::forever;

fn spans(trace: u8) -> ExportTraceServiceRequest {
    let span = json!({"traceId": format!("{trace:032x}"), "spanId": "00000000000000a1", "name": "n"});
    let none = json!({"traceId": "", "spanId": "00000000000000a1"});
    serde_json::from_value(json!({"resourceSpans": [{"scopeSpans": [{"spans": [span, none]}]}]})).unwrap()
}

async fn send(store: &Store, path: &str, headers: &[(header::HeaderName, &str)], body: Vec<u8>) -> Response<Body> {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    routes(store.clone()).oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
}

async fn body(response: Response<Body>) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A message of gRPC.
fn frame(packed: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[packed], &length[..], message].concat()
}

#[tokio::test]
async fn every_form_of_otlp_is_taken_and_what_was_not_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path(), forever()).unwrap();
    let told = |answer: ExportTraceServiceResponse| answer.partial_success.unwrap().rejected_spans;

    let protobuf = (header::CONTENT_TYPE, "application/x-protobuf");
    let answer = send(&store, "/v1/traces", std::slice::from_ref(&protobuf), spans(1).encode_to_vec()).await;
    assert_eq!(
        (answer.status().as_u16(), told(ExportTraceServiceResponse::decode(&*body(answer).await).unwrap())),
        (200, 1)
    );

    let packed = [protobuf, (header::CONTENT_ENCODING, "gzip")];
    assert_eq!(send(&store, "/v1/traces", &packed, gzip(&spans(2).encode_to_vec())).await.status(), 200);
    assert_eq!(send(&store, "/v1/traces", &packed, vec![1, 2, 3]).await.status(), 400);
    let bomb = gzip(&vec![0; super::LARGEST + 1]);
    assert_eq!(send(&store, "/v1/traces", &packed, bomb).await.status(), 413);

    let json = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    let answer = send(&store, "/v1/traces", &json, serde_json::to_vec(&spans(3)).unwrap()).await;
    assert_eq!((answer.status().as_u16(), told(serde_json::from_slice(&body(answer).await).unwrap())), (200, 1));
    assert_eq!(send(&store, "/v1/traces", &json, b"{".to_vec()).await.status(), 400);
    assert_eq!(send(&store, "/v1/traces", &[], vec![]).await.status(), 415);

    let grpc = (header::CONTENT_TYPE, "application/grpc");
    let answer = send(&store, EXPORT, std::slice::from_ref(&grpc), frame(0, &spans(4).encode_to_vec())).await;
    let collected = answer.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(told(ExportTraceServiceResponse::decode(&collected.to_bytes()[5..]).unwrap()), 1);

    // As OpenTelemetry's collectors send it where nobody says otherwise.
    let packed = [grpc, (header::HeaderName::from_static("grpc-encoding"), "gzip")];
    for (trace, body) in [(6, frame(1, &gzip(&spans(6).encode_to_vec()))), (7, frame(0, &spans(7).encode_to_vec()))] {
        let collected = send(&store, EXPORT, &packed, body).await.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0", "{trace}");
    }
    for (body, code) in [(frame(1, &[1, 2, 3]), "13"), (frame(1, &gzip(&vec![0; super::LARGEST + 1])), "8")] {
        assert_eq!(send(&store, EXPORT, &packed, body).await.headers()["grpc-status"], code);
    }

    let zipkin = json!([{"traceId": "5", "id": "1", "localEndpoint": {"serviceName": "z"}}]).to_string();
    assert_eq!(send(&store, "/api/v2/spans", &json, zipkin.into_bytes()).await.status(), 202);

    for trace in 1..=7 {
        assert_eq!(store.spans().trace(trace).unwrap().len(), 1, "{trace}");
    }
}
