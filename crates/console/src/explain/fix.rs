//! A resource that mends what no service was found for: a ServiceEntry, where nothing is registered.

use serde_json::json;

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Of the client.
    pub namespace: &'a str,
    /// With or without port; empty: not known.
    pub host: &'a str,
    /// Empty: not known.
    pub address: &'a str,
    /// `None`: not known.
    pub port: Option<u16>,
    /// `http`, `grpc` or `tcp`.
    pub protocol: &'a str,
}

/// The ServiceEntry as YAML; `None`: neither a host nor an address is known.
pub fn service_entry(wanted: &Wanted<'_>) -> Option<String> {
    let (host, in_host) = match wanted.host.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port.parse().ok()),
        _ => (wanted.host, None),
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    // An address, given as the host.
    let literal = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().ok().map(|ip| ip.to_string());
    let address = literal.clone().unwrap_or_else(|| wanted.address.to_owned());
    let is_named = literal.is_none() && host.contains('.') && host.bytes().all(is_in_name);
    let port = wanted.port.or(in_host).unwrap_or(if wanted.protocol == "tcp" { 443 } else { 80 });
    let protocol = match (wanted.protocol, port) {
        ("grpc", _) => "GRPC",
        ("http", _) => "HTTP",
        (_, 443 | 8443) => "TLS",
        _ => "TCP",
    };
    let port_name = format!("{}-{port}", protocol.to_ascii_lowercase());
    let ports = json!([{"number": port, "name": port_name, "protocol": protocol}]);
    let (name, spec) = if is_named {
        let spec = json!({"hosts": [host], "location": "MESH_EXTERNAL", "ports": ports, "resolution": "DNS"});
        (host.replace('.', "-"), spec)
    } else if address.parse::<std::net::IpAddr>().is_ok() {
        let name = format!("address-{}", address.replace(['.', ':'], "-"));
        let spec = json!({
            "hosts": [format!("{name}.external")], "addresses": [address], "location": "MESH_EXTERNAL", "ports": ports,
            "resolution": "STATIC", "endpoints": [{"address": address}],
        });
        (name, spec)
    } else {
        return None;
    };
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": wanted.namespace}, "spec": spec,
    });
    serde_saphyr::to_string(&object).ok()
}

fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')
}

#[cfg(test)]
mod tests {
    use varka_api::validate::validate;

    use super::*;

    #[test]
    fn what_mends_it_is_valid() {
        let http =
            Wanted { namespace: "shop", host: "api.example.com:8080", address: "", port: None, protocol: "http" };
        for (wanted, expected) in [
            (http, ["api.example.com", "number: 8080", "resolution: DNS"]),
            (
                Wanted { host: "", address: "10.9.8.7", port: Some(443), protocol: "tcp", ..http },
                ["10.9.8.7", "protocol: TLS", "resolution: STATIC"],
            ),
            (Wanted { host: "10.9.8.7:90", ..http }, ["10.9.8.7", "number: 90", "resolution: STATIC"]),
        ] {
            let yaml = service_entry(&wanted).unwrap();
            let (objects, problems) = varka_api::read("", &yaml);
            assert!(problems.is_empty(), "{problems:?}");
            assert!(validate(&objects[0]).errors.is_empty(), "{yaml}");
            for part in expected {
                assert!(yaml.contains(part), "{part}: {yaml}");
            }
        }
        assert_eq!(service_entry(&Wanted { host: "", ..http }), None);
        assert_eq!(service_entry(&Wanted { host: "nodots", ..http }), None);
    }
}
