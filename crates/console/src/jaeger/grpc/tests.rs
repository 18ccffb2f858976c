use std::collections::HashMap;

use prost::Message;
use serde_json::{Value, json};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use varka_proto::jaeger::{api_v2, api_v3};
use varka_proto::otlp::ExportTraceServiceRequest as TracesData;
use varka_proto::protobuf::{Duration, Timestamp};

use super::routes;
use crate::jaeger::model;
use crate::jaeger::tests::{filled, get};
use crate::store::Store;

/// A client over a real connection.
struct Client {
    channel: Channel,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Client {
    async fn of(store: &Store) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = routes(store.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { channel: Channel::from_shared(url).unwrap().connect().await.unwrap(), serving }
    }

    async fn ask<Q, A>(&self, method: &str, question: Q) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path: PathAndQuery = format!("/jaeger.{method}").parse().unwrap();
        Ok(grpc.unary(Request::new(question), path, ProstCodec::<Q, A>::default()).await?.into_inner())
    }

    async fn told<Q, A>(&self, method: &str, question: Q) -> Result<Vec<A>, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path: PathAndQuery = format!("/jaeger.{method}").parse().unwrap();
        let answer = grpc.server_streaming(Request::new(question), path, ProstCodec::<Q, A>::default()).await?;
        let (mut stream, mut all) = (answer.into_inner(), Vec::new());
        while let Some(chunk) = stream.message().await? {
            all.push(chunk);
        }
        Ok(all)
    }
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

/// What Go sends where nobody said a time.
fn never() -> Option<Timestamp> {
    Some(Timestamp { seconds: -62_135_596_800, nanos: 0 })
}

fn query(service: &str) -> api_v2::TraceQueryParameters {
    api_v2::TraceQueryParameters {
        service_name: service.to_owned(),
        start_time_min: at(1_763_999_999),
        start_time_max: at(1_764_000_001),
        duration_min: Some(Duration::default()),
        ..Default::default()
    }
}

fn find(query: api_v2::TraceQueryParameters) -> api_v2::FindTracesRequest {
    api_v2::FindTracesRequest { query: Some(query) }
}

#[tokio::test]
async fn version_2_answers_what_the_json_interface_answers() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory);
    let client = Client::of(&store).await;
    let services: api_v2::GetServicesResponse =
        client.ask("api_v2.QueryService/GetServices", api_v2::GetServicesRequest {}).await.unwrap();
    assert_eq!(json!(services.services), get(&store, "/api/services").await.1["data"]);

    let asked = api_v2::GetOperationsRequest { service: "web.blog-system".to_owned(), span_kind: "client".to_owned() };
    let operations: api_v2::GetOperationsResponse =
        client.ask("api_v2.QueryService/GetOperations", asked).await.unwrap();
    let pairs: Vec<Value> =
        operations.operations.iter().map(|o| json!({"name": o.name, "spanKind": o.span_kind})).collect();
    let (_, json) = get(&store, "/api/operations?service=web.blog-system&spanKind=client").await;
    assert_eq!((json!(pairs), operations.operation_names.len()), (json["data"].clone(), 1));

    let mut id = vec![0; 16];
    id[15] = 0xab;
    let asked = api_v2::GetTraceRequest { trace_id: id, start_time: never(), ..Default::default() };
    let chunks: Vec<api_v2::SpansResponseChunk> = client.told("api_v2.QueryService/GetTrace", asked).await.unwrap();
    let spans: Vec<api_v2::Span> = chunks.into_iter().flat_map(|chunk| chunk.spans).collect();
    let (_, json) = get(&store, "/api/traces/ab").await;
    assert_eq!(model::json(&spans), json["data"][0]);
    assert!(spans.iter().all(|span| span.process.is_some() && span.process_id.is_empty()));

    let asked = find(api_v2::TraceQueryParameters {
        tags: HashMap::from([("http.status_code".to_owned(), "503".to_owned())]),
        duration_max: Some(Duration { seconds: 0, nanos: 250_000_000 }),
        ..query("web.blog-system")
    });
    let chunks: Vec<api_v2::SpansResponseChunk> = client.told("api_v2.QueryService/FindTraces", asked).await.unwrap();
    assert_eq!(chunks.iter().map(|chunk| chunk.spans.len()).collect::<Vec<_>>(), [2]);
    let slow = find(api_v2::TraceQueryParameters {
        duration_min: Some(Duration { seconds: 1, nanos: 0 }),
        ..query("web.blog-system")
    });
    let none: Vec<api_v2::SpansResponseChunk> = client.told("api_v2.QueryService/FindTraces", slow).await.unwrap();
    assert!(none.is_empty());

    let asked = api_v2::GetDependenciesRequest { start_time: never(), end_time: at(1_764_000_001) };
    let links: api_v2::GetDependenciesResponse =
        client.ask("api_v2.QueryService/GetDependencies", asked).await.unwrap();
    let links: Vec<Value> = links
        .dependencies
        .iter()
        .map(|l| json!({"parent": l.parent, "child": l.child, "callCount": l.call_count}))
        .collect();
    let (_, json) = get(&store, "/api/dependencies?endTs=1764000001000").await;
    assert_eq!(json!(links), json["data"]);
}

#[tokio::test]
async fn version_3_answers_in_otlp() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory);
    let client = Client::of(&store).await;
    let asked = api_v3::GetTraceRequest { trace_id: "ab".to_owned(), ..Default::default() };
    let chunks: Vec<TracesData> = client.told("api_v3.QueryService/GetTrace", asked).await.unwrap();
    let (_, json) = get(&store, "/api/v3/traces/ab").await;
    assert_eq!(json!({"result": chunks[0]}), json);
    let chunks: Vec<TracesData> =
        client.told("api_v3.QueryService/FindTraces", find(query("was.blog-system"))).await.unwrap();
    assert_eq!(json!({"result": chunks[0]}), json);

    let none = api_v3::GetTraceRequest { trace_id: "cd".to_owned(), ..Default::default() };
    let chunks: Vec<TracesData> = client.told("api_v3.QueryService/GetTrace", none).await.unwrap();
    assert!(chunks.is_empty(), "a trace that there is not is one of no spans, in this version");

    let all: Vec<api_v3::FindTraceSummariesResponse> =
        client.told("api_v3.QueryService/FindTraceSummaries", find(query("was.blog-system"))).await.unwrap();
    let of = &all[0].summaries[0];
    assert_eq!((of.span_count, of.error_span_count, of.orphan_span_count), (2, 1, 0));
    assert_eq!((of.root_service_name.as_str(), of.services.len()), ("web.blog-system", 2));

    let services: api_v3::GetServicesResponse =
        client.ask("api_v3.QueryService/GetServices", api_v3::GetServicesRequest {}).await.unwrap();
    assert_eq!(services.services, ["was.blog-system", "web.blog-system"]);
    let asked = api_v3::GetOperationsRequest { service: "was.blog-system".to_owned(), ..Default::default() };
    let found: api_v3::GetOperationsResponse = client.ask("api_v3.QueryService/GetOperations", asked).await.unwrap();
    assert_eq!((found.operations[0].name.as_str(), found.operations[0].span_kind.as_str()), ("GET", "server"));
    let asked = api_v3::GetDependenciesRequest { start_time: at(1_763_999_999), end_time: at(1_764_000_001) };
    let links: api_v3::DependenciesResponse = client.ask("api_v3.QueryService/GetDependencies", asked).await.unwrap();
    assert_eq!(links.dependencies[0].call_count, 1);
}

#[tokio::test]
async fn long_traces_come_in_chunks() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory);
    let filler = "x".repeat(60 << 10);
    for id in 1..=100_u64 {
        let spans = json!({"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "long"}}]},
            "scopeSpans": [{"spans": [{"traceId": "000000000000000000000000000000cd", "spanId": format!("{id:016x}"), "name": "n",
                "startTimeUnixNano": "1764000000000000000", "endTimeUnixNano": "1764000000000001000",
                "attributes": [{"key": "filler", "value": {"stringValue": filler}}]}]}]}]});
        let spans: TracesData = serde_json::from_value(spans).unwrap();
        assert_eq!(store.spans().append(spans.resource_spans.into_iter().next().unwrap()), 0);
    }
    let client = Client::of(&store).await;
    // A client takes messages of at most 4 MiB where nobody says otherwise; this one is such a client.
    let chunks: Vec<api_v2::SpansResponseChunk> =
        client.told("api_v2.QueryService/FindTraces", find(query("long"))).await.unwrap();
    assert_eq!(chunks.iter().map(|chunk| chunk.spans.len()).sum::<usize>(), 100);
    assert!(chunks.len() > 1 && chunks.iter().all(|chunk| chunk.encoded_len() < 4 << 20));
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = filled(&directory);
    let client = Client::of(&store).await;
    let code = |status: Status| (status.code(), status.message().to_owned());
    let trace = |id: &[u8]| api_v2::GetTraceRequest { trace_id: id.to_vec(), ..Default::default() };
    let get_trace = "api_v2.QueryService/GetTrace";
    let chunks = |told: Result<Vec<api_v2::SpansResponseChunk>, Status>| told.unwrap_err();
    assert_eq!(code(chunks(client.told(get_trace, trace(&[1; 16])).await)).0, Code::NotFound);
    for wrong in [&[1; 7][..], &[0; 16], &[]] {
        assert_eq!(code(chunks(client.told(get_trace, trace(wrong)).await)).0, Code::InvalidArgument);
    }
    let archived: Result<api_v2::ArchiveTraceResponse, Status> =
        client.ask("api_v2.QueryService/ArchiveTrace", trace(&[1; 16])).await;
    let (refused, why) = code(archived.unwrap_err());
    assert!(refused == Code::Unimplemented && why.contains("not archived"), "{why}");

    let searches = [
        ("api_v2", api_v2::FindTracesRequest { query: None }, "query: it is missing"),
        ("api_v2", find(query("")), "service_name"),
        (
            "api_v2",
            find(api_v2::TraceQueryParameters {
                tags: (0..65).map(|i| (i.to_string(), String::new())).collect(),
                ..query("a")
            }),
            "64 tags",
        ),
        ("api_v3", find(api_v2::TraceQueryParameters { filter: Some(vec![1]), ..query("a") }), "query.filter"),
        ("api_v3", find(api_v2::TraceQueryParameters { start_time_max: None, ..query("a") }), "required"),
    ];
    for (version, search, why) in searches {
        let path = format!("{version}.QueryService/FindTraces");
        let (refused, message) = code(client.told::<_, TracesData>(&path, search).await.unwrap_err());
        assert!(refused == Code::InvalidArgument && message.contains(why), "{why}: {message}");
    }
    let huge = find(query(&"a".repeat(2 << 20)));
    let refused = client.told::<_, TracesData>("api_v2.QueryService/FindTraces", huge).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    let unknown: Result<api_v2::GetServicesResponse, Status> =
        client.ask("storage.v1.SpanReaderPlugin/GetServices", api_v2::GetServicesRequest {}).await;
    assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);
}
