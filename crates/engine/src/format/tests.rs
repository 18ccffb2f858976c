//! Formats as Istio writes them, and malformed ones.

use proptest::prelude::*;

use super::*;

struct Name;

impl Values for Name {
    fn write(&self, operator: &Operator<'_>, out: &mut String) -> bool {
        operator.name != "NONE" && push(out, operator.name)
    }
}

fn filled(format: &str) -> String {
    let mut out = String::new();
    header_value(format, &Name, &mut out);
    out
}

#[test]
fn takes_formats_apart() {
    let all: Vec<_> = segments("a %REQ(X-A?:PATH):8%%%b %START_TIME(%Y-%m)%").map(Result::unwrap).collect();
    let req = Operator { name: "REQ", argument: Some("X-A?:PATH"), max_length: Some(8) };
    assert_eq!(
        all,
        [
            Segment::Literal("a "),
            Segment::Operator(req),
            Segment::Literal("%"),
            Segment::Literal("b "),
            Segment::Operator(Operator { name: "START_TIME", argument: Some("%Y-%m"), max_length: None }),
        ]
    );
    assert_eq!(req.header_names(), ("X-A", Some(":PATH")));
}

#[test]
fn header_values() {
    assert_eq!(filled("100%%"), "100%");
    assert_eq!(filled("a-%PROTOCOL%-b"), "a-PROTOCOL-b");
    assert_eq!(filled("%PROTOCOL:3%"), "PRO");
    assert_eq!(filled("%NONE%"), "");
    assert_eq!(filled("50% off"), "50% off");
}

#[test]
fn what_is_wrong_is_said() {
    assert_eq!(segments("ab%C").nth(1), Some(Err(FormatError::Unclosed { at: 2 })));
    for text in ["", "req(x)", "REQ(x", "REQ(x)y", "REQ:z"] {
        let format = format!("%{text}%");
        if text.is_empty() {
            continue;
        }
        assert!(segments(&format).any(|s| s.is_err()), "{format}");
    }
}

proptest! {
    #[test]
    fn never_panics_and_keeps_what_is_no_format(text in "[%A-Z():a-z0-9é ]{0,20}") {
        let parts: Vec<_> = segments(&text).collect();
        if parts.iter().any(Result::is_err) {
            prop_assert_eq!(filled(&text), text);
        }
    }
}
