//! Which tokens a workload takes, by resources; keys that are there, that are not, and that are none.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::reads::touched;
use crate::{Change, Diagnostic, ProxyKey, ProxyKind, Snapshot};

const POLICIES: &str = r#"
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: mesh, namespace: istio-system}
spec:
  jwtRules: [{issuer: z, jwks: '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: was, namespace: blog}
spec:
  selector: {matchLabels: {app: was}}
  jwtRules:
  - issuer: a
    audiences: [blog]
    jwksUri: https://a.example/keys
    fromHeaders: [{name: X-Jwt, prefix: "Tok "}]
    fromParams: [tok]
    fromCookies: [jwt]
    forwardOriginalToken: true
    outputPayloadToHeader: X-Payload
    outputClaimToHeaders: [{header: X-Sub, claim: sub}]
    spaceDelimitedClaims: [roles, scope]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: targeted, namespace: blog}
spec:
  targetRefs: [{group: "", kind: Service, name: was}]
  jwtRules: [{issuer: never, jwks: '{}'}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: elsewhere, namespace: other}
spec:
  jwtRules: [{issuer: never, jwks: '{}'}]
"#;

fn snapshot(text: &str) -> Snapshot {
    let (objects, problems) = varka_api::read("in", text);
    assert!(problems.is_empty(), "{problems:?}");
    Snapshot::builder().objects(objects).build()
}

fn proxy(kind: ProxyKind, app: &str) -> ProxyKey {
    let mut key = ProxyKey::new(kind, "p", "blog", IpAddr::V4(Ipv4Addr::LOCALHOST));
    key.labels = [("app".to_owned(), app.to_owned())].into();
    key
}

fn compiled(snapshot: &Snapshot, proxy: &ProxyKey) -> (Option<JwtAuthn>, Vec<Diagnostic>, crate::ReadSet) {
    let ctx = Ctx::new(snapshot, proxy);
    let made = match filter(&ctx) {
        Some(HttpFilter::Jwt(made)) => Some(*made),
        None => None,
        Some(other) => panic!("{other:?}"),
    };
    let (reads, diagnostics) = ctx.finish();
    (made, diagnostics, reads)
}

#[test]
fn policies_of_mesh_namespace_and_workload_add_up() {
    let snapshot = snapshot(POLICIES);
    let (made, _, _) = compiled(&snapshot, &proxy(ProxyKind::Sidecar, "was"));
    let made = made.unwrap();
    let issuers: Vec<(&str, &str)> = made.providers.iter().map(|p| (&*p.name, &*p.issuer)).collect();
    assert_eq!(issuers, [("origins-0", "a"), ("origins-1", "z")]);
    let by_name = |n: &str| JwtRequirement::Provider(n.into());
    let optional = |n: &str| JwtRequirement::Any(vec![by_name(n), JwtRequirement::AllowMissing]);
    let all = JwtRequirement::All(vec![optional("origins-0"), optional("origins-1")]);
    assert_eq!(made.requires, JwtRequirement::Any(vec![by_name("origins-0"), by_name("origins-1"), all]));
    let a = &made.providers[0];
    let texts = |list: &[Str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((texts(&a.audiences), a.forward), (vec!["blog".to_owned()], true));
    assert_eq!(a.from_headers, [JwtHeader { name: "x-jwt".into(), value_prefix: "Tok ".into() }]);
    assert_eq!((texts(&a.from_params), texts(&a.from_cookies)), (vec!["tok".to_owned()], vec!["jwt".to_owned()]));
    assert_eq!((&*a.forward_payload_header, &*a.claim_to_headers[0].header_name), ("x-payload", "x-sub"));
    assert_eq!(texts(&a.space_delimited_claims), ["permission", "roles", "scope"]);
    assert!(!a.clear_route_cache);

    let (other, _, _) = compiled(&snapshot, &proxy(ProxyKind::Sidecar, "web"));
    assert_eq!(other.unwrap().requires, optional("origins-0"));
    let (gateway, _, _) = compiled(&snapshot, &proxy(ProxyKind::Router, "was"));
    assert!(gateway.unwrap().providers[0].clear_route_cache);
    assert_eq!(compiled(&self::snapshot(""), &proxy(ProxyKind::Sidecar, "was")).0, None);
}

#[test]
fn keys_elsewhere_verify_nothing_until_they_are_there() {
    let before = snapshot(POLICIES);
    let proxy = proxy(ProxyKind::Sidecar, "was");
    let source = KeySource { issuer: "a".into(), uri: "https://a.example/keys".into() };
    assert_eq!(
        before.wanted_keys().into_iter().collect::<Vec<_>>(),
        [(source.clone(), std::time::Duration::from_secs(5))]
    );
    let (made, said, reads) = compiled(&before, &proxy);
    let keys = &made.unwrap().providers[0].keys;
    assert_eq!(keys, &Jwks::new(NOBODY));
    assert_eq!(keys.keys().unwrap().len(), 1, "a key that can be used, so that tokens are looked at and refused");
    let told: Vec<(&str, &str)> = said.iter().map(|d| (&*d.resource, &*d.path)).collect();
    assert_eq!(told, [("RequestAuthentication blog/was", "spec.jwtRules[0].jwksUri")]);

    let found = r#"{"keys": [{"kty": "oct", "k": "YQ"}]}"#;
    let change = |keys| Change::Keys { source: source.clone(), keys };
    let (after, changes) = before.apply([change(Some(Ok(found.into())))]);
    assert!(touched(&reads, &changes), "{changes:?}");
    let (made, said, _) = compiled(&after, &proxy);
    assert_eq!((&made.unwrap().providers[0].keys, said.len()), (&Jwks::new(found), 0));
    assert!(after.apply([change(Some(Ok(found.into())))]).1.is_empty(), "nothing has changed");

    let gone = after.with([change(Some(Err("no answer".into())))]);
    let (made, said, _) = compiled(&gone, &proxy);
    assert_eq!(made.unwrap().providers[0].keys, Jwks::new(NOBODY));
    assert!(said[0].message.contains("no answer"), "{}", said[0]);
}

#[test]
fn keys_that_are_none_are_told_of() {
    let text = "
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: r, namespace: blog}
spec: {jwtRules: [{issuer: a, jwks: '{\"keys\": []}'}]}
";
    let (made, said, _) = compiled(&snapshot(text), &proxy(ProxyKind::Sidecar, "was"));
    assert!(made.unwrap().providers[0].keys.keys().is_err());
    assert!(said[0].message.contains("any valid public key"), "{}", said[0]);
}
