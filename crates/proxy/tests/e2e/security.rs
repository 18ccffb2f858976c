//! Tokens, and services that are asked, as a client, an application, a service and the logs see them.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio_stream::wrappers::TcpListenerStream;
use varka_engine::ir::{
    AuthzBody, AuthzGrpc, AuthzHttp, AuthzService, ExtAuthz, HttpFilter, Jwks, JwtAuthn, JwtClaimToHeader, JwtProvider,
    JwtRequirement, MetadataMatch, Permission, PolicyAction, Principal, Proxy, Rbac, RbacPolicy, StringMatch, Terminal,
};
use varka_proto::envoy::auth::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
    authorization_server::{Authorization, AuthorizationServer},
    check_response::HttpResponse,
};
use varka_proto::envoy::{core, types};
use varka_proto::rpc;

use crate::config::{Mode, action, cluster, endpoints, inbound, route};
use crate::support::{App, Client, Nobody, Running, Seen, read_message, until};

const ISSUER: &str = "https://issuer.example";
const SERVICE: &str = "outbound|9000||authz.default.svc.cluster.local";

/// A token that the provider's shared secret signs.
fn token(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&json!({"alg": "HS256"})), part(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"secret");
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, text.as_bytes())))
}

fn tokens(clear_route_cache: bool) -> HttpFilter {
    let provider = JwtProvider {
        name: "origins-0".into(),
        issuer: ISSUER.into(),
        audiences: Vec::new(),
        keys: Jwks::new(r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#),
        from_headers: Vec::new(),
        from_params: Vec::new(),
        from_cookies: Vec::new(),
        forward: false,
        forward_payload_header: "".into(),
        claim_to_headers: vec![JwtClaimToHeader { header_name: "x-sub".into(), claim_name: "sub".into() }],
        payload_in_metadata: "payload".into(),
        space_delimited_claims: vec!["scope".into()],
        clear_route_cache,
    };
    let requires =
        JwtRequirement::Any(vec![JwtRequirement::Provider("origins-0".into()), JwtRequirement::AllowMissing]);
    HttpFilter::Jwt(Box::new(JwtAuthn { providers: vec![provider], requires, bypass_cors_preflight: true }))
}

fn exact(value: &str) -> StringMatch {
    StringMatch::Exact { value: value.into(), ignore_case: true }
}

fn claim(name: &str, value: &str) -> MetadataMatch {
    MetadataMatch {
        filter: "envoy.filters.http.jwt_authn".into(),
        path: vec!["payload".into(), name.into()],
        value: exact(value),
        invert: false,
    }
}

fn rbac(action: PolicyAction, shadow: bool, prefix: &str, name: &str, principal: Principal) -> HttpFilter {
    let policy = RbacPolicy { name: name.into(), permissions: vec![Permission::Any], principals: vec![principal] };
    HttpFilter::Rbac(Rbac { action, policies: vec![policy], shadow, stat_prefix: prefix.into() })
}

/// The inbound side of an application with these filters.
fn with(filters: &[HttpFilter], edit: impl FnOnce(&mut Proxy)) -> Proxy {
    let mut config = inbound(Mode::Disable);
    for listener in config.listeners.values_mut() {
        for chain in &mut Arc::make_mut(listener).filter_chains {
            if let Terminal::Http(manager) = &mut chain.terminal {
                manager.filters = filters.to_vec();
            }
        }
    }
    edit(&mut config);
    config
}

fn get(sidecar: &Running, path: &str, headers: &str) -> Seen {
    let mut client = Client::connect(sidecar.address("virtualInbound"));
    client.ask(format!("GET {path} HTTP/1.1\r\nHost: was-service\r\n{headers}\r\n"))
}

fn bearer(claims: &Value) -> String {
    format!("authorization: Bearer {}\r\n", token(claims))
}

#[test]
fn a_token_is_verified_and_its_claims_decide() {
    let app = App::start();
    let claims = claim("scope", "write");
    let principal = Principal::Metadata { filter: claims.filter, path: claims.path, value: claims.value };
    let filters = [tokens(false), rbac(PolicyAction::Allow, false, "", "writers", principal)];
    let sidecar = Running::start(&with(&filters, |_| {}), Some(app.address));

    let response = get(&sidecar, "/a", &bearer(&json!({"iss": ISSUER, "exp": 1})));
    assert_eq!((&*response.line, &response.body[..]), ("HTTP/1.1 401 Unauthorized", &b"Jwt is expired"[..]));
    let challenge = response.header("www-authenticate");
    assert_eq!(challenge, Some("Bearer realm=\"http://was-service/a\", error=\"invalid_token\""));
    let response = get(&sidecar, "/a", "");
    assert_eq!((&*response.line, &response.body[..]), ("HTTP/1.1 403 Forbidden", &b"RBAC: access denied"[..]));
    let response = get(&sidecar, "/a", &bearer(&json!({"iss": ISSUER, "scope": "read"})));
    assert_eq!(response.line, "HTTP/1.1 403 Forbidden");
    assert!(app.seen.lock().unwrap().is_empty());

    let good = json!({"iss": ISSUER, "sub": "alice", "scope": "read write"});
    let response = get(&sidecar, "/a", &format!("x-sub: forged\r\n{}", bearer(&good)));
    assert_eq!(response.line, "HTTP/1.1 200 OK");
    let seen = app.last();
    assert_eq!((seen.header("x-sub"), seen.header("authorization")), (Some("alice"), None));
    let response = get(&sidecar, &format!("/a?x=1&access_token={}", token(&good)), "");
    assert_eq!((&*response.line, &*app.last().line), ("HTTP/1.1 200 OK", "GET /a?x=1 HTTP/1.1"));
    let log = sidecar.log(5);
    assert!(log[0].contains("401 - jwt_authn_access_denied{Jwt_is_expired}"), "{}", log[0]);
    assert!(log[1].contains("403 - rbac_access_denied_matched_policy[none]"), "{}", log[1]);
    assert!(!log.join("").contains(&token(&good)), "a token is in the log");
}

#[test]
fn a_route_that_asks_for_a_claim_is_found_after_the_token_is_read() {
    let (app, other) = (App::start(), App::start());
    let edit = |config: &mut Proxy| {
        for listener in config.listeners.values_mut() {
            for chain in &mut Arc::make_mut(listener).filter_chains {
                if let Terminal::Http(manager) = &mut chain.terminal
                    && let varka_engine::ir::RouteSource::Inline(table) = &mut manager.routes
                {
                    let mut first = route(action("other"));
                    first.matches.metadata = vec![claim("sub", "alice")];
                    Arc::make_mut(table).virtual_hosts[0].routes.insert(0, first);
                }
            }
        }
        let to_other = cluster("other", endpoints(&[other.address], None));
        config.clusters.insert("other".into(), Arc::new(to_other));
    };
    let sidecar = Running::start(&with(&[tokens(true)], edit), Some(app.address));
    get(&sidecar, "/a", &bearer(&json!({"iss": ISSUER, "sub": "bob"})));
    assert_eq!((app.seen.lock().unwrap().len(), other.seen.lock().unwrap().len()), (1, 0));
    get(&sidecar, "/a", &bearer(&json!({"iss": ISSUER, "sub": "alice"})));
    assert_eq!((app.seen.lock().unwrap().len(), other.seen.lock().unwrap().len()), (1, 1));
}

/// A filter that asks `service` about what the rules before it noted, and those rules: requests with `x-ask`.
fn custom(service: AuthzService, edit: impl FnOnce(&mut ExtAuthz)) -> Vec<HttpFilter> {
    let asked = varka_engine::ir::HeaderMatcher {
        name: "x-ask".into(),
        matches: varka_engine::ir::HeaderMatch::Present(true),
        invert: false,
        treat_missing_as_empty: false,
    };
    let mut filter = ExtAuthz {
        service,
        allowed_headers: Vec::new(),
        failure_mode_allow: false,
        status_on_error: 403,
        with_request_body: None,
        enabled_metadata: Some(MetadataMatch {
            filter: "envoy.filters.http.rbac".into(),
            path: vec!["istio_ext_authz_shadow_effective_policy_id".into()],
            value: StringMatch::Prefix { value: "istio-ext-authz-p".into(), ignore_case: false },
            invert: false,
        }),
    };
    edit(&mut filter);
    let name = "istio-ext-authz-p-ns[a]-policy[b]-rule[0]";
    vec![
        rbac(PolicyAction::Deny, true, "istio_ext_authz_", name, Principal::Header(asked)),
        HttpFilter::ExtAuthz(Box::new(filter)),
    ]
}

fn service_at(config: &mut Proxy, address: SocketAddr) {
    config.clusters.insert(SERVICE.into(), Arc::new(cluster(SERVICE, endpoints(&[address], None))));
}

fn over_http() -> AuthzService {
    AuthzService::Http(AuthzHttp {
        uri: "http://authz".into(),
        cluster: SERVICE.into(),
        timeout: Duration::from_secs(10),
        path_prefix: "/check".into(),
        headers_to_add: vec![("x-added".into(), "yes".into())],
        upstream_headers: vec![exact("x-user")],
        client_headers: Vec::new(),
        client_headers_on_success: vec![exact("x-out")],
    })
}

/// A service that answers every check with these bytes.
fn service(answer: &'static str) -> (SocketAddr, Arc<Mutex<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Seen>>>::default());
    let checks = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let checks = Arc::clone(&checks);
            std::thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                while let Some(check) = read_message(&mut reader) {
                    checks.lock().unwrap().push(check);
                    let mut out = &stream;
                    let _ = out.write_all(answer.as_bytes());
                }
            });
        }
    });
    (address, seen)
}

#[test]
fn a_service_that_allows_over_http_changes_both_heads() {
    let app = App::start();
    let (address, checks) =
        service("HTTP/1.1 200 OK\r\nx-user: alice\r\nx-out: 1\r\nx-other: 2\r\ncontent-length: 0\r\n\r\n");
    let filters = custom(over_http(), |f| f.allowed_headers = vec![exact("x-ask")]);
    let sidecar = Running::start(&with(&filters, |c| service_at(c, address)), Some(app.address));
    let response = get(&sidecar, "/a?b", "x-ask: 1\r\nx-user: forged\r\nx-secret: s\r\nauthorization: Basic x\r\n");
    assert_eq!(
        (&*response.line, response.header("x-out"), response.header("x-other")),
        ("HTTP/1.1 200 OK", Some("1"), None)
    );
    assert_eq!((app.last().header("x-user"), app.last().header("x-secret")), (Some("alice"), Some("s")));
    let check = checks.lock().unwrap().last().cloned().unwrap();
    assert_eq!((&*check.line, check.header("host")), ("GET /check/a?b HTTP/1.1", Some("was-service")));
    let of = |name: &str| check.header(name);
    assert_eq!((of("authorization"), of("x-ask"), of("x-added")), (Some("Basic x"), Some("1"), Some("yes")));
    assert_eq!((of("x-secret"), of("content-length")), (None, Some("0")));
    // What no rule matches is not asked about.
    assert_eq!(get(&sidecar, "/a", "").line, "HTTP/1.1 200 OK");
    assert_eq!(checks.lock().unwrap().len(), 1);
}

#[test]
fn a_route_that_only_a_token_shows_is_no_way_around_the_service() {
    let app = App::start();
    let (address, checks) = service("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n");
    let mut filters = custom(over_http(), |_| {});
    filters.push(tokens(true));
    let edit = |config: &mut Proxy| {
        service_at(config, address);
        for listener in config.listeners.values_mut() {
            for chain in &mut Arc::make_mut(listener).filter_chains {
                if let Terminal::Http(manager) = &mut chain.terminal
                    && let varka_engine::ir::RouteSource::Inline(table) = &mut manager.routes
                {
                    Arc::make_mut(table).virtual_hosts[0].routes[0].matches.metadata = vec![claim("sub", "alice")];
                }
            }
        }
    };
    let sidecar = Running::start(&with(&filters, edit), Some(app.address));
    let ask =
        |sub: &str| get(&sidecar, "/a", &format!("x-ask: 1\r\n{}", bearer(&json!({"iss": ISSUER, "sub": sub})))).line;
    assert_eq!((&*ask("bob"), checks.lock().unwrap().len()), ("HTTP/1.1 404 Not Found", 0));
    assert_eq!((&*ask("alice"), checks.lock().unwrap().len()), ("HTTP/1.1 401 Unauthorized", 1));
    assert!(app.seen.lock().unwrap().is_empty());
}

#[test]
fn a_service_that_denies_over_http_answers_the_client() {
    let app = App::start();
    let (address, _) = service(
        "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\nx-why: no\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\nno!\n",
    );
    let filters = custom(over_http(), |_| {});
    let sidecar = Running::start(&with(&filters, |c| service_at(c, address)), Some(app.address));
    let response = get(&sidecar, "/a", "x-ask: 1\r\n");
    assert_eq!((&*response.line, &response.body[..]), ("HTTP/1.1 401 Unauthorized", &b"no!\n"[..]));
    let of = |name: &str| response.header(name);
    assert_eq!(
        (of("www-authenticate"), of("x-why"), of("content-type")),
        (Some("Basic"), Some("no"), Some("text/html"))
    );
    assert_eq!(of("server"), Some("istio-envoy"));
    assert!(app.seen.lock().unwrap().is_empty());
    assert!(sidecar.log(1)[0].contains("401 UAEX ext_authz_denied"), "{:?}", sidecar.log(1));
}

#[test]
fn without_an_answer_the_request_is_refused_unless_it_fails_open() {
    let app = App::start();
    let nobody = Nobody::new();
    let (broken, _) = service("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n");
    for address in [Some(nobody.address()), Some(broken), None] {
        let run = |edit: fn(&mut ExtAuthz)| {
            let filters = custom(over_http(), edit);
            let config = with(&filters, |c| {
                if let Some(address) = address {
                    service_at(c, address);
                }
            });
            let sidecar = Running::start(&config, Some(app.address));
            let response = get(&sidecar, "/a", "x-ask: 1\r\n");
            (response.line, response.body.len(), sidecar.log(1).remove(0))
        };
        let (line, body, log) = run(|_| {});
        assert_eq!((&*line, body), ("HTTP/1.1 403 Forbidden", 0), "{address:?}");
        assert!(log.contains("403 UAEX ext_authz_error"), "{log}");
        assert_eq!(run(|f| f.status_on_error = 503).0, "HTTP/1.1 503 Service Unavailable", "{address:?}");
        assert_eq!(run(|f| f.failure_mode_allow = true).0, "HTTP/1.1 200 OK", "{address:?}");
    }
}

#[test]
fn a_body_goes_to_the_service_and_then_to_the_application() {
    let app = App::start();
    let (address, checks) = service("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let post = |allow_partial, body: &str| {
        let filters = custom(over_http(), |f| {
            f.with_request_body = Some(AuthzBody { max_request_bytes: 4, allow_partial, as_bytes: false });
        });
        let sidecar = Running::start(&with(&filters, |c| service_at(c, address)), Some(app.address));
        let mut client = Client::connect(sidecar.address("virtualInbound"));
        let length = body.len();
        client.ask(format!("POST /a HTTP/1.1\r\nHost: w\r\nx-ask: 1\r\ncontent-length: {length}\r\n\r\n{body}")).line
    };
    let last = || {
        let check = checks.lock().unwrap().last().cloned().unwrap();
        (check.body.clone(), check.header("x-envoy-auth-partial-body").map(str::to_owned))
    };
    assert_eq!(post(false, "abc"), "HTTP/1.1 200 OK");
    assert_eq!((last(), &app.last().body[..]), ((b"abc".to_vec(), Some("false".to_owned())), &b"abc"[..]));
    assert_eq!(post(true, "abcdefgh"), "HTTP/1.1 200 OK");
    assert_eq!((last(), &app.last().body[..]), ((b"abcd".to_vec(), Some("true".to_owned())), &b"abcdefgh"[..]));
    assert_eq!(post(false, "abcdefgh"), "HTTP/1.1 413 Payload Too Large");
    assert_eq!(app.seen.lock().unwrap().len(), 2);
}

/// Allows what has `x-user`, and denies the rest.
struct Checks(Arc<Mutex<Vec<CheckRequest>>>);

#[tonic::async_trait]
impl Authorization for Checks {
    async fn check(
        &self,
        request: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        let request = request.into_inner();
        let http = request.attributes.clone().unwrap().request.unwrap().http.unwrap();
        self.0.lock().unwrap().push(request);
        let header = |key: &str, value: &str| core::HeaderValueOption {
            header: Some(core::HeaderValue { key: key.into(), value: value.into(), ..Default::default() }),
            ..Default::default()
        };
        let (code, answer) = if http.headers.contains_key("x-user") {
            let headers = vec![header("x-seen", "by the service")];
            let headers_to_remove = vec!["x-ask".to_owned()];
            (0, HttpResponse::OkResponse(OkHttpResponse { headers, headers_to_remove, ..Default::default() }))
        } else {
            let status = Some(types::HttpStatus { code: 429 });
            let headers = vec![header("x-why", "nobody")];
            (7, HttpResponse::DeniedResponse(DeniedHttpResponse { status, headers, body: "who?".into() }))
        };
        let status = Some(rpc::Status { code, ..Default::default() });
        Ok(tonic::Response::new(CheckResponse { status, http_response: Some(answer), ..Default::default() }))
    }
}

#[test]
fn a_service_is_asked_over_grpc() {
    let app = App::start();
    let checks = Arc::<Mutex<Vec<CheckRequest>>>::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let server = AuthorizationServer::new(Checks(Arc::clone(&checks)));
    runtime.spawn(
        tonic::transport::Server::builder().add_service(server).serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let grpc = AuthzService::Grpc(AuthzGrpc {
        cluster: SERVICE.into(),
        authority: "authz.default.svc.cluster.local".into(),
        timeout: Duration::from_secs(10),
    });
    let sidecar = Running::start(&with(&custom(grpc, |_| {}), |c| service_at(c, address)), Some(app.address));
    let response = get(&sidecar, "/a?b", "x-ask: 1\r\nx-user: alice\r\n");
    assert_eq!(response.line, "HTTP/1.1 200 OK");
    assert_eq!((app.last().header("x-seen"), app.last().header("x-ask")), (Some("by the service"), None));
    let told = checks.lock().unwrap()[0].attributes.clone().unwrap().request.unwrap().http.unwrap();
    assert_eq!((&*told.method, &*told.path, &*told.host), ("GET", "/a?b", "was-service"));
    let response = get(&sidecar, "/a", "x-ask: 1\r\n");
    assert_eq!(&response.body[..], b"who?");
    assert!(response.line.starts_with("HTTP/1.1 429 "), "{}", response.line);
    assert_eq!(response.header("x-why"), Some("nobody"));
    assert!(sidecar.log(2)[1].contains("429 UAEX ext_authz_denied"), "{:?}", sidecar.log(2));
}

/// What all proxies of this process have logged about policies.
fn logged() -> &'static Mutex<Vec<u8>> {
    static LINES: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    LINES.get_or_init(|| {
        let writer = || Lines;
        let filter = tracing_subscriber::EnvFilter::new("policy=info");
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(writer).init();
        Mutex::default()
    })
}

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        logged().lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The lines about a path, once there are so many.
fn lines_about(path: &str, count: usize) -> Vec<String> {
    until(&format!("{count} lines about {path}"), || {
        let text = String::from_utf8(logged().lock().unwrap().clone()).unwrap();
        let lines: Vec<String> = text.lines().filter(|l| l.contains(path)).map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

#[test]
fn whoever_is_refused_is_told_of_with_the_reason() {
    logged();
    let app = App::start();
    let principal = Principal::Authenticated(Some(exact("spiffe://cluster.local/ns/a/sa/b")));
    let filters = [
        tokens(false),
        rbac(PolicyAction::Log, false, "", "ns[a]-policy[audit]-rule[0]", Principal::Any),
        rbac(PolicyAction::Deny, true, "istio_dry_run_deny_", "ns[a]-policy[tried]-rule[0]", Principal::Any),
        rbac(PolicyAction::Allow, false, "", "ns[a]-policy[web]-rule[0]", principal),
    ];
    let sidecar = Running::start(&with(&filters, |_| {}), Some(app.address));
    let bad = token(&json!({"iss": "https://other"}));
    get(&sidecar, "/told-of-tokens?secret=1", &format!("authorization: Bearer {bad}\r\n"));
    let line = lines_about("/told-of-tokens", 1).remove(0);
    assert!(line.contains("request refused: its token is refused: Jwt issuer is not configured"), "{line}");
    assert!(line.contains(ISSUER) && !line.contains("secret") && !line.contains(&bad), "{line}");

    get(&sidecar, "/told-of-policies", "");
    let lines = lines_about("/told-of-policies", 3);
    let has = |parts: &[&str]| lines.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(has(&["request audited", "ns[a]-policy[audit]-rule[0]"]), "{lines:?}");
    assert!(has(&["would be denied", "ns[a]-policy[tried]-rule[0]"]), "{lines:?}");
    let lacked = "ns[a]-policy[web]-rule[0]: the caller showed no certificate";
    assert!(has(&["request refused: no ALLOW policy matches it", lacked, "sa/b"]), "{lines:?}");
}

#[test]
fn whoever_is_refused_again_and_again_does_not_fill_the_log() {
    logged();
    let app = App::start();
    let filters = [rbac(PolicyAction::Deny, false, "", "ns[a]-policy[no]-rule[0]", Principal::Any)];
    let sidecar = Running::start(&with(&filters, |_| {}), Some(app.address));
    let mut client = Client::connect(sidecar.address("virtualInbound"));
    let begun = std::time::Instant::now();
    for _ in 0..200 {
        client.ask("GET /again HTTP/1.1\r\nHost: was-service\r\n\r\n");
    }
    // Ten at once, and ten for each second that it took.
    let most = 10 * (usize::try_from(begun.elapsed().as_secs()).unwrap() + 2);
    let lines = lines_about("/again", 10);
    assert!(lines.len() <= most && most < 200, "{} of at most {most}", lines.len());
    assert!(lines[0].contains("policy ns[a]-policy[no]-rule[0] denies it"), "{}", lines[0]);
}

#[test]
fn what_policies_would_do_is_counted() {
    let app = App::start();
    let filters = [
        rbac(PolicyAction::Deny, true, "istio_dry_run_deny_", "dry", Principal::Any),
        rbac(PolicyAction::Log, false, "", "audit", Principal::Any),
        rbac(PolicyAction::Allow, true, "istio_dry_run_allow_", "dry", Principal::Any),
        tokens(false),
    ];
    let sidecar = Running::start(&with(&filters, |_| {}), Some(app.address));
    assert_eq!(get(&sidecar, "/a", "").line, "HTTP/1.1 200 OK");
    let stats = sidecar.proxy.as_ref().unwrap().state().metrics.http(&"test".into());
    let c = &stats.counters;
    let counted = (c.rbac_shadow_denied.get(), c.rbac_shadow_allowed.get(), c.rbac_allowed.get(), c.jwt_allowed.get());
    assert_eq!(counted, (1, 1, 1, 1));
}
