//! HTTP/2, gRPC and what changes between versions.

use bytes::Bytes;
use http::{HeaderMap, Request};
use varka_engine::ir::ClusterProtocol;

use crate::config::{Mode, WAS, auto_mtls, cluster, endpoints, inbound, outbound};
use crate::mtls::Mesh;
use crate::support::{App, Running};

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(crate::support::LIMIT, work).await.expect("in time") })
}

pub(crate) async fn connect(address: std::net::SocketAddr) -> h2::client::SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap()
}

pub(crate) async fn read_all(mut body: h2::RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    (all, body.trailers().await.unwrap())
}

#[test]
fn h2c_from_the_client_becomes_http_1_where_the_endpoint_wants_it() {
    let app = App::start();
    let mut was = cluster(WAS, endpoints(&[app.address], None));
    was.http.protocol = ClusterProtocol::Http1;
    let sidecar = Running::start(&outbound(was, |_| {}), Some(app.address));
    block_on(async {
        let mut sender = connect(sidecar.address("virtualOutbound")).await;
        let request =
            Request::post("http://was-service/x").header("cookie", "a=1").header("cookie", "b=2").body(()).unwrap();
        let (response, mut body) = sender.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"hello"), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers()["server"].as_bytes()), (200, &b"envoy"[..]));
        let (all, _) = read_all(response.into_body()).await;
        assert_eq!(all, b"POST /x HTTP/1.1 5");
    });
    assert_eq!(app.last().header("cookie"), Some("a=1; b=2"));
    assert!(sidecar.log(1)[0].contains("\"POST /x HTTP/2\" 200 - via_upstream - \"-\" 5 18 "), "{:?}", sidecar.log(1));
}

/// A gRPC-like application: echoes messages as they come and ends with trailers.
pub(crate) fn grpc_app() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        tokio::spawn(async move {
                            let mut incoming = request.into_body();
                            let head =
                                http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                            let mut out = respond.send_response(head, false).unwrap();
                            while let Some(Ok(data)) = incoming.data().await {
                                let _ = incoming.flow_control().release_capacity(data.len());
                                out.send_data(data, false).unwrap();
                            }
                            let mut trailers = HeaderMap::new();
                            trailers.insert("grpc-status", "0".parse().unwrap());
                            out.send_trailers(trailers).unwrap();
                        });
                    }
                });
            }
        });
    });
    address
}

#[test]
fn grpc_streams_both_ways_with_trailers_through_two_sidecars() {
    let (mesh, app) = (Mesh::new(), grpc_app());
    let mut config = inbound(Mode::Strict);
    mesh.identify(&mut config, "was");
    let server = Running::start(&config, Some(app));
    let mut was = cluster(WAS, endpoints(&[server.address("virtualInbound")], Some("istio")));
    auto_mtls(&mut was, "spiffe://cluster.local/ns/default/sa/was");
    let mut config = outbound(was, |_| {});
    mesh.identify(&mut config, "web");
    let client = Running::start(&config, None);
    block_on(async {
        let mut sender = connect(client.address("virtualOutbound")).await;
        let request = Request::post("http://was-service/pkg.Echo/Talk")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let (response, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(b"one"), false).unwrap();
        let mut incoming = response.await.unwrap().into_body();
        assert_eq!(incoming.data().await.unwrap().unwrap(), "one", "answers come while the request is open");
        body.send_data(Bytes::from_static(b"two"), true).unwrap();
        let (rest, trailers) = read_all(incoming).await;
        assert_eq!((&rest[..], trailers.unwrap()["grpc-status"].as_bytes()), (&b"two"[..], &b"0"[..]));
    });
    assert!(server.log(1)[0].contains("\"POST /pkg.Echo/Talk HTTP/2\" 200"), "{:?}", server.log(1));
}

#[test]
fn a_grpc_client_is_told_of_failures_in_its_own_way() {
    let sidecar = Running::start(&outbound(cluster(WAS, endpoints(&[], None)), |_| {}), None);
    block_on(async {
        let mut sender = connect(sidecar.address("virtualOutbound")).await;
        let request = Request::post("http://was-service/pkg.Echo/Talk").header("content-type", "application/grpc");
        let (response, _) = sender.send_request(request.body(()).unwrap(), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-message"], "no healthy upstream");
    });
}

#[test]
fn many_streams_share_one_connection() {
    let app = grpc_app();
    let sidecar = Running::start(&outbound(cluster(WAS, endpoints(&[app], None)), |_| {}), None);
    block_on(async {
        let sender = connect(sidecar.address("virtualOutbound")).await;
        let mut all = Vec::new();
        for n in 0..50_u32 {
            let mut sender = sender.clone().ready().await.unwrap();
            let request = Request::post("http://was-service/x").body(()).unwrap();
            let (response, mut body) = sender.send_request(request, false).unwrap();
            body.send_data(Bytes::from(n.to_string()), true).unwrap();
            all.push((n, response));
        }
        for (n, response) in all {
            let (body, _) = read_all(response.await.unwrap().into_body()).await;
            assert_eq!(body, n.to_string().as_bytes());
        }
    });
    let state = std::sync::Arc::clone(sidecar.proxy.as_ref().unwrap().state());
    let config = state.config();
    let used = config.cluster(WAS).unwrap().totals.connections.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(used, 1);
}
