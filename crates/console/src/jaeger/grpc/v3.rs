//! Version 3: OTLP.

use axum::Router;
use futures_util::{StreamExt as _, stream};
use tonic::{Code, Status};
use varka_proto::jaeger::api_v3::{
    DependenciesResponse, Dependency, FindTraceSummariesResponse, FindTracesRequest, GetDependenciesRequest,
    GetOperationsRequest, GetOperationsResponse, GetServicesRequest, GetServicesResponse, GetTraceRequest,
};
use varka_proto::otlp::ExportTraceServiceRequest as TracesData;

use super::v2::{links, operations_of};
use super::{Answer, Chunks, failed, invalid, one, search, several, streaming, unary};
use crate::jaeger::v3::{resource_spans, summary};
use crate::jaeger::{Traces, now_micros, query};
use crate::store::spans::{Found, Search};

/// The routes.
pub(super) fn routes() -> Router<Traces> {
    let path = |method: &str| format!("/jaeger.api_v3.QueryService/{method}");
    Router::new()
        .route(&path("GetTrace"), streaming(trace))
        .route(&path("FindTraces"), streaming(find))
        .route(&path("FindTraceSummaries"), streaming(summaries))
        .route(&path("GetServices"), unary(services))
        .route(&path("GetOperations"), unary(operations))
        .route(&path("GetDependencies"), unary(dependencies))
}

fn chunk(spans: &[Found]) -> TracesData {
    TracesData { resource_spans: spans.iter().map(resource_spans).collect() }
}

/// In this version the time has to be said, and its end is not within.
fn wanted(asked: FindTracesRequest) -> Result<Search, Status> {
    let timed = asked.query.as_ref().is_none_or(|q| q.start_time_min.is_some() && q.start_time_max.is_some());
    if !timed {
        return Err(Status::invalid_argument("query: start_time_min and start_time_max are required"));
    }
    let search = search(asked.query, now_micros())?;
    Ok(Search { end: search.end.saturating_sub(1), ..search })
}

fn trace(traces: Traces, asked: GetTraceRequest) -> Answer<Chunks<TracesData>> {
    Box::pin(async move {
        let id = query::trace_id(&asked.trace_id).map_err(|why| invalid(&why))?;
        match one(traces, id, chunk).await {
            // In this version a trace that there is not is one of no spans.
            Err(status) if status.code() == Code::NotFound => Ok(Chunks(stream::empty().boxed())),
            told => told,
        }
    })
}

fn find(traces: Traces, asked: FindTracesRequest) -> Answer<Chunks<TracesData>> {
    Box::pin(async move { several(traces, wanted(asked)?, chunk).await })
}

fn summaries(traces: Traces, asked: FindTracesRequest) -> Answer<Chunks<FindTraceSummariesResponse>> {
    Box::pin(async move {
        let ids = traces.search(wanted(asked)?).await.map_err(|e| failed(&e))?;
        let told = stream::iter(ids).then(move |id| {
            let traces = traces.clone();
            async move {
                let spans = traces.trace(id).await.map_err(|e| failed(&e))?;
                Ok(FindTraceSummariesResponse { summaries: vec![summary(&spans)] })
            }
        });
        Ok(Chunks(told.boxed()))
    })
}

fn services(traces: Traces, _: GetServicesRequest) -> Answer<GetServicesResponse> {
    Box::pin(async move {
        let names = traces.services().await.map_err(|e| failed(&e))?;
        Ok(GetServicesResponse { services: names.iter().map(|name| name.to_string()).collect() })
    })
}

fn operations(traces: Traces, asked: GetOperationsRequest) -> Answer<GetOperationsResponse> {
    Box::pin(async move { Ok(GetOperationsResponse { operations: operations_of(traces, asked).await? }) })
}

fn dependencies(traces: Traces, asked: GetDependenciesRequest) -> Answer<DependenciesResponse> {
    Box::pin(async move {
        let links = links(traces, asked).await?.into_iter();
        let one = |of: varka_proto::jaeger::api_v2::DependencyLink| Dependency {
            parent: of.parent,
            child: of.child,
            call_count: of.call_count,
        };
        Ok(DependenciesResponse { dependencies: links.map(one).collect() })
    })
}
