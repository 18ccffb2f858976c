//! The answers of a real Envoy.

use proptest::prelude::*;

use super::*;
use crate::jwt::Failure;

fn wire(reply: LocalReply) -> (u16, String, String) {
    let rendered = reply.render(false, false);
    let headers: Vec<String> =
        rendered.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    (rendered.status, headers.join("\n"), String::from_utf8(rendered.body.to_vec()).unwrap())
}

fn text(status: u16, body: &str) -> (u16, String, String) {
    (status, format!("content-length: {}\ncontent-type: text/plain", body.len()), body.to_owned())
}

#[test]
fn bodies_and_headers() {
    let reset = |reason, retried| wire(LocalReply::upstream_reset(reason, retried, None));
    assert_eq!(wire(LocalReply::route_not_found()), (404, String::new(), String::new()));
    assert_eq!(wire(LocalReply::no_healthy_upstream()), text(503, "no healthy upstream"));
    let start = "upstream connect error or disconnect/reset before headers.";
    assert_eq!(
        reset(ResetReason::ConnectionTermination, false),
        text(503, &format!("{start} reset reason: connection termination"))
    );
    assert_eq!(
        reset(ResetReason::RemoteConnectionFailure, true),
        text(503, &format!("{start} retried and the latest reset reason: remote connection failure"))
    );
    let (status, headers, body) = reset(ResetReason::Overflow, false);
    assert_eq!((status, body), (503, format!("{start} reset reason: overflow")));
    assert!(headers.contains("x-envoy-overloaded: true"));
    assert_eq!(wire(LocalReply::route_timeout()), text(504, "upstream request timeout"));
    assert_eq!(wire(LocalReply::rbac_denied("d".into())), text(403, "RBAC: access denied"));
    assert_eq!(wire(LocalReply::fault_abort(555, None)), text(555, "fault filter abort"));
    assert_eq!(wire(LocalReply::low_version()), text(426, "Upgrade Required"));
    assert_eq!(wire(LocalReply::bad_request("http1.codec_error")), text(400, "Bad Request"));
}

#[test]
fn flags_and_details() {
    let refused = LocalReply::upstream_reset(
        ResetReason::RemoteConnectionFailure,
        true,
        Some("delayed connect error: Connection refused"),
    )
    .after(ResponseFlags::of(Flag::UpstreamRetryLimitExceeded));
    assert_eq!(refused.outcome.flags.to_string(), "URX,UF");
    assert_eq!(
        refused.outcome.details,
        "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"
    );
    let delayed = LocalReply::fault_abort(418, None).after(ResponseFlags::of(Flag::DelayInjected));
    assert_eq!(delayed.outcome.flags.to_string(), "DI,FI");
    assert_eq!(ResponseFlags::NONE.to_string(), "-");
    let cut = Outcome::upstream_broke_off(200, ResetReason::ProtocolError);
    assert_eq!(
        (cut.flags.to_string().as_str(), &*cut.details),
        ("UPE", "upstream_reset_after_response_started{protocol_error}")
    );
}

#[test]
fn tokens() {
    let expired = LocalReply::jwt_denied(Failure::Expired, "http", "was-service", "/");
    assert_eq!(expired.outcome.details, "jwt_authn_access_denied{Jwt_is_expired}");
    assert_eq!(
        expired.headers[http::header::WWW_AUTHENTICATE],
        "Bearer realm=\"http://was-service/\", error=\"invalid_token\""
    );
    assert_eq!(wire(expired).0, 401);
    assert_eq!(LocalReply::jwt_denied(Failure::AudienceNotAllowed, "http", "h", "/").outcome.status, 403);
    let long = LocalReply::jwt_denied(Failure::Expired, "http", "was-service", &format!("/?{}", "é".repeat(200)));
    assert_eq!(
        long.headers[http::header::WWW_AUTHENTICATE].len(),
        "Bearer realm=\"http://was-service\", error=\"invalid_token\"".len() + 256
    );
}

#[test]
fn grpc_clients_get_a_grpc_status() {
    let rendered = LocalReply::fault_abort(200, Some(14)).render(true, false);
    assert_eq!(rendered.status, 200);
    assert_eq!(rendered.headers["grpc-status"], "14");
    assert_eq!(rendered.headers["grpc-message"], "fault filter abort");
    assert_eq!(rendered.headers["content-type"], "application/grpc");
    assert!(rendered.body.is_empty());
    assert_eq!(LocalReply::no_healthy_upstream().render(true, false).headers["grpc-status"], "14");
}

#[test]
fn head_keeps_the_length_and_no_content_has_none() {
    let head = LocalReply::rbac_denied("d".into()).render(false, true);
    assert_eq!((head.headers["content-length"].as_bytes(), head.body.len()), (&b"19"[..], 0));
    let direct =
        |status, body: Option<&'static str>| crate::ir::DirectResponse { status, body: body.map(bytes::Bytes::from) };
    assert_eq!(wire(LocalReply::direct(&direct(204, None))), (204, String::new(), String::new()));
    assert_eq!(wire(LocalReply::direct(&direct(404, None))), (404, String::new(), String::new()));
    assert_eq!(wire(LocalReply::direct(&direct(200, Some("hello")))), text(200, "hello"));
}

#[test]
fn a_mapping_changes_the_status_of_what_it_names() {
    let mapping = |flags: &[&str], status| crate::ir::LocalReplyMapping {
        flags: flags.iter().map(|f| (*f).into()).collect(),
        status,
        new_status: 502,
    };
    let reset = || LocalReply::upstream_reset(ResetReason::ConnectionTermination, false, None);
    assert_eq!(reset().mapped(&[mapping(&["UF", "UC"], None)]).outcome.status, 502);
    assert_eq!(reset().mapped(&[mapping(&["UH"], None)]).outcome.status, 503);
    assert_eq!(reset().mapped(&[mapping(&[], Some(504)), mapping(&[], Some(503))]).outcome.status, 502);
}

proptest! {
    #[test]
    fn a_set_of_flags_keeps_first_occurrences_in_order(picks in prop::collection::vec(0usize..30, 0..10)) {
        let mut set = ResponseFlags::NONE;
        let mut want: Vec<Flag> = vec![];
        for pick in picks {
            let flag = Flag::ALL[pick];
            set.insert(flag);
            if !want.contains(&flag) {
                want.push(flag);
            }
        }
        prop_assert_eq!(set.iter().collect::<Vec<_>>(), want);
    }
}
