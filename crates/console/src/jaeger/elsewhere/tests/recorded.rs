//! Against answers of Jaegers themselves: `spans.json` was sent to one, and what it then answered was written down.
//!
//! To ask one anew, post `spans.json` as JSON to its `:4318/v1/traces`, and when `:16686/api/v3/traces/ab` answers run this test with
//! `UPDATE=1 JAEGER=1.76.0=http://127.0.0.1:16686`; the version has to be among [`VERSIONS`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{TracesData, get_from, serve};
use crate::client::{Question, Url, encode};
use crate::jaeger::elsewhere::{Elsewhere, JSON, Kind, LARGEST, WITHIN};
use crate::jaeger::{Traces, routes};
use crate::store::Store;
use crate::store::tests::forever;

const VERSIONS: [&str; 2] = ["1.76.0", "2.20.0"];

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/recorded", name].iter().collect()
}

/// By path and query: status and body.
type Answers = BTreeMap<String, Answer>;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Answer {
    status: u16,
    body: String,
}

/// A Jaeger of which only the answers are there, or one that is asked and written down.
#[derive(Debug, Clone, Default)]
struct Recorded {
    answers: Arc<Mutex<Answers>>,
    from: Option<Url>,
}

impl Recorded {
    fn of(version: &str) -> Self {
        let from = std::env::var("JAEGER").ok().filter(|_| std::env::var("UPDATE").is_ok_and(|value| value == "1"));
        let from = from.as_deref().and_then(|text| text.split_once('=')).filter(|(of, _)| *of == version);
        if let Some((_, url)) = from {
            return Self { from: Some(url.parse().unwrap()), ..Self::default() };
        }
        let text = std::fs::read_to_string(file(&format!("jaeger-{version}.json"))).unwrap();
        Self { answers: Arc::new(Mutex::new(serde_json::from_str(&text).unwrap())), from: None }
    }

    async fn answer(&self, path: &str) -> Option<Answer> {
        if let Some(url) = &self.from {
            let question = Question { path, accept: JSON, within: WITHIN, largest: LARGEST, ..Question::default() };
            let answer = url.ask(&question).await.unwrap();
            let body = String::from_utf8(answer.body.to_vec()).unwrap();
            let answer = Answer { status: answer.status.as_u16(), body };
            self.answers.lock().unwrap().insert(path.to_owned(), answer);
        }
        self.answers.lock().unwrap().get(path).cloned()
    }

    fn write(&self, version: &str) {
        if self.from.is_some() {
            let text = serde_json::to_string_pretty(&*self.answers.lock().unwrap()).unwrap();
            std::fs::write(file(&format!("jaeger-{version}.json")), text + "\n").unwrap();
        }
    }
}

async fn told(State(recorded): State<Recorded>, request: Request) -> Response {
    let path = request.uri().path_and_query().unwrap().as_str();
    match recorded.answer(path).await {
        Some(answer) => (StatusCode::from_u16(answer.status).unwrap(), answer.body).into_response(),
        None => (StatusCode::NOT_IMPLEMENTED, format!("it was not asked for {path}")).into_response(),
    }
}

fn kept(directory: &tempfile::TempDir) -> Router {
    let store = Store::open(directory.path(), forever()).unwrap();
    let text = std::fs::read_to_string(file("spans.json")).unwrap();
    let sent: TracesData = serde_json::from_str(&text).unwrap();
    for from in sent.resource_spans {
        assert_eq!(store.spans().append(from), 0);
    }
    routes(store)
}

/// Questions to which both have to give the same answer.
fn questions() -> Vec<String> {
    let search = |more: &str| format!("/api/traces?start=1763999999000000&end=1764000002000000&{more}");
    let tags = |service: &str, tags: Value| {
        search(&encode([("service", &*format!("{service}.blog-system")), ("tags", &tags.to_string())]))
    };
    vec![
        "/api/services".to_owned(),
        "/api/operations?service=was.blog-system".to_owned(),
        "/api/operations?service=mysql.blog-system&spanKind=internal".to_owned(),
        "/api/operations?service=nobody".to_owned(),
        "/api/traces/5b8efff798038103d269b633813fc60c".to_owned(),
        "/api/traces/ab".to_owned(),
        search("service=was.blog-system"),
        search("service=was.blog-system&limit=1"),
        search("service=nobody"),
        search("service=was.blog-system&operation=GET%20%22posts%22%20%3Fq%3D1%26x"),
        search("service=was.blog-system&operation=SELECT"),
        search("service=web.blog-system&minDuration=250ms"),
        search("service=web.blog-system&minDuration=251ms"),
        search("service=was.blog-system&maxDuration=1ms"),
        tags("was", json!({"guid:x-request-id": "a-1"})),
        tags("was", json!({"guid:x-request-id": "a-2"})),
        tags("was", json!({"error": "true"})),
        tags("web", json!({"pod": "web-1", "attempt": "2"})),
        tags("web", json!({"pod": "web-2"})),
        tags("web", json!({"bool": "true", "double": "0.25"})),
        tags("web", json!({"int": "-9007199254740993"})),
        tags("web", json!({"list": "[\"x\",2]"})),
        "/api/dependencies?endTs=1764000002000&lookback=10000".to_owned(),
        "/api/dependencies?endTs=1700000002000&lookback=10000".to_owned(),
    ]
}

/// Tags that are none in OTLP; Jaeger looks for them where it keeps spans in its own form.
fn questions_before_otlp() -> Vec<String> {
    let search = |tags: Value| {
        let pairs = [("service", "web.blog-system"), ("tags", &*tags.to_string())];
        format!("/api/traces?start=1763999999000000&end=1764000002000000&{}", encode(pairs))
    };
    let tags = [
        json!({"span.kind": "client"}),
        json!({"otel.status_code": "ERROR", "otel.status_description": "no answer"}),
        json!({"otel.scope.name": "sidecar", "otel.scope.version": "1.0"}),
        json!({"event": "retried"}),
    ];
    tags.into_iter().map(search).collect()
}

#[tokio::test]
async fn a_jaeger_and_the_store_answer_alike() {
    let directory = tempfile::tempdir().unwrap();
    let kept = kept(&directory);
    for version in VERSIONS {
        let recorded = Recorded::of(version);
        let url = serve(Router::new().fallback(told).with_state(recorded.clone())).await;
        let elsewhere = routes(Traces::Elsewhere(Elsewhere::new(url, Kind::Jaeger)));
        let (mut asked, mut differences) = (Vec::new(), Vec::new());
        for path in questions().into_iter().chain(["/api/traces/ac".to_owned()]) {
            asked.push(("through the console", get_from(&elsewhere, &path).await, path));
        }
        let before_otlp = if version.starts_with("1.") { questions_before_otlp() } else { Vec::new() };
        for path in questions().into_iter().chain(before_otlp) {
            let there = recorded.answer(&path).await.unwrap_or_else(|| panic!("it was not asked for {path}"));
            asked.push(("itself", (there.status, serde_json::from_str(&there.body).unwrap()), path));
        }
        recorded.write(version);
        for (how, there, path) in asked {
            let (there, here) = (plain(there), plain(get_from(&kept, &path).await));
            if there != here {
                differences.push(format!("{path}, {how}\n  there {there:?}\n  here  {here:?}"));
            }
        }
        assert!(differences.is_empty(), "Jaeger {version}:\n{}", differences.join("\n"));
    }
}

/// Without what differs and means nothing: order, who is called how, and what is counted twice.
fn plain((status, mut answer): (u16, Value)) -> (u16, Value) {
    let sort = |list: &mut Value| {
        if let Some(list) = list.as_array_mut() {
            list.sort_by_key(Value::to_string);
        }
    };
    for trace in answer["data"].as_array_mut().into_iter().flatten().filter(|data| data.get("spans").is_some()) {
        let mut processes = trace["processes"].take();
        for process in processes.as_object_mut().unwrap().values_mut() {
            sort(&mut process["tags"]);
        }
        for span in trace["spans"].as_array_mut().unwrap() {
            let id = span["processID"].take();
            span["process"] = processes[id.as_str().unwrap()].clone();
            // A Jaeger has none of a span that came in OTLP.
            span.as_object_mut().unwrap().remove("flags");
            sort(&mut span["tags"]);
        }
        sort(&mut trace["spans"]);
    }
    if let Some(list) = answer["data"].as_array_mut() {
        // What a service does within itself is a call where some Jaegers count.
        list.retain(|of| of.get("callCount").is_none() || of["parent"] != of["child"]);
    }
    sort(&mut answer["data"]);
    if let Some(object) = answer.as_object_mut() {
        object.remove("total");
    }
    (status, answer)
}
