//! Tokens that python's cryptography signed, what is told of bad ones, where they are found, and that no bytes break the parser.

use std::net::SocketAddr;

use http::Version;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::facts::{Connection, Metadata};
use crate::ir::{Jwks, JwtClaimToHeader, JwtHeader};

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.example";

fn vectors() -> Value {
    serde_json::from_str(include_str!("tests/vectors.json")).unwrap()
}

fn encoded(value: &Value) -> String {
    token::BASE64_URL.encode(value.to_string()).trim_end_matches('=').to_owned()
}

/// A token that is signed with a shared secret.
fn signed(payload: &Value) -> String {
    let text = format!("{}.{}", encoded(&json!({"alg": "HS256"})), encoded(payload));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"secret");
    let tag = ring::hmac::sign(&key, text.as_bytes());
    format!("{text}.{}", token::BASE64_URL.encode(tag).trim_end_matches('='))
}

fn provider(name: &str, issuer: &str) -> JwtProvider {
    JwtProvider {
        name: name.into(),
        issuer: issuer.into(),
        audiences: vec![],
        keys: Jwks::new(r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#),
        from_headers: vec![],
        from_params: vec![],
        from_cookies: vec![],
        forward: false,
        forward_payload_header: "".into(),
        claim_to_headers: vec![],
        payload_in_metadata: "payload".into(),
        space_delimited_claims: vec!["permission".into(), "scope".into()],
        clear_route_cache: false,
    }
}

/// As Istio has it for one provider, and for several.
fn optional(providers: Vec<JwtProvider>) -> JwtAuthn {
    let one = |p: &JwtProvider| {
        JwtRequirement::Any(vec![JwtRequirement::Provider(p.name.clone()), JwtRequirement::AllowMissing])
    };
    let requires = match providers.as_slice() {
        [only] => one(only),
        all => {
            let each = all.iter().map(|p| JwtRequirement::Provider(p.name.clone()));
            JwtRequirement::Any(each.chain([JwtRequirement::All(all.iter().map(one).collect())]).collect())
        }
    };
    JwtAuthn { providers, requires, bypass_cors_preflight: true }
}

fn ask(config: &JwtAuthn, method: &str, path: &str, headers: &[(&str, &str)]) -> Decision {
    let connection =
        Connection::plain("10.77.0.21:8080".parse().unwrap(), "10.77.0.11:4".parse::<SocketAddr>().unwrap());
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(header_name(name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let request = Request {
        method,
        scheme: "http",
        authority: "was-service",
        path,
        headers: &map,
        connection: &connection,
        remote_address: "203.0.113.9:0".parse().unwrap(),
        metadata: Metadata::EMPTY,
        version: Version::HTTP_11,
    };
    decide(config, &request, NOW)
}

fn bearer(config: &JwtAuthn, token: &str) -> Decision {
    ask(config, "GET", "/", &[("authorization", &format!("Bearer {token}"))])
}

#[test]
fn signatures_of_every_algorithm_that_can_be_verified() {
    let vectors = vectors();
    let keys = parse_keys(&vectors["keys"].to_string()).unwrap();
    assert_eq!(keys.len(), 5, "the weak key and the one on P-521 are left out");
    for (name, text) in vectors["tokens"].as_object().unwrap() {
        let text = text.as_str().unwrap();
        let token = token::parse(text.as_bytes()).unwrap();
        let good = !matches!(&**name, "ES512" | "weak RS256");
        let expected = if good { Ok(()) } else { Err(Failure::NoMatchingKey) };
        assert_eq!(keys::verify(&token, &keys), expected, "{name}");
        if !good {
            continue;
        }
        // One bit of the signature, and another payload.
        let mut other = token.clone();
        other.signature[10] ^= 1;
        assert_eq!(keys::verify(&other, &keys), Err(Failure::VerificationFails), "{name}");
        let payload = encoded(&json!({"iss": ISSUER, "sub": "mallory"}));
        let other = Token { payload_text: payload.as_bytes(), ..token };
        assert_eq!(keys::verify(&other, &keys), Err(Failure::VerificationFails), "{name}");
    }
}

#[test]
fn a_key_verifies_its_own_algorithm_alone() {
    let vectors = vectors();
    let all = vectors["keys"]["keys"].as_array().unwrap();
    // No names: every key is tried.
    let nameless: Vec<Value> = all
        .iter()
        .map(|key| {
            let mut key = key.clone();
            key.as_object_mut().unwrap().remove("kid");
            key
        })
        .collect();
    let by_kind = |kty: &str, crv: &str| {
        let of_kind =
            nameless.iter().filter(|k| k["kty"] == kty && k.get("crv").and_then(Value::as_str).unwrap_or("") == crv);
        parse_keys(&json!({"keys": of_kind.collect::<Vec<_>>()}).to_string()).unwrap()
    };
    for (name, text) in vectors["tokens"].as_object().unwrap() {
        let token = token::parse(text.as_str().unwrap().as_bytes()).unwrap();
        for (kty, crv, starts) in [
            ("RSA", "", "RP"),
            ("EC", "P-256", "ES256"),
            ("EC", "P-384", "ES384"),
            ("OKP", "Ed25519", "Ed"),
            ("oct", "", "H"),
        ] {
            let own = match starts {
                "RP" => (name.starts_with("RS") || name.starts_with("PS")) && !name.starts_with("weak"),
                starts => name.starts_with(starts),
            };
            assert_eq!(keys::verify(&token, &by_kind(kty, crv)).is_ok(), own, "{name} by {kty} {crv}");
        }
    }
    let text = vectors["tokens"]["RS256"].as_str().unwrap();
    let keys = parse_keys(&json!({"keys": [{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}]}).to_string()).unwrap();
    assert_eq!(keys::verify(&token::parse(text.as_bytes()).unwrap(), &keys), Err(Failure::NoMatchingKey));
}

#[test]
fn what_is_told_of_bad_tokens() {
    let config = optional(vec![JwtProvider { audiences: vec!["https://blog/".into()], ..provider("p", ISSUER) }]);
    let with = |change: Value| {
        let mut payload = json!({"iss": ISSUER, "sub": "alice", "aud": "blog", "exp": NOW + 10});
        payload.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        bearer(&config, &signed(&payload)).result
    };
    assert_eq!(with(json!({})), Ok(()));
    assert_eq!(with(json!({"aud": ["x", "http://blog"]})), Ok(()));
    for (change, failure) in [
        (json!({"exp": NOW - 61}), Failure::Expired),
        (json!({"exp": 0}), Failure::Expired),
        (json!({"nbf": NOW + 61}), Failure::NotYetValid),
        (json!({"iss": "https://other"}), Failure::UnknownIssuer),
        (json!({"iss": 1}), Failure::IssNotString),
        (json!({"sub": 1}), Failure::SubNotString),
        (json!({"aud": "other"}), Failure::AudienceNotAllowed),
        (json!({"aud": [1]}), Failure::AudNotString),
        (json!({"exp": "x"}), Failure::ExpNotInteger),
        (json!({"exp": -1}), Failure::ExpOutOfRange),
        (json!({"nbf": 1e30}), Failure::NbfOutOfRange),
        (json!({"iat": null}), Failure::IatNotInteger),
        (json!({"jti": []}), Failure::JtiNotString),
    ] {
        assert_eq!(with(change.clone()), Err(failure), "{change}");
    }
    for change in [json!({"exp": NOW - 60}), json!({"nbf": NOW + 60}), json!({"exp": (NOW + 10) as f64})] {
        assert_eq!(with(change.clone()), Ok(()), "{change}");
    }
    let header = |header: Value| bearer(&config, &format!("{}.{}.c2ln", encoded(&header), encoded(&json!({})))).result;
    assert_eq!(header(json!({"alg": "none"})), Err(Failure::HeaderUnknownAlg));
    assert_eq!(header(json!({})), Err(Failure::HeaderBadAlg));
    assert_eq!(header(json!({"alg": "HS256", "kid": 1})), Err(Failure::HeaderBadKid));
    assert_eq!(header(json!([])), Err(Failure::HeaderBadJson));
    for (text, failure) in [
        ("abc", Failure::BadFormat),
        ("a.b", Failure::BadFormat),
        ("a.b.c.d", Failure::BadFormat),
        ("a#.b.c", Failure::HeaderBadBase64),
        ("e30.e30.", Failure::BadFormat),
        ("e30.b.c", Failure::HeaderBadAlg),
    ] {
        assert_eq!(bearer(&config, text).result, Err(failure), "{text}");
    }
    let mut unsigned = signed(&json!({"iss": ISSUER, "aud": "blog"}));
    unsigned.truncate(unsigned.rfind('.').unwrap());
    assert_eq!(bearer(&config, &unsigned).result, Err(Failure::BadFormat));
    assert_eq!(bearer(&config, &format!("{unsigned}.AAAA")).result, Err(Failure::VerificationFails));
    assert_eq!(bearer(&config, &"a".repeat(MAX_TOKEN + 1)).result, Err(Failure::BadFormat));
}

#[test]
fn key_sets_that_are_none_refuse_every_token() {
    for (text, failure) in [
        ("x", Failure::KeysBadJson),
        ("{}", Failure::KeysMissing),
        (r#"{"keys": 1}"#, Failure::KeysNotList),
        (r#"{"keys": []}"#, Failure::NoValidKeys),
        (r#"{"keys": [{"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}, 1, {}]}"#, Failure::NoValidKeys),
        (r#"{"keys": [{"kty": "oct", "k": ""}]}"#, Failure::NoValidKeys),
    ] {
        assert_eq!(parse_keys(text).unwrap_err(), failure, "{text}");
        let config = optional(vec![JwtProvider { keys: Jwks::new(text), ..provider("p", ISSUER) }]);
        assert_eq!(bearer(&config, &signed(&json!({"iss": ISSUER}))).result, Err(Failure::NoValidKeys), "{text}");
        assert_eq!(ask(&config, "GET", "/", &[]).result, Ok(()), "{text}");
    }
}

#[test]
fn a_request_without_a_token_passes_and_loses_the_headers_that_claims_go_to() {
    let config = optional(vec![JwtProvider {
        forward_payload_header: "x-payload".into(),
        claim_to_headers: vec![JwtClaimToHeader { header_name: "x-sub".into(), claim_name: "sub".into() }],
        ..provider("p", ISSUER)
    }]);
    let mut headers = HeaderMap::new();
    headers.insert("x-sub", HeaderValue::from_static("forged"));
    headers.insert("x-payload", HeaderValue::from_static("forged"));
    let decision = ask(&config, "GET", "/", &[("x-sub", "forged"), ("x-payload", "forged")]);
    assert_eq!((decision.result, decision.payloads.len()), (Ok(()), 0));
    decision.changes.apply(&mut headers);
    assert!(headers.is_empty(), "{headers:?}");
}

#[test]
fn what_goes_on_of_a_good_token() {
    let to = |header: &str, claim: &str| JwtClaimToHeader { header_name: header.into(), claim_name: claim.into() };
    let config = optional(vec![JwtProvider {
        forward_payload_header: "x-payload".into(),
        claim_to_headers: vec![
            to("x-sub", "sub"),
            to("x-role", "nested.role"),
            to("x-n", "n"),
            to("x-f", "f"),
            to("x-b", "b"),
            to("x-list", "groups"),
            to("x-none", "none"),
            to("x-empty", "empty"),
        ],
        clear_route_cache: true,
        ..provider("p", ISSUER)
    }]);
    let payload = json!({"iss": ISSUER, "sub": "alice", "nested": {"role": "editor"}, "n": 7, "f": 1.5, "b": true,
        "groups": ["a", "b"], "empty": "", "scope": "read  write", "permission": ""});
    let token = signed(&payload);
    let decision = bearer(&config, &token);
    assert_eq!((decision.result, decision.reroute), (Ok(()), true));
    let kept = &decision.payloads["payload"];
    assert_eq!(
        (&kept["scope"], &kept["permission"], &kept["sub"]),
        (&json!(["read", "write"]), &json!(""), &json!("alice"))
    );
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    headers.insert("x-sub", HeaderValue::from_static("forged"));
    decision.changes.apply(&mut headers);
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned());
    let of = |name: &str, value: &str| assert_eq!(text(name).as_deref(), Some(value), "{name}");
    of("x-sub", "alice");
    of("x-role", "editor");
    of("x-n", "7");
    of("x-f", "1.500000");
    of("x-b", "true");
    of("x-list", &base64::engine::general_purpose::STANDARD.encode(r#"["a","b"]"#));
    of("x-payload", token.split('.').nth(1).unwrap());
    assert_eq!((text("authorization"), text("x-none"), text("x-empty")), (None, None, None));
    let kept = optional(vec![JwtProvider { forward: true, ..provider("p", ISSUER) }]);
    assert_eq!(bearer(&kept, &token).changes, Changes::default());
}

#[test]
fn places_that_tokens_are_found_in() {
    let token = signed(&json!({"iss": ISSUER}));
    let other = signed(&json!({"iss": ISSUER, "exp": 1}));
    let default = optional(vec![provider("p", ISSUER)]);
    let found = |config: &JwtAuthn, path: &str, headers: &[(&str, &str)]| {
        let decision = ask(config, "GET", path, headers);
        (decision.result, decision.changes.path(path))
    };
    for value in ["bearer x", "Bearer", "Basic abc"] {
        assert_eq!(found(&default, "/", &[("authorization", value)]), (Ok(()), None), "{value}");
    }
    let two = [("authorization", &*format!("Bearer {token}")), ("authorization", &*format!("Bearer {token}"))];
    assert_eq!(found(&default, "/", &two), (Err(Failure::BadFormat), None));
    assert_eq!(found(&default, &format!("/a?access_token={token}"), &[]), (Ok(()), Some("/a".to_owned())));
    let path = format!("/a?x=%26&%61ccess_token={token}&y");
    assert_eq!(found(&default, &path, &[]), (Ok(()), Some("/a?x=%26&y".to_owned())));
    assert_eq!(found(&default, "/a?access_token=abc.def", &[]).0, Err(Failure::BadFormat));
    // Of several tokens the one in the first place decides where requests without a token pass, as in Envoy; where one is
    // required, all must hold.
    let both = |header: &str, param: &str| {
        let headers = [("authorization", &*format!("Bearer {header}"))];
        let path = format!("/a?access_token={param}");
        let required = JwtAuthn { requires: JwtRequirement::Provider("p".into()), ..default.clone() };
        (ask(&default, "GET", &path, &headers).result, ask(&required, "GET", &path, &headers).result)
    };
    assert_eq!(both(&token, &token), (Ok(()), Ok(())));
    assert_eq!(both(&token, &other), (Ok(()), Err(Failure::Expired)));
    assert_eq!(both(&other, &token), (Err(Failure::Expired), Err(Failure::Expired)));

    let own = optional(vec![JwtProvider {
        from_headers: vec![JwtHeader { name: "x-jwt".into(), value_prefix: "Tok ".into() }],
        from_params: vec!["tok".into()],
        from_cookies: vec!["jwtc".into()],
        ..provider("p", ISSUER)
    }]);
    assert_eq!(found(&own, "/", &[("authorization", &format!("Bearer {other}"))]), (Ok(()), None));
    assert_eq!(found(&own, "/", &[("x-jwt", &other)]), (Ok(()), None));
    for (path, headers) in [
        ("/".to_owned(), vec![("x-jwt", format!("Tok {other}"))]),
        (format!("/?tok={other}"), vec![]),
        ("/".to_owned(), vec![("cookie", format!("a=b; jwtc={other}"))]),
        ("/".to_owned(), vec![("cookie", format!("a=b;jwtc=\"{other}\""))]),
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, &**v)).collect();
        assert_eq!(found(&own, &path, &headers).0, Err(Failure::Expired), "{path} {headers:?}");
    }
}

#[test]
fn several_providers() {
    let from = |header: &str, p: JwtProvider| JwtProvider {
        from_headers: vec![JwtHeader { name: header.into(), value_prefix: "".into() }],
        ..p
    };
    let one = signed(&json!({"iss": "one"}));
    let two = signed(&json!({"iss": "two"}));
    let old = signed(&json!({"iss": "two", "exp": 1}));
    let other = signed(&json!({"iss": "other"}));
    let shared = optional(vec![provider("origins-0", "one"), provider("origins-1", "two")]);
    for (token, result) in
        [(&one, Ok(())), (&two, Ok(())), (&old, Err(Failure::Expired)), (&other, Err(Failure::UnknownIssuer))]
    {
        assert_eq!(bearer(&shared, token).result, result);
    }
    assert_eq!(ask(&shared, "GET", "/", &[]).result, Ok(()));
    let apart = optional(vec![from("a", provider("origins-0", "one")), from("b", provider("origins-1", "two"))]);
    for (headers, result) in [
        (vec![], Ok(())),
        (vec![("a", &one)], Ok(())),
        (vec![("b", &two)], Ok(())),
        (vec![("b", &one)], Err(Failure::UnknownIssuer)),
        (vec![("b", &old)], Err(Failure::Expired)),
    ] {
        let headers: Vec<(&str, &str)> = headers.into_iter().map(|(n, v)| (n, &**v)).collect();
        assert_eq!(ask(&apart, "GET", "/", &headers).result, result, "{headers:?}");
    }
    let any = optional(vec![provider("origins-0", "")]);
    assert_eq!(bearer(&any, &other).result, Ok(()));
}

#[test]
fn preflights_pass() {
    let config = optional(vec![provider("p", ISSUER)]);
    let headers = [("origin", "https://a"), ("access-control-request-method", "GET"), ("authorization", "Bearer x")];
    assert_eq!(ask(&config, "OPTIONS", "/", &headers).result, Ok(()));
    assert_eq!(ask(&config, "GET", "/", &headers).result, Err(Failure::BadFormat));
    assert_eq!(ask(&config, "OPTIONS", "/", &headers[1..]).result, Err(Failure::BadFormat));
}

#[test]
fn nothing_shows_a_key() {
    let keys = Jwks::new(r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a"}]}"#);
    let text = format!("{keys:?} {:?}", keys.keys().unwrap());
    assert!(!text.contains("c2VjcmV0") && !text.contains("secret") && !text.contains("115, 101"), "{text}");
}

proptest! {
    #[test]
    fn no_bytes_break_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = token::parse(&bytes);
        let config = optional(vec![provider("p", ISSUER)]);
        if let Ok(text) = std::str::from_utf8(&bytes)
            && HeaderValue::from_str(text).is_ok()
        {
            let decision = bearer(&config, text);
            prop_assert!(decision.payloads.is_empty());
        }
    }

    #[test]
    fn no_json_in_a_token_breaks_it(header in json_value(), payload in json_value(), signature in any::<[u8; 9]>()) {
        let text = format!("{}.{}.{}", encoded(&header), encoded(&payload), token::BASE64_URL.encode(signature));
        if let Ok(token) = token::parse(text.as_bytes()) {
            let _ = token.check_time(NOW, LEEWAY);
            let _ = keys::verify(&token, &parse_keys(&vectors()["keys"].to_string()).unwrap());
        }
        let _ = parse_keys(&payload.to_string());
    }

    #[test]
    fn one_letter_less_or_other_is_never_accepted(at in 0usize..200, letter in "[A-Za-z0-9_-]") {
        let token = signed(&json!({"iss": ISSUER, "sub": "alice", "exp": NOW + 10}));
        let config = optional(vec![provider("p", ISSUER)]);
        let at = at % token.len();
        let mut other = token.clone();
        other.replace_range(at..=at, &letter);
        // The last letter of a signature holds bits that mean nothing.
        prop_assert!(other == token || at + 1 == token.len() || bearer(&config, &other).result.is_err());
        other.replace_range(at..=at, "");
        prop_assert!(bearer(&config, &other).result.is_err());
    }

    #[test]
    fn a_path_keeps_its_other_parameters(names in prop::collection::vec("[a-c%]{0,3}", 0..5)) {
        let path = format!("/p?{}", names.iter().map(|n| format!("{n}=1")).collect::<Vec<_>>().join("&"));
        let changes = Changes { params: vec!["a".into()], ..Changes::default() };
        let left: Vec<&String> = names.iter().filter(|n| **n != "a").collect();
        let expected = left.iter().map(|n| format!("{n}=1")).collect::<Vec<_>>().join("&");
        let expected = if expected.is_empty() { "/p".to_owned() } else { format!("/p?{expected}") };
        prop_assert_eq!(changes.path(&path).unwrap(), expected);
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,8}".prop_map(Value::from),
        Just(Value::from("RS256")),
        Just(Value::from("EdDSA")),
        Just(Value::from("ES256")),
    ];
    let names = prop_oneof![
        Just("alg".to_owned()),
        Just("kid".to_owned()),
        Just("iss".to_owned()),
        Just("aud".to_owned()),
        Just("exp".to_owned()),
        Just("keys".to_owned()),
        Just("kty".to_owned()),
        "[a-z]{1,3}"
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
