//! Jaeger's query services over gRPC: `jaeger.api_v2.QueryService` and `jaeger.api_v3.QueryService`, with the answers of the
//! JSON interface.
//!
//! Traces are read one after another as the client takes them, and told in chunks that stay below what clients take by default
//! (4 MiB). Nothing is written: archiving is refused.

mod v2;
mod v3;

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::routing::{MethodRouter, post};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use prost::Message;
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use varka_proto::jaeger::api_v2::TraceQueryParameters;
use varka_proto::protobuf::{Duration, Timestamp};

use super::Traces;
use super::query::Invalid;
use crate::store::Error;
use crate::store::spans::{Found, Search};

/// A request is at most so big: it holds names, not data.
const LARGEST: usize = 1 << 20;
/// A request names so many tags at most; each is looked for in every span.
const MAX_TAGS: usize = 64;
/// Spans of a chunk: each is at most 64 KiB with where it comes from, as it is stored.
const CHUNK: usize = 24;
const DEFAULT_DEPTH: usize = 100;
const MAX_DEPTH: usize = 1_500;

/// The routes.
pub fn routes(traces: impl Into<Traces>) -> Router {
    Router::new().merge(v2::routes()).merge(v3::routes()).fallback(unknown).with_state(traces.into())
}

async fn unknown() -> axum::response::Response {
    Status::unimplemented("of Jaeger's services QueryService is here, in version 2 and 3").into_http()
}

type Answer<A> = BoxFuture<'static, Result<A, Status>>;

/// An answer that comes in parts.
struct Chunks<A>(BoxStream<'static, Result<A, Status>>);

impl<A> Stream for Chunks<A> {
    type Item = Result<A, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

/// A function of a question, as tonic wants it.
struct Asked<Q, A> {
    traces: Traces,
    function: fn(Traces, Q) -> Answer<A>,
}

impl<Q, A: 'static> UnaryService<Q> for Asked<Q, A> {
    type Response = A;
    type Future = BoxFuture<'static, Result<tonic::Response<A>, Status>>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        let answer = (self.function)(self.traces.clone(), request.into_inner());
        Box::pin(async move { Ok(tonic::Response::new(answer.await?)) })
    }
}

impl<Q, A: 'static> ServerStreamingService<Q> for Asked<Q, Chunks<A>> {
    type Response = A;
    type ResponseStream = Chunks<A>;
    type Future = BoxFuture<'static, Result<tonic::Response<Chunks<A>>, Status>>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        let answer = (self.function)(self.traces.clone(), request.into_inner());
        Box::pin(async move { Ok(tonic::Response::new(answer.await?)) })
    }
}

/// A method with one answer.
fn unary<Q, A>(function: fn(Traces, Q) -> Answer<A>) -> MethodRouter<Traces>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
{
    post(move |State(traces): State<Traces>, request: Request| async move {
        let codec = ProstCodec::<A, Q>::default();
        let mut grpc = Grpc::new(codec).max_decoding_message_size(LARGEST);
        grpc.unary(Asked { traces, function }, request).await.map(Body::new)
    })
}

/// A method with an answer in chunks.
fn streaming<Q, A>(function: fn(Traces, Q) -> Answer<Chunks<A>>) -> MethodRouter<Traces>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
{
    post(move |State(traces): State<Traces>, request: Request| async move {
        let codec = ProstCodec::<A, Q>::default();
        let mut grpc = Grpc::new(codec).max_decoding_message_size(LARGEST);
        grpc.server_streaming(Asked { traces, function }, request).await.map(Body::new)
    })
}

/// An error of the interface as one of gRPC.
fn failed(error: &Error) -> Status {
    Status::internal(error.to_string())
}

fn invalid(why: &Invalid) -> Status {
    Status::invalid_argument(why.to_string())
}

/// One trace in chunks.
async fn one<A: Send + 'static>(traces: Traces, id: u128, chunk: fn(&[Found]) -> A) -> Result<Chunks<A>, Status> {
    let spans = traces.trace(id).await.map_err(|e| failed(&e))?;
    if spans.is_empty() {
        return Err(Status::new(Code::NotFound, "trace not found"));
    }
    let chunks: Vec<_> = spans.chunks(CHUNK).map(|spans| Ok(chunk(spans))).collect();
    Ok(Chunks(stream::iter(chunks).boxed()))
}

/// The traces that are found, each read when the one before has been told.
async fn several<A: Send + 'static>(
    traces: Traces,
    search: Search,
    chunk: fn(&[Found]) -> A,
) -> Result<Chunks<A>, Status> {
    let ids = traces.search(search).await.map_err(|e| failed(&e))?;
    let read = stream::iter(ids).then(move |id| {
        let traces = traces.clone();
        async move { traces.trace(id).await }
    });
    let told = read.flat_map(move |read| {
        let chunks: Vec<Result<A, Status>> = match read {
            Ok(spans) => spans.chunks(CHUNK).map(|spans| Ok(chunk(spans))).collect(),
            Err(problem) => vec![Err(failed(&problem))],
        };
        stream::iter(chunks)
    });
    Ok(Chunks(told.boxed()))
}

/// What is searched for.
fn search(query: Option<TraceQueryParameters>, now: u64) -> Result<Search, Status> {
    let query = query.ok_or_else(|| Status::invalid_argument("query: it is missing"))?;
    if query.filter.is_some() {
        return Err(Status::invalid_argument(
            "query.filter: structured filters are not known here; the other fields are",
        ));
    }
    if query.tags.len() > MAX_TAGS {
        return Err(Status::invalid_argument(format!("query: more than {MAX_TAGS} tags")));
    }
    let (duration_min, duration_max) = (length(query.duration_min), length(query.duration_max));
    if let (Some(min), Some(max)) = (duration_min, duration_max)
        && max < min
    {
        return Err(Status::invalid_argument("query.duration_max: it is less than duration_min"));
    }
    let mut tags: Vec<(String, String)> = query.tags.into_iter().collect();
    tags.sort();
    let depth = usize::try_from(query.search_depth).ok().filter(|depth| *depth > 0).unwrap_or(DEFAULT_DEPTH);
    Ok(Search {
        service: query.service_name,
        operation: query.operation_name,
        tags,
        start: moment(query.start_time_min).unwrap_or(0),
        end: moment(query.start_time_max).unwrap_or(now),
        duration_min,
        duration_max,
        limit: depth.min(MAX_DEPTH),
    })
}

/// Microseconds since 1970; `None`: nothing was said, which Go writes as the year 1.
fn moment(at: Option<Timestamp>) -> Option<u64> {
    let at = at?;
    let seconds = u64::try_from(at.seconds).ok()?;
    let within = u64::try_from(at.nanos / 1000).unwrap_or(0);
    Some(seconds.saturating_mul(1_000_000).saturating_add(within)).filter(|micros| *micros > 0)
}

/// Microseconds; `None`: nothing was said.
fn length(of: Option<Duration>) -> Option<u64> {
    let of = of?;
    let within = u64::try_from(of.nanos / 1000).unwrap_or(0);
    let micros = u64::try_from(of.seconds).ok()?.saturating_mul(1_000_000).saturating_add(within);
    Some(micros).filter(|micros| *micros > 0)
}

#[cfg(test)]
mod tests;
