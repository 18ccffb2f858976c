//! HTTP/1.1 in plain text: bytes in, bytes out, log lines.

use std::sync::atomic::Ordering;

use varka_engine::ir::{HeaderAppend, HeaderMutation, RetryOn};

use crate::config::{self, Mode, WAS, cluster, endpoints, inbound, outbound, retry};
use crate::support::{App, Client, Nobody, Running, until};

/// A client's sidecar in front of an application without one.
fn to(app: &App, edit: impl FnOnce(&mut varka_engine::ir::RouteAction)) -> Running {
    let was = cluster(WAS, endpoints(&[app.address], None));
    Running::start(&outbound(was, edit), Some(app.address))
}

#[test]
fn an_inbound_request_reaches_the_application_in_order() {
    let app = App::start();
    let sidecar = Running::start(&inbound(Mode::Permissive), Some(app.address));
    let mut client = Client::connect(sidecar.address("virtualInbound"));
    let response =
        client.ask("GET /a?x=1 HTTP/1.1\r\nHost: was-service\r\nX-B: 1\r\nX-A: 2\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(response.line, "HTTP/1.1 200 X".replace('X', "OK"));
    assert_eq!(response.names(), ["server", "content-length", "x-envoy-upstream-service-time", "date"]);
    assert_eq!(response.header("server"), Some("istio-envoy"));
    let seen = app.last();
    assert_eq!(seen.line, "GET /a?x=1 HTTP/1.1");
    assert_eq!(seen.names(), ["host", "x-b", "x-a", "x-request-id", "x-forwarded-proto"]);
    let log = sidecar.log(1);
    assert!(log[0].contains("\"GET /a?x=1 HTTP/1.1\" 200 - via_upstream - \"-\" 0 21 \"was-service\""), "{}", log[0]);
    assert!(
        log[0].ends_with("inbound|8080|| ".to_owned().as_str().trim_end()) || log[0].contains("inbound|8080|| "),
        "{}",
        log[0]
    );
}

#[test]
fn connections_are_reused_on_both_sides() {
    let app = App::start();
    let sidecar = to(&app, |_| {});
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    for n in 0..5 {
        let response = client.ask(format!("GET /{n} HTTP/1.1\r\nHost: was-service\r\n\r\n"));
        assert_eq!(response.header("server"), Some("envoy"));
    }
    assert_eq!(app.connections.load(Ordering::SeqCst), 1);
    assert_eq!(app.last().header("x-envoy-attempt-count"), Some("1"));
}

#[test]
fn bodies_of_every_kind_pass() {
    let app = App::start();
    let sidecar = to(&app, |_| {});
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    let response = client.ask("POST /c HTTP/1.1\r\nHost: was-service\r\ncontent-length: 7\r\n\r\n{\"a\":1}");
    assert_eq!(response.body, b"POST /c HTTP/1.1 7");
    let response =
        client.ask("POST /c HTTP/1.1\r\nHost: was-service\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(response.body, b"POST /c HTTP/1.1 3");
    assert_eq!(app.last().header("transfer-encoding"), Some("chunked"));
    let big = vec![b'x'; 3 << 20];
    client.send(format!("PUT /big HTTP/1.1\r\nHost: was-service\r\ncontent-length: {}\r\n\r\n", big.len()));
    let response = client.ask(&big);
    assert_eq!(response.body, format!("PUT /big HTTP/1.1 {}", big.len()).as_bytes());
    let response = client.ask("OPTIONS / HTTP/1.1\r\nHost: was-service\r\n\r\n");
    assert_eq!(response.line, "HTTP/1.1 200 OK");
    assert_eq!(app.last().header("content-length"), Some("0"));
    let response = client.ask("HEAD / HTTP/1.1\r\nHost: was-service\r\n\r\n");
    assert_eq!(response.header("content-length"), Some("0"));
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on() {
    let app = App::start();
    let sidecar = to(&app, |_| {});
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    client.send("POST /c HTTP/1.1\r\nHost: was-service\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n");
    assert_eq!(client.response().line, "HTTP/1.1 100 Continue");
    let response = client.ask("abc");
    assert_eq!(response.body, b"POST /c HTTP/1.1 3");
    assert_eq!(app.last().header("expect"), None);
}

#[test]
fn what_is_no_request_is_refused_in_envoys_words() {
    let app = App::start();
    let sidecar = to(&app, |_| {});
    let refused = [
        (
            "POST /c HTTP/1.1\r\nHost: was-service\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
            "400 Bad Request",
            "Bad Request",
        ),
        ("GET / HTTP/1.1\r\nHost: was-service\r\nx: \0\r\n\r\n", "400 Bad Request", "Bad Request"),
        ("GET / HTTP/1.1\r\n\r\n", "400 Bad Request", ""),
        ("GET /a%00 HTTP/1.1\r\nHost: was-service\r\n\r\n", "400 Bad Request", ""),
        (
            "POST / HTTP/1.1\r\nHost: was-service\r\ntransfer-encoding: gzip\r\n\r\n",
            "501 Not Implemented",
            "Not Implemented",
        ),
    ];
    for (request, status, body) in refused {
        let mut client = Client::connect(sidecar.address("virtualOutbound"));
        let response = client.ask(request);
        assert_eq!(response.line, format!("HTTP/1.1 {status}"), "{request}");
        assert_eq!(String::from_utf8_lossy(&response.body), body, "{request}");
        assert_eq!(response.header("connection"), Some("close"), "{request}");
        assert_eq!(client.rest().unwrap(), b"", "{request}");
    }
    let log = sidecar.log(refused.len());
    assert!(log[0].contains("400 DPE http1.content_length_and_chunked_not_allowed"), "{}", log[0]);
    assert!(log[2].contains("400 - missing_host_header"), "{}", log[2]);
    assert!(app.seen.lock().unwrap().is_empty());
}

#[test]
fn http_10_is_told_to_upgrade() {
    let app = App::start();
    let sidecar = Running::start(&inbound(Mode::Permissive), Some(app.address));
    let mut client = Client::connect(sidecar.address("virtualInbound"));
    let response = client.ask("GET /x HTTP/1.0\r\nHost: was-service\r\n\r\n");
    assert_eq!(
        (response.line.as_str(), &response.body[..]),
        ("HTTP/1.1 426 Upgrade Required", &b"Upgrade Required"[..])
    );
}

#[test]
fn an_unknown_host_goes_where_it_meant_to_in_plain_text() {
    let app = App::start();
    let sidecar = to(&app, |_| {});
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    let response = client.ask("GET /api/posts HTTP/1.1\r\nHost: blog.example.org\r\n\r\n");
    assert_eq!(response.line, "HTTP/1.1 200 OK");
    let log = sidecar.log(1);
    let want = format!("\"blog.example.org\" \"{0}\" PassthroughCluster {0} - allow_any", app.address);
    assert!(log[0].ends_with(&want), "{}", log[0]);
}

#[test]
fn no_endpoint_and_none_that_answers() {
    let app = App::start();
    let empty = Running::start(&outbound(cluster(WAS, endpoints(&[], None)), |_| {}), Some(app.address));
    let response = Client::connect(empty.address("virtualOutbound")).ask("GET / HTTP/1.1\r\nHost: was-service\r\n\r\n");
    assert_eq!(
        (response.line.as_str(), &response.body[..]),
        ("HTTP/1.1 503 Service Unavailable", &b"no healthy upstream"[..])
    );
    assert_eq!(response.names(), ["content-length", "content-type", "date", "server"]);
    assert!(empty.log(1)[0].contains("503 UH no_healthy_upstream"));

    let nobody = Nobody::new();
    let broken =
        Running::start(&outbound(cluster(WAS, endpoints(&[nobody.address()], None)), |_| {}), Some(app.address));
    let response =
        Client::connect(broken.address("virtualOutbound")).ask("GET / HTTP/1.1\r\nHost: was-service\r\n\r\n");
    let body = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure";
    assert_eq!(String::from_utf8_lossy(&response.body), body);
    let log = broken.log(1);
    let want = "503 URX,UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} - \"delayed_connect_error:_Connection_refused\"";
    assert!(log[0].contains(want), "{}", log[0]);
}

#[test]
fn an_endpoint_that_closes_or_breaks_off() {
    let app = App::start();
    let sidecar = Running::start(&inbound(Mode::Permissive), Some(app.address));
    let mut client = Client::connect(sidecar.address("virtualInbound"));
    let response = client.ask("GET / HTTP/1.1\r\nHost: a\r\nx-reset: 1\r\n\r\n");
    let body = "upstream connect error or disconnect/reset before headers. reset reason: connection termination";
    assert_eq!(
        (response.line.as_str(), String::from_utf8_lossy(&response.body).as_ref()),
        ("HTTP/1.1 503 Service Unavailable", body)
    );
    client.send("GET / HTTP/1.1\r\nHost: a\r\nx-partial: 1\r\n\r\n");
    let rest = client.rest().unwrap();
    assert!(rest.ends_with(b"0123456789"), "{}", String::from_utf8_lossy(&rest));
    let log = sidecar.log(2);
    assert!(log[0].contains("503 UC upstream_reset_before_response_started{connection_termination}"), "{}", log[0]);
    assert!(log[1].contains("200 UPE upstream_reset_after_response_started{protocol_error}"), "{}", log[1]);
}

#[test]
fn failures_are_retried_until_none_is_left() {
    let app = App::start();
    let sidecar = to(&app, |a| a.retry = Some(retry(RetryOn { server_error: true, ..RetryOn::default() }, 3)));
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    let response = client.ask("POST /r HTTP/1.1\r\nHost: was-service\r\nx-fail: 1\r\ncontent-length: 3\r\n\r\nabc");
    assert_eq!((response.line.as_str(), &response.body[..]), ("HTTP/1.1 200 OK", &b"POST /r HTTP/1.1 3"[..]));
    assert_eq!(app.last().header("x-envoy-attempt-count"), Some("2"));
    let response = client.ask("GET /r HTTP/1.1\r\nHost: was-service\r\nx-status: 500\r\n\r\n");
    assert_eq!(response.line, "HTTP/1.1 500 Internal Server Error");
    assert_eq!(app.last().header("x-envoy-attempt-count"), Some("4"));
    let log = sidecar.log(2);
    assert!(log[0].contains("200 - via_upstream"), "{}", log[0]);
    assert!(log[1].contains("500 URX via_upstream"), "{}", log[1]);
}

#[test]
fn a_route_times_out() {
    let app = App::start();
    let sidecar = to(&app, |a| a.timeout = Some(std::time::Duration::from_millis(50)));
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    let response = client.ask("GET / HTTP/1.1\r\nHost: was-service\r\nx-hang: 1\r\n\r\n");
    assert_eq!(
        (response.line.as_str(), &response.body[..]),
        ("HTTP/1.1 504 Gateway Timeout", &b"upstream request timeout"[..])
    );
    assert!(sidecar.log(1)[0].contains("504 UT response_timeout"));
    let response = client.ask("GET /next HTTP/1.1\r\nHost: was-service\r\n\r\n");
    assert_eq!(response.body, b"GET /next HTTP/1.1 0");
    assert_eq!(app.connections.load(Ordering::SeqCst), 2, "what was given up on a connection must not answer another");
}

#[test]
fn local_replies_have_the_headers_of_their_route() {
    let app = App::start();
    let sidecar = to(&app, |a| {
        a.timeout = Some(std::time::Duration::from_millis(50));
        a.clusters[0].response_headers = vec![HeaderMutation::Append {
            name: http::HeaderName::from_static("x-a"),
            value: http::HeaderValue::from_static("b"),
            action: HeaderAppend::Append,
        }];
    });
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    let response = client.ask("GET / HTTP/1.1\r\nHost: was-service\r\nx-hang: 1\r\n\r\n");
    assert_eq!((response.line.as_str(), response.header("x-a")), ("HTTP/1.1 504 Gateway Timeout", Some("b")));
}

#[test]
fn attempts_that_take_too_long_are_retried() {
    let app = App::start();
    let sidecar = to(&app, |a| {
        let mut policy = config::retry(RetryOn { server_error: true, ..RetryOn::default() }, 2);
        policy.per_try_timeout = Some(std::time::Duration::from_millis(50));
        a.retry = Some(policy);
    });
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    let response = client.ask("GET / HTTP/1.1\r\nHost: was-service\r\nx-hang: 1\r\n\r\n");
    assert_eq!(response.line, "HTTP/1.1 504 Gateway Timeout");
    assert!(sidecar.log(1)[0].contains("504 URX,UT upstream_per_try_timeout"), "{:?}", sidecar.log(1));
    assert_eq!(app.last().header("x-envoy-attempt-count"), Some("3"));
}

#[test]
fn a_client_that_gives_up_frees_the_endpoint() {
    let app = App::start();
    let sidecar = to(&app, |_| {});
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    client.send("GET / HTTP/1.1\r\nHost: was-service\r\nx-hang: 1\r\n\r\n");
    until("the application has the request", || (!app.seen.lock().unwrap().is_empty()).then_some(()));
    drop(client);
    assert!(sidecar.log(1)[0].contains(" 0 DC downstream_remote_disconnect"), "{:?}", sidecar.log(1));
}

#[test]
fn limits_overflow() {
    let app = App::start();
    let mut was = cluster(WAS, endpoints(&[app.address], None));
    was.circuit_breakers.max_requests = 1;
    let sidecar = Running::start(&outbound(was, |_| {}), Some(app.address));
    let mut first = Client::connect(sidecar.address("virtualOutbound"));
    first.send("GET / HTTP/1.1\r\nHost: was-service\r\nx-hang: 1\r\n\r\n");
    until("the application has the request", || (!app.seen.lock().unwrap().is_empty()).then_some(()));
    let response =
        Client::connect(sidecar.address("virtualOutbound")).ask("GET / HTTP/1.1\r\nHost: was-service\r\n\r\n");
    let body = "upstream connect error or disconnect/reset before headers. reset reason: overflow";
    assert_eq!(String::from_utf8_lossy(&response.body), body);
    assert_eq!(response.header("x-envoy-overloaded"), Some("true"));
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let app = App::start();
    let sidecar = to(&app, |_| {});
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    let response =
        client.ask("GET /ws HTTP/1.1\r\nHost: was-service\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(response.line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!((response.header("upgrade"), response.header("connection")), (Some("websocket"), Some("upgrade")));
    client.send("hello");
    let mut echo = [0; 5];
    std::io::Read::read_exact(&mut client.reader, &mut echo).unwrap();
    assert_eq!(&echo, b"HELLO");
    drop(client);
    assert!(sidecar.log(1)[0].contains(" 101 - via_upstream - \"-\" 5 5 "), "{:?}", sidecar.log(1));
}

#[test]
fn connections_are_not_dropped_when_something_else_changes() {
    let app = App::start();
    let config = outbound(cluster(WAS, endpoints(&[app.address], None)), |_| {});
    let sidecar = Running::start(&config, Some(app.address));
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    for _ in 0..20 {
        let mut changed = config.clone();
        let extra = cluster("outbound|80||other.default.svc.cluster.local", endpoints(&[], None));
        changed.clusters.insert(extra.name.clone(), std::sync::Arc::new(extra));
        sidecar.apply(changed);
        let response = client.ask("GET / HTTP/1.1\r\nHost: was-service\r\n\r\n");
        assert_eq!((response.line.as_str(), response.header("connection")), ("HTTP/1.1 200 OK", None));
        sidecar.apply(config.clone());
    }
    assert_eq!(app.connections.load(Ordering::SeqCst), 1);
    let mut changed = inbound(Mode::Disable);
    changed.listeners.insert(
        "virtualOutbound".into(),
        config::listener("virtualOutbound", varka_engine::ir::TrafficDirection::Outbound, Vec::new()),
    );
    sidecar.apply(changed);
    assert_eq!(client.rest().unwrap(), b"", "a connection whose filter chain is gone is closed");
}

#[test]
fn draining_finishes_what_is_in_flight() {
    let app = App::start();
    let mut sidecar = Running::start(&inbound(Mode::Permissive), Some(app.address));
    let address = sidecar.address("virtualInbound");
    let mut client = Client::connect(address);
    client.send("POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 3\r\n\r\na");
    until("the application has a connection", || (app.connections.load(Ordering::SeqCst) > 0).then_some(()));
    let proxy = sidecar.proxy.take().unwrap();
    proxy.stop();
    let response = client.ask("bc");
    assert_eq!((response.line.as_str(), response.header("connection")), ("HTTP/1.1 200 OK", Some("close")));
    proxy.wait();
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn no_request_fails_while_the_configuration_changes_under_load() {
    let app = App::start();
    let config = outbound(cluster(WAS, endpoints(&[app.address], None)), |_| {});
    let sidecar = Running::start(&config, Some(app.address));
    let address = sidecar.address("virtualOutbound");
    let clients: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for _ in 0..250 {
                    let response = client.ask("GET / HTTP/1.1\r\nHost: was-service\r\n\r\n");
                    assert_eq!(response.line, "HTTP/1.1 200 OK");
                    if response.header("connection") == Some("close") {
                        client = Client::connect(address);
                    }
                }
            })
        })
        .collect();
    let mut n = 0_u32;
    while clients.iter().any(|c| !c.is_finished()) {
        // Every change replaces the filter chain of all connections, and the cluster with its pool.
        let mut changed = config.clone();
        n += 1;
        let mut listener = varka_engine::ir::Listener::clone(&changed.listeners["virtualOutbound"]);
        listener.filter_chains[0].name = format!("changed {n}").into();
        changed.listeners.insert("virtualOutbound".into(), std::sync::Arc::new(listener));
        let mut was = varka_engine::ir::Cluster::clone(&changed.clusters[WAS]);
        was.connect_timeout += std::time::Duration::from_millis(n.into());
        changed.clusters.insert(WAS.into(), std::sync::Arc::new(was));
        sidecar.apply(changed);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for client in clients {
        client.join().unwrap();
    }
    assert!(n > 5, "the configuration was changed only {n} times");
}

#[test]
fn a_body_that_is_no_http_is_answered_as_a_bad_request() {
    let app = App::start();
    let sidecar = to(&app, |_| {});
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    let response =
        client.ask("POST /c HTTP/1.1\r\nHost: was-service\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n");
    assert_eq!(response.line, "HTTP/1.1 400 Bad Request");
    assert_eq!((response.header("connection"), &response.body[..]), (Some("close"), &b"Bad Request"[..]));
    let log = sidecar.log(1);
    assert!(log[0].contains(" 400 DPE http1.codec_error "), "{}", log[0]);
}

#[test]
fn a_target_that_is_no_path_has_no_route() {
    let app = App::start();
    let sidecar = to(&app, |_| {});
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    assert_eq!(client.ask("OPTIONS * HTTP/1.1\r\nHost: was-service\r\n\r\n").line, "HTTP/1.1 404 Not Found");
    let log = sidecar.log(1);
    assert!(log[0].contains(" 404 - absolute_path_rejected "), "{}", log[0]);
}

#[test]
fn a_cluster_that_does_not_exist_is_not_logged_as_the_one_used() {
    let app = App::start();
    let sidecar = to(&app, |action| {
        for destination in &mut action.clusters {
            destination.cluster = "outbound|8080||nope.example".into();
        }
    });
    let mut client = Client::connect(sidecar.address("virtualOutbound"));
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: was-service\r\n\r\n").line, "HTTP/1.1 503 Service Unavailable");
    let log = sidecar.log(1);
    assert!(log[0].contains(" 503 NC cluster_not_found ") && !log[0].contains("nope.example"), "{}", log[0]);
}
