//! A resource that would mend what no service was found for.

use serde_json::Value;

use crate::explain::{Wanted, service_entry};

/// The YAML; null where the mend lies in the application: it names another host than it means.
pub(super) fn yaml(unmatched: &Value, namespace: &str, protocol: &str) -> Value {
    let field = |name: &str| unmatched.get(name).and_then(Value::as_str).unwrap_or_default();
    let reason = unmatched.pointer("/reason/code").and_then(Value::as_str);
    if reason != Some("notRegistered") {
        return Value::Null;
    }
    let port = unmatched.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    let wanted = Wanted { namespace, host: field("host"), address: field("address"), port, protocol };
    service_entry(&wanted).map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_registered_is_mended_by_registering_it() {
        let asked =
            |code: &str| json!({"host": "api.example.com", "address": "", "port": 443, "reason": {"code": code}});
        let mend = yaml(&asked("notRegistered"), "shop", "tcp");
        assert!(mend.as_str().unwrap().contains("namespace: shop"), "{mend}");
        assert_eq!(yaml(&asked("publicHost"), "shop", "http"), Value::Null);
    }
}
