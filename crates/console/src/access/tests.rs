use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Access, Mode, Rules, gate, is_deliberate, login, token};
use crate::graph::Source;
use crate::graph::tests::{END, source};
use crate::world::KINDS;

/// What an API server says of a token: its owner, and the namespaces that it may get.
type Says = fn(&str) -> Option<(&'static str, &'static [&'static str])>;

/// An API server that knows reviews and nothing else.
pub(crate) async fn reviewer(says: Says) -> kube::Config {
    let bearer = |headers: &HeaderMap| token(headers).unwrap_or_default().to_owned();
    let whose = move |headers: HeaderMap| async move {
        match says(&bearer(&headers)) {
            Some((user, _)) => {
                (axum::http::StatusCode::CREATED, Json(json!({"status": {"userInfo": {"username": user}}})))
            }
            None => {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Unauthorized", "code": 401, "message": "Unauthorized"});
                (axum::http::StatusCode::UNAUTHORIZED, Json(status))
            }
        }
    };
    let may = move |headers: HeaderMap, Json(review): Json<Value>| async move {
        let asked = &review["spec"]["resourceAttributes"];
        let namespaces = says(&bearer(&headers)).map_or(&[][..], |(_, namespaces)| namespaces);
        let named = asked["name"].as_str().or(asked["namespace"].as_str()).unwrap_or("*");
        let allowed = namespaces.contains(&named) && (asked["resource"] == "namespaces" || namespaces == ["*"]);
        (axum::http::StatusCode::CREATED, Json(json!({"spec": {}, "status": {"allowed": allowed}})))
    };
    let routes = Router::new()
        .route("/apis/authentication.k8s.io/v1/selfsubjectreviews", post(whose))
        .route("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", post(may));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    kube::Config::new(format!("http://{address}").parse().unwrap())
}

fn says(token: &str) -> Option<(&'static str, &'static [&'static str])> {
    match token {
        "all" => Some(("alice", &["*"])),
        "shop" => Some(("bob", &["shop"])),
        "blog" => Some(("carol", &["blog"])),
        _ => None,
    }
}

fn routes(source: Source) -> Router {
    let sight = source.world.sight().clone();
    crate::api::routes(source.clone())
        .merge(crate::jaeger::routes_seen(source.store.clone(), sight.clone()))
        .merge(crate::prometheus::routes(source.store, sight))
}

struct Console {
    app: Router,
    /// Jaeger's gRPC, behind the same gate.
    grpc: Router,
    _directory: tempfile::TempDir,
}

async fn console(mode: Mode) -> Console {
    let directory = tempfile::tempdir().unwrap();
    let source = source(&directory);
    source.world.put(KINDS[0], json!({"metadata": {"name": "shop"}}));
    for namespace in ["blog-system", "shop"] {
        let name = format!("{namespace}-web");
        source.world.put(KINDS[1], json!({"metadata": {"name": name, "namespace": namespace}}));
    }
    let rules = Rules { mode, read_only: false };
    let access = Arc::new(Access::new(&reviewer(says).await, source.world.clone(), rules));
    let of_grpc = |source: Source| crate::jaeger::grpc::routes(source.store);
    let grpc = gate::guard(Arc::clone(&access), source.clone(), Arc::new(of_grpc));
    let app = gate::guard(Arc::clone(&access), source, Arc::new(routes)).merge(login::routes(access));
    Console { app, grpc, _directory: directory }
}

impl Console {
    async fn ask(&self, request: Request<Body>) -> (u16, HeaderMap, Value) {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (head.status.as_u16(), head.headers, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        let mut request = Request::get(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let (status, _, body) = self.ask(request.body(Body::empty()).unwrap()).await;
        (status, body)
    }

    async fn post(&self, path: &str, cookie: &str, body: Value) -> (u16, HeaderMap, Value) {
        let request = Request::post(path).header("content-type", "application/json").header("cookie", cookie);
        let request = request.header("x-requested-with", "varka-console").body(Body::from(body.to_string()));
        self.ask(request.unwrap()).await
    }
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn nobody_is_told_anything_but_how_to_sign_in() {
    let console = console(Mode::Token).await;
    for path in
        ["/console/api/services", "/console/api/stream?topics=changes", "/api/v1/query?query=up", "/api/services"]
    {
        let (status, body) = console.get(path, "").await;
        assert_eq!((status, body["code"].as_str()), (401, Some("forbidden")), "{path}");
        assert_eq!(console.get(path, "stolen").await.0, 401, "{path}");
    }
    let (status, info) = console.get("/console/api/info", "stolen").await;
    assert_eq!((status, &info["namespaces"], &info["access"]["mode"]), (200, &json!([]), &json!("token")));
    assert_eq!((&info["access"]["user"], &info["access"]["readOnly"]), (&Value::Null, &json!(true)));
}

#[tokio::test]
async fn who_sees_some_namespaces_is_answered_with_those() {
    let console = console(Mode::Token).await;
    let (_, all) = console.get("/console/api/services", "all").await;
    assert_eq!(names(&all), ["blog-system-web", "shop-web"]);
    let (_, some) = console.get("/console/api/services", "shop").await;
    assert_eq!(names(&some), ["shop-web"]);
    let (_, info) = console.get("/console/api/info", "shop").await;
    assert_eq!((names(&info["namespaces"]), &info["access"]["user"]), (vec!["shop"], &json!("bob")));

    // Traffic elsewhere is neither in their graph nor among their series; nor are lines and traces theirs to read.
    let graph = format!("/console/api/graph?at={END}&duration=50&graphType=workload");
    assert_eq!(console.get(&graph, "all").await.1["edges"].as_array().unwrap().len(), 1);
    let (status, theirs) = console.get(&graph, "shop").await;
    assert_eq!((status, &theirs["edges"]), (200, &json!([])), "{theirs}");
    let query = format!("/api/v1/query?query=istio_requests_total&time={END}");
    assert_eq!(console.get(&query, "all").await.1["data"]["result"].as_array().unwrap().len(), 2);
    assert_eq!(console.get(&query, "shop").await.1["data"]["result"], json!([]));
    assert_eq!(console.get("/api/v1/label/source_workload/values", "all").await.1["data"], json!(["web"]));
    assert_eq!(console.get("/api/v1/label/source_workload/values", "shop").await.1["data"], json!([]));
    let logs = ["/console/api/logs?namespace=shop", "/console/api/stream?topics=logs&namespace=shop"];
    for path in ["/api/v3/services"].into_iter().chain(logs) {
        let (status, body) = console.get(path, "shop").await;
        assert_eq!((status, body["code"].as_str()), (403, Some("forbidden")), "{path}: {body}");
        assert!(body["message"].as_str().unwrap().starts_with("bob may not get"), "{body}");
    }
    assert_eq!(console.get("/api/v3/services", "all").await.0, 200);
    let grpc = |token: &str| {
        let request =
            Request::post("/jaeger.api_v2.QueryService/GetServices").header("content-type", "application/grpc");
        let request = request.header("authorization", format!("Bearer {token}")).body(Body::from(vec![0; 5]));
        console.grpc.clone().oneshot(request.unwrap())
    };
    assert_eq!(grpc("shop").await.unwrap().status(), 403);
    assert_eq!(grpc("all").await.unwrap().status(), 200);
}

#[tokio::test]
async fn who_sees_some_namespaces_is_told_why_requests_go_within_them() {
    let directory = tempfile::tempdir().unwrap();
    let source = source(&directory);
    let put = |object: Value| {
        let group = object["apiVersion"].as_str().unwrap().rsplit_once('/').map_or("", |(group, _)| group);
        let kind = KINDS.iter().find(|k| k.group == group && object["kind"] == k.kind).unwrap();
        source.world.put(*kind, object);
    };
    crate::explain::tests::objects().into_iter().for_each(put);
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    ["shop", "istio-system"].map(namespace).into_iter().for_each(put);
    let rules = Rules { mode: Mode::Token, read_only: false };
    let access = Arc::new(Access::new(&reviewer(says).await, source.world.clone(), rules));
    let app = gate::guard(access, source.clone(), Arc::new(crate::api::routes));
    let ask = |from: (&'static str, &'static str), host: &'static str, token: &'static str| {
        let asked =
            json!({"from": {"namespace": from.0, "workload": from.1}, "to": {"host": host, "path": "/api/posts"}});
        let request = Request::post("/console/api/explain").header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {token}")).body(Body::from(asked.to_string()));
        let app = app.clone();
        async move {
            let response = app.oneshot(request.unwrap()).await.unwrap();
            let status = response.status().as_u16();
            let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
            (status, serde_json::from_slice::<Value>(&body).unwrap())
        }
    };
    let said_by = |told: &(u16, Value), namespace: &str| {
        let said = told.1["message"].as_str().is_some_and(|m| m.contains(&format!("by namespace {namespace},")));
        assert!(told.0 == 403 && told.1["code"] == "forbidden" && said, "{told:?}");
    };
    let (status, told) = ask(("blog", "web"), "was.blog", "blog").await;
    assert_eq!((status, &told["outcome"]), (200, &json!("ok")), "all of it is theirs: {told}");
    assert!(told.get("touched").is_none(), "{told}");
    // From a namespace that is not theirs, whether or not there is such a workload.
    said_by(&ask(("ingress-nginx", "edge"), "blog.example.com", "blog").await, "ingress-nginx");
    said_by(&ask(("ingress-nginx", "nobody"), "blog.example.com", "blog").await, "ingress-nginx");
    said_by(&ask(("blog", "web"), "was", "shop").await, "blog");
    // What decides is another's: of the root namespace, also where it lets the request pass.
    for (action, paths) in [("DENY", "/api/*"), ("DENY", "/other")] {
        let rules = json!([{"to": [{"operation": {"paths": [paths]}}]}]);
        put(json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
            "metadata": {"namespace": "istio-system", "name": "all"}, "spec": {"action": action, "rules": rules}}));
        said_by(&ask(("blog", "web"), "was", "blog").await, "istio-system");
        let (status, told) = ask(("blog", "web"), "was", "all").await;
        assert_eq!((status, told["outcome"] == "denied"), (200, paths == "/api/*"), "{told}");
    }
}

#[tokio::test]
async fn signing_in_keeps_the_token_where_no_script_sees_it() {
    let console = console(Mode::Token).await;
    let (status, headers, access) = console.post("/console/api/login", "", json!({"token": " all\n"})).await;
    assert_eq!((status, &access["user"], &access["readOnly"]), (200, &json!("alice"), &json!(false)));
    let cookie = headers[header::SET_COOKIE].to_str().unwrap();
    assert_eq!(cookie, "varka-token=all; Path=/; HttpOnly; SameSite=Strict");
    let with =
        |cookie: &str| Request::get("/console/api/services").header("cookie", cookie).body(Body::empty()).unwrap();
    assert_eq!(console.ask(with("a=b; varka-token=all")).await.0, 200);
    assert_eq!(console.ask(with("a=b; varka-token=")).await.0, 401);
    let (status, headers, access) = console.post("/console/api/logout", "varka-token=all", json!({})).await;
    assert_eq!((status, &access["user"]), (200, &Value::Null));
    assert!(headers[header::SET_COOKIE].to_str().unwrap().starts_with("varka-token=; Path=/; Max-Age=0"));

    let (status, headers, _) = console.post("/console/api/login", "", json!({"token": "stolen"})).await;
    assert_eq!((status, headers.get(header::SET_COOKIE)), (401, None));
    for bad in ["", "two words", "a;Domain=evil"] {
        assert_eq!(console.post("/console/api/login", "", json!({"token": bad})).await.0, 400, "{bad}");
    }
    assert_eq!(console.get("/console/api/login/oidc", "").await.0, 404);
}

#[tokio::test]
async fn where_everybody_may_look_one_signs_in_to_change() {
    let console = console(Mode::Anonymous).await;
    let (status, info) = console.get("/console/api/info", "").await;
    assert_eq!((status, names(&info["namespaces"])), (200, vec!["blog-system", "shop"]));
    assert_eq!((&info["access"]["mode"], &info["access"]["readOnly"]), (&json!("token"), &json!(true)));
    // Whatever cookie a browser sends along.
    assert_eq!(console.get("/console/api/services", "stolen").await.0, 200);
    assert_eq!(console.get("/console/api/info", "all").await.1["access"]["readOnly"], json!(false));
}

#[test]
fn a_change_is_deliberate() {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "text/plain".parse().unwrap());
    headers.insert("x-requested-with", "varka-console".parse().unwrap());
    assert_eq!(is_deliberate(&headers).unwrap_err().status, 403);
    headers.insert("content-type", "application/json; charset=utf-8".parse().unwrap());
    assert_eq!(is_deliberate(&headers), Ok(()));
    headers.remove("x-requested-with");
    assert_eq!(is_deliberate(&headers).unwrap_err().code, "forbidden");
}
