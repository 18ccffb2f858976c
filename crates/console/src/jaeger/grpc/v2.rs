//! Version 2: Jaeger's own model.

use axum::Router;
use tonic::Status;
use varka_proto::jaeger::api_v2::{
    ArchiveTraceResponse, DependencyLink, FindTracesRequest, GetDependenciesRequest, GetDependenciesResponse,
    GetOperationsRequest, GetOperationsResponse, GetServicesRequest, GetServicesResponse, GetTraceRequest, Operation,
    SpansResponseChunk,
};

use super::{Answer, Chunks, failed, moment, one, search, several, streaming, unary};
use crate::jaeger::{Traces, calls, model, now_micros};
use crate::store::spans::Found;

/// The routes.
pub(super) fn routes() -> Router<Traces> {
    let path = |method: &str| format!("/jaeger.api_v2.QueryService/{method}");
    Router::new()
        .route(&path("GetTrace"), streaming(trace))
        .route(&path("ArchiveTrace"), unary(archive))
        .route(&path("FindTraces"), streaming(find))
        .route(&path("GetServices"), unary(services))
        .route(&path("GetOperations"), unary(operations))
        .route(&path("GetDependencies"), unary(dependencies))
}

fn chunk(spans: &[Found]) -> SpansResponseChunk {
    SpansResponseChunk { spans: spans.iter().map(model::span).collect() }
}

fn id(bytes: &[u8]) -> Result<u128, Status> {
    let id = match bytes.len() {
        8 | 16 => bytes.iter().fold(0, |id: u128, byte| id << 8 | u128::from(*byte)),
        _ => 0,
    };
    if id == 0 {
        return Err(Status::invalid_argument("trace_id: 8 or 16 bytes that are not all zero are one"));
    }
    Ok(id)
}

fn trace(traces: Traces, asked: GetTraceRequest) -> Answer<Chunks<SpansResponseChunk>> {
    Box::pin(async move { one(traces, id(&asked.trace_id)?, chunk).await })
}

fn archive(_: Traces, asked: GetTraceRequest) -> Answer<ArchiveTraceResponse> {
    Box::pin(async move {
        id(&asked.trace_id)?;
        Err(Status::unimplemented(
            "traces are not archived here: they are kept until they are too old or there is no room",
        ))
    })
}

fn find(traces: Traces, asked: FindTracesRequest) -> Answer<Chunks<SpansResponseChunk>> {
    Box::pin(async move {
        let search = search(asked.query, now_micros())?;
        if search.service.is_empty() {
            return Err(Status::invalid_argument("query.service_name: it is required"));
        }
        several(traces, search, chunk).await
    })
}

fn services(traces: Traces, _: GetServicesRequest) -> Answer<GetServicesResponse> {
    Box::pin(async move {
        let names = traces.services().await.map_err(|e| failed(&e))?;
        Ok(GetServicesResponse { services: names.iter().map(|name| name.to_string()).collect() })
    })
}

/// Names and kinds of a service's operations, sorted.
pub(super) async fn operations_of(traces: Traces, asked: GetOperationsRequest) -> Result<Vec<Operation>, Status> {
    if asked.service.is_empty() {
        return Err(Status::invalid_argument("service: it is required"));
    }
    let found = traces.operations(asked.service).await.map_err(|e| failed(&e))?;
    let all = found.into_iter().map(|of| Operation { name: of.name, span_kind: model::kind(of.kind).to_owned() });
    Ok(all.filter(|of| asked.span_kind.is_empty() || of.span_kind == asked.span_kind).collect())
}

fn operations(traces: Traces, asked: GetOperationsRequest) -> Answer<GetOperationsResponse> {
    Box::pin(async move {
        let operations = operations_of(traces, asked).await?;
        let mut operation_names: Vec<String> = operations.iter().map(|of| of.name.clone()).collect();
        operation_names.dedup();
        Ok(GetOperationsResponse { operation_names, operations })
    })
}

/// Who called whom how often.
pub(super) async fn links(traces: Traces, asked: GetDependenciesRequest) -> Result<Vec<DependencyLink>, Status> {
    let (start, end) = (moment(asked.start_time).unwrap_or(0), moment(asked.end_time).unwrap_or_else(now_micros));
    let calls = calls(&traces, start, end).await.map_err(|e| failed(&e))?;
    let link = |((parent, child), call_count)| DependencyLink { parent, child, call_count, source: String::new() };
    Ok(calls.into_iter().map(link).collect())
}

fn dependencies(traces: Traces, asked: GetDependenciesRequest) -> Answer<GetDependenciesResponse> {
    Box::pin(async move { Ok(GetDependenciesResponse { dependencies: links(traces, asked).await? }) })
}
