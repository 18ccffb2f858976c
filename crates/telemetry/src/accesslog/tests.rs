//! Lines as a real Envoy wrote them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use varka_engine::facts::Connection;
use varka_engine::ir::{AccessLogFormat, TransportProtocol};
use varka_engine::outcome::{Flag, LocalReply, Outcome, ResetReason, ResponseFlags};

use super::*;

fn at(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
}

fn connection() -> Connection<'static> {
    Connection {
        transport: TransportProtocol::RawBuffer,
        ..Connection::plain("10.96.0.10:8080".parse().unwrap(), "10.77.0.11:40000".parse().unwrap())
    }
}

fn record<'a>(connection: &'a Connection<'a>, outcome: &'a Outcome) -> Record<'a> {
    Record {
        start: at(1_795_368_903_012),
        duration: Duration::from_millis(4),
        request_duration: None,
        response_duration: Some(Duration::from_millis(3)),
        connection,
        client: "127.0.0.6:0".parse().unwrap(),
        version: Some(Version::HTTP_11),
        method: "GET",
        path: "/api/posts",
        authority: "blog.jiminhome.shop",
        scheme: "http",
        request: None,
        response: None,
        trailers: None,
        outcome,
        termination: "",
        transport_failure: "",
        bytes_received: 0,
        bytes_sent: 383,
        upstream_host: Some("10.96.0.10:8080".parse().unwrap()),
        upstream_local: Some("10.77.0.11:47126".parse().unwrap()),
        cluster: "PassthroughCluster",
        attempts: 1,
        route: "allow_any",
        chain: "",
        hostname: "web",
    }
}

fn made(write: impl FnOnce(&mut Buffer)) -> String {
    let mut out = Buffer::default();
    write(&mut out);
    String::from_utf8(out.as_bytes().to_vec()).unwrap()
}

fn line(format: &Format, record: &Record<'_>) -> String {
    made(|out| format.render(record, out))
}

#[test]
fn a_line_of_the_passthrough_cluster() {
    let (c, outcome) = (connection(), Outcome::via_upstream(200));
    let request = headers(&[
        ("x-forwarded-for", "127.0.0.1, 127.0.0.6"),
        ("user-agent", "curl/8.5.0"),
        ("x-request-id", "bef9ee91-8932-4b01-9c19-77756c9686f0"),
    ]);
    let response = headers(&[("x-envoy-upstream-service-time", "4")]);
    let r = Record { request: Some(&request), response: Some(&response), ..record(&c, &outcome) };
    assert_eq!(
        line(&Format::text(ISTIO_TEXT).unwrap(), &r),
        "[2026-11-22T17:35:03.012Z] \"GET /api/posts HTTP/1.1\" 200 - via_upstream - \"-\" 0 383 4 4 \"127.0.0.1, 127.0.0.6\" \
         \"curl/8.5.0\" \"bef9ee91-8932-4b01-9c19-77756c9686f0\" \"blog.jiminhome.shop\" \"10.96.0.10:8080\" PassthroughCluster \
         10.77.0.11:47126 10.96.0.10:8080 127.0.0.6:0 - allow_any\n"
    );
}

#[test]
fn a_connection_that_no_chain_took() {
    let c = Connection::plain("10.77.0.11:80".parse().unwrap(), "10.77.0.50:39216".parse().unwrap());
    let outcome = Outcome::no_filter_chain();
    let r = Record {
        duration: Duration::from_millis(15),
        client: c.peer,
        version: None,
        method: "",
        path: "",
        authority: "",
        bytes_sent: 0,
        upstream_host: None,
        upstream_local: None,
        cluster: "",
        route: "",
        ..record(&c, &outcome)
    };
    assert_eq!(
        line(&Format::text(ISTIO_TEXT).unwrap(), &r),
        "[2026-11-22T17:35:03.012Z] \"- - -\" 0 NR filter_chain_not_found - \"-\" 0 0 15 - \"-\" \"-\" \"-\" \"-\" \"-\" - - \
         10.77.0.11:80 10.77.0.50:39216 - -\n"
    );
}

#[test]
fn the_original_path_comes_first() {
    let (c, outcome) = (connection(), Outcome::via_upstream(200));
    let request = headers(&[("x-envoy-original-path", "/old")]);
    let format = Format::text("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %REQ(:PATH):4%").unwrap();
    assert_eq!(line(&format, &Record { request: Some(&request), ..record(&c, &outcome) }), "/old /api");
    assert_eq!(line(&format, &record(&c, &outcome)), "/api/posts /api");
}

#[test]
fn flags_and_failures() {
    let c = connection();
    let reply = LocalReply::upstream_reset(ResetReason::RemoteConnectionFailure, true, None)
        .after(ResponseFlags::of(Flag::UpstreamRetryLimitExceeded));
    let r = Record { transport_failure: "delayed connect error: 111", ..record(&c, &reply.outcome) };
    let format = Format::text("%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG% %UPSTREAM_TRANSPORT_FAILURE_REASON%").unwrap();
    assert_eq!(
        line(&format, &r),
        "URX,UF UpstreamRetryLimitExceeded,UpstreamConnectionFailure delayed_connect_error:_111"
    );
}

#[test]
fn json_keeps_numbers_and_nulls() {
    let (c, outcome) = (connection(), Outcome::via_upstream(200));
    let request = headers(&[("user-agent", "a \"quoted\" one")]);
    let r = Record { request: Some(&request), ..record(&c, &outcome) };
    let text = line(&Format::json(ISTIO_JSON.iter().copied()).unwrap(), &r);
    assert!(text.ends_with("}\n"));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["response_code"], 200);
    assert_eq!(value["bytes_sent"], 383);
    assert_eq!(value["request_id"], serde_json::Value::Null);
    assert_eq!(value["user_agent"], "a \"quoted\" one");
    assert_eq!(value["start_time"], "2026-11-22T17:35:03.012Z");
    assert_eq!(value["response_flags"], "-");
    let mixed = Format::json([("m", "%REQ(:METHOD)% %ROUTE_NAME%"), ("n", "x%RESPONSE_CODE%")]).unwrap();
    assert_eq!(line(&mixed, &r), "{\"m\":\"GET allow_any\",\"n\":\"x200\"}\n");
    assert_eq!(line(&Format::json([]).unwrap(), &r), "{}\n");
}

#[test]
fn what_cannot_be_used_is_named() {
    assert_eq!(Format::text("%NOPE%").unwrap_err(), Error::UnknownOperator { operator: "NOPE".into() });
    assert_eq!(Format::text("%REQ(a b)%").unwrap_err(), Error::HeaderName { name: "a b".into() });
    assert!(matches!(Format::text("%REQ(").unwrap_err(), Error::Malformed(_)));
    assert!(Format::new(&AccessLogFormat::Text(ISTIO_TEXT.into())).is_ok());
}

#[test]
fn times() {
    let of = |seconds: u64| made(|out| time::write_utc(UNIX_EPOCH + Duration::from_secs(seconds), out));
    for (seconds, want) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399, "2000-02-28T23:59:59.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (951_868_800, "2000-03-01T00:00:00.000Z"),
        (4_102_444_799, "2099-12-31T23:59:59.000Z"),
    ] {
        assert_eq!(of(seconds), want);
    }
    let formatted = |format: &str| {
        made(|out| {
            time::write_formatted(at(1_795_368_903_012), Some(format), out);
        })
    };
    assert_eq!(formatted("%Y/%m/%dT%H:%M:%S%z %s"), "2026/11/22T17:35:03+0000 1795368903");
    assert_eq!(formatted("%F %T.%3f %E3S %9f"), "2026-11-22 17:35:03.012 03.012 012000000");
}

#[test]
fn a_filter_asks_what_the_line_would_say() {
    let (c, outcome) = (connection(), Outcome::via_upstream(200));
    let request = headers(&[("x-tenant", "red"), ("x-tenant", "blue")]);
    let mut several = request.clone();
    several.append("x-tenant", HeaderValue::from_static("green"));
    let r = Record { request: Some(&several), path: "/api/posts?page=2", ..record(&c, &outcome) };
    for (expression, wanted) in [
        ("response.code == 200 && request.method == 'GET'", true),
        ("request.url_path == '/api/posts' && request.path.endsWith('page=2')", true),
        ("request.host == 'blog.jiminhome.shop' && request.protocol == 'HTTP/1.1'", true),
        ("request.headers['x-tenant'] == 'red,blue,green' || request.headers['x-tenant'] == 'blue,green'", true),
        ("request.duration >= duration('4ms') && request.duration < duration('5ms')", true),
        ("response.size == 383 && request.size == 0", true),
        ("source.address == '127.0.0.6:0' && destination.port == 8080", true),
        ("upstream.address == '10.96.0.10:8080' && xds.cluster_name == 'PassthroughCluster'", true),
        ("connection.mtls", false),
        ("has(connection.requested_server_name)", false),
        ("response.code_details != 'via_upstream'", false),
    ] {
        assert_eq!(filter(expression).unwrap().holds(&r), wanted, "{expression}");
    }
    let nothing = Outcome { status: 0, ..outcome.clone() };
    assert!(!filter("response.code < 400").unwrap().holds(&Record { outcome: &nothing, ..record(&c, &nothing) }));
}
