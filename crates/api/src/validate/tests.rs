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

#[test]
fn a_name_of_a_header_is_wrong_where_it_stands() {
    let v = judge(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n  http:\n  - match: [{withoutHeaders: {'a b': {exact: x}}}]\n    route: [{destination: {host: a}}]\n    corsPolicy: {allowOrigins: [{exact: x}], exposeHeaders: ['c d']}\n",
    );
    let paths: Vec<_> = v.errors.iter().map(|e| e.path.as_str()).collect();
    assert_eq!(paths, ["spec.http[0].match[0].withoutHeaders.a b", "spec.http[0].corsPolicy.exposeHeaders"]);
}

#[test]
fn what_is_null_or_empty_is_not_read_as_everything() {
    let v = judge(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n  http:\n  - match: [{headers: {x-user: null}}]\n    route: [{destination: {host: a}}]\n    headers: {request: null}\n",
    );
    let paths: Vec<_> = v.errors.iter().map(|e| e.path.as_str()).collect();
    assert_eq!(paths, ["spec.http[0].match[0].headers.x-user"]);
    let v = judge(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\nspec: {rules: [{from: []}]}\n",
    );
    assert_eq!(v.errors[0].path, "spec.rules[0].from");
    assert!(v.errors[0].fix.as_deref().unwrap().contains("Leave `from` out"), "{}", v.errors[0]);
}

#[test]
fn a_patch_says_what_how_and_where() {
    let filter = |patch: &str| {
        judge(&format!(
            "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: a}}\nspec: {{configPatches: [{patch}]}}\n"
        ))
    };
    let at = |patch: &str| filter(patch).errors.first().map(|e| e.path.clone());
    let ok = "{applyTo: CLUSTER, match: {cluster: {name: a}}, patch: {operation: MERGE, value: {connect_timeout: 1s}}}";
    assert_eq!(at(ok), None);
    assert_eq!(at(&ok.replace("CLUSTER", "HTTP_FILTER")).unwrap(), "spec.configPatches[0].match");
    assert_eq!(at(&ok.replace(", value: {connect_timeout: 1s}", "")).unwrap(), "spec.configPatches[0].patch.value");
    assert_eq!(at("{patch: {operation: REMOVE}}").unwrap(), "spec.configPatches[0].applyTo");
}

#[test]
fn a_module_is_fetched_from_where_it_can_be() {
    let plugin = |url: &str| {
        judge(&format!(
            "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: a}}\nspec: {{url: '{url}'}}\n"
        ))
    };
    for good in ["registry.example/a/b:v1", "oci://x/y", "https://x/y.wasm", "file:///a.wasm"] {
        assert!(plugin(good).is_ok(), "{good}");
    }
    for bad in ["ftp://x/y", "#%blah$#@", "https:///y", ""] {
        assert!(!plugin(bad).is_ok(), "{bad}");
    }
}
