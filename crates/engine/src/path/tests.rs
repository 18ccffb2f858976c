//! What a real Envoy made of these paths in each of Istio's four modes, and properties of the normal form.

use proptest::prelude::*;

use super::*;

const NONE: PathNormalization =
    PathNormalization { normalize: false, merge_slashes: false, escaped_slashes: SlashesAction::Keep };
const BASE: PathNormalization = PathNormalization { normalize: true, ..NONE };
const MERGE: PathNormalization = PathNormalization { merge_slashes: true, ..BASE };
const DECODE: PathNormalization = PathNormalization { escaped_slashes: SlashesAction::UnescapeAndForward, ..MERGE };

/// Sent, then NONE, BASE, MERGE_SLASHES, DECODE_AND_MERGE_SLASHES; `=`: unchanged; `400`: refused.
const TABLE: &str = include_str!("golden.tsv");

fn seen(path: &str, how: PathNormalization) -> String {
    match normalize(path, how) {
        Normalized::Path(p) if p == path => "=".to_owned(),
        Normalized::Path(p) => p.into_owned(),
        Normalized::Redirect(p) => format!("-> {p}"),
        Normalized::Rejected => "400".to_owned(),
    }
}

#[test]
fn as_a_real_envoy() {
    let mut rows = 0;
    for line in TABLE.lines().filter(|l| !l.is_empty()) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [sent, want @ ..] = cells.as_slice() else { panic!("no cells in {line:?}") };
        let got = [NONE, BASE, MERGE, DECODE].map(|how| seen(sent, how));
        assert_eq!(got, want, "{sent}");
        rows += 1;
    }
    assert!(rows > 50, "{rows} rows");
}

/// What is decoded must not make an escape sequence with a percent sign that stood alone: an application would decode it again.
#[test]
fn no_escape_sequence_comes_about() {
    for (sent, want) in [
        ("/a%%32Fb", "/a%252Fb"),
        ("/a%2%46b", "/a%252Fb"),
        ("/a%%32%46b", "/a%252Fb"),
        ("/%%32e%%32e/b", "/%252e%252e/b"),
        ("/a%%41", "/a%A"),
        ("/a%%41g", "/a%Ag"),
        ("/%/../%41", "/A"),
    ] {
        assert_eq!(seen(sent, DECODE), want, "{sent}");
        assert_eq!(seen(want, DECODE), "=", "{want}");
    }
}

#[test]
fn escaped_slashes_can_be_refused_or_redirected() {
    let how = |escaped_slashes| PathNormalization { escaped_slashes, ..MERGE };
    assert_eq!(normalize("/a%2fb", how(SlashesAction::Reject)), Normalized::Rejected);
    assert_eq!(
        normalize("/a%2Fb?x=%2f", how(SlashesAction::UnescapeAndRedirect)),
        Normalized::Redirect("/a/b?x=%2f".into())
    );
    assert_eq!(seen("/ab?x=%2f", how(SlashesAction::Reject)), "=");
}

#[test]
fn dot_segments_with_parameters() {
    assert_eq!(seen("/a/..;x=y/b", BASE), "/b");
    assert_eq!(seen("/a/.;/b", BASE), "/a/b");
    assert_eq!(seen("/a/b..;/c", BASE), "=");
    assert_eq!(seen("*", BASE), "=");
}

proptest! {
    #[test]
    fn a_normal_form_is_its_own(path in r"/([a./\\;%]|%2e|%2f|%61|%41|é|#|\?){0,12}") {
        for how in [BASE, MERGE] {
            if let Normalized::Path(once) = normalize(&path, how) {
                prop_assert_eq!(normalize(&once, how), Normalized::Path(Cow::Borrowed(&*once)));
            }
        }
    }

    #[test]
    fn no_dot_segment_and_no_backslash_is_left(path in r"/([a./\\]|%2e|%2E){0,12}") {
        let Normalized::Path(out) = normalize(&path, BASE) else { return Err(TestCaseError::fail("refused")) };
        prop_assert!(out.starts_with('/') && !out.contains('\\'), "{}", out);
        prop_assert!(out.split('/').all(|s| s != "." && s != ".."), "{}", out);
    }

    #[test]
    fn the_quick_check_never_hides_a_change(path in r"/[a-zA-Z0-9/._~!$&'()+,;:@=-]{0,16}") {
        if is_canonical(path.as_bytes()) {
            prop_assert_eq!(canonicalize(path.as_bytes()), Some(path));
        }
    }
}
