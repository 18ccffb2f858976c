//! Answers that the proxy makes itself, and the headers that it puts on every answer.

use std::future::poll_fn;

use http::header::{DATE, HeaderMap, HeaderValue, SERVER};
use varka_engine::outcome::{LocalReply, Outcome};

use super::date;
use super::downstream::Downstream;
use super::exchange::Exchange;
use super::message::ResponseHead;
use crate::pump::{Frame, Sink as _};

/// Sends a local reply; gives back how the request ended.
pub(crate) async fn send(x: &mut Exchange<'_>, down: &mut Downstream, reply: LocalReply) -> Outcome {
    let close = reply.close || !down.received();
    let reply = reply.after(x.flags).mapped(&x.manager().local_replies);
    let mut outcome = reply.outcome.clone();
    let rendered = reply.render(x.head.is_grpc(), x.head.method == http::Method::HEAD);
    // To a client of gRPC it is an answer with a status of gRPC, and as such it is recorded.
    outcome.status = rendered.status;
    if close {
        down.close_after();
    }
    let mut head = ResponseHead { status: rendered.status, headers: rendered.headers };
    if let Some(allowed) = &x.allowed {
        allowed.apply_response(&mut head.headers);
    }
    finish_headers(x, &mut head.headers);
    x.status = head.status;
    let end = rendered.body.is_empty();
    let sent = down.send_head(&head, end).is_ok();
    x.response = head.headers;
    if sent && !end {
        x.bytes_sent = rendered.body.len() as u64;
        let _ = down.send(Frame::Data(rendered.body));
        let _ = down.send(Frame::End);
    }
    if poll_fn(|cx| down.poll_flush(cx)).await.is_err() {
        return Outcome::client_gone(x.status);
    }
    outcome
}

/// `date` and `server`, in place where the upstream has set them; and who we are, for a client that said who it is.
pub(crate) fn finish_headers(x: &Exchange<'_>, headers: &mut HeaderMap) {
    headers.entry(DATE).or_insert_with(date::now);
    if let Ok(server) = HeaderValue::from_str(&x.manager().server_name)
        && !server.is_empty()
    {
        headers.insert(SERVER, server);
    }
    if let Some(traced) = &x.traced {
        traced.tell_client(headers);
    }
    if x.answer_peer {
        x.worker().state.own.tell(headers);
    }
}
