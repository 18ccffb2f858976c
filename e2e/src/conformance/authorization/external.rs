//! Filters that ask a service, in one form for what we make and what Istio makes.

use serde_json::{Value, json};
use varka_engine::ir::{AuthzService, ExtAuthz, StringMatch};

use super::string;

/// Headers by what they match, without a word where there are none.
fn names(list: &[StringMatch]) -> Value {
    list.iter().map(|m| plain(&string(m))).collect::<Vec<_>>().into()
}

/// A matcher without members that are as they are by default.
fn plain(matcher: &Value) -> Value {
    let members = matcher.as_object().into_iter().flatten().filter(|(_, v)| **v != Value::Bool(false));
    Value::Object(members.map(|(k, v)| (k.clone(), v.clone())).collect())
}

fn seconds(duration: std::time::Duration) -> Value {
    json!(duration.as_secs_f64())
}

pub(super) fn ours(a: &ExtAuthz) -> Value {
    let service = match &a.service {
        AuthzService::Http(h) => json!({
            "uri": &*h.uri, "cluster": &*h.cluster, "timeout": seconds(h.timeout), "prefix": &*h.path_prefix,
            "add": h.headers_to_add.iter().map(|(k, v)| json!([&**k, &**v])).collect::<Vec<_>>(),
            "upstream": names(&h.upstream_headers), "client": names(&h.client_headers),
            "success": names(&h.client_headers_on_success),
        }),
        AuthzService::Grpc(g) => {
            json!({"cluster": &*g.cluster, "authority": &*g.authority, "timeout": seconds(g.timeout)})
        }
    };
    let enabled = a.enabled_metadata.as_ref().map(|m| {
        json!({"filter": &*m.filter, "path": m.path.iter().map(|p| p.to_string()).collect::<Vec<_>>(),
            "value": plain(&string(&m.value))})
    });
    json!({
        "service": service, "open": a.failure_mode_allow, "status": a.status_on_error, "headers": names(&a.allowed_headers),
        "body": a.with_request_body.map(|b| json!([b.max_request_bytes, b.allow_partial, b.as_bytes])),
        "enabled": enabled,
    })
}

pub(super) fn theirs(config: &Value) -> Value {
    let at = |path: &str| config.pointer(path).cloned().unwrap_or_default();
    let text = |path: &str| at(path).as_str().unwrap_or_default().to_owned();
    let time = |path: &str| json!(text(path).trim_end_matches('s').parse::<f64>().unwrap_or_default());
    let list = |path: &str| -> Value {
        let patterns = at(&format!("{path}/patterns"));
        patterns.as_array().into_iter().flatten().map(plain).collect::<Vec<_>>().into()
    };
    let service = if config.get("httpService").is_some() {
        let added = at("/httpService/authorizationRequest/headersToAdd");
        let added = added.as_array().into_iter().flatten();
        json!({
            "uri": text("/httpService/serverUri/uri"), "cluster": text("/httpService/serverUri/cluster"),
            "timeout": time("/httpService/serverUri/timeout"), "prefix": text("/httpService/pathPrefix"),
            "add": added.map(|h| json!([h.get("key"), h.get("value")])).collect::<Vec<_>>(),
            "upstream": list("/httpService/authorizationResponse/allowedUpstreamHeaders"),
            "client": list("/httpService/authorizationResponse/allowedClientHeaders"),
            "success": list("/httpService/authorizationResponse/allowedClientHeadersOnSuccess"),
        })
    } else {
        json!({"cluster": text("/grpcService/envoyGrpc/clusterName"), "authority": text("/grpcService/envoyGrpc/authority"),
            "timeout": time("/grpcService/timeout")})
    };
    let status = match text("/statusOnError/code").as_str() {
        "" | "Forbidden" => 403,
        other => other.parse::<u16>().unwrap_or_default(),
    };
    let flag = |path: &str| at(path).as_bool().unwrap_or_default();
    let body = config.get("withRequestBody").map(|_| {
        json!([
            at("/withRequestBody/maxRequestBytes"),
            flag("/withRequestBody/allowPartialMessage"),
            flag("/withRequestBody/packAsBytes")
        ])
    });
    let enabled = config.get("filterEnabledMetadata").map(|m| {
        let keys = m.get("path").and_then(Value::as_array).into_iter().flatten();
        json!({"filter": m.get("filter"), "path": keys.map(|k| k.get("key")).collect::<Vec<_>>(),
            "value": plain(&at("/filterEnabledMetadata/value/stringMatch"))})
    });
    json!({
        "service": service, "open": flag("/failureModeAllow"), "status": status, "headers": list("/allowedHeaders"),
        "body": body, "enabled": enabled,
    })
}
