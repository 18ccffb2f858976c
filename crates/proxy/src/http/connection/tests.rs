//! What a connection and a request cost in memory must not grow unnoticed.

use std::rc::Rc;

use super::{Conn, Downstream, Io, RequestHead, request, serve_h1, serve_h2};

fn size_of_result<A, F>(_: impl Fn(A) -> F) -> usize {
    size_of::<F>()
}

fn one_request<'a>(
    (conn, down, head): (&'a Conn, &'a mut Downstream, RequestHead),
) -> impl Future<Output = bool> + use<'a> {
    request::serve(conn, down, head)
}

#[test]
fn futures_stay_small() {
    let accepted = size_of_result(crate::accept::handle_for_tests);
    let http1 = size_of_result(|(conn, io): (Rc<Conn>, Io)| serve_h1(conn, io));
    let http2 = size_of_result(|(conn, io): (Rc<Conn>, Io)| serve_h2(conn, io));
    let per_request = size_of_result(one_request);
    println!("accepted {accepted}, HTTP/1 {http1}, HTTP/2 {http2}, request {per_request}");
    // Per client connection, idle ones included: this is what ten thousand of them cost ten thousand times.
    assert!(accepted < 1024, "a connection's future is {accepted} bytes");
    assert!(http1 < 1792, "an HTTP/1 connection's future is {http1} bytes");
    assert!(http2 < 2560, "an HTTP/2 connection's future is {http2} bytes");
    // Boxed, and only while a request is in flight.
    assert!(per_request < 7168, "a request's future is {per_request} bytes");
}
