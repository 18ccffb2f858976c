use super::*;

const TWO: &str = "\
# a comment
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: blog-system}
spec:
  hosts: [web-service]
  http:
  - name: canary
    match:
    - port: 80
  - timeout: 10s
---
kind: Broken
  x: [
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
  namespace: blog-system
spec:
  mtls: {mode: STRICT}
  portLevelMtls:
    80: {mode: PERMISSIVE}
";

#[test]
fn what_cannot_be_read_is_told_with_one_line_number_and_without_advice_to_programmers() {
    let (_, problems) = read("a.yaml", "# nothing\n---\na: 1\na: 2\n");
    assert_eq!((problems[0].line, problems[0].message.as_str()), (4, "not YAML: duplicate mapping key: a"));
}

#[test]
fn a_bad_document_does_not_take_good_ones_with_it() {
    let (objects, problems) = read("a.yaml", TWO);
    assert_eq!(
        objects.iter().map(RawObject::label).collect::<Vec<_>>(),
        ["VirtualService blog-system/web", "PeerAuthentication blog-system/default"]
    );
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!((13..=15).contains(&problems[0].line), "{problems:?}");
}

#[test]
fn fields_know_their_lines() {
    let (objects, _) = read("a.yaml", TWO);
    let at = |i: usize, path: &str| objects[i].position.at(path).unwrap();
    assert_eq!(at(0, ""), "a.yaml:2");
    assert_eq!(at(0, "spec.http[1].timeout"), "a.yaml:11");
    assert_eq!(at(0, "spec.http[0].match[0].port"), "a.yaml:10");
    assert_eq!(at(0, "spec.http[0].retries.attempts"), "a.yaml:8");
    assert_eq!(at(1, "spec.portLevelMtls.80"), "a.yaml:24");
}

#[test]
fn keys_that_are_numbers_become_text() {
    let (objects, _) = read("a.yaml", TWO);
    assert_eq!(objects[1].value["spec"]["portLevelMtls"]["80"]["mode"], "PERMISSIVE");
}

#[test]
fn lists_are_opened_and_empty_documents_skipped() {
    let text = "---\n# nothing\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: a}\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: b}\n";
    let (objects, problems) = read("l.yaml", text);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(objects.iter().map(RawObject::label).collect::<Vec<_>>(), ["Namespace a", "Namespace b"]);
    assert_eq!(objects[1].position.line(), 10);
}

#[test]
fn what_is_no_object_is_reported() {
    for (text, needle) in [("- a\n", "mapping"), ("kind: X\n", "apiVersion"), ("apiVersion: v1\n", "kind")] {
        let (objects, problems) = read("x", text);
        assert!(objects.is_empty());
        assert!(problems[0].message.contains(needle), "{problems:?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[ -~\n]{0,200}") {
        let _ = read("p", &text);
    }
}
