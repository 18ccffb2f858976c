//! The API over a real MariaDB server, started in a temporary directory. Fails where mariadbd is not installed
//! (Debian: mariadb-server-core).
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use blog_was::{config::Config, posts::Store, server};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tower::ServiceExt;

/// A server of our own; dropped, it is gone.
struct Database {
    server: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn start_database() -> Database {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // Needed by root alone, and ignored with a warning elsewhere.
    let user = "--user=root";
    let init = directory.path().join("init.sql");
    std::fs::write(
        &init,
        "CREATE DATABASE blog;\nCREATE USER 'blog'@'%' IDENTIFIED BY 'secret';\nGRANT ALL ON blog.* TO 'blog'@'%';\n",
    )
    .unwrap();
    let program = |name: &str| {
        let sbin = format!("/usr/sbin/{name}");
        if Path::new(&sbin).exists() { sbin } else { name.to_owned() }
    };
    let installed = Command::new("mariadb-install-db")
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", user])
        .arg(format!("--datadir={}", data.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("mariadb-install-db runs (Debian: mariadb-server-core)");
    assert!(installed.success());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Command::new(program("mariadbd"))
        .args([
            "--no-defaults",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
            user,
        ])
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--port={port}"))
        .arg(format!("--socket={}", directory.path().join("s").display()))
        .arg(format!("--pid-file={}", directory.path().join("pid").display()))
        .arg(format!("--init-file={}", init.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("mariadbd runs (Debian: mariadb-server-core)");
    Database { server, port, _directory: directory }
}

async fn send(router: &axum::Router, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request = request.body(body.map_or_else(Body::empty, |body| Body::from(body.to_string()))).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn posts_live_in_the_database() {
    tracing_subscriber::fmt().with_test_writer().init();
    let database = start_database();
    let config = Config::from_lookup(|name| match name {
        "DATABASE_HOST" => Some("127.0.0.1".into()),
        "DATABASE_PORT" => Some(database.port.to_string()),
        "DATABASE_USER" => Some("blog".into()),
        "DATABASE_PASSWORD" => Some("secret".into()),
        "SQLCOMMENTER" => Some("true".into()),
        _ => None,
    });
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    let store = Store::new(&config);
    let router = server::router(store.clone());
    assert_eq!(send(&router, Method::GET, "/actuator/health", None).await.0, StatusCode::SERVICE_UNAVAILABLE);

    // Two replicas start at once, while the server is still starting: one schema, one set of first posts.
    let other = Store::new(&config);
    let both = async { tokio::join!(store.migrate_until_done(), other.migrate_until_done()) };
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("the database comes up");
    let (status, health) = send(&router, Method::GET, "/actuator/health", None).await;
    assert_eq!((status, health), (StatusCode::OK, json!({"status": "UP", "components": {"db": {"status": "UP"}}})));
    let (status, posts) = send(&router, Method::GET, "/api/posts", None).await;
    assert_eq!((status, posts.as_array().unwrap().len()), (StatusCode::OK, 3));
    assert!(posts[0]["id"].is_u64() && posts[0]["title"].is_string());

    let text = json!({"title": "돛과 바람", "content": "a 'quoted' text", "author": "me"});
    let (status, created) = send(&router, Method::POST, "/api/posts", Some(text)).await;
    assert_eq!((status, &created["title"]), (StatusCode::CREATED, &json!("돛과 바람")));
    assert!(created["createdAt"].as_str().unwrap().ends_with('Z'));
    let path = format!("/api/posts/{}", created["id"]);
    assert_eq!(send(&router, Method::GET, &path, None).await, (StatusCode::OK, created.clone()));

    let text = json!({"title": "New", "content": "other", "author": "me"});
    let (status, changed) = send(&router, Method::PUT, &path, Some(text)).await;
    assert_eq!((status, &changed["title"], &changed["id"]), (StatusCode::OK, &json!("New"), &created["id"]));
    let (_, page) = send(&router, Method::GET, &format!("/api/posts?limit=1&before={}", created["id"]), None).await;
    assert_eq!(page.as_array().unwrap().len(), 1);
    assert_ne!(page[0]["id"], created["id"]);

    // A statement that names its trace means the same.
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = Request::get(&path).header("traceparent", trace).body(Body::empty()).unwrap();
    let traced = router.clone().oneshot(traced).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(serde_json::from_slice::<Value>(&traced).unwrap(), changed);

    let head = Request::head("/api/posts").body(Body::empty()).unwrap();
    let head = router.clone().oneshot(head).await.unwrap();
    assert_eq!(
        (head.status(), &head.headers()["content-type"]),
        (StatusCode::OK, &"application/json".parse().unwrap())
    );
    assert_eq!(head.into_body().collect().await.unwrap().to_bytes().len(), 0);

    assert_eq!(send(&router, Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(send(&router, Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(send(&router, Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        send(&router, Method::PUT, &path, Some(json!({"title":"a","content":"b","author":"c"}))).await.0,
        StatusCode::NOT_FOUND
    );

    drop(database);
    assert_eq!(send(&router, Method::GET, "/actuator/health", None).await.0, StatusCode::SERVICE_UNAVAILABLE);
}
