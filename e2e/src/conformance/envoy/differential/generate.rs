//! VirtualServices drawn at random, and requests near their rules.
//!
//! Everything follows from a seed. Each VirtualService has a host of its own, so that hundreds stand side by side in one
//! configuration; each rule has a name, which both sidecars log. Nothing that is drawn leaves a choice to chance: weights are
//! 0 or 100, faults happen always, and which of several endpoints answers follows from a hash or is not compared.

mod chance;
mod requests;

use serde_json::{Map, Value, json};

use super::super::case::Case;
use chance::Chance;

/// Namespace of everything.
const NAMESPACE: &str = "blog-system";

/// A VirtualService and requests to it.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// The VirtualService and what it refers to.
    pub objects: Vec<Value>,
    /// Requests.
    pub cases: Vec<Case>,
}

/// So many subjects, with so many requests each.
pub(super) fn subjects(seed: u64, count: usize, requests: usize) -> Vec<Subject> {
    (0..count).map(|n| subject(seed, n, requests)).collect()
}

fn subject(seed: u64, n: usize, requests: usize) -> Subject {
    // Each subject follows from the seed and its number alone.
    let mut chance = Chance::new(seed.wrapping_mul(1_000_003).wrapping_add(u64::try_from(n).unwrap_or_default()));
    let host = format!("g{n}.test");
    let own = chance.percent(40).then(|| own_service(&mut chance, n));
    // Without the header or parameter that is hashed, any endpoint is chosen.
    let hash =
        own.as_ref().and_then(|o| o.last()).and_then(|o| o.pointer("/spec/trafficPolicy/loadBalancer/consistentHash"));
    let by_chance = own.is_some() && hash.is_none_or(|h| h.get("useSourceIp").or(h.get("httpCookie")).is_none());
    let rules: Vec<Value> = (0..=chance.below(4)).map(|r| rule(&mut chance, r, own.is_some().then_some(n))).collect();
    let mut objects = own.unwrap_or_default();
    let mut http = Vec::new();
    for (r, rule) in rules.iter().enumerate() {
        let is_route = rule.get("route").is_some();
        if is_route && chance.percent(8) {
            let name = format!("g{n}-{r}");
            objects.push(virtual_service(&name, &[], vec![rule.clone()]));
            http.push(delegating(rule, &name));
        } else {
            http.push(rule.clone());
        }
    }
    objects.push(virtual_service(&format!("g{n}"), &[host.clone(), format!("*.{host}")], http));
    let cases = (0..requests).map(|r| {
        let request = requests::near(&mut chance, &rules, &host);
        let mut case = Case::of(format!("generated/{seed}-{n}-{r}"), request);
        case.any_endpoint = by_chance;
        case
    });
    Subject { cases: cases.collect(), objects }
}

/// The rule's conditions, and the rest in another VirtualService.
fn delegating(rule: &Value, name: &str) -> Value {
    let mut root = Map::new();
    for key in ["name", "match"] {
        if let Some(value) = rule.get(key) {
            root.insert(key.to_owned(), value.clone());
        }
    }
    root.insert("delegate".to_owned(), json!({"name": name, "namespace": NAMESPACE}));
    Value::Object(root)
}

/// An object for these rules; one without hosts is for others to delegate to.
pub(super) fn virtual_service(name: &str, hosts: &[String], http: Vec<Value>) -> Value {
    let mut spec = json!({"http": http});
    if let (false, Some(spec)) = (hosts.is_empty(), spec.as_object_mut()) {
        spec.insert("hosts".to_owned(), json!(hosts));
    }
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
    })
}

/// A service of three endpoints in two versions, and how one of them is chosen.
fn own_service(chance: &mut Chance, n: usize) -> Vec<Value> {
    let host = format!("s{n}.test");
    let endpoint = |ip: u8, version: &str| json!({"address": format!("10.77.0.{ip}"), "labels": {"version": version}});
    let entry = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": format!("s{n}"), "namespace": NAMESPACE},
        "spec": {
            "hosts": [host], "ports": [{"number": 8080, "name": "http", "protocol": "HTTP"}], "resolution": "STATIC",
            "endpoints": [endpoint(21, "v1"), endpoint(22, "v1"), endpoint(23, "v2")],
        },
    });
    let mut policy = json!({"tls": {"mode": "DISABLE"}});
    if let Some(policy) = policy.as_object_mut() {
        if chance.percent(60) {
            let mut hash = chance
                .one(&[
                    json!({"httpHeaderName": "x-user"}),
                    json!({"httpQueryParameterName": "q"}),
                    json!({"useSourceIp": true}),
                    json!({"httpCookie": {"name": "sess", "ttl": "30s", "path": "/c"}}),
                ])
                .clone();
            let table = match chance.below(3) {
                0 => json!({"ringHash": {"minimumRingSize": 64}}),
                1 => json!({"maglev": {"tableSize": 101}}),
                _ => json!({}),
            };
            if let (Some(hash), Some(table)) = (hash.as_object_mut(), table.as_object()) {
                hash.extend(table.clone());
            }
            policy.insert("loadBalancer".to_owned(), json!({"consistentHash": hash}));
        }
        if chance.percent(30) {
            policy.insert(
                "connectionPool".to_owned(),
                json!({"http": {"maxRequestsPerConnection": 1 + chance.below(3)}}),
            );
        }
    }
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": format!("s{n}"), "namespace": NAMESPACE},
        "spec": {
            "host": format!("s{n}.test"), "trafficPolicy": policy,
            "subsets": [{"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}}, {"name": "v9", "labels": {"version": "v9"}}],
        },
    });
    vec![entry, rule]
}

/// A rule; `own`: the number of its VirtualService's own service.
fn rule(chance: &mut Chance, n: usize, own: Option<usize>) -> Value {
    let mut rule = Map::new();
    rule.insert("name".to_owned(), format!("r{n}").into());
    if !chance.percent(10) {
        let matches: Vec<Value> = (0..=chance.below(2)).map(|_| condition(chance)).collect();
        rule.insert("match".to_owned(), matches.into());
    }
    match chance.below(10) {
        0 => drop(rule.insert("redirect".to_owned(), redirect(chance))),
        1 => drop(rule.insert("directResponse".to_owned(), direct_response(chance))),
        _ => route(chance, &mut rule, own),
    }
    if chance.percent(25) {
        rule.insert("headers".to_owned(), header_operations(chance, "rule"));
    }
    Value::Object(rule)
}

fn text_match(chance: &mut Chance, exact: &[&str], prefixes: &[&str], patterns: &[&str]) -> Value {
    match chance.below(3) {
        0 => json!({"exact": chance.one(exact)}),
        1 => json!({"prefix": chance.one(prefixes)}),
        _ => json!({"regex": chance.one(patterns)}),
    }
}

/// Values that conditions and requests share.
pub(super) const PATHS: [&str; 10] =
    ["/", "/a", "/a/", "/a/b", "/a/b/c", "/api/v1", "/API/v2", "/x.png", "/a%20b", "/num/42"];
const PATH_PATTERNS: [&str; 7] =
    ["/a/.*", "/num/[0-9]+", ".*\\.(png|jpg)", "/api/v(1|2)(/.*)?", "(?i)/api/.*", "/[^/]+", "/a|/b"];
pub(super) const TEXTS: [&str; 6] = ["alice", "Alice", "bob", "alice-1", "", "a b"];
const TEXT_PATTERNS: [&str; 5] = ["a.*", "[a-z]+", "alice|bob", ".+", "(?i)ALICE"];
pub(super) const NAMES: [&str; 3] = ["x-user", "x-version", "cookie"];
pub(super) const PARAMETERS: [&str; 2] = ["q", "Q"];

fn condition(chance: &mut Chance) -> Value {
    let mut condition = Map::new();
    let mut put = |name: &str, value: Value| drop(condition.insert(name.to_owned(), value));
    if chance.percent(75) {
        put("uri", text_match(chance, &PATHS, &PATHS, &PATH_PATTERNS));
        if chance.percent(20) {
            put("ignoreUriCase", true.into());
        }
    }
    for member in ["headers", "withoutHeaders"] {
        if chance.percent(if member == "headers" { 30 } else { 15 }) {
            let value = if chance.percent(15) {
                json!({})
            } else {
                text_match(chance, &TEXTS[..4], &TEXTS[..4], &TEXT_PATTERNS)
            };
            put(member, json!({*chance.one(&NAMES): value}));
        }
    }
    if chance.percent(25) {
        put(
            "queryParams",
            json!({*chance.one(&PARAMETERS): text_match(chance, &TEXTS[..4], &TEXTS[..4], &TEXT_PATTERNS)}),
        );
    }
    if chance.percent(20) {
        put("method", text_match(chance, &["GET", "POST"], &["P", "GE"], &["GET|PUT", "P.*"]));
    }
    if chance.percent(10) {
        put("scheme", json!({"exact": chance.one(&["http", "https"])}));
    }
    if chance.percent(10) {
        put("authority", text_match(chance, &["g1.test"], &["sub.", "g"], &[".*\\.test", "sub\\..*"]));
    }
    if chance.percent(8) {
        put("port", (*chance.one(&[8080, 9999])).into());
    }
    if chance.percent(8) {
        put("sourceLabels", json!({"app": chance.one(&["web", "nobody"])}));
    }
    if chance.percent(5) {
        put("sourceNamespace", (*chance.one(&[NAMESPACE, "other"])).into());
    }
    if condition.is_empty() {
        condition.insert("uri".to_owned(), json!({"prefix": "/"}));
    }
    Value::Object(condition)
}

fn redirect(chance: &mut Chance) -> Value {
    let mut redirect = Map::new();
    let mut put = |name: &str, value: Value| drop(redirect.insert(name.to_owned(), value));
    put("authority", "to.test".into());
    if chance.percent(60) {
        put("uri", (*chance.one(&["/new", "/new?x=1", "/", "%PREFIX()%/x"])).into());
    }
    if chance.percent(30) {
        put("scheme", (*chance.one(&["http", "https"])).into());
    }
    if chance.percent(30) {
        put("port", (*chance.one(&[80, 443, 8080])).into());
    } else if chance.percent(20) {
        put("derivePort", (*chance.one(&["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"])).into());
    }
    if chance.percent(50) {
        put("redirectCode", (*chance.one(&[301, 302, 303, 307, 308])).into());
    }
    Value::Object(redirect)
}

fn direct_response(chance: &mut Chance) -> Value {
    let status = *chance.one(&[200, 204, 404, 418, 503]);
    match chance.below(3) {
        0 => json!({"status": status}),
        _ => json!({"status": status, "body": {"string": chance.one(&["direct", "{\"a\": 1}", "%REQ(x-user)%"])}}),
    }
}

fn destination(chance: &mut Chance, own: Option<usize>) -> Value {
    let named = |host: &str| json!({"host": host, "port": {"number": 8080}});
    match (chance.below(12), own) {
        (0, _) => named("legacy-service"),
        (1, _) => named("empty-service"),
        (2, _) => named("broken-service"),
        (3, _) => named("nobody.test"),
        (4..=8, Some(n)) => json!({
            "host": format!("s{n}.test"), "port": {"number": 8080}, "subset": chance.one(&["v1", "v2", "v2", "v9"]),
        }),
        (9, Some(n)) => named(&format!("s{n}.test")),
        _ => json!({"host": "was-service"}),
    }
}

fn route(chance: &mut Chance, rule: &mut Map<String, Value>, own: Option<usize>) {
    let mut first = json!({"destination": destination(chance, own)});
    if chance.percent(25)
        && let Some(first) = first.as_object_mut()
    {
        first.insert("headers".to_owned(), header_operations(chance, "destination"));
    }
    let mut destinations = vec![first];
    if chance.percent(20)
        && let Some(first) = destinations.first_mut().and_then(Value::as_object_mut)
    {
        let all = chance.percent(50);
        first.insert("weight".to_owned(), (if all { 100 } else { 0 }).into());
        destinations.push(json!({"destination": destination(chance, own), "weight": if all { 0 } else { 100 }}));
    }
    let mut put = |name: &str, value: Value| drop(rule.insert(name.to_owned(), value));
    put("route", destinations.into());
    if chance.percent(30) {
        put("rewrite", rewrite(chance));
    }
    if chance.percent(25) {
        let on = chance.one(&[
            "5xx",
            "503",
            "gateway-error,reset",
            "retriable-4xx",
            "connect-failure",
            "retriable-headers",
            "cancelled",
        ]);
        let mut retries = json!({"attempts": 1 + chance.below(3), "retryOn": on});
        if let (true, Some(retries)) = (chance.percent(30), retries.as_object_mut()) {
            retries.insert("perTryTimeout".to_owned(), "300ms".into());
        }
        put("retries", retries);
    }
    if chance.percent(20) {
        put("timeout", "450ms".into());
    }
    if chance.percent(12) {
        put("fault", fault(chance));
    }
    if chance.percent(15) {
        put("corsPolicy", cors(chance));
    }
    if chance.percent(8) {
        put("mirror", json!({"host": "legacy-service", "port": {"number": 8080}}));
    }
}

fn rewrite(chance: &mut Chance) -> Value {
    let mut rewrite = match chance.below(3) {
        0 => json!({"uriRegexRewrite": chance.one(&[
            json!({"match": "^/a/(.*)$", "rewrite": "/z/\\1"}), json!({"match": "/([^/]*)/?", "rewrite": "<\\1>"}),
            json!({"match": "[0-9]+", "rewrite": "N"}),
        ])}),
        1 => json!({}),
        _ => json!({"uri": chance.one(&["/", "/new", "/new/", "/n?x=1"])}),
    };
    if let Some(rewrite) = rewrite.as_object_mut()
        && (rewrite.is_empty() || chance.percent(25))
    {
        rewrite.insert("authority".to_owned(), "rewritten.test".into());
    }
    rewrite
}

fn header_operations(chance: &mut Chance, who: &str) -> Value {
    let mut side = || {
        let mut side = Map::new();
        if chance.percent(60) {
            let name = *chance.one(&["x-set", "x-user", "x-app-instance", "host", "X-Case"]);
            let value = *chance.one(&["plain", "%REQ(x-user)%", "100%%", "%PROTOCOL%", "%RESPONSE_CODE%", "a,b"]);
            side.insert("set".to_owned(), json!({name: format!("{who} {value}")}));
        }
        if chance.percent(40) {
            side.insert("add".to_owned(), json!({*chance.one(&["x-user", "x-add", "set-cookie"]): who}));
        }
        if chance.percent(30) {
            side.insert("remove".to_owned(), json!([chance.one(&["x-version", "server", "user-agent", "x-none"])]));
        }
        Value::Object(side)
    };
    json!({"request": side(), "response": side()})
}

fn fault(chance: &mut Chance) -> Value {
    let abort = match chance.below(3) {
        0 => json!({"grpcStatus": "UNAVAILABLE"}),
        1 => json!({"httpStatus": 418}),
        _ => json!({"httpStatus": 503}),
    };
    let always = |mut fault: Value| {
        if let Some(fault) = fault.as_object_mut() {
            fault.insert("percentage".to_owned(), json!({"value": 100}));
        }
        fault
    };
    match chance.below(3) {
        0 => json!({"delay": always(json!({"fixedDelay": "50ms"}))}),
        1 => json!({"delay": always(json!({"fixedDelay": "50ms"})), "abort": always(abort)}),
        _ => json!({"abort": always(abort)}),
    }
}

fn cors(chance: &mut Chance) -> Value {
    let mut cors = json!({
        "allowOrigins": [text_match(chance, &["http://a.test"], &["http://a"], &["https?://.*\\.test"])],
        "allowMethods": ["GET", "POST"],
    });
    if let Some(cors) = cors.as_object_mut() {
        if chance.percent(50) {
            cors.insert("allowHeaders".to_owned(), json!(["x-user", "x-b"]));
        }
        if chance.percent(50) {
            cors.insert("exposeHeaders".to_owned(), json!(["x-add"]));
        }
        if chance.percent(40) {
            cors.insert("maxAge".to_owned(), "24h".into());
        }
        if chance.percent(40) {
            cors.insert("allowCredentials".to_owned(), chance.percent(70).into());
        }
        if chance.percent(30) {
            cors.insert("unmatchedPreflights".to_owned(), (*chance.one(&["FORWARD", "IGNORE"])).into());
        }
    }
    cors
}

#[cfg(test)]
mod tests;
