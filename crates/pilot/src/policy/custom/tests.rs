//! What CUSTOM policies become, with a provider that can be asked and with ones that cannot.

use varka_api::istio::{Labels, MeshConfig};

use super::*;
use crate::{Rules, Snapshot, authorization_rules};

const POLICY: &str = "
apiVersion: v1
kind: Service
metadata: {name: authz, namespace: a}
spec: {ports: [{name: grpc, port: 9000}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: a}
spec:
  action: CUSTOM
  provider: {name: ours}
  rules: [{to: [{operation: {paths: [/admin]}}]}]
";

fn filters_of(provider: &str, more: &str, tcp: bool) -> Rules {
    let mesh = format!("extensionProviders: [{{name: ours, {provider}}}]");
    let (mesh, unknown) = MeshConfig::from_yaml(&mesh).unwrap();
    assert!(unknown.is_empty(), "{unknown:?}");
    let (objects, problems) = varka_api::read("in", &format!("{POLICY}{more}"));
    assert!(problems.is_empty(), "{problems:?}");
    let snapshot = Snapshot::builder().mesh(mesh).objects(objects).build();
    authorization_rules(&snapshot, "a", &Labels::new(), tcp)
}

fn refuses(rules: &Rules) -> Vec<String> {
    assert!(rules.services.is_empty(), "{rules:?}");
    let names = rules.filters.iter().flat_map(|rules| {
        assert_eq!((rules.action, rules.shadow), (PolicyAction::Deny, false));
        rules.policies.iter().map(|p| p.name.to_string())
    });
    names.collect()
}

#[test]
fn rules_note_and_the_provider_is_asked() {
    let http = "envoyExtAuthzHttp: {service: a/authz.a.svc.cluster.local, port: 9000, timeout: 2s, failOpen: true, \
                statusOnError: '503', pathPrefix: /check, includeHeadersInCheck: [x-old], \
                headersToDownstreamOnAllow: ['x-*'], includeRequestBodyInCheck: {maxRequestBytes: 10}}";
    let filters = filters_of(http, "", false);
    let ([rules], [asked]) = (filters.filters.as_slice(), filters.services.as_slice()) else { panic!("{filters:?}") };
    assert!(rules.shadow && rules.is_for_ext_authz());
    assert_eq!(&*rules.policies[0].name, "istio-ext-authz-ours-ns[a]-policy[p]-rule[0]");
    let AuthzService::Http(service) = &asked.service else { panic!("{asked:?}") };
    assert_eq!((&*service.cluster, &*service.path_prefix), ("outbound|9000||authz.a.svc.cluster.local", "/check"));
    assert_eq!((service.timeout.as_secs(), asked.failure_mode_allow, asked.status_on_error), (2, true, 503));
    assert_eq!(asked.allowed_headers, [StringMatch::Exact { value: "x-old".into(), ignore_case: true }]);
    let on_success = &service.client_headers_on_success;
    assert_eq!(on_success, &[StringMatch::Prefix { value: "x-".into(), ignore_case: true }]);
    let body = AuthzBody { max_request_bytes: 10, allow_partial: false, as_bytes: false };
    assert_eq!(asked.with_request_body, Some(body));
    let wanted = asked.enabled_metadata.as_ref().unwrap();
    assert_eq!(wanted.value, StringMatch::Prefix { value: "istio-ext-authz-ours".into(), ignore_case: false });
    // Nobody is asked over HTTP about connections that are no HTTP.
    assert_eq!(filters_of(http, "", true), Rules::default());

    let grpc = "envoyExtAuthzGrpc: {service: authz.a.svc.cluster.local, port: 9000}";
    let filters = filters_of(grpc, "", false);
    let [asked] = filters.services.as_slice() else { panic!("{filters:?}") };
    let AuthzService::Grpc(service) = &asked.service else { panic!("{asked:?}") };
    assert_eq!((&*service.authority, service.timeout.as_secs()), ("authz.a.svc.cluster.local", 600));
    assert_eq!(refuses(&filters_of(grpc, "", true)).len(), 1);
}

#[test]
fn without_a_provider_that_can_be_asked_what_matches_is_refused() {
    let service = "service: authz.a.svc.cluster.local";
    for provider in [
        "zipkin: {service: z, port: 1}".to_owned(),
        "envoyExtAuthzHttp: {service: nowhere, port: 9000}".to_owned(),
        "envoyExtAuthzHttp: {service: b/authz.a.svc.cluster.local, port: 9000}".to_owned(),
        format!("envoyExtAuthzHttp: {{{service}, port: 0}}"),
        format!("envoyExtAuthzHttp: {{{service}, port: 9000, pathPrefix: check}}"),
        format!("envoyExtAuthzHttp: {{{service}, port: 9000, statusOnError: '999'}}"),
        format!("envoyExtAuthzHttp: {{{service}, port: 9000, headersToUpstreamOnAllow: ['*']}}"),
        format!("envoyExtAuthzGrpc: {{{service}, port: 9000, includeRequestBodyInCheck: {{}}}}"),
    ] {
        let names = refuses(&filters_of(&provider, "", false));
        let expected = "istio-ext-authz-ours-ns[a]-policy[p]-rule[0]-deny-due-to-bad-CUSTOM-action";
        assert_eq!(names, [expected], "{provider}");
    }
    let another = "
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: q, namespace: a}
spec: {action: CUSTOM, provider: {name: other}, rules: [{}]}
";
    let good = "envoyExtAuthzGrpc: {service: authz.a.svc.cluster.local, port: 9000}";
    assert_eq!(refuses(&filters_of(good, another, false)).len(), 2);
}
