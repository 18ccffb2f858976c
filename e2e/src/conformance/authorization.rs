//! AuthorizationPolicies and the RBAC filters that Istio makes of them, compared by meaning: the order of alternatives does not
//! count, and what is enforced and what is only reported may be one filter or two.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use varka_api::istio::{ExtensionProvider, MeshConfig};
use varka_engine::ir::{HeaderMatch, HeaderMatcher, PathMatch, Permission, PolicyAction, Principal, StringMatch};
use varka_pilot::{Snapshot, authorization_rules};

use super::{Report, cases, text};

mod external;

/// Policies by action and whether they are only reported; each policy as its set of alternatives on both sides.
type Meaning = BTreeMap<(String, bool), BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>>;

/// Runs the table.
pub(super) fn run(table: &Value, dir: &Path, report: &mut Report) {
    for case in cases(table) {
        report.count(text(case, "name"), one(case, &dir.join("files")));
    }
}

fn one(case: &Value, dir: &Path) -> Result<(), String> {
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).map_err(|e| format!("{file}: {e}"));
    let (objects, _) = varka_api::read("in", &read(text(case, "input"))?);
    let aliases = case.get("trustDomainAliases").and_then(Value::as_array).into_iter().flatten();
    let mesh = MeshConfig {
        trust_domain: text(case, "trustDomain").to_owned(),
        trust_domain_aliases: aliases.filter_map(|a| a.as_str().map(str::to_owned)).collect(),
        extension_providers: providers(text(case, "meshConfigVar"))?,
        ..MeshConfig::default()
    };
    let (services, _) = varka_api::read("services", PROVIDER);
    let snapshot = Snapshot::builder().mesh(mesh).objects(objects).objects(services).build();
    let proxy = case.get("proxy").cloned().unwrap_or_default();
    let labels = proxy.get("labels").and_then(Value::as_object).into_iter().flatten();
    let labels = labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect();
    let tcp = text(case, "proto") == "tcp";
    let mut got = Meaning::new();
    let ours = authorization_rules(&snapshot, text(&proxy, "namespace"), &labels, tcp);
    let asks: Vec<Value> = ours.services.iter().map(external::ours).collect();
    for filter in ours.filters {
        let action = match filter.action {
            PolicyAction::Allow => "ALLOW",
            PolicyAction::Deny => "DENY",
            PolicyAction::Log => "LOG",
        };
        let policies = got.entry((action.to_owned(), filter.shadow)).or_default();
        for policy in &filter.policies {
            let permissions = policy.permissions.iter().map(|p| canonical(&permission(p))).collect();
            let principals = policy.principals.iter().map(|p| canonical(&principal(p))).collect();
            policies.insert(policy.name.to_string(), (permissions, principals));
        }
    }
    let mut want = Meaning::new();
    let mut wants = Vec::new();
    for file in case.get("want").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        let filter: Value = serde_saphyr::from_str(&read(file)?).map_err(|e| e.to_string())?;
        let config = filter.get("typedConfig").cloned().unwrap_or_default();
        if text(&filter, "name").ends_with("ext_authz") {
            wants.push(external::theirs(&config));
            continue;
        }
        for (key, shadow) in [("rules", false), ("shadowRules", true)] {
            let Some(rules) = config.get(key) else { continue };
            let action = if text(rules, "action").is_empty() { "ALLOW" } else { text(rules, "action") };
            let policies = want.entry((action.to_owned(), shadow)).or_default();
            for (name, policy) in rules.get("policies").and_then(Value::as_object).into_iter().flatten() {
                let side = |key: &str| {
                    policy.get(key).and_then(Value::as_array).into_iter().flatten().map(canonical).collect()
                };
                policies.insert(name.clone(), (side("permissions"), side("principals")));
            }
        }
    }
    match (got == want, asks == wants) {
        (true, true) => Ok(()),
        (false, _) => Err(format!("{got:?} instead of {want:?}")),
        (true, false) => Err(format!("{asks:?} instead of {wants:?}")),
    }
}

/// The service that the table's providers name.
const PROVIDER: &str = "
apiVersion: v1
kind: Service
metadata: {name: my-custom-ext-authz, namespace: foo}
spec: {ports: [{name: grpc, port: 9000}]}
";

/// The table names its mesh configurations; these are the providers in them.
fn providers(name: &str) -> Result<Vec<ExtensionProvider>, String> {
    let host = "my-custom-ext-authz.foo.svc.cluster.local";
    let value = match name {
        "" => return Ok(Vec::new()),
        "meshConfigGRPCNoNamespace" => json!({"envoyExtAuthzGrpc": {"service": host, "port": 9000, "failOpen": true,
            "statusOnError": "403"}}),
        "meshConfigGRPC" => json!({"envoyExtAuthzGrpc": {"service": format!("foo/{host}"), "port": 9000,
            "timeout": "0.002s", "failOpen": true, "statusOnError": "403",
            "includeRequestBodyInCheck": {"maxRequestBytes": 4096, "allowPartialMessage": true}}}),
        "meshConfigHTTP" => json!({"envoyExtAuthzHttp": {"service": format!("foo/{host}"), "port": 9000,
            "timeout": "10s", "failOpen": true, "statusOnError": "403", "pathPrefix": "/check",
            "includeRequestHeadersInCheck": ["x-custom-id", "x-prefix-*", "*-suffix"],
            "includeHeadersInCheck": ["should-not-include-when-IncludeRequestHeadersInCheck-is-set"],
            "includeAdditionalHeadersInCheck": {"x-header-1": "value-1", "x-header-2": "value-2"},
            "includeRequestBodyInCheck": {"maxRequestBytes": 2048, "allowPartialMessage": true, "packAsBytes": true},
            "headersToUpstreamOnAllow": ["Authorization", "x-prefix-*", "*-suffix"],
            "headersToDownstreamOnDeny": ["Set-cookie", "x-prefix-*", "*-suffix"],
            "headersToDownstreamOnAllow": ["Set-cookie", "x-prefix-*", "*-suffix"]}}),
        "meshConfigInvalid" => json!({"envoyExtAuthzHttp": {"service": "foo/my-custom-ext-authz", "port": 999_999,
            "pathPrefix": "check", "statusOnError": "999"}}),
        other => return Err(format!("the mesh configuration {other} is not known here")),
    };
    let mut provider = value;
    if let Some(members) = provider.as_object_mut() {
        members.insert("name".to_owned(), "default".into());
    }
    let mesh = json!({"extensionProviders": [provider]});
    Ok(MeshConfig::from_value(mesh).map_err(|e| e.to_string())?.0.extension_providers)
}

/// The metadata matcher of a permission or principal, with another value to match.
fn with_value(matcher: &Value, value: &Value) -> Value {
    let mut metadata = matcher.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    metadata.insert("value".to_owned(), value.clone());
    Value::Object(metadata)
}

/// The same text for everything that means the same: alternatives sorted, single ones unwrapped, several values of one claim as
/// alternatives.
pub(super) fn canonical(value: &Value) -> String {
    if let Some(list) =
        value.get("metadata").and_then(|m| m.pointer("/value/orMatch/valueMatchers")).and_then(Value::as_array)
    {
        let one = |v: &Value| {
            let metadata = with_value(value, v);
            json!({"metadata": metadata})
        };
        return canonical(&json!({"or": list.iter().map(one).collect::<Vec<_>>()}));
    }
    if let Some(list) = value.pointer("/metadata/value/listMatch/oneOf/orMatch/valueMatchers").and_then(Value::as_array)
    {
        let one = |v: &Value| {
            let metadata = with_value(value, v);
            json!({"metadata": metadata})
        };
        return canonical(&json!({"or": list.iter().map(one).collect::<Vec<_>>()}));
    }
    if let Some(inner) = value.pointer("/metadata/value/listMatch/oneOf") {
        let metadata = with_value(value, inner);
        return canonical(&json!({"metadata": metadata}));
    }
    let Some(map) = value.as_object() else { return value.to_string() };
    let mut parts = Vec::new();
    for (key, inner) in map {
        let group = match key.as_str() {
            "and" | "andRules" | "andIds" => Some("and"),
            "or" | "orRules" | "orIds" => Some("or"),
            _ => None,
        };
        if let Some(group) = group {
            let list = inner.get("rules").or_else(|| inner.get("ids")).unwrap_or(inner);
            let mut all: Vec<String> = list.as_array().into_iter().flatten().map(canonical).collect();
            all.sort();
            return match all.as_slice() {
                [only] => only.clone(),
                _ => format!("{group}({})", all.join(",")),
            };
        }
        let key = match key.as_str() {
            "notRule" | "notId" => "not",
            "principalName" => "uri",
            "addressPrefix" => "address",
            other => other,
        };
        match inner {
            Value::Bool(false) => {}
            // Header names are compared regardless of case.
            Value::String(s) if key == "name" && !s.is_empty() => {
                parts.push(format!("name:{}", s.to_ascii_lowercase()))
            }
            Value::String(s) if key == "@type" || s.is_empty() && key == "name" => {}
            Value::Array(list) => {
                parts.push(format!("{key}:[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(",")))
            }
            Value::Object(map) if key != "any" || !map.is_empty() => parts.push(format!("{key}:{}", canonical(inner))),
            _ => parts.push(format!("{key}:{inner}")),
        }
    }
    parts.sort();
    format!("{{{}}}", parts.join(","))
}

fn permission(p: &Permission) -> Value {
    let all = |list: &[Permission]| list.iter().map(permission).collect::<Vec<_>>();
    match p {
        Permission::Any => json!({"any": true}),
        Permission::And(list) => json!({"and": all(list)}),
        Permission::Or(list) => json!({"or": all(list)}),
        Permission::Not(inner) => json!({"notRule": permission(inner)}),
        Permission::Header(h) => json!({"header": header(h)}),
        Permission::Path(m) => json!({"urlPath": {"path": string(m)}}),
        Permission::Template(PathMatch::Template(t)) => json!({"uriTemplate": &**t}),
        Permission::Template(other) => json!({"uriTemplate": format!("{other:?}")}),
        Permission::DestinationIp(net) => json!({"destinationIp": network(net)}),
        Permission::DestinationPort(port) => json!({"destinationPort": port}),
        Permission::ServerName(m) => json!({"requestedServerName": string(m)}),
        Permission::Metadata { filter, path, value } => json!({"metadata": metadata(filter, path, value)}),
    }
}

fn principal(p: &Principal) -> Value {
    let all = |list: &[Principal]| list.iter().map(principal).collect::<Vec<_>>();
    match p {
        Principal::Any => json!({"any": true}),
        Principal::And(list) => json!({"and": all(list)}),
        Principal::Or(list) => json!({"or": all(list)}),
        Principal::Not(inner) => json!({"notId": principal(inner)}),
        Principal::Authenticated(m) => json!({"authenticated": {"principalName": m.as_ref().map(string)}}),
        Principal::DirectRemoteIp(net) => json!({"directRemoteIp": network(net)}),
        Principal::RemoteIp(net) => json!({"remoteIp": network(net)}),
        Principal::Header(h) => json!({"header": header(h)}),
        Principal::Metadata { filter, path, value } => json!({"metadata": metadata(filter, path, value)}),
    }
}

fn network(net: &impl std::fmt::Display) -> Value {
    let text = net.to_string();
    let (address, length) = text.split_once('/').unwrap_or((&text, "32"));
    json!({"addressPrefix": address, "prefixLen": length.parse::<u8>().unwrap_or(32)})
}

fn metadata(filter: &str, path: &[std::sync::Arc<str>], value: &StringMatch) -> Value {
    let path: Vec<Value> = path.iter().map(|k| json!({"key": &**k})).collect();
    json!({"filter": filter, "path": path, "value": {"stringMatch": string(value)}})
}

fn header(h: &HeaderMatcher) -> Value {
    match &h.matches {
        HeaderMatch::Present(present) => json!({"name": &*h.name, "presentMatch": present}),
        HeaderMatch::Value(m) => json!({"name": &*h.name, "stringMatch": string(m)}),
        HeaderMatch::Range { start, end } => json!({"name": &*h.name, "rangeMatch": [start, end]}),
    }
}

pub(super) fn string(m: &StringMatch) -> Value {
    let case = |kind: &str, value: &str, ignore_case: bool| json!({kind: value, "ignoreCase": ignore_case});
    match m {
        StringMatch::Exact { value, ignore_case } => case("exact", value, *ignore_case),
        StringMatch::Prefix { value, ignore_case } => case("prefix", value, *ignore_case),
        StringMatch::Suffix { value, ignore_case } => case("suffix", value, *ignore_case),
        StringMatch::Contains { value, ignore_case } => case("contains", value, *ignore_case),
        StringMatch::Regex(r) => json!({"safeRegex": {"regex": r.source()}}),
    }
}
