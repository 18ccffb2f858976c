//! The header as Istio's sidecars send it, and what becomes of a client's own.

use super::*;
use crate::facts::PeerIdentity;

fn after(how: ClientCertForwarding, peer: Option<&PeerIdentity>, sent: Option<&'static str>) -> Option<String> {
    let connection = Connection {
        peer_identity: peer,
        local_identity: Some("spiffe://cluster.local/ns/blog-system/sa/was"),
        ..Connection::plain("10.0.0.1:80".parse().unwrap(), "10.0.0.2:4".parse().unwrap())
    };
    let mut headers: HeaderMap = sent.map(|v| (NAME, HeaderValue::from_static(v))).into_iter().collect();
    apply(how, &connection, &mut headers);
    headers.get(NAME).map(|v| v.to_str().unwrap().to_owned())
}

#[test]
fn as_istio() {
    let peer = PeerIdentity {
        sha256: "ab12".into(),
        ..PeerIdentity::of_uri("spiffe://cluster.local/ns/blog-system/sa/default")
    };
    let ours = "By=spiffe://cluster.local/ns/blog-system/sa/was;Hash=ab12;Subject=\"\";URI=spiffe://cluster.local/ns/blog-system/sa/default";
    let some = Some(&peer);
    assert_eq!(after(ClientCertForwarding::AppendForward, some, None).as_deref(), Some(ours));
    assert_eq!(after(ClientCertForwarding::AppendForward, some, Some("By=x")), Some(format!("By=x,{ours}")));
    assert_eq!(after(ClientCertForwarding::SanitizeSet, some, Some("By=x")).as_deref(), Some(ours));
    assert_eq!(after(ClientCertForwarding::ForwardOnly, some, Some("By=x")).as_deref(), Some("By=x"));
    assert_eq!(after(ClientCertForwarding::Sanitize, some, Some("By=x")), None);
}

#[test]
fn nobody_in_plain_text_can_claim_an_identity() {
    for how in [
        ClientCertForwarding::AppendForward,
        ClientCertForwarding::SanitizeSet,
        ClientCertForwarding::ForwardOnly,
        ClientCertForwarding::Sanitize,
    ] {
        assert_eq!(after(how, None, Some("URI=spiffe://cluster.local/ns/evil/sa/evil")), None, "{how:?}");
    }
    assert_eq!(after(ClientCertForwarding::AlwaysForward, None, Some("By=x")).as_deref(), Some("By=x"));
}
