//! What peers say, whole, in pieces, damaged, and too much of it.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

fn workload() -> Workload {
    Workload {
        name: "productpage-v1".into(),
        namespace: "default".into(),
        app: "productpage".into(),
        version: "v1".into(),
        canonical_service: "productpage-v1".into(),
        canonical_revision: "version-1".into(),
        cluster: "client-cluster".into(),
    }
}

fn bootstrap() -> Bootstrap {
    let args = crate::bootstrap::Args {
        role: crate::bootstrap::Role::Sidecar,
        domain: None,
        config: None,
        concurrency: None,
        free_ports: false,
        engine: crate::bootstrap::Engine::default(),
    };
    let vars = [
        ("ISTIO_META_WORKLOAD_NAME", "productpage-v1"),
        ("ISTIO_META_CLUSTER_ID", "client-cluster"),
        (
            "ISTIO_METAJSON_LABELS",
            r#"{"app":"productpage","version":"v1","service.istio.io/canonical-name":"productpage-v1",
                "service.istio.io/canonical-revision":"version-1"}"#,
        ),
    ];
    let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    let all = vars.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    Bootstrap::from_vars(args, &var, all).unwrap()
}

#[test]
fn a_peer_understands_what_we_say_in_headers_and_preludes() {
    let own = Own::new(&bootstrap());
    assert_eq!(*own.workload, workload());
    let mut headers = HeaderMap::new();
    own.tell(&mut headers);
    assert!(headers.get(METADATA_ID).unwrap().to_str().unwrap().starts_with("sidecar~"));
    let sent = take(&mut headers).unwrap();
    assert!(headers.is_empty());
    let known = Known::default();
    let peer = known.peer(sent.clone()).unwrap();
    assert_eq!(*peer, workload());
    assert!(Arc::ptr_eq(&peer, &known.peer(sent).unwrap()), "decoded once");
    let mut buf = BytesMut::from(&own.prelude()[..]);
    buf.extend_from_slice(b"hello");
    assert_eq!(Prelude::default().take(&mut buf, false), Taken::Done(Some(workload())));
    assert_eq!(&buf[..], b"hello");
}

/// The bytes of a Struct, put together by hand: `NAMESPACE` and `WORKLOAD_NAME`.
#[test]
fn the_header_is_base64_of_a_struct_with_or_without_padding() {
    let sent = "ChYKCU5BTUVTUEFDRRIJGgdkZWZhdWx0ChYKDVdPUktMT0FEX05BTUUSBRoDd2Vi";
    for text in [sent, sent.trim_end_matches('=')] {
        let peer = decode(text.as_bytes()).unwrap();
        assert_eq!((&*peer.namespace, &*peer.name, &*peer.cluster), ("default", "web", ""));
    }
}

#[test]
fn a_prelude_that_never_ends_is_refused_and_one_that_is_none_is_left_alone() {
    let mut huge = BytesMut::from(&[0x3D, 0x23, 0x04, 0x67, 0x7f, 0xff, 0xff, 0xff][..]);
    assert_eq!(Prelude::default().take(&mut huge, false), Taken::TooLong);
    let mut other = BytesMut::from(&b"SELECT 1"[..]);
    assert_eq!(Prelude::default().take(&mut other, false), Taken::Done(None));
    assert_eq!(&other[..], b"SELECT 1");
    let mut begun = BytesMut::from(&[0x3D, 0x23][..]);
    assert_eq!(Prelude::default().take(&mut begun, false), Taken::More);
    assert_eq!(Prelude::default().take(&mut begun, true), Taken::Done(None));
    assert_eq!(&begun[..], [0x3D, 0x23], "what was no prelude is the application's");
}

#[test]
fn too_long_values_count_as_not_said() {
    let mut said = to_struct(&workload(), &bootstrap());
    said.fields.insert("WORKLOAD_NAME".to_owned(), string(&"x".repeat(254)));
    said.fields.insert("NAMESPACE".to_owned(), string("a\nb"));
    let peer = from_struct(&said);
    assert_eq!((&*peer.name, &*peer.namespace), ("", ""));
    let known = Known::default();
    assert_eq!(known.peer(HeaderValue::from_str(&"A".repeat(LONGEST + 1)).unwrap()), None);
    for i in 0..2 * KEPT {
        known.peer(HeaderValue::from_str(&format!("{i}")).unwrap());
    }
    assert!(known.0.borrow().len() <= KEPT);
}

proptest! {
    #[test]
    fn a_prelude_in_pieces_is_the_same(cuts in proptest::collection::vec(1..40usize, 0..20)) {
        let own = Own::new(&bootstrap());
        let mut sent = BytesMut::from(&own.prelude()[..]);
        sent.extend_from_slice(b"payload");
        let (mut prelude, mut buf, mut found) = (Prelude::default(), BytesMut::new(), None);
        for cut in cuts.into_iter().chain([usize::MAX]) {
            buf.extend_from_slice(&sent.split_to(cut.min(sent.len())));
            if found.is_none() {
                match prelude.take(&mut buf, false) {
                    Taken::Done(peer) => found = Some(peer),
                    taken => prop_assert_eq!(taken, Taken::More),
                }
            }
        }
        prop_assert_eq!(found, Some(Some(workload())));
        prop_assert_eq!(&buf[..], b"payload");
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), framed in any::<bool>()) {
        let mut buf = BytesMut::new();
        if framed {
            buf.extend_from_slice(&[0x3D, 0x23, 0x04, 0x67, 0, 0, 0, bytes.first().copied().unwrap_or(0)]);
        }
        buf.extend_from_slice(&bytes);
        let _ = Prelude::default().take(&mut buf, true);
        let _ = decode(&bytes);
    }
}
