use super::*;

fn judge(text: &str) -> Validation {
    let (objects, problems) = crate::read("t.yaml", text);
    assert!(problems.is_empty(), "{problems:?}");
    validate(&objects[0])
}

#[test]
fn port_level_mtls_without_a_selector_is_refused_with_the_right_form() {
    let v = judge(
        "apiVersion: security.istio.io/v1beta1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: b}\nspec:\n  mtls: {mode: STRICT}\n  portLevelMtls:\n    80: {mode: PERMISSIVE}\n",
    );
    assert_eq!(v.errors.len(), 1);
    assert_eq!(v.errors[0].path, "spec.portLevelMtls");
    assert!(v.errors[0].message.contains("requires a selector"));
    let fix = v.errors[0].fix.as_deref().unwrap();
    assert!(fix.contains("mode: STRICT") && fix.contains("80: {mode: PERMISSIVE}"), "{fix}");
}

#[test]
fn a_misspelt_field_is_a_warning_and_a_wrong_type_an_error() {
    let v = judge(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n  http:\n  - tiemout: 3s\n    route: [{destination: {host: a}}]\n",
    );
    assert!(v.is_ok());
    assert_eq!(v.warnings[0].path, "spec.http[0].tiemout");
    let v = judge(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n  http:\n  - timeout: 3 seconds\n",
    );
    assert_eq!(v.errors[0].path, "spec.http[0].timeout");
    assert!(v.errors[0].message.contains("10s"), "{}", v.errors[0]);
}
